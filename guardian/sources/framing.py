"""Syslog messages of a stream or of datagrams, as the frames that the journal keeps.

Owns RFC 6587: octet counting and newline framing, told apart at each message, in bounded memory. Does not own sockets.
"""

from __future__ import annotations

import re
from typing import Final

_COUNTED: Final = re.compile(rb"([1-9][0-9]{0,8}) ")
_BEGINNING: Final = re.compile(rb"[1-9][0-9]{0,8}\Z")
_BETWEEN: Final = re.compile(rb"[\r\n\0]*")
_LESS: Final = ord("<")


def frame(message: bytes) -> bytes:
    """A message as it is kept: ``LEN SP MSG``."""
    return b"%d %b" % (len(message), message)


def mark(address: str) -> bytes:
    """Says that the frames behind it came from ``address``."""
    return b"@%b " % address.encode("ascii", "replace")[:64]


class Framer:
    """Cuts the stream of one connection into messages; holds at most one unfinished message of ``limit`` bytes.

    A message is octet-counted where digits and a space stand, and ``<`` behind them or an octet-counted message before;
    else it ends with its line. A longer one is cut at ``limit`` and the rest of it passed over.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._searched = 0
        self._pass_over = 0
        self._pass_line = False
        self._counts = False
        self.cut = 0
        """Messages that were cut since somebody last asked."""

    @property
    def unfinished(self) -> bool:
        """Whether a message has begun that did not end yet."""
        return bool(self._data or self._pass_over or self._pass_line)

    def feed(self, data: bytes | memoryview) -> bytes:
        r"""The frames of all messages that are now complete.

        >>> framer = Framer(100)
        >>> framer.feed(b"<1>one\n7 <1>two!<1>thr"), framer.feed(b"ee\n")
        (b'6 <1>one7 <1>two!', b'8 <1>three')
        """
        held = self._data
        held += data
        frames: list[bytes] = []
        at = 0
        while at < len(held):
            if self._pass_over:
                passed = min(self._pass_over, len(held) - at)
                self._pass_over -= passed
                at += passed
                continue
            if self._pass_line:
                end = held.find(b"\n", at)
                self._pass_line = end < 0
                at = len(held) if end < 0 else end + 1
                continue
            stop = self._message(held, at, frames)
            if stop < 0:
                break
            at = stop
        if at:
            del held[:at]
            self._searched = max(0, self._searched - at)
        return b"".join(frames)

    def _message(self, held: bytearray, at: int, frames: list[bytes]) -> int:
        """Take the message at ``at``, and say where the next one may begin; -1 = it is not complete."""
        head = _COUNTED.match(held, at)
        if head is None:
            between = _BETWEEN.match(held, at)
            if between is not None and between.end() > at:
                return between.end()
            if _BEGINNING.match(held, at):
                return -1
        elif not self._counts and head.end() == len(held):
            return -1
        if head is None or not (self._counts or held[head.end()] == _LESS):
            return self._line(held, at, frames)
        self._counts = True
        length = int(head[1])
        kept = min(length, self._limit)
        if len(held) < head.end() + kept:
            return -1
        if kept < length:
            self._pass_over = length - kept
            self.cut += 1
            frames.append(frame(bytes(held[head.end() : head.end() + kept])))
        else:
            frames.append(bytes(held[at : head.end() + length]))
        return head.end() + kept

    def _line(self, held: bytearray, at: int, frames: list[bytes]) -> int:
        end = held.find(b"\n", max(at, self._searched))
        stop = len(held) if end < 0 else end
        self._searched = stop  # a message that comes byte by byte is not searched anew with each
        if stop - at > self._limit:
            self.cut += 1
            self._pass_line = end < 0
            frames.append(frame(bytes(held[at : at + self._limit])))
        elif end < 0:
            return -1
        else:
            frames.append(frame(bytes(held[at:end]).rstrip(b"\r")))
        return stop if end < 0 else stop + 1

    def finish(self) -> bytes:
        """The frame of what was left unfinished when the connection ended; a counted message then counts as cut."""
        rest = bytes(self._data)
        self._data.clear()
        self._searched = 0
        head = _COUNTED.match(rest)
        if head is not None and (self._counts or rest[head.end() : head.end() + 1] == b"<"):
            rest = rest[head.end() :]
            self.cut += 1
        return frame(rest) if rest else b""
