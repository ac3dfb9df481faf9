"""OTLP/JSON as constant tables: which key of which message is which field of the protobuf encoding.

Owns the tables; the loop is ``otlp_json_kernels``. Source: opentelemetry-proto 1.x and its JSON mapping (lowerCamelCase, ids in
hex, 64-bit integers as text or numbers). Only fields that an event is made of are named; every other key is passed over, as
``otlp_json`` does.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from guardian.events import Signal

UNKNOWN, LOGS, SPANS, RESOURCE_LOGS, RESOURCE_SPANS, SCOPE_LOGS, SCOPE_SPANS = range(7)
RESOURCE, SCOPE, LOG, SPAN, EVENT, STATUS, PAIR, VALUE, LIST, OBJECT = range(7, 17)
"""Messages. UNKNOWN is any JSON object of which nothing is taken."""
REQUEST: Final = {Signal.LOG: LOGS, Signal.SPAN: SPANS}

ANY, TEXT, TIME, ENUM, TRACE_ID, SPAN_ID, TRUTH, INTEGER, REAL, MESSAGE, MANY, REFUSED = range(12)
"""How a field is written; REFUSED is left to the slow decoder."""

_ATTRIBUTES: Final = (MANY, PAIR)
_SCHEMA: Final[dict[int, dict[str, tuple[int, int, int]]]] = {
    UNKNOWN: {},
    LOGS: {"resourceLogs": (1, MANY, RESOURCE_LOGS), "resourceSpans": (0, REFUSED, 0)},
    SPANS: {"resourceSpans": (1, MANY, RESOURCE_SPANS), "resourceLogs": (0, REFUSED, 0)},
    RESOURCE_LOGS: {
        "resource": (1, MESSAGE, RESOURCE),
        "scopeLogs": (2, MANY, SCOPE_LOGS),
        "scopeSpans": (0, REFUSED, 0),
    },
    RESOURCE_SPANS: {
        "resource": (1, MESSAGE, RESOURCE),
        "scopeSpans": (2, MANY, SCOPE_SPANS),
        "scopeLogs": (0, REFUSED, 0),
    },
    SCOPE_LOGS: {"scope": (1, MESSAGE, SCOPE), "logRecords": (2, MANY, LOG), "spans": (0, REFUSED, 0)},
    SCOPE_SPANS: {"scope": (1, MESSAGE, SCOPE), "spans": (2, MANY, SPAN), "logRecords": (0, REFUSED, 0)},
    RESOURCE: {"attributes": (1, *_ATTRIBUTES)},
    SCOPE: {"name": (1, TEXT, 0)},
    LOG: {
        "timeUnixNano": (1, TIME, 0),
        "severityNumber": (2, ENUM, 0),
        "severityText": (3, TEXT, 0),
        "body": (5, MESSAGE, VALUE),
        "attributes": (6, *_ATTRIBUTES),
        "traceId": (9, TRACE_ID, 0),
        "spanId": (10, SPAN_ID, 0),
        "observedTimeUnixNano": (11, TIME, 0),
        "eventName": (12, TEXT, 0),
    },
    SPAN: {
        "traceId": (1, TRACE_ID, 0),
        "spanId": (2, SPAN_ID, 0),
        "parentSpanId": (4, SPAN_ID, 0),
        "name": (5, TEXT, 0),
        "kind": (6, ENUM, 0),
        "startTimeUnixNano": (7, TIME, 0),
        "endTimeUnixNano": (8, TIME, 0),
        "attributes": (9, *_ATTRIBUTES),
        "events": (11, MANY, EVENT),
        "status": (15, MESSAGE, STATUS),
    },
    EVENT: {"name": (2, TEXT, 0), "attributes": (3, *_ATTRIBUTES)},
    STATUS: {"message": (2, TEXT, 0), "code": (3, ENUM, 0)},
    PAIR: {"key": (1, TEXT, 0), "value": (2, MESSAGE, VALUE)},
    VALUE: {
        "stringValue": (1, TEXT, 0),
        "boolValue": (2, TRUTH, 0),
        "intValue": (3, INTEGER, 0),
        "doubleValue": (4, REAL, 0),
        "arrayValue": (5, MESSAGE, LIST),
        "kvlistValue": (6, MESSAGE, OBJECT),
        "bytesValue": (0, REFUSED, 0),
    },
    LIST: {"values": (1, MANY, VALUE)},
    OBJECT: {"values": (1, *_ATTRIBUTES)},
}
_WIRE: Final = {TIME: 1, REAL: 1, ENUM: 0, TRUTH: 0, INTEGER: 0}

FIELDS: Final = [(message, key, spec) for message, keys in _SCHEMA.items() for key, spec in keys.items()]
KEY_STARTS: Final = np.cumsum([0, *(len(key) for _, key, _ in FIELDS)])
KEY_DATA: Final = np.frombuffer("".join(key for _, key, _ in FIELDS).encode(), np.uint8)
FIELD_KIND: Final = np.array([kind for _, _, (_, kind, _) in FIELDS], np.int64)
FIELD_MESSAGE: Final = np.array([inner for _, _, (_, _, inner) in FIELDS], np.int64)
FIELD_TAG: Final = np.array(
    [number << 3 | _WIRE.get(kind, 2) for _, _, (number, kind, _) in FIELDS], np.uint8
)

IS_SHORT: Final = np.isin(np.arange(len(_SCHEMA)), [STATUS, PAIR, VALUE])
"""Messages whose length mostly fits one byte."""
IS_LIMITED: Final = np.isin(np.arange(len(_SCHEMA)), [RESOURCE, SCOPE, LOG, SPAN])
"""Messages that may not be longer than MAX_RECORD_BYTES."""


def place(length: int, first: int, last: int) -> int:
    """The place of a key among its message's; also computed in the kernel."""
    return (length + 3 * first + 2 * last) & 63


SLOTS: Final = np.full((len(_SCHEMA), 64), -1, np.int64)
"""Message, place → number of the field, -1 = none."""
for _number, (_message, _key, _) in enumerate(FIELDS):
    _at = place(len(_key), ord(_key[0]), ord(_key[-1]))
    SLOTS[_message, _at] = _number

ESCAPES: Final = np.frombuffer(b'"\\/bfnrt', np.uint8)
ESCAPED: Final = np.frombuffer(b'"\\/\b\f\n\r\t', np.uint8)
"""What each letter behind a backslash stands for."""

WORD_DATA: Final = np.frombuffer(b"truefalsenull", np.uint8)
WORD_STARTS: Final = np.array([0, 4, 9, 13])

HEX_VALUES: Final = np.array(
    [int(chr(octet), 16) if chr(octet) in "0123456789abcdefABCDEF" else -1 for octet in range(256)]
)
"""Of each byte the value as a hexadecimal digit, -1 = it is none."""
