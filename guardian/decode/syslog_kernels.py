"""The loops that take syslog messages apart: where each field stands, and when it happened.

Owns the grammar of RFC 5424, of RFC 3164 as it is really sent, and of the lines that daemons write to files. Does not
own who is meant in a message (``syslog_logins``) nor columns, time zones and names (``syslog``). ``tests/twins_syslog.py`` says the same in expressions.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from guardian.decode.syslog_frames import TEXT
from scoring.compilation import I8, IN_I4, IN_U1, array, jit, kernel, types

HOST, APP, PROC, MSGID, DATA, TIME, ACTOR, ADDRESS, PEER, MESSAGE = range(10)
"""Rows of ``starts`` and ``stops``: the fields of a message as places in the body; stop 0 = not there."""
FIELDS: Final = 10

MAX_TOKEN: Final = 255
"""Longest host, name or identifier; RFC 5424 allows 255 for a host and fewer for the others."""

MODE, RECEIVED, YEAR = range(3)
"""Places in ``options``; the year is that of RECEIVED."""

_MONTHS: Final = tuple(
    name[0] << 16 | name[1] << 8 | name[2]
    for name in (
        b"Jan",
        b"Feb",
        b"Mar",
        b"Apr",
        b"May",
        b"Jun",
        b"Jul",
        b"Aug",
        b"Sep",
        b"Oct",
        b"Nov",
        b"Dec",
    )
)
_SPACE, _COLON, _DASH, _DOT = 32, 58, 45, 46
_OPEN, _CLOSE, _BACKSLASH, _QUOTE, _EQUALS, _LESS, _GREATER = 91, 93, 92, 34, 61, 60, 62
_I4_2: Final = array(types.int32, 2)
_NO_TIME: Final = -1


@jit
def _digits(body: Any, at: Any, count: Any) -> Any:
    """The number that ``count`` digits write, or -1."""
    value: Any = 0
    for i in range(at, at + count):
        digit = np.int64(body[i]) - 48
        if digit < 0 or digit > 9:
            return -1
        value = value * 10 + digit
    return value


@jit
def _seconds(year: Any, month: Any, day: Any, hour: Any, minute: Any, second: Any) -> Any:
    """Seconds since 1970, or -1 if there is no such time or it lies before; second 60 is the next minute's first."""
    if month < 1 or month > 12 or day < 1 or hour < 0 or hour > 23:
        return _NO_TIME
    if minute < 0 or minute > 59 or second < 0 or second > 60 or year < 1970:
        return _NO_TIME
    last = 31 - (month == 4) - (month == 6) - (month == 9) - (month == 11)
    if month == 2:
        last = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    if day > last:
        return _NO_TIME
    shifted = year - (month <= 2)
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    return days * 86_400 + hour * 3_600 + minute * 60 + second


@jit
def _fraction(body: Any, at: Any, end: Any) -> Any:
    """(stop, nanoseconds) of ``.123`` or ``,123`` at ``at``; up to nine digits are read."""
    if at + 1 < end and (body[at] == _DOT or body[at] == 44) and 48 <= body[at + 1] <= 57:
        scale = 100_000_000
        value: Any = 0
        stop = at + 1
        while stop < end and stop <= at + 9 and 48 <= body[stop] <= 57:
            value += (np.int64(body[stop]) - 48) * scale
            scale //= 10
            stop += 1
        return stop, value
    return at, 0


@jit
def _clock(body: Any, at: Any) -> Any:
    """(hour, minute, second) of the eight bytes ``hh:mm:ss``; hour -1 if they are none."""
    if body[at + 2] != _COLON or body[at + 5] != _COLON:
        return -1, 0, 0
    return _digits(body, at, 2), _digits(body, at + 3, 2), _digits(body, at + 6, 2)


