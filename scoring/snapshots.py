"""The frame of a snapshot: named arrays and their parameters as bytes that prove themselves, and back.

Owns the format (magic line, length, JSON header, arrays in little-endian order, SHA-256 of all before it). Does not own
what the arrays mean. The same arrays give the same bytes on any machine; nothing in it is executed when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAGIC: Final = b"scoring-detector/1\n"
_DIGEST_BYTES: Final = hashlib.sha256().digest_size
_LENGTH_BYTES: Final = 4


def packed(name: str, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A snapshot of ``arrays``; ``name`` says whose, ``about`` holds what its constructor needs (JSON values)."""
    header = {"detector": name, **about, "arrays": _described(arrays)}
    said = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    body = b"".join(_little(array).tobytes() for array in arrays.values())
    whole = MAGIC + len(said).to_bytes(_LENGTH_BYTES, "little") + said + body
    return whole + hashlib.sha256(whole).digest()


def opened(blob: bytes, name: str) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes of the arrays of a snapshot of ``name`` whose digest is right.

    Raises:
        ValueError: the bytes are damaged, of another version, or of something else.
    """
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
    except (ValueError, RecursionError) as error:
        raise ValueError(f"snapshot: damaged header: {error}") from None
    if not isinstance(header, dict):
        raise ValueError(f"snapshot: expected a header object, got {type(header).__name__}")  # noqa: TRY004
    if header.get("detector") != name:
        raise ValueError(f"snapshot: expected a {name}, got a {header.get('detector')}")
    return header, blob[start + length : -_DIGEST_BYTES]


def refill(arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any], body: bytes) -> None:
    """Write the arrays of a snapshot over those of the one that its header constructed.

    Raises:
        ValueError: the snapshot holds other arrays than these.
    """
    if header.get("arrays") != _described(arrays) or len(body) != sum(
        each.nbytes for each in arrays.values()
    ):
        raise ValueError(
            f"snapshot: expected the arrays of a {header.get('detector')} with its parameters, got others"
        )
    start = 0
    for array in arrays.values():
        stored = np.frombuffer(body, _little(array).dtype, array.size, start)
        array[...] = stored.reshape(array.shape)
        start += array.nbytes


def _described(arrays: Mapping[str, NDArray[Any]]) -> list[list[Any]]:
    return [[name, _little(array).dtype.str, list(array.shape)] for name, array in arrays.items()]


def _little(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
