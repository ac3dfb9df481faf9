"""Alerts as lines in a file: what a log shipper or an analyst picks up.

Owns the file and its older ones: one whole line an alert, on disk before it counts as delivered, and once. A file that
holds ``rotate_bytes`` is renamed to ``<name>.000001``, ``<name>.000002`` … and a new one begun under the configured
name; the newest ``keep`` of the renamed ones stay. A renamed file keeps its name and is never written again, so a
reader that goes to its end before it opens the next (of the next number, or the new one) sees each line once. After
``logrotate`` has moved the file away, or somebody has deleted it, the next batch goes to a new one too.

Rotation is one rename: before it the lines are in the file, after it in the renamed one, so a kill at any point loses
and repeats none; what a kill leaves to be done (beginning the new file, dropping the oldest) the next write does.
A batch that was written and not yet noted as delivered when the process died comes again: the last lines of the file
are read when it is opened, and of what comes next those that stand there already are left out, as duplicates.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import re
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from guardian.errors import DeliveryError, MachineError, PoisonError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import File

_REMEMBERED: Final = 10_000
"""Lines that are recognised when they come again: as many as the largest batch has."""


class FileSink:
    """Appends alerts to a file; a line that a crash tore is cut before anything is written behind it."""

    def __init__(self, settings: File) -> None:
        """Open the file for appending.

        Raises:
            MachineError: it cannot be written, is no regular file, or another process writes it.
        """
        self._settings = settings
        self._path = Path(settings.path)
        self._lock = threading.Lock()
        self._log = structlog.get_logger("guardian.delivery").bind(sink=settings.name)
        try:
            self._descriptor = _open(self._path)
        except OSError as error:
            raise MachineError(f"{self._path}: cannot be written ({error.strerror})") from None
        self._written = dict.fromkeys(map(_digest, self._last_lines()))
        """Digests of the newest lines: what may come again, though it is there."""

    async def write(self, messages: Sequence[Message]) -> Answers:
        """Append one line an alert; they are on disk once this returns.

        One that holds a newline would be two lines; it is refused with PoisonError.

        Raises:
            RetryError: the file cannot be written now; nothing of the batch stays in it.
        """
        refused: dict[str, DeliveryError] = {
            message.id: PoisonError("a line that holds a newline")
            for message in messages
            if b"\n" in message.body
        }
        lines = [message.body for message in messages if message.id not in refused]
        return Answers(refused, await asyncio.to_thread(self._append, lines))

    async def close(self) -> None:
        """Close the file, once a write that is under way has ended."""
        await asyncio.to_thread(self._close)

    def _append(self, lines: Sequence[bytes]) -> int:
        """Write the lines that are not there yet; returns how many were."""
        with self._lock:
            try:
                self._settle()
                by_digest = {_digest(line): line for line in lines}
                new = [digest for digest in by_digest if digest not in self._written]
                self._write(b"".join(by_digest[digest] + b"\n" for digest in new))
            except OSError as error:
                raise RetryError(f"{self._path.name}: {error.strerror}") from None
            self._written |= dict.fromkeys(new)
            for digest in list(self._written)[: max(0, len(self._written) - _REMEMBERED)]:
                del self._written[digest]
            return len(lines) - len(new)

    def _settle(self) -> None:
        """Have the right file open: the one of the configured name, and not a full one."""
        limit = self._settings.rotate_bytes
        full = limit and _cut_torn_line(self._descriptor) >= limit and self._is_current()
        if full:
            self._path.rename(self._old(max(self._rotated(), default=0) + 1))
        elif not self._is_current():
            # Somebody took it: what was written may be gone, so that nothing is a repetition.
            self._written.clear()
        else:
            return
        fresh = _open(self._path)
        os.close(self._descriptor)
        self._descriptor = fresh
        if limit:
            self._drop_oldest()

    def _write(self, data: bytes) -> None:
        size = _cut_torn_line(self._descriptor)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fdatasync(self._descriptor)
        except OSError:
            # Half a batch on a full disk: without this, the next attempt would go on in the middle of a line.
            os.ftruncate(self._descriptor, size)
            raise

    def _is_current(self) -> bool:
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(self._descriptor))

    def _rotated(self) -> list[int]:
        """Numbers of the files that were rotated away, oldest first."""
        pattern = re.compile(re.escape(self._path.name) + r"\.(\d{6}|[1-9]\d{6,17})")
        found = (pattern.fullmatch(name) for name in os.listdir(self._path.parent))  # noqa: PTH208  (names only)
        return sorted(int(match[1]) for match in found if match)

    def _old(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number:06d}")

    def _drop_oldest(self) -> None:
        for number in self._rotated()[: -self._settings.keep]:
            try:
                self._old(number).unlink(missing_ok=True)
            except OSError as error:
                # It costs room; what is to be written must not wait for it.
                self._log.warning("an old file cannot be removed", number=number, said=error.strerror)

    def _last_lines(self) -> list[bytes]:
        """What the last batch may have written that a crash left untold: the end of the file.

        Of the newest renamed one too: a kill may have come between a rotation and the first line behind it.
        """
        wanted = 2 * self._settings.batch_bytes
        text = b""
        for path in (self._path, *map(self._old, self._rotated()[-1:])):
            try:
                with path.open("rb") as file:
                    end = file.seek(0, os.SEEK_END)
                    file.seek(max(0, end - wanted + len(text)))
                    text = file.read(wanted) + text
            except OSError as error:
                self._log.warning("an old file cannot be read", file=path.name, said=error.strerror)
        return text.split(b"\n")[-_REMEMBERED - 1 :]

    def _close(self) -> None:
        with self._lock:
            os.close(self._descriptor)


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()


def _open(path: Path) -> int:
    """A descriptor for appending to a file whose last line is whole, and which nobody else appends to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC, 0o640)
    try:
        _claim(descriptor)
        _cut_torn_line(descriptor)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _claim(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EBUSY, "another sink or process writes it") from None


def _cut_torn_line(descriptor: int) -> int:
    """Cut what stands behind the last newline; returns the size then. One read of one byte when there is nothing."""
    size = os.fstat(descriptor).st_size
    if not size or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    end = size
    while end:
        start = max(0, end - 65_536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    os.ftruncate(descriptor, end)
    os.fsync(descriptor)
    return end
