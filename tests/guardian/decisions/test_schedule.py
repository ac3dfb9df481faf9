from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decisions import schedule
from guardian.decisions.schedule import Schedule, acknowledged
from guardian.errors import InputError

TABLE = {"role": "target", "entity": "mail", "kind": "backup"}
SECOND = 10**9


class Engine:
    """Remembers the order of what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def feed(self, batch: pa.RecordBatch) -> int:
        self.told += [ts // SECOND for ts in batch.column("ts").to_pylist()]
        return len(batch)

    def acknowledge(self, role: str, entity: str, kind: str, *, until: int | None, at: int) -> None:
        self.told.append(entity)

    def withdraw(self, role: str, entity: str, kind: str, *, at: int) -> None:
        raise AssertionError("a schedule only acknowledges")


def batch(*seconds: int) -> pa.RecordBatch:
    return pa.record_batch({"ts": pa.array([second * SECOND for second in seconds], pa.int64())})


def at(second: int, name: str) -> dict[str, Any]:
    return TABLE | {"entity": name, "from": datetime.fromtimestamp(second, UTC)}


def told(tables: list[dict[str, Any]], *batches: pa.RecordBatch) -> list[Any]:
    engine, coming = Engine(), Schedule(acknowledged(tables))
    fed = [count for each in batches for count in coming.feed(engine, each)]
    assert sum(fed) == sum(len(each) for each in batches)
    return engine.told


def test_each_takes_effect_before_the_first_event_whose_time_has_come():
    assert told([at(3, "a")], batch(1, 2, 3, 4)) == [1, 2, "a", 3, 4]
    assert told([at(9, "b"), at(3, "a")], batch(1, 2), batch(5, 8), batch(10)) == [1, 2, "a", 5, 8, "b", 10]
    assert told([at(3, "a"), at(3, "b")], batch(3)) == ["a", "b", 3]


def test_without_a_from_it_holds_from_the_beginning():
    assert told([TABLE], batch(-5, 1)) == ["mail", -5, 1]


def test_what_is_never_reached_never_takes_effect():
    assert told([at(50, "a")], batch(1, 2), batch()) == [1, 2]


def test_events_out_of_order_do_not_take_it_back():
    assert told([at(3, "a")], batch(1, 5, 2, 6)) == [1, "a", 5, 2, 6]
    assert told([at(3, "a"), at(4, "b")], batch(5), batch(1, 6)) == ["a", "b", 5, 1, 6]


@given(
    st.lists(st.integers(0, 30), max_size=12), st.lists(st.integers(0, 30), max_size=4), st.integers(0, 12)
)
def test_the_cut_of_batches_changes_nothing(events: list[int], froms: list[int], cut: int):
    tables = [at(second, f"{second}") for second in froms]
    whole = told(tables, batch(*events))
    assert told(tables, batch(*events[:cut]), batch(*events[cut:])) == whole


def test_a_file_says_the_same_as_python(tmp_path: Path):
    file = tmp_path / "known.toml"
    file.write_text(
        '[[acknowledged]]\nrole = "target"\nentity = "ñ"\nkind = "k"\nuntil = 2026-01-31T12:00:00-06:00\n'
        'from = 2026-01-01T00:00:00\n[[acknowledged]]\nrole = "actor"\nentity = "a"\nkind = "*a"\n'
    )
    one, other = acknowledged(file)
    assert (one.entity, one.until, one.created_at) == (
        "ñ",
        1_769_882_400 * SECOND,
        1_767_225_600 * SECOND,  # without a zone: UTC
    )
    assert (other.until, other.created_at) == (None, schedule.BEGINNING)
    tables = [
        TABLE | {"entity": "ñ", "kind": "k", "until": "2026-01-31T18:00:00Z", "from": datetime(2026, 1, 1)},  # noqa: DTZ001  (without a zone on purpose)
        {"role": "actor", "entity": "a", "kind": "*a"},
    ]
    assert acknowledged(tables) == acknowledged(str(file)) == (one, other)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"role": "x"}, "acknowledged[1].role: expected one of actor"),
        ({"entity": 3}, "acknowledged[1].entity: expected a name"),
        ({"kind": "*"}, "acknowledged[1].kind"),
        ({"until": date(2026, 1, 1)}, "acknowledged[1].until: expected a time such as 2026"),
        ({"until": "soon"}, "acknowledged[1].until"),
        ({"until": datetime(9000, 1, 1, tzinfo=UTC)}, "from 1678 to 2261"),
        ({"until": "9999-12-31T23:59:59Z"}, "got the year 9999"),
        ({"from": datetime(1000, 1, 1, tzinfo=UTC)}, "acknowledged[1].from"),
        ({"from": datetime(2030, 1, 1, tzinfo=UTC), "until": "2030-01-01T00:00:00Z"}, "a time after from"),
        ({"From": 1}, "acknowledged[1].From: expected one of role, entity, kind, until, from"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(table: dict[str, Any], said: str):
    with pytest.raises(InputError) as refusal:
        acknowledged([TABLE, TABLE | table])
    assert said in str(refusal.value)


def test_everything_that_is_wrong_is_told_at_once():
    with pytest.raises(InputError) as refusal:
        acknowledged([{}, TABLE | {"role": "x"}])
    for key in ("[0].role", "[0].entity", "[0].kind", "[1].role"):
        assert f"acknowledged{key}" in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "[[acknowledged]]"),
        (b"acknowledged = 3", "[[acknowledged]]"),
        (b"acknowledged = [3]", "[[acknowledged]]"),
        (b"[[acknowledge]]\nrole = 'actor'", "[[acknowledged]]"),
        (b"x = 1\n[[acknowledged]]\nrole = 'actor'", "nothing else"),
        (b"[[", "expected TOML"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes, said: str):
    file = tmp_path / "known.toml"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"known\.toml") as refusal:
        acknowledged(file)
    assert said in str(refusal.value)
    with pytest.raises(InputError, match="cannot be read"):
        acknowledged(tmp_path / "none.toml")
