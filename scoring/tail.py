"""Streaming tail calibration: any score becomes a p-value, in fixed memory.

Owns the calibrator, its histogram and its loops. Does not own the frame of a snapshot (``scoring.detector``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from scoring.compilation import F8, I8, IN_F8, array, jit, kernel, types
from scoring.detector import Detector, described, real

TAIL_BINS: Final = 1024
TAIL_ORIGIN: Final = TAIL_BINS // 2
BINS_PER_OCTAVE: Final = 32
ONE_AS_BITS: Final = 0x3FF0000000000000
TAIL_FIRST: Final = 64
"""Scores that are kept as they are before there is a histogram."""
FARTHEST: Final = 1e140
"""Scores are clipped here, so that squares stay finite."""
RANK: Final = 1e-9
"""Part of itself that p falls by with each bin, so that ranks stay apart within one and where no score ever fell."""
GRID_SCORES: Final = 16.0
FINEST: Final = 1e-9
"""Unit of the grid at least, as a part of the scores' own size: a single value has no width."""
TAIL_PER_Q: Final = 20.0
TAIL_SCORES: Final = 32.0
"""The tail is at most this many times q of the scores, and at most this many scores (faded ones count less): a Pareto
fitted above the 98 % quantile for good put .37 of 1e-3 there on smtp, this one .83."""
MIN_SHAPE: Final = -0.3
MAX_SHAPE: Final = 0.5
SHAPELESS: Final = 1e-6
DEEP: Final = 12.0
"""Nats into a tail with an end point, from where on it goes on in a straight line."""
DEEPEST: Final = 600.0
"""exp(−600) times the smallest share is still a positive float64."""

CENTRE, INVERSE, EDGE, BASE, SHAPE, SCALE, WEIGHT = range(7)
"""Places in ``TailState.line``: place and 1/unit of the grid; where the tail begins, p there, its Pareto shape and
scale; the weight of the next score (forward decay)."""

SEEN_SCORES, NEXT_REFRESH, NEXT_GRID = range(3)
"""Places in ``TailState.clock``."""


class TailState(NamedTuple):
    """All that the next p-value depends on."""

    mass: NDArray[np.float64]
    """(TAIL_BINS,): decayed counts on the log-linear grid."""
    table: NDArray[np.float64]
    """(TAIL_BINS,): share of the scores above the lower edge of each bin, as of the last refresh."""
    line: NDArray[np.float64]
    """(7,)."""
    first: NDArray[np.float64]
    """(TAIL_FIRST,): the first scores as they came."""
    clock: NDArray[np.int64]
    """(3,)."""


TAIL_TYPE: Final = types.NamedTuple([array(F8)] * 4 + [array(I8)], TailState)


@jit
def _place(line: Any, score: Any) -> Any:
    """Where a score lies on the grid, in bins: straight within an octave of 1 + distance from the centre."""
    y = (score - line[CENTRE]) * line[INVERSE]
    bits = np.float64(1.0 + min(abs(y), 1e300)).view(np.int64)  # exponent and fraction, read as one number
    steps = BINS_PER_OCTAVE * 2.0**-52 * (bits - ONE_AS_BITS)
    return min(max(TAIL_ORIGIN + steps if y >= 0.0 else TAIL_ORIGIN - steps, 0.0), TAIL_BINS - 0.001)


@jit
def _edge(line: Any, place: Any) -> Any:
    """The score at a place on the grid."""
    octaves = abs(place - TAIL_ORIGIN) / BINS_PER_OCTAVE
    whole = math.floor(octaves)
    y = (1.0 + octaves - whole) * 2.0**whole - 1.0
    return line[CENTRE] + (y if place >= TAIL_ORIGIN else -y) / line[INVERSE]


