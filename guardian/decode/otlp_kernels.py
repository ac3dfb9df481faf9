"""The walk over an OTLP protobuf body: from bytes to records as spans of the body, and a tape of what becomes JSON.

Owns the loops; their arrays are in ``otlp_layout``, the names they look for in ``otlp_keys``. Knows nothing of what a record
means: that is ``otlp_column_kernels``. The walk takes the plain case only: on anything broken, doubtful or rare it ends with
NOT_PLAIN, whatever it has written counts for nothing, and the slow decoder (``otlp_wire``) decides about the whole body.

Every length is checked against the end of the message that holds it before a byte behind it is read. Texts are not checked
for UTF-8 here but once for each distinct name and once for all JSON, where Arrow has them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from guardian.decode import otlp_keys as names
from guardian.decode import otlp_layout as to
from guardian.decode.otlp import MAX_RECORD_BYTES
from scoring.compilation import I8, IN_U1, array, jit, kernel, named

WALK_TYPE: Final = named(to.Walk, *(array(I8, dimensions) for dimensions in (1, 2, 2, 2, 1, 1, 2, 1, 1)))


# -- protobuf --------------------------------------------------------------------------------------------------------


@jit
def _varint(body: Any, at: Any, end: Any) -> Any:
    """A varint of at most 64 bits and where it ends; −1 when it is none."""
    value = np.uint64(0)
    for i in range(10):
        if at >= end:
            break
        octet = body[at]
        at += 1
        value |= np.uint64(octet & 0x7F) << np.uint64(7 * i)
        if octet < 0x80:
            if i == 9 and octet > 1:
                break
            return value, at
    return np.uint64(0), -1


@jit
def _field(body: Any, at: Any, end: Any) -> Any:
    """The tag at ``at``, and where the content begins and ends; the end is −1 when it is broken or a group."""
    if at + 1 < end and body[at] < 0x80 and body[at + 1] < 0x80 and body[at] & 7 == 2 and body[at] >= 8:
        stop = at + 2 + np.int64(body[at + 1])
        return np.int64(body[at]), at + 2, stop if stop <= end else -1
    tag, start = _varint(body, at, end)
    if start < 0 or start - at > 5 or tag < np.uint64(8) or tag > np.uint64(0xFFFFFFFF):
        return 0, at, -1
    wire = np.int64(tag & np.uint64(7))
    stop = np.int64(-1)
    if wire == 2:
        size, after = _varint(body, start, end)
        if after >= 0 and after - start <= 5 and size <= np.uint64(end - after):
            start = after
            stop = after + np.int64(size)
    elif wire == 0:
        _, stop = _varint(body, start, end)
    elif wire == 1:
        stop = start + 8
    elif wire == 5:
        stop = start + 4
    return np.int64(tag), start, stop if stop <= end else -1


@jit
def _eight(body: Any, at: Any) -> Any:
    value = np.uint64(0)
    for i in range(8):
        value |= np.uint64(body[at + i]) << np.uint64(8 * i)
    return value


@jit
def _is_ascii(body: Any, start: Any, stop: Any) -> Any:
    found = np.uint8(0)
    for i in range(start, stop):
        found |= body[i]
    return found < 0x80


@jit
def _head(body: Any, at: Any, end: Any) -> Any:
    """Kind of an AnyValue and where its content lies; −1 when it holds anything but one known field."""
    if at == end:
        return to.NONE, at, at
    tag, start, stop = _field(body, at, end)
    kind = tag >> 3
    if stop != end or kind > to.OCTETS:
        return -1, at, at
    wire = tag & 7
    fits = wire == (0 if to.BOOL <= kind <= to.INT else 1 if kind == to.REAL else 2)
    return kind if fits else -1, start, stop


@jit
def _pair(body: Any, at: Any, end: Any) -> Any:
    """Of a KeyValue: begin and end of the key, of the value (an absent one is empty); −1 when it is not plain."""
    key, key_end, value, value_end = at, at, at, at
    keys, values = 0, 0
    while at < end:
        tag, start, stop = _field(body, at, end)
        if stop < 0:
            return -1, at, at, at
        if tag == 10:
            key, key_end = start, stop
            keys += 1
        elif tag == 18:
            value, value_end = start, stop
            values += 1
        at = stop
    if keys > 1 or values > 1:
        return -1, at, at, at
    return key, key_end, value, value_end


# -- the tape --------------------------------------------------------------------------------------------------------


@jit
def _push(walk: Any, word: Any) -> None:
    at = walk.meta[to.TAPE_USED]
    if at >= walk.tape.shape[0]:
        walk.meta[to.FULL] = 1
        return
    walk.tape[at] = word
    walk.meta[to.TAPE_USED] = at + 1


@jit
def _text(walk: Any, op: Any, start: Any, stop: Any) -> None:
    _push(walk, op | (stop - start) << 4 | start << 28)


@jit
def _fixed(walk: Any, op: Any, which: Any) -> None:
    _push(walk, op | which << 28)


@jit
def _is_new(body: Any, walk: Any, first: Any, start: Any, stop: Any) -> Any:
    """Enter a name of an object whose names begin at ``first``; whether it is new there, and not one too many."""
    count = walk.meta[to.KEYS]
    length = stop - start
    if count - first >= to.ATTRIBUTES:
        return False
    for i in range(first, count):
        if walk.keys[i] & 0xFFFFFF == length:
            other = walk.keys[i] >> 24
            same = length
            while same > 0 and body[other + same - 1] == body[start + same - 1]:
                same -= 1
            if same == 0:
                return False
    walk.keys[count] = start << 24 | length
    walk.meta[to.KEYS] = count + 1
    return True


@jit
def _value(body: Any, kind: Any, start: Any, stop: Any, walk: Any) -> Any:
    """Write an AnyValue to the tape; whether it is plain throughout."""
    stack, meta = walk.stack, walk.meta
    depth = 0
    while True:
        if to.LIST <= kind <= to.OBJECT:
            if depth == to.DEPTH:
                return False
            _push(walk, to.OPEN if kind == to.OBJECT else to.OPEN_LIST)
            stack[depth, 0], stack[depth, 1], stack[depth, 2] = kind, start, stop
            stack[depth, 3] = meta[to.KEYS]
            depth += 1
        elif kind == to.STRING:
            _text(walk, to.TEXT, start, stop)
        elif kind == to.INT:
            _push(walk, to.INTEGER)
            _push(walk, np.int64(_varint(body, start, stop)[0]))
        elif kind == to.BOOL:
            is_true = _varint(body, start, stop)[0] != np.uint64(0)
            _fixed(walk, to.FIXED, names.TRUE if is_true else names.FALSE)
        elif kind == to.REAL:
            _push(walk, to.DOUBLE)
            _push(walk, np.int64(_eight(body, start)))
        elif kind == to.OCTETS:
            _text(walk, to.BASE64, start, stop)
        elif kind == to.NONE:
            _fixed(walk, to.FIXED, names.NULL)
        else:
            return False
        kind = -1
        while depth > 0 and kind < 0:
            top = depth - 1
            if stack[top, 1] == stack[top, 2]:
                _push(walk, to.CLOSE if stack[top, 0] == to.OBJECT else to.CLOSE_LIST)
                meta[to.KEYS] = stack[top, 3]
                depth -= 1
                continue
            tag, start, stop = _field(body, stack[top, 1], stack[top, 2])
            if stop < 0:
                return False
            stack[top, 1] = stop
            if tag != 10:
                continue
            if stack[top, 0] == to.OBJECT:
                key, key_end, start, stop = _pair(body, start, stop)
                if key < 0 or not _is_new(body, walk, stack[top, 3], key, key_end):
                    return False
                _text(walk, to.KEY, key, key_end)
            kind, start, stop = _head(body, start, stop)
            if kind < 0:
                return False
        if depth == 0 and kind < 0:
            return True


@jit
def _known(body: Any, start: Any, stop: Any) -> Any:
    """Number of the name among those that mean something, or −1 (``otlp_keys.place``)."""
    length = stop - start
    if length == 0:
        return -1
    mixed = length + (np.int64(body[start]) << 6) + (np.int64(body[start + length // 3]) << 14)
    mixed += (np.int64(body[start + length // 2]) << 22) + (np.int64(body[stop - 1]) << 30)
    found = names.SLOTS[((mixed * names.FACTOR) >> 34) & 1023]
    if found < 0:
        return -1
    first = names.KEY_STARTS[found]
    if names.KEY_STARTS[found + 1] - first != length:
        return -1
    for i in range(length):
        if names.KEY_DATA[first + i] != body[start + i]:
            return -1
    return found


@jit
def _member(body: Any, at: Any, end: Any, walk: Any) -> Any:
    """Write a KeyValue to the tape: begin and end of its key, then kind and place of its value; −1 when it is not plain."""
    key, key_end, start, stop = _pair(body, at, end)
    if key < 0 or not _is_new(body, walk, 0, key, key_end):
        return -1, at, 0, at, at
    _text(walk, to.KEY, key, key_end)
    kind, start, stop = _head(body, start, stop)
    if kind < 0 or not _value(body, kind, start, stop, walk):
        return -1, at, 0, at, at
    return key, key_end, kind, start, stop


@jit
def _attribute(body: Any, at: Any, end: Any, walk: Any) -> Any:
    """Write an attribute to the tape, and to ``known`` if its name means something; whether it is plain."""
    begin = walk.meta[to.TAPE_USED]
    key, key_end, kind, start, stop = _member(body, at, end, walk)
    if key < 0:
        return False
    number = _known(body, key, key_end)
    if number < 0:
        return True
    row = walk.meta[to.KNOWN_USED]
    if row >= walk.known.shape[0]:
        walk.meta[to.FULL] = 1
        return True
    walk.meta[to.KNOWN_USED] = row + 1
    known = walk.known[row]
    known[to.NAME_NUMBER], known[to.ATTRIBUTE_KIND], known[to.AT], known[to.END] = number, kind, start, stop
    known[to.WORD_FROM], known[to.WORD_TO] = begin, walk.meta[to.TAPE_USED]
    if to.BOOL <= kind <= to.INT:
        known[to.BITS] = np.int64(_varint(body, start, stop)[0])
    elif kind == to.REAL:
        known[to.BITS] = np.int64(_eight(body, start))
    return True


# -- messages --------------------------------------------------------------------------------------------------------


@jit
def _store(body: Any, tag: Any, start: Any, stop: Any, place: Any, row: Any) -> None:
    """Keep a field: its number, or where it begins and ends."""
    wire = tag & 7
    if wire == 2:
        row[place], row[place + 1] = start, stop
    elif wire == 0:
        row[place] = np.int64(_varint(body, start, stop)[0]) & 0xFFFFFFFF
    else:
        row[place] = np.int64(_eight(body, start))


@jit
def _leaf(body: Any, at: Any, end: Any, message: Any, row: Any) -> Any:
    """Read a message of numbers and texts into a row; whether it is plain."""
    seen = 0
    while at < end:
        tag, start, stop = _field(body, at, end)
        if stop < 0:
            return False
        at = stop
        place = to.PLACES[message, tag] if tag < 256 else to.IGNORED
        if place >= 0:
            if seen & 1 << place:
                return False
            seen |= 1 << place
            _store(body, tag, start, stop, place, row)
        elif place == to.REFUSED or (place == to.ASCII and not _is_ascii(body, start, stop)):
            return False
    return True


@jit
def _message(body: Any, at: Any, end: Any, message: Any, row: Any, walk: Any) -> Any:
    """Read a record or a resource into a row, its attributes to the tape: where its first event begins or, if it has none,
    its end; −1 when it is not plain."""
    seen, events = 0, end
    walk.meta[to.KEYS] = 0
    while at < end:
        tag, start, stop = _field(body, at, end)
        if stop < 0:
            return -1
        place = to.PLACES[message, tag] if tag < 256 else to.IGNORED
        if place == to.ATTRIBUTE:
            if not _attribute(body, start, stop, walk):
                return -1
        elif place >= 0 or place == to.BODY or place == to.STATUS_PART:
            bit = 1 << (tag >> 3)
            if seen & bit:
                return -1
            seen |= bit
            if place >= 0:
                _store(body, tag, start, stop, place, row)
            elif place == to.BODY:
                kind, start, begin_stop = _head(body, start, stop)
                if kind < 0:
                    return -1
                row[to.BODY_KIND], row[to.BODY_AT], row[to.BODY_END] = kind, start, begin_stop
            elif not _leaf(body, start, stop, to.STATUS_MESSAGE, row):
                return -1
        elif place == to.EVENT_PART:
            events = min(events, at)
        elif place == to.ASCII:
            if not _is_ascii(body, start, stop):
                return -1
        elif place <= to.LINK_PART:
            part = to.LINK if place == to.LINK_PART else to.ENTITY
            if not _leaf(body, start, stop, part, row):
                return -1
        at = stop
    return events


@jit
def _event(body: Any, at: Any, end: Any, row: Any, walk: Any) -> Any:
    """Write a span's event to the tape; whether it is plain."""
    row[to.NAME_AT], row[to.NAME_END] = at, at
    if not _leaf(body, at, end, to.SPAN_EVENT, row):
        return False
    _push(walk, to.OPEN)
    _fixed(walk, to.FIXED_KEY, names.NAME_KEY)
    _text(walk, to.TEXT, row[to.NAME_AT], row[to.NAME_END])
    _fixed(walk, to.FIXED_KEY, names.ATTRIBUTES_KEY)
    _push(walk, to.OPEN)
    walk.meta[to.KEYS] = 0
    while at < end:
        tag, start, at = _field(body, at, end)
        if tag == 26 and _member(body, start, at, walk)[0] < 0:
            return False
    _push(walk, to.CLOSE)
    _push(walk, to.CLOSE)
    return True


