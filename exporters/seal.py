"""What makes every byte of the database checkable: its seal and its mark, kept beside it.

Owns the **seal**, the SHA-256 of each page of the database file; the **mark**, how far the write-ahead log reached
after the last commit; the lock under which either changes; and how the log is moved into the file. SQLite's own checks
do not see a byte that changed in the unused part of a page or inside a value, nor a log that lost its end.

A seal is never taken from the file that it is to prove: the next one is the last one with the pages of the checksummed
log put in. So a byte that changed on disk stays found, however often the service starts and settles after it.
Neither proves anything against somebody who can write files on purpose: that is what the signed checkpoints are for.

After a crash at any moment, each page is as sealed, or as in the seal that was about to replace it, or as in the log.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporters import wal
from guardian.errors import LedgerError

VERSION: Final = "tamv-guardian-seal/1"
MARK: Final = "tamv-guardian-mark/1"

_DIGEST: Final = 64
_NOWHERE: Final = wal.Position(bytes(8), 0, bytes(8))


def seal_path(database: Path) -> Path:
    """Where the seal of a database stands."""
    return database.with_suffix(".seal")


def pending_path(database: Path) -> Path:
    """The seal to come, while the log is being moved into the file; left behind by a crash in that moment."""
    return database.with_suffix(".sealing")


def mark_path(database: Path) -> Path:
    """Where it stands how far the log reaches."""
    return database.with_suffix(".mark")


@dataclass(frozen=True, slots=True)
class Seal:
    """Digests (hexadecimal SHA-256) of the pages of a database file, and the salts of the last log that is in them."""

    page_size: int
    salts: str
    pages: tuple[str, ...]

    @classmethod
    def of(cls, database: Path) -> Seal:
        """The seal that belongs to a file as it is now."""
        with database.open("rb") as file:
            size = int.from_bytes(file.read(18)[16:18], "big")
        size = {0: 4096, 1: 65536}.get(size, size)
        return cls(size, "-", tuple(digest for _number, digest in _pages(database, size, None)))

    @classmethod
    def read(cls, path: Path) -> Seal:
        """The seal in a file.

        Raises:
            LedgerError: the file is missing or damaged.
        """
        try:
            text = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise LedgerError(path.name, "the seal is missing or unreadable") from None
        head, *pages = text[: -_DIGEST - 1].split("\n")[:-1] or [""]
        words = head.split(" ")
        if len(words) == 3 and words[0] == VERSION and words[1].isdigit():
            made = cls(int(words[1]), words[2], tuple(pages))
            if made.text() == text:
                return made
        raise LedgerError(path.name, "the seal is damaged")

    def text(self) -> str:
        """The seal as its file holds it: a header, a line for each page, and the digest of all that."""
        body = "\n".join((f"{VERSION} {self.page_size} {self.salts}", *self.pages)) + "\n"
        return f"{body}{hashlib.sha256(body.encode()).hexdigest()}\n"

    def after(self, log: wal.Log) -> Seal:
        """The seal of the file once a log has been moved into it."""
        latest = log.latest()
        kept = self.pages[: log.pages]
        pages = [latest.get(number, digest) for number, digest in enumerate(kept, 1)]
        for number in range(len(kept) + 1, log.pages + 1):
            if number not in latest:
                raise LedgerError(f"page {number}", "is neither sealed nor in the log")
            pages.append(latest[number])
        return Seal(log.page_size, log.salts.hex(), tuple(pages))

    @property
    def digest(self) -> str:
        """What marks name the seal by."""
        return self.text()[-_DIGEST - 1 : -1]


@contextmanager
def held(database: Path, *, exclusive: bool, wait: bool = True) -> Iterator[bool]:
    """Keep the file and its seal from changing (shared), or be the one who changes them; yields whether it is held.

    Between processes as between threads. Makes the lock file only for who may write.
    """
    path = database.with_name(database.name + ".lock")
    if not exclusive and not path.exists():
        yield True
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT if exclusive else os.O_RDONLY, 0o600)
    try:
        mode = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(descriptor, mode)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def write(database: Path) -> None:
    """Seal a file as it is now: a new one, or a restored copy whose content was verified in another way."""
    sealed = Seal.of(database)
    replace_durably(mark_path(database), _mark_text(sealed.digest, _NOWHERE).encode())
    _promote(database, sealed)


def standing(database: Path, log: wal.Log) -> tuple[Seal, Seal | None]:
    """The seal in force, and the one that is about to replace it while the log is being moved into the file.

    A pending seal whose log is gone is in force: the log goes only once all of it is in the file.

    Raises:
        LedgerError: a seal is missing or damaged.
    """
    now, pending = Seal.read(seal_path(database)), pending_path(database)
    if not pending.exists():
        return now, None
    to_come = Seal.read(pending)
    return (now, to_come) if to_come.salts == log.salts.hex() else (to_come, None)


def move_log(database: Path, checkpoint: Callable[[], tuple[int, int, int]]) -> None:
    """Move the log into the file with ``checkpoint`` (SQLite's answer: busy, frames, frames moved); the seal follows.

    The caller holds the lock exclusively and no transaction is open. When readers keep SQLite from moving all of it,
    the rest stays for the next call.

    Raises:
        LedgerError: the log lost something that was committed, or the seal is damaged; nothing was changed.
    """
    log = wal.read(wal.path_of(database))
    now, to_come = standing(database, log)
    lost = loss(database, now, log)
    if lost is not None:
        raise LedgerError(wal.path_of(database).name, f"frame {lost} is damaged or missing")
    latest = log.latest()
    # SQLite made the new version of a page from the old one: damage must not be carried over, nor overwritten unseen.
    for number in changed_pages(database, now, to_come, log, only=sorted(latest)):
        raise LedgerError(database.name, f"page {number} is not as it was sealed")
    if to_come is None and pending_path(database).exists():
        _promote(database, now)
    if latest:
        to_come = now.after(log)
        replace_durably(pending_path(database), to_come.text().encode())
    busy, frames, moved = checkpoint()
    if latest and to_come is not None and (not busy or frames == moved):
        _promote(database, to_come)


def changed_pages(
    database: Path, now: Seal, to_come: Seal | None, log: wal.Log, *, only: Sequence[int] | None = None
) -> list[int]:
    """Pages (from 1) of a file that are not as they were sealed, nor on their way to the seal to come."""

    def of(seal: Seal, number: int) -> str | None:
        return seal.pages[number - 1] if number <= len(seal.pages) else None

    changed = []
    found = dict(_pages(database, now.page_size, only))
    for number in range(1, max([len(now.pages), *found]) + 1) if only is None else only:
        allowed = {of(now, number)}
        if to_come is not None:
            allowed.add(of(to_come, number))
            allowed.update(digest for _frame, digest in log.versions.get(number, ()))
        if found.get(number) not in allowed:
            changed.append(number)
    return changed


def _pages(database: Path, size: int, only: Sequence[int] | None) -> Iterator[tuple[int, str]]:
    """Number and digest of the pages that a file has; of all of them, or of some."""
    with database.open("rb") as file:
        for number in itertools.count(1) if only is None else only:
            if only is not None:
                file.seek((number - 1) * size)
            page = file.read(size)
            if page:
                yield number, hashlib.sha256(page).hexdigest()
            elif only is None:
                return


def mark(database: Path) -> None:
    """Note how far the log reaches, after a commit. Not synced: after a power cut it may be an older mark, never a newer.

    In place and shorter than a sector, so that it costs no file operation more than it must: about 30 µs.
    """
    position, sealed = wal.end(database), seal_path(database)
    if position is None or not sealed.exists():  # a database that was never sealed has no marks either
        return
    with sealed.open("rb") as file:
        file.seek(-_DIGEST - 1, os.SEEK_END)
        digest = file.read(_DIGEST).decode("ascii")
    _write_mark(database, digest, position)


def marked(database: Path) -> tuple[str, wal.Position]:
    """The digest of the seal that a mark belongs to, and the position it notes.

    Raises:
        LedgerError: the mark is missing or damaged.
    """
    path = mark_path(database)
    for _ in range(3):  # it may be just being written
        try:
            line = path.read_text(encoding="ascii")
            version, digest, salts, frames, checksum, _check = line.split(" ")
            position = wal.Position(bytes.fromhex(salts), int(frames), bytes.fromhex(checksum))
            if version == MARK and line == _mark_text(digest, position):
                return digest, position
        except OSError:
            raise LedgerError(path.name, "the mark is missing or unreadable") from None
        except ValueError:
            continue
    raise LedgerError(path.name, "the mark is damaged")


def loss(database: Path, sealed: Seal, log: wal.Log) -> int | None:
    """The first frame that was committed after ``sealed`` and is not in the log any more; None when all are.

    Raises:
        LedgerError: the mark is missing or damaged.
    """
    digest, position = marked(database)
    if digest != sealed.digest or log.reaches(position):
        return None  # a mark of an older seal: the log that it speaks of is in the file
    return min(len(log.checksums) + 1, position.frames)


def replace_durably(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Give a file new content so that after a crash it holds the old or the new one, never a part."""
    fresh = path.with_name(path.name + ".tmp")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync_folder(path.parent)


def _promote(database: Path, sealed: Seal) -> None:
    replace_durably(seal_path(database), sealed.text().encode())
    _write_mark(database, sealed.digest, _NOWHERE)
    pending_path(database).unlink(missing_ok=True)


def _write_mark(database: Path, digest: str, position: wal.Position) -> None:
    descriptor = os.open(mark_path(database), os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, _mark_text(digest, position).encode(), 0)
    finally:
        os.close(descriptor)


def _mark_text(digest: str, position: wal.Position) -> str:
    body = f"{MARK} {digest} {position.salts.hex()} {position.frames:012d} {position.checksum.hex()}"
    return f"{body} {hashlib.sha256(body.encode()).hexdigest()}\n"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
