"""Strangeness of one metric over time: values that this hour of the day has hardly seen, judged over a short while.

Owns the loop, its arrays and the public class. Does not own where metrics come from, nor levels: a score is a surprisal.

A value's density is a histogram of the hour of the day, smoothed by an exponential kernel and shrunk to the histogram of
all hours; its surprisal, averaged over about four values, is looked up among the averages before it. What stays strange
is told once: until ``rest_s`` has passed, only what is stranger than the episode's peak scores again.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from scoring.compilation import F8, I8, array, jit, kernel, types
from scoring.detector import described, real
from scoring.snapshots import opened, packed, refill

Floats = NDArray[np.float64]

HOURS: Final = 24
BINS: Final = 64
"""Of a quarter of a standard deviation each; what lies beyond stands in the outermost."""

BIN_WIDTH: Final = 0.25
KERNEL_SCALE: Final = 0.5
SHRINKAGE: Final = 3.0
SMOOTHING: Final = 0.25
CLIP: Final = 4.0
GRACE: Final = 50
LEAD: Final = 30
FLOOR_RATE: Final = 1e-5
LEVELS: Final = 512
LEVELS_PER_NAT: Final = 16.0
BLOCK: Final = 32
RESCALE_AT: Final = 1e200

COUNT, MEAN, VARIANCE, AVERAGE, UNIT, PEAK, PEAK_AT = range(7)
MOMENTS: Final = 7

# exp(-|k| of bins) and its integral over a bin, for distances -BINS to BINS.
KERNEL: Final = (
    np.exp(-np.abs(np.arange(-BINS, BINS + 1)) * BIN_WIDTH / KERNEL_SCALE) * BIN_WIDTH / KERNEL_SCALE / 2
)


class SeriesState(NamedTuple):
    """One metric. The last row of ``seen`` is that of all hours; ``moments`` is indexed by COUNT to PEAK_AT."""

    seen: Floats  # (HOURS + 1, BINS)
    totals: Floats  # (HOURS + 1,)
    levels: Floats  # (LEVELS,) averages of surprisal learnt, each weighing what UNIT was then
    blocks: Floats  # (LEVELS / BLOCK,) sums of levels
    moments: Floats
    skipped: NDArray[np.int64]


STATE_TYPE: Final = types.NamedTuple(
    [array(F8, 2), array(F8), array(F8), array(F8), array(F8), array(I8)], SeriesState
)
_IN_F8: Final = array(F8, readonly=True)


@jit
def _bin(x: Any, mean: Any, deviation: Any) -> Any:
    if x == mean:
        return BINS // 2
    if deviation == 0.0:
        return BINS - 1 if x > mean else 1
    at = math.floor((x - mean) / (deviation * BIN_WIDTH) + 0.5)
    return int(min(max(at, 1.0 - BINS // 2), BINS // 2 - 1.0)) + BINS // 2


@jit
def _near(seen: Any, row: Any, at: Any, distances: Any) -> Any:
    """Mass of one row of the histogram around a bin; four sums side by side, since one would wait for itself."""
    a = b = c = d = 0.0
    first = BINS - at
    for k in range(0, BINS, 4):
        a += distances[first + k] * seen[row, k]
        b += distances[first + k + 1] * seen[row, k + 1]
        c += distances[first + k + 2] * seen[row, k + 2]
        d += distances[first + k + 3] * seen[row, k + 3]
    return (a + b) + (c + d)


@kernel(_IN_F8, _IN_F8, F8, F8, _IN_F8, STATE_TYPE, array(F8))
def series_surprisal(
    seconds: Any, values: Any, half_life: Any, rest: Any, distances: Any, state: Any, out: Any
) -> None:
    """Strangeness of each value of one metric, then learn it.

    Shapes: seconds, values, out (n,); distances (2 BINS + 1,), KERNEL; state as in SeriesState.
    Units: seconds since 1970, UTC; out in decades; half_life in values (of the memory of averages); rest in seconds.
    Cost: about 180 ns a value on one core.
    Source: Lavin and Ahmad 2015, Evaluating real-time anomaly detection algorithms, for judging a short average of
        errors by its own history; kernel density with a prior, shrunk to a parent: Gelman et al., Bayesian Data Analysis.
    Difference: densities in place of a sequence memory; an empirical tail, beyond the data an exponential of one nat, in
        place of a Gaussian; the first LEAD values score 0, their averages are of an empty histogram and are not kept; NaN and infinities score 0, are counted and change
        nothing.
    """
    seen, totals, levels, blocks = state.seen, state.totals, state.levels, state.blocks
    moments, skipped = state.moments, state.skipped
    growth = 2.0 ** (1.0 / half_life)
    for i in range(values.shape[0]):
        x, now = values[i], seconds[i]
        out[i] = 0.0
        if not (math.isfinite(x) and math.isfinite(now)):
            skipped[0] += 1
            continue
        count, mean = moments[COUNT], moments[MEAN] if moments[COUNT] > 0.0 else x
        deviation = math.sqrt(moments[VARIANCE])
        at = _bin(x, mean, deviation)
        hour = int(
            min(max(math.floor((now - 86400.0 * math.floor(now / 86400.0)) / 3600.0), 0.0), HOURS - 1.0)
        )
        every = (_near(seen, HOURS, at, distances) + distances[at + BINS // 2]) / (totals[HOURS] + 1.0)
        this = (_near(seen, hour, at, distances) + SHRINKAGE * every) / (totals[hour] + SHRINKAGE)
        surprisal = -math.log(this)
        average = moments[AVERAGE]
        average += max(1.0 / (count + 1.0), SMOOTHING) * (surprisal - average)
        moments[AVERAGE] = average

        level = int(min(max(average * LEVELS_PER_NAT, 0.0), LEVELS - 1.0))
        block = level // BLOCK
        if count >= LEAD:
            higher = all_of_it = 0.0
            for k in range(LEVELS // BLOCK):
                all_of_it += blocks[k]
                if k > block:
                    higher += blocks[k]
            for k in range(level + 1, (block + 1) * BLOCK):
                higher += levels[k]
            within = min(max(average * LEVELS_PER_NAT - level, 0.0), 1.0)
            higher += (1.0 - within) * levels[level]
            unit = moments[UNIT]
            score = -math.log10((higher + unit * math.exp(-max(average, 0.0))) / (all_of_it + unit))
            if score > moments[PEAK] or now - moments[PEAK_AT] > rest:
                moments[PEAK], moments[PEAK_AT] = score, now
                out[i] = max(score, 0.0)
            moments[UNIT] *= growth
            levels[level] += moments[UNIT]
            blocks[block] += moments[UNIT]
            if moments[UNIT] > RESCALE_AT:
                for k in range(LEVELS):
                    levels[k] /= moments[UNIT]
                for k in range(LEVELS // BLOCK):
                    blocks[k] /= moments[UNIT]
                moments[UNIT] = 1.0

        seen[hour, at] += 1.0
        seen[HOURS, at] += 1.0
        totals[hour] += 1.0
        totals[HOURS] += 1.0
        step = x - mean
        if count > GRACE and deviation > 0.0:
            step = min(max(step, -CLIP * deviation), CLIP * deviation)
        rate = max(1.0 / (count + 1.0), FLOOR_RATE)
        moments[MEAN] = mean + rate * step
        moments[VARIANCE] = (1.0 - rate) * (moments[VARIANCE] + rate * step * step)
        moments[COUNT] = count + 1.0


class SeriesScorer:
    """Scores the values of one metric as they come, each before it is learnt; decades of surprisal, 0 = ordinary.

    Memory is fixed, 17 KiB. One instance belongs to one metric and one thread at a time.

    >>> import numpy as np
    >>> seconds = 300.0 * np.arange(4000)
    >>> values = np.sin(seconds * 2 * np.pi / 86400)
    >>> values[3000:3003] = -0.9  # ordinary at another hour
    >>> scores = SeriesScorer().score_learn(seconds, values)
    >>> 600 + int(scores[600:].argmax())  # after two days, the first of which is new at every hour
    3002
    """

    def __init__(self, *, half_life: float = 4000.0, rest_s: float = 21_600.0) -> None:
        """Begin without any past.

        Args:
            half_life: after how many values a past average of surprisal weighs half, from 1.
            rest_s: how long after its peak an episode scores 0 unless it grows stranger still; 0 = every value scores.

        Raises:
            ValueError: a number is out of its bounds; names it.
        """
        self._parameters = {
            "half_life": real("half_life", half_life, 1.0, 1e15),
            "rest_s": real("rest_s", rest_s, 0.0, 1e15),
        }
        self._state = SeriesState(
            seen=np.zeros((HOURS + 1, BINS)),
            totals=np.zeros(HOURS + 1),
            levels=np.zeros(LEVELS),
            blocks=np.zeros(LEVELS // BLOCK),
            moments=np.zeros(MOMENTS),
            skipped=np.zeros(1, np.int64),
        )
        self._state.moments[UNIT] = 1.0
        self._state.moments[PEAK_AT] = -math.inf

    @property
    def skipped(self) -> int:
        """Values so far that were not finite, or had no finite time."""
        return int(self._state.skipped[0])

    def score_learn(self, timestamps: Floats, values: Floats) -> Floats:
        """Score each value, then learn it, in order: the same bits in one call or many.

        Args:
            timestamps: (n,) float64, seconds since 1970; the hour of the day is taken in UTC.
            values: (n,) float64.

        Returns:
            (n,) float64, 0 or more.

        Raises:
            ValueError: an array has another type, dtype or shape; says what was expected.
        """
        for name, given in (("timestamps", timestamps), ("values", values)):
            if (
                not isinstance(given, np.ndarray)
                or given.dtype != np.float64
                or given.ndim != 1
                or not given.flags.c_contiguous
                or len(given) != len(timestamps)
            ):
                raise ValueError(
                    f"{name}: expected float64 of one shape (n,) for timestamps and values, got {described(given)}"
                )
        out = np.empty(len(values))
        parameters = self._parameters
        series_surprisal(
            timestamps, values, parameters["half_life"], parameters["rest_s"], KERNEL, self._state, out
        )
        return out

    def snapshot(self) -> bytes:
        """Parameters and state; the same state gives the same bytes on any machine."""
        return packed(type(self).__name__, {"parameters": self._parameters}, self._state._asdict())

    @classmethod
    def restore(cls, blob: bytes) -> Self:
        """The scorer as it was; it goes on bit for bit.

        Raises:
            ValueError: the bytes are damaged, of another version, or of something else.
        """
        header, body = opened(blob, cls.__name__)
        try:
            made = cls(**header["parameters"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"snapshot: expected the parameters of a {cls.__name__}: {error}") from None
        refill(made._state._asdict(), header, body)
        moments = made._state.moments
        if not np.all(np.isfinite(moments[:PEAK_AT])) or moments[VARIANCE] < 0.0:  # a digest proves no origin
            raise ValueError(f"snapshot: the arrays of this {cls.__name__} contradict each other")
        return made
