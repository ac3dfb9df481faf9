"""Every file operation of the journal.

Owns the system calls and nothing else: no format, no order, no recovery. They stand together so that a test can put
a disk in their place that fails, tears a write or forgets what was not synced.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from guardian.errors import MachineError


class Files:
    """Every file operation of the journal; one method each."""

    def lock(self, folder: Path) -> int:
        """Make the folder if need be, durably, and hold it against other processes until ``close``."""
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            self.sync_folder(made.parent)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise MachineError(f"{folder}: another Guardian uses this data folder; stop it first") from None
        return descriptor

    def sizes(self, folder: Path) -> dict[str, int]:
        """Name → size of all that is in the folder."""
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries}

    def open(self, path: Path, *, fresh: bool) -> int:
        """A file for appending; ``fresh`` makes it, empty."""
        flags = os.O_CREAT | os.O_TRUNC if fresh else 0
        return os.open(path, os.O_WRONLY | os.O_APPEND | flags, 0o600)

    def append(self, descriptor: int, data: bytes) -> None:
        """All of the data, or an OSError."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def sync(self, descriptor: int) -> None:
        """Make what was appended survive a power cut."""
        os.fdatasync(descriptor)

    def close(self, descriptor: int) -> None:
        """Give a descriptor back."""
        os.close(descriptor)

    def read(self, path: Path, at: int, length: int) -> bytes:
        """At most ``length`` bytes from position ``at``."""
        with path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), length, at)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file, durably."""
        with path.open("r+b", buffering=0) as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def rename(self, path: Path, name: str) -> None:
        """Give a file another name in its folder."""
        path.rename(path.with_name(name))

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """Make names that were made, changed or removed survive a power cut."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
