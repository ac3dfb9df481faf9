"""Scores of single events → one row for each entity and window, with the references beside the engine's score.

Owns the window: tumbling on event time from 1970, ``[start, start + width)``; only windows in which the entity has
an event exist. The engine's window score is the entity's peak in it; a window is positive when it holds at least
one event of that entity whose label is not benign.

The references score the same windows from what such products would have: how many events there are, their stated
severity, and how novel each one is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from scoring import risk

SCORERS: Final = ("guardian", "count", "elastic", "splunk", "secops")

NOVELTY_CLIP: Final = 20.0 * np.log10(2.0)
"""Novelty that counts as 100 points for ``elastic`` and ``secops``: 20 bits, in decades."""

UNSTATED_POINTS: Final = 50.0
"""Points of an event without severity for ``splunk``: all alike, as a rule's default risk score is."""


def entity_rows(scores: pa.Table, labels: pa.Array, severity: NDArray[np.float64], role: str) -> pl.DataFrame:
    """The rows of SCORES of one role, with the label and severity of their event.

    Columns: event, ts (ns), entity, risk, level, novelty (novelty + rarity, decades), label, severity.
    """
    wanted = pa.compute.equal(scores.column("role").cast(pa.string()), role)
    own = scores.select(["event", "ts", "entity", "novelty", "rarity", "risk", "level"]).filter(wanted)
    event = own.column("event").to_numpy()
    return pl.DataFrame(
        {
            "event": event,
            "ts": own.column("ts").cast(pa.int64()).to_numpy(),
            # through text: the dictionary of SCORES holds a name once per role, and polars wants it once
            "entity": pl.from_arrow(own.column("entity").cast(pa.large_string()).combine_chunks()),
            "risk": own.column("risk").to_numpy(),
            "level": own.column("level").to_numpy(),
            "novelty": (own.column("novelty").to_numpy() + own.column("rarity").to_numpy()).astype(
                np.float64
            ),
            "label": pl.from_arrow(labels.take(pa.array(event)).cast(pa.large_string())),
            "severity": severity[event],
        }
    )


def window_frame(rows: pl.DataFrame, width_ns: int, warm_until: int) -> pl.DataFrame:
    """One row for each entity and window, by start and then entity.

    Args:
        rows: from ``entity_rows``.
        width_ns: length of a window in nanoseconds.
        warm_until: windows that start before this (nanoseconds since 1970) are marked ``warm_up``.

    Columns: start (ns), entity, events, the SCORERS, level, peak_event (the first one with the peak), labels (those
    that are not benign, in order of appearance), positive, warm_up.
    """
    keyed = rows.with_columns(start=pl.col("ts").floordiv(width_ns) * width_ns)
    windows = (
        keyed.group_by("start", "entity", maintain_order=True)
        .agg(
            events=pl.len(),
            guardian=pl.col("risk").max(),
            level=pl.col("level").max(),
            peak_event=pl.col("event").get(pl.col("risk").arg_max()),
            labels=pl.col("label").filter(pl.col("label") != "").unique(maintain_order=True),
        )
        .with_columns(positive=pl.col("labels").list.len() > 0, warm_up=pl.col("start") < warm_until)
        .sort("start", "entity")
        .with_row_index("window")
    )
    group = (
        keyed.join(windows.select("start", "entity", "window"), on=["start", "entity"], maintain_order="left")
        .get_column("window")
        .to_numpy()
        .astype(np.int64)
    )
    points = 100.0 * np.clip(rows.get_column("novelty").to_numpy() / NOVELTY_CLIP, 0.0, 1.0)
    severity = rows.get_column("severity").to_numpy()
    stated = np.where(np.isnan(severity), UNSTATED_POINTS, 100.0 * severity)
    return windows.drop("window").with_columns(
        count=pl.Series(risk.count(points, groups=group)),
        elastic=pl.Series(risk.elastic_zeta(points, groups=group)),
        splunk=pl.Series(risk.splunk_sum(stated, groups=group)),
        secops=pl.Series(risk.secops_max(points, groups=group)),
    )
