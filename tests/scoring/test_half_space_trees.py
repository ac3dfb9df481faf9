"""Half-space trees beside River's own, score for score; construction and limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from river import anomaly, preprocessing

from scoring import HalfSpaceTrees


def rivers(model: Any, X: NDArray[np.float64]) -> list[float]:
    scores = []
    for row in X.tolist():
        x = dict(enumerate(row))
        scores.append(model.score_one(x))
        model.learn_one(x)
    return scores


@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**31),
    features=st.integers(1, 5),
    n_trees=st.integers(1, 6),
    height=st.integers(1, 7),
    window=st.integers(1, 60),
)
def test_the_same_scores_as_river(seed: int, features: int, n_trees: int, height: int, window: int) -> None:
    """Trees, scaler, masses and scores: the same seed gives River's scores to the last bit."""
    random = np.random.default_rng(seed)
    X = random.standard_cauchy((400, features)).round(int(random.integers(0, 6)))
    river = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(n_trees, height, window, seed=seed)
    ours = HalfSpaceTrees(features, n_trees=n_trees, height=height, window_size=window, seed=seed)
    assert ours.score_learn(X).tolist() == rivers(river, X)


def test_the_same_scores_as_river_with_limits_and_no_scaler() -> None:
    X = np.random.default_rng(1).uniform(-3, 9, (600, 3))
    limits = [(-3.0, 9.0), (0.0, 1.0), (2.0, 5.0)]
    river = anomaly.HalfSpaceTrees(limits=dict(enumerate(limits)), seed=4)
    ours = HalfSpaceTrees(3, limits=limits, scale=False, seed=4)
    assert ours.score_learn(X).tolist() == rivers(river, X)


def test_the_first_window_scores_nothing_and_strangers_score_more() -> None:
    random = np.random.default_rng(2)
    X = random.normal(0.5, 0.02, (500, 2))
    X[400] = 0.95
    scores = HalfSpaceTrees(2, scale=False).score_learn(X)
    assert not scores[:250].any()
    assert scores[400] == scores[250:].max()


def test_trees_are_rivers_default_size() -> None:
    X = np.random.default_rng(3).standard_normal((260, 4))
    river = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=0)
    assert HalfSpaceTrees(4).score_learn(X).tolist() == rivers(river, X)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"n_trees": 0}, "n_trees: expected a whole number from 1 to 1000, got 0"),
        ({"height": 21}, "height: expected a whole number from 1 to 20, got 21"),
        ({"n_trees": 1000, "height": 20}, "expected at most 4194304, got 1048576000"),
        ({"window_size": 0.5}, "window_size: expected a whole number"),
        ({"scale": 1}, "scale: expected True or False, got 1"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"limits": [(0, 1)]}, r"limits: expected one \(low, high\) for each of 2 features, got 1"),
        ({"limits": [(0, 1), (1, 1)]}, r"limits\[1\]: expected low < high"),
        ({"limits": [(0, 1), (0, np.inf)]}, r"limits\[1\]: expected a number"),
        ({"limits": [(0, 1), (0, 1, 2)]}, r"limits\[1\]: expected \(low, high\), got 3 values"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        HalfSpaceTrees(2, **parameters)


def test_memory_does_not_grow() -> None:
    detector = HalfSpaceTrees(2)
    before = len(detector.snapshot())
    detector.score_learn(np.random.default_rng(0).standard_cauchy((20_000, 2)))
    assert abs(len(detector.snapshot()) - before) < 100
