"""Cuts a stream of bytes into blocks of whole lines, in bounded memory.

Owns line numbers and the limit on a line's length. A line past the limit is dropped as it streams by and stands as
None in its block, so that it is counted and the line numbers of its neighbours stay right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np

from guardian.decode.json_layout import PAD

MAX_LINE_BYTES: Final = 2**20
"""Longest line that is read."""

MAX_BLOCK_LINES: Final = 8192
"""Most lines that are decoded at once: a short line is small as text, but not as an object."""

BLOCK_BYTES: Final = 4 * 2**20
"""How much is decoded at once: a few thousand events, so that memory stays flat whatever the input's size."""


def line_blocks(
    pieces: Iterable[bytes], limit: int = MAX_LINE_BYTES
) -> Iterator[tuple[int, list[bytes | None]]]:
    r"""Blocks of lines as ``(number of the first line, lines)``.

    ``pieces`` are any cuts of the stream; the result does not depend on them, but a block is at most
    about as large as a piece and has at most MAX_BLOCK_LINES lines. Lines come without their ``\n``. A byte order mark at the start is skipped.

    >>> list(line_blocks([b"a\nb", b"c\n\nd"]))
    [(1, [b'a']), (2, [b'bc', b'']), (4, [b'd'])]
    """
    number = 1
    carry: list[bytes] = []
    carried = 0
    overlong = False
    for data in pieces:
        lines: list[bytes | None] = list[bytes | None](data.split(b"\n"))
        head, tail = lines[0], lines.pop()
        assert head is not None and tail is not None  # noqa: PT018  (None comes in below)
        if not lines:
            carried += len(data)
            overlong = overlong or carried > limit
            if overlong:
                carry = []
            else:
                carry.append(data)
            continue
        # Too long or not is asked before the mark goes: the answer must not depend on where the stream was cut.
        overlong = overlong or carried + len(head) > limit
        lines[0] = None if overlong else unmarked(b"".join([*carry, head]), number)
        for at in range(0, len(lines), MAX_BLOCK_LINES):
            block = lines[at : at + MAX_BLOCK_LINES]
            yield number, [None if line is not None and len(line) > limit else line for line in block]
            number += len(block)
        carried, overlong = len(tail), len(tail) > limit
        carry = [] if overlong else [tail]
    if carried:
        yield number, [None if overlong else unmarked(b"".join(carry), number)]


class Block(NamedTuple):
    """Whole lines as they stand in a stream."""

    first_line: int
    octets: bytes | None
    """The lines, then PAD; None = one line that is too long."""
    size: int
    """Octets without PAD."""
    lines: int


def byte_blocks(pieces: Iterable[bytes], limit: int = MAX_LINE_BYTES) -> Iterator[Block]:
    r"""Blocks of whole lines; at most about as large as a piece and a line.

    ``pieces`` are any cuts of the stream. Lines longer than ``limit`` may stand in a block: its reader asks; but one
    that fills pieces is dropped as it streams by. A byte order mark stays.

    >>> [(block.first_line, block.octets[: block.size]) for block in byte_blocks([b"a\nb", b"c\n\nd"])]
    [(1, b'a\n'), (2, b'bc\n\nd')]
    """
    number = 1
    carry: list[bytes | memoryview] = []
    carried = 0
    overlong = False
    rest = iter(pieces)
    piece = next(rest, None)
    while piece is not None:
        following = next(rest, None)
        at = 0
        if overlong:
            at = piece.find(b"\n") + 1
            if at:
                yield Block(number, None, 0, 1)
                number += 1
                overlong = False
        if not overlong:
            cut = len(piece) if following is None else max(piece.rfind(b"\n") + 1, at)
            whole = memoryview(piece)
            if cut > at:
                octets = b"".join([*carry, whole[at:cut], PAD])
                size = carried + cut - at
                feeds = np.count_nonzero(
                    np.frombuffer(octets, np.uint8, size) == 10
                )  # bytes.count: ten times slower
                lines = int(feeds) + (octets[size - 1] != 10)
                yield Block(number, octets, size, lines)
                number += lines
                carry, carried = [], 0
            carry.append(whole[cut:])
            carried += len(piece) - cut
            if carried > limit:
                carry, carried, overlong = [], 0, True
        piece = following
    if overlong:
        yield Block(number, None, 0, 1)
    elif carried:
        yield Block(number, b"".join([*carry, PAD]), carried, 1)


def unmarked(octets: bytes, number: int) -> bytes:
    """A line, or several, without the byte order mark that a stream may begin with; ``number`` of the first from 1."""
    return octets.removeprefix(b"\xef\xbb\xbf") if number == 1 else octets


def slices(body: bytes, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """A body as pieces of ``size`` bytes."""
    return (body[at : at + size] for at in range(0, len(body), size))
