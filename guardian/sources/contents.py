"""What a log file holds, whatever it is called: reading it at a place, and knowing it again.

Owns fingerprints and the reading of plain and compressed files in bounded memory. Does not own which file is watched
(``watch``) nor what a line is (``tail``).

A file is known by device and inode while it keeps them, and always by what it holds: a digest of its first kibibyte and
one of the kibibyte before the place that was read up to. So a truncated file, a reused inode and a copy are told apart.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import BinaryIO, Final, Self

import msgspec
import pyarrow as pa

SAMPLE_BYTES: Final = 1024
_SKIP_BYTES: Final = 2**20
_CODECS: Final = {".gz": "gzip", ".zst": "zstd"}


class FileState(msgspec.Struct, kw_only=True):
    """How far one file was read."""

    device: int
    inode: int
    path: str
    log: str
    """What it was called when it was met."""
    offset: int = 0
    """Of the decompressed content."""
    head_size: int = 0
    head: str = ""
    """Digest of the first ``head_size`` bytes."""
    back_size: int = 0
    back: str = ""
    """Digest of the ``back_size`` bytes before ``offset``."""
    rotated: bool = False
    """It is not written to under its own name any more."""
    passing: bool = False
    """``offset`` lies within a line that is passed over."""
    done: bool = False
    """A compressed file that was read to its end."""

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return self.device, self.inode


def codec_of(path: str) -> str:
    """How a file is compressed, by its name; empty = it is not."""
    return _CODECS.get(os.path.splitext(path)[1].lower(), "")  # noqa: PTH122  (paths stay text: there may be many)


def digest(data: bytes) -> str:
    """A short digest: it tells files apart that nobody forges, since only who may write the log could."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


class Contents:
    """An open file.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.codec = codec_of(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not make it wait
        self._stream: pa.NativeFile | None = None
        self._plain: BinaryIO | None = None
        self._at = 0
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(self._fd)
            raise OSError("not a regular file")
        self.identity = (found.st_dev, found.st_ino)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self._rewind()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def size(self) -> int:
        """Bytes on disk."""
        return os.fstat(self._fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes of the content from ``offset`` on; fewer only at its end.

        Raises:
            OSError: the file cannot be read, or is not compressed as its name says.
        """
        pieces = []
        while size > 0:
            try:
                piece = self._stream_read(offset, size) if self.codec else os.pread(self._fd, size, offset)
            except OSError:
                self._rewind()  # the stream would call this its end, though the file may yet grow
                raise
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _stream_read(self, offset: int, size: int) -> bytes:
        if self._stream is None or offset < self._at:
            self._rewind()
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._plain = os.fdopen(os.dup(self._fd), "rb")
            self._stream = pa.CompressedInputStream(pa.PythonFile(self._plain, mode="r"), self.codec)
        while self._at < offset:
            passed = len(self._stream.read(min(_SKIP_BYTES, offset - self._at)))
            if not passed:
                return b""
            self._at += passed
        data: bytes = self._stream.read(size)
        self._at += len(data)
        return data

    def _rewind(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._plain is not None:
            self._plain.close()
            self._plain = None
        self._at = 0

    def holds(self, state: FileState) -> bool:
        """Whether this is the content that was read as far as ``state`` says; of one that is done, how it begins."""
        start = self.read(0, state.head_size)
        if len(start) < state.head_size or (state.head_size and digest(start) != state.head):
            return False
        if state.done:
            return True
        before = self.read(state.offset - state.back_size, state.back_size)
        return len(before) == state.back_size and (not state.back_size or digest(before) == state.back)

    def sample(self, state: FileState) -> None:
        """Remember how it begins."""
        start = self.read(0, SAMPLE_BYTES)
        state.head_size, state.head = len(start), digest(start)

    def begins(self, other: Contents) -> bool:
        """Whether this is what the other, plain file began with, as a copy of it does while it grows."""
        size = self.size()
        if size > other.size():
            return False
        places = (0, max(0, size - SAMPLE_BYTES))
        return all(
            self.read(at, SAMPLE_BYTES) == other.read(at, min(SAMPLE_BYTES, size - at)) for at in places
        )
