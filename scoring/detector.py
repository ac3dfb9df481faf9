"""What every streaming detector shares: checked rows in, finite scores out, state as bytes and back.

Owns the contract, the checks of rows and constructor parameters, and the frame of a snapshot. Does not own any
formula: each detector file holds its own loop, its arrays and the meaning of its score.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

MAGIC: Final = b"scoring-detector/1\n"
MAX_FEATURES: Final = 4096

_DIGEST_BYTES: Final = hashlib.sha256().digest_size
_LENGTH_BYTES: Final = 4
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
        arrays = {"skipped": self._skipped, **self._state()}
        header = {
            "detector": type(self).__name__,
            "features": self.features,
            "parameters": self._parameters,
            "arrays": [[name, _little(array).dtype.str, array.shape] for name, array in arrays.items()],
        }
        said = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        body = b"".join(_little(array).tobytes() for array in arrays.values())
        whole_blob = MAGIC + len(said).to_bytes(_LENGTH_BYTES, "little") + said + body
        return whole_blob + hashlib.sha256(whole_blob).digest()

    @classmethod
    def restore(cls, blob: bytes) -> Self:
        """The detector as it was; it goes on bit for bit.

        Raises:
            ValueError: the bytes are damaged, of another version, or of another detector.
        """
        header, body = _opened(blob)
        if header.get("detector") != cls.__name__:
            raise ValueError(f"snapshot: expected a {cls.__name__}, got a {header.get('detector')}")
        try:
            made = cls(header["features"], **header["parameters"])
            arrays = {"skipped": made._skipped, **made._state()}
            told = [[name, _little(array).dtype.str, list(array.shape)] for name, array in arrays.items()]
            expected = sum(array.nbytes for array in arrays.values())
        except (KeyError, TypeError) as error:
            raise ValueError(f"snapshot: expected the parameters of a {cls.__name__}: {error}") from None
        if header.get("arrays") != told or len(body) != expected:
            raise ValueError(
                f"snapshot: expected the arrays of a {cls.__name__} with its parameters, got others"
            )
        start = 0
        for array in arrays.values():
            stored = np.frombuffer(body, _little(array).dtype, array.size, start)
            array[...] = stored.reshape(array.shape)
            start += array.nbytes
        return made

    @abstractmethod
    def _state(self) -> Mapping[str, NDArray[Any]]:
        """Every array that the score depends on, by a stable name, in a stable order; written in place."""

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


def _little(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _opened(blob: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes of the arrays of a snapshot whose digest is right."""
    if not isinstance(blob, bytes):
        raise ValueError(f"snapshot: expected bytes, got {type(blob).__name__}")  # noqa: TRY004  (one error type)
    start = len(MAGIC) + _LENGTH_BYTES
    if not blob.startswith(MAGIC):
        raise ValueError(f"snapshot: expected bytes that begin with {MAGIC!r}, got {blob[: len(MAGIC)]!r}")
    if (
        len(blob) < start + _DIGEST_BYTES
        or hashlib.sha256(blob[:-_DIGEST_BYTES]).digest() != (blob[-_DIGEST_BYTES:])
    ):
        raise ValueError("snapshot: damaged, its digest is not that of its bytes")
    length = int.from_bytes(blob[len(MAGIC) : start], "little")
    try:
        header = json.loads(blob[start : min(start + length, len(blob) - _DIGEST_BYTES)])
    except ValueError as error:
        raise ValueError(f"snapshot: damaged header: {error}") from None
    if not isinstance(header, dict):
        raise ValueError(f"snapshot: expected a header object, got {type(header).__name__}")  # noqa: TRY004
    return header, blob[start + length : -_DIGEST_BYTES]
