"""Loda's own behaviour: directions, and strangers off the axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from scoring import Loda


@pytest.mark.parametrize(
    ("features", "weighted"), [(1, 1), (2, 2), (3, 2), (4, 2), (9, 3), (10, 4), (100, 10)]
)
def test_directions_are_sparse_and_of_length_one(features: int, weighted: int) -> None:
    detector = Loda(features)
    assert detector._chosen.shape == (weighted, 20)
    assert all(len(set(column)) == weighted for column in detector._chosen.T.tolist())
    np.testing.assert_allclose((detector._direction**2).sum(axis=0), 1)


def test_seeds_give_other_directions() -> None:
    assert not np.array_equal(Loda(3, seed=1)._direction, Loda(3, seed=2)._direction)
    assert np.array_equal(Loda(3, seed=1)._direction, Loda(3, seed=1)._direction)


def test_a_broken_correlation_is_strange() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal(20_000)
    X = np.column_stack([x, x + 0.05 * random.standard_normal(len(x))])
    detector = Loda(2)
    detector.score_learn(X)
    blob = detector.snapshot()
    broken, kept = (Loda.restore(blob).score_learn_one(np.array(row)) for row in ([1.5, -1.5], [1.5, 1.5]))
    assert broken > kept + 2


def test_units_do_not_matter() -> None:
    X = np.random.default_rng(1).standard_normal((2000, 3))
    scaled = X * 2.0 ** np.array([0, 20, -30])  # powers of two change no bit of a mantissa
    assert np.array_equal(Loda(3).score_learn(X), Loda(3).score_learn(scaled))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"projections": 0}, "projections: expected a whole number from 1 to 1000"),
        ({"half_life": 0}, "half_life: expected a number from 1 to"),
        ({"seed": 1.5}, "seed: expected a whole number"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Loda(2, **parameters)


def test_public_data(shared_data: Path) -> None:
    for name, least in {"smtp": 0.93, "shuttle": 0.98}.items():
        with np.load(shared_data / "adbench" / f"{name}.npz") as stored:
            X, y = stored["X"].astype(np.float64), stored["y"]
        assert roc_auc_score(y, Loda(X.shape[1]).score_learn(np.ascontiguousarray(X))) > least, name
