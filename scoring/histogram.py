"""Decayed histograms of single features: how rare each value is by itself.

Owns the detector: parameters and state. Does not own its loop (``scoring.cells``) nor checks of rows and snapshots
(``scoring.detector``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from scoring.cells import FINE_BINS, histogram_tails
from scoring.detector import Detector, real


class StreamingHistogram(Detector):
    """Histogram-based outlier score with tails (HBOS, ECOD), on a running standardisation, with forgetting.

    Blind to values that are strange only together, and to gaps narrower than two standard deviations. The score is in nats, at least 0. While a feature has never
    varied, its first other value is as strange as one can be, and sets its scale.

    Args:
        features: values in a row.
        half_life: rows after which a row counts half; 1 to 1e9. Below some 20,000 bursts teach it too soon.

    Raises:
        ValueError: a parameter is out of range; names it.
    """

    score_range: ClassVar[tuple[float, float]] = (0.0, 100.0)
    offset_tolerance: ClassVar[float] = 0.0

    def __init__(self, features: int, *, half_life: float = 100_000.0) -> None:
        half_life = real("half_life", half_life, 1.0, 1e9)
        super().__init__(features, {"half_life": half_life})
        self._growth = 2.0 ** (1.0 / half_life)
        self._moments = np.zeros((3, self.features))
        self._counts = np.zeros(self.features * FINE_BINS)
        self._surprise = np.zeros(self.features * FINE_BINS)
        self._mass = np.array([1.0, 0.0])
        self._rows = np.zeros(1, np.int64)
        self._z = np.empty(self.features)

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {
            "moments": self._moments,
            "counts": self._counts,
            "surprise": self._surprise,
            "mass": self._mass,
            "rows": self._rows,
        }

    def _is_sound(self) -> bool:
        return bool(np.isfinite(self._moments).all())

    def _score_learn(self, X: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        histogram_tails(
            X,
            self._growth,
            self._moments,
            self._counts,
            self._surprise,
            self._mass,
            self._rows,
            self._z,
            self._skipped,
            out,
        )
