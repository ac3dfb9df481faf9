"""The loop that takes members out of ``attrs``: only those that some rule reads, each distinct text once.

Owns how a member's place (``a.b.c``) is recognised and its text unescaped. Does not own which members a field may stand in
(``guardian.sigma.fields``). Reads what is not JSON without harm: such an event has no members.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.compilation import I8, IN_I4, IN_U1, U8, array, jit, kernel, load_word, named, store_word, types

DEPTH: Final = 48
"""Objects and lists inside each other that are looked into; what is deeper is passed over."""
BASIS: Final = np.uint64(0xCBF29CE484222325)
_PRIME: Final = np.uint64(0x100000001B3)
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_PROBES: Final = 16
_ONES: Final = np.uint64(0x0101010101010101)
_HIGHS: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_SLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_NONE: Final = np.uint64(0)
_OBJECT, _LIST = 0, 1
VALUES, RECORDS, OCTETS = range(3)
"""Places in ``Members.counts``."""


class Paths(NamedTuple):
    """Where fields are found: the hash of a member's place → fields, each with a rank; the lowest rank counts."""

    key: NDArray[np.uint64]
    """Open addressing, 0 = free."""
    bucket: NDArray[np.int32]
    at: NDArray[np.int32]
    """(buckets + 1,)"""
    field: NDArray[np.int32]
    rank: NDArray[np.int32]


class Members(NamedTuple):
    """Room for what is found."""

    counts: NDArray[np.int64]
    key: NDArray[np.uint64]
    """Open addressing over the distinct values; 0 = free."""
    slot: NDArray[np.int32]
    field: NDArray[np.int32]
    """(values,)"""
    end: NDArray[np.int32]
    """(values + 1,): where each text ends in ``octets``; the first is 0."""
    octets: NDArray[np.uint8]
    row: NDArray[np.int32]
    """(records,)"""
    value: NDArray[np.int32]
    rank: NDArray[np.int32]
    seen: NDArray[np.int64]
    """(fields,): last row in which the field was found …"""
    best: NDArray[np.int32]
    """… and the lowest rank there."""


PATHS: Final[Any] = named(Paths, array(U8), *[array(types.int32)] * 4)
MEMBERS: Final[Any] = named(
    Members,
    array(I8), array(U8), array(types.int32), array(types.int32), array(types.int32), array(types.uint8),
    array(types.int32), array(types.int32), array(types.int32), array(I8), array(types.int32),
)  # fmt: skip


@jit
def _step(found: Any, octet: Any) -> Any:
    return (found ^ np.uint64(octet)) * _PRIME


@jit
def _hex(data: Any, at: Any) -> Any:
    unit = np.int64(0)
    for k in range(4):
        c = np.int64(data[at + k])
        if 48 <= c <= 57:
            c -= 48
        elif 65 <= c <= 70:
            c -= 55
        elif 97 <= c <= 102:
            c -= 87
        else:
            return np.int64(-1)
        unit = unit * 16 + c
    return unit


@jit
def _put(code: Any, octets: Any, to: Any) -> Any:
    """Write a code point as UTF-8; half of a surrogate pair becomes U+FFFD."""
    if 0xD800 <= code <= 0xDFFF:
        code = np.int64(0xFFFD)
    if code < 0x80:
        octets[to] = code
        return to + 1
    if code < 0x800:
        octets[to] = 0xC0 | (code >> 6)
        octets[to + 1] = 0x80 | (code & 63)
        return to + 2
    if code < 0x10000:
        octets[to] = 0xE0 | (code >> 12)
        octets[to + 1] = 0x80 | ((code >> 6) & 63)
        octets[to + 2] = 0x80 | (code & 63)
        return to + 3
    octets[to] = 0xF0 | (code >> 18)
    octets[to + 1] = 0x80 | ((code >> 12) & 63)
    octets[to + 2] = 0x80 | ((code >> 6) & 63)
    octets[to + 3] = 0x80 | (code & 63)
    return to + 4


@jit
def _unescaped(data: Any, at: Any, end: Any, octets: Any, to: Any) -> Any:
    """Copy the inside of a JSON string; the place after it. Never longer than it was."""
    while at < end:
        c = data[at]
        if c != 92 or at + 1 >= end:
            octets[to] = c
            to += 1
            at += 1
            continue
        c = data[at + 1]
        at += 2
        if c == 117 and at + 4 <= end:
            code = _hex(data, at)
            if code < 0:
                continue
            at += 4
            if 0xD800 <= code < 0xDC00 and at + 6 <= end and data[at] == 92 and data[at + 1] == 117:
                low = _hex(data, at + 2)
                if 0xDC00 <= low <= 0xDFFF:
                    code = np.int64(0x10000) + ((code - 0xD800) << 10) + (low - 0xDC00)
                    at += 6
            to = _put(code, octets, to)
            continue
        if c == 110:
            c = np.uint8(10)
        elif c == 116:
            c = np.uint8(9)
        elif c == 114:
            c = np.uint8(13)
        elif c == 98:
            c = np.uint8(8)
        elif c == 102:
            c = np.uint8(12)
        octets[to] = c
        to += 1
    return to


