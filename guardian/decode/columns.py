"""From arrays of loosely typed fields to the columns of EVENTS, and what is wrong with the rows that do not fit.

Owns conversion: times, texts, numbers, vocabularies. Every function works on a whole Arrow array; a single value is
only looked at alone when its whole array cannot be converted at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from guardian.events import EVENTS, TEXT

EARLIEST: Final = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()) * 10**9
LATEST: Final = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 10**9
"""Event times outside of this are clocks that were never set, or overflows."""

AHEAD: Final = 24 * 3600 * 10**9
"""How far ahead of its arrival an event may claim to be."""

REJECTS_KEPT: Final = 1000
"""Rejected lines that are told one by one; all are counted."""

NO_TIME: Final = np.iinfo(np.int64).min
UNREADABLE: Final = NO_TIME + 1

UNITS: Final[dict[str, int]] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record that is no event: its line (1 = first; 0 = the whole), a word to count it under, a sentence."""

    line: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of some bytes: the events, and every record that was rejected."""

    batch: pa.RecordBatch
    rejected: tuple[Rejected, ...] = ()
    """The first REJECTS_KEPT of them."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """All of them, counted by reason."""


class Rejects:
    """Collects rejected records: counts all, keeps the first ones."""

    def __init__(self) -> None:
        self.kept: list[Rejected] = []
        self.reasons: Counter[str] = Counter()

    def add(self, line: int, reason: str, detail: str) -> None:
        """Count one rejected record."""
        self.reasons[reason] += 1
        if len(self.kept) < REJECTS_KEPT:
            self.kept.append(Rejected(line, reason, detail))

    def decoded(self, batch: pa.RecordBatch) -> Decoded:
        """The outcome, with ``batch`` as the events; the kept rejects in the order of their lines."""
        return Decoded(batch, tuple(sorted(self.kept, key=lambda each: each.line)), dict(self.reasons))


def array_of(values: Sequence[Any]) -> pa.Array:
    """Values of one JSON field as an array: as they are when they agree on a type, as texts when they do not."""
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else as_text(value) for value in values], pa.string())
    if pa.types.is_nested(array.type):
        return pa.array([None if value is None else as_text(value) for value in values], pa.string())
    return array


def as_text(value: Any) -> str:
    """A JSON value as text: text as it is, the rest as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def texts(array: pa.Array) -> pa.Array:
    """An array as strings; null is the empty string."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return texts(array.dictionary_decode())
    if pa.types.is_floating(kind):
        # 4625.0 is what some readers make of 4625 when a column has gaps.
        values = array.to_pylist()
        return pa.array([_float_text(value) for value in values], pa.string())
    return pc.fill_null(array.cast(pa.string()), "")


def encoded(array: pa.Array) -> pa.DictionaryArray:
    """Texts as a dictionary column of EVENTS."""
    return texts(array).dictionary_encode().cast(TEXT)


def numbers(array: pa.Array) -> NDArray[np.float64]:
    """An array as floats; what is no finite number is NaN."""
    if pa.types.is_boolean(array.type) or pa.types.is_null(array.type):
        return np.full(len(array), np.nan)
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        values = pc.fill_null(array.cast(pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False)
    else:
        values = np.array([_number(text) for text in texts(array).to_pylist()], np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def times(array: pa.Array, unit: str) -> NDArray[np.int64]:
    """Nanoseconds since 1970; NO_TIME where there is none, UNREADABLE where it cannot be read."""
    empty = pc.is_null(array, nan_is_null=True).to_numpy(zero_copy_only=False)
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        ns = array.cast(pa.timestamp("ns"), safe=False).cast(pa.int64())
        return np.where(empty, NO_TIME, pc.fill_null(ns, 0).to_numpy())
    if pa.types.is_integer(array.type) and unit in UNITS:
        values = pc.fill_null(array, 0).cast(pa.int64(), safe=False).to_numpy()
        factor = UNITS[unit]
        fits = np.abs(values.astype(np.float64)) * factor < 2**63 - 1025
        return np.where(empty, NO_TIME, np.where(fits, np.where(fits, values, 0) * factor, UNREADABLE))
    if pa.types.is_floating(array.type) and unit in UNITS:
        return np.where(
            empty, NO_TIME, _scaled(pc.fill_null(array.cast(pa.float64()), 0.0).to_numpy(), UNITS[unit])
        )
    plain = texts(array)
    empty |= pc.equal(plain, "").to_numpy(zero_copy_only=False)
    if unit in UNITS:
        floats = np.array([_number(text) for text in plain.to_pylist()], np.float64)
        read = _scaled(np.where(np.isfinite(floats), floats, 0.0), UNITS[unit])
        return np.where(empty, NO_TIME, np.where(np.isfinite(floats), read, UNREADABLE))
    return np.where(empty, NO_TIME, _iso(plain))


def in_range(ts: NDArray[np.int64], received_at: int | None) -> NDArray[np.bool_]:
    """Which times can be meant: from 1990 to a day after their arrival (to 2200 where nobody knows the arrival)."""
    latest = LATEST if received_at is None else min(received_at + AHEAD, LATEST)
    return (ts >= EARLIEST) & (ts <= latest)


def identifiers(array: pa.Array, size: int) -> pa.Array:
    """Hexadecimal ids as fixed-size bytes; zeros where there is none or it is not hexadecimal."""
    return pa.array([_identifier(text, size) for text in texts(array).to_pylist()], pa.binary(size))


def batch_of(rows: int, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """EVENTS from the columns that are known; the others say "not stated"."""
    arrays = [columns[name] if name in columns else _absent(name, rows) for name in EVENTS.names]
    return pa.RecordBatch.from_arrays(arrays, schema=EVENTS)


def _absent(name: str, rows: int) -> pa.Array:
    kind = EVENTS.field(name).type
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([""]))
    if pa.types.is_floating(kind):
        return pa.array(np.full(rows, np.nan))
    if pa.types.is_fixed_size_binary(kind):
        return pa.array([bytes(kind.byte_width)], kind).take(pa.array(np.zeros(rows, np.int64)))
    if name == "layer":
        return pa.array(np.full(rows, -1, np.int8))
    return pa.nulls(rows, kind) if EVENTS.field(name).nullable else pa.array(np.zeros(rows, np.int8))


def _float_text(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.0f}" if value.is_integer() else repr(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _scaled(values: NDArray[np.float64], factor: int) -> NDArray[np.int64]:
    """Seconds (or parts of them) as nanoseconds; whole and broken part apart, since a float has 53 bits only."""
    fits = np.abs(values) * factor < 2**63 - 1025
    safe = np.where(fits, values, 0.0)
    whole = np.floor(safe)
    ns = whole.astype(np.int64) * factor + np.rint((safe - whole) * factor).astype(np.int64)
    scaled: NDArray[np.int64] = np.where(fits, ns, UNREADABLE)
    return scaled


def _iso(plain: pa.Array) -> NDArray[np.int64]:
    try:
        read: NDArray[np.int64] = plain.cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        read = np.array([_iso_one(text) for text in plain.to_pylist()], np.int64)
    return read


def _iso_one(text: str) -> int:
    try:
        value = datetime.fromisoformat(text.strip())
    except ValueError:
        return UNREADABLE
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    since = value - datetime(1970, 1, 1, tzinfo=UTC)
    ns = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    return ns if abs(ns) < 2**63 - 1025 else UNREADABLE


def _identifier(text: str, size: int) -> bytes:
    try:
        octets = bytes.fromhex(text)
    except ValueError:
        return bytes(size)
    return octets if len(octets) == size else bytes(size)
