"""Numbers and times as JSON writes them: the forms that can be read without Python, exactly as Python reads them.

Owns which forms those are. Anything else is told apart, never guessed.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from guardian.decode import json_layout as on
from guardian.decode.columns import EARLIEST
from scoring.compilation import inlined, jit

_LONGEST_NUMBER: Final = 256
_EARLIEST_S: Final = EARLIEST // 10**9
_MOST_EXACT: Final = 2**53
_ZULU: Final = tuple(b"Zz")
_BEFORE_CLOCK: Final = tuple(b"Tt ")


@jit
def number(octets: Any, at: Any) -> Any:
    """The end of a number (−1 = none that is taken here) and its type.

    DECIMAL has no exponent, at most 15 digits that count, no zeros to spare and a magnitude from 1e-4 on (or zero): so
    it is the shortest text of its float, which is what msgspec writes.
    """
    start = at
    if octets[at] == on.MINUS:
        at += 1
    first = at
    zero = octets[at] == on.ZERO
    while on.ZERO <= octets[at] <= on.NINE:
        at += 1
    whole = at - first
    if whole == 0 or (zero and whole > 1):
        return -1, on.INTEGER
    c = octets[at]
    if c not in (on.POINT, on.LETTER_E, on.CAPITAL_E):
        if at - start > _LONGEST_NUMBER:
            return -1, on.INTEGER
        return at, on.DOUBTFUL if zero and first > start else on.INTEGER
    kind = on.DOUBTFUL
    if c == on.POINT:
        at += 1
        point = at
        while zero and octets[at] == on.ZERO:
            at += 1
        zeros = at - point
        while on.ZERO <= octets[at] <= on.NINE:
            at += 1
        places = at - point
        if places == 0:
            return -1, kind
        counted = places - zeros if zero else places + whole
        spare = octets[at - 1] == on.ZERO and places > 1
        if counted <= 15 and not spare and (zeros <= 3 or places == zeros):
            kind = on.DECIMAL
        c = octets[at]
    if c in (on.LETTER_E, on.CAPITAL_E):
        kind = on.DOUBTFUL
        at += 1
        if octets[at] in (on.PLUS, on.MINUS):
            at += 1
        point = at
        while on.ZERO <= octets[at] <= on.NINE:
            at += 1
        if at == point:
            return -1, kind
    if at - start > _LONGEST_NUMBER:
        return -1, kind
    return at, kind


@jit
def decimal(octets: Any, at: Any, end: Any) -> Any:
    r"""A plain decimal as ``(kind, whole number of its digits, places after the point)``.

    kind 0: not plain; 1: an integer; 2: a fraction. Plain is ``-?[0-9]+`` or ``-?[0-9]+\.[0-9]+`` that fits int64
    without its point. The sign is that of the whole number; a negative zero is not plain.
    """
    negative = octets[at] == on.MINUS and at < end
    if negative:
        at += 1
    digits, places, point = np.int64(0), np.int64(0), np.int64(-1)
    if end - at > 20 or at == end:
        return 0, digits, places
    start = at
    while at < end:
        c = octets[at]
        if on.ZERO <= c <= on.NINE:
            digits = digits * 10 + (np.int64(c) - 48)
        elif c == on.POINT and point < 0 and at > start:
            point = np.int64(at)
        else:
            return 0, digits, places
        at += 1
    count = end - start - (point >= 0)
    if (negative and digits == 0) or point == end - 1 or count > 19 or (count == 19 and octets[start] > 56):
        return 0, digits, places
    if point >= 0:
        places = end - 1 - point
    return 1 if point < 0 else 2, -digits if negative else digits, places


@jit
def fraction(digits: Any, places: Any) -> Any:
    """``digits / 10**places`` as Python's float() reads it, NaN = not certain.

    Source: W. D. Clinger 1990, How to read floating point numbers accurately: one division of two exact floats.
    """
    if places > 0 and (digits > _MOST_EXACT or digits < -_MOST_EXACT):
        return np.nan
    scale = 1.0
    for _ in range(places):
        scale *= 10.0
    return np.float64(digits) / scale


@jit
def number_time(kind: Any, digits: Any, value: Any, unit: Any, latest: Any) -> Any:
    """Nanoseconds since 1970 of a number (kind 1: integer ``digits``, 2: float ``value``) in a unit, −1 = no usable time.

    As ``times.number_ns``: integers are exact, fractions rounded to whole microseconds.
    """
    if kind == 1:
        if digits < 0 or digits > latest // unit:
            return np.int64(-1)
        ns = digits * unit
    else:
        if not (value >= 0.0 and value <= np.float64(latest) / np.float64(unit) + 1.0):
            return np.int64(-1)
        if unit < 1000:
            ns = np.int64(np.rint(value)) * unit
        else:
            whole = np.floor(value)
            ns = np.int64(whole) * unit + np.int64(np.rint((value - whole) * np.float64(unit // 1000))) * 1000
    return ns if EARLIEST <= ns <= latest else np.int64(-1)


@inlined
def _pair(octets: Any, at: Any) -> Any:
    """The number that two digits say, negative where they are not."""
    high, low = np.int64(octets[at]) - 48, np.int64(octets[at + 1]) - 48
    if high < 0 or high > 9 or low < 0 or low > 9:
        return np.int64(-1)
    return high * 10 + low


@jit
def iso_time(octets: Any, at: Any, end: Any, latest: Any) -> Any:
    """Nanoseconds since 1970 of an ISO 8601 text, −1 = none that can be used; as ``times.iso_ns``.

    Days by H. Hinnant, chrono-compatible low-level date algorithms, ``days_from_civil``.
    """
    bad = np.int64(-1)
    size = end - at
    if size < 10 or size > 35 or octets[at + 4] != on.MINUS or octets[at + 7] != on.MINUS:
        return bad
    century, year, month, day = (
        _pair(octets, at),
        _pair(octets, at + 2),
        _pair(octets, at + 5),
        _pair(octets, at + 8),
    )
    if century < 19 or year < 0 or month < 1 or month > 12 or day < 1:
        return bad
    year += century * 100
    leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    longest = 30 + (month + (month >> 3)) % 2
    if month == 2:
        longest = 29 if leap else 28
    if day > longest:
        return bad
    shifted = year - 1 if month <= 2 else year
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    seconds = (era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468) * 86_400
    part = np.int64(0)
    i = at + 10
    if i < end:
        if size < 16 or octets[i] not in _BEFORE_CLOCK or octets[i + 3] != on.COLON:
            return bad
        hour, minute = _pair(octets, i + 1), _pair(octets, i + 4)
        if hour < 0 or hour > 23 or minute < 0 or minute > 59:
            return bad
        seconds += hour * 3600 + minute * 60
        i += 6
        if i < end and octets[i] == on.COLON:
            second = _pair(octets, i + 1) if i + 3 <= end else bad
            if second < 0 or second > 60:
                return bad
            seconds += second
            i += 3
            if i < end and octets[i] in (on.POINT, on.COMMA):
                i += 1
                places = 0
                while i < end and places < 9 and on.ZERO <= octets[i] <= on.NINE:
                    part = part * 10 + (np.int64(octets[i]) - 48)
                    places += 1
                    i += 1
                if places == 0:
                    return bad
                for _ in range(9 - places):
                    part *= 10
        rest = end - i
        sign = octets[i]
        if rest == 1 and sign in _ZULU:
            i = end
        elif rest in (3, 5, 6) and sign in (on.PLUS, on.MINUS):
            hour, minute = _pair(octets, i + 1), np.int64(0)
            if rest == 6 and octets[i + 3] != on.COLON:
                return bad
            if rest > 3:
                minute = _pair(octets, end - 2)
            if hour < 0 or hour > 23 or minute < 0 or minute > 59:
                return bad
            offset = hour * 3600 + minute * 60
            seconds += offset if sign == on.MINUS else -offset
            i = end
        if i != end:
            return bad
    if seconds < _EARLIEST_S or seconds > latest // 1_000_000_000:
        return bad
    ns = seconds * 1_000_000_000 + part
    return ns if ns <= latest else bad
