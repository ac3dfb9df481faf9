"""The benchmark's data and table; its figures are not judged here."""

from __future__ import annotations

from guardian.bench import synthetic_events, table
from guardian.config import Config
from guardian.engine import Engine


def test_synthetic_events_are_events_and_the_same_each_time() -> None:
    batch = synthetic_events(500)
    assert batch.column("actor").equals(synthetic_events(500).column("actor"))
    verdict = Engine(Config()).feed(batch)
    assert len(verdict.scores) >= 4 * 500  # and what the ends of windows raised


def test_the_table_says_what_stands_beside() -> None:
    figure = {
        "name": "replay",
        "eventsPerSecond": 1e5,
        "eventsPerCpuSecond": 2e5,
        "cpuSeconds": 1.0,
        "peakMemoryBytes": 2**20,
        "peer": {"name": "River", "eventsPerCpuSecond": 1e4, "ratio": 20.0},
    }
    made = table(
        {"machine": "m", "figures": [figure, {k: v for k, v in figure.items() if k != "peer"}]}, "en"
    )
    assert made.row_count == 2
