from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from guardian.backtest import Result, backtest
from guardian.backtest.plot import MOST_ENTITIES, MOST_POINTS, _spans, _thinned
from guardian.texts import LANGUAGES, Language

HOUR = 3600


def datasets(chart: Any) -> list[list[dict[str, Any]]]:
    return list(chart.to_dict()["datasets"].values())


@pytest.mark.parametrize(
    ("language", "title", "high"), [("es-MX", "Puntaje", "alto"), ("en", "Guardian score", "high")]
)
def test_timeline_in_both_languages(small: Result, language: Language, title: str, high: str):
    chart = small.plot.timeline(language=language)
    assert chart.to_dict()["title"]["text"].startswith(title)
    spans, bands, lines = datasets(chart)
    assert [band["level"] for band in bands][2] == high
    assert [band["score"] for band in bands] == [20.0, 40.0, 60.0, 80.0]
    assert sorted(span["label"] for span in spans) == ["dump", "scan"]
    assert max(point["score"] for point in lines) == 90.0


def test_all_languages_are_tried():
    assert set(LANGUAGES) == {"es-MX", "en"}


def test_only_the_entities_asked_for(small: Result):
    assert {point["entity"] for point in datasets(small.plot.timeline(entities=["db"]))[2]} == {"db"}


def test_no_windows_still_give_a_chart(value_engine: Any, frame: Any):
    empty = backtest(frame([(0.0, "web", 1.0, "")]), by="actor", engine=value_engine)
    assert empty.plot.timeline().to_dict()["title"]


def test_many_entities_and_windows_are_thinned_without_losing_a_peak(value_engine: Any, frame: Any):
    rows = [
        (n * 300.0, f"host{n % 20:02}", 97.0 if n == 4321 else float(n % 50), "x" if n == 9 else "")
        for n in range(20_000)
    ]
    result = backtest(frame(rows), engine=value_engine)
    spans, _, lines = datasets(result.plot.timeline())
    names = {point["entity"] for point in lines}
    assert len(names) == MOST_ENTITIES
    assert {"host09", f"host{4321 % 20:02}"} <= names
    assert max(point["score"] for point in lines) == 97.0
    assert len(lines) <= MOST_ENTITIES * MOST_POINTS
    assert len(spans) == 1


def test_spans_join_neighbouring_windows_of_one_label():
    start = datetime(2026, 1, 1)  # noqa: DTZ001  (polars adds the zone)
    at = [start + timedelta(minutes=5 * n) for n in (0, 1, 3, 1)]
    windows = pl.DataFrame(
        {
            "start": at,
            "labels": [["a"], ["a", "b"], ["a"], []],
            "entity": ["w", "w", "w", "d"],
            "guardian": [1.0] * 4,
        },
        schema_overrides={"start": pl.Datetime("ns", "UTC"), "labels": pl.List(pl.String)},
    )
    spans = _spans(windows, 300 * 10**9)
    first = round(start.replace(tzinfo=UTC).timestamp() * 1000)
    minutes = [
        (label, ((begin - first) // 60_000, (stop - first) // 60_000))
        for label, begin, stop in spans.sort("label", "start").rows()
    ]
    assert minutes == [("a", (0, 10)), ("a", (15, 20)), ("b", (5, 10))]
    assert len(_thinned(windows, ["w"])) == 3
