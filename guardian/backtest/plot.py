"""Charts of a backtest. Altair is imported when one is asked for.

Owns what a chart shows. Long series are thinned by taking peaks, so that no peak is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

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

        def say(key: str) -> str:
            return text(f"backtest.{key}", language)

        windows = self._result.windows
        drawn = _thinned(windows, list(entities) if entities is not None else _foremost(windows))
        spans = _spans(windows, self._result.window_ns)
        time = alt.X("start:T", title=say("time"), scale=alt.Scale(type="utc"))
        under = (
            alt.Chart(spans)
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
        bands = pl.DataFrame(
            {
                "score": BAND_EDGES,
                "level": [text(f"levels.{level.word}", language) for level in list(Level)[1:]],
                "colour": [COLOUR[level] for level in list(Level)[1:]],
            }
        )
        edges = (
            alt.Chart(bands)
            .mark_rule(strokeDash=[4, 3])
            .encode(y="score:Q", color=alt.Color("colour:N", scale=None))
        )
        words = (
            alt.Chart(bands)
            .mark_text(align="left", baseline="bottom", dx=4, dy=-2, fontSize=11)
            .encode(y="score:Q", x=alt.value(0), text="level:N")
        )
        lines = (
            alt.Chart(drawn)
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
        note = text("backtest.timeline_note", language, positives=self._result.coverage.positives)
        title = alt.TitleParams(say("timeline"), subtitle=note)
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


def _thinned(windows: pl.DataFrame, entities: list[str]) -> pl.DataFrame:
    """Peak of each entity in at most ``MOST_POINTS`` equal stretches of the whole time; ``start`` in milliseconds."""
    start = pl.col("start").cast(pl.Int64)
    first, last = windows.select(first=start.min(), last=start.max()).row(0) if len(windows) else (0, 0)
    stretch_ns = -(-(last - first + 1) // MOST_POINTS)
    return (
        windows.filter(pl.col("entity").is_in(entities))
        .group_by("entity", stretch=(start - first).floordiv(stretch_ns))
        .agg(start=pl.col("start").get(pl.col("guardian").arg_max()), score=pl.col("guardian").max().round(2))
        .select("entity", start=pl.col("start").dt.epoch("ms"), score="score")
        .sort("entity", "start")
    )


def _spans(windows: pl.DataFrame, width_ns: int) -> pl.DataFrame:
    """Where each label has events: its neighbouring windows joined; the longest spans, if there are too many.

    Times are milliseconds since 1970, which every browser reads alike.
    """
    width = pl.duration(nanoseconds=width_ns)
    new = (pl.col("start").diff().over("label") > width).fill_null(value=True)
    return (
        windows.select("start", label="labels")
        .explode("label", empty_as_null=False)
        .unique()
        .sort("label", "start")
        .group_by("label", run=new.cum_sum().over("label"))
        .agg(first=pl.col("start").min(), stop=pl.col("start").max() + width)
        .sort(pl.col("stop") - pl.col("first"), "label", "first", descending=[True, False, False])
        .head(MOST_SPANS)
        .sort("first", "label")
        .select("label", start=pl.col("first").dt.epoch("ms"), stop=pl.col("stop").dt.epoch("ms"))
    )
