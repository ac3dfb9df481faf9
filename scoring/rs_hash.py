"""RS-Hash: decayed counts in the cells of random grids, for values that are strange only together.

Owns the detector: parameters, grids and state. Does not own its loop (``scoring.cells``) nor checks of rows and
snapshots (``scoring.detector``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from scoring.cells import grid_cells
from scoring.detector import Detector, real, whole

SAMPLE: Final = 1000
"""The paper's sample size, which fixes how wide cells are and how many features they join."""

UNITS: Final = 8.0
"""Standard deviations in a unit of cell width: plus and minus four take the place of the minimum and the maximum."""

MOST_JOINED: Final = 4
"""Features of a cell at most: the paper sets no bound. Up to ten took twice as long, for no better areas on the whole."""


class RSHash(Detector):
    """Randomised hashing of subspaces (Sathe and Aggarwal 2016), on a running standardisation, with forgetting.

    The score is in bits, at least 0. Memory is fixed; hash collisions can only make a row look more common.

    Args:
        features: values in a row.
        grids: random grids, 1 to 1,000.
        cells: cells of each of a grid's two tables, a power of two from 16 to 2^20; grids × cells is at most 2^24.
        half_life: rows after which a row counts half; 1 to 1e9.
        seed: of the grids.

    Raises:
        ValueError: a parameter is out of range; names it.
    """

    score_range: ClassVar[tuple[float, float]] = (0.0, 32.0)
    offset_tolerance: ClassVar[float] = 0.0

    def __init__(
        self,
        features: int,
        *,
        grids: int = 32,
        cells: int = 4096,
        half_life: float = 100_000.0,
        seed: int = 0,
    ) -> None:
        grids = whole("grids", grids, 1, 1000)
        cells = whole("cells", cells, 16, 2**20)
        if cells & (cells - 1):
            raise ValueError(f"cells: expected a power of two, got {cells}")
        if grids * cells > 2**24:
            raise ValueError(f"grids × cells: expected at most {2**24}, got {grids * cells}")
        half_life = real("half_life", half_life, 1.0, 1e9)
        seed = whole("seed", seed, 0, 2**63 - 1)
        super().__init__(features, {"grids": grids, "cells": cells, "half_life": half_life, "seed": seed})
        chance = np.random.Generator(np.random.PCG64(seed))
        edge = 1.0 / math.sqrt(SAMPLE)
        width = chance.uniform(edge, 1.0 - edge, grids)
        most = np.log(SAMPLE) / np.log(np.maximum(2.0, 1.0 / width))
        joined = chance.integers(
            np.floor(1.0 + 0.5 * most).astype(np.int64), np.floor(most).astype(np.int64) + 1
        )
        self._dimensions = np.minimum(joined, min(self.features, MOST_JOINED))
        deepest = int(self._dimensions.max())
        self._chosen = np.zeros((grids, deepest), np.int64)
        for g, depth in enumerate(self._dimensions):
            self._chosen[g, :depth] = chance.choice(self.features, depth, replace=False)
        self._shift = chance.uniform(0.0, 1.0, (grids, deepest))
        self._multiplier = chance.integers(0, 2**63, (grids, deepest), np.uint64) * np.uint64(2) + np.uint64(
            1
        )
        self._density = 1.0 / (width * UNITS)
        self._growth = 2.0 ** (1.0 / half_life)
        self._moments = np.zeros((3, self.features))
        self._counts = np.zeros(grids * 2 * cells)
        self._mass = np.array([1.0, 0.0])
        self._rows = np.zeros(1, np.int64)
        self._z = np.empty(self.features)

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {
            "dimensions": self._dimensions,
            "chosen": self._chosen,
            "multiplier": self._multiplier,
            "shift": self._shift,
            "density": self._density,
            "moments": self._moments,
            "counts": self._counts,
            "mass": self._mass,
            "rows": self._rows,
        }

    def _is_sound(self) -> bool:
        deepest = self._chosen.shape[1]
        return bool(
            np.isfinite(self._moments).all()
            and np.isfinite(self._shift).all()
            and ((self._dimensions >= 1) & (self._dimensions <= deepest)).all()
            and ((self._chosen >= 0) & (self._chosen < self.features)).all()
            and ((self._density > 0.0) & (self._density < 1e3)).all()
        )

    def _score_learn(self, X: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        grid_cells(
            X,
            self._growth,
            self._dimensions,
            self._chosen,
            self._multiplier,
            self._shift,
            self._density,
            self._moments,
            self._counts,
            self._mass,
            self._rows,
            self._z,
            self._skipped,
            out,
        )
