"""What every decoder gives back, here and for XR: columns of EVENTS, and an account of what did not become one.

Owns the collecting and counting of rejects, the bounds of event time, and how a column says "not stated". Does not own
the reasons of rejects: each is named where it is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from guardian.events import EVENTS, TEXT

EARLIEST: Final = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()) * 10**9
"""Nanoseconds since 1970. Before 1990 no system that reports here existed; a clock that was never set says 1970."""
LATEST: Final = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 10**9
"""The bound for files. int64 nanoseconds end in 2262."""
AHEAD: Final = 86_400 * 10**9
"""How far ahead of its arrival an event may claim to be, which is the bound for requests."""

MAX_RECORDS: Final = 1_000_000
"""Most records (with OTLP also scopes and resources) in one body; one of 128 MiB with more holds hardly anything else."""

_NO_TEXT: Final = pa.scalar("", pa.string())
"""Made once: without pandas a scalar costs 0.1 ms, because pyarrow looks for pandas on disk every time."""

REJECTS_KEPT: Final = 1000
"""Rejected records that are named one by one; all of them are counted."""


class Rejected(NamedTuple):
    """One record that did not become an event.

    ``line`` counts from 1: the line of NDJSON, the row of a CSV file (its header is row 1) or of a Parquet file (the
    first row is 1), the record of an OTLP body. ``detail`` says what was expected and never repeats the input.
    """

    line: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """Events and rejects of one body or of one block of a file.

    ``batch`` is an EVENTS record batch whose dictionaries hold exactly their column's values, in order of first
    appearance. ``rejected`` names the first 1,000 rejects by line; ``reasons`` counts all of them.
    """

    batch: pa.RecordBatch
    rejected: tuple[Rejected, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)
    repaired: int = 0
    """Events in which bytes that are not UTF-8 became U+FFFD."""


class Rejects:
    """Collects rejects in bounded memory: every one is counted, the first 1,000 by line are kept."""

    def __init__(self) -> None:
        self._kept: list[Rejected] = []
        self.reasons: Counter[str] = Counter()

    def add(self, line: int, reason: str, detail: str) -> None:
        """Count one reject. Calls between two ``add_lines`` come in rising order of ``line``."""
        self.reasons[reason] += 1
        if len(self._kept) < REJECTS_KEPT:
            self._kept.append(Rejected(line, reason, detail))

    def add_lines(self, lines: np.ndarray[Any, Any], reason: str, detail: str) -> None:
        """Count one reject for each of ``lines`` (int64, rising)."""
        if not len(lines):
            return
        self.reasons[reason] += len(lines)
        self._kept += [Rejected(line, reason, detail) for line in lines[:REJECTS_KEPT].tolist()]
        self._kept.sort()
        del self._kept[REJECTS_KEPT:]

    def decoded(self, batch: pa.RecordBatch, *, repaired: int = 0) -> Decoded:
        """The batch together with the account so far."""
        return Decoded(batch, tuple(sorted(self._kept)), dict(self.reasons), repaired)


def latest_for(received_at: int | None) -> int:
    """The newest usable event time of what arrived at ``received_at`` (None = a file), both in ns since 1970."""
    return LATEST if received_at is None else min(received_at + AHEAD, LATEST)


def encoded(texts: pa.Array) -> pa.DictionaryArray:
    """Texts as a dictionary column of EVENTS; null is the empty text."""
    return pc.fill_null(texts.cast(pa.string()), _NO_TEXT).dictionary_encode().cast(TEXT)


def batch_of(rows: int, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """EVENTS from the columns that are known; the others say "not stated"."""
    arrays = [columns[name] if name in columns else _absent(name, rows) for name in EVENTS.names]
    return pa.RecordBatch.from_arrays(arrays, schema=EVENTS)


def _absent(name: str, rows: int) -> pa.Array:
    event_field = EVENTS.field(name)
    kind = event_field.type
    if event_field.nullable:
        return pa.nulls(rows, kind)
    if kind == TEXT:
        return encoded(pa.repeat(_NO_TEXT, rows))
    if pa.types.is_floating(kind):
        return pa.array(np.full(rows, np.nan))
    if pa.types.is_fixed_size_binary(kind):
        return pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(bytes(rows * kind.byte_width))])
    return pa.array(np.full(rows, -1 if name == "layer" else 0, np.int8))
