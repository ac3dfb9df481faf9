"""The ensemble: nine views of a row, learnt late and through a gate, one fixed set of parameters.

Owns the detector and its public channels. Does not own its loops (``scoring.ensemble_kernels``), its arrays
(``scoring.ensemble_layout``), the tail calibrator (``scoring.tail``) nor the frame of a snapshot (``scoring.detector``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring import tail
from scoring.detector import Detector, check_rows, whole
from scoring.ensemble_kernels import score_ensemble
from scoring.ensemble_layout import REFUSED, is_sound, new_state
from scoring.tail import calibrate_tail

_NO_CHANNELS: Final = np.empty((0, 3))
_TAIL_GROWTH: Final = 2.0 ** (1.0 / 10_000)
_TAIL_Q: Final = 1e-3
_WAITING: Final = 256


class Judgement(NamedTuple):
    """What the ensemble says of each row of a batch; all (n,) float64."""

    score: NDArray[np.float64]
    """The sum of the three channels."""
    p_value: NDArray[np.float64]
    """Share of the rows before with at least this score, in (0, 1]; 1 for a row that was skipped."""
    marginal: NDArray[np.float64]
    """What single features say. Blind to values that are strange only together."""
    whitened: NDArray[np.float64]
    """What features say together, as far as their correlations tell."""
    neighbour: NDArray[np.float64]
    """How far the row is from sampled rows."""


class Ensemble(Detector):
    """Histograms, tails, whitened distance and isolation by nearest neighbours, on one scale, added up.

    There is nothing to tune. The score is in standard deviations and about 0 for an ordinary row; the first 48 rows score
    0. Rows are learnt up to 4,096 rows late, and the strangest 3e-4 of them only as fast as a token bucket allows, so
    that a burst does not teach the ensemble to accept it; once more than 5 % of the rows are held back they are learnt
    after all, so that nobody can freeze it. Memory: about 36 KiB a feature and 60 KiB besides.

    Args:
        features: values in a row.
        seed: of the sample of rows that stand for the neighbourhood.

    Raises:
        ValueError: a parameter is out of range; names it.
    """

    score_range: ClassVar[tuple[float, float]] = (-2000.0, 2000.0)
    offset_tolerance: ClassVar[float] = 0.0

    def __init__(self, features: int, *, seed: int = 0) -> None:
        super().__init__(features, {"seed": whole("seed", seed, 0, 2**63 - 1)})
        self._arrays = new_state(self.features, seed)
        self._tail = tail.new_tail()
        self._unjudged = np.zeros(1, np.int64)
        self._waiting, self._waits = np.empty(_WAITING), 0

    @property
    def refused(self) -> int:
        """Rows so far that the gate kept from being learnt."""
        return int(self._arrays.clock[REFUSED])

    def judge_learn(self, X: NDArray[np.float64]) -> Judgement:
        """The same scores as ``score_learn``, with their p-values and the channels that sum to them.

        Args:
            X: (n, features), float64, C order; may be read-only.

        Raises:
            ValueError: X has another type, dtype, shape or memory layout; the message says what was expected and got.
        """
        check_rows(X, self.features)
        score, p_value, channels = np.empty(len(X)), np.empty(len(X)), np.empty((len(X), 3))
        self._run(X, channels, p_value, score)
        return Judgement(score, p_value, *channels.T.copy())

    def _run(
        self,
        X: NDArray[np.float64],
        channels: NDArray[np.float64],
        p_value: NDArray[np.float64],
        score: NDArray[np.float64],
    ) -> None:
        self._catch_up()
        score_ensemble(X, self._arrays, self._skipped, channels, p_value, score)
        calibrate_tail(p_value, _TAIL_GROWTH, _TAIL_Q, self._tail, self._unjudged, p_value)

    def _score_learn(self, X: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        if len(X) != 1:
            self._run(X, _NO_CHANNELS, np.empty(len(X)), out)
            return
        # One row: nobody asks for its p-value, so its score waits for others; a call of a loop costs 2 µs.
        if self._waits == _WAITING:
            self._catch_up()
        at = self._waits
        self._waits += 1
        score_ensemble(X, self._arrays, self._skipped, _NO_CHANNELS, self._waiting[at : at + 1], out)

    def _catch_up(self) -> None:
        """Let the calibrator learn the scores that wait."""
        scores = self._waiting[: self._waits]
        self._waits = 0
        calibrate_tail(scores, _TAIL_GROWTH, _TAIL_Q, self._tail, self._unjudged, scores)

    def _state(self) -> Mapping[str, NDArray[Any]]:
        self._catch_up()
        calibrator = {f"tail_{name}": each for name, each in self._tail._asdict().items()}
        return {**self._arrays._asdict(), **calibrator}

    def _is_sound(self) -> bool:
        return is_sound(self._arrays) and tail.is_sound(self._tail)