@jit
def _own(row: Any, place: Any, op: Any, key: Any, walk: Any) -> None:
    """Write a text of the record or scope itself to the tape, if there is one."""
    if row[place + 1] > row[place]:
        _fixed(walk, to.FIXED_KEY, key)
        _text(walk, op, row[place], row[place + 1])


@jit
def _log(body: Any, at: Any, end: Any, row: Any, walk: Any) -> Any:
    """Read a LogRecord; whether it is plain."""
    if _message(body, at, end, to.LOG_RECORD, row, walk) < 0:
        return False
    _own(row, to.TEXT_AT, to.TEXT, names.SEVERITY_KEY, walk)
    kind, start, stop = row[to.BODY_KIND], row[to.BODY_AT], row[to.BODY_END]
    if kind == to.NONE:
        return True
    _push(walk, to.MESSAGE)
    if kind == to.STRING:
        _text(walk, to.RAW, start, stop)
        return True
    return _value(body, kind, start, stop, walk)


@jit
def _span(body: Any, at: Any, end: Any, row: Any, walk: Any) -> Any:
    """Read a Span; whether it is plain."""
    events = _message(body, at, end, to.SPAN_RECORD, row, walk)
    if events < 0:
        return False
    row[to.NAME_TAPE] = walk.meta[to.TAPE_USED]
    _fixed(walk, to.FIXED_KEY, names.NAME_KEY)
    _text(walk, to.TEXT, row[to.NAME_AT], row[to.NAME_END])
    _own(row, to.PARENT_AT, to.HEX, names.PARENT_KEY, walk)
    _own(row, to.TEXT_AT, to.TEXT, names.DESCRIPTION_KEY, walk)
    if events == end:
        return True
    row[to.EVENTS_AT] = events
    _fixed(walk, to.FIXED_KEY, names.EVENTS_KEY)
    _push(walk, to.OPEN_LIST)
    while events < end:
        tag, start, events = _field(body, events, end)
        if tag == 90 and not _event(body, start, events, walk.spare, walk):
            return False
    _push(walk, to.CLOSE_LIST)
    return True


