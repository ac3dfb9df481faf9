"""Events without a kind: which rows are named, in the order of events, over any cut and restart."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian import Config, Engine
from guardian.config import Templates
from guardian.errors import StateError
from guardian.events import EVENTS
from guardian.templates import Miner
from tests.conftest import MakeEvents, make_events


def bodies(*texts: str | None, kind: str = "", **columns: Any) -> pa.RecordBatch:
    return make_events(
        [
            {"ts": 1000.0 + i, "kind": kind, "body": text, "actor": "ana", **columns}
            for i, text in enumerate(texts)
        ]
    )


def kinds(batch: pa.RecordBatch) -> list[str]:
    told: list[str] = batch.column("kind").to_pylist()
    return told


def test_rows_that_name_a_kind_are_left_alone() -> None:
    batch = bodies("user ana logged in", "user eva logged in", kind="login")
    mine = Miner(Config())
    assert mine.named(batch) is batch
    mixed = make_events(
        [
            {"ts": 1, "kind": "login", "body": "took 5 ms"},
            {"ts": 2, "body": "took 5 ms"},
            {"ts": 3, "kind": "logout"},
            {"ts": 4, "body": "took 6 ms"},
        ]
    )
    named = mine.named(mixed)
    assert kinds(named) == ["login", "took <num> ms", "logout", "took <num> ms"]
    assert named.schema.equals(EVENTS, check_metadata=True)
    assert str(named.drop_columns("kind").to_pylist()) == str(mixed.drop_columns("kind").to_pylist())


@pytest.mark.parametrize("body", [None, "", " \t\n", "\0"])
def test_without_a_body_the_empty_kind_stays(body: str | None) -> None:
    mine = Miner(Config())
    assert kinds(mine.named(bodies(body, "disk 7 full", body))) == ["", "disk <num> full", ""]
    verdict = Engine(Config()).feed(bodies(body, body))
    assert verdict.scores.num_rows == 2


def test_a_slice_of_a_batch_and_an_empty_one() -> None:
    batch = bodies("one 1", None, "two 2", "three 3")
    assert kinds(Miner(Config()).named(batch.slice(1, 2))) == ["", "two <num>"]
    assert kinds(Miner(Config()).named(batch.slice(2))) == ["two <num>", "three <num>"]
    assert Miner(Config()).named(batch.slice(0, 0)).num_rows == 0
    empty = pa.RecordBatch.from_pylist([], schema=EVENTS)
    assert Miner(Config()).named(empty).num_rows == 0


def test_an_empty_kind_in_the_dictionary_that_no_row_uses() -> None:
    batch = bodies("a 1", "b 2")
    unused = pa.DictionaryArray.from_arrays(pa.array([1, 1], pa.int32()), pa.array(["", "login"]))
    columns = batch.columns
    columns[EVENTS.get_field_index("kind")] = unused
    batch = pa.RecordBatch.from_arrays(columns, schema=EVENTS)
    assert Miner(Config()).named(batch) is batch


def test_alerts_name_the_template(events: MakeEvents) -> None:
    engine = Engine(Config())
    row = {"target": "web", "address": "10.9.9.9", "signal": 0}
    usual = [{"ts": 60.0 * i, "body": f"request {i} served in {i % 7} ms", **row} for i in range(600)]
    strange = {"ts": 60.0 * 601, "body": "kernel module rootkit9 loaded from /tmp/x", **row}
    engine.feed(events([*usual, strange]))
    view = engine.entity("target", "web")
    assert view is not None
    assert {reason.kind for reason in view.reasons} >= {"kernel module rootkit<num> loaded from <path>"}


WORDS = st.sampled_from(["user", "ana", "eva", "logged", "in", "out", "from", "10.0.0.1", "7", "ñ", ""])
MESSAGES = st.lists(
    st.one_of(st.none(), st.lists(WORDS, max_size=6).map(" ".join), st.text(max_size=20)),
    min_size=1,
    max_size=60,
)
FEW = Config(templates=Templates(max_templates=64))


@settings(max_examples=30)
@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 60), max_size=4), named=st.booleans())
def test_split(messages: list[str | None], cuts: list[int], named: bool) -> None:
    batch = make_events(
        [
            {"ts": 1e6 + 40 * i, "body": text, "kind": "k" * (named and i % 3 == 0), "target": f"t{i % 3}"}
            for i, text in enumerate(messages)
        ]
    )
    whole, parts, again = Engine(FEW), Engine(FEW), Engine(FEW)
    told, apart = [whole.feed(batch)], []
    for start, stop in pairwise(sorted({0, *(min(cut, len(batch)) for cut in cuts), len(batch)})):
        part = batch.slice(start, stop - start)
        apart.append(parts.feed(part))
        again.feed(part)
        again = Engine.restore(again.snapshot())
    for name in ("scores", "alerts"):
        rows, others = (
            [row for each in all_ for row in getattr(each, name).to_pylist()] for all_ in (told, apart)
        )
        assert str(rows) == str(others)  # NaN is not equal to itself
    assert whole.snapshot() == parts.snapshot() == again.snapshot()


@settings(max_examples=20)
@given(first=MESSAGES, then=MESSAGES)
def test_restore(first: list[str | None], then: list[str | None]) -> None:
    mine, again = Miner(FEW), Miner(FEW)
    mine.named(bodies(*first))
    again.restore({name: array.copy() for name, array in mine.arrays()})
    assert kinds(again.named(bodies(*then))) == kinds(mine.named(bodies(*then)))
    assert [array.tobytes() for _, array in again.arrays()] == [array.tobytes() for _, array in mine.arrays()]


def test_restoring_into_a_smaller_table_goes_on() -> None:
    large = Miner(Config())
    large.named(bodies(*(chr(97 + i % 26) * (2 + i // 26) for i in range(300))))
    small = Miner(FEW)
    small.restore(dict(large.arrays()))
    assert kinds(small.named(bodies("aa", "something new"))) == ["aa", "something new"]
    assert small.evicted == 1


@pytest.mark.parametrize("name", ["template", "word", "end", "text", "queue", "meta"])
def test_a_damaged_part_is_refused(name: str) -> None:
    mine = Miner(Config())
    mine.named(bodies("user ana logged in", "disk 7 full", "user eva"))
    good = dict(mine.arrays())
    key = f"templates/{name}"
    for bad in (None, good[key][:-1], good[key].astype("f4") if name != "template" else good[key]["head"]):
        arrays = {**good, key: bad}
        if bad is None:
            del arrays[key]
        with pytest.raises(StateError, match="damaged snapshot"):
            Miner(Config()).restore(arrays)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("template", "words", 65),
        ("template", "words", 0),
        ("template", "octets", 1025),
        ("template", "waiting", 0),
        ("queue", None, 99),
        ("queue", None, -1),
        ("end", None, 2000),
        ("meta", None, 99),
    ],
)
def test_numbers_that_would_lead_outside_are_refused(name: str, field: str | None, value: int) -> None:
    mine = Miner(Config())
    mine.named(bodies("user ana logged in", "disk 7 full"))
    arrays = {key: array.copy() for key, array in mine.arrays()}
    target: Any = arrays[f"templates/{name}"]
    (target if field is None else target[field])[0] = value
    with pytest.raises(StateError, match="damaged snapshot"):
        Miner(Config()).restore(arrays)


def test_memory_is_bounded_by_the_configuration() -> None:
    mine = Miner(FEW)
    draw = np.random.default_rng(3)
    for _ in range(5):
        texts = ["".join(map(chr, row)) for row in draw.integers(97, 123, (1000, 12))]
        told = kinds(mine.named(bodies(*texts)))
        assert told == texts
    assert sum(array.nbytes for _, array in mine.arrays()) < 64 * 400
    assert mine.evicted == 5000 - 64
