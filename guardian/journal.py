"""The journal: what a sender was told is accepted is on disk, as received, until the engine no longer needs it.

Owns the record format, group commit, recovery and trimming. Does not own what a body means.

A record is ``MAGIC, version, header length, body length, crc32c, seq, received_at`` and then the path, content type,
encoding and map name, and the body. The checksum covers everything but itself. Records stand in segments named by
their first sequence number. Only files that were synced are ever acknowledged; a torn tail is cut, damage in the
middle is copied aside and counted, and neither stops a start.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import google_crc32c
import msgspec

from guardian.config import Journal as Settings
from guardian.errors import JournalError, JournalFullError, MachineError

MAGIC: Final = b"GRDJ"
VERSION: Final = 1
_HEAD: Final = struct.Struct("<4sBxHIIQq")
"""magic, version, length of the texts, length of the body, crc32c, seq, received_at."""

_CRC_AT: Final = 12
_RETRY_AFTER_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Record:
    """One body as received, with all that is needed to decode it again."""

    path: str
    content_type: str
    encoding: str
    map_name: str
    received_at: int
    body: bytes


class Files:
    """The file operations of the journal, in one place so that tests can fail or lose any of them."""

    def open_append(self, path: Path) -> int:
        """A new or existing file, for appending."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, descriptor: int, data: bytes) -> None:
        """All of the data, or an OSError."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        """Make what was written survive a power cut."""
        os.fdatasync(descriptor)

    def close(self, descriptor: int) -> None:
        """Give the descriptor back."""
        os.close(descriptor)

    def sync_folder(self, folder: Path) -> None:
        """Make names that were made or removed survive a power cut."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file, durably."""
        with path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()


@dataclass
class _Waiting:
    data: bytes
    seq: int
    done: Future[int] = field(default_factory=Future)