@jit
def _iso(body: Any, at: Any, end: Any) -> Any:
    """(stop, nanoseconds, is local) of an ISO 8601 time at ``at``; stop -1 if there is none."""
    if at + 19 > end or body[at + 4] != _DASH or body[at + 7] != _DASH:
        return -1, 0, 0
    if body[at + 10] != 84 and body[at + 10] != _SPACE:
        return -1, 0, 0
    hour, minute, second = _clock(body, at + 11)
    year, month, day = _digits(body, at, 4), _digits(body, at + 5, 2), _digits(body, at + 8, 2)
    seconds = _seconds(year, month, day, hour, minute, second)
    if seconds < 0:
        return -1, 0, 0
    stop, nanoseconds = _fraction(body, at + 19, end)
    local = 1
    if stop < end and body[stop] == 90:
        stop, local = stop + 1, 0
    elif stop + 5 <= end and (body[stop] == 43 or body[stop] == _DASH):
        colon = 1 if body[stop + 3] == _COLON else 0
        if stop + 5 + colon > end:
            return -1, 0, 0
        hour, minute = _digits(body, stop + 1, 2), _digits(body, stop + 3 + colon, 2)
        if hour < 0 or hour > 23 or minute < 0 or minute > 59:
            return -1, 0, 0
        offset = hour * 3_600 + minute * 60
        seconds += offset if body[stop] == _DASH else -offset
        stop, local = stop + 5 + colon, 0
    if seconds < 0 or seconds > 7_258_118_400:  # 2200
        return stop, 0, local
    return stop, seconds * 1_000_000_000 + nanoseconds, local


@jit
def _traditional_time(body: Any, at: Any, end: Any, year: Any, received: Any) -> Any:
    """(stop, nanoseconds, is local) of ``Mmm dd [yyyy] hh:mm:ss[.fff]``; the year is the nearest one if not stated."""
    if at + 14 > end:
        return -1, 0, 0
    word = np.int64(body[at]) << 16 | np.int64(body[at + 1]) << 8 | np.int64(body[at + 2])
    month = 0
    for i in range(12):
        if word == _MONTHS[i]:
            month = i + 1
    if month == 0 or body[at + 3] != _SPACE:
        return -1, 0, 0
    at += 4
    if body[at] == _SPACE:
        at += 1
    width = 2 if 48 <= body[at + 1] <= 57 else 1
    day = _digits(body, at, width)
    at += width
    if day < 0 or at + 9 > end or body[at] != _SPACE:
        return -1, 0, 0
    at += 1
    stated = 0
    if at + 13 <= end and body[at + 4] == _SPACE and _digits(body, at, 4) > 0:
        stated = _digits(body, at, 4)
        at += 5
    hour, minute, second = _clock(body, at)
    best = _NO_TIME
    if stated > 0:
        best = _seconds(stated, month, day, hour, minute, second)
    else:
        now = received // 1_000_000_000
        for guess in range(year - 1, year + 2):
            seconds = _seconds(guess, month, day, hour, minute, second)
            if seconds >= 0 and (best < 0 or abs(seconds - now) < abs(best - now)):
                best = seconds
    if best < 0:
        return -1, 0, 0
    stop, nanoseconds = _fraction(body, at + 8, end)
    if best > 7_258_118_400:  # 2200
        return stop, 0, 1
    return stop, best * 1_000_000_000 + nanoseconds, 1


@jit
def _any_time(body: Any, at: Any, end: Any, year: Any, received: Any) -> Any:
    """A time in either form; ``*`` or ``.`` before it (a clock not synchronised, as routers say) is passed over."""
    if at < end and (body[at] == 42 or body[at] == _DOT):
        at += 1
    if at < end and 48 <= body[at] <= 57:
        return _iso(body, at, end)
    return _traditional_time(body, at, end, year, received)


@jit
def _token(body: Any, at: Any, end: Any) -> Any:
    """The stop of 1 to MAX_TOKEN printable bytes that a space follows, or -1."""
    stop = at
    limit = min(end, at + MAX_TOKEN + 1)
    while stop < limit and 32 < body[stop] < 127:
        stop += 1
    if stop == at or stop >= limit or body[stop] != _SPACE:
        return -1
    return stop


@jit
def _name(body: Any, at: Any, end: Any) -> Any:
    """The stop of an SD-NAME at ``at``."""
    while (
        at < end and 32 < body[at] < 127 and body[at] != _EQUALS and body[at] != _CLOSE and body[at] != _QUOTE
    ):
        at += 1
    return at


