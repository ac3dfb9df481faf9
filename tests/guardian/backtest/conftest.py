"""A stand-in for the engine whose scores a test can choose: an event's ``value`` is its score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from guardian.backtest import Result, backtest
from guardian.config import Config
from guardian.engine import Verdict
from guardian.events import ALERTS, CHANNELS, ROLES, SCORES, check_events
from guardian.levels import level_of
from guardian.view import EntityView, Reason

HOUR = 3600
DAY = 24 * HOUR


class ValueEngine:
    """SCORES with ``risk`` = the event's value, and an alert whenever an entity's level rises."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._events = 0
        self._score: dict[tuple[str, str], float] = {}
        self.seen: list[pa.RecordBatch] = []

    def feed(self, batch: pa.RecordBatch) -> Verdict:
        batch = check_events(batch)
        self.seen.append(batch)
        scores: list[dict[str, Any]] = []
        alerts: list[dict[str, Any]] = []
        for row in batch.to_pylist():
            for role in ROLES:
                if not row[role]:
                    continue
                risk = 0.0 if np.isnan(row["value"]) else row["value"]
                before = level_of(self._score.get((role, row[role]), 0.0))
                self._score[role, row[role]] = risk
                level = level_of(risk)
                scores.append(
                    {
                        "event": self._events,
                        "ts": row["ts"],
                        "role": role,
                        "entity": row[role],
                        **dict.fromkeys(CHANNELS, 0.0),
                        "novelty": risk / 20.0,
                        "risk": risk,
                        "level": int(level),
                    }
                )
                if level > before:
                    alerts.append(
                        {
                            "alert_id": self._events.to_bytes(16, "big"),
                            "ts": row["ts"],
                            "role": role,
                            "entity": row[role],
                            "layer": row["layer"],
                            "level_from": int(before),
                            "level_to": int(level),
                            "score": risk,
                            "extrapolated": False,
                            "reasons": [],
                            "event": self._events,
                            "trace_id": bytes(16),
                            "config": self.config.digest(),
                        }
                    )
            self._events += 1
        return Verdict(
            pa.RecordBatch.from_pylist(scores, schema=SCORES),
            pa.RecordBatch.from_pylist(alerts, schema=ALERTS),
        )

    def entity(self, role: str, name: str) -> EntityView | None:
        score = self._score.get((role, name))
        if score is None:
            return None
        reasons = (Reason("novelty", score, "any", self._events - 1, 0.0),)
        return EntityView(role, name, score, level_of(score), 0, 0, 1, -1, reasons)


@pytest.fixture(scope="session")
def value_engine() -> type[ValueEngine]:
    return ValueEngine


MakeFrame = Callable[..., pl.DataFrame]


def make_frame(rows: list[tuple[float, str, float, str]]) -> pl.DataFrame:
    """Rows of (seconds, target, score, label) as a frame of events."""
    return pl.DataFrame(
        {
            "ts": pl.Series([round(at * 1e9) for at, *_ in rows], dtype=pl.Int64)
            .cast(pl.Datetime("ns"))
            .dt.replace_time_zone("UTC"),
            "kind": pl.Series([f"kind of {label or 'nothing'}" for *_, label in rows], dtype=pl.String),
            "target": pl.Series([target for _, target, *_ in rows], dtype=pl.String),
            "value": pl.Series([score for *_, score, _ in rows], dtype=pl.Float64),
            "label": pl.Series([label for *_, label in rows], dtype=pl.String),
        }
    )


@pytest.fixture(scope="session")
def frame() -> MakeFrame:
    return make_frame


@pytest.fixture(scope="session")
def small() -> Result:
    """Two days, two hosts, one attack on one of them that is found after 60 s, and one false alert."""
    rows = [(hour * HOUR, host, 5.0, "-") for hour in range(48) for host in ("web", "db")]
    attack = 30 * HOUR
    rows += [
        (attack + 10, "web", 30.0, "scan"),
        (attack + 70, "web", 65.0, "scan"),
        (attack + 75, "web", 90.0, "dump"),
    ]
    rows += [(40 * HOUR + 1, "db", 61.0, "")]
    return backtest(make_frame(rows), engine=ValueEngine)
