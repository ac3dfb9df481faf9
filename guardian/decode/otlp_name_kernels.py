"""The names of records: every distinct source, kind, actor, address, target and session once, and codes for all rows.

Owns the composing of kinds and the table of names. Knows neither protobuf nor what an attribute is called: which of them
serves what is in ``found``, as ``otlp_meaning_kernels`` left it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from guardian.decode import otlp_keys as names
from guardian.decode import otlp_layout as to
from guardian.decode.draft import MAX_NAME
from scoring.compilation import I8, IN_U1, array, jit, kernel, named, types

I4, U1 = types.int32, types.uint8
WALK_TYPE: Final = named(to.Walk, *(array(I8, dimensions) for dimensions in (1, 2, 2, 2, 1, 1, 1)))
INTERNED_TYPE: Final = named(to.Interned, array(I8), array(I8), array(I8), array(U1))

NOWHERE: Final = -2
"""End of a kind that the slow decoder is to compose."""


@jit
def _is_blank(body: Any, start: Any, stop: Any) -> Any:
    """1 = nothing but white space, 0 = more than that, −1 = perhaps: other scripts have white space of their own."""
    doubt = 0
    for i in range(start, stop):
        octet = body[i]
        if octet < 0x80:
            if not (0x09 <= octet <= 0x0D or 0x1C <= octet <= 0x20):
                return 0
        elif octet >= 0xC0:  # C2 85, C2 A0, E1 9A 80, E2 80 80 … E2 81 9F, E3 80 80
            after = body[i + 1] if i + 1 < stop else np.uint8(0)
            if octet == 0xC2:
                doubtful = after in (0x85, 0xA0)
            elif octet == 0xE1:
                doubtful = after == 0x9A
            elif octet == 0xE2:
                doubtful = after in (0x80, 0x81)
            else:
                doubtful = octet == 0xE3 and after == 0x80
            if not doubtful:
                return 0
            doubt = 1
    return -1 if doubt else 1


@jit
def _put(source: Any, start: Any, stop: Any, at: Any, text: Any) -> Any:
    """Copy bytes behind the texts of the names; where the copy ends, −1 = no room."""
    if at < 0 or at + stop - start + 8 > text.shape[0]:
        return -1
    first, to_first = np.uint64(start), np.uint64(at)
    for i in range(np.uint64(stop - start)):
        text[to_first + i] = source[first + i]
    return at + stop - start


@jit
def _put_fixed(which: Any, at: Any, text: Any) -> Any:
    return _put(names.FIXED_DATA, names.FIXED_STARTS[which], names.FIXED_STARTS[which + 1], at, text)


@jit
def _put_value(body: Any, kind: Any, start: Any, end: Any, at: Any, text: Any) -> Any:
    """As ``_put``, a text, truth value or integer as JSON writes it."""
    if kind == to.STRING:
        return _put(body, start, end, at, text)
    if kind == to.BOOL:
        return _put_fixed(names.TRUE if end != 0 else names.FALSE, at, text)
    if at < 0 or at + 28 > text.shape[0]:
        return -1
    number = np.uint64(end)
    if end < 0:
        number = ~number + np.uint64(1)
        text[at] = 0x2D  # -
        at += 1
    width, rest = 1, number // np.uint64(10)
    while rest > np.uint64(0):
        width += 1
        rest //= np.uint64(10)
    for i in range(width - 1, -1, -1):
        text[at + i] = np.uint8(0x30) + np.uint8(number % np.uint64(10))
        number //= np.uint64(10)
    return at + width


@jit
def _eight(text: Any, at: Any) -> Any:
    low = np.uint64(text[at]) | np.uint64(text[at + np.uint64(1)]) << np.uint64(8)
    low |= np.uint64(text[at + np.uint64(2)]) << np.uint64(16) | np.uint64(
        text[at + np.uint64(3)]
    ) << np.uint64(24)
    low |= np.uint64(text[at + np.uint64(4)]) << np.uint64(32) | np.uint64(
        text[at + np.uint64(5)]
    ) << np.uint64(40)
    low |= np.uint64(text[at + np.uint64(6)]) << np.uint64(48) | np.uint64(
        text[at + np.uint64(7)]
    ) << np.uint64(56)
    return low


@jit
def _code(column: Any, end: Any, meta: Any, places: Any, entries: Any, text: Any) -> Any:
    """Number of the name that stands behind the texts up to ``end`` among its column's; −1 when it is not to be found.

    ``text`` has eight bytes to spare behind every end, so that words can be read whole.
    """
    start, used = meta[to.TEXT_USED], meta[to.NAMES_USED]
    if end < 0 or 4 * used >= 3 * places.shape[0]:
        meta[to.NO_ROOM] = 1
        return -1
    here, length = np.uint64(start), end - start
    whole, rest = np.uint64(length & ~7), np.uint64(8 * (length & 7))
    mask = (np.uint64(1) << rest) - np.uint64(1)
    last = _eight(text, here + whole) & mask
    h = np.uint64(length << 3 | column) * np.uint64(0x9E3779B97F4A7C15)
    for word in range(np.uint64(0), whole, np.uint64(8)):
        h = (h ^ _eight(text, here + word)) * np.uint64(0xD6E8FEB86659FD93)
        h ^= h >> np.uint64(32)
    h = (h ^ last) * np.uint64(0xD6E8FEB86659FD93)
    h ^= h >> np.uint64(32)
    room = places.shape[0] - 1
    at = np.int64(h & np.uint64(room))
    tag = np.int64(h >> np.uint64(32)) << 32
    for _ in range(to.PROBES):
        place = places[at]
        if place == 0:
            code = meta[to.COUNTS + column]
            places[at] = tag | (used + 1)
            entries[2 * used], entries[2 * used + 1] = start << 32 | length, column << 32 | code
            meta[to.NAMES_USED], meta[to.COUNTS + column], meta[to.TEXT_USED] = used + 1, code + 1, end
            return code
        if place >> 32 == tag >> 32:
            entry = 2 * ((place & 0xFFFFFFFF) - 1)
            if entries[entry + 1] >> 32 == column and entries[entry] & 0xFFFFFFFF == length:
                there, same = np.uint64(entries[entry] >> 32), np.uint64(0)
                while same < whole and _eight(text, there + same) == _eight(text, here + same):
                    same += np.uint64(8)
                if same == whole and _eight(text, there + whole) & mask == last:
                    return entries[entry + 1] & 0xFFFFFFFF
        at = (at + 1) & room
    return -1


@jit
def _name(
    body: Any, i: Any, column: Any, attributes: Any, meta: Any, places: Any, entries: Any, text: Any
) -> Any:
    """Code of an attribute's text in a column; of the empty name if there is no attribute."""
    at = meta[to.TEXT_USED]
    if i >= 0:
        kind, start, end = attributes[i, to.VALUE_KIND], attributes[i, to.AT], attributes[i, to.END]
        if kind == to.STRING:
            at = _put(body, start, end, at, text)
        else:
            at = _put_value(body, kind, start, end, at, text)
    return _code(column, at, meta, places, entries, text)