@jit
def _p_value(tail: Any, score: Any, place: Any) -> Any:
    line = tail.line
    seen = tail.clock[SEEN_SCORES]
    if seen < TAIL_FIRST:
        above = 1.0
        for i in range(seen):
            if tail.first[i] >= score:
                above += 1.0
        return above / (seen + 1.0)
    excess = score - line[EDGE]
    if excess <= 0.0:
        return max(tail.table[np.uint64(place)] * (1.0 - place * RANK), line[BASE])
    excess /= line[SCALE]
    shape = line[SHAPE]
    deep = excess
    if shape > SHAPELESS:
        deep = math.log1p(shape * excess) / shape
    elif shape < -SHAPELESS:
        turn = math.expm1(DEEP * shape) / shape
        if excess < turn:
            deep = math.log1p(shape * excess) / shape
        else:
            deep = DEEP + (excess - turn) / (1.0 + shape * turn)
    return line[BASE] * math.exp(-min(deep, DEEPEST))


@jit
def _count(tail: Any, score: Any, place: Any, growth: Any, q: Any) -> None:
    """Learn a score."""
    line, clock = tail.line, tail.clock
    clock[SEEN_SCORES] += 1
    seen = clock[SEEN_SCORES]
    if seen <= TAIL_FIRST:
        tail.first[seen - 1] = score
        if seen < TAIL_FIRST:
            return
        _first_grid(tail)
        clock[NEXT_GRID] = TAIL_FIRST
    else:
        tail.mass[np.uint64(place)] += line[WEIGHT]
        line[WEIGHT] *= max(growth, 1.0 + 1.0 / seen)
        if seen < clock[NEXT_REFRESH]:
            return
    if seen >= clock[NEXT_GRID]:
        clock[NEXT_GRID] = min(2 * seen, seen + 65_536)
        _new_grid(tail, max(q, GRID_SCORES / seen))
    clock[NEXT_REFRESH] = seen + min(seen // 16, 1024)
    _refresh_tail(tail, TAIL_PER_Q * q)


@jit
def _first_grid(tail: Any) -> None:
    """A grid over the first scores; the next one is laid at once, from its quantiles."""
    line, first = tail.line, tail.first
    line[CENTRE] = first.max()
    line[INVERSE] = 1.0 / max((line[CENTRE] - first.min()) / 16.0, 1e-9 * abs(line[CENTRE]), 1.0 / FARTHEST)
    for i in range(TAIL_FIRST):
        tail.mass[np.uint64(_place(line, first[i]))] += 1.0


@jit
def _quantile(tail: Any, above: Any) -> Any:
    """The score above which this mass lies."""
    i = TAIL_BINS - 1
    while i > 0 and above > tail.mass[i]:
        above -= tail.mass[i]
        i -= 1
    return _edge(tail.line, i + 1.0 - above / max(tail.mass[i], above))


@jit
def _new_grid(tail: Any, share: Any) -> None:
    """Lay the grid anew where the scores have moved: finest around the quantile that matters, each bin's mass spread evenly.

    The unit is the way between the quantiles of ``share`` and 4 ``share``, so a bin there holds a twentieth of them.
    """
    line, mass, moved = tail.line, tail.mass, tail.table  # the table is made anew after this
    total = mass.sum()
    centre = _quantile(tail, share * total)
    body = centre - _quantile(tail, 0.5 * total)
    unit = max(
        centre - _quantile(tail, min(4.0 * share, 0.9) * total),
        FINEST * max(body, abs(centre)),
        1.0 / FARTHEST,
    )
    old_centre, old_inverse = line[CENTRE], line[INVERSE]
    if 0.5 <= unit * old_inverse <= 2.0 and abs(centre - old_centre) <= unit:
        return
    moved[:] = 0.0
    for i in range(TAIL_BINS):
        if mass[i] > 0.0:
            line[CENTRE], line[INVERSE] = old_centre, old_inverse
            low, high = _edge(line, i), _edge(line, i + 1.0)
            line[CENTRE], line[INVERSE] = centre, 1.0 / unit
            start, stop = _place(line, low), _place(line, high)
            for k in range(np.int64(start), np.int64(stop) + 1):
                part = min(k + 1.0, stop) - max(np.float64(k), start)
                moved[k] += mass[i] * (part / (stop - start) if stop > start else 1.0)
    line[CENTRE], line[INVERSE] = centre, 1.0 / unit
    mass[:] = moved


@jit
def _refresh_tail(tail: Any, share: Any) -> None:
    """Survival table up to the quantile where the tail begins; generalised Pareto by the method of moments above it."""
    line, mass, table = tail.line, tail.mass, tail.table
    if line[WEIGHT] > 1e200:
        mass /= line[WEIGHT]
        line[WEIGHT] = 1.0
    total = mass.sum()
    allowed = min(share * total, TAIL_SCORES * line[WEIGHT])
    above, start = 0.0, TAIL_BINS
    while start > 0 and above + mass[start - 1] <= allowed:
        start -= 1
        above += mass[start]
    edge = _edge(line, start)
    first, second = 0.0, 0.0
    for i in range(start, TAIL_BINS):
        if mass[i] > 0.0:
            excess = _edge(line, i + 0.5) - edge
            first += mass[i] * excess
            second += mass[i] * excess * excess
    line[SHAPE], line[SCALE] = 0.0, _edge(line, start + 1.0) - edge
    if first > 0.0:
        mean = first / above
        variance = max(second / above - mean * mean, 1e-12 * mean * mean)
        shape = min(max(0.5 * (1.0 - mean * mean / variance), MIN_SHAPE), MAX_SHAPE)
        line[SHAPE], line[SCALE] = shape, mean * (1.0 - shape)
    line[EDGE] = edge
    half = 0.5 * line[WEIGHT]
    above = 0.0
    for i in range(TAIL_BINS - 1, -1, -1):
        above += mass[i]
        table[i] = min((above + half) / (total + half), 1.0)
    line[BASE] = (table[start] if start < TAIL_BINS else half / (total + half)) * (1.0 - start * RANK)


@kernel(IN_F8, F8, F8, TAIL_TYPE, array(I8), array(F8))
def calibrate_tail(scores: Any, growth: Any, q: Any, tail: Any, skipped: Any, p_value: Any) -> None:
    """p-value of each score under all scores before it, which it then joins.

    Shapes: scores, p_value (n,), which may be the same array.
    Units: p in (0, 1]; growth = 2^(1/half-life in scores); q = the rate at which p should be most exact.
    Cost: about 60 ns a score.
    Source: Siffer et al. 2017, Anomaly Detection in Streams with Extreme Value Theory, section 4 (SPOT); Hosking and
    Wallis 1987 for the moments.
    Difference: moments instead of Grimshaw's likelihood, taken of a decayed log-linear histogram, so memory is fixed and
    nothing is fitted per row; below the tail the histogram, not p = 1; a score that is not finite has p = 1.
    """
    for i in range(scores.shape[0]):
        if not math.isfinite(scores[i]):
            skipped[0] += 1
            p_value[i] = 1.0
            continue
        score = min(max(scores[i], -FARTHEST), FARTHEST)
        place = _place(tail.line, score)
        p_value[i] = _p_value(tail, score, place)
        _count(tail, score, place, growth, q)


def new_tail() -> TailState:
    """State before the first score."""
    return TailState(
        mass=np.zeros(TAIL_BINS),
        table=np.zeros(TAIL_BINS),
        line=np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0]),
        first=np.zeros(TAIL_FIRST),
        clock=np.zeros(3, np.int64),
    )


