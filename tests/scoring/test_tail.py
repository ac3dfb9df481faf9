"""The tail calibrator: p-values that are right, ordered, bounded and repeatable."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scoring import TailCalibrator
from scoring.tail import NEXT_GRID, SEEN_SCORES, SHAPE, WEIGHT
from tests.twins_ensemble import TailTwin

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]

DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda random, n: random.standard_normal(n),
    "far from zero": lambda random, n: 1e6 + random.standard_normal(n),
    "exponential": lambda random, n: random.standard_exponential(n),
    "lognormal": lambda random, n: random.lognormal(0.0, 2.0, n),
    "heavy": lambda random, n: random.pareto(3.0, n),
    "uniform": lambda random, n: random.random(n),
    "few values": lambda random, n: random.geometric(0.02, n).astype(np.float64),
    "tiny": lambda random, n: 1e-12 * random.standard_normal(n),
}


def trained(draw: Draw, rows: int = 20_000) -> TailCalibrator:
    calibrator = TailCalibrator()
    calibrator.p_value_learn(draw(np.random.default_rng(0), rows))
    return calibrator


def at_one_moment(calibrator: TailCalibrator, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    blob = calibrator.snapshot()
    return np.array([TailCalibrator.restore(blob).p_value_learn_one(score) for score in scores])


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_p_values_are_as_rare_as_they_say(name: str) -> None:
    random = np.random.default_rng(1)
    p = TailCalibrator().p_value_learn(DISTRIBUTIONS[name](random, 300_000))[10_000:]
    assert ((p > 0.0) & (p <= 1.0)).all()
    for q in (1e-2, 1e-3, 1e-4):
        # Where scores end, the tail is taken for a longer one, and p for 1 in 10,000 errs upwards.
        lowest = 0.0 if name == "uniform" and q == 1e-4 else 0.5
        assert lowest <= (p <= q).mean() / q <= 2.0, (name, q)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_p_never_grows_with_the_score(name: str) -> None:
    calibrator = trained(DISTRIBUTIONS[name])
    seen = DISTRIBUTIONS[name](np.random.default_rng(2), 150)
    scores = np.sort(np.concatenate([seen, seen.max() * np.geomspace(1, 1e9, 20), [-1e300, 0.0, 1e300]]))
    p = at_one_moment(calibrator, scores)
    assert (np.diff(p) <= 0.0).all()
    assert ((p > 0.0) & (p <= 1.0)).all()


def test_ranks_hold_below_the_tail_and_where_nothing_ever_fell() -> None:
    calibrator = TailCalibrator()
    random = np.random.default_rng(3)
    calibrator.p_value_learn(
        np.where(random.random(5000) < 0.5, 0.0, 10.0) + 0.1 * random.standard_normal(5000)
    )
    assert (np.diff(at_one_moment(calibrator, np.linspace(-0.3, 10.2, 80))) < 0.0).all()


def test_every_score_counts_before_there_is_a_histogram() -> None:
    p = TailCalibrator().p_value_learn(np.array([1.0, 3.0, 2.0, 2.0, 0.0]))
    assert p.tolist() == [1.0, 1 / 2, 2 / 3, 3 / 4, 1.0]


def test_the_twin_agrees_below_the_tail_but_for_the_width_of_a_bin() -> None:
    scores = np.random.default_rng(4).standard_normal(4000)
    twin = TailTwin()
    expected = np.array([twin.p_value_learn(score) for score in scores])
    p = TailCalibrator(half_life=1e9).p_value_learn(scores)
    ordinary = (expected > 0.02) & (np.arange(4000) >= 200)
    # A bin counts whole, so p errs upwards; downwards only by the scores that came since the last refresh.
    error = (p - expected)[ordinary]
    assert -0.03 < error.min() < error.max() < 0.08
    assert error.mean() < 0.02


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 3000), max_size=6), seed=st.integers(0, 2**32 - 1))
def test_no_cut_changes_a_bit(cuts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.standard_cauchy(3000)
    scores[random.random(3000) < 0.02] = random.choice([np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324])
    whole, parts, ones = TailCalibrator(), TailCalibrator(), TailCalibrator()
    p = whole.p_value_learn(scores)
    assert np.array_equal(
        np.concatenate([parts.p_value_learn(part) for part in np.split(scores, sorted(cuts))]), p
    )
    assert np.array_equal([ones.p_value_learn_one(score) for score in scores], p)
    assert whole.snapshot() == parts.snapshot() == ones.snapshot()
    assert whole.skipped == ones.skipped == (~np.isfinite(scores)).sum()
    assert ((p > 0.0) & (p <= 1.0)).all()
    assert (p[~np.isfinite(scores)] == 1.0).all()


def test_a_snapshot_goes_on_bit_for_bit() -> None:
    scores = np.random.default_rng(5).standard_normal(5000)
    calibrator = TailCalibrator(q=1e-4, half_life=1000.0)
    calibrator.p_value_learn(scores[:3000])
    again = TailCalibrator.restore(calibrator.snapshot())
    assert np.array_equal(again.p_value_learn(scores[3000:]), calibrator.p_value_learn(scores[3000:]))
    assert again.snapshot() == calibrator.snapshot()
    assert again.threshold == calibrator.threshold


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_threshold_is_the_score_whose_p_value_is_q(name: str) -> None:
    calibrator = trained(DISTRIBUTIONS[name])
    assert at_one_moment(calibrator, np.array([calibrator.threshold]))[0] == pytest.approx(1e-3, rel=1e-6)


def test_no_threshold_is_known_at_first() -> None:
    assert TailCalibrator().threshold == np.inf


@pytest.mark.parametrize("factor", [1e9, 1e-3])
def test_a_change_of_scale_is_followed(factor: float) -> None:
    """Downwards it takes log2(1 / q) half-lives until the old scores weigh less than q; here there are 140."""
    random = np.random.default_rng(6)
    calibrator = TailCalibrator(half_life=5000.0)
    calibrator.p_value_learn(random.standard_normal(20_000))
    calibrator.p_value_learn(factor * random.standard_normal(700_000))
    p = calibrator.p_value_learn(factor * random.standard_normal(100_000))
    assert 0.5 <= (p <= 1e-3).mean() / 1e-3 <= 2.0


def test_equal_scores_are_not_strange() -> None:
    calibrator = TailCalibrator()
    p = calibrator.p_value_learn(np.full(5000, 3.0))
    assert p.min() > 0.4
    assert calibrator.p_value_learn_one(4.0) < 1e-3


def test_a_tail_with_an_end_point_still_ranks_what_lies_behind_it() -> None:
    calibrator = trained(DISTRIBUTIONS["uniform"], 100_000)
    assert calibrator._stream.tail.line[SHAPE] < -0.1
    p = at_one_moment(calibrator, np.array([0.999, 1.0, 1.0005, 1.001, 1.01, 1e300]))
    assert (np.diff(p[:-1]) < 0.0).all()
    assert 0.0 < p[-1] <= p[-2]


def test_weights_are_taken_back_before_they_overflow() -> None:
    scores = np.random.default_rng(7).standard_normal(100_000)
    calibrator = TailCalibrator(half_life=100.0)
    p = calibrator.p_value_learn(scores)
    tail = calibrator._stream.tail
    assert 1.0 <= tail.line[WEIGHT] < 1e210
    assert tail.clock[SEEN_SCORES] == 100_000
    assert tail.clock[NEXT_GRID] > 100_000
    assert 0.5 <= (p[1000:] <= 1e-2).mean() / 1e-2 <= 2.0


@pytest.mark.parametrize(
    "wrong", [[1.0], np.zeros((2, 2)), np.zeros(4)[::2], np.zeros(3, np.float32), np.zeros(3, np.int64)]
)
def test_scores_of_the_wrong_kind_are_refused(wrong: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="expected float64"):
        TailCalibrator().p_value_learn(wrong)


@pytest.mark.parametrize("parameters", [{"q": 0.0}, {"q": 0.5}, {"q": "x"}, {"half_life": 1.0}])
def test_wrong_parameters_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(parameters))):
        TailCalibrator(**parameters)


def test_a_snapshot_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="snapshot"):
        TailCalibrator.restore(b"")
    calibrator = TailCalibrator()
    calibrator._stream.tail.line[:] = np.nan
    with pytest.raises(ValueError, match="snapshot"):
        TailCalibrator.restore(calibrator.snapshot())
