"""EOCT, the continuous ethical evaluation: five signals → risk → verdict.

Owns the formula, its bands, its reasons and the veto. Does not own requests, records or where the policy is chosen
(``guardian.decisions.eoct``).

Signals are the columns of an ``(n, 5)`` array in the order of ``SIGNALS``. Each is clamped to 0…1; NaN means that
the signal was not stated and counts as 0, +inf as 1, −inf as 0. There is no ground truth for ethics: this is tested
by its properties (bounded, monotone in each signal, deterministic, additive), never by accuracy.

Source: TAMV's EOCT. The veto is ours: the sum is compensatory, so one maxed signal alone never leads to review.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIGNALS: Final = ("coercion", "harm", "privacy", "transparency", "legal")
"""The columns, in order."""

WEIGHTS: Final = (0.25, 0.25, 0.20, 0.15, 0.15)
"""Share of each signal in the risk; they sum to 1."""

REASON_AT: Final = 0.6
"""A signal above this is a reason."""

BAND_EDGES: Final = (0.4, 0.6, 0.8)
"""A risk above 0.4 needs review (medium), above 0.6 review (high), above 0.8 is rejected (critical)."""

DECIMALS: Final = 9
"""Bands are read from the risk rounded to this many decimals, so that 0.25 + 0.15 is 0.4 and not a hair more."""

VERDICTS: Final = ("approved", "review", "review", "rejected")
RISK_LEVELS: Final = ("low", "medium", "high", "critical")

Floats = NDArray[np.float64]


def contributions(signals: ArrayLike) -> Floats:
    """How much of the risk each signal brings: ``(n, 5)``, each row summing to its risk.

    Raises:
        ValueError: the array is not ``(n, 5)``.

    >>> contributions([[0, 1, 0.5, 0, 0]])
    array([[0.  , 0.25, 0.1 , 0.  , 0.  ]])
    """
    parts: Floats = _clamped(signals) * np.array(WEIGHTS)
    return parts


def risk(signals: ArrayLike) -> Floats:
    """The combined risk, 0…1, higher = riskier: ``(n, 5) → (n,)``.

    Formula: ``0.25·coercion + 0.25·harm + 0.20·privacy + 0.15·transparency + 0.15·legal``. TAMV's stored score is
    ``1 − risk``.

    Raises:
        ValueError: the array is not ``(n, 5)``.

    >>> risk([[0, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]).round(9)
    array([0.25, 0.5 , 0.7 , 0.85])
    """
    total: Floats = contributions(signals).sum(axis=1)
    return np.minimum(total, 1.0)


def vetoed(signals: ArrayLike, veto_at: float) -> NDArray[np.bool_]:
    """Whether any single signal reaches ``veto_at`` (0…1): ``(n, 5) → (n,)``.

    >>> vetoed([[0, 0.9, 0, 0, 0], [0.8, 0.8, 0, 0, 0]], veto_at=0.9)
    array([ True, False])
    """
    hit = _stated(signals) & (_clamped(signals) >= veto_at)
    return np.asarray(hit.any(axis=1), dtype=np.bool_)


def verdict(risk: ArrayLike, *, veto: ArrayLike = False) -> NDArray[np.str_]:
    """``approved``, ``review`` or ``rejected`` of each risk: ``(n,) → (n,)``.

    A row whose ``veto`` (from ``vetoed``) is true is at least ``review``. All band comparisons are strict.

    >>> verdict([0.25, 0.4, 0.5, 0.8, 0.85]).tolist()
    ['approved', 'approved', 'review', 'review', 'rejected']
    >>> verdict([0.25, 0.85], veto=[True, True]).tolist()
    ['review', 'rejected']
    """
    return np.array(VERDICTS)[_band(risk, veto)]


def risk_level(risk: ArrayLike, *, veto: ArrayLike = False) -> NDArray[np.str_]:
    """``low``, ``medium``, ``high`` or ``critical`` of each risk: ``(n,) → (n,)``; with a veto at least ``medium``.

    >>> risk_level([0.4, 0.5, 0.7, 0.85]).tolist()
    ['low', 'medium', 'high', 'critical']
    """
    return np.array(RISK_LEVELS)[_band(risk, veto)]


def reasons(signals: ArrayLike, *, veto_at: float | None = None) -> list[tuple[str, ...]]:
    """``<signal>_risk`` of each signal above 0.6, and of each that vetoes, row by row in the order of ``SIGNALS``.

    >>> reasons([[0, 1, 0, 0, 0.6], [0, 0, 0, 0, 0]])
    [('harm_risk',), ()]
    """
    clamped = _clamped(signals)
    named = clamped > REASON_AT
    if veto_at is not None:
        named |= _stated(signals) & (clamped >= veto_at)
    return [tuple(f"{SIGNALS[column]}_risk" for column in np.flatnonzero(row)) for row in named]


def _clamped(signals: ArrayLike) -> Floats:
    values = np.asarray(signals, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(SIGNALS):
        raise ValueError(f"signals: expected shape (n, {len(SIGNALS)}), got {values.shape}")
    return np.clip(np.where(np.isnan(values), 0.0, values), 0.0, 1.0)


def _stated(signals: ArrayLike) -> NDArray[np.bool_]:
    stated: NDArray[np.bool_] = ~np.isnan(np.asarray(signals, dtype=np.float64))
    return stated


def _band(risk: ArrayLike, veto: ArrayLike) -> NDArray[np.intp]:
    """Number of band edges below each risk, a NaN risk counting as 1: what cannot be judged is not approved."""
    values = np.asarray(risk, dtype=np.float64)
    values = np.where(np.isnan(values), 1.0, values)
    # clip first: rounding works on value · 10⁹, which overflows for huge inputs
    rounded = np.round(np.clip(values, 0.0, 1.0), DECIMALS)
    bands = np.searchsorted(np.array(BAND_EDGES), rounded, side="left")
    return np.maximum(bands, np.asarray(veto, dtype=np.intp))
