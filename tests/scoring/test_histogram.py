"""The histogram's own behaviour: rarity, tails, forgetting and scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from scoring import StreamingHistogram


def learnt(X: np.ndarray[Any, Any], **parameters: Any) -> StreamingHistogram:
    detector = StreamingHistogram(X.shape[1], **parameters)
    detector.score_learn(X)
    return detector


def test_a_score_worked_by_hand() -> None:
    """Row 1: no history, 0. Row 2 after one zero at z = 0: the bin holds it all, density 1.05/2, tail 1.5/2."""
    scores = StreamingHistogram(1, half_life=1e9).score_learn(np.zeros((2, 1)))
    assert scores[0] == 0
    assert scores[1] == pytest.approx(-np.log(1.05 / 2) - np.log(1.5 / 2), abs=1e-8)


def test_the_further_out_the_stranger() -> None:
    detector = learnt(np.random.default_rng(0).standard_normal((20_000, 1)))
    blob = detector.snapshot()
    scores = [
        StreamingHistogram.restore(blob).score_learn_one(np.array([x])) for x in (0.0, 1.5, 3.0, 4.5, 9.0)
    ]
    assert scores == sorted(scores)
    assert scores[-1] > 10


def test_what_is_old_is_forgotten() -> None:
    random = np.random.default_rng(2)
    old, new = random.normal(0, 1, (3000, 1)), random.normal(4, 1, (3000, 1))
    scores = learnt(old, half_life=200).score_learn(new)
    assert scores[:50].mean() > scores[-50:].mean() + 2


def test_an_absurd_value_does_not_become_the_scale() -> None:
    random = np.random.default_rng(3)
    X = random.standard_normal((4000, 1))
    X[2000] = 1e12
    scores = learnt(X[:3000]).score_learn(X[3000:] + 8.0)
    assert scores[:50].mean() > 15


@pytest.mark.parametrize("wrong", [0.5, 2e9, np.nan, "100"])
def test_the_half_life_is_checked(wrong: Any) -> None:
    with pytest.raises(ValueError, match="half_life: expected a number from 1 to 1e\\+09"):
        StreamingHistogram(2, half_life=wrong)


def test_public_data(shared_data: Path) -> None:
    """What was measured when this was written, less a margin for other platforms' last bits."""
    for name, least in {"smtp": 0.93, "shuttle": 0.99, "mammography": 0.85}.items():
        with np.load(shared_data / "adbench" / f"{name}.npz") as stored:
            X, y = stored["X"].astype(np.float64), stored["y"]
        scores = StreamingHistogram(X.shape[1]).score_learn(np.ascontiguousarray(X))
        assert roc_auc_score(y, scores) > least, name