@jit
def _string_end(data: Any, at: Any, end: Any) -> Any:
    """Where the string ends whose inside begins at ``at`` (−1 = nowhere), and whether it has escapes."""
    escaped = False
    while at < end:
        while at + 8 <= end:
            word = load_word(data, at)
            quote, slash = word ^ _QUOTES, word ^ _SLASHES
            if (((quote - _ONES) & ~quote) | ((slash - _ONES) & ~slash)) & _HIGHS != _NONE:
                break
            at += 8
        if at >= end:
            break
        c = data[at]
        if c == 34:
            return at, escaped
        if c == 92:
            escaped = True
            at += 1
        at += 1
    return np.int64(-1), escaped


@jit
def _intern(field: Any, at: Any, end: Any, key0: Any, members: Any) -> Any:
    """The number of the text at the end of ``octets`` under a field; it stays there only if it is new.

    Keys that collide on purpose end in texts that are kept twice, which costs time and changes nothing.
    """
    octets = members.octets
    key = (np.uint64(field + 1) * _MIX) ^ key0 ^ np.uint64(end - at)
    place = at
    while place + 8 <= end:
        key = (key ^ load_word(octets, place)) * _MIX
        key ^= key >> np.uint64(32)
        place += 8
    if place < end:
        tail = (np.uint64(1) << np.uint64(8 * (end - place))) - np.uint64(1)
        key = (key ^ (load_word(octets, place) & tail)) * _MIX
    key ^= key >> np.uint64(29)
    key *= _MIX
    key |= np.uint64(1)
    mask = members.key.shape[0] - 1
    place = np.int64((key >> np.uint64(20)) & np.uint64(mask))
    size = end - at
    for _ in range(_PROBES):
        if members.key[place] == 0:
            break
        if members.key[place] == key:
            number = np.int64(members.slot[place])
            start = np.int64(members.end[number])
            if members.field[number] == field and np.int64(members.end[number + 1]) - start == size:
                same = np.int64(0)
                while same + 8 <= size and load_word(octets, start + same) == load_word(octets, at + same):
                    same += 8
                while same < size and octets[start + same] == octets[at + same]:
                    same += 1
                if same == size:
                    return number
        place = (place + 1) & mask
    number = members.counts[VALUES]
    members.counts[VALUES] += 1
    members.field[number] = field
    members.end[number + 1] = end
    members.counts[OCTETS] = end
    if members.key[place] == 0:
        members.key[place] = key
        members.slot[place] = number
    return number


@jit
def _record(row: Any, field: Any, rank: Any, number: Any, members: Any) -> None:
    if members.seen[field] != row or members.best[field] > rank:
        members.seen[field] = row
        members.best[field] = rank
    count = members.counts[RECORDS]
    members.counts[RECORDS] += 1
    members.row[count] = row
    members.value[count] = number
    members.rank[count] = rank


@jit
def _found(
    data: Any, at: Any, end: Any, path: Any, escaped: Any, live: Any, row: Any, any_field: Any, key0: Any,
    paths: Any, members: Any,
) -> None:  # fmt: skip
    """Note a scalar under every field whose place it stands in."""
    if any_field >= 0:
        start = members.counts[OCTETS]
        stop = _copied(data, at, end, escaped, members.octets, start)
        _record(row, any_field, 0, _intern(any_field, start, stop, key0, members), members)
    if not live:
        return
    mask = paths.key.shape[0] - 1
    place = np.int64((path >> np.uint64(17)) & np.uint64(mask))
    while paths.key[place] != 0:
        if paths.key[place] == path:
            bucket = np.int64(paths.bucket[place])
            for target in range(paths.at[bucket], paths.at[bucket + 1]):
                field = np.int64(paths.field[target])
                rank = np.int64(paths.rank[target])
                if members.seen[field] == row and members.best[field] < rank:
                    continue
                start = members.counts[OCTETS]
                stop = _copied(data, at, end, escaped, members.octets, start)
                _record(row, field, rank, _intern(field, start, stop, key0, members), members)
            return
        place = (place + 1) & mask


@jit
def _copied(data: Any, at: Any, end: Any, escaped: Any, octets: Any, to: Any) -> Any:
    if escaped:
        return _unescaped(data, at, end, octets, to)
    while at + 8 <= end:
        store_word(octets, to, load_word(data, at))
        at += 8
        to += 8
    while at < end:
        octets[to] = data[at]
        at += 1
        to += 1
    return to


