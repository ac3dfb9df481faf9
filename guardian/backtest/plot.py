"""Charts of a backtest. Altair is imported when one is asked for.

Owns what a chart shows. Long series are thinned by taking peaks, so that no peak is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from guardian.levels import BAND_EDGES, COLOUR, Level
from guardian.texts import Language, text

if TYPE_CHECKING:
    import altair as alt

    from guardian.backtest.result import Result

MOST_ENTITIES: Final = 8
MOST_POINTS: Final = 500
"""Points a line; eight lines stay under the 5,000 rows that a page should carry."""

MOST_SPANS: Final = 500


class Plot:
    """Charts of one result."""

    def __init__(self, result: Result) -> None:
        self._result = result

    def timeline(
        self, *, entities: Sequence[str] | None = None, language: Language = "es-MX"
    ) -> alt.LayerChart:
        """Window scores over time, with the bands of the levels and the spans in which labelled events fall.

        Args:
            entities: which to draw; without it the eight with labelled events and the highest peaks.
            language: of titles and legends.
        """
        import altair as alt

        def say(key: str, **values: Any) -> str:
            return text(f"backtest.{key}", language, **values)

        windows = self._result.windows
        drawn = _thinned(windows, list(entities) if entities is not None else _foremost(windows))
        spans = _spans(windows, self._result.window_ns)
        time = alt.X("start:T", title=say("time"), scale=alt.Scale(type="utc"))
        under = (
            alt.Chart(alt.Data(values=spans))
            .mark_rect(opacity=0.18, color="#8e8e93")
            .encode(
                x=time,
                x2="stop:T",
                tooltip=[
                    alt.Tooltip("label:N", title=say("attack")),
                    alt.Tooltip("start:T", title=say("time")),
                ],
            )
        )
        bands = [
            {
                "score": edge,
                "level": text(f"levels.{level.word}", language),
                "colour": COLOUR[level],
            }
            for level, edge in zip(list(Level)[1:], BAND_EDGES, strict=True)
        ]
        edges = (
            alt.Chart(alt.Data(values=bands))
            .mark_rule(strokeDash=[4, 3])
            .encode(y="score:Q", color=alt.Color("colour:N", scale=None))
        )
        words = (
            alt.Chart(alt.Data(values=bands))
            .mark_text(align="left", baseline="bottom", dx=4, dy=-2, fontSize=11)
            .encode(y="score:Q", x=alt.value(0), text="level:N")
        )
        lines = (
            alt.Chart(alt.Data(values=drawn))
            .mark_line(point=alt.OverlayMarkDef(size=14), interpolate="step-after", strokeWidth=1.5)
            .encode(
                x=time,
                y=alt.Y("score:Q", title=say("score"), scale=alt.Scale(domain=[0, 100])),
                color=alt.Color("entity:N", title=say(f"role_{self._result.by}")),
                tooltip=[
                    alt.Tooltip("entity:N", title=say(f"role_{self._result.by}")),
                    alt.Tooltip("score:Q", title=say("score"), format=".1f"),
                    alt.Tooltip("start:T", title=say("time")),
                ],
            )
        )
        title = alt.TitleParams(
            say("timeline"), subtitle=say("timeline_note", positives=self._result.coverage.positives)
        )
        chart: alt.LayerChart = (
            alt.layer(under, edges, words, lines)
            .resolve_scale(color="independent")
            .properties(width=900, height=320, title=title)
        )
        return chart


def _foremost(windows: pl.DataFrame) -> list[str]:
    order = (
        windows.group_by("entity")
        .agg(hit=pl.col("positive").any(), peak=pl.col("guardian").max())
        .sort(["hit", "peak", "entity"], descending=[True, True, False])
    )
    names: list[str] = order.get_column("entity").head(MOST_ENTITIES).to_list()
    return names


def _thinned(windows: pl.DataFrame, entities: list[str]) -> list[dict[str, Any]]:
    """Peak of each entity in at most ``MOST_POINTS`` equal stretches of the whole time."""
    own = windows.filter(pl.col("entity").is_in(entities)).with_columns(at=pl.col("start").cast(pl.Int64))
    if not len(own):
        return []
    first, last = windows.get_column("start").cast(pl.Int64).to_numpy()[[0, -1]].tolist()
    stretch = max(1, -(-(last - first + 1) // MOST_POINTS))
    peaks = (
        own.with_columns(stretch=(pl.col("at") - first).floordiv(stretch))
        .group_by("entity", "stretch")
        .agg(
            at=pl.col("at").get(pl.col("guardian").arg_max()),
            score=pl.col("guardian").max().round(2),
        )
        .sort("entity", "at")
    )
    return [
        {"entity": entity, "start": at // 10**6, "score": score}
        for entity, at, score in peaks.select("entity", "at", "score").iter_rows()
    ]


def _spans(windows: pl.DataFrame, width_ns: int) -> list[dict[str, Any]]:
    """Where each label has events: its neighbouring windows joined, the longest spans if there are too many."""
    runs = (
        windows.select("start", label="labels")
        .explode("label", empty_as_null=False)
        .unique()
        .with_columns(at=pl.col("start").cast(pl.Int64))
        .sort("label", "at")
        .with_columns(
            run=(pl.col("at").diff().over("label").fill_null(width_ns + 1) > width_ns).cum_sum().over("label")
        )
        .group_by("label", "run")
        .agg(first=pl.col("at").min(), last=pl.col("at").max())
        .sort((pl.col("last") - pl.col("first")), "label", "first", descending=[True, False, False])
        .head(MOST_SPANS)
    )
    return [
        {"label": label, "start": first // 10**6, "stop": (last + width_ns) // 10**6}
        for label, first, last in runs.select("label", "first", "last").sort("first", "label").iter_rows()
    ]