@jit
def _resource(body: Any, at: Any, end: Any, origin: Any, walk: Any) -> Any:
    """Read a Resource; whether it is plain."""
    origin[to.SHARED_FROM], origin[to.RESOURCE_FROM] = walk.meta[to.KNOWN_USED], walk.meta[to.TAPE_USED]
    _fixed(walk, to.FIXED_KEY, names.RESOURCE_KEY)
    _push(walk, to.OPEN)
    if end - at > MAX_RECORD_BYTES or _message(body, at, end, to.RESOURCE, origin, walk) < 0:
        return False
    _push(walk, to.CLOSE)
    origin[to.SHARED_TO], origin[to.RESOURCE_TO] = walk.meta[to.KNOWN_USED], walk.meta[to.TAPE_USED]
    origin[to.MEMBERS] = walk.meta[to.KEYS]
    return True


@jit
def _records(body: Any, at: Any, end: Any, is_span: Any, origin: Any, walk: Any) -> Any:
    """Read a ScopeLogs or ScopeSpans; whether it is plain: the scope comes first, and once."""
    meta = walk.meta
    scoped, first = False, meta[to.RECORDS]
    while at < end:
        tag, start, at = _field(body, at, end)
        if at < 0 or (tag <= 18 and at - start > MAX_RECORD_BYTES):
            return False
        meta[to.PARTS] += 2
        if tag == 10:
            if scoped or meta[to.RECORDS] > first or not _leaf(body, start, at, to.SCOPE, origin):
                return False
            scoped = True
            origin[to.SCOPE_FROM] = meta[to.TAPE_USED]
            _own(origin, to.SCOPE_AT, to.TEXT, names.SCOPE_KEY, walk)
            origin[to.SCOPE_TO] = meta[to.TAPE_USED]
        elif tag == 18:
            if meta[to.RECORDS] >= walk.records.shape[0]:
                meta[to.FULL] = 1
                return False
            row = walk.records[meta[to.RECORDS]]
            for i in range(to.FIELDS):
                row[i] = 0
            row[to.ORIGIN] = meta[to.SCOPES]
            row[to.KNOWN_FROM], row[to.TAPE_FROM] = meta[to.KNOWN_USED], meta[to.TAPE_USED]
            if not (_span(body, start, at, row, walk) if is_span else _log(body, start, at, row, walk)):
                return False
            row[to.KNOWN_TO], row[to.TAPE_TO] = meta[to.KNOWN_USED], meta[to.TAPE_USED]
            meta[to.RECORDS] += 1
    return True


