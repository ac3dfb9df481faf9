"""Whole windows of entities: what is strange about one, who is left out, and that batches and restarts change no bit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.config import Config
from guardian.engine import Engine
from guardian.errors import InputError, StateError
from guardian.frozen import Frozen, from_bytes
from guardian.verdict import Verdict
from scoring import IsolationForest

START = 1_700_000_000.0 - 1_700_000_000 % 300
WINDOWS = 50
PEOPLE = 40

MakeEvents = Callable[..., pa.RecordBatch]
Rows = list[dict[str, Any]]


def office(seed: int = 0, *, windows: int = WINDOWS, first: int = 0, **told: Any) -> Rows:
    """Some telemetry of forty people in each window; all kinds are old friends."""
    random = np.random.default_rng(seed)
    rows: Rows = []
    for window in range(first, first + windows):
        for person in range(PEOPLE):
            for _ in range(int(random.integers(1, 6))):
                rows.append(
                    {
                        "ts": START + 300 * window + float(random.uniform(0, 300)),
                        "kind": "GET /",
                        "actor": f"p{person}",
                        "target": f"t{random.integers(0, 3)}",
                        "outcome": 1 + int(random.random() < 0.05),
                        **told,
                    }
                )
    return sorted(rows, key=lambda row: row["ts"])


def strange(window: int, **told: Any) -> Rows:
    """One person does moderately much of everything: no burst, half of it fails, twelve targets."""
    return [
        {"ts": START + 300 * window + 20 * i, "kind": "GET /", "actor": "p7", "target": f"t{i % 12}",
         "outcome": 1 + i % 2, **told}
        for i in range(14)
    ]  # fmt: skip


def judged(verdict: Verdict, name: str = "p7") -> list[tuple[float, float, int, int]]:
    """(multivariate, risk, event, ts) of the rows that ends of windows wrote about an actor."""
    table = pa.Table.from_batches([verdict.scores])
    keep = [
        row
        for row in zip(
            table.column("multivariate").to_pylist(),
            table.column("risk").to_pylist(),
            table.column("event").to_pylist(),
            table.column("ts").cast(pa.int64()).to_pylist(),
            table.column("role").cast(pa.string()).to_pylist(),
            table.column("entity").cast(pa.string()).to_pylist(),
            strict=True,
        )
        if row[0] > 0 and row[4] == "actor" and row[5] == name
    ]
    return [row[:4] for row in keep]


def end(window: int) -> Rows:
    return [{"ts": START + 300 * (window + 1) + 1, "kind": "GET /", "actor": "p0", "target": "t0"}]


def test_a_strange_window_is_told_at_its_end_with_its_reason(events: MakeEvents) -> None:
    engine = Engine(Config())
    rows = office() + strange(WINDOWS)
    before = engine.feed(events(rows))
    after = engine.feed(events(end(WINDOWS)))
    [(surprisal, risk, event, ts)] = judged(after)
    assert 1.25 < surprisal <= 6.0
    assert ts == int((START + 300 * (WINDOWS + 1)) * 1e9) - 1
    assert event == len(rows) - 1, "the entity's own last event"
    known = max(
        score
        for score, name in zip(
            before.scores.column("risk").to_pylist(), before.scores.column("entity").to_pylist(), strict=True
        )
        if name == "p7"
    )
    assert risk > known
    found = engine.entity("actor", "p7", ts + 1)
    assert found is not None
    [reason] = [each for each in found.reasons if each.channel == "multivariate"]
    assert reason.contribution > 0.0
    assert reason.without < found.score
    assert sum(each.contribution for each in found.reasons) == pytest.approx(found.score, abs=1e-9)


def test_nothing_is_said_of_few_windows(events: MakeEvents) -> None:
    engine = Engine(Config())
    verdict = engine.feed(events(office(windows=10) + strange(10) + end(10)))
    assert not any(verdict.scores.column("multivariate").to_pylist())


def test_alerts_of_other_tools_are_no_windows(events: MakeEvents) -> None:
    engine = Engine(Config())
    rows = office(signal=4) + strange(WINDOWS, signal=4) + end(WINDOWS)
    verdict = engine.feed(events(rows))
    assert not any(verdict.scores.column("multivariate").to_pylist())
    assert not any(
        "ensemble" in name for name in from_bytes(engine.snapshot())[0] if name.startswith("actor")
    )


def test_what_a_person_declared_benign_is_no_part_of_a_window(events: MakeEvents) -> None:
    engine = Engine(Config())
    engine.feed(events(office()))
    engine.acknowledge("actor", "p7", "backup", until=None, at=0)
    engine.feed(events([*strange(WINDOWS), {**strange(WINDOWS)[-1], "kind": "backup"}]))
    assert judged(engine.feed(events(end(WINDOWS)))) == []


@settings(max_examples=8)
@given(cuts=st.lists(st.integers(0, 5200), max_size=5))
def test_batches_and_restarts_change_no_bit(events: MakeEvents, cuts: list[int]) -> None:
    batch = events(office() + strange(WINDOWS) + end(WINDOWS))
    whole = Engine(Config())
    expected = whole.feed(batch)
    assert judged(expected)
    engine = Engine(Config())
    got = []
    for first, last in pairwise([0, *sorted(min(cut, len(batch)) for cut in cuts), len(batch)]):
        engine = Engine.restore(engine.snapshot())
        got.append(engine.feed(batch.slice(first, last - first)))
    for name in ("event", "risk", "level", "multivariate"):
        parts = np.concatenate([verdict.scores.column(name).to_numpy() for verdict in got])
        assert parts.tobytes() == expected.scores.column(name).to_numpy().tobytes()
    assert engine.snapshot() == whole.snapshot()


def test_a_damaged_ensemble_is_refused(events: MakeEvents) -> None:
    engine = Engine(Config())
    engine.feed(events(office(windows=2) + end(2)))
    arrays, metadata = from_bytes(engine.snapshot())
    assert "actor/ensemble" in arrays
    told = {name: metadata[name] for name in ("digest", "config")}
    Engine.restore(Frozen(arrays, (), told).to_bytes())
    damaged = arrays["actor/ensemble"].copy()
    damaged[-1] ^= 1
    with pytest.raises(StateError, match="digest"):
        Engine.restore(Frozen({**arrays, "actor/ensemble": damaged}, (), told).to_bytes())


def grown(seed: int = 0, features: int = 4) -> bytes:
    random = np.random.default_rng(seed)
    return IsolationForest.fit(random.normal(size=(300, features)), trees=10, sample=32, seed=seed).to_bytes()


@settings(max_examples=6)
@given(cuts=st.lists(st.integers(0, 9000), max_size=5), at=st.sampled_from([0, 700, 3001]))
def test_a_forest_swapped_in_at_a_place_changes_no_bit_elsewhere(
    events: MakeEvents, cuts: list[int], at: int
) -> None:
    """Whatever the batches, and over restarts: the place in the stream alone decides."""
    batch = events(office() + strange(WINDOWS) + end(WINDOWS))
    whole = Engine(Config())
    whole.feed(batch.slice(0, at))
    whole.swap_forest("actor", grown())
    expected = whole.feed(batch.slice(at))
    plain = Engine(Config())
    plain.feed(batch)
    assert plain.snapshot() != whole.snapshot()
    engine = Engine(Config())
    edges = sorted({0, at, len(batch), *(min(cut, len(batch)) for cut in cuts)})
    verdicts = []
    for first, last in pairwise(edges):
        engine = Engine.restore(engine.snapshot())
        if first == at:
            engine.swap_forest("actor", grown())
        verdicts.append(engine.feed(batch.slice(first, last - first)))
    assert engine.snapshot() == whole.snapshot()
    tail = np.concatenate([verdict.scores.column("multivariate").to_numpy() for verdict in verdicts])
    told = expected.scores.column("multivariate").to_numpy()
    assert tail[len(tail) - len(told) :].tobytes() == told.tobytes()


def test_a_forest_that_is_none_is_refused_and_the_one_in_force_stays() -> None:
    engine = Engine(Config())
    engine.swap_forest("actor", grown())
    before = engine.snapshot()
    blob = grown(1)
    for wrong in (b"", blob[:-1], blob[:50] + b"x" + blob[51:], grown(features=3)):
        with pytest.raises(InputError, match="forest"):
            engine.swap_forest("actor", wrong)
    with pytest.raises(InputError, match="role"):
        engine.swap_forest("nobody", blob)
    assert engine.snapshot() == before


def test_the_windows_that_ended_are_handed_out(events: MakeEvents) -> None:
    verdict = Engine(Config()).feed(events(office(windows=3) + end(2)))
    assert [window.role for window in verdict.windows] == ["actor", "target"] * 3
    first = verdict.windows[0]
    assert first.vectors.shape == (PEOPLE, 4)
    assert first.ts_ns == int((START + 300) * 1e9) - 1
    told = office(windows=1)
    ours = sum(row["actor"] == told[0]["actor"] for row in told)
    assert first.vectors[0, 0] == np.log1p(ours)
