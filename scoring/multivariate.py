"""What entities did in a window, judged by all that was done in windows before: one surprisal an entity.

Owns the way from vectors to a surprisal: the ensemble, its grace, the correction for many looks; and the arrays it keeps.
Does not own the vectors (``scoring.kernels``) nor what a surprisal does to a risk (``scoring.kernels``, ``guardian.engine``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scoring.ensemble import Ensemble

GRACE: Final = 1000
"""Vectors that are only learnt: fewer do not say what is ordinary."""

MOST_SURPRISAL: Final = 6.0


class WindowJudge:
    """Scores the vectors of the windows of one role, and learns them. Not safe for several threads at once.

    >>> judge = WindowJudge(2)
    >>> rows = np.random.default_rng(0).normal(size=(2000, 2))
    >>> float(judge.judge_learn(rows[:1000]).max())
    0.0
    >>> float(judge.judge_learn(np.array([[40.0, -40.0]]))[0]) > 3.0
    True
    """

    def __init__(self, features: int) -> None:
        self._features = features
        self._ensemble: Ensemble | None = None
        """None until there is something to learn: a role that nobody uses costs nothing."""
        self._seen = 0

    def judge_learn(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Surprisal of each vector of one window, decades in 0…6; 0 for those within the grace.

        −log10 of the share of vectors before that were at least as strange, less log10 of how many are looked at: the
        strangest of n is one in n by chance alone (Bonferroni), so nobody is strange for being the busiest.

        Args:
            vectors: (n, features), float64, C order: all vectors of one window, in an order that does not depend on chance.
        """
        count = len(vectors)
        if not count:
            return np.empty(0)
        if self._ensemble is None:
            self._ensemble = Ensemble(self._features)
        p_value = self._ensemble.judge_learn(vectors).p_value
        surprisal = np.clip(-np.log10(p_value) - math.log10(count), 0.0, MOST_SURPRISAL)
        surprisal[: max(GRACE - self._seen, 0)] = 0.0
        self._seen += count
        return surprisal

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """All that the next surprisal depends on; nothing where nothing was learnt."""
        if self._ensemble is None:
            return {}
        return {
            "vectors": np.array([self._seen], np.int64),
            "ensemble": np.frombuffer(self._ensemble.snapshot(), np.uint8),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``arrays`` gave; others may be among them.

        Raises:
            ValueError: they are damaged, or of vectors of another length.
        """
        if "ensemble" not in arrays:
            return
        ensemble = Ensemble.restore(arrays["ensemble"].tobytes())
        seen = arrays.get("vectors")
        if ensemble.features != self._features or seen is None or seen.shape != (1,):
            raise ValueError(
                f"window vectors: expected an ensemble of {self._features} features and its count"
            )
        self._ensemble, self._seen = ensemble, int(seen[0])
