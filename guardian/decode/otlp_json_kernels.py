"""From OTLP/JSON to OTLP protobuf in one pass, so that one walk serves both encodings.

Owns the loop; which key is which field is in ``otlp_json_schema``. It takes the plain case only: on anything that is no JSON, of
another type than expected or rare (a key with an escape, an enum by name, octets, ids of another length) it ends with NOT_PLAIN
and the slow decoder (``otlp_json``) decides about the whole body. Texts are copied; the walk behind it checks them for UTF-8.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from guardian.decode import otlp_json_schema as schema
from guardian.decode.otlp import MAX_RECORD_BYTES
from guardian.decode.otlp_layout import NOT_PLAIN, PLAIN
from scoring.compilation import I8, IN_U1, array, jit, kernel, types

U1 = types.uint8

DEPTH: Final = 96
"""Most objects and lists inside one another; a value of sixteen levels takes about sixty."""
IS_LIST, KIND, OF, TAG, START, SLOT, SEEN, FRAME = range(8)
"""Columns of a frame: whether it is a list, how it or its items are written, as which message, by which tag, where it starts,
where its length goes (-1 = it is not written), the set of its fields that were there."""
USED, REALS, METAS = range(3)
LONG: Final = 4
"""Bytes of a length that is written before it is known: seven bits in each."""


@jit
def _space(body: Any, at: Any) -> Any:
    """The first place that is no white space."""
    while at < body.shape[0] and body[np.uint64(at)] <= 0x20:
        octet = body[np.uint64(at)]
        if octet not in (0x20, 0x0A, 0x0D, 0x09):
            break
        at += 1
    return at


@jit
def _string(body: Any, at: Any) -> Any:
    """Of the string whose text begins at ``at``: where the text ends (-1 = broken), whether it has escapes, the union of its bytes."""
    escaped, union = False, np.uint8(0)
    size = np.uint64(body.shape[0])
    i = np.uint64(at)
    while i < size:
        octet = body[i]
        if octet == 0x22:
            return np.int64(i), escaped, union
        if octet < 0x20:
            break
        if octet == 0x5C:
            escaped = True
            i += np.uint64(1)
        union |= octet
        i += np.uint64(1)
    return -1, escaped, union


@jit
def _unit(body: Any, at: Any, end: Any) -> Any:
    """The UTF-16 unit whose four hexadecimal digits stand at ``at``, or -1."""
    if at + 4 > end:
        return -1
    value = 0
    for i in range(4):
        digit = schema.HEX_VALUES[body[at + i]]
        if digit < 0:
            return -1
        value = value << 4 | digit
    return value


@jit
def _unescaped(body: Any, at: Any, end: Any, out: Any, to: Any) -> Any:
    """Write a text without its escapes, which is never longer: where it ends, -1 = broken."""
    while at < end:
        octet = body[at]
        at += 1
        if octet != 0x5C:
            out[to] = octet
            to += 1
            continue
        octet = body[at]
        at += 1
        if octet != 0x75:
            plain = 0
            for i in range(schema.ESCAPES.shape[0]):
                if schema.ESCAPES[i] == octet:
                    plain = schema.ESCAPED[i]
            if plain == 0:
                return -1
            out[to] = plain
            to += 1
            continue
        point = _unit(body, at, end)
        at += 4
        if 0xD800 <= point < 0xDC00:
            if at + 6 > end or body[at] != 0x5C or body[at + 1] != 0x75:
                return -1
            low = _unit(body, at + 2, end)
            at += 6
            if not 0xDC00 <= low < 0xE000:
                return -1
            point = 0x10000 + ((point - 0xD800) << 10) + low - 0xDC00
        elif point < 0 or 0xDC00 <= point < 0xE000:
            return -1
        if point < 0x80:
            out[to] = point
            to += 1
            continue
        more = 1 if point < 0x800 else 2 if point < 0x10000 else 3
        out[to] = (0xC0 if more == 1 else 0xE0 if more == 2 else 0xF0) | point >> (6 * more)
        for i in range(more):
            out[to + 1 + i] = 0x80 | (point >> (6 * (more - 1 - i))) & 0x3F
        to += 1 + more
    return to


@jit
def _varint(value: Any, out: Any, to: Any) -> Any:
    while value >= np.uint64(0x80):
        out[to] = np.uint8(value & np.uint64(0x7F)) | 0x80
        value >>= np.uint64(7)
        to += 1
    out[to] = np.uint8(value)
    return to + 1


@jit
def _padded(value: Any, out: Any, to: Any) -> None:
    """A length in LONG bytes."""
    for i in range(LONG - 1):
        out[to + i] = (value >> (7 * i)) & 0x7F | 0x80
    out[to + LONG - 1] = value >> (7 * (LONG - 1))


@jit
def _number(body: Any, at: Any) -> Any:
    """Of the JSON number at ``at``: where it ends (-1 = broken), and whether it is an integer."""
    size = body.shape[0]
    i = at + 1 if at < size and body[at] == 0x2D else at
    first = i
    while i < size and 0x30 <= body[i] <= 0x39:
        i += 1
    if i == first or (body[first] == 0x30 and i > first + 1):
        return -1, False
    whole = i
    if i < size and body[i] == 0x2E:
        i += 1
        first = i
        while i < size and 0x30 <= body[i] <= 0x39:
            i += 1
        if i == first:
            return -1, False
    if i < size and body[i] | 0x20 == 0x65:
        i += 1
        if i < size and body[i] in (0x2B, 0x2D):
            i += 1
        first = i
        while i < size and 0x30 <= body[i] <= 0x39:
            i += 1
        if i == first:
            return -1, False
    return i, i == whole


@jit
def _text_field(body: Any, kind: Any, tag: Any, at: Any, end: Any, escaped: Any, out: Any, to: Any) -> Any:
    """Write a text or an id: where it ends, -1 = not plain."""
    out[to] = tag
    if kind == schema.TEXT:
        if escaped:
            stop = _unescaped(body, at, end, out, to + 1 + LONG)
            if stop < 0 or stop - to >= 1 << 28:
                return -1
            _padded(stop - (to + 1 + LONG), out, to + 1)
            return stop
        to = _varint(np.uint64(end - at), out, to + 1)
        first, to_first = np.uint64(at), np.uint64(to)
        for i in range(np.uint64(end - at)):
            out[to_first + i] = body[first + i]
        return to + end - at
    size = 16 if kind == schema.TRACE_ID else 8
    if end == at:
        return to
    if end - at != 2 * size:
        return -1
    out[to + 1] = size
    text, octets, wrong = np.uint64(at), np.uint64(to + 2), np.int64(0)
    for i in range(np.uint64(size)):
        high = schema.HEX_VALUES[body[text + np.uint64(2) * i]]
        low = schema.HEX_VALUES[body[text + np.uint64(2) * i + np.uint64(1)]]
        wrong |= high | low
        out[octets + i] = high << 4 | low
    return to + 2 + size if wrong >= 0 else -1


@jit
def _integer_field(body: Any, kind: Any, tag: Any, at: Any, end: Any, out: Any, to: Any) -> Any:
    """Write an integer, given as a number or as text: where it ends, -1 = not plain."""
    negative = body[at] == 0x2D
    first = at + 1 if negative else at
    most = 9 if kind == schema.ENUM else 18 if kind == schema.INTEGER else 19
    if end - first > most or (negative and kind != schema.INTEGER):
        return -1
    value = np.uint64(0)
    for i in range(first, end):
        value = value * np.uint64(10) + np.uint64(body[i] - np.uint8(0x30))
    if kind == schema.TIME:
        if value == np.uint64(0):
            return to
        out[to] = tag
        for i in range(8):
            out[to + 1 + i] = np.uint8((value >> np.uint64(8 * i)) & np.uint64(0xFF))
        return to + 9
    out[to] = tag
    return _varint(~value + np.uint64(1) if negative else value, out, to + 1)


@jit
def _field_of(body: Any, message: Any, at: Any, end: Any) -> Any:
    """Number of the field that a key names in a message, or -1."""
    if end == at:
        return -1
    place = (end - at + 3 * np.int64(body[at]) + 2 * np.int64(body[end - 1])) & 63
    found = schema.SLOTS[message, place]
    if found < 0 or schema.KEY_STARTS[found + 1] - schema.KEY_STARTS[found] != end - at:
        return -1
    first, text = np.uint64(schema.KEY_STARTS[found]), np.uint64(at)
    for i in range(np.uint64(end - at)):
        if schema.KEY_DATA[first + i] != body[text + i]:
            return -1
    return found


@jit
def _closed(frame: Any, at: Any, reals: Any, meta: Any, out: Any, to: Any) -> Any:
    """Write the length of the message that ends at ``to`` before it: where it ends then, -1 = not plain.

    If the length needs more room than was left for it, the message moves on, and with it the places of its doubles.
    """
    if schema.IS_LIMITED[frame[OF]] and at - frame[START] > MAX_RECORD_BYTES:
        return -1
    slot = frame[SLOT]
    if slot < 0:
        return to
    if not schema.IS_SHORT[frame[OF]]:
        _padded(to - slot - LONG, out, slot)
        return to if to - slot < 1 << 28 else -1
    length = to - slot - 1
    if length < 0x80:
        out[slot] = length
        return to
    if length > MAX_RECORD_BYTES or to + LONG > out.shape[0]:
        return -1
    for i in range(to - 1, slot, -1):
        out[i + LONG - 1] = out[i]
    _padded(length, out, slot)
    real = meta[REALS] - 1
    while real >= 0 and reals[real, 2] > slot:
        reals[real, 2] += LONG - 1
        real -= 1
    return to + LONG - 1


@jit
def _is_integer(kind: Any) -> Any:
    return kind in (schema.TIME, schema.ENUM, schema.INTEGER)


@jit
def _scalar(
    body: Any, at: Any, kind: Any, tag: Any, optional: Any, reals: Any, meta: Any, out: Any, to: Any
) -> Any:
    """Write the text, number or word at ``at``: where it ends in body (-1 = not plain) and in out."""
    octet = body[at]
    if octet == 0x22:
        end, escaped, union = _string(body, at + 1)
        if end < 0:
            return -1, to
        if kind in (schema.TEXT, schema.TRACE_ID, schema.SPAN_ID):
            if to + end - at + 64 > out.shape[0]:
                return -1, to
            to = _text_field(body, kind, tag, at + 1, end, escaped, out, to)
        elif _is_integer(kind):
            stop, whole = _number(body, at + 1)
            to = _integer_field(body, kind, tag, at + 1, end, out, to) if stop == end and whole else -1
        elif kind != schema.ANY or escaped or union >= 0x80:
            return -1, to
        return end + 1 if to >= 0 else -1, to
    if octet == 0x2D or 0x30 <= octet <= 0x39:
        end, whole = _number(body, at)
        if end < 0:
            return -1, to
        if whole and _is_integer(kind):
            to = _integer_field(body, kind, tag, at, end, out, to)
            return end if to >= 0 else -1, to
        if kind == schema.REAL:
            if meta[REALS] >= reals.shape[0]:
                return -1, to
            real = reals[meta[REALS]]
            real[0], real[1], real[2] = at, end, to + 1
            meta[REALS] += 1
            out[to] = tag
            return end, to + 9
        return end if kind == schema.ANY else -1, to
    which = 0 if octet == 0x74 else 1 if octet == 0x66 else 2
    first = schema.WORD_STARTS[which]
    length = schema.WORD_STARTS[which + 1] - first
    if at + length > body.shape[0]:
        return -1, to
    for i in range(length):
        if body[at + i] != schema.WORD_DATA[first + i]:
            return -1, to
    if kind == schema.TRUTH and which < 2:
        out[to], out[to + 1] = tag, 1 - which
        return at + length, to + 2
    return at + length if kind == schema.ANY or (optional and which == 2) else -1, to


@kernel(IN_U1, I8, array(I8, 2), array(I8, 2), array(I8), array(U1), array(I8))
def to_protobuf(body: Any, request: Any, frames: Any, reals: Any, meta: Any, out: Any, ended: Any) -> None:
    """An OTLP request in JSON as the same request in protobuf, without what no event is made of.

    Shapes: body (m,); request: LOGS or SPANS of ``otlp_json_schema``; frames (DEPTH, FRAME): scratch; reals (k, 3): of each number
        that is a double, where it begins and ends in body, where its eight bytes belong in out; meta (METAS,): how many bytes of
        out and how many rows of reals were used, zeros before; out (2 m + 128,); ended (1,): how it ended.
    Units: places in bytes.
    Cost: about 2.6 ns a byte.
    Source: RFC 8259; opentelemetry-proto's JSON mapping.
    Difference: takes the plain case only; lengths that are not known beforehand take four bytes, as protobuf allows.
    """
    ended[0] = NOT_PLAIN
    size = body.shape[0]
    at, to, depth = _space(body, 0), 0, 0
    kind, of, tag, optional = schema.MESSAGE, request, np.uint8(0), False
    while at < size and to + 128 <= out.shape[0]:
        octet = body[at]
        first = octet in (0x7B, 0x5B)
        if first:
            is_list = octet == 0x5B
            if depth == DEPTH or kind not in (schema.ANY, schema.MANY if is_list else schema.MESSAGE):
                return
            frame = frames[depth]
            frame[IS_LIST], frame[KIND], frame[OF], frame[TAG] = is_list, min(kind, schema.MESSAGE), of, tag
            frame[START], frame[SLOT], frame[SEEN] = at, -1, 0
            if kind == schema.MESSAGE and depth > 0:
                out[to] = tag
                frame[SLOT] = to + 1
                to += 2 if schema.IS_SHORT[of] else 1 + LONG
            depth += 1
            at += 1
        elif depth == 0:
            return
        else:
            at, to = _scalar(body, at, kind, tag, optional, reals, meta, out, to)
            if at < 0:
                return
        while True:
            at = _space(body, at)
            if depth == 0:
                meta[USED] = to
                ended[0] = PLAIN if at == size else NOT_PLAIN
                return
            if at >= size:
                return
            frame = frames[depth - 1]
            if body[at] != (0x5D if frame[IS_LIST] else 0x7D):
                break
            at += 1
            depth -= 1
            first = False
            to = to if frame[IS_LIST] else _closed(frame, at, reals, meta, out, to)
            if to < 0:
                return
        if not first:
            if body[at] != 0x2C:
                return
            at = _space(body, at + 1)
        if frame[IS_LIST]:
            kind, of, tag, optional = frame[KIND], frame[OF], np.uint8(frame[TAG]), False
            continue
        if at >= size or body[at] != 0x22:
            return
        end, escaped, union = _string(body, at + 1)
        if end < 0 or escaped or union >= 0x80:
            return
        field = _field_of(body, frame[OF], at + 1, end)
        kind, of, tag, optional = schema.ANY, schema.UNKNOWN, np.uint8(0), False
        if field >= 0:
            kind, tag = schema.FIELD_KIND[field], schema.FIELD_TAG[field]
            bit = 1 << (tag >> 3)
            if kind == schema.REFUSED or frame[SEEN] & bit:
                return
            frame[SEEN] |= bit
            of = schema.FIELD_MESSAGE[field]
            optional = frame[OF] == schema.VALUE or (kind == schema.MESSAGE and of == schema.VALUE)
        at = _space(body, end + 1)
        if at >= size or body[at] != 0x3A:
            return
        at = _space(body, at + 1)
