"""One record of the journal as bytes, and the search for intact ones in a segment.

Owns the format. Does not own files: it reads through a function.

A record is a header ``[magic, version, lengths of texts and body, payload crc32c, seq, received_at, header crc32c]``,
then path, content type, encoding, map name, source and position (msgpack), then the body. The segment's salt goes into every header
checksum: a body is chosen by strangers, and without it one could hold bytes that pass for a record when a search for
the next intact one comes by. It also makes a search cheap: a header that only looks like one costs 40 bytes of
checksum, never a read of the length that it claims.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import google_crc32c
import msgspec

MAGIC: Final = b"GRDJ"
VERSION: Final = 2
"""Version 1 had no source and no position."""
_HEAD: Final = struct.Struct("<4sHHIIIQq")
"""magic, version, zero, length of texts, length of body, crc32c of both, seq, received_at; its own crc32c follows."""
HEAD_BYTES: Final = _HEAD.size + 4
_WINDOW_BYTES: Final = 2**20
_SECTOR_BYTES: Final = 4096
_TEXTS: Final[dict[int, Any]] = {1: tuple[str, str, str, str], 2: tuple[str, str, str, str, str, bytes]}
"""What stands between header and body, by version."""


class Record(NamedTuple):
    """One body as received, with all that is needed to decode it again."""

    path: str
    content_type: str
    encoding: str
    map_name: str
    received_at: int
    """Wall clock, nanoseconds since 1970."""
    body: bytes
    source: str = ""
    """Name of the source that delivered it; empty = a request, or Guardian itself."""
    position: bytes = b""
    """Where that source goes on after it; empty = it cannot."""


class Found(NamedTuple):
    """An intact record and the position behind it."""

    seq: int
    stop: int
    record: Record


class Damage(NamedTuple):
    """A stretch of a segment that holds no intact record."""

    start: int
    stop: int


def texts_of(record: Record) -> bytes:
    """What stands between a record's header and its body."""
    return msgspec.msgpack.encode((*record[:4], record.source, record.position))


def packed(record: Record, texts: bytes, seq: int, salt: bytes) -> bytes:
    """A record as it is written: header, ``texts_of(record)``, body."""
    crc = google_crc32c.extend(google_crc32c.value(texts), record.body)
    head = _HEAD.pack(MAGIC, VERSION, 0, len(texts), len(record.body), crc, seq, record.received_at)
    return b"".join((head, google_crc32c.value(salt + head).to_bytes(4, "little"), texts, record.body))


def _unpacked(window: _Window, at: int, salt: bytes) -> Found | None:
    """The record that begins at ``at``, if it is whole and intact."""
    head = window.slice(at, at + HEAD_BYTES)
    if len(head) < HEAD_BYTES or not head.startswith(MAGIC):
        return None
    if google_crc32c.value(salt + head[: _HEAD.size]) != int.from_bytes(head[_HEAD.size :], "little"):
        return None
    _, version, _, texts_bytes, body_bytes, crc, seq, received_at = _HEAD.unpack_from(head)
    if version not in _TEXTS:
        return None
    payload = window.slice(at + HEAD_BYTES, at + HEAD_BYTES + texts_bytes + body_bytes)
    if len(payload) < texts_bytes + body_bytes or google_crc32c.value(payload) != crc:
        return None
    path, content_type, encoding, map_name, *origin = msgspec.msgpack.decode(
        payload[:texts_bytes], type=_TEXTS[version]
    )
    source, position = origin or ("", b"")
    body = payload[texts_bytes:]
    record = Record(path, content_type, encoding, map_name, received_at, body, source, position)
    return Found(seq, at + HEAD_BYTES + len(payload), record)


def skim(data: bytes, salt: bytes, last: int) -> tuple[int, int]:
    """How far intact records that follow number ``last`` one by one reach: position behind them, number of the last.

    As ``scan`` would find them, without taking them apart: 1.3 us a small record instead of 4.3.
    """
    checksum, unpack = google_crc32c.value, _HEAD.unpack_from
    at, end, head_bytes = 0, len(data) - HEAD_BYTES, _HEAD.size
    while at <= end:
        body_at = at + HEAD_BYTES
        magic, version, _, texts, body, crc, seq, _ = unpack(data, at)
        stop = body_at + texts + body
        if (
            magic != MAGIC
            or version not in _TEXTS
            or seq != last + 1
            or stop > len(data)
            or checksum(salt + data[at : at + head_bytes]).to_bytes(4, "little")
            != data[body_at - 4 : body_at]
            or checksum(data[body_at:stop]) != crc
        ):
            break
        at, last = stop, seq
    return at, last


def scan(
    read: Callable[[int, int], bytes], *, salt: bytes, at: int, end: int, last: int
) -> Iterator[Found | Damage]:
    """The intact records from position ``at`` to ``end`` with numbers above ``last``, and the stretches between.

    ``read(position, length)`` gives bytes of the segment; an OSError from it makes those sectors damage. Memory is
    one window or one record, whichever is larger.
    """
    window = _Window(read, end)
    bad: int | None = None
    while at < end:
        found = _unpacked(window, at, salt)
        if found is None or found.seq <= last:
            bad = at if bad is None else bad
            at = window.find(MAGIC, at + 1)
            continue
        if bad is not None:
            yield Damage(bad, at)
            bad = None
        yield found
        at, last = found.stop, found.seq
    if bad is not None:
        yield Damage(bad, end)


class _Window:
    """The part of a segment that is in memory; moves as it is asked. Unreadable sectors read as zeros."""

    def __init__(self, read: Callable[[int, int], bytes], end: int) -> None:
        self._read = read
        self._end = end
        self._start = 0
        self._data = b""

    def slice(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to ``stop``, fewer at the end of the segment."""
        stop = min(stop, self._end)
        if start < self._start or stop > self._start + len(self._data):
            self._move(start, max(stop - start, _WINDOW_BYTES))
        return self._data[start - self._start : stop - self._start]

    def find(self, pattern: bytes, start: int) -> int:
        """The first position from ``start`` on where the pattern stands; the end of the segment if nowhere."""
        while start + len(pattern) <= self._end:
            self.slice(start, start + len(pattern))
            found = self._data.find(pattern, start - self._start)
            if found >= 0:
                return self._start + found
            start = self._start + len(self._data) - len(pattern) + 1
        return self._end

    def _move(self, start: int, length: int) -> None:
        length = min(length, self._end - start)
        try:
            data = self._read(start, length)
        except OSError:
            data = b"".join(
                self._sector(at, min(_SECTOR_BYTES, start + length - at))
                for at in range(start, start + length, _SECTOR_BYTES)
            )
        self._start, self._data = start, data.ljust(length, b"\0")

    def _sector(self, at: int, length: int) -> bytes:
        try:
            return self._read(at, length).ljust(length, b"\0")
        except OSError:
            return bytes(length)
