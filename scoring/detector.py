"""What every streaming detector shares: checked rows in, finite scores out, state as bytes and back.

Owns the contract and the checks of rows and constructor parameters. Does not own any formula (each detector file holds
its own loop, its arrays and the meaning of its score), nor the frame of a snapshot (``scoring.snapshots``).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from scoring.snapshots import opened, packed, refill

MAX_FEATURES: Final = 4096

_F8: Final = np.dtype(np.float64)


class Detector(ABC):
    """Scores a stream of rows, each before it is learnt; higher = stranger, always finite.

    A row with a value that is not finite scores 0.0, changes nothing and is counted in ``skipped``. Feeding rows at
    once, in parts or one by one gives the same bits. Memory is fixed at construction. One instance belongs to one
    thread at a time; the loop itself runs without the GIL.
    """

    score_range: ClassVar[tuple[float, float]]
    """Between which values every score lies, both included."""

    offset_tolerance: ClassVar[float]
    """By how much a score may move when a constant of up to 1e9 is added to every value of small whole numbers."""

    def __init__(self, features: int, parameters: Mapping[str, Any]) -> None:
        """Keep the size and the checked keyword parameters, which the snapshot hands to the constructor again."""
        self.features = whole("features", features, 1, MAX_FEATURES)
        self._parameters = dict(parameters)
        self._skipped = np.zeros(1, np.int64)
        self._shape = (self.features,)
        self._row = np.empty((1, self.features))
        self._out = np.empty(1)

    @property
    def skipped(self) -> int:
        """Rows so far that held a value that is not finite."""
        return int(self._skipped[0])

    def score_learn(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score every row, then learn it, in order.

        Args:
            X: (n, features), float64, C order; may be read-only.

        Returns:
            (n,) float64, higher = stranger.

        Raises:
            ValueError: X has another type, dtype, shape or memory layout; the message says what was expected and got.
        """
        check_rows(X, self.features)
        out = np.empty(len(X))
        self._score_learn(X, out)
        return out

    def score_learn_one(self, x: NDArray[np.float64]) -> float:
        """Score one row, then learn it: the same bits as ``score_learn`` gives.

        Args:
            x: (features,), float64.

        Raises:
            ValueError: x has another type, dtype or shape.
        """
        if type(x) is not np.ndarray or x.shape != self._shape or x.dtype != _F8:
            raise ValueError(f"x: expected float64 of shape ({self.features},), got {described(x)}")
        self._row[0] = x
        self._score_learn(self._row, self._out)
        return self._out.item()

    def snapshot(self) -> bytes:
        """The parameters and the whole state; the same state gives the same bytes, on any machine."""
        about = {"features": self.features, "parameters": self._parameters}
        return packed(type(self).__name__, about, {"skipped": self._skipped, **self._state()})

    @classmethod
    def restore(cls, blob: bytes) -> Self:
        """The detector as it was; it goes on bit for bit.

        Raises:
            ValueError: the bytes are damaged, of another version, or of another detector.
        """
        header, body = opened(blob, cls.__name__)
        try:
            made = cls(header["features"], **header["parameters"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"snapshot: expected the parameters of a {cls.__name__}: {error}") from None
        refill({"skipped": made._skipped, **made._state()}, header, body)
        if not made._is_sound():
            raise ValueError(f"snapshot: the arrays of this {cls.__name__} contradict each other")
        return made

    @abstractmethod
    def _state(self) -> Mapping[str, NDArray[Any]]:
        """Every array that the score depends on, by a stable name, in a stable order; written in place."""

    @abstractmethod
    def _is_sound(self) -> bool:
        """Whether no array that was read back could lead the loop out of its bounds (a digest proves no origin)."""

    @abstractmethod
    def _score_learn(self, X: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Run the detector's one kernel; rows and out are checked."""


def check_rows(X: NDArray[np.float64], features: int) -> None:
    """Refuse anything but (n, features) float64 in C order.

    Raises:
        ValueError: says what was expected and what was given.
    """
    if (
        not isinstance(X, np.ndarray)
        or X.dtype != _F8
        or X.ndim != 2
        or X.shape[1] != features
        or not X.flags.c_contiguous
        or not X.flags.aligned
    ):
        raise ValueError(f"X: expected float64 of shape (n, {features}) in C order, got {described(X)}")


def described(given: object) -> str:
    """What was given instead of the array that was expected: type, dtype, shape and memory layout."""
    if not isinstance(given, np.ndarray):
        return type(given).__name__
    layout = "" if given.flags.c_contiguous else f" with strides {given.strides} (not C order)"
    return f"{given.dtype} of shape {given.shape}{layout}"


def whole(name: str, value: object, low: int, high: int) -> int:
    """A constructor parameter that is a whole number within bounds, both included.

    Raises:
        ValueError: it is not; names the parameter.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise ValueError(f"{name}: expected a whole number from {low} to {high}, got {value!r}")
    return int(value)


def real(name: str, value: object, low: float, high: float) -> float:
    """A constructor parameter that is a finite number within bounds, both included.

    Raises:
        ValueError: it is not; names the parameter.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.integer | np.floating)
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise ValueError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
    return float(value)