@jit
def _log_kind(body: Any, row: Any, origin: Any, found: Any, attributes: Any, at: Any, text: Any) -> Any:
    """Put the kind of a log record behind the names; where it ends, NOWHERE = not plain."""
    if row[to.NAME_END] > row[to.NAME_AT]:
        return _put(body, row[to.NAME_AT], row[to.NAME_END], at, text)
    i = found[names.KIND]
    if i >= 0:
        attribute = attributes[i]
        return _put_value(body, attribute[to.VALUE_KIND], attribute[to.AT], attribute[to.END], at, text)
    if row[to.BODY_KIND] == to.STRING:
        blank = _is_blank(body, row[to.BODY_AT], row[to.BODY_END])
        if blank <= 0:
            return at if blank == 0 else NOWHERE
    if origin[to.SCOPE_END] - origin[to.SCOPE_AT] > MAX_NAME:
        return NOWHERE
    if origin[to.SCOPE_END] > origin[to.SCOPE_AT]:
        at = _put(body, origin[to.SCOPE_AT], origin[to.SCOPE_END], at, text)
        at = _put_fixed(names.COLON, at, text)
    if row[to.TEXT_END] == row[to.TEXT_AT]:
        return _put_fixed(names.LOG, at, text)
    end = _put(body, row[to.TEXT_AT], row[to.TEXT_END], at, text)
    for i in range(at, end):
        if text[i] >= 0x80:
            return NOWHERE
        if 0x41 <= text[i] <= 0x5A:
            text[i] += 32
    return end


