"""Snapshots: a state as it was, whole or refused."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from guardian import frozen
from guardian.config import Config
from guardian.engine import Engine
from guardian.errors import StateError

MakeEvents = Callable[..., pa.RecordBatch]


def test_what_comes_later_does_not_change_it(events: MakeEvents) -> None:
    rows = [{"ts": 1.7e9 + i, "kind": f"k{i % 7}", "actor": f"a{i % 30}"} for i in range(600)]
    engine, other = Engine(Config()), Engine(Config())
    engine.feed(events(rows[:300]))
    other.feed(events(rows[:300]))
    taken = engine.frozen()
    engine.feed(events(rows[300:]))
    assert taken.to_bytes() == other.snapshot()
    assert engine.snapshot() != other.snapshot()


def test_arrays_of_any_kind_come_back() -> None:
    arrays = {
        "empty": np.zeros((0, 3), np.float32),
        "rows": np.zeros(2, [("a", np.int64), ("b", np.float32, (2,))]),
        "square": np.arange(6, dtype=np.uint16).reshape(2, 3),
    }
    found, metadata = frozen.from_bytes(frozen.Frozen(arrays, (), {"config": "x"}).to_bytes())
    assert metadata["config"] == "x"
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_any_flipped_byte_is_refused(events: MakeEvents) -> None:
    """Looked at before Arrow reads it, which aborts the process on some damaged files."""
    engine = Engine(Config())
    engine.feed(events([{"ts": 1.7e9 + i, "kind": "k", "actor": f"a{i % 3}"} for i in range(20)]))
    blob = engine.snapshot()
    rng = random.Random(5)
    for place in [0, len(blob) - 1, *(rng.randrange(len(blob)) for _ in range(300))]:
        data = bytearray(blob)
        data[place] ^= 1 << rng.randrange(8)
        with pytest.raises(StateError):
            Engine.restore(bytes(data))


def test_a_name_that_looks_like_a_seal_changes_nothing(events: MakeEvents) -> None:
    engine = Engine(Config())
    name = "guardian-seal:" + "0" * 64
    engine.feed(events([{"ts": 1.7e9, "kind": name, "actor": name}]))
    found = Engine.restore(engine.snapshot()).entity("actor", name)
    assert found is not None
    assert found.entity == name


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "STATE_VERSION", "guardian-state/9")
    blob = frozen.Frozen({"a": np.zeros(1)}, (), {}).to_bytes()
    monkeypatch.undo()
    with pytest.raises(StateError, match="expected a snapshot of guardian-state/4, got guardian-state/9"):
        frozen.from_bytes(blob)
