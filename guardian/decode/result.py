"""What decoding gives back: a batch of events, and an account of every record that did not become one.

Owns the collecting and counting of rejects. Does not own the reasons: each is named where it is found.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

KEPT_REJECTS: Final = 1000
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
    rejected: tuple[Rejected, ...]
    reasons: dict[str, int]


class Rejects:
    """Collects rejects in bounded memory: every one is counted, the first 1,000 by line are kept."""

    def __init__(self, place: str = "") -> None:
        self._place = f"{place}: " if place else ""
        self._kept: list[Rejected] = []
        self._counts: Counter[str] = Counter()

    def add(self, line: int, reason: str, detail: str) -> None:
        """Count one reject. Calls between two ``add_lines`` come in rising order of ``line``."""
        self._counts[reason] += 1
        if len(self._kept) < KEPT_REJECTS:
            self._kept.append(Rejected(line, reason, self._place + detail))

    def add_lines(self, lines: np.ndarray[Any, Any], reason: str, detail: str) -> None:
        """Count one reject for each of ``lines`` (int64, rising)."""
        if not len(lines):
            return
        self._counts[reason] += len(lines)
        self._kept += [Rejected(line, reason, self._place + detail) for line in lines[:KEPT_REJECTS].tolist()]
        self._kept.sort()
        del self._kept[KEPT_REJECTS:]

    def decoded(self, batch: pa.RecordBatch) -> Decoded:
        """The batch together with the account so far."""
        return Decoded(batch, tuple(sorted(self._kept)), dict(self._counts))
