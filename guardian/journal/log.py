"""The journal itself: group commit, recovery, replay and trimming.

Owns which segments there are and what is durable. Does not own what a body means, nor the cursor: its caller stores
how far the engine has come, and only then trims.

Recovery reads everything and changes one thing: the torn tail of the last segment is put aside and cut. Damage
elsewhere is passed over, reported in ``damage``, and its segment is put aside instead of removed. So neither a full
disk nor a bad sector keeps the service from starting.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import threading
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Self

from guardian.config import Journal as Settings
from guardian.errors import JournalError, JournalFullError, MachineError
from guardian.journal.files import Files
from guardian.journal.records import HEAD_BYTES, Damage, Found, Record, packed, scan, skim, texts_of
from guardian.shares import Shares

_SEGMENT: Final = re.compile(r"(\d{20})-([0-9a-f]{8})\.segment")
_WAITING_BYTES: Final = 64 * 2**20
"""Most that may wait in memory for the disk; past it senders are told to come back."""
_RETRY_AFTER_S: Final = 2.0
_SKIM_BYTES: Final = 4 * 2**20
_MOST_SENTENCES: Final = 1000


@dataclass(slots=True)
class _Segment:
    name: str
    first: int
    salt: bytes
    size: int
    """Bytes that are durable; what may lie behind them is being written and not to be read."""
    damaged: bool = False
    held: Counter[str] = field(default_factory=Counter)
    """Bytes of each sender, of those that came since the start."""


class _Waiting(NamedTuple):
    record: Record
    texts: bytes
    sender: str
    done: Future[int]

    @property
    def size(self) -> int:
        return HEAD_BYTES + len(self.texts) + len(self.record.body)


class Journal:
    """An append-only log of bodies with group commit. One process at a time; safe to use from several threads."""

    damage: list[str]
    """What recovery or a replay found broken, one sentence each."""
    failure: Exception | None
    """Why nothing more is accepted until a restart; None while all is well."""
    next_seq: int
    """The sequence number of the next record; the first one ever is 1."""

    @classmethod
    def open(
        cls, folder: Path, settings: Settings, *, after: int | None = None, files: Files | None = None
    ) -> Self:
        """Open the journal of a folder and recover it.

        ``after`` is the last sequence number that the caller has stored as consumed. No new record gets one up to
        it, even if a disk lost what was there.

        Raises:
            MachineError: another process holds the folder, or it cannot be written.
        """
        files = files or Files()
        try:
            lock = files.lock(folder)
        except OSError as error:
            raise MachineError(
                f"{folder}: cannot be written ({error.strerror}); choose another data folder"
            ) from None
        try:
            return cls(folder, settings, after, files, lock)
        except OSError as error:
            files.close(lock)
            raise MachineError(f"{folder}: the journal cannot be opened ({error.strerror})") from None
        except BaseException:
            files.close(lock)
            raise

    def __init__(self, folder: Path, settings: Settings, after: int | None, files: Files, lock: int) -> None:
        self.folder = folder
        self.damage = []
        self.failure = None
        self.next_seq = 1
        self._settings = settings
        self._files = files
        self._lock = lock
        self._segments: list[_Segment] = []
        self._descriptor: int | None = None
        self._recover(after)
        self._mark: tuple[int, int, int] = (0, 0, 0)
        """Where the last replay stood: seq, first of its segment, position behind it."""
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._shares = Shares()
        self._closing = False
        self._changed = threading.Condition()
        self._committer = threading.Thread(target=self._commit_forever, name="journal", daemon=True)
        self._committer.start()

    @property
    def used_bytes(self) -> int:
        """Bytes on disk and on their way there."""
        with self._changed:
            return self._used()

    def _used(self) -> int:
        return sum(segment.size for segment in self._segments) + self._queued_bytes

    # -- appending -------------------------------------------------------------------------------------------------

    async def append(self, record: Record) -> int:
        """Keep a record; returns its sequence number once it survives a power cut.

        A caller that is cancelled meanwhile does not know whether it was kept; it may have been.

        Raises:
            JournalFullError: there is no room until the engine has caught up.
            JournalError: it cannot be made durable; nothing was promised.
        """
        return await asyncio.wrap_future(self.submit(record))

    def submit(self, record: Record, sender: str = "") -> Future[int]:
        """As ``append``, for callers without an event loop; ``JournalFullError`` is raised at once.

        A named sender is also refused when it holds more than its share of the room: the last of it is for the others.
        """
        texts = texts_of(record)
        waiting = _Waiting(record, texts, sender, Future())
        with self._changed:
            if self.failure is not None:
                raise JournalError(str(self.failure))
            if self._closing:
                raise JournalError("the journal is closed")
            if self._queued_bytes and self._queued_bytes + waiting.size > _WAITING_BYTES:
                raise JournalFullError(self._queued_bytes, _WAITING_BYTES, _RETRY_AFTER_S)
            free = self._settings.max_bytes - self._used() - waiting.size
            name = self._shares.name(sender)
            self._shares.hold(name, waiting.size)
            if free < 0 or (sender and not self._shares.admits(name, free=free, size=waiting.size)):
                self._shares.release(name, waiting.size)
                raise JournalFullError(self._used(), self._settings.max_bytes, _RETRY_AFTER_S)
            self._queue.append(waiting._replace(sender=name))
            self._queued_bytes += waiting.size
            self._changed.notify()
        return waiting.done

    def _commit_forever(self) -> None:
        """Write and sync one group after another. While one is synced the next gathers; a lone one never waits."""
        while group := self._next_group():
            try:
                first = self._commit(group)
            except BaseException as error:  # noqa: BLE001  (whatever it is, every waiter must hear of it)
                self._fail(error, group)
                return
            for seq, waiting in enumerate(group, first):
                waiting.done.set_result(seq)

    def _next_group(self) -> list[_Waiting]:
        """What is written next, at most ``group_bytes`` but at least one record; empty when closing."""
        group: list[_Waiting] = []
        size = 0
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            while self._queue and (not group or size + self._queue[0].size <= self._settings.group_bytes):
                waiting = self._queue.popleft()
                # From here on a sender that goes away no longer cancels: its record is written all the same.
                if not waiting.done.set_running_or_notify_cancel():
                    waiting = waiting._replace(done=_running())
                group.append(waiting)
                size += waiting.size
        return group

    def _commit(self, group: list[_Waiting]) -> int:
        first = self.next_seq
        segment, descriptor = self._writable(first)
        data = b"".join(
            packed(waiting.record, waiting.texts, seq, segment.salt)
            for seq, waiting in enumerate(group, first)
        )
        self._files.append(descriptor, data)
        if self._settings.sync:
            self._files.sync(descriptor)
        with self._changed:
            segment.size += len(data)
            self._queued_bytes -= len(data)
            for waiting in group:
                segment.held[waiting.sender] += waiting.size
            self.next_seq = first + len(group)
        return first

    def _writable(self, first: int) -> tuple[_Segment, int]:
        if self._descriptor is not None and self._segments[-1].size < self._settings.segment_bytes:
            return self._segments[-1], self._descriptor
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            self._files.close(descriptor)
        salt = secrets.token_bytes(4)
        segment = _Segment(f"{first:020d}-{salt.hex()}.segment", first, salt, 0)
        self._descriptor = self._files.open(self.folder / segment.name, fresh=True)
        self._files.sync_folder(self.folder)
        with self._changed:
            self._segments.append(segment)
        return segment, self._descriptor

    def _fail(self, error: BaseException, group: list[_Waiting]) -> None:
        """Nobody knows what is on disk after a failed write or sync: refuse everything until a restart looks.

        The sync is never tried again: on the same descriptor it can report success for pages that were dropped.
        """
        with self._changed:
            self.failure = JournalError(
                f"the journal cannot be written: {str(error) or type(error).__name__}"
            )
            queued = [waiting for waiting in self._queue if waiting.done.set_running_or_notify_cancel()]
            self._queue.clear()
            self._queued_bytes = 0
        for waiting in group + queued:
            waiting.done.set_exception(JournalError(str(self.failure)))

    # -- reading ---------------------------------------------------------------------------------------------------

    def replay(self, after_seq: int) -> Iterator[tuple[int, Record]]:
        """Every durable record above ``after_seq``, in order, one in memory at a time; ends at the newest one.

        A call that continues at or behind the place where the one before stopped does not read again what stands before it,
        however long the journal is.
        """
        with self._changed:
            segments = list(self._segments)
            known, known_first, known_at = self._mark
        last = 0
        for place, segment in enumerate(segments):
            if place + 1 < len(segments) and segments[place + 1].first <= after_seq + 1:
                continue
            start, last = 0, max(last, segment.first - 1)
            if known <= after_seq and known_first == segment.first:
                start, last = known_at, known
            for item in self._scan(segment, start, last):
                if isinstance(item, Damage):
                    self._report_damage(segment, item)
                    continue
                last = item.seq
                if last > after_seq:
                    with self._changed:
                        self._mark = (item.seq, segment.first, item.stop)
                    yield item.seq, item.record

    def trim(self, through_seq: int) -> None:
        """Remove the segments that hold nothing above ``through_seq``; damaged ones are put aside instead.

        The caller has stored ``through_seq`` durably before: what is gone cannot be replayed. The newest segment
        always stays. One folder sync a segment, oldest first, so that a power cut never leaves a hole.
        """
        while True:
            with self._changed:
                if len(self._segments) < 2 or self._segments[1].first > through_seq + 1:
                    return
                segment = self._segments[0]
            path = self.folder / segment.name
            if segment.damaged:
                self._files.rename(path, f"{segment.name}.damaged")
            else:
                self._files.unlink(path)
            self._files.sync_folder(self.folder)
            with self._changed:
                self._segments.remove(segment)
                for sender, size in segment.held.items():
                    self._shares.release(sender, size)

    def close(self) -> None:
        """Commit what is queued, then let go of the folder. Harmless when repeated."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify()
        self._committer.join()
        if self._descriptor is not None:
            self._files.close(self._descriptor)
        self._files.close(self._lock)

    # -- recovery --------------------------------------------------------------------------------------------------

    def _recover(self, after: int | None) -> None:
        sizes = self._files.sizes(self.folder)
        for name in sorted(sizes):
            if match := _SEGMENT.fullmatch(name):
                self._segments.append(_Segment(name, int(match[1]), bytes.fromhex(match[2]), sizes[name]))
            elif name.endswith(".segment"):
                self.damage.append(f"{name}: not the name of a segment; left alone")
        expected = 1 if after is None else after + 1
        if self._segments and (after is None or self._segments[0].first < expected):
            expected = self._segments[0].first
        for segment in self._segments:
            ends = segment is self._segments[-1]
            if segment.first > expected:
                self._report_gap(segment, expected, segment.first)
            expected = max(expected, segment.first)
            damages: list[Damage] = []
            at, expected = self._skim(segment, expected)
            for item in self._scan(segment, at, expected - 1):
                if isinstance(item, Damage):
                    damages.append(item)
                    continue
                if item.seq > expected:
                    self._report_gap(segment, expected, item.seq)
                expected = item.seq + 1
            if ends and damages and damages[-1].stop == segment.size:
                self._cut_tail(segment, damages.pop())
            for damage in damages:
                self._report_damage(segment, damage)
        self.next_seq = max(expected, 1 if after is None else after + 1)
        if self._segments:
            last = self._segments[-1]
            self._settle(last)
            if last.damaged:
                # Nothing goes behind damage that cannot be cut, and a segment is found by its first number: the next
                # one must not begin where this one does, even if this one holds no intact record.
                self.next_seq = max(self.next_seq, last.first + 1)

    def _skim(self, segment: _Segment, expected: int) -> tuple[int, int]:
        """Pass over what is whole and in order: the position behind it, and the number that is expected there."""
        at, moved, path = 0, 1, self.folder / segment.name
        try:
            while moved:
                data = self._files.read(path, at, min(_SKIM_BYTES, segment.size - at))
                moved, last = skim(data, segment.salt, expected - 1)
                at, expected = at + moved, last + 1
        except OSError:
            pass  # what cannot be read at once is looked at sector by sector, and reported
        return at, expected

    def _settle(self, last: _Segment) -> None:
        """Sync what was found: an unsynced record must not be consumed now and be lost, its number used again."""
        descriptor = self._files.open(self.folder / last.name, fresh=False)
        try:
            self._files.sync(descriptor)
            self._files.sync_folder(self.folder)
        except BaseException:
            self._files.close(descriptor)
            raise
        if last.damaged:
            self._files.close(descriptor)
        else:
            self._descriptor = descriptor

    def _cut_tail(self, segment: _Segment, tail: Damage) -> None:
        """Cut what the last write before a crash left behind; the bytes are kept beside, if there is room."""
        path = self.folder / segment.name
        aside = f"{segment.name}.tail-{tail.start}"
        what = f"{segment.name}: a torn tail of {tail.stop - tail.start} bytes was cut at byte {tail.start}"
        try:
            descriptor = self._files.open(self.folder / aside, fresh=True)
            try:
                self._files.append(descriptor, self._files.read(path, tail.start, tail.stop - tail.start))
                self._files.sync(descriptor)
            finally:
                self._files.close(descriptor)
            what += f" and kept as {aside}"
        except OSError as error:
            what += f" and could not be kept ({error.strerror})"
        try:
            self._files.truncate(path, tail.start)
            segment.size = tail.start
        except OSError as error:
            self._report_damage(segment, tail)
            what = f"{segment.name}: its torn tail cannot be cut ({error.strerror})"
        self.damage.append(what)

    def _report_damage(self, segment: _Segment, damage: Damage) -> None:
        segment.damaged = True
        self._report(f"{segment.name}: no intact record from byte {damage.start} to {damage.stop}")

    def _report_gap(self, segment: _Segment, start: int, stop: int) -> None:
        self._report(f"{segment.name}: records {start} to {stop - 1} before or in it are missing")

    def _report(self, sentence: str) -> None:
        if len(self.damage) < _MOST_SENTENCES and sentence not in self.damage:
            self.damage.append(sentence)

    def _scan(self, segment: _Segment, at: int, last: int) -> Iterator[Found | Damage]:
        path = self.folder / segment.name
        return scan(
            lambda start, length: self._files.read(path, start, length),
            salt=segment.salt,
            at=at,
            end=segment.size,
            last=last,
        )


def _running() -> Future[int]:
    """A future that nobody waits for, in place of one whose sender went away."""
    future: Future[int] = Future()
    future.set_running_or_notify_cancel()
    return future
