"""The loops that cut a body into messages, and put one field of all of them into a column.

Owns how messages stand in a body. Does not own what stands in a message (``syslog_kernels``).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from scoring.compilation import I8, IN_I4, IN_U1, array, kernel, types

FRAMES, LINES, TEXT = range(3)
"""Octet-counted frames with marks of peers; syslog lines; plain lines."""

MAX_PEER: Final = 64
"""Longest address in a mark."""


@kernel(IN_U1, I8, array(types.int32), array(types.int32), array(types.int32), array(types.int32), array(I8))
def split(body: Any, mode: Any, begin: Any, end: Any, peer_begin: Any, peer_end: Any, found: Any) -> None:
    r"""Where the messages of a body stand, each with the last mark of a peer before it.

    Shapes: body (b,); begin, end, peer_begin, peer_end (m,): only the first m messages are written; found (2,): how
        many there are, and where the body stops being what it claims (-1 = nowhere).
    Units: places in the body. CR, LF and NUL at the end of a message are left out.
    Cost: about 3 ns a frame and 1 ns a byte of a line.
    Source: RFC 6587 3.4.1, ``MSG-LEN SP MSG``.
    Difference: ``@ADDRESS SP`` between frames says who sent those that follow. Lines without content are no messages.
    """
    at, count, size = 0, 0, len(body)
    peer_at, peer_stop = 0, 0
    found[1] = -1
    while at < size:
        if mode == FRAMES:
            if body[at] == 64:
                stop = at + 1
                while stop < size and stop - at <= MAX_PEER and 32 < body[stop] < 127:
                    stop += 1
                if stop == at + 1 or stop >= size or body[stop] != 32:
                    found[1] = at
                    break
                peer_at, peer_stop = at + 1, stop
                at = stop + 1
                continue
            digits = at
            length: Any = 0
            while digits < size and digits - at < 9 and 48 <= body[digits] <= 57:
                length = length * 10 + np.int64(body[digits]) - 48
                digits += 1
            start = digits + 1
            if digits == at or digits >= size or body[digits] != 32 or start + length > size:
                found[1] = at
                break
            stop = start + length
            at = stop
        else:
            start = at
            stop = at
            while stop < size and body[stop] != 10:
                stop += 1
            at = stop + 1
        while stop > start and (body[stop - 1] == 10 or body[stop - 1] == 13 or body[stop - 1] == 0):
            stop -= 1
        if stop == start and mode != FRAMES:
            continue
        if count < len(begin):
            begin[count] = start
            end[count] = stop
            peer_begin[count] = peer_at
            peer_end[count] = peer_stop
        count += 1
    found[0] = count


@kernel(IN_U1, IN_I4, IN_I4, array(types.int32), array(types.uint8))
def gather(body: Any, start: Any, stop: Any, offsets: Any, out: Any) -> None:
    """The bytes of one field of all messages, one after the other.

    Shapes: body (b,); start, stop (n,); offsets (n + 1,); out as long as all fields together.
    Units: offsets as an Arrow string column has them.
    Cost: about 1 ns a byte.
    Source: Apache Arrow columnar format, variable-size binary layout.
    Difference: none.
    """
    at = 0
    offsets[0] = 0
    for row in range(len(start)):
        for i in range(start[row], stop[row]):
            out[at] = body[i]
            at += 1
        offsets[row + 1] = at
