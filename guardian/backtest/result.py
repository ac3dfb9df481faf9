"""What a backtest found, as plain records: coverage first, then metrics.

Owns the shape of a result, in Python (snake_case) and in JSON (camelCase).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
from msgspec import Struct

from guardian.backtest.durations import moment
from guardian.errors import InputError
from guardian.texts import Language
from guardian.view import Reason

if TYPE_CHECKING:
    from rich.console import Console

    from guardian.backtest.plot import Plot

Range = tuple[float, float]


class Coverage(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the figures rest on. Read this before them."""

    read: int
    rejected: dict[str, int]
    """By reason; rejected events were not scored."""
    scored: int
    late: int
    unnamed: int
    """Scored events that name nobody in the role that was judged."""
    entities: int
    windows: int
    warm_up_windows: int
    judged_windows: int
    positives: int
    """Judged windows with at least one labelled event."""
    first: str
    last: str
    judged_days: float
    """Days after the warm-up."""
    entity_days: float
    """Entities seen after the warm-up × ``judged_days``."""


class Ranking(Struct, frozen=True, kw_only=True, rename="camel"):
    """How well one score ranks the judged windows; null where every window is positive, or none is."""

    roc_auc: float | None
    roc_auc_interval: Range | None
    average_precision: float | None
    average_precision_interval: Range | None


class Attack(Struct, frozen=True, kw_only=True, rename="camel"):
    """One label value: when it ran, and when the first of its entities reached high."""

    label: str
    first: str
    last: str
    events: int
    entities: int
    windows: int
    warm_up: bool
    """It began in the warm-up; then it is shown, but its windows there are not judged."""
    peak: float
    detected: str | None
    delay_s: float | None
    """From its first event to the first event at which one of its entities stood at high; null = never."""


class AlertRate(Struct, frozen=True, kw_only=True, rename="camel"):
    """Rises to a level or past it, after the warm-up. False = in a window that is not positive."""

    level: str
    alerts: int
    per_day: float | None
    """Null when nothing lies after the warm-up, like the other rate."""
    false_alerts: int
    false_per_entity_day: float | None


class Metrics(Struct, frozen=True, kw_only=True, rename="camel"):
    """The figures: rankings by scorer, delays by attack, alert rates by level."""

    scorers: dict[str, Ranking]
    attacks: list[Attack]
    alerts: list[AlertRate]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an entity had the score it had, at the peak of one window. The contributions sum to the score."""

    entity: str
    start: datetime
    score: float
    labels: tuple[str, ...]
    event: int
    """Row of the peak in time order, as in SCORES."""
    reasons: tuple[Reason, ...]
    kinds: dict[str, int]
    """What happened at the entity in the window: kind → events, most frequent first."""

    def print(self, console: Console, language: Language) -> None:
        """Write it to a terminal, with the level that would stand without its strongest channel."""
        from guardian.backtest.report import explanation

        console.print(explanation(self, language))


@dataclass(frozen=True)
class Result:
    """A backtest's outcome.

    ``scores`` holds SCORES of every event (``event`` = its row in time order), ``alerts`` ALERTS, ``windows`` one row
    for each entity and window that the metrics were computed from.
    """

    by: str
    window_ns: int
    coverage: Coverage
    metrics: Metrics
    scores: pl.DataFrame
    alerts: pl.DataFrame
    windows: pl.DataFrame
    config: str
    """Digest of the configuration."""
    why: Callable[[str, int], tuple[Reason, ...]]
    kinds: Callable[[str, int, int], dict[str, int]]

    def explain(self, entity: str, at: datetime | str | int) -> Explanation:
        """Why ``entity`` had its score in the window that holds ``at``.

        The events up to its peak are fed again to a fresh engine, so this takes as long as the backtest up to there.

        Args:
            entity: a name in the role that was judged.
            at: a datetime (naive = UTC), ISO 8601 text, or nanoseconds since 1970.

        Raises:
            InputError: ``at`` is no time, or the entity has no event in that window.
        """
        start = moment(at) // self.window_ns * self.window_ns
        found = self.windows.filter(
            (pl.col("entity") == entity)
            & (pl.col("start") == pl.from_epoch(pl.lit(start), "ns").dt.replace_time_zone("UTC"))
        ).to_dicts()
        if not found:
            raise InputError("explain", f"no event of this {self.by} in the window of {at}")
        (row,) = found
        return Explanation(
            entity=entity,
            start=row["start"],
            score=row["guardian"],
            labels=tuple(row["labels"]),
            event=row["peak_event"],
            reasons=self.why(entity, row["peak_event"]),
            kinds=self.kinds(entity, start, start + self.window_ns),
        )

    @property
    def plot(self) -> Plot:
        """Charts of this result."""
        from guardian.backtest.plot import Plot

        return Plot(self)

    def print(self, console: Console, language: Language) -> None:
        """Write tables to a terminal: coverage first."""
        from guardian.backtest.report import tables

        for table in tables(self, language):
            console.print(table)

    def to_json(self) -> dict[str, Any]:
        """Coverage and metrics as JSON's own types, with camelCase keys."""
        shown: dict[str, Any] = msgspec.json.decode(
            msgspec.json.encode(
                {
                    "by": self.by,
                    "windowSeconds": self.window_ns / 1e9,
                    "coverage": self.coverage,
                    "metrics": self.metrics,
                    "config": self.config,
                }
            )
        )
        return shown
