"""The loops that decide which rules match: all texts of all rules in one pass over the values, then rules by row.

Owns what a pattern means on bytes and how the code of a rule is run. Does not own that code (``guardian.sigma.program``).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.compilation import I8, IN_I4, U8, array, jit, kernel, load_word, named, types

MANY, ONE = 0xFF, 0xFE
"""Wildcards in the bytes of a pattern: octets that no UTF-8 text holds."""

CONTAINS, BEGINS, ENDS, WHOLE, CASED, MAYBE = range(6)
"""How an atom is decided where its gram is found: in place; at the start; at the end; by the whole pattern, on the text in
lower case or as it is; or not here (a regular expression: a hit means that it may match)."""

ACCEPT, REJECT = -1, -2
"""Where the code of a rule ends."""

FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_MASKS: Final = tuple(np.uint64((1 << 8 * size) - 1) for size in range(5))
_PAIR: Final = np.uint64(0xFFFF)
_SIX: Final = np.uint64(63)
_ONE_BIT: Final = np.uint64(1)
_NOTHING: Final = np.uint64(0)
PAD: Final = 8


class Patterns(NamedTuple):
    """What to look for."""

    lengths: NDArray[np.uint8]
    """(fields,): bit g is set where the field has grams of g octets (1…4); bit 0 where it has texts to equal."""
    pairs: NDArray[np.uint64]
    """For each field with grams, which two octets a gram may begin with, one bit a pair; a table of all pairs each …"""
    pairs_at: NDArray[np.int64]
    """(fields,): … that begins here."""
    key: NDArray[np.uint64]
    """Grams and whole texts; open addressing, 0 = free."""
    bucket: NDArray[np.int32]
    at: NDArray[np.int32]
    """(buckets + 1,)"""
    atom: NDArray[np.int32]
    offset: NDArray[np.int32]
    """Where in the literal of the atom its gram stands."""
    how: NDArray[np.int8]
    """(atoms,)"""
    text: NDArray[np.uint8]
    """Literals and patterns of all atoms."""
    text_at: NDArray[np.int32]
    """(atoms + 1,)"""
    always_at: NDArray[np.int32]
    """(fields + 1,): atoms of the field without a gram: wildcards alone, and expressions of which nothing is known."""
    always: NDArray[np.int32]


class Code(NamedTuple):
    """Rules as code: an atom, where to go if it holds, where if not."""

    atom: NDArray[np.int32]
    then: NDArray[np.int32]
    otherwise: NDArray[np.int32]
    entry: NDArray[np.int32]
    """(rules,): the first instruction."""
    trigger_at: NDArray[np.int32]
    """(atoms + 1,): the rules that are run where an atom holds."""
    trigger: NDArray[np.int32]
    every: NDArray[np.int64]
    """Rules that are run for every row. (Of another type than the rest: numba has one type more for tuples of one.)"""


PATTERNS: Final[Any] = named(
    Patterns,
    array(types.uint8), array(U8), array(I8), array(U8), array(types.int32), array(types.int32), array(types.int32),
    array(types.int32), array(types.int8), array(types.uint8), array(types.int32), array(types.int32),
    array(types.int32),
)  # fmt: skip
CODE: Final[Any] = named(Code, *[array(types.int32)] * 6, array(I8))


@jit
def gram_key(word: Any, size: Any, field: Any) -> Any:
    """The key of a gram of some octets (lowest first) under a field."""
    found = (word ^ (np.uint64(field + 1) << np.uint64(40)) ^ (np.uint64(size) << np.uint64(36))) * FACTOR
    return (found ^ (found >> np.uint64(31))) | np.uint64(1)


@jit
def text_key(data: Any, at: Any, end: Any, field: Any) -> Any:
    """The key of a whole text under a field."""
    found = (np.uint64(field + 1) * FACTOR) ^ np.uint64(end - at)
    while at + 8 <= end:
        found = (found ^ load_word(data, at)) * FACTOR
        found ^= found >> np.uint64(32)
        at += 8
    for i in range(at, end):
        found = (found ^ np.uint64(data[i])) * FACTOR
        found ^= found >> np.uint64(29)
    return found | np.uint64(1)


@jit
def _same(text: Any, at: Any, size: Any, data: Any, start: Any) -> Any:
    for i in range(size):  # noqa: SIM110  (numba has no generators here)
        if text[at + i] != data[start + i]:
            return False
    return True


@jit
def _fits(text: Any, at: Any, end: Any, data: Any, start: Any, stop: Any) -> Any:
    """Whether a pattern with wildcards fits a whole text: the last * takes as little as it can."""
    place, back, resume = start, np.int64(-1), start
    here = at
    while place < stop:
        octet = text[here] if here < end else np.uint8(0)
        if here < end and octet == MANY:
            back, resume = here, place
            here += 1
            continue
        if here < end and octet == ONE:
            place += 1
            while place < stop and (data[place] & 0xC0) == 0x80:  # the rest of one character
                place += 1
            here += 1
            continue
        if here < end and octet == data[place]:
            place += 1
            here += 1
            continue
        if back < 0:
            return False
        here = back + 1
        resume += 1
        place = resume
    while here < end and text[here] == MANY:
        here += 1
    return here == end


@kernel(
    IN_I4, IN_I4, array(types.uint8), IN_I4, array(types.uint8), PATTERNS, array(types.int32),
    array(I8), array(I8), array(types.int32),
)  # fmt: skip
def find_atoms(
    field: Any, low_at: Any, low: Any, own_at: Any, own: Any, patterns: Any, tried: Any, state: Any,
    hit_at: Any, hit: Any,
) -> None:  # fmt: skip
    """Which atoms hold on each value: grams of four octets or less name candidates, which are then compared in full.

    Shapes: field (n,); low_at, own_at (n + 1,) into low and own, the texts in lower case and as they are, each with PAD
        octets to spare; tried (atoms,) all −1 at first; state (2,) value to begin with, room for nothing else; hit_at
        (n + 1,); hit at least as long as there are atoms.
    Units: ``state[0]`` is the value to go on with once ``hit`` has been emptied; n when all is done. ``hit_at`` counts from
        the call's first value.
    Cost: about 1 ns an octet, and 5 ns a place where two octets begin a gram of the field.
    Source: gram prefilters as in Langdale 2017, Hyperscan's decomposition; wildcards by the last star as in Krauss 2008.
    Difference: the field is part of a gram's key; no vector instructions.
    """
    count = np.int64(0)
    value = state[0]
    mask = patterns.key.shape[0] - 1
    atoms = patterns.how.shape[0]
    while value < field.shape[0]:
        if count + atoms > hit.shape[0]:
            break
        named_field = np.int64(field[value])
        hit_at[value] = count
        at: Any = np.int64(0)
        lengths = patterns.lengths[named_field]
        start, stop = np.int64(low_at[value]), np.int64(low_at[value + 1])
        first, last = np.int64(own_at[value]), np.int64(own_at[value + 1])
        for each in range(patterns.always_at[named_field], patterns.always_at[named_field + 1]):
            atom = np.int64(patterns.always[each])
            begin, end = np.int64(patterns.text_at[atom]), np.int64(patterns.text_at[atom + 1])
            if patterns.how[atom] == MAYBE or _fits(patterns.text, begin, end, low, start, stop):
                hit[count] = atom
                count += 1
        if lengths & 1:
            key = text_key(low, start, stop, named_field)
            place = np.int64((key >> np.uint64(24)) & np.uint64(mask))
            while patterns.key[place] != 0:
                if patterns.key[place] == key:
                    bucket = np.int64(patterns.bucket[place])
                    for entry in range(patterns.at[bucket], patterns.at[bucket + 1]):
                        atom = np.int64(patterns.atom[entry])
                        at = np.int64(patterns.text_at[atom])
                        size = np.int64(patterns.text_at[atom + 1]) - at
                        if (
                            patterns.offset[entry] < 0
                            and size == stop - start
                            and _same(patterns.text, at, size, low, start)
                        ):
                            hit[count] = atom
                            count += 1
                    break
                place = (place + 1) & mask
        if lengths > 1:
            table = patterns.pairs_at[named_field]
            for at in range(start, stop):
                word = load_word(low, at)
                pair = word & _PAIR
                if (
                    patterns.pairs[table + np.int64(pair >> np.uint64(6))] >> (pair & _SIX) & _ONE_BIT
                    == _NOTHING
                ):
                    continue
                for gram in range(1, 5):
                    if not lengths & (1 << gram) or at + gram > stop:
                        continue
                    key = gram_key(word & _MASKS[gram], gram, named_field)
                    place = np.int64((key >> np.uint64(24)) & np.uint64(mask))
                    while patterns.key[place] != 0 and patterns.key[place] != key:
                        place = (place + 1) & mask
                    if patterns.key[place] == 0:
                        continue
                    bucket = np.int64(patterns.bucket[place])
                    for entry in range(patterns.at[bucket], patterns.at[bucket + 1]):
                        atom = np.int64(patterns.atom[entry])
                        offset = np.int64(patterns.offset[entry])
                        if tried[atom] == value or offset < 0:
                            continue
                        how = patterns.how[atom]
                        begin, end = np.int64(patterns.text_at[atom]), np.int64(patterns.text_at[atom + 1])
                        size = end - begin
                        spot_at = at - offset
                        if how == CONTAINS:
                            holds = (
                                spot_at >= start
                                and spot_at + size <= stop
                                and _same(patterns.text, begin, size, low, spot_at)
                            )
                        elif how == BEGINS:
                            holds = (
                                spot_at == start
                                and start + size <= stop
                                and _same(patterns.text, begin, size, low, start)
                            )
                        elif how == ENDS:
                            holds = (
                                spot_at >= start
                                and spot_at + size == stop
                                and _same(patterns.text, begin, size, low, spot_at)
                            )
                        elif how == WHOLE:
                            tried[atom] = value
                            holds = _fits(patterns.text, begin, end, low, start, stop)
                        elif how == CASED:
                            tried[atom] = value
                            holds = _fits(patterns.text, begin, end, own, first, last)
                        else:
                            holds = True
                        if holds:
                            tried[atom] = value
                            hit[count] = atom
                            count += 1
        value += 1
        hit_at[value] = count
    state[0] = value


@kernel(
    array(I8), IN_I4, array(I8), IN_I4, CODE, array(I8), array(I8), array(types.int32), array(I8),
    array(I8), array(types.int32),
)  # fmt: skip
def run_rules(
    at: Any, value: Any, hit_at: Any, hit: Any, code: Any, holds: Any, ran: Any, fired: Any, state: Any,
    rows: Any, rules: Any,
) -> None:  # fmt: skip
    """Which rules match each row: those that an atom of the row asks for are run.

    Shapes: at (n + 1,) into value; hit_at (values + 1,) into hit; holds, fired (atoms,) and ran (rules,), holds and ran all
        −1 at first; state (2,) row to begin with and matches written; rows, rules at least as long as there are rules.
    Units: ``state[0]`` is the row to go on with once the matches have been taken; n when all is done.
    Cost: about 3 ns an atom that holds and 5 ns a rule that is run.
    Source: short-circuit code for Boolean expressions, Aho and Ullman 1977, Principles of Compiler Design, 7.6.
    Difference: none.
    """
    count = np.int64(0)
    row = state[0]
    while row < at.shape[0] - 1:
        if count + code.entry.shape[0] > rows.shape[0]:
            break
        known = np.int64(0)
        for each in range(at[row], at[row + 1]):
            number = np.int64(value[each])
            for place in range(hit_at[number], hit_at[number + 1]):
                atom = np.int64(hit[place])
                if holds[atom] != row:
                    holds[atom] = row
                    fired[known] = atom
                    known += 1
        triggers = known
        for turn in range(-1, triggers):
            if turn < 0:
                begin, end = np.int64(0), np.int64(code.every.shape[0])
            else:
                begin = np.int64(code.trigger_at[fired[turn]])
                end = np.int64(code.trigger_at[fired[turn] + 1])
            for each in range(begin, end):
                rule = np.int64(code.every[each]) if turn < 0 else np.int64(code.trigger[each])
                if ran[rule] == row:
                    continue
                ran[rule] = row
                step = np.int64(code.entry[rule])
                while step >= 0:
                    step = np.int64(
                        code.then[step] if holds[code.atom[step]] == row else code.otherwise[step]
                    )
                if step == ACCEPT:
                    rows[count] = row
                    rules[count] = rule
                    count += 1
        row += 1
    state[0] = row
    state[1] = count