@kernel(IN_U1, I8, WALK_TYPE, array(I8))
def walk_otlp(body: Any, is_span: Any, walk: Any, out: Any) -> None:
    """Every record, scope and resource of a request as spans of its bytes, and their attributes as a tape.

    Shapes: body (m,); walk as ``otlp_layout.Walk`` with zeros in meta; out (1,): how it ended.
    Units: places in bytes from the body's beginning; is_span 0 for ExportLogsServiceRequest, 1 for ExportTraceServiceRequest.
    Cost: about 600 ns for a record of 250 bytes with six attributes.
    Source: opentelemetry-proto 1.x; encoding: https://protobuf.dev/programming-guides/encoding/.
    Difference: takes the plain case only; fields that nothing is made of are checked as far as the official decoder would.
    """
    meta = walk.meta
    out[0] = to.NOT_PLAIN
    at, end = 0, body.shape[0]
    while at < end and meta[to.FULL] == 0:
        tag, here, at = _field(body, at, end)
        if at < 0:
            return
        meta[to.PARTS] += 1
        first, shared = meta[to.SCOPES], False
        if tag != 10:
            continue
        for i in range(to.ORIGIN_FIELDS):
            walk.shared[i] = 0
        while here < at:
            tag, start, here = _field(body, here, at)
            if here < 0:
                return
            meta[to.PARTS] += 2
            if tag == 10:  # it comes before the scopes, and once
                if shared or meta[to.SCOPES] > first or not _resource(body, start, here, walk.shared, walk):
                    return
                shared = True
            elif tag == 18:
                if meta[to.SCOPES] >= walk.origins.shape[0]:
                    meta[to.FULL] = 1
                    break
                origin = walk.origins[meta[to.SCOPES]]
                for i in range(to.ORIGIN_FIELDS):
                    origin[i] = walk.shared[i]
                if not _records(body, start, here, is_span, origin, walk) and meta[to.FULL] == 0:
                    return
                meta[to.SCOPES] += 1
    out[0] = to.TOO_SMALL if meta[to.FULL] else to.PLAIN