def is_sound(tail: TailState) -> bool:
    """Whether no array leads the loop out of its bounds."""
    return bool(
        all(np.isfinite(each).all() for each in tail)
        and (tail.mass >= 0.0).all()
        and (tail.table >= 0.0).all()
        and tail.line[INVERSE] > 0.0
        and tail.line[WEIGHT] >= 1.0
        and tail.clock[SEEN_SCORES] >= 0
    )


class _Stream(Detector):
    """The calibrator in the frame of a detector: one feature, the score; what it "scores" is the p-value."""

    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    offset_tolerance: ClassVar[float] = 0.0

    def __init__(self, features: int = 1, *, q: float, half_life: float) -> None:
        self.q, half_life = real("q", q, 1e-9, 0.01), real("half_life", half_life, 100.0, 1e9)
        super().__init__(features, {"q": self.q, "half_life": half_life})
        self._growth = 2.0 ** (1.0 / half_life)
        self.tail = new_tail()

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return self.tail._asdict()

    def _is_sound(self) -> bool:
        return is_sound(self.tail)

    def _score_learn(self, X: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        calibrate_tail(X.reshape(-1), self._growth, self.q, self.tail, self._skipped, out)


class TailCalibrator:
    """The p-value of each score under the scores before it: streaming extreme value theory in about 20 KiB.

    p lies in (0, 1] and never grows with the score. The highest 32 scores, at most 20 q of all, are a generalised
    Pareto tail, the rest is a histogram, so ranks hold below the tail too. A score that is not finite has p = 1, changes nothing and is counted in
    ``skipped``. Feeding scores at once, in parts or one by one gives the same bits.

    Args:
        q: the rate of false alarms at which it should be most exact; 1e-9 to 0.01.
        half_life: scores after which a score counts half; 100 to 1e9.

    Raises:
        ValueError: a parameter is out of range; names it.

    >>> calibrator = TailCalibrator()
    >>> calibrator.p_value_learn(np.array([1.0, 2.0, 0.5])).tolist()
    [1.0, 0.5, 1.0]
    """

    def __init__(self, *, q: float = 1e-3, half_life: float = 10_000.0) -> None:
        self._stream = _Stream(q=q, half_life=half_life)

    @property
    def skipped(self) -> int:
        """Scores so far that were not finite."""
        return self._stream.skipped

    @property
    def threshold(self) -> float:
        """The score whose p-value is q; infinite during the first 64 scores."""
        tail = self._stream.tail
        if tail.clock[SEEN_SCORES] < TAIL_FIRST:
            return math.inf
        deep = max(math.log(tail.line[BASE] / self._stream.q), 0.0)
        shape = tail.line[SHAPE]
        if abs(shape) > SHAPELESS:
            turn = min(deep, DEEP) if shape < 0.0 else deep
            deep = math.expm1(shape * turn) / shape + (deep - turn) * math.exp(shape * turn)
        return float(tail.line[EDGE] + tail.line[SCALE] * deep)

    def p_value_learn(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """p-value of every score, each before it is learnt, in order.

        Args:
            scores: (n,) float64, C order; may be read-only.

        Returns:
            (n,) float64 in (0, 1].

        Raises:
            ValueError: scores has another type, dtype, shape or memory layout.
        """
        if not isinstance(scores, np.ndarray) or scores.ndim != 1 or not scores.flags.c_contiguous:
            raise ValueError(f"scores: expected float64 of shape (n,) in C order, got {described(scores)}")
        return self._stream.score_learn(scores.reshape(-1, 1))

    def p_value_learn_one(self, score: float) -> float:
        """p-value of one score, then learn it: the same bits as ``p_value_learn`` gives."""
        return float(self._stream.score_learn(np.array([[score]], np.float64))[0])

    def snapshot(self) -> bytes:
        """The parameters and the whole state; the same state gives the same bytes."""
        return self._stream.snapshot()

    @classmethod
    def restore(cls, blob: bytes) -> Self:
        """The calibrator as it was; it goes on bit for bit.

        Raises:
            ValueError: the bytes are damaged, of another version, or of something else.
        """
        made = cls()
        made._stream = _Stream.restore(blob)
        return made
