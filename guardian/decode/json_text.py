"""The smallest parts of the JSON scanner: strings, escapes and UTF-8, eight octets at a time.

Owns how text is checked, read and written again. Every function may read, and those that write may write, up to eight
octets past what they were asked for; all stop at a line feed. Called by the loops of other files of this package, which
is safe with numba's cache because it asks all of them (``scoring.compilation``).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from guardian.decode import json_layout as on
from scoring.compilation import inlined, jit, load_word, store_word, zeros_below

ONES: Final = np.uint64(0x0101010101010101)
HIGHS: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_SLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES: Final = np.uint64(0x2020202020202020)
FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)

_SHORT: Final = tuple(b'"\\bfnrt')
"""What may stand after a backslash as msgspec writes it."""

ESCAPES, REWRITTEN = 1, 2
"""What ``string`` finds: escapes; some that msgspec would write in another way."""


@jit
def hash_of(octets: Any, at: Any, size: Any) -> Any:
    """A hash of some bytes; they may be followed by any eight."""
    found = np.uint64(size) * FACTOR
    while size >= 8:
        found = (found ^ load_word(octets, at)) * FACTOR
        found ^= found >> np.uint64(32)
        at += 8
        size -= 8
    if size > 0:
        mask = (np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)
        found = (found ^ (load_word(octets, at) & mask)) * FACTOR
        found ^= found >> np.uint64(29)
    return found


@jit
def _code_unit(octets: Any, at: Any) -> Any:
    """The number that four hexadecimal digits say, −1 = they are not."""
    unit = np.int64(0)
    for k in range(4):
        c = np.int64(octets[at + k])
        if on.ZERO <= c <= on.NINE:
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
def _utf8(octets: Any, at: Any) -> Any:
    """Size of the UTF-8 sequence of a character past ASCII, 0 = there is none. Source: RFC 3629, section 4."""
    c = octets[at]
    low, high = 0x80, 0xBF
    if 0xC2 <= c <= 0xDF:
        size = 2
    elif 0xE0 <= c <= 0xEF:
        size = 3
        if c == 0xE0:
            low = 0xA0
        elif c == 0xED:
            high = 0x9F
    elif 0xF0 <= c <= 0xF4:
        size = 4
        if c == 0xF0:
            low = 0x90
        elif c == 0xF4:
            high = 0x8F
    else:
        return np.int64(0)
    for k in range(1, size):
        c = octets[at + k]
        if c < low or c > high:
            return np.int64(0)
        low, high = 0x80, 0xBF
    return np.int64(size)


@jit
def string(octets: Any, at: Any) -> Any:
    """The place of the closing quote (−1 = no string) and what is in between; ``at`` is after the opening one."""
    flags = 0
    while True:
        word = load_word(octets, at)
        quote = word ^ _QUOTES
        slash = word ^ _SLASHES
        # The lowest mark is right; those above it may be made up by a borrow.
        marks = (quote - ONES) & ~quote | (slash - ONES) & ~slash | (word - _SPACES) & ~word | word
        marks &= HIGHS
        if marks == np.uint64(0):
            at += 8
            continue
        at += zeros_below(marks) >> 3
        c = octets[at]
        if c == on.QUOTE:
            return at, flags
        if c == on.BACKSLASH:
            flags |= ESCAPES
            c = octets[at + 1]
            if c == on.LETTER_U:
                flags |= REWRITTEN
                unit = _code_unit(octets, at + 2)
                if unit < 0 or 0xDC00 <= unit < 0xE000:
                    return -1, flags
                at += 6
                if unit >= 0xD800 and unit < 0xDC00:
                    if octets[at] != on.BACKSLASH or octets[at + 1] != on.LETTER_U:
                        return -1, flags
                    unit = _code_unit(octets, at + 2)
                    if unit < 0xDC00 or unit > 0xDFFF:
                        return -1, flags
                    at += 6
            elif c in _SHORT:
                at += 2
            elif c == on.SLASH:
                flags |= REWRITTEN
                at += 2
            else:
                return -1, flags
        elif c >= 0x80:
            size = _utf8(octets, at)
            if size == 0:
                return -1, flags
            at += size
        else:
            return -1, flags


@inlined
def copy(out: Any, to: Any, octets: Any, at: Any, end: Any) -> Any:
    """Copy some bytes, eight at a time: up to seven past the end are written too. Returns the new end."""
    for k in range(0, end - at, 8):
        store_word(out, to + k, load_word(octets, at + k))
    return to + end - at


@inlined
def _until(octets: Any, at: Any, end: Any, out: Any, to: Any, quotes: Any) -> Any:
    """Copy up to the next backslash (or quote, with ``quotes``) or the end; the number of bytes copied."""
    start = at
    while at < end:
        word = load_word(octets, at)
        store_word(out, to + at - start, word)
        slash = word ^ _SLASHES
        marks = (slash - ONES) & ~slash
        if quotes:
            quote = word ^ _QUOTES
            marks |= (quote - ONES) & ~quote
        marks &= HIGHS
        if marks != np.uint64(0):
            at += zeros_below(marks) >> 3
            break
        at += 8
    return min(at, end) - start


@jit
def _escape(octets: Any, at: Any) -> Any:
    """The character of an escape, and the place after it; ``at`` is the backslash."""
    c = np.int64(octets[at + 1])
    if c == on.LETTER_U:
        unit = _code_unit(octets, at + 2)
        if unit < 0xD800 or unit > 0xDFFF:
            return unit, at + 6
        low = _code_unit(octets, at + 8)
        return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00), at + 12
    if c == 110:
        c = np.int64(10)
    elif c == 114:
        c = np.int64(13)
    elif c == 116:
        c = np.int64(9)
    elif c == 98:
        c = np.int64(8)
    elif c == 102:
        c = np.int64(12)
    return c, at + 2


@inlined
def _encode(out: Any, to: Any, c: Any) -> Any:
    """Write a character as UTF-8. Source: RFC 3629, section 3."""
    if c < 0x80:
        out[to] = c
        return to + 1
    if c < 0x800:
        out[to] = 0xC0 | (c >> 6)
        out[to + 1] = 0x80 | (c & 63)
        return to + 2
    if c < 0x10000:
        out[to] = 0xE0 | (c >> 12)
        out[to + 1] = 0x80 | ((c >> 6) & 63)
        out[to + 2] = 0x80 | (c & 63)
        return to + 3
    out[to] = 0xF0 | (c >> 18)
    out[to + 1] = 0x80 | ((c >> 12) & 63)
    out[to + 2] = 0x80 | ((c >> 6) & 63)
    out[to + 3] = 0x80 | (c & 63)
    return to + 4


@jit
def unescape(octets: Any, at: Any, end: Any, out: Any, to: Any) -> Any:
    """Write what a string with escapes says."""
    while at < end:
        size = _until(octets, at, end, out, to, False)
        at += size
        to += size
        if at < end:
            c, at = _escape(octets, at)
            to = _encode(out, to, c)
    return to


@jit
def rewrite(octets: Any, at: Any, end: Any, out: Any, to: Any) -> Any:
    """Write a JSON value as msgspec would: no spaces between tokens, escapes only where they must be, ``1e-5`` for ``1E-05``."""
    while at < end:
        c = octets[at]
        if c in on.SPACES:
            at += 1
            continue
        at += 1
        if (c in (on.LETTER_E, on.CAPITAL_E)) and on.ZERO <= octets[
            at - 2
        ] <= on.NINE:  # not those of true and false
            out[to] = on.LETTER_E
            to += 1
            if octets[at] == on.MINUS:
                out[to] = on.MINUS
                to += 1
            if octets[at] in (on.PLUS, on.MINUS):
                at += 1
            while octets[at] == on.ZERO and on.ZERO <= octets[at + 1] <= on.NINE:
                at += 1
            continue
        out[to] = c
        to += 1
        if c != on.QUOTE:
            continue
        while True:
            size = _until(octets, at, end, out, to, True)
            at += size
            to += size
            if octets[at] == on.QUOTE:
                out[to] = on.QUOTE
                at += 1
                to += 1
                break
            c, after = _escape(octets, at)
            if octets[at + 1] not in (on.LETTER_U, on.SLASH):
                to = copy(out, to, octets, at, after)
            elif c >= 32 and c not in (on.QUOTE, on.BACKSLASH):
                to = _encode(out, to, c)
            else:
                out[to] = on.BACKSLASH
                if c in (on.QUOTE, on.BACKSLASH):
                    out[to + 1] = c
                elif c == 10:
                    out[to + 1] = 110
                elif c == 13:
                    out[to + 1] = 114
                elif c == 9:
                    out[to + 1] = 116
                elif c == 8:
                    out[to + 1] = 98
                elif c == 12:
                    out[to + 1] = 102
                else:
                    out[to + 1] = on.LETTER_U
                    out[to + 2] = on.ZERO
                    out[to + 3] = on.ZERO
                    out[to + 4] = on.ZERO + (c >> 4)
                    out[to + 5] = on.ZERO + (c & 15) if c & 15 < 10 else 87 + (c & 15)
                    to += 4
                to += 2
            at = after
    return to
