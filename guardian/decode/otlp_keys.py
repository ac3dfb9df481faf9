"""The names that mean something, as constant tables that a kernel can look names up in.

Owns the tables and the numbers that name what an attribute is good for; ``conventions`` owns the names. A name's place in
the table is computed from its length and four of its bytes; the factors are the first that give every known name a place of
its own, so that finding a name, or finding that it is none of them, costs one look and at most one comparison.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from guardian.decode import conventions as names

# What an attribute of a record is for. The first are columns of TEXT_COLUMNS in their order.
SOURCE, KIND, ACTOR, ADDRESS, TARGET, SESSION, METHOD, ROUTE, PATH, RPC_STATUS = range(10)
TEXTS: Final = 10
"""Uses below this one need a text."""
STATUS, OLD_STATUS, GRPC_STATUS, OUTCOME, ERROR, EXCEPTION, LAYER, DURATION = range(10, 18)
SEVERITY_TEXT, NAME, PARENT, DESCRIPTION, EVENTS, SCOPE_NAME = range(18, 24)
"""Names that a record's own fields take in ``attrs``."""
USES: Final = 24

FIRST_PEER: Final = len(names.ADDRESS)
"""Rank from which an address is the peer's."""

_RECORD: Final[dict[str, tuple[int, int]]] = {
    name: (use, rank)
    for use, listed in (
        (KIND, names.KIND),
        (ACTOR, names.ACTOR),
        (ADDRESS, names.ADDRESS + names.PEER),
        (TARGET, names.TARGET),
        (SESSION, names.SESSION),
        (METHOD, names.METHOD),
        (ROUTE, names.ROUTE),
        (PATH, names.PATH),
        (RPC_STATUS, names.RPC_STATUS),
        (STATUS, names.STATUS[:1]),
        (OLD_STATUS, names.STATUS[1:]),
        (GRPC_STATUS, names.GRPC_STATUS),
        (OUTCOME, names.OUTCOME),
        (ERROR, names.ERROR[:1]),
        (EXCEPTION, names.ERROR[1:]),
        (LAYER, names.LAYER),
        (DURATION, names.DURATION),
        (SEVERITY_TEXT, ("severity_text",)),
        (NAME, ("name",)),
        (PARENT, ("parent_span_id",)),
        (DESCRIPTION, ("otel.status_description",)),
        (EVENTS, ("events",)),
        (SCOPE_NAME, ("otel.scope.name",)),
    )
    for rank, name in enumerate(listed)
}
_KNOWN: Final = [
    name.encode()
    for name in dict.fromkeys([*_RECORD, *names.RESOURCE_SOURCE, *names.RESOURCE_TARGET, *names.LAYER])
]
_PLACES: Final = 2048


def _packed(texts: list[bytes]) -> tuple[Any, Any]:
    """Texts one after the other, and where each begins (one more than there are texts)."""
    starts = np.cumsum([0, *map(len, texts)])
    return np.frombuffer(b"".join(texts), np.uint8), starts


def place(length: Any, first: Any, third: Any, middle: Any, last: Any, factor: Any) -> Any:
    """The place of a name; also compiled into the kernels."""
    mixed = length + (first << 6) + (third << 14) + (middle << 22) + (last << 30)
    return ((mixed * factor) >> 44) & 2047


def _factor_for(known: list[bytes]) -> tuple[int, list[int]]:
    for factor in range(0x1E3779B97F4A7C15, 0x7E3779B97F4A7C15, 0x7F4A7C159E3780):
        places = [place(len(x), x[0], x[len(x) // 3], x[len(x) // 2], x[-1], factor) for x in known]
        if len(set(places)) == len(places):
            return factor, places
    raise AssertionError


def _ranks(listed: tuple[str, ...]) -> Any:
    return np.array([listed.index(x.decode()) if x.decode() in listed else -1 for x in _KNOWN], np.int64)


FACTOR, _AT = _factor_for(_KNOWN)
SLOTS: Final = np.full(_PLACES, -1, np.int64)
"""Place → number of a name, −1 = none."""
SLOTS[_AT] = np.arange(len(_KNOWN))
KEY_DATA, KEY_STARTS = _packed(_KNOWN)
KEY_USE: Final = np.array([_RECORD.get(x.decode(), (-1, 0))[0] for x in _KNOWN], np.int64)
KEY_RANK: Final = np.array([_RECORD.get(x.decode(), (-1, 0))[1] for x in _KNOWN], np.int64)
SOURCE_RANK: Final = _ranks(names.RESOURCE_SOURCE)
TARGET_RANK: Final = _ranks(names.RESOURCE_TARGET)
IS_LAYER: Final = _ranks(names.LAYER) >= 0

SEVERITY_DATA, SEVERITY_STARTS = _packed([text.encode() for text in names.SEVERITY_OF_TEXT])
SEVERITY_NUMBERS: Final = np.array(list(names.SEVERITY_OF_TEXT.values()), np.int64)
OUTCOME_DATA, OUTCOME_STARTS = _packed([text.encode() for text in names.EVENT_OUTCOMES])
OUTCOME_NUMBERS: Final = np.array(list(names.EVENT_OUTCOMES.values()), np.int64)
RPC_DATA, RPC_STARTS = _packed([text.encode() for text in names.RPC_OUTCOMES])
RPC_NUMBERS: Final = np.array(list(names.RPC_OUTCOMES.values()), np.int64)

_FIXED: Final = [
    b'"resource":',
    b'"severity_text":',
    b'"name":',
    b'"parent_span_id":',
    b'"otel.status_description":',
    b'"events":',
    b'"otel.scope.name":',
    b'"attributes":',
    b"true",
    b"false",
    b"null",
    b": ",
    b"log",
    b" ",
]
FIXED_DATA, FIXED_STARTS = _packed(_FIXED)
"""Texts that the kernels write."""
(
    RESOURCE_KEY,
    SEVERITY_KEY,
    NAME_KEY,
    PARENT_KEY,
    DESCRIPTION_KEY,
    EVENTS_KEY,
    SCOPE_KEY,
    ATTRIBUTES_KEY,
    TRUE,
    FALSE,
    NULL,
    COLON,
    LOG,
    SPACE,
) = range(len(_FIXED))
