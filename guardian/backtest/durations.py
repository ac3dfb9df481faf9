"""Durations and moments as people write them, and nanoseconds as people read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from guardian.errors import InputError

_UNITS_NS: Final = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def nanoseconds(name: str, duration: str | timedelta) -> int:
    """A duration such as ``5m``, ``24h``, ``1.5d`` or a ``timedelta``, in nanoseconds; ``name`` is for the error.

    Raises:
        InputError: it is no such duration.

    >>> nanoseconds("window", "5m"), nanoseconds("window", "0s")
    (300000000000, 0)
    """
    if isinstance(duration, timedelta):
        return duration // timedelta(microseconds=1) * 1000
    match = _DURATION.fullmatch(duration.strip()) if isinstance(duration, str) else None
    if match is None:
        raise InputError(name, f"expected a duration such as 30s, 5m, 24h or 7d, got {duration!r}")
    return round(float(match[1]) * _UNITS_NS[match[2]])


def moment(at: datetime | str | int) -> int:
    """A moment in nanoseconds since 1970; a datetime or text without time zone is UTC.

    Raises:
        InputError: text that is not ISO 8601, or a time that nanoseconds in 64 bits cannot say.

    >>> moment("1970-01-01T00:00:01Z"), moment(7)
    (1000000000, 7)
    """
    if isinstance(at, int):
        moment_ns = at
    else:
        try:
            read = datetime.fromisoformat(at) if isinstance(at, str) else at
        except ValueError:
            raise InputError("at", f"expected ISO 8601, got {at!r}") from None
        aware = read if read.tzinfo else read.replace(tzinfo=UTC)
        moment_ns = (aware - _EPOCH) // timedelta(microseconds=1) * 1000
    if not -(2**63) <= moment_ns < 2**63:
        raise InputError("at", f"expected a time from 1677 to 2262, got {at}")
    return moment_ns


def iso(at_ns: int) -> str:
    """ISO 8601 in UTC to the millisecond; ``at_ns`` in nanoseconds since 1970.

    >>> iso(1_500_000_000)
    '1970-01-01T00:00:01.500Z'
    """
    at = _EPOCH + timedelta(microseconds=at_ns // 1000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
