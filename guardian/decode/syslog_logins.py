"""The loop that reads who, from where and how it ended, in messages about authentication.

Owns the phrases, which are ours: what sshd, sudo, su, login and PAM say. They make failed logins scorable without a rule
per program. Does not own the fields of a message (``syslog_kernels``). ``tests/twins_syslog.py`` says the same in
expressions.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from guardian.decode.syslog_kernels import ACTOR, ADDRESS, APP, MAX_TOKEN, MESSAGE
from scoring.compilation import I8, IN_I4, IN_U1, array, jit, kernel, types

PHRASES: Final = (
    *(b"Failed ", b"Accepted ", b"Invalid user ", b"authentication failure", b"session opened for user "),
    *(b" from ", b" for ", b"invalid user ", b" user=", b"rhost="),
    *(b"for user ", b"by user ", b"from user ", b"authenticating user "),
    *(b"sshd", b"sshd-session", b"sudo", b"su", b"login", b"systemd-logind"),
)
_FAILED, _ACCEPTED, _INVALID, _DENIED, _OPENED, _FROM, _FOR, _ALSO_INVALID, _USER_IS, _RHOST = range(10)
_OF_USER: Final = 10
"""The first of four phrases after which a user stands, as it does after ``invalid user``."""
_TAGS: Final = 14
"""The first of the tags whose messages are read for users and addresses where no facility is stated."""
PHRASE_BYTES: Final = np.frombuffer(b"".join(PHRASES), np.uint8)
PHRASE_ENDS: Final = np.cumsum([0, *map(len, PHRASES)], dtype=np.int32)

_UNKNOWN, _SUCCESS, _FAILURE = range(3)  # as guardian.events.Outcome
_SPACE, _COLON, _DOT = 32, 58, 46


@jit
def _put(starts: Any, stops: Any, which: Any, row: Any, start: Any, stop: Any) -> None:
    starts[which, row] = start
    stops[which, row] = stop


@jit
def _is_at(body: Any, at: Any, end: Any, which: Any, phrases: Any, ends: Any) -> Any:
    first = np.int64(ends[which])
    length = np.int64(ends[which + 1] - first)
    if at + length > end:
        return False
    for i in range(length):  # noqa: SIM110  (numba: no generator)
        if body[at + i] != phrases[first + i]:
            return False
    return True


@jit
def _find(body: Any, at: Any, end: Any, which: Any, phrases: Any, ends: Any) -> Any:
    """Where a phrase first begins, or -1."""
    for i in range(at, end):
        if body[i] == phrases[ends[which]] and _is_at(body, i, end, which, phrases, ends):
            return i
    return -1


@jit
def _address(body: Any, at: Any, end: Any) -> Any:
    """The stop of an IPv4 or IPv6 address at ``at``, or -1. A port behind an IPv4 address is left out."""
    dots, colons, stop = 0, 0, at
    while stop < end and stop - at < 46:
        c = body[stop]
        if c == _DOT:
            dots += 1
        elif c == _COLON:
            if dots == 3 and colons == 0:
                break
            colons += 1
        elif not (48 <= c <= 57 or 65 <= c <= 70 or 97 <= c <= 102):
            break
        stop += 1
    while stop > at and (body[stop - 1] == _DOT or (body[stop - 1] == _COLON and colons < 2)):
        if body[stop - 1] == _DOT:
            dots -= 1
        stop -= 1
    if stop < end and (48 <= body[stop] <= 57 or 65 <= body[stop] <= 90 or 97 <= body[stop] <= 122):
        return -1
    return stop if (dots == 3 or colons >= 2) and stop - at >= 2 else -1


@jit
def _word(body: Any, at: Any, end: Any) -> Any:
    """The stop of a word at ``at``: up to a space or one of ``( , ;``."""
    while at < end and body[at] > _SPACE and body[at] != 40 and body[at] != 44 and body[at] != 59:
        at += 1
    return at


@jit
def _came_from(body: Any, at: Any, end: Any, last: Any, phrases: Any, ends: Any) -> Any:
    """(place of `` from ``, stop of the address behind it), of the first or the last that an address follows."""
    place, stop = -1, -1
    while at >= 0 and (last or place < 0):
        at = _find(body, at, end, _FROM, phrases, ends)
        if at >= 0:
            after = _address(body, at + 6, end)
            if after > 0:
                place, stop = at, after
            at += 1
    return place, stop


@jit
def _who(body: Any, at: Any, end: Any, row: Any, phrases: Any, ends: Any, starts: Any, stops: Any) -> Any:
    """Who, from where and how it ended, of a message about authentication. Gives the outcome.

    A name is chosen by whoever tries to log in. Where one stands before the address, the last address counts and all
    before it is the name, so that the name ``x from 192.0.2.1`` accuses nobody else.
    """
    failed = _is_at(body, at, end, _FAILED, phrases, ends)
    accepted = _is_at(body, at, end, _ACCEPTED, phrases, ends)
    invalid = _is_at(body, at, end, _INVALID, phrases, ends)
    named_first = failed or accepted or invalid
    place, after = -1, -1
    rhost = -1 if named_first else _find(body, at, end, _RHOST, phrases, ends)
    if rhost < 0:
        place, after = _came_from(body, at, end, named_first, phrases, ends)
        if place >= 0:
            _put(starts, stops, ADDRESS, row, place + 6, after)
    user, stop = at + 13 if invalid else -1, -1
    for each in range(7):
        # Of a name before the address: `` for ``; else `` user=``, the four of _OF_USER, ``invalid user ``.
        if user < 0 and (each == 0) == named_first:
            which = (
                _FOR
                if each == 0
                else _USER_IS
                if each == 1
                else _ALSO_INVALID
                if each == 6
                else _OF_USER + each - 2
            )
            user = _find(body, at, end, which, phrases, ends)
            if user >= 0:
                user += np.int64(ends[which + 1] - ends[which])
    if named_first and not invalid and user >= 0 and _is_at(body, user, end, _ALSO_INVALID, phrases, ends):
        user += 13
    if user >= 0:
        stop = place if named_first and place >= 0 else _word(body, user, end)
    if rhost >= 0:
        after = _word(body, rhost + 6, end)
        if rhost + 6 < after <= rhost + 6 + MAX_TOKEN:
            _put(starts, stops, ADDRESS, row, rhost + 6, after)
    if stops[ADDRESS, row] == 0 and not named_first and user >= 0 and stop + 1 < end and body[stop] == _SPACE:
        after = _address(body, stop + 1, end)
        if after > 0:
            _put(starts, stops, ADDRESS, row, stop + 1, after)
    if 0 <= user < stop <= user + MAX_TOKEN:
        _put(starts, stops, ACTOR, row, user, stop)
    if accepted:
        return _SUCCESS
    if failed or invalid:
        return _FAILURE
    for which in (_DENIED, _OPENED):
        if _find(body, at, end, which, phrases, ends) >= 0:
            return _FAILURE if which == _DENIED else _SUCCESS
    return _UNKNOWN


@jit
def _about_authentication(
    body: Any, priority: Any, row: Any, phrases: Any, ends: Any, starts: Any, stops: Any
) -> Any:
    """Facility auth, authpriv or audit; where none is stated, the tag of a program that logs there."""
    if priority >= 0:
        facility = priority >> 3
        return facility == 4 or facility == 10 or facility == 13  # noqa: PLR1714  (numba: no set)
    at, end = np.int64(starts[APP, row]), np.int64(stops[APP, row])
    for which in range(_TAGS, len(ends) - 1):
        if ends[which + 1] - ends[which] == end - at and _is_at(body, at, end, which, phrases, ends):
            return True
    return False


@kernel(
    IN_U1,
    array(I8, readonly=True),
    IN_U1,
    IN_I4,
    array(types.int32, 2),
    array(types.int32, 2),
    array(types.int8),
)
def logins(body: Any, priority: Any, phrases: Any, ends: Any, starts: Any, stops: Any, outcome: Any) -> None:
    """ACTOR and ADDRESS of each message about authentication, and its outcome.

    Shapes: body (b,); priority, outcome (n,); phrases and ends as PHRASES; starts, stops (FIELDS, n) as ``parse`` left
        them.
    Units: outcome as guardian.events.Outcome; places in the body.
    Cost: about 3 ns a message; 10 ns a byte of those about authentication.
    Source: ours.
    Difference: none.
    """
    for row in range(len(priority)):
        outcome[row] = _UNKNOWN
        if _about_authentication(body, priority[row], row, phrases, ends, starts, stops):
            at, end = np.int64(starts[MESSAGE, row]), np.int64(stops[MESSAGE, row])
            outcome[row] = _who(body, at, end, row, phrases, ends, starts, stops)