@jit
def _span_kind(body: Any, row: Any, found: Any, attributes: Any, tape: Any, at: Any, text: Any) -> Any:
    """As ``_log_kind``, of a span. The span's name is dropped where it says no more than the kind."""
    start = at
    name, name_end = row[to.NAME_AT], row[to.NAME_END]
    route = found[names.ROUTE]
    if route < 0:
        end = _put(body, name, name_end, start, text)
    else:
        end = start
        method = found[names.METHOD]
        if method >= 0:
            attribute = attributes[method]
            end = _put_value(body, attribute[to.VALUE_KIND], attribute[to.AT], attribute[to.END], end, text)
            end = _put_fixed(names.SPACE, end, text)
        attribute = attributes[route]
        end = _put_value(body, attribute[to.VALUE_KIND], attribute[to.AT], attribute[to.END], end, text)
        if end < 0:
            return end
        first, last = text[start], text[end - 1]
        if not (0x20 < first < 0x7F and 0x20 < last < 0x7F):
            return NOWHERE  # there may be white space to take off
        same = 0
        while same < min(end - start, name_end - name) and text[start + same] == body[name + same]:
            same += 1
        if same < end - start or same < name_end - name:
            return end if found[names.NAME] < 0 else NOWHERE
    tape[row[to.WORDS_END]] = to.SKIP
    tape[row[to.WORDS_END] + 1] = to.SKIP
    return end


@kernel(IN_U1, I8, WALK_TYPE, array(I8, 2, readonly=True), INTERNED_TYPE, array(I4, 2), array(I8))
def intern_names(body: Any, is_span: Any, walk: Any, found: Any, interned: Any, codes: Any, out: Any) -> None:
    """The names of every record.

    Shapes: body (m,); walk and interned as in ``otlp_layout``, with zeros in interned.meta and places; found (n, USES)
        as ``read_attributes`` leaves it; codes (6, n): for each of TEXT_COLUMNS the number of the name in order of first
        appearance; out (1,): how it ended (if interned.meta says NO_ROOM, with nothing decided).
    Units: none.
    Cost: about 200 ns a record.
    Source: none; multiply and xorshift hashing, with a bound on probes in place of a key.
    Difference: takes the plain case only.
    """
    out[0] = to.NOT_PLAIN
    attributes, tape = walk.attributes, walk.tape
    meta, places, entries, text = interned.meta, interned.places, interned.entries, interned.text
    for scope in range(walk.state[to.SCOPES]):
        walk.origins[scope, to.SOURCE_CODE], walk.origins[scope, to.TARGET_CODE] = -1, -1
    for r in range(walk.state[to.RECORDS]):
        row, chosen = walk.records[r], found[r]
        origin = walk.origins[row[to.ORIGIN]]
        if is_span:
            end = _span_kind(body, row, chosen, attributes, tape, meta[to.TEXT_USED], text)
        else:
            end = _log_kind(body, row, origin, chosen, attributes, meta[to.TEXT_USED], text)
        if end == NOWHERE:
            return
        codes[names.KIND, r] = _code(names.KIND, end, meta, places, entries, text)
        if origin[to.SOURCE_CODE] < 0:
            origin[to.SOURCE_CODE] = _name(
                body, origin[to.SOURCE_ATTRIBUTE], names.SOURCE, attributes, meta, places, entries, text
            )
        codes[names.SOURCE, r] = origin[to.SOURCE_CODE]
        for column in (names.ACTOR, names.ADDRESS, names.SESSION):
            codes[column, r] = _name(body, chosen[column], column, attributes, meta, places, entries, text)
        target = chosen[names.TARGET]
        if target < 0 and origin[to.TARGET_ATTRIBUTE] < 0:
            target = chosen[names.PATH]
        if target < 0 and origin[to.TARGET_ATTRIBUTE] >= 0:
            if origin[to.TARGET_CODE] < 0:
                origin[to.TARGET_CODE] = _name(
                    body, origin[to.TARGET_ATTRIBUTE], names.TARGET, attributes, meta, places, entries, text
                )
            codes[names.TARGET, r] = origin[to.TARGET_CODE]
        else:
            codes[names.TARGET, r] = _name(
                body, target, names.TARGET, attributes, meta, places, entries, text
            )
        for column in range(codes.shape[0]):
            if codes[column, r] < 0:
                return
    out[0] = to.PLAIN
