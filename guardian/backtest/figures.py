"""The figures of a backtest, each from the frames of ``guardian.backtest.windows``.

Owns what each figure means: coverage, rankings, detection delays, alert rates. Does not own how rankings are computed
(``guardian.backtest.ranking``).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from guardian.backtest import ranking
from guardian.backtest.durations import iso
from guardian.backtest.labelled import Labelled
from guardian.backtest.result import AlertRate, Attack, Coverage, Ranking
from guardian.levels import Level

DAY_NS: Final = 86_400 * 10**9
UNDEFINED: Final = Ranking(
    roc_auc=None, roc_auc_interval=None, average_precision=None, average_precision_interval=None
)


def coverage(given: Labelled, rows: pl.DataFrame, windows: pl.DataFrame, warm_until: int) -> Coverage:
    """What the other figures rest on."""
    judged = windows.filter(~pl.col("warm_up"))
    first, last = int(given.ts[0]), int(given.ts[-1])
    days = max(0, last - warm_until) / DAY_NS
    return Coverage(
        read=given.read,
        rejected=given.rejected,
        scored=len(given.events),
        late=given.late,
        unnamed=len(given.events) - len(rows),
        entities=rows.get_column("entity").n_unique(),
        windows=len(windows),
        warm_up_windows=len(windows) - len(judged),
        judged_windows=len(judged),
        positives=int(judged.get_column("positive").sum()),
        first=iso(first),
        last=iso(last),
        judged_days=days,
        entity_days=judged.get_column("entity").n_unique() * days,
    )


def ranked(judged: pl.DataFrame, scorer: str) -> Ranking:
    """How well one column of the judged windows ranks the positive ones first."""
    score = judged.get_column(scorer).to_numpy().astype(np.float64)
    positive = judged.get_column("positive").to_numpy()
    figures = ranking.point(score, positive)
    if figures is None:
        return UNDEFINED
    # One block a window over all entities: what happens to several entities at one time is one happening.
    ranges = ranking.interval(score, positive, judged.get_column("start").to_numpy())
    return Ranking(
        roc_auc=figures[0],
        roc_auc_interval=None if ranges is None else ranges[0],
        average_precision=figures[1],
        average_precision_interval=None if ranges is None else ranges[1],
    )


def attacks(rows: pl.DataFrame, width_ns: int, warm_until: int) -> list[Attack]:
    """Every label that is not benign, in the order of their first events.

    Detected = the first event, from the attack's first to its last, at which one of the entities that it touches
    stands at high or above. An entity that stands there already, by an earlier attack or wrongly, gives a delay of 0.
    """
    found: list[Attack] = []
    hits_of = rows.filter(pl.col("label") != "").partition_by("label", maintain_order=True)
    for hits in hits_of:
        times = hits.get_column("ts").to_numpy()
        first, last = int(times.min()), int(times.max())
        entities = hits.get_column("entity").unique()
        during = rows.filter(pl.col("ts").is_between(first, last), pl.col("entity").is_in(entities.implode()))
        high = during.filter(pl.col("level") >= int(Level.HIGH)).get_column("ts").to_numpy()
        detected = int(high[0]) if len(high) else None
        found.append(
            Attack(
                label=str(hits.item(0, "label")),
                first=iso(first),
                last=iso(last),
                events=hits.get_column("event").n_unique(),
                entities=len(entities),
                windows=len(hits.select(pl.col("ts").floordiv(width_ns), "entity").unique()),
                warm_up=first < warm_until,
                peak=float(during.get_column("risk").to_numpy().max()),
                detected=None if detected is None else iso(detected),
                delay_s=None if detected is None else (detected - first) / 1e9,
            )
        )
    return found


def alert_rates(
    alerts: pl.DataFrame, judged: pl.DataFrame, coverage: Coverage, width_ns: int
) -> list[AlertRate]:
    """Rises to each level or past it in judged windows; false = in a window that is not positive."""
    placed = alerts.with_columns(start=pl.col("ts").cast(pl.Int64).floordiv(width_ns) * width_ns).join(
        judged.select("start", "entity", "positive"), on=["start", "entity"]
    )
    rates = []
    for level in list(Level)[1:]:
        risen = placed.filter(pl.col("level_from") < int(level), pl.col("level_to") >= int(level))
        false = len(risen.filter(~pl.col("positive")))
        rates.append(
            AlertRate(
                level=level.word,
                alerts=len(risen),
                per_day=_rate(len(risen), coverage.judged_days),
                false_alerts=false,
                false_per_entity_day=_rate(false, coverage.entity_days),
            )
        )
    return rates


def _rate(count: int, span: float) -> float | None:
    return count / span if span > 0 else None
