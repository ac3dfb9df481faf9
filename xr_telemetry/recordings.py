"""Motion files: recordings of headsets in Parquet, as frames, as windows, as events.

Owns the two layouts it reads. *Poses*: ``t_s`` and ``head_px … head_qw``, optionally ``left_…`` and ``right_…``.
*Inertial*: ``t_s, ax, ay, az, wx, wy, wz``. Both may have ``recording``, a name for runs of rows; its part before the
first ``_`` is the subject. Other columns (labels among them) are never read. The files state no date: recordings
follow one another from START on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from guardian.decode import Decoded
from guardian.decode.columns import Rejects
from guardian.errors import InputError
from xr_telemetry import windows
from xr_telemetry.decode import decode_messages
from xr_telemetry.envelope import MAX_NAME, Message, moment, nanoseconds, tag
from xr_telemetry.frames import MAX_TIME_S, Frames, Sensor

START: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""When the first recording of a file is taken to begin."""

GAP_S: Final = 60.0
"""Between two recordings of one file."""

WINDOW_S: Final = 5.0
CHUNK_FRAMES: Final = 64
_ROWS: Final = 65_536

_AXES: Final = ("px", "py", "pz", "qx", "qy", "qz", "qw")
_POSE: Final = tuple(f"{device}_{axis}" for device in ("head", "left", "right") for axis in _AXES)
_IMU: Final = ("ax", "ay", "az", "wx", "wy", "wz")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive frames of one recording, at most CHUNK_FRAMES; ``base_ns`` is when its device clock was 0."""

    recording: str
    subject: str | None
    base_ns: int
    frames: Frames

    @property
    def last_ns(self) -> int:
        """Event time of the newest frame, nanoseconds since 1970."""
        return self.base_ns + round(float(self.frames.t[-1]) * 1e9)


class MotionFile:
    """One motion file. ``rejects`` holds the rows that could not be used, as far as it has been read."""

    def __init__(self, path: str | Path) -> None:
        """Open it.

        Raises:
            InputError: it cannot be read as Parquet, or has neither layout.
        """
        self.path = Path(path)
        self.rejects = Rejects()
        self._row = 0
        try:
            with pq.ParquetFile(self.path) as file:
                names = set(file.schema_arrow.names)
        except (OSError, pa.ArrowException) as error:
            raise InputError(str(path), f"expected a Parquet file: {error}") from None
        self._sensor, self._columns = self._layout(names)
        self._named = "recording" in names

    def _layout(self, names: set[str]) -> tuple[Sensor, list[str | None]]:
        if "t_s" in names and names.issuperset(_IMU):
            return "imu", list(_IMU)
        if "t_s" in names and names.issuperset(_POSE[:7]):
            return "pose", [name if name in names else None for name in _POSE]
        raise InputError(
            str(self.path), "expected the columns t_s and head_px … head_qw, or t_s, ax, ay, az, wx, wy, wz"
        )

    def chunks(self) -> Iterator[Chunk]:
        """The frames, recording after recording, in the order of the file.

        Raises:
            InputError: the file is damaged, or a column does not hold numbers.
        """
        self.rejects, self._row = Rejects(), 0
        base_ns, name, last_ns = nanoseconds(START), None, nanoseconds(START)
        for recording, frames in self._runs():
            if recording != name:
                if name is not None:
                    base_ns = last_ns + round(GAP_S * 1e9)
                name = recording
            subject = recording.partition("_")[0] if self._named else None
            for first in range(0, len(frames), CHUNK_FRAMES):
                chunk = Chunk(recording, subject, base_ns, frames.rows(first, first + CHUNK_FRAMES))
                last_ns = max(last_ns, chunk.last_ns)
                yield chunk

    def windows(self, *, window_s: float = WINDOW_S) -> Iterator[tuple[Chunk, windows.Window]]:
        """Every window, each with the chunk that closed it or, at the end of a recording, the last one of it."""
        opened: windows.Open | None = None
        last: Chunk | None = None
        for chunk in self.chunks():
            if last is not None and chunk.recording != last.recording:
                yield from ((last, window) for window in windows.close(opened))
                opened = None
            opened, closed = windows.cut(opened, chunk.frames, window_s, max_cuts=CHUNK_FRAMES)
            yield from ((chunk, window) for window in closed)
            last = chunk
        if last is not None:
            yield from ((last, window) for window in windows.close(opened))

    def read(self, batch_size: int) -> Iterator[Decoded]:
        """The windows as EVENTS, at most ``batch_size`` rows a batch: what a headset's events would have been.

        The rows that could not be used come with a last, empty batch.
        """
        lines = itertools.chain.from_iterable(_lines(chunk, window) for chunk, window in self.windows())
        while group := list(itertools.islice(lines, batch_size)):
            yield decode_messages(b"".join(group), received_at=None)
        if self.rejects.reasons:
            yield self.rejects.decoded(decode_messages(b"", received_at=None).batch)

    def _runs(self) -> Iterator[tuple[str, Frames]]:
        wanted = ["t_s", *filter(None, self._columns), *(["recording"] if self._named else [])]
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(batch_size=_ROWS, columns=wanted):
                    yield from self._split(batch)
        except (OSError, pa.ArrowException) as error:
            raise InputError(str(self.path), f"expected numbers in {', '.join(wanted)}: {error}") from None

    def _split(self, batch: pa.RecordBatch) -> Iterator[tuple[str, Frames]]:
        """Runs of rows of one recording."""
        t = np.round(_numbers(batch, "t_s"), 6)
        missing = np.full(t.shape[0], np.nan)
        columns = [missing if name is None else _numbers(batch, name) for name in self._columns]
        # 6 decimals are what the wire carries, so that both ways give the same windows.
        values = np.round(np.stack(columns, axis=1), 6).astype(np.float32)
        timed = np.abs(t) <= MAX_TIME_S
        for row in np.flatnonzero(~timed):
            self.rejects.add(self._row + int(row) + 1, "no_time", "t_s: expected seconds")
        self._row += t.shape[0]
        names = batch.column("recording").to_pylist() if self._named else [self.path.stem] * t.shape[0]
        first = 0
        for name, run in itertools.groupby(names):
            last = first + sum(1 for _ in run)
            keep = slice(first, last)
            usable = timed[keep]
            if usable.any():
                yield str(name)[:MAX_NAME], Frames(self._sensor, t[keep][usable], values[keep][usable])
            first = last


def read(path: str | Path, *, batch_size: int = 16_384) -> Iterator[Decoded]:
    """A motion file as EVENTS batches, without a socket in between.

    Raises:
        InputError: the file is not one of the two layouts, or damaged.
    """
    yield from MotionFile(path).read(batch_size)


def _lines(chunk: Chunk, window: windows.Window) -> Iterator[bytes]:
    who = {} if chunk.subject is None else {"userId": chunk.subject}
    at = moment(chunk.base_ns + round(window.end_s * 1e9))
    for kind, features in window.features.items():
        message = Message(
            type="event",
            payload={"kind": kind, **who, **features},
            created_at=at,
            session_id=chunk.recording,
        )
        yield tag(message, address="", user="", session="")


def _numbers(batch: pa.RecordBatch, name: str) -> NDArray[np.float64]:
    column = batch.column(name).cast(pa.float64())
    numbers: NDArray[np.float64] = column.to_numpy(zero_copy_only=False)  # nulls become NaN
    return numbers
