"""Cuts a stream of bytes into blocks of whole lines, in bounded memory.

Owns line numbers and the limit on a line's length. A line past the limit is dropped as it streams by and stands as
None in its block, so that it is counted and the line numbers of its neighbours stay right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

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
        lines[0] = None if overlong else _first(b"".join([*carry, head]), number)
        for at in range(0, len(lines), MAX_BLOCK_LINES):
            block = lines[at : at + MAX_BLOCK_LINES]
            yield number, [None if line is not None and len(line) > limit else line for line in block]
            number += len(block)
        carried, overlong = len(tail), len(tail) > limit
        carry = [] if overlong else [tail]
    if carried:
        yield number, [None if overlong else _first(b"".join(carry), number)]


def _first(line: bytes, number: int) -> bytes:
    return line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def slices(body: bytes, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """A body as pieces of ``size`` bytes."""
    return (body[at : at + size] for at in range(0, len(body), size))
