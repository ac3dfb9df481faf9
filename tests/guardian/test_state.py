"""Memory: growth changes nothing, snapshots are whole or refused."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from guardian import state as states
from guardian.config import Config
from guardian.engine import Engine
from guardian.errors import StateError
from scoring.layout import USED

MakeEvents = Callable[..., pa.RecordBatch]


def test_growth_is_bounded_and_changes_nothing(events: MakeEvents) -> None:
    engine = Engine(Config())
    rows = [{"ts": 1.7e9 + i, "kind": f"k{i % 50}", "actor": f"a{i}"} for i in range(5000)]
    engine.feed(events(rows))
    role = engine._roles["actor"]
    assert role.entities.meta[USED] == 5000
    assert len(role.entity) < 2 * (5000 + 4096)
    small = Engine(Config())
    for start in range(0, 5000, 100):
        small.feed(events(rows[start : start + 100]))
    assert small.snapshot() == engine.snapshot()


def test_rings_exist_only_where_a_rule_needs_them() -> None:
    plain = states.new_role(watches_logins=False, watches_requests=False, watches_steps=False)
    assert len(plain.failures) == len(plain.injections) == len(plain.seconds) == len(plain.step) == 1
    grown = states.with_room(plain, 5000, {"entities": 9000, "kinds": 100, "pairs": 9000})
    assert len(grown.entity) == 5000
    assert len(grown.failures) == 1
    assert len(grown.kind) == len(plain.kind), "a limit below the first room changes nothing"


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
    monkeypatch.setattr(states, "STATE_VERSION", "guardian-state/9")
    blob = states.to_bytes({"a": np.zeros(1)}, {})
    monkeypatch.undo()
    with pytest.raises(StateError, match="expected a snapshot of guardian-state/4, got guardian-state/9"):
        states.from_bytes(blob)
