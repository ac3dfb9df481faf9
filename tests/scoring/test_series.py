"""Series beside their twin; the laws of split, restore, NaN and offset; episodes; NAB's files where they are at hand."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring import series
from scoring.sequences import SequenceScorer
from scoring.series import SeriesScorer
from tests.twins_series import SeriesTwin

seeds = st.integers(0, 2**32 - 1)


def made_up(seed: int, n: int) -> tuple[Any, Any]:
    """Times and values of a daily rhythm with jumps, repeats and gaps."""
    random = np.random.default_rng(seed)
    seconds = 1.7e9 + np.cumsum(random.choice([60.0, 300.0, 300.0, 7200.0], n))
    values = np.round(np.sin(seconds * 2 * np.pi / 86400) + 0.3 * random.standard_t(3, n), 2)
    values[random.integers(0, n, n // 20)] = 0.0
    return seconds, values


@settings(max_examples=25)
@given(seed=seeds, half_life=st.sampled_from([10.0, 4000.0]), rest=st.sampled_from([0.0, 3600.0]))
def test_scores_are_those_of_the_twin(seed: int, half_life: float, rest: float) -> None:
    seconds, values = made_up(seed, 150)
    twin = SeriesTwin(half_life, rest)
    expected = [twin.score_learn(float(now), float(x)) for now, x in zip(seconds, values, strict=True)]
    got = SeriesScorer(half_life=half_life, rest_s=rest).score_learn(seconds, values)
    assert got == pytest.approx(expected, abs=1e-9)


@settings(max_examples=25)
@given(seed=seeds, n=st.integers(1, 120), cut=st.integers(0, 120))
def test_parts_and_restoring_change_no_bit(seed: int, n: int, cut: int) -> None:
    seconds, values = made_up(seed, n)
    whole, parts = SeriesScorer(), SeriesScorer()
    at_once = whole.score_learn(seconds, values)
    first = parts.score_learn(seconds[:cut], values[:cut])
    restored = SeriesScorer.restore(parts.snapshot())
    second = restored.score_learn(seconds[cut:], values[cut:])
    assert np.hstack([first, second]).tobytes() == at_once.tobytes()
    assert restored.snapshot() == whole.snapshot()


@settings(max_examples=30)
@given(seed=seeds, bad=st.sampled_from([np.nan, np.inf, -np.inf]), in_time=st.booleans())
def test_what_is_not_finite_scores_nothing_and_changes_nothing(seed: int, bad: float, in_time: bool) -> None:
    seconds, values = made_up(seed, 80)
    clean = SeriesScorer().score_learn(seconds, values)
    at = seed % 80
    more, other = np.insert(seconds, at, seconds[0]), np.insert(values, at, values[0])
    (more if in_time else other)[at] = bad
    scorer = SeriesScorer()
    dirty = scorer.score_learn(more, other)
    assert dirty[at] == 0.0
    assert np.delete(dirty, at).tobytes() == clean.tobytes()
    assert scorer.skipped == 1


@settings(max_examples=60)
@given(
    values=st.lists(st.floats(-1e300, 1e300), max_size=60),
    times=st.lists(st.floats(-1e300, 1e300), min_size=60, max_size=60),
)
def test_any_finite_input_gives_a_finite_score(values: list[float], times: list[float]) -> None:
    scores = SeriesScorer(rest_s=0.0).score_learn(np.array(times[: len(values)]), np.array(values))
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()


def test_an_offset_changes_no_score_of_whole_numbers() -> None:
    random = np.random.default_rng(3)
    seconds, values = 300.0 * np.arange(2000), random.integers(0, 100, 2000).astype(float)
    plain, moved = (SeriesScorer(rest_s=0.0).score_learn(seconds, values + k) for k in (0.0, 1e9))
    assert np.mean(np.abs(plain - moved) > 1e-3) < 0.01  # a value at the edge of a bin may change places


def test_an_hour_that_never_saw_a_value_finds_it_strange() -> None:
    seconds = 300.0 * np.arange(288 * 20)
    busy = (seconds % 86400 >= 8 * 3600) & (seconds % 86400 < 18 * 3600)
    values = np.where(busy, 100.0, 10.0) + np.random.default_rng(1).normal(0, 1, len(seconds))
    at = 288 * 15 + 36  # three in the morning, as busy as at noon
    values[at : at + 6] = 100.0
    scores = SeriesScorer().score_learn(seconds, values)
    assert at <= scores[288 * 5 :].argmax() + 288 * 5 < at + 6


def test_an_episode_is_told_once_and_again_when_it_grows() -> None:
    seconds = 60.0 * np.arange(3000)
    values = np.random.default_rng(2).normal(0, 1, 3000)
    values[2000:2100] = 8.0
    quiet, every = (SeriesScorer(rest_s=rest).score_learn(seconds, values) for rest in (21_600.0, 0.0))
    assert (every[2000:2020] > 2).sum() > 10
    assert 1 <= (quiet[2000:2100] > 2).sum() < 6
    later = SeriesScorer(rest_s=600.0).score_learn(seconds, values)
    assert (later[2000:2100] > 0).sum() > (quiet[2000:2100] > 0).sum()


def test_the_first_other_value_of_a_constant_is_strange() -> None:
    seconds, values = 60.0 * np.arange(400), np.full(400, 7.0)
    values[300] = 7.001
    scores = SeriesScorer().score_learn(seconds, values)
    assert scores.argmax() == 300
    assert scores[:300].max() < 1.0
    assert scores[300] > 2.0


def test_weights_of_the_past_never_run_over() -> None:
    scorer = SeriesScorer(half_life=1.0)
    seconds, values = made_up(5, 3000)
    assert np.isfinite(scorer.score_learn(seconds, values)).all()
    assert np.isfinite(scorer._state.levels).all()
    assert scorer._state.moments[series.UNIT] < 1e300


@pytest.mark.parametrize(
    ("times", "values", "said"),
    [
        (np.zeros(2), np.zeros(3), "values: expected float64 of one shape"),
        (np.zeros(2, np.int64), np.zeros(2), "timestamps: expected float64"),
        (np.zeros(2), [0.0, 0.0], "got list"),
        (np.zeros(4)[::2], np.zeros(2), "not C order"),
        (np.zeros((2, 1)), np.zeros(2), "of shape"),
    ],
)
def test_other_arrays_are_refused(times: Any, values: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SeriesScorer().score_learn(times, values)


@pytest.mark.parametrize(
    "parameters", [{"half_life": 0.5}, {"half_life": np.nan}, {"rest_s": -1.0}, {"rest_s": "6h"}]
)
def test_other_parameters_are_refused(parameters: Any) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(parameters))}: expected a number"):
        SeriesScorer(**parameters)


def test_a_snapshot_that_contradicts_itself_is_refused() -> None:
    for place, value in ((series.MEAN, np.nan), (series.VARIANCE, -1.0), (series.UNIT, np.inf)):
        scorer = SeriesScorer()
        scorer._state.moments[place] = value
        with pytest.raises(ValueError, match="contradict each other"):
            SeriesScorer.restore(scorer.snapshot())
    with pytest.raises(ValueError, match="expected a SeriesScorer"):
        SeriesScorer.restore(SequenceScorer().snapshot())


def test_nab(shared_data: Path) -> None:
    """More labelled windows are found than missed by what stands out in its own file's history."""
    windows = json.loads((shared_data / "nab" / "combined_windows.json").read_text())
    found = false = days = 0
    for name, limits in windows.items():
        with gzip.open(shared_data / "nab" / f"{name}.gz", "rt") as lines:
            rows = list(csv.DictReader(lines))
        seconds = np.array([when(row["timestamp"]) for row in rows])
        scores = SeriesScorer().score_learn(seconds, np.array([float(row["value"]) for row in rows]))
        strange = seconds[scores >= 3.0]
        inside = [(strange >= when(first)) & (strange <= when(last)) for first, last in limits]
        found += sum(bool(each.any()) for each in inside)
        false += int((~np.any(inside, axis=0)).sum()) if limits else len(strange)
        days += (seconds[-1] - seconds[0]) / 86400
    assert found >= 33  # of 49
    assert false / days < 0.25


def when(text: str) -> float:
    """Seconds of a time of NAB's."""
    return datetime.fromisoformat(text.partition(".")[0]).replace(tzinfo=UTC).timestamp()
