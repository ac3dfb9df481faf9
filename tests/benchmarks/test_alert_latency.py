"""The benchmark of alerts through the whole service, in small: each arrives, once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.mark.slow
def test_each_alert_arrives_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import alert_latency

    try:
        rows = alert_latency.measure(Path(), quick=True)
    finally:
        for name in ("alert_latency", "serving"):
            sys.modules.pop(name)
    assert [(row["missing"], row["twice"]) for row in rows] == [(0, 0)] * len(alert_latency.SINKS), rows
    assert all(row["alerts"] > 0 for row in rows)