@jit
def _structured_data(body: Any, at: Any, end: Any) -> Any:
    """The stop of STRUCTURED-DATA at ``at`` (RFC 5424, 6.3), or -1."""
    if at >= end:
        return -1
    if body[at] == _DASH:
        return at + 1 if at + 1 == end or body[at + 1] == _SPACE else -1
    if body[at] != _OPEN:
        return -1
    while at < end and body[at] == _OPEN:
        start = at + 1
        at = _name(body, start, end)
        if at == start:
            return -1
        while at < end and body[at] == _SPACE:
            start = at + 1
            at = _name(body, start, end)
            if at == start or at + 1 >= end or body[at] != _EQUALS or body[at + 1] != _QUOTE:
                return -1
            at += 2
            while at < end and body[at] != _QUOTE:
                at += 2 if body[at] == _BACKSLASH else 1
            at += 1
        if at >= end or body[at] != _CLOSE:
            return -1
        at += 1
    return at if at == end or body[at] == _SPACE else -1


@jit
def _put(starts: Any, stops: Any, which: Any, row: Any, start: Any, stop: Any) -> None:
    starts[which, row] = start
    stops[which, row] = stop


@jit
def _put_token(body: Any, starts: Any, stops: Any, which: Any, row: Any, start: Any, stop: Any) -> None:
    """A field of the header, unless it is the NILVALUE."""
    if stop - start != 1 or body[start] != _DASH:
        _put(starts, stops, which, row, start, stop)


@jit
def _new_form(body: Any, at: Any, end: Any, row: Any, starts: Any, stops: Any, ts: Any, local: Any) -> Any:
    """RFC 5424 behind the priority. Writes nothing and says 0 unless the whole header is well-formed."""
    version = _token(body, at, end)
    if version < 0 or version - at > 3 or body[at] == 48 or _digits(body, at, version - at) < 1:
        return 0
    time = version + 1
    after, ns, zoneless = _iso(body, time, end)
    nil = time + 1 < end and body[time] == _DASH and body[time + 1] == _SPACE
    if nil:
        after = time + 1
    elif after < 0 or after >= end or body[after] != _SPACE or body[time + 10] != 84:
        return 0
    host = _token(body, after + 1, end)
    if host < 0:
        return 0
    app = _token(body, host + 1, end)
    if app < 0:
        return 0
    proc = _token(body, app + 1, end)
    if proc < 0:
        return 0
    msgid = _token(body, proc + 1, end)
    if msgid < 0:
        return 0
    if not nil:
        ts[row] = ns
        local[row] = zoneless
        _put(starts, stops, TIME, row, time, after)
    _put_token(body, starts, stops, HOST, row, after + 1, host)
    _put_token(body, starts, stops, APP, row, host + 1, app)
    _put_token(body, starts, stops, PROC, row, app + 1, proc)
    _put_token(body, starts, stops, MSGID, row, proc + 1, msgid)
    data = _structured_data(body, msgid + 1, end)
    if data < 0:  # broken: all of it is message
        data = msgid
    else:
        _put_token(body, starts, stops, DATA, row, msgid + 1, data)
    _put(starts, stops, MESSAGE, row, min(data + 1, end), end)
    return 1


@jit
def _tagged(body: Any, at: Any, end: Any, row: Any, starts: Any, stops: Any) -> None:
    """``TAG[PID]: message`` or ``TAG: message`` or ``TAG[PID] message``, else all is message."""
    _put(starts, stops, MESSAGE, row, at, end)
    tag = at
    while tag < end and tag - at < 64:
        c = body[tag]
        plain = 48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122 or 45 <= c <= 47
        if not plain and c != 95 and c != 37 and c != 64 and c != 35 and c != 43 and c != 40 and c != 41:  # noqa: PLR1714
            break
        tag += 1
    if tag == at or tag >= end:
        return
    after, pid = tag, 0
    if body[tag] == _OPEN:
        pid = tag + 1
        while pid < end and pid - tag <= 128 and 32 < body[pid] < 127 and body[pid] != _CLOSE:
            pid += 1
        if pid >= end or body[pid] != _CLOSE:
            return
        after = pid + 1
    if after < end and body[after] == _COLON:
        after += 1
    elif pid == 0:
        return
    if after < end and body[after] != _SPACE:
        return
    _put(starts, stops, APP, row, at, tag)
    if pid > tag + 1:
        _put(starts, stops, PROC, row, tag + 1, pid)
    _put(starts, stops, MESSAGE, row, min(after + 1, end), end)


