"""RS-Hash's own behaviour: joint strangers, bounded cells, collisions in one direction only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from scoring import RSHash, StreamingHistogram
from scoring.rs_hash import MOST_JOINED


def test_values_that_are_strange_only_together_are_found() -> None:
    """Two features of the same two values each, always equal but for the strangers: single features see nothing."""
    random = np.random.default_rng(0)
    common = random.choice([-1.0, 1.0], 20_000)
    X = np.column_stack([common, common]) + random.normal(0, 0.05, (20_000, 2))
    strangers = random.random(20_000) < 0.005
    X[strangers, 1] = -X[strangers, 1]
    X = np.ascontiguousarray(X)
    assert roc_auc_score(strangers[2000:], RSHash(2).score_learn(X)[2000:]) > 0.95
    assert roc_auc_score(strangers[2000:], StreamingHistogram(2).score_learn(X)[2000:]) < 0.7


def test_collisions_only_make_rows_look_more_common() -> None:
    X = np.random.default_rng(1).standard_normal((3000, 4))
    few, many = RSHash(4, cells=16).score_learn(X), RSHash(4, cells=2**18).score_learn(X)
    assert (few <= many + 1e-9).all()
    assert (few < many).any()


def test_grids_join_a_bounded_number_of_features() -> None:
    for features in (1, 2, 3, 4, 10, 50):
        detector = RSHash(features)
        assert detector._dimensions.min() >= 1
        assert detector._dimensions.max() <= min(features, MOST_JOINED)
        for chosen, depth in zip(detector._chosen.tolist(), detector._dimensions, strict=True):
            assert len(set(chosen[:depth])) == depth


def test_memory_does_not_grow() -> None:
    detector = RSHash(3)
    before = len(detector.snapshot())
    detector.score_learn(np.random.default_rng(2).standard_cauchy((20_000, 3)))
    assert abs(len(detector.snapshot()) - before) < 100


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"grids": 0}, "grids: expected a whole number from 1 to 1000"),
        ({"cells": 15}, "cells: expected a whole number from 16 to"),
        ({"cells": 1000}, "cells: expected a power of two, got 1000"),
        ({"grids": 1000, "cells": 2**20}, "grids × cells: expected at most 16777216"),
        ({"half_life": np.inf}, "half_life: expected a number from 1 to"),
        ({"seed": "1"}, "seed: expected a whole number"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RSHash(2, **parameters)


def test_cells_are_count_min_with_conservative_update() -> None:
    """Sixteen cells a table, so that nearly every cell is shared, beside the same counted in plain integers."""
    X = np.random.default_rng(3).standard_normal((400, 2))
    detector = RSHash(2, grids=3, cells=16, half_life=1e9)
    placed = StreamingHistogram(2)
    tables = [[0] * 16 for _ in range(6)]
    expected = []
    for rows, x in enumerate(X):
        placed.score_learn_one(x)  # leaves the standardised row in its scratch
        logs = 0.0
        for g, depth in enumerate(detector._dimensions.tolist()):
            h = 0
            for d in range(depth):
                z = placed._z[detector._chosen[g, d]]
                h += math.floor(z * detector._density[g] + detector._shift[g, d]) * int(
                    detector._multiplier[g, d]
                )
            h &= 2**64 - 1
            h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
            h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) % 2**64
            h ^= h >> 31
            first, second = h % 16, (h >> 32) % 16
            count = min(tables[2 * g][first], tables[2 * g + 1][second])
            tables[2 * g][first] = max(tables[2 * g][first], count + 1)
            tables[2 * g + 1][second] = max(tables[2 * g + 1][second], count + 1)
            logs += math.log2(1 + count)
        expected.append(max(math.log2(1 + rows) - logs / 3, 0.0))
    np.testing.assert_allclose(detector.score_learn(X), expected, atol=1e-5)
