"""The state of the ensemble: flat arrays of a size that never changes, and its constants.

Owns shapes, dtypes, the meaning of each field, allocation and the check of arrays that were read back. Does not own the
loops over them (``scoring.ensemble_kernels``).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.compilation import F8, I8, array, types

BINS: Final = 128
BINS_PER_DEVIATION: Final = 4.0
BROAD_BINS: Final = 8
"""Bins that make a broad one; two make a fine one."""
EMPTY: Final = 0.05
"""What an empty bin counts for."""
REACH: Final = 16.0
NEAR: Final = 6.0
"""Standard deviations at which values are clipped: for the marginal parts, for the joint ones."""
GRACE: Final = 32
UNSCORED: Final = 16
"""Rows after the grace period whose parts are learnt before a score is made of them."""
LAG: Final = 4096
PROMPT: Final = 256
"""Rows that are learnt without a lag."""
HELD: Final = LAG + 1
GROWTH: Final = 2.0 ** (1.0 / 100_000)
"""Of the weight of a row: after 100,000 rows one counts half."""
MEMORY: Final = 100_000 / math.log(2.0)
SLOWEST: Final = 1e-5
"""The rate at which moments follow once 100,000 rows were learnt."""
REFRESH: Final = 256
WHITENING_EVERY: Final = 32_768
SETS: Final = 16
BALLS: Final = 8
LANES: Final = SETS * BALLS
BLOCK: Final = 32
"""Features that are whitened together at most."""
RIDGE: Final = 0.01
UNVARIED: Final = 1e18
"""1/standard deviation of a feature that never varied: any other value lands in the outermost bin."""
FARTHEST: Final = 1e150
"""Distance from the first row at which values are clipped, so that squares stay finite."""
VARIANCE_FLOOR: Final = 0.01
PRIOR: Final = 4.0
"""What is added to the variance of a part, divided by the rows it was measured on: sixteen rows know little."""

SUSPECT: Final = 3e-4
"""Share of rows that wait for a token before they are learnt, and tokens that each row brings."""
MAX_TOKENS: Final = 16.0
OPEN_ABOVE: Final = 0.05
SHARE_RATE: Final = 1e-3
GATE_BINS: Final = 512
GATE_LOWEST: Final = -16.0
GATE_WIDTH: Final = 0.5
NEVER: Final = 1e300
RIPE: Final = 16_384.0
"""Rows learnt until a score counts in full for the gate."""
TRUSTED: Final = 1024
"""Rows learnt before the gate may close."""

BROAD, FINE, TAILS, EXTREME = range(4)
"""Parts that one histogram gives; the first three are what its table holds of each bin."""
WHITE: Final = 4
"""Where the same parts of the whitened values begin, their distance in the place of their tails."""
DISTANCE: Final = WHITE + TAILS
LONELY: Final = 8
PARTS: Final = 9

ORIGIN, MEAN, VARIANCE, MIDDLE, RECIPROCAL, JOINT_MEAN, WHITE_MEAN, VALUE, NEARBY, JOINT, WHITENED_VALUE = (
    range(11)
)
"""Rows of ``columns``."""
PART_MEAN, PART_VARIANCE, PART_MIDDLE, PART_RECIPROCAL, PART_VALUE = range(5)
"""Rows of ``parts``."""
SEEN, LEARNT, NEXT_TABLES, NEXT_WHITENING, FILLED, RANDOM, WEIGHED, REFUSED = range(8)
"""Places in ``clock``: rows that were seen, learnt, …; weighed rows that were learnt; rows the gate kept out."""
MASS_WEIGHT, TOKENS, SHARE, SUSPECT_ABOVE = range(4)
"""Places in ``pace``."""


class EnsembleState(NamedTuple):
    """All that the score of the next row depends on."""

    columns: NDArray[np.float64]
    """(11, features)."""
    mass: NDArray[np.float64]
    """(features, BINS): decayed counts of standardised values."""
    table: NDArray[np.float64]
    """(features, BINS, 3): surprise of the broad bin, of the fine bin and of the tail, as of the last refresh."""
    white_mass: NDArray[np.float64]
    """(features, BINS), (features, BINS, 3): the same of whitened values."""
    white_table: NDArray[np.float64]
    covariance: NDArray[np.float64]
    """(features, width of a block): row f against the features of its block, up to itself."""
    whitening: NDArray[np.float64]
    centres: NDArray[np.float32]
    """(features, LANES): sampled rows; the balls of set t are the lanes t, t + SETS, …"""
    balls: NDArray[np.float32]
    """(4, LANES): squared radius and loneliness of each ball; two rows of scratch."""
    held: NDArray[np.float64]
    """(HELD, features + PARTS + 2): rows that wait to be learnt: values, parts, score, whether suspect."""
    parts: NDArray[np.float64]
    """(5, PARTS)."""
    gate_mass: NDArray[np.float64]
    """(GATE_BINS,): decayed counts of the scores of rows that were learnt."""
    pace: NDArray[np.float64]
    """(4,)."""
    clock: NDArray[np.int64]
    """(8,)."""


STATE_TYPE: Final = types.NamedTuple(
    [
        *(array(F8, dimensions) for dimensions in (2, 2, 3, 2, 3, 2, 2)),
        *(array(types.float32, 2) for _ in range(2)),
        *(array(F8, dimensions) for dimensions in (2, 2, 1, 1)),
        array(I8),
    ],
    EnsembleState,
)


def new_state(features: int, seed: int) -> EnsembleState:
    """State before the first row."""
    blocks = -(-features // BLOCK)
    width = -(-features // blocks)
    state = EnsembleState(
        columns=np.zeros((11, features)),
        mass=np.zeros((features, BINS)),
        table=np.zeros((features, BINS, 3)),
        white_mass=np.zeros((features, BINS)),
        white_table=np.zeros((features, BINS, 3)),
        covariance=np.zeros((features, width)),
        whitening=np.zeros((features, width)),
        centres=np.zeros((features, LANES), np.float32),
        balls=np.full((4, LANES), -1.0, np.float32),
        held=np.zeros((HELD, features + PARTS + 2)),
        parts=np.zeros((5, PARTS)),
        gate_mass=np.zeros(GATE_BINS),
        pace=np.array([1.0, MAX_TOKENS, 0.0, NEVER]),
        clock=np.zeros(8, np.int64),
    )
    state.clock[RANDOM] = (seed * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) % 2**64 >> 32 or 1
    return state


def is_sound(state: EnsembleState) -> bool:
    """Whether no array leads the loops out of their bounds."""
    clock = state.clock
    return bool(
        all(np.isfinite(each).all() for each in state)
        and all((each >= 0.0).all() for each in (state.mass, state.white_mass, state.gate_mass))
        and state.pace[MASS_WEIGHT] >= 1.0
        and (clock >= 0).all()
        and clock[FILLED] <= LANES
        and 0 <= clock[SEEN] - clock[LEARNT] - clock[REFUSED] <= HELD
    )
