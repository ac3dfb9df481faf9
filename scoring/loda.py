"""Loda: decayed histograms of random sparse projections.

Owns the detector: parameters, directions and state. Does not own its loop (``scoring.cells``) nor checks of rows and
snapshots (``scoring.detector``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from scoring.cells import WIDE_BINS, projected_histograms
from scoring.detector import Detector, real, whole


class Loda(Detector):
    """Lightweight on-line detector of anomalies (Pevny 2016), on a running standardisation, with forgetting.

    Not River's LODA, whose histograms have ten adaptive bins and never forget: there a value just outside every bin has
    density 0, and features of larger units outweigh the others. The score is in nats, at least 0.

    Args:
        features: values in a row.
        projections: random directions, 1 to 1,000; each has weights on the square root of ``features``, rounded up.
        half_life: rows after which a row counts half; 1 to 1e9.
        seed: of the directions.

    Raises:
        ValueError: a parameter is out of range; names it.
    """

    score_range: ClassVar[tuple[float, float]] = (0.0, 50.0)
    offset_tolerance: ClassVar[float] = 0.0

    def __init__(
        self, features: int, *, projections: int = 20, half_life: float = 100_000.0, seed: int = 0
    ) -> None:
        projections = whole("projections", projections, 1, 1000)
        half_life = real("half_life", half_life, 1.0, 1e9)
        seed = whole("seed", seed, 0, 2**63 - 1)
        super().__init__(features, {"projections": projections, "half_life": half_life, "seed": seed})
        weighted = math.isqrt(self.features - 1) + 1
        chance = np.random.Generator(np.random.PCG64(seed))
        self._chosen = np.empty((weighted, projections), np.int64)
        self._direction = np.empty((weighted, projections))
        for p in range(projections):
            self._chosen[:, p] = chance.choice(self.features, weighted, replace=False)
            weights = chance.standard_normal(weighted)
            self._direction[:, p] = weights / math.sqrt(float(weights @ weights))
        self._growth = 2.0 ** (1.0 / half_life)
        self._moments = np.zeros((3, self.features))
        self._counts = np.zeros(projections * WIDE_BINS)
        self._surprise = np.zeros(projections * WIDE_BINS)
        self._mass = np.array([1.0, 0.0])
        self._rows = np.zeros(1, np.int64)
        self._z = np.empty(self.features)
        self._projected = np.empty(projections)

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {
            "chosen": self._chosen,
            "direction": self._direction,
            "moments": self._moments,
            "counts": self._counts,
            "surprise": self._surprise,
            "mass": self._mass,
            "rows": self._rows,
        }

    def _is_sound(self) -> bool:
        return bool(
            np.isfinite(self._moments).all()
            and ((self._chosen >= 0) & (self._chosen < self.features)).all()
            and (np.abs(self._direction) <= 1.0).all()
        )

    def _score_learn(self, X: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        projected_histograms(
            X,
            self._growth,
            self._chosen,
            self._direction,
            self._moments,
            self._counts,
            self._surprise,
            self._mass,
            self._rows,
            self._z,
            self._projected,
            self._skipped,
            out,
        )
