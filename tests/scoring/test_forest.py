"""The flat forest beside scikit-learn's and the paper's walk; its bytes, its refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import ensemble

from scoring.forest import BLOCK, MAX_DEPTH, MIN_DEPTH, IsolationForest, _not_above
from tests import twins_series

RANDOM = np.random.default_rng(11)
ROWS = RANDOM.normal(size=(600, 3)) * [1.0, 1e-6, 1e6]
FITTED = ensemble.IsolationForest(n_estimators=20, random_state=3).fit(ROWS)
FOREST = IsolationForest.from_sklearn(FITTED)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    features=st.integers(1, 6),
    rows=st.integers(2, 300),
    sample=st.integers(2, 300),
    share=st.sampled_from([0.4, 1.0]),
    whole_numbers=st.booleans(),
)
def test_scores_are_scikit_learns(
    seed: int, features: int, rows: int, sample: int, share: float, whole_numbers: bool
) -> None:
    random = np.random.default_rng(seed)
    X = random.normal(size=(rows, features)) * 10.0 ** random.integers(-3, 4, features)
    if whole_numbers:
        X = np.round(X)
    fitted = ensemble.IsolationForest(
        n_estimators=5, max_samples=min(sample, rows), max_features=share, random_state=seed
    ).fit(X)
    forest = IsolationForest.from_sklearn(fitted)
    others = np.vstack([X, random.normal(size=(70, features)), np.float32(X[:5])])
    scores = forest.score(others)
    assert np.abs(scores + fitted.score_samples(others)).max() < 1e-12
    assert IsolationForest.from_bytes(forest.to_bytes()).score(others).tobytes() == scores.tobytes()


def test_scores_are_those_of_the_twin() -> None:
    expected = [twins_series.isolation_score(FITTED, row) for row in ROWS[:100]]
    assert FOREST.score(ROWS[:100]) == pytest.approx(expected, abs=1e-12)


def test_fitting_here_is_fitting_there() -> None:
    again = IsolationForest.fit(ROWS, trees=20, seed=3)
    assert again.digest == FOREST.digest
    assert IsolationForest.fit(ROWS, trees=20, seed=4).digest != FOREST.digest
    assert (again.trees, again.features, again.sample) == (20, 3, 256)


def test_thresholds_between_two_float32_decide_as_before() -> None:
    for threshold in [0.1, -0.1, 1 / 3, 1e-45, -1e-46, 16777217.0, 1e38]:
        below, above = _not_above(threshold), np.nextafter(_not_above(threshold), np.float32(np.inf))
        assert float(below) <= threshold < float(above)


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_any_number_of_rows(count: int) -> None:
    assert FOREST.score(ROWS[:count]).tobytes() == FOREST.score(ROWS)[:count].tobytes()


def test_what_is_not_finite_scores_nothing_and_is_counted() -> None:
    forest = IsolationForest.from_sklearn(FITTED)
    rows = ROWS[:10].copy()
    rows[2, 0], rows[5, 1], rows[7, 2] = np.nan, np.inf, -np.inf
    scores = forest.score(rows)
    clean = np.delete(np.arange(10), [2, 5, 7])
    assert (scores[[2, 5, 7]] == 0.0).all()
    assert scores[clean].tobytes() == forest.score(ROWS[:10])[clean].tobytes()
    assert forest.skipped == 3
    assert 0 < forest.score(np.full((1, 3), 1e300))[0] <= 1  # beyond float32: to the right of every question


def test_constant_rows_make_trees_of_one_leaf() -> None:
    X = np.ones((50, 2))
    forest = IsolationForest.fit(X)
    assert forest.depth == MIN_DEPTH  # all of it filled by the one leaf
    fitted = ensemble.IsolationForest(random_state=0).fit(X)
    assert forest.score(X) == pytest.approx(-fitted.score_samples(X), abs=1e-12)


def test_same_forest_same_bytes() -> None:
    blob = FOREST.to_bytes()
    assert blob == IsolationForest.from_bytes(blob).to_bytes()
    assert FOREST.digest == IsolationForest.from_bytes(blob).digest
    assert b"sklearn" not in blob


@given(at=st.integers(0, 20_000), change=st.integers(1, 255))
def test_damaged_bytes_are_refused(at: int, change: int) -> None:
    blob = FOREST.to_bytes()
    at %= len(blob)
    with pytest.raises(ValueError, match="snapshot"):
        IsolationForest.from_bytes(blob[:at] + bytes([blob[at] ^ change]) + blob[at + 1 :])


def test_bytes_that_lead_out_of_the_rows_are_refused() -> None:
    forest = IsolationForest.from_sklearn(FITTED)
    for lane in (3 * BLOCK, 2**32 - BLOCK, 1):
        forest._nodes["lane"][0, 0] = lane
        with pytest.raises(ValueError, match="columns below 3"):
            IsolationForest.from_bytes(forest.to_bytes())


@pytest.mark.parametrize(
    ("X", "said"),
    [
        ([[1.0, 2.0]], "X: expected float64 of shape .n, features. in C order, got list"),
        (np.zeros(3), "got float64 of shape"),
        (np.zeros((3, 2), np.float32), "got float32"),
        (np.zeros((4, 4))[:, ::2], "not C order"),
        (np.zeros((1, 2)), "at least 2 rows, got 1"),
        (np.array([[1.0], [np.nan]]), "finite values that float32 can hold"),
        (np.array([[1.0], [1e39]]), "finite values that float32 can hold"),
        (np.zeros((3, 0)), "features: expected a whole number from 1"),
    ],
)
def test_rows_that_cannot_be_learnt_are_refused(X: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        IsolationForest.fit(X)


@pytest.mark.parametrize(
    "parameters", [{"trees": 0}, {"sample": 1}, {"sample": 10**6}, {"max_features": 0.0}, {"seed": -1}]
)
def test_other_parameters_are_refused(parameters: Any) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(parameters))}: expected"):
        IsolationForest.fit(ROWS, **parameters)


def test_what_is_no_fitted_forest_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a fitted"):
        IsolationForest.from_sklearn(ensemble.IsolationForest())
    with pytest.raises(ValueError, match=r"X: expected float64 of shape \(n, 3\)"):
        FOREST.score(np.zeros((2, 4)))
    steps = np.linspace(0.0, 1.0, 2**17)[:, None] ** 60
    deep = ensemble.IsolationForest(n_estimators=1, max_samples=2**17, random_state=0).fit(steps)
    with pytest.raises(ValueError, match=f"at most {MAX_DEPTH} levels, got 17"):
        IsolationForest.from_sklearn(deep)


def test_shuttle(shared_data: Path) -> None:
    """A forest of one half finds the other's anomalies, as scikit-learn's does."""
    with np.load(shared_data / "adbench" / "shuttle.npz") as stored:
        X, y = np.ascontiguousarray(stored["X"], np.float64), stored["y"].astype(bool)
    half = len(X) // 2
    scores = IsolationForest.fit(X[:half], trees=50).score(X[half:])
    order = scores.argsort()
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    positive = y[half:]
    auc = (ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2) / (
        positive.sum() * (~positive).sum()
    )
    assert auc > 0.98
