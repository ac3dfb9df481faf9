"""One alert: from the engine's batch, and as the API shows it."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from exporters.alert import alerts_from
from guardian.events import ALERTS
from guardian.levels import Level

from .conftest import make_alert


def test_alerts_from_the_engines_batch() -> None:
    row = {
        "alert_id": bytes(range(16)),
        "ts": 1_700_000_000_123_456_789,
        "role": "actor",
        "entity": "ana",
        "layer": -1,
        "level_from": 1,
        "level_to": 3,
        "score": 61.5,
        "extrapolated": False,
        "reasons": [{"channel": "rule", "contribution": 61.5, "kind": "login", "event": 7, "without": 3.0}],
        "event": 7,
        "trace_id": bytes(16),
        "config": "c0ffee",
    }
    batch = pa.RecordBatch.from_pylist([row, row | {"trace_id": b"\x01" * 16}], schema=ALERTS)
    first, second = alerts_from(batch, synthetic=True)
    assert (first.id, first.created_at) == ("000102030405060708090a0b0c0d0e0f", 1_700_000_000_123_456_789)
    assert (first.level_from, first.level_to, first.synthetic) == (Level.LOW, Level.HIGH, True)
    assert (first.trace_id, second.trace_id) == ("", "01" * 16)
    assert first.to_json()["layer"] is None


def test_what_tells_about_the_same_has_one_identity() -> None:
    opened = make_alert(1)
    over = replace(make_alert(2), finding=opened.id, activity="resolved")
    assert opened.identity == over.identity == over.to_json()["finding"] == opened.id
    assert over.to_json()["activity"] == "resolved"
