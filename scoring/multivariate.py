"""What entities did in a window, judged by all that was done in windows before: one surprisal an entity.

Owns the way from vectors to a surprisal: the ensemble, a forest grown offline beside it, their grace, the correction for many
looks; and the arrays it keeps. Does not own the vectors and what a surprisal does to a risk (``scoring.kernels``), nor when a
forest is grown and swapped in (``guardian.engine``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scoring.ensemble import Ensemble
from scoring.forest import IsolationForest
from scoring.tail import TailCalibrator

GRACE: Final = 1000
"""Vectors that are only learnt: fewer do not say what is ordinary."""

MOST_SURPRISAL: Final = 6.0
LEAST_SCORE: Final = 3.0
"""Standard deviations below which the ensemble says nothing. Where all vectors are alike its score moves by thousandths as it
learns, and the same vector would seem one in a hundred (measured: half of the windows of a metronome)."""

CELLS: Final = 2**14
CELLS_PER_UNIT: Final = 4.0
FARTHEST_CELL: Final = 2.0**20
"""Vectors are counted by cells of a quarter of a unit, hashed. The share of those before in a vector's own cell is a lower
bound of its p-value: where there are few different vectors the ensemble's score of each moves as it learns, and what one
window in seven showed would seem one in four hundred (measured). Nothing is called rarer than one in all that were seen: what
the tail says beyond that is an extrapolation. Two cells that share a place only make it quieter."""

ENSEMBLE, FOREST = range(2)


class WindowJudge:
    """Scores the vectors of the windows of one role, and learns them. Not safe for several threads at once.

    >>> judge = WindowJudge(2)
    >>> rows = np.random.default_rng(0).normal(size=(2000, 2))
    >>> float(judge.judge_learn(rows[:1000]).max())
    0.0
    >>> round(float(judge.judge_learn(np.array([[40.0, -40.0]]))[0]), 2)
    3.0
    """

    def __init__(self, features: int) -> None:
        self._features = features
        self._ensemble: Ensemble | None = None
        """None until there is something to learn: a role that nobody uses costs nothing."""
        self._forest: IsolationForest | None = None
        self._tail = TailCalibrator()
        """Makes p-values of the forest's scores; begins anew with each forest."""
        self._cells = np.zeros(CELLS, np.uint32)
        self._seen = np.zeros(2, np.int64)
        """Vectors that the ensemble learnt, and that the forest in force has scored."""

    def judge_learn(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Surprisal of each vector of one window, decades in 0…6; 0 for those within the grace.

        −log10 of the share of vectors before that were at least as strange, less log10 of how many are looked at: the
        strangest of n is one in n by chance alone (Bonferroni), so nobody is strange for being the busiest.

        Once a forest has scored a grace of its own, the larger surprisal of the two counts, less log10 2: two looks.

        Args:
            vectors: (n, features), float64, C order: all vectors of one window, in an order that does not depend on chance.
        """
        count = len(vectors)
        if not count:
            return np.empty(0)
        if self._ensemble is None:
            self._ensemble = Ensemble(self._features)
        judgement = self._ensemble.judge_learn(vectors)
        surprisal = np.where(judgement.score >= LEAST_SCORE, -np.log10(judgement.p_value), 0.0)
        if self._forest is not None:
            second = -np.log10(self._tail.p_value_learn(self._forest.score(vectors)))
            heard = slice(max(GRACE - int(self._seen[FOREST]), 0), None)
            surprisal[heard] = np.maximum(surprisal[heard], second[heard]) - math.log10(2.0)
            self._seen[FOREST] += count
        surprisal = np.minimum(surprisal, self._counted(vectors))
        surprisal = np.clip(surprisal - math.log10(count), 0.0, MOST_SURPRISAL)
        surprisal[: max(GRACE - int(self._seen[ENSEMBLE]), 0)] = 0.0
        self._seen[ENSEMBLE] += count
        return surprisal

    def _counted(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """The most surprisal each vector can have, by how often its cell was seen before this window; then counted."""
        cell = np.clip(np.rint(vectors * CELLS_PER_UNIT), -FARTHEST_CELL, FARTHEST_CELL).astype(np.int64)
        place = np.zeros(len(vectors), np.uint64)
        for column in cell.T.astype(np.uint64):
            place = (place ^ column) * np.uint64(0x9E3779B97F4A7C15)
            place ^= place >> np.uint64(32)
        at = (place % np.uint64(CELLS)).astype(np.int64)
        share = np.maximum(self._cells[at], 1) / (self._seen[ENSEMBLE] + 1.0)
        np.add.at(self._cells, at, np.uint32(1))
        most: NDArray[np.float64] = -np.log10(share)
        return most

    def swap(self, forest: IsolationForest) -> None:
        """Let another forest score from here on.

        Raises:
            ValueError: it scores vectors of another length.
        """
        if forest.features != self._features:
            raise ValueError(f"forest: expected one of {self._features} features, got {forest.features}")
        self._forest, self._tail = forest, TailCalibrator()
        self._seen[FOREST] = 0

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """All that the next surprisal depends on; nothing where nothing was learnt."""
        kept: dict[str, NDArray[Any]] = {}
        if self._ensemble is not None:
            kept["ensemble"] = np.frombuffer(self._ensemble.snapshot(), np.uint8)
            kept["cells"] = self._cells.copy()
        if self._forest is not None:
            kept["forest"] = np.frombuffer(self._forest.to_bytes(), np.uint8)
            kept["tail"] = np.frombuffer(self._tail.snapshot(), np.uint8)
        return {**kept, "vectors": self._seen.copy()} if kept else kept

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``arrays`` gave; others may be among them.

        Raises:
            ValueError: they are damaged, or of vectors of another length.
        """
        if "ensemble" not in arrays and "forest" not in arrays:
            return
        seen = arrays.get("vectors")
        if seen is None or seen.shape != (2,) or seen.dtype != np.int64:
            raise ValueError("window vectors: expected how many there were")
        if "ensemble" in arrays:
            ensemble = Ensemble.restore(arrays["ensemble"].tobytes())
            if ensemble.features != self._features:
                raise ValueError(
                    f"ensemble: expected one of {self._features} features, got {ensemble.features}"
                )
            cells = arrays.get("cells")
            if cells is None or cells.shape != (CELLS,) or cells.dtype != np.uint32:
                raise ValueError(f"window vectors: expected counts of {CELLS} cells")
            self._ensemble, self._cells = ensemble, cells.copy()
        if "forest" in arrays:
            if "tail" not in arrays:
                raise ValueError("forest: expected its calibrator beside it")
            self.swap(IsolationForest.from_bytes(arrays["forest"].tobytes()))
            self._tail = TailCalibrator.restore(arrays["tail"].tobytes())
        self._seen = seen.copy()
