"""The judge of whole windows: grace, many looks, state as arrays and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scoring import Ensemble, IsolationForest, TailCalibrator
from scoring.multivariate import GRACE, LEAST_SCORE, MOST_SURPRISAL, WindowJudge

STRANGE = np.array([[30.0, -30.0, 30.0]])


def rows(count: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(count, 3))


def test_nothing_is_said_within_the_grace() -> None:
    judge = WindowJudge(3)
    assert not judge.judge_learn(np.vstack([rows(GRACE - 2), STRANGE])).any()
    said = judge.judge_learn(np.vstack([STRANGE] * 2 + [rows(5)]))
    assert said[0] == 0.0, "the last of the grace"
    assert WindowJudge(3).judge_learn(np.empty((0, 3))).shape == (0,)


def test_a_metronome_is_not_strange_after_it_stumbled_once() -> None:
    judge = WindowJudge(4)
    vectors = np.tile([[0.69, 0.0, 0.0, 0.69]], (2500, 1))
    vectors[1341] = [3.71, 0.0, 0.0, 3.71]
    said = np.concatenate([judge.judge_learn(part) for part in np.split(vectors, 250)])
    assert np.flatnonzero(said).tolist() == [1341]


def test_what_one_in_seven_shows_is_not_strange() -> None:
    judge = WindowJudge(4)
    usual, other = [1.1, 0.0, 0.69, 0.69], [1.39, 0.0, 0.69, 0.69]
    vectors = np.array([other if each % 7 == 3 else usual for each in range(7 * 600)])
    said = np.concatenate([judge.judge_learn(part) for part in np.split(vectors, 600)])
    assert not (said > 1.25).any()


def test_it_is_the_ensembles_p_value_less_the_looks() -> None:
    judge, ensemble = WindowJudge(3), Ensemble(3)
    judge.judge_learn(rows(5000))
    ensemble.judge_learn(rows(5000))
    window = np.vstack([rows(99, 1), STRANGE])
    score, p_value, *_ = ensemble.judge_learn(window)
    said = judge.judge_learn(window)
    rarest = np.log10(5001.0)  # one in all that were seen, and this one
    expected = np.clip(np.minimum(-np.log10(p_value), rarest) - 2.0, 0.0, MOST_SURPRISAL)
    assert said == pytest.approx(np.where(score >= LEAST_SCORE, expected, 0.0), abs=1e-12)
    assert said[-1] == pytest.approx(rarest - 2.0)


@pytest.mark.parametrize("others", [4, 200])
def test_the_busiest_is_not_strange_for_that(others: int) -> None:
    """Of many, it would be surprising by log10 of how many in every window; only what exceeds 1.25 counts."""
    random = np.random.default_rng(3)
    judge = WindowJudge(1)
    rates = np.array([*np.linspace(2.0, 9.0, others), 300.0])
    said = np.array([judge.judge_learn(np.log1p(random.poisson(rates)).reshape(-1, 1)) for _ in range(1000)])
    assert (said[:, -1] > 1.25).mean() < 0.05
    assert (said > 1.25).mean() < 0.1


@settings(max_examples=20)
@given(windows=st.lists(st.integers(0, 700), min_size=1, max_size=8), cut=st.integers(0, 8))
def test_it_goes_on_from_its_arrays_bit_for_bit(windows: list[int], cut: int) -> None:
    whole = judge = WindowJudge(3)
    for number, count in enumerate(windows):
        if number == cut:
            judge = WindowJudge(3)
            judge.restore({**whole.arrays(), "other": np.zeros(3)})
        said = whole.judge_learn(rows(count, number))
        if judge is not whole:
            assert judge.judge_learn(rows(count, number)).tobytes() == said.tobytes()
    assert {name: each.tobytes() for name, each in judge.arrays().items()} == {
        name: each.tobytes() for name, each in whole.arrays().items()
    }


def test_arrays_of_something_else_are_refused() -> None:
    other = WindowJudge(2)
    other.judge_learn(rows(10)[:, :2].copy())
    arrays = dict(other.arrays())
    with pytest.raises(ValueError, match="3 features"):
        WindowJudge(3).restore(arrays)
    with pytest.raises(ValueError, match="how many"):
        WindowJudge(2).restore({"ensemble": arrays["ensemble"]})
    with pytest.raises(ValueError, match="damaged"):
        WindowJudge(2).restore({**arrays, "ensemble": arrays["ensemble"][:-1]})


def forest(features: int = 3, seed: int = 0) -> IsolationForest:
    random = np.random.default_rng(9)
    return IsolationForest.fit(random.normal(size=(500, features)), trees=20, sample=64, seed=seed)


def test_a_forest_is_heard_after_a_grace_of_its_own() -> None:
    alone, judge = WindowJudge(3), WindowJudge(3)
    for each in (alone, judge):
        each.judge_learn(rows(GRACE))
    judge.swap(forest())
    window = rows(GRACE, 1)
    assert judge.judge_learn(window).tobytes() == alone.judge_learn(window).tobytes()
    tail, window = TailCalibrator(), np.vstack([rows(99, 2), STRANGE])
    tail.p_value_learn(forest().score(rows(GRACE, 1)))
    second = -np.log10(tail.p_value_learn(forest().score(window)))
    ensemble = Ensemble(3)
    ensemble.judge_learn(np.vstack([rows(GRACE), rows(GRACE, 1)]))
    score, p_value, *_ = ensemble.judge_learn(window)
    first = np.where(score >= LEAST_SCORE, -np.log10(p_value), 0.0)
    larger = np.minimum(np.maximum(first, second) - np.log10(2.0), np.log10(2 * GRACE + 1.0))
    expected = np.clip(larger - 2.0, 0.0, MOST_SURPRISAL)
    assert judge.judge_learn(window) == pytest.approx(expected, abs=1e-12)
    judge.swap(forest(seed=1))
    assert judge.judge_learn(window)[-1] >= 0.0
    with pytest.raises(ValueError, match="3 features, got 2"):
        judge.swap(forest(2))


@pytest.mark.parametrize("learnt", [0, 500, 2500])
def test_a_forest_goes_on_from_its_arrays(learnt: int) -> None:
    judge = WindowJudge(3)
    judge.judge_learn(rows(learnt))
    judge.swap(forest())
    judge.judge_learn(rows(learnt, 1))
    again = WindowJudge(3)
    again.restore(judge.arrays())
    for seed in (2, 3):
        assert again.judge_learn(rows(700, seed)).tobytes() == judge.judge_learn(rows(700, seed)).tobytes()
    assert {name: each.tobytes() for name, each in again.arrays().items()} == {
        name: each.tobytes() for name, each in judge.arrays().items()
    }
    arrays = dict(judge.arrays())
    del arrays["tail"]
    with pytest.raises(ValueError, match="calibrator"):
        WindowJudge(3).restore(arrays)