@jit
def _old_form(body: Any, at: Any, after: Any, end: Any, row: Any, starts: Any, stops: Any) -> Any:
    """RFC 3164 behind the priority, as it is really sent: each part may be missing. Says whether a time was there.

    ``after`` is where the time at ``at`` stops, -1 = there is none.
    """
    time = after
    hosted = after < 0 or after >= end or body[after] != _COLON
    if not hosted:
        after += 1
    timed = 0 <= after < end and body[after] == _SPACE
    if timed:
        _put(starts, stops, TIME, row, at, time)
        while after < end and body[after] == _SPACE:
            after += 1
        at = after
        host = _token(body, after, end)
        if hosted and host > 0 and body[host - 1] != _COLON:
            for i in range(after, host):
                if body[i] == _OPEN:
                    hosted = False
            if hosted:
                _put(starts, stops, HOST, row, after, host)
                at = host + 1
    _tagged(body, at, end, row, starts, stops)
    return timed


@kernel(
    *(IN_U1, IN_I4, IN_I4, array(I8, readonly=True)),
    *(_I4_2, _I4_2, array(I8), array(I8), array(types.int8)),
)
def parse(
    body: Any,
    begin: Any,
    end: Any,
    options: Any,
    starts: Any,
    stops: Any,
    ts: Any,
    priority: Any,
    local: Any,
) -> None:
    """The fields of each message.

    Shapes: body (b,); begin, end, ts, priority, local (n,); options (3,); starts, stops (FIELDS, n), zeros
        but for PEER.
    Units: ts in nanoseconds since 1970, as if UTC where ``local`` is 1, 0 if stated but past 2200, RECEIVED if not
        stated; priority 0 to 191, -1 = not stated; places in the body.
    Cost: about 150 ns a message of 150 bytes.
    Source: RFC 5424 section 6; RFC 3164 section 4.
    Difference: a header that is not well-formed is message, as RFC 3164 4.3.3 asks; STRUCTURED-DATA that is not, too.
        Priorities may be missing, as in files.
    """
    received, year = options[RECEIVED], options[YEAR]
    for row in range(len(begin)):
        at, stop = np.int64(begin[row]), np.int64(end[row])
        ts[row] = received
        priority[row] = -1
        local[row] = 0
        text = options[MODE] == TEXT
        if not text and at < stop and body[at] == _LESS:
            close = at + 1
            while close < stop and close - at <= 3 and 48 <= body[close] <= 57:
                close += 1
            if close > at + 1 and close < stop and body[close] == _GREATER:
                value = _digits(body, at + 1, close - at - 1)
                if value <= 191:
                    priority[row] = value
                    at = close + 1
        if priority[row] < 0 or _new_form(body, at, stop, row, starts, stops, ts, local) == 0:
            after, ns, zoneless = _any_time(body, at, stop, year, received)
            timed = False
            if not text:
                timed = _old_form(body, at, after, stop, row, starts, stops)
            elif after > 0 and (
                after == stop or body[after] <= _SPACE or body[after] == _COLON or body[after] == _CLOSE
            ):
                timed = True
                _put(starts, stops, TIME, row, at, after)
                at = after
                while at < stop and (body[at] <= _SPACE or body[at] == _COLON):
                    at += 1
            if text:
                _put(starts, stops, MESSAGE, row, at, stop)
            if timed:
                ts[row] = ns
                local[row] = zoneless
        if text:
            continue
        at = np.int64(starts[MESSAGE, row])
        if at + 3 <= stop and body[at] == 0xEF and body[at + 1] == 0xBB and body[at + 2] == 0xBF:
            at += 3
            starts[MESSAGE, row] = at
        if stops[HOST, row] == 0:
            _put(starts, stops, HOST, row, starts[PEER, row], stops[PEER, row])
