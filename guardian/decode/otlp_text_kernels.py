"""From the tape to JSON text: ``attrs`` and messages of all records, one after the other, as Arrow keeps them.

Owns the writing: the same bytes that ``msgspec.json`` writes. Knows neither protobuf nor OpenTelemetry. Fractions are left out
and their places noted: how a double is written shortest is best known to whoever fills them in.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from guardian.decode import otlp_keys as names
from guardian.decode import otlp_layout as to
from scoring.compilation import I8, IN_U1, array, jit, kernel, named, types

I4, U1 = types.int32, types.uint8
IN_I8: Final = array(I8, readonly=True)
WALK_TYPE: Final = named(to.Walk, *(array(I8, dimensions) for dimensions in (1, 2, 2, 2, 1, 1, 1)))
OUTPUT_TYPE: Final = named(to.Output, array(U1), array(I4), array(I8), array(I8), array(I8))

HEX_DIGITS: Final = np.frombuffer(b"0123456789abcdef", np.uint8)
BASE64_DIGITS: Final = np.frombuffer(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8
)
SHORT: Final = np.zeros(128, np.uint8)
"""The letter behind the backslash of characters that have one."""
SHORT[np.frombuffer(b'\b\t\n\f\r"\\', np.uint8)] = np.frombuffer(b'btnfr"\\', np.uint8)


@jit
def _quoted(source: Any, start: Any, length: Any, out: Any, at: Any) -> Any:
    """Write a text in quotes; where it ends, −1 = no room."""
    if at + length + 2 > out.shape[0]:
        return -1
    out[at] = 0x22
    first, to_first = (
        np.uint64(start),
        np.uint64(at + 1),
    )  # unsigned: signed places are checked for counting from the end
    special = np.uint8(0)
    for i in range(np.uint64(length)):
        octet = source[first + i]
        out[to_first + i] = octet
        special |= np.uint8(octet < 0x20) | np.uint8(octet == 0x22) | np.uint8(octet == 0x5C)
    if special == 0:
        out[at + 1 + length] = 0x22
        return at + length + 2
    if at + 6 * length + 2 > out.shape[0]:
        return -1
    at += 1
    for i in range(length):
        octet = source[start + i]
        if octet >= 0x80 or (octet >= 0x20 and SHORT[octet] == 0):
            out[at] = octet
            at += 1
            continue
        out[at] = 0x5C
        out[at + 1] = SHORT[octet]
        at += 2
        if SHORT[octet] == 0:
            out[at - 1], out[at], out[at + 1] = 0x75, 0x30, 0x30  # u00
            out[at + 2], out[at + 3] = HEX_DIGITS[octet >> 4], HEX_DIGITS[octet & 15]
            at += 4
    out[at] = 0x22
    return at + 1


@jit
def _hex(source: Any, start: Any, length: Any, out: Any, at: Any) -> Any:
    if at + 2 * length + 2 > out.shape[0]:
        return -1
    out[at] = 0x22
    first, here, one = np.uint64(start), np.uint64(at + 1), np.uint64(1)
    for i in range(np.uint64(length)):
        octet = np.uint64(source[first + i])
        out[here], out[here + one] = HEX_DIGITS[octet >> np.uint64(4)], HEX_DIGITS[octet & np.uint64(15)]
        here += np.uint64(2)
    out[here] = 0x22
    return at + 2 * length + 2


@jit
def _base64(source: Any, start: Any, length: Any, out: Any, at: Any) -> Any:
    if at + 4 * (length // 3) + 6 > out.shape[0]:
        return -1
    out[at] = 0x22
    at += 1
    for i in range(0, length, 3):
        left = length - i
        bits = np.int64(source[start + i]) << 16
        bits |= np.int64(source[start + i + 1]) << 8 if left > 1 else 0
        bits |= np.int64(source[start + i + 2]) if left > 2 else 0
        out[at], out[at + 1] = BASE64_DIGITS[bits >> 18], BASE64_DIGITS[(bits >> 12) & 63]
        out[at + 2] = BASE64_DIGITS[(bits >> 6) & 63] if left > 1 else 0x3D
        out[at + 3] = BASE64_DIGITS[bits & 63] if left > 2 else 0x3D
        at += 4
    out[at] = 0x22
    return at + 1


@jit
def _integer(value: Any, out: Any, at: Any) -> Any:
    if at + 20 > out.shape[0]:
        return -1
    number = np.uint64(value)
    if value < 0:
        number = ~number + np.uint64(1)
        out[at] = 0x2D
        at += 1
    width, rest = 1, number // np.uint64(10)
    while rest > np.uint64(0):
        width += 1
        rest //= np.uint64(10)
    for i in range(width - 1, -1, -1):
        out[at + i] = np.uint8(0x30) + np.uint8(number % np.uint64(10))
        number //= np.uint64(10)
    return at + width


@jit
def _copied(source: Any, start: Any, length: Any, out: Any, at: Any) -> Any:
    if at + length > out.shape[0]:
        return -1
    first, to_first = np.uint64(start), np.uint64(at)
    for i in range(np.uint64(length)):
        out[to_first + i] = source[first + i]
    return at + length


@jit
def _written(source: Any, tape: Any, i: Any, end: Any, output: Any, at: Any, comma: Any) -> Any:
    """Write the words from ``i`` to before ``end`` or to a MESSAGE: where the text ends (−1 = no room), where the words do."""
    data, places = output.data, output.places
    while i < end:
        word = tape[i]
        i += 1
        op, length, start = word & 15, (word >> 4) & 0xFFFFFF, word >> 28
        if op == to.SKIP:
            continue
        if op == to.MESSAGE:
            break
        if at + 2 > data.shape[0]:
            return -1, i
        if op in (to.CLOSE, to.CLOSE_LIST):
            data[at] = 0x7D if op == to.CLOSE else 0x5D
            at += 1
            comma = True
            continue
        if comma:
            data[at] = 0x2C
            at += 1
        comma = op not in (to.KEY, to.FIXED_KEY, to.OPEN, to.OPEN_LIST)
        if op in (to.KEY, to.TEXT):
            at = _quoted(source, start, length, data, at)
            if op == to.KEY and at >= 0:
                at = _copied(names.FIXED_DATA, names.FIXED_STARTS[names.COLON], 1, data, at)
        elif op in (to.FIXED, to.FIXED_KEY):
            first = names.FIXED_STARTS[start]
            at = _copied(names.FIXED_DATA, first, names.FIXED_STARTS[start + 1] - first, data, at)
        elif op == to.INTEGER:
            at = _integer(tape[i], data, at)
            i += 1
        elif op == to.DOUBLE:
            used = output.meta[to.DOUBLES_USED]
            if used >= places.shape[0]:
                return -1, i
            places[used], output.bits[used] = at, tape[i]
            output.meta[to.DOUBLES_USED] = used + 1
            i += 1
        elif op in (to.OPEN, to.OPEN_LIST):
            data[at] = 0x7B if op == to.OPEN else 0x5B
            at += 1
        elif op == to.RAW:
            at = _copied(source, start, length, data, at)
        elif op == to.HEX:
            at = _hex(source, start, length, data, at)
        else:
            at = _base64(source, start, length, data, at)
        if at < 0:
            break
    return at, i


@kernel(IN_U1, WALK_TYPE, OUTPUT_TYPE, OUTPUT_TYPE, OUTPUT_TYPE, array(I8))
def write_texts(body: Any, walk: Any, tail: Any, attrs: Any, messages: Any, out: Any) -> None:
    """The JSON of every record's attributes, and its message.

    Shapes: body (m,); walk and outputs as in ``otlp_layout``; attrs.ends and messages.ends (n + 1,), with a zero first; tail:
        scratch, for what all records of a scope end in; out (1,): how it ended (if a meta says NO_ROOM, with nothing decided).
    Units: ends and places in bytes.
    Cost: about 1 ns a byte written.
    Source: RFC 8259; RFC 4648, section 4, for octets.
    Difference: doubles are left out, their places and bits noted; one in a resource is not plain.
    """
    out[0] = to.NOT_PLAIN
    at, message_at, tail_end = 0, 0, 0
    this = np.int64(-1)
    for r in range(walk.state[to.RECORDS]):
        row = walk.records[r]
        if row[to.ORIGIN] != this:
            this = row[to.ORIGIN]
            origin = walk.origins[this]
            tail_end, _ = _written(
                body, walk.tape, origin[to.SCOPE_FROM], origin[to.SCOPE_TO], tail, 0, comma=False
            )
            if tail_end >= 0:
                tail_end, _ = _written(
                    body,
                    walk.tape,
                    origin[to.RESOURCE_FROM],
                    origin[to.RESOURCE_TO],
                    tail,
                    tail_end,
                    comma=tail_end > 0,
                )
            if tail_end < 0:
                tail.meta[to.NO_SPACE] = 1
                return
            if tail.meta[to.DOUBLES_USED] > 0:
                return
        first = at
        if at + tail_end + 3 > attrs.data.shape[0]:
            attrs.meta[to.NO_SPACE] = 1
            return
        attrs.data[at] = 0x7B
        at, i = _written(body, walk.tape, row[to.TAPE_FROM], row[to.TAPE_TO], attrs, at + 1, comma=False)
        if at < 0 or at + tail_end + 2 > attrs.data.shape[0]:
            attrs.meta[to.NO_SPACE] = 1
            return
        if tail_end > 0 and at > first + 1:
            attrs.data[at] = 0x2C
            at += 1
        at = _copied(tail.data, 0, tail_end, attrs.data, at)
        attrs.data[at] = 0x7D
        at += 1
        attrs.ends[r + 1] = at
        message_at, _ = _written(body, walk.tape, i, row[to.TAPE_TO], messages, message_at, comma=False)
        if message_at < 0:
            messages.meta[to.NO_SPACE] = 1
            return
        messages.ends[r + 1] = message_at
    out[0] = to.PLAIN


@kernel(IN_U1, IN_I8, IN_U1, IN_I8, array(U1))
def fill_doubles(data: Any, places: Any, numbers: Any, stops: Any, out: Any) -> None:
    """The texts with their doubles, which ``write_texts`` left out.

    Shapes: data (m,); places (k,), rising, where numbers belong in data; numbers: k texts with a comma between each two; stops
        (k,): where each of them ends; out (m + all numbers without commas,).
    Units: places in bytes.
    Cost: about 1 ns a byte.
    Source: none; it copies.
    Difference: none.
    """
    at, before, first = 0, 0, 0
    for k in range(places.shape[0]):
        for i in range(before, places[k]):
            out[at] = data[i]
            at += 1
        for i in range(first, stops[k]):
            out[at] = numbers[i]
            at += 1
        before, first = places[k], stops[k] + 1
    for i in range(before, data.shape[0]):
        out[at] = data[i]
        at += 1