class Journal:
    """An append-only log of bodies with group commit. One process at a time; thread-safe."""

    def __init__(
        self, folder: Path, settings: Settings, *, after: int = 0, files: Files | None = None
    ) -> None:
        """Open a journal and recover it: ``damage`` says what had to be cut or put aside.

        ``after`` is the last sequence number that its owner has stored; a new record never gets one up to it.

        Raises:
            MachineError: another process holds it, or the folder cannot be written.
        """
        self.folder = folder
        self.damage: list[str] = []
        self.failure: Exception | None = None
        self._settings = settings
        self._files = files or Files()
        self._lock = _locked(folder)
        self._segments: dict[int, int] = {}
        """First sequence number → bytes."""
        self.next_seq = 1
        self._recover()
        self.next_seq = max(self.next_seq, after + 1)
        self._descriptor: int | None = None
        self._current = 0
        self._queue: list[_Waiting] = []
        self._wake = threading.Condition()
        self._closing = False
        self._committer = threading.Thread(target=self._commit_loop, name="journal", daemon=True)
        self._committer.start()

    @property
    def used_bytes(self) -> int:
        """Bytes on disk."""
        return sum(self._segments.values())

    def submit(self, record: Record) -> Future[int]:
        """Queue a record; the future gives its sequence number once it is durable.

        Raises:
            JournalFullError: there is no room until the engine has caught up.
            JournalError: an earlier write failed; nothing more is promised until a restart.
        """
        with self._wake:
            if self.failure is not None or self._closing:
                raise JournalError(f"the journal takes nothing more: {self.failure or 'it is closing'}")
            if self.used_bytes + len(record.body) > self._settings.max_bytes:
                raise JournalFullError(self.used_bytes, self._settings.max_bytes, _RETRY_AFTER_S)
            seq = self.next_seq
            self.next_seq += 1
            waiting = _Waiting(_packed(record, seq), seq)
            self._queue.append(waiting)
            self._wake.notify()
        return waiting.done

    async def append(self, record: Record) -> int:
        """As ``submit``, waiting without blocking the event loop. Returns once the record survives a power cut."""
        return await asyncio.wrap_future(self.submit(record))

    def replay(self, after: int) -> Iterator[tuple[int, Record]]:
        """Every durable record with a sequence number above ``after``, in order, reading one at a time."""
        firsts = sorted(self._segments)
        for place, first in enumerate(firsts):
            if place + 1 < len(firsts) and firsts[place + 1] <= after + 1:
                continue
            with self._path(first).open("rb") as file:
                while (found := _read(file)) is not None:
                    seq, record, _ = found
                    if seq > after:
                        yield seq, record

    def trim(self, through: int) -> None:
        """Remove segments that hold nothing above ``through``.

        The caller has stored ``through`` durably before: a segment that is gone cannot be replayed.
        """
        with self._wake:
            firsts = sorted(self._segments)
            gone = [
                first
                for first, following in pairwise(firsts)
                if following <= through + 1 and first != self._current
            ]
            for first in gone:
                self._files.unlink(self._path(first))
                del self._segments[first]
        if gone:
            self._files.sync_folder(self.folder)

    def close(self) -> None:
        """Commit what is queued and let go of the folder."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._committer.join()
        if self._descriptor is not None:
            self._files.close(self._descriptor)
            self._descriptor = None
        os.close(self._lock)

    # -- writing -----------------------------------------------------------------------------------------------------

    def _commit_loop(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closing:
                    self._wake.wait()
                if not self._queue:
                    return
                # While one group is being synced the next one gathers; a lone record on an idle disk does not wait.
                group, self._queue = self._queue, []
            try:
                self._commit(group)
            except Exception as error:  # noqa: BLE001  (whatever it is, every waiter must hear of it)
                self._fail(error, group)
                return
            for waiting in group:
                waiting.done.set_result(waiting.seq)

    def _commit(self, group: list[_Waiting]) -> None:
        """Write and sync a group, at most ``group_bytes`` at a time."""
        batch: list[_Waiting] = []
        size = 0
        for waiting in group:
            if batch and size + len(waiting.data) > self._settings.group_bytes:
                self._write(batch)
                batch, size = [], 0
            batch.append(waiting)
            size += len(waiting.data)
        self._write(batch)

    def _write(self, batch: list[_Waiting]) -> None:
        first = batch[0].seq
        if self._descriptor is None or self._segments[self._current] >= self._settings.segment_bytes:
            if self._descriptor is not None:
                self._files.close(self._descriptor)
                self._descriptor = None
            self._descriptor = self._files.open_append(self._path(first))
            self._files.sync_folder(self.folder)
            with self._wake:
                self._segments[first] = 0
                self._current = first
        data = b"".join(waiting.data for waiting in batch)
        self._files.write(self._descriptor, data)
        self._files.sync(self._descriptor)
        with self._wake:
            self._segments[self._current] += len(data)

    def _fail(self, error: Exception, group: list[_Waiting]) -> None:
        """After a failed write or sync nobody knows what is on disk: refuse everything until a restart looks.

        A second fsync on the same file may report success for pages that were dropped, so it is never tried.
        """
        reason = JournalError(f"the journal cannot be written: {error}")
        with self._wake:
            self.failure = reason
            group, self._queue = group + self._queue, []
        for waiting in group:
            if not waiting.done.done():
                waiting.done.set_exception(reason)

    # -- recovery ----------------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        paths = sorted(self.folder.glob("*.journal"))
        for place, path in enumerate(paths):
            first = int(path.stem)
            if first > self.next_seq and (self._segments or place):
                self.damage.append(f"{path.name}: records {self.next_seq} to {first - 1} are missing")
            self.next_seq = max(self.next_seq, first)
            self._recover_segment(path, last=place == len(paths) - 1)

    def _recover_segment(self, path: Path, *, last: bool) -> None:
        good = 0
        with path.open("rb") as file:
            while (found := _read(file)) is not None:
                seq, _record, good = found
                self.next_seq = seq + 1
        size = path.stat().st_size
        if good < size:
            rest = path.read_bytes()[good:]
            if last and not _holds_record(rest):
                self.damage.append(f"{path.name}: a torn tail of {size - good} bytes was cut at {good}")
            else:
                aside = path.with_suffix(".damaged")
                aside.write_bytes(rest)
                kept = list(_salvaged(rest))
                self.damage.append(
                    f"{path.name}: damage at byte {good}; {size - good} bytes put aside in {aside.name},"
                    f" {len(kept)} records behind it kept"
                )
                self._rewrite(path, good, kept)
                self._segments[int(path.stem)] = path.stat().st_size
                return
            self._files.truncate(path, good)
        # An empty last segment stays: its name is what remembers the next sequence number.
        self._segments[int(path.stem)] = good

    def _rewrite(self, path: Path, good: int, kept: list[tuple[int, bytes]]) -> None:
        """The segment without its damage: what was before it, and every intact record behind it."""
        fresh = path.with_suffix(".tmp")
        head = path.read_bytes()[:good]
        with fresh.open("wb") as file:
            file.write(head + b"".join(data for _, data in kept))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        self._files.sync_folder(self.folder)
        if kept:
            self.next_seq = kept[-1][0] + 1

    def _path(self, first: int) -> Path:
        return self.folder / f"{first:020d}.journal"


def _packed(record: Record, seq: int) -> bytes:
    texts = msgspec.msgpack.encode((record.path, record.content_type, record.encoding, record.map_name))
    if len(texts) >= 2**16:
        raise JournalError("the texts beside a body are longer than 64 KiB")
    head = _HEAD.pack(MAGIC, VERSION, len(texts), len(record.body), 0, seq, record.received_at)
    crc = google_crc32c.value(head + texts + record.body)
    packed: bytes = head[:_CRC_AT] + crc.to_bytes(4, "little") + head[_CRC_AT + 4 :] + texts + record.body
    return packed


def _unpacked(data: bytes, start: int = 0) -> tuple[int, Record, int] | None:
    """The record that begins at ``start``, and where it ends; None when there is no intact one."""
    if len(data) - start < _HEAD.size:
        return None
    magic, version, texts_length, body_length, crc, seq, received_at = _HEAD.unpack_from(data, start)
    end = start + _HEAD.size + texts_length + body_length
    if magic != MAGIC or version != VERSION or end > len(data):
        return None
    whole = bytearray(data[start:end])
    whole[_CRC_AT : _CRC_AT + 4] = bytes(4)
    if google_crc32c.value(bytes(whole)) != crc:
        return None
    middle = start + _HEAD.size + texts_length
    path, content_type, encoding, map_name = msgspec.msgpack.decode(
        data[start + _HEAD.size : middle], type=tuple[str, str, str, str]
    )
    return seq, Record(path, content_type, encoding, map_name, received_at, data[middle:end]), end


def _read(file: object) -> tuple[int, Record, int] | None:
    """The next record of an open file and the position behind it; None at the end or at damage."""
    from typing import BinaryIO, cast

    stream = cast("BinaryIO", file)
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    magic, version, texts_length, body_length, _crc, _seq, _received_at = _HEAD.unpack(head)
    if magic != MAGIC or version != VERSION:
        return None
    found = _unpacked(head + stream.read(texts_length + body_length))
    if found is None:
        return None
    seq, record, _length = found
    return seq, record, stream.tell()


def _salvaged(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every intact record somewhere in the data."""
    at = data.find(MAGIC)
    while at >= 0:
        found = _unpacked(data, at)
        if found is None:
            at = data.find(MAGIC, at + 1)
        else:
            yield found[0], data[at : found[2]]
            at = data.find(MAGIC, found[2])


def _holds_record(data: bytes) -> bool:
    return next(_salvaged(data), None) is not None


def _locked(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise MachineError(
            f"{folder}: cannot be written ({error.strerror}); choose another --data-dir"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise MachineError(f"{folder}: another Guardian uses this data folder; stop it first") from None
    return descriptor


def now_ns() -> int:
    """The wall clock, as ``Record.received_at`` wants it."""
    return time.time_ns()
