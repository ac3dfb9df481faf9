"""Distinct texts of a block, in order of first appearance, and ids in hexadecimal digits.

Owns the table of names: each is hashed where it was written, at the end of the arena, and compared octet for octet, so
that Python sees a name once a block. Part of the second pass of the JSON scanner (``json_rows``).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from guardian.decode import json_layout as on
from guardian.decode.json_layout import Ints, Octets, Words
from guardian.decode.json_text import FACTOR
from scoring.compilation import inlined, jit, load_word, named

_PROBES: Final = 64

COLUMN, PLACE, SIZE, CODE, MEANS = range(5)
"""Columns of the table of names: column, place and size in the arena, code, and whether the word means something
(−1 = not known yet)."""

LINE, ROW, BODY, ATTRS, ARENA, NAMES, ASKING = range(7)
"""Places in ``state``: next line; rows, octets and names written; whether a new word stops the pass (1), the pass has
stopped for one (2), or its line becomes RARE (0)."""


class Names(NamedTuple):
    """Distinct texts of all columns, in order of first appearance."""

    hashes: Words
    places: Ints
    entries: Ints
    counts: Ints
    arena: Octets


NAMES_TYPE: Final[Any] = named(Names, on.WORDS, on.INTS, on.TABLE, on.INTS, on.OCTETS)


@inlined
def intern(names: Any, column: Any, end: Any, state: Any) -> Any:
    """The entry of the text that stands at the end of the arena, new or known; −1 = RARE."""
    start = state[ARENA]
    size = end - start
    key = np.uint64(size + (column + 1) * 0x10001) * FACTOR
    for k in range(0, size, 8):
        word = load_word(names.arena, start + k)
        if size - k < 8:
            word &= (np.uint64(1) << np.uint64(8 * (size - k))) - np.uint64(1)
        key = (key ^ word) * FACTOR
        key ^= key >> np.uint64(32)
    mask = names.places.shape[0] - 1
    place = np.int64(key & np.uint64(mask))
    for _ in range(_PROBES):
        entry = names.places[place] - 1
        if entry < 0:
            entry = state[NAMES]
            if entry == names.entries.shape[0]:
                return np.int64(-1)
            names.places[place] = entry + 1
            names.hashes[place] = key
            names.entries[entry, COLUMN] = column
            names.entries[entry, PLACE] = start
            names.entries[entry, SIZE] = size
            names.entries[entry, CODE] = names.counts[column]
            names.entries[entry, MEANS] = -1
            names.counts[column] += 1
            state[NAMES] = entry + 1
            state[ARENA] = end
            return np.int64(entry)
        if names.hashes[place] == key and names.entries[entry, COLUMN] == column:
            known = names.entries[entry, PLACE]
            if names.entries[entry, SIZE] == size:
                same = 0
                while same < size and names.arena[known + same] == names.arena[start + same]:
                    same += 1
                if same == size:
                    return np.int64(entry)
        place = (place + 1) & mask
    return np.int64(-1)


@jit
def write_id(arena: Any, start: Any, end: Any, octets: Any, out: Any, to: Any) -> Any:
    """Write the octets of an id in hexadecimal digits (zeros when it is none); whether it is one. As ``draft.id_bytes``."""
    if end - start >= 2 and arena[start] == on.ZERO and arena[start + 1] == 120:
        start += 2
    digits, some = 0, False
    value = np.int64(0)
    for k in range(start, end):
        c = np.int64(arena[k])
        if c == on.MINUS:
            continue
        if on.ZERO <= c <= on.NINE:
            c -= 48
        elif 65 <= c <= 70:
            c -= 55
        elif 97 <= c <= 102:
            c -= 87
        else:
            digits = -1
            break
        value = (value << 4 | c) & 255
        if digits & 1 and digits < 2 * octets:
            out[to + (digits >> 1)] = value
            some = some or value != 0
        digits += 1
    if digits != 2 * octets:
        some = False
        for k in range(octets):
            out[to + k] = 0
    return some