@jit
def _skipped(data: Any, at: Any, end: Any) -> Any:
    """The place after the object or list that begins at ``at``; −1 = it does not end."""
    inside = np.int64(0)
    while at < end:
        c = data[at]
        if c == 34:
            at, _ = _string_end(data, at + 1, end)
            if at < 0:
                return np.int64(-1)
        elif c in (123, 91):
            inside += 1
        elif c in (125, 93):
            inside -= 1
            if inside == 0:
                return at + 1
        at += 1
    return np.int64(-1)


@jit
def _walk(
    data: Any, at: Any, end: Any, row: Any, any_field: Any, key0: Any, paths: Any, members: Any,
    kinds: Any, hashes: Any, lives: Any,
) -> Any:  # fmt: skip
    """Read one object; whether it is one."""
    while at < end and data[at] <= 32:
        at += 1
    if at >= end or data[at] != 123:
        return False
    depth = np.int64(0)
    kinds[0], hashes[0], lives[0] = _OBJECT, BASIS, 1
    at += 1
    while at < end:
        c = data[at]
        if c <= 32 or c == 44:
            at += 1
            continue
        if c in (125, 93):
            if (c == 93) != (kinds[depth] == _LIST):
                return False
            at += 1
            depth -= 1
            if depth < 0:
                return True
            continue
        path = hashes[depth]
        live = lives[depth] != 0
        listed = kinds[depth] == _LIST
        if not listed:
            if c != 34:
                return False
            stop, escaped = _string_end(data, at + 1, end)
            if stop < 0:
                return False
            if live:
                if depth > 0:
                    path = _step(path, 46)
                for i in range(at + 1, stop):
                    path = _step(path, data[i])
            at = stop + 1
            while at < end and data[at] <= 32:
                at += 1
            if at >= end or data[at] != 58:
                return False
            at += 1
            while at < end and data[at] <= 32:
                at += 1
            if at >= end:
                return False
            c = data[at]
        if c in (123, 91):
            if depth + 1 == DEPTH:
                at = _skipped(data, at, end)
                if at < 0:
                    return False
                continue
            depth += 1
            kinds[depth] = _OBJECT if c == 123 else _LIST
            hashes[depth] = path
            # An object in a list is none of the record's own places.
            lives[depth] = 1 if live and not (listed and c == 123) else 0
            at += 1
        elif c == 34:
            stop, escaped = _string_end(data, at + 1, end)
            if stop < 0:
                return False
            _found(data, at + 1, stop, path, escaped, live, row, any_field, key0, paths, members)
            at = stop + 1
        else:
            stop = at
            while stop < end and data[stop] > 32 and data[stop] not in (44, 125, 93):
                stop += 1
            if stop == at:
                return False
            if c != 110:  # null
                _found(data, at, stop, path, False, live, row, any_field, key0, paths, members)
            at = stop
    return False


@kernel(IN_I4, IN_U1, I8, U8, PATHS, array(types.int8), array(U8), array(types.int8), MEMBERS)
def find_members(
    offsets: Any, data: Any, any_field: Any, key0: Any, paths: Any, kinds: Any, hashes: Any, lives: Any,
    members: Any,
) -> None:  # fmt: skip
    """The members of ``attrs`` that fields are read from, by row, and their distinct texts.

    Shapes: offsets (n + 1,) into data, as in an Arrow string array; kinds, hashes, lives (DEPTH,); ``members.octets`` at
        least as long as the data times the fields of one place, ``members.row`` half as long, ``members.end[0]`` 0.
    Units: ``any_field`` is the field that takes every scalar, −1 = none.
    Cost: about 1.5 ns an octet of attrs.
    Source: RFC 8259; places are hashed by FNV-1a (Fowler, Noll, Vo) as their keys are read.
    Difference: lenient; what is no JSON object gives no members. An unkeyed hash of a place may be made to collide, which
        names a member like another: whoever writes the event may do that anyway.
    """
    for row in range(offsets.shape[0] - 1):
        first = members.counts[RECORDS]
        whole = _walk(
            data, np.int64(offsets[row]), np.int64(offsets[row + 1]), row, any_field, key0, paths, members,
            kinds, hashes, lives,
        )  # fmt: skip
        last = members.counts[RECORDS]
        kept = first
        if whole:
            for record in range(first, last):
                field = np.int64(members.field[members.value[record]])
                if members.rank[record] == members.best[field]:
                    members.row[kept] = members.row[record]
                    members.value[kept] = members.value[record]
                    kept += 1
        members.counts[RECORDS] = kept
