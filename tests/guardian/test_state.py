"""Memory: growth is bounded and changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from guardian import state as states
from guardian.config import Config
from guardian.engine import Engine
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
