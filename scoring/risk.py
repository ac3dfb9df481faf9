"""Reference aggregators: how products of the field turn many scores of one entity into one.

Owns the baselines that every backtest prints beside the engine. They are references to be compared with, never part
of the engine's own risk.

All take ``scores``, a 1-d array, and return one number; with ``groups`` (``(n,)`` whole numbers from 0) they return
one number per group, ``(max(groups) + 1,)``, an empty group giving 0. NaN scores are left out, as if not reported.
"""

from __future__ import annotations

from typing import Any, Final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Groups = NDArray[np.integer[Any]]

ZETA: Final = 2.612
"""ζ(1.5), the value Elastic documented first; since it sums at most 10,000 alerts it uses 2.5924."""

ZETA_POWER: Final = 1.5
SECOPS_REST: Final = 0.2


@overload
def elastic_zeta(
    scores: ArrayLike, criticality: float = ..., *, zeta: float = ..., groups: None = ...
) -> float: ...
@overload
def elastic_zeta(
    scores: ArrayLike, criticality: float = ..., *, zeta: float = ..., groups: Groups
) -> Floats: ...
def elastic_zeta(
    scores: ArrayLike, criticality: float = 1.0, *, zeta: float = ZETA, groups: Groups | None = None
) -> float | Floats:
    """Elastic Security's entity risk score, 0…100: the i-th highest of the scores (0…100) weighs ``i^−1.5``.

    Formula: ``R = Σ r₍ᵢ₎ / i^1.5 / zeta``; ``criticality`` (0.5, 1, 1.5 or 2 by asset class) multiplies the odds:
    ``o = criticality · R / (100 − R)``, score ``100·o / (1 + o)``.
    Source: Elastic Security, entity risk scoring (Kibana: ``risk_score/constants.ts``, ``asset_criticality``).
    Difference: no 30-day window, no limit of 10,000 alerts; R is capped at 100, which only an older ``zeta`` needs.

    Raises:
        ValueError: ``criticality`` or ``zeta`` is not above 0.

    >>> round(elastic_zeta([70, 45, 21, 21, 21]), 2), round(elastic_zeta([70, 45, 21, 21, 21], 2.0), 2)
    (36.16, 53.12)
    """
    if not (criticality > 0 and zeta > 0):
        raise ValueError(f"expected criticality > 0 and zeta > 0, got {criticality} and {zeta}")
    values, group, size = _grouped(scores, groups)
    order = np.lexsort((-values, group))
    values, group = values[order], group[order]
    rank = np.arange(len(group)) - np.searchsorted(group, group) + 1
    total = np.minimum(np.bincount(group, values / rank**ZETA_POWER, size) / zeta, 100.0)
    score = 100.0 * criticality * total / (100.0 - total + criticality * total)
    return _answer(score, groups)


@overload
def splunk_sum(scores: ArrayLike, *, groups: None = ...) -> float: ...
@overload
def splunk_sum(scores: ArrayLike, *, groups: Groups) -> Floats: ...
def splunk_sum(scores: ArrayLike, *, groups: Groups | None = None) -> float | Floats:
    """Splunk's risk-based alerting: the plain sum of the risk scores (a notable event past 100 in 24 hours).

    Source: Splunk Enterprise Security, "Risk Threshold Exceeded For Object Over 24 Hour Period".
    Difference: sums what it is given; the window is the caller's.

    >>> splunk_sum([70, 45, 21, 21, 21])
    178.0
    """
    values, group, size = _grouped(scores, groups)
    return _answer(np.bincount(group, values, size), groups)


@overload
def secops_max(scores: ArrayLike, *, groups: None = ...) -> float: ...
@overload
def secops_max(scores: ArrayLike, *, groups: Groups) -> Floats: ...
def secops_max(scores: ArrayLike, *, groups: Groups | None = None) -> float | Floats:
    """Google SecOps' entity risk before normalising: the highest score + 0.2 × the sum of the others.

    Source: Google Security Operations, risk analytics. Difference: without the final min-max over all entities to
    0…1000, which makes scores incomparable over time; it changes no ranking within one backtest.

    >>> round(secops_max([70, 45, 21, 21, 21]), 9)
    91.6
    """
    values, group, size = _grouped(scores, groups)
    highest = np.full(size, -np.inf)
    np.maximum.at(highest, group, values)
    highest[np.isneginf(highest)] = 0.0
    return _answer(highest + SECOPS_REST * (np.bincount(group, values, size) - highest), groups)


@overload
def count(scores: ArrayLike, *, groups: None = ...) -> float: ...
@overload
def count(scores: ArrayLike, *, groups: Groups) -> Floats: ...
def count(scores: ArrayLike, *, groups: Groups | None = None) -> float | Floats:
    """How many scores there are: what an alert counter knows.

    >>> count([70, 45, 21, 21, 21])
    5.0
    """
    _, group, size = _grouped(scores, groups)
    return _answer(np.bincount(group, minlength=size).astype(np.float64), groups)


def _grouped(scores: ArrayLike, groups: Groups | None) -> tuple[Floats, Groups, int]:
    values = np.asarray(scores, dtype=np.float64)
    group = np.zeros(values.shape, np.int64) if groups is None else np.asarray(groups)
    if values.ndim != 1 or group.shape != values.shape:
        raise ValueError(f"expected scores and groups of shape (n,), got {values.shape} and {group.shape}")
    size = 1 if groups is None else int(group.max(initial=-1)) + 1
    stated = ~np.isnan(values)
    return values[stated], group[stated], size


def _answer(per_group: NDArray[Any], groups: Groups | None) -> float | Floats:
    return float(per_group[0]) if groups is None else per_group.astype(np.float64, copy=False)
