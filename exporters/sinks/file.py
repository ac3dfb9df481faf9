"""Findings as JSON lines in a file: what a log shipper or an analyst picks up.

Owns the file: one whole line an item, on disk before it counts as delivered. After ``logrotate`` has moved the file
away, or somebody has deleted it, the next batch goes to a new one under the configured name.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from guardian.errors import MachineError, RetryError


class FileSink:
    """Appends findings to a file; a line that a crash tore is cut before anything is written behind it."""

    def __init__(self, path: Path) -> None:
        """Open the file for appending.

        Raises:
            MachineError: it cannot be written, is no regular file, or another process writes it.
        """
        self._path = path
        self._lock = threading.Lock()
        try:
            self._descriptor = _open(path)
        except OSError as error:
            raise MachineError(f"{path}: cannot be written ({error.strerror})") from None

    async def write(self, items: Sequence[dict[str, Any]]) -> None:
        """Append one line an item; they are on disk once this returns.

        Raises:
            RetryError: the file cannot be written now; nothing of the batch stays in it.
        """
        await asyncio.to_thread(self._append, b"".join(msgspec.json.encode(item) + b"\n" for item in items))

    async def close(self) -> None:
        """Close the file, once a write that is under way has ended."""
        await asyncio.to_thread(self._close)

    def _append(self, data: bytes) -> None:
        with self._lock:
            try:
                if not _is_open_file(self._path, self._descriptor):
                    fresh = _open(self._path)
                    os.close(self._descriptor)
                    self._descriptor = fresh
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
            except OSError as error:
                raise RetryError(f"{self._path.name}: {error.strerror}") from None

    def _close(self) -> None:
        with self._lock:
            os.close(self._descriptor)


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


def _is_open_file(path: Path, descriptor: int) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))


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
