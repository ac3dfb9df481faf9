"""How everything stands: pages of entities, protocols, layers, the crowd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from guardian.config import Config, parse
from guardian.engine import Engine
from guardian.levels import Level
from guardian.survey import crowd_score

MakeEvents = Callable[..., pa.RecordBatch]
START = 1_700_000_000.0


def test_an_engine_that_has_seen_nothing() -> None:
    view = Engine(Config()).view()
    assert (view.score, view.level, view.events, view.updated_at) == (0.0, Level.NONE, 0, 0)
    assert view.top == ()
    assert Engine(Config()).raised() == {}
    assert Engine(Config()).entities(limit=10, offset=0) == ([], 0)
    assert Engine(Config()).entity("actor", "ana") is None


def test_pages_put_together_are_the_whole(events: MakeEvents) -> None:
    engine = Engine(parse("[rules]\nhoneypots = ['t3', 't7']"))
    rows = [
        {"ts": START + i, "kind": f"k{i % 3}", "actor": f"a{i % 23}", "target": f"t{i % 11}"}
        for i in range(200)
    ]
    engine.feed(events(rows))
    whole, total = engine.entities(limit=200, offset=0)
    assert total == len(whole) == 34
    assert [e.score for e in whole] == sorted((e.score for e in whole), reverse=True)
    pages = [entity for offset in range(0, 40, 7) for entity in engine.entities(limit=7, offset=offset)[0]]
    assert [(e.role, e.entity) for e in pages] == [(e.role, e.entity) for e in whole]
    assert whole[0].level == Level.HIGH
    raised = {(each.role, each.entity): each.level for each in whole if each.level > Level.NONE}
    assert engine.raised() == raised
    assert engine.raised(engine.watermark + 86_400 * 10**9) == {}


def test_protocols_are_targets_with_their_mark(events: MakeEvents) -> None:
    engine = Engine(Config())
    rejected = {
        "signal": 3,
        "outcome": 3,
        "severity": 1.0,
        "kind": "protocol.fenix.rejected",
        "target": "protocol:fenix",
    }
    calm = {
        "signal": 3,
        "outcome": 1,
        "severity": 0.25,
        "kind": "protocol.xr.approved",
        "target": "protocol:xr",
    }
    engine.feed(events([{"ts": START, **rejected}, {"ts": START, **calm}]))
    protocols = engine.view().protocols
    assert protocols["fenix"].level == Level.CRITICAL
    assert protocols["xr"].level == Level.NONE


def test_an_entity_by_its_name(events: MakeEvents) -> None:
    engine = Engine(Config())
    engine.feed(events([{"ts": START + i, "kind": "a", "actor": "ñandú", "layer": 5} for i in range(3)]))
    found = engine.entity("actor", "ñandú")
    assert found is not None
    assert (found.events, found.layer, found.first_seen) == (3, 5, int(START * 1e9))
    assert engine.entity("address", "ñandú") is None
    assert engine.entity("actor", "") is None


@given(st.lists(st.floats(0, 100), max_size=200))
def test_the_crowd_stays_in_range_and_grows_with_its_scores(scores: list[float]) -> None:
    one = crowd_score(np.array(scores))
    assert 0.0 <= one <= 100.0
    assert crowd_score(np.minimum(np.array(scores) + 20.0, 100.0)) >= one or not scores
