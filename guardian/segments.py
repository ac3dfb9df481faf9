"""Where a batch is cut on its way through the kernels: at the ends of windows, and every CHUNK rows.

Owns the newest event time, what is late, and that where a batch ends changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from guardian.config import Engine as Settings

CHUNK: Final = 4096
"""Rows that go through the kernels at once: large enough to amortise, small enough for buffers to stay in cache."""

NO_WATERMARK: Final = -(2**63)
"""The newest event time before the first event."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One batch, cut."""

    segments: list[tuple[int, int, int | None]]
    """``(start, stop, None)``: rows that go through the kernels together; ``(start, start, window)``: after the rows
    before ``start`` this window ends."""
    watermark: int
    """Newest event time after the batch, nanoseconds since 1970."""
    late: int
    """Events older than the newest before them by more than the allowed lateness."""

    @classmethod
    def of(cls, ts_ns: NDArray[np.int64], watermark: int, settings: Settings) -> Self:
        """Cut a batch with event times ``ts_ns`` (n,) that follows events up to ``watermark``."""
        if not len(ts_ns):
            return cls([], watermark, 0)
        newest = np.maximum.accumulate(np.concatenate(([watermark], ts_ns)))
        allowed = int(settings.allowed_lateness_s * 1e9)
        # Compared as ts + allowed < newest, so that nothing underflows while there is no watermark yet.
        late = np.count_nonzero(ts_ns.astype(np.float64) + allowed < newest[:-1].astype(np.float64))
        window = newest // round(settings.window_s * 1e9)
        ends = np.flatnonzero(window[1:] != window[:-1]).tolist()
        if ends and ends[0] == 0 and watermark == NO_WATERMARK:
            ends = ends[1:]  # no window was before the first event
        segments: list[tuple[int, int, int | None]] = []
        start = 0
        for end in [*ends, len(ts_ns)]:
            segments += [(first, min(first + CHUNK, end), None) for first in range(start, end, CHUNK)]
            if end < len(ts_ns):
                segments.append((end, end, int(window[end])))
            start = end
        return cls(segments, int(newest[-1]), int(late))
