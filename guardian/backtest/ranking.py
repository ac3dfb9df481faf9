"""How well a score ranks positive windows above the others: ROC-AUC and average precision, with intervals.

Owns the figures and their block bootstrap. The point figures are scikit-learn's; the bootstrap is a weighted twin of
them that handles all resamples at once, and a test holds it to scikit-learn.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES: Final = 500
SEED: Final = 20_110_902
COVERED: Final = 0.95
_CELLS: Final = 4_000_000
"""Resamples × windows handled at once: about 32 MB an array."""


def point(score: Floats, positive: NDArray[np.bool_]) -> tuple[float, float] | None:
    """ROC-AUC and average precision; None where every window is positive, or none is."""
    if positive.all() or not positive.any():
        return None
    from sklearn.metrics import (
        average_precision_score,
        roc_auc_score,
    )  # a second of start-up, only needed here

    return float(roc_auc_score(positive, score)), float(average_precision_score(positive, score))


def interval(
    score: Floats, positive: NDArray[np.bool_], block: NDArray[np.int64]
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """95 % intervals of ROC-AUC and average precision, from resampling whole blocks; always the same.

    Args:
        score: (n,), higher = more suspicious.
        positive: (n,)
        block: (n,) the block of each row. Rows that depend on each other belong to one block.

    The interval tells the noise of the windows at hand. It does not tell how other attacks would look: those of one
    recording are a handful, whatever the number of windows. Resamples without positives or negatives are left out.
    """
    if positive.all() or not positive.any():
        return None
    blocks, place = np.unique(block, return_inverse=True)
    random = np.random.default_rng(SEED)
    figures: list[Floats] = []
    at_once = max(1, _CELLS // len(score))
    for first in range(0, RESAMPLES, at_once):
        draws = random.multinomial(
            len(blocks), np.full(len(blocks), 1 / len(blocks)), size=min(at_once, RESAMPLES - first)
        )
        figures.append(weighted(score, positive, draws[:, place].astype(np.float64)))
    both = np.concatenate(figures)
    both = both[~np.isnan(both).any(axis=1)]
    if not len(both):
        return None
    tail = (1 - COVERED) / 2
    (auc_low, ap_low), (auc_high, ap_high) = np.quantile(both, [tail, 1 - tail], axis=0).tolist()
    return (auc_low, auc_high), (ap_low, ap_high)


def weighted(score: Floats, positive: NDArray[np.bool_], weight: Floats) -> Floats:
    """ROC-AUC and average precision under several weightings: weight (b, n) → (b, 2); NaN where undefined.

    Formulas: the area under the ROC curve by trapezoids, ties as one step; average precision = Σ (Rₖ − Rₖ₋₁) Pₖ over
    the distinct scores, highest first. Source: scikit-learn's ``roc_auc_score`` and ``average_precision_score``.
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    hit = positive[order]
    sorted_weight = weight[:, order]
    true = np.cumsum(sorted_weight * hit, axis=1)[:, ends]
    flagged = np.cumsum(sorted_weight, axis=1)[:, ends]
    false = flagged - true
    zero = np.zeros((len(weight), 1))
    step_true = np.diff(true, axis=1, prepend=zero)
    step_false = np.diff(false, axis=1, prepend=zero)
    precision = np.divide(true, flagged, out=np.zeros_like(true), where=flagged > 0)
    area = (step_false * (true - step_true / 2)).sum(axis=1)
    gain = (step_true * precision).sum(axis=1)
    positives, negatives = true[:, -1], false[:, -1]
    usable = (positives > 0) & (negatives > 0)
    result = np.full((len(weight), 2), np.nan)
    result[usable, 0] = area[usable] / (positives * negatives)[usable]
    result[usable, 1] = gain[usable] / positives[usable]
    return result
