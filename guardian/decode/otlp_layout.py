"""What passes between the kernels that decode OTLP: records as spans of the body, a tape, columns and distinct names.

Owns the arrays, their sizes and the words of the tape. Does not own the loops: ``otlp_kernels`` walks the bytes and fills
``Walk``, ``otlp_meaning_kernels`` and ``otlp_name_kernels`` read it, ``otlp_text_kernels`` writes the JSON that the tape describes.

A word of the tape is ``op | length << 4 | start << 28``: texts stay where they are in the body, start and length say where.
INTEGER and DOUBLE are followed by a word that is the number's 64 bits.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from guardian.decode.mapping import TEXT_COLUMNS

PLAIN, NOT_PLAIN = range(2)
"""How a kernel ended: done, or at something that it leaves to the slow decoder."""

(
    SKIP,
    KEY,
    TEXT,
    HEX,
    BASE64,
    RAW,
    INTEGER,
    DOUBLE,
    FIXED,
    FIXED_KEY,
    OPEN,
    CLOSE,
    OPEN_LIST,
    CLOSE_LIST,
    MESSAGE,
) = range(15)
"""Operations of the tape. KEY and TEXT are escaped; RAW is copied; the start of a FIXED or FIXED_KEY word is the number of a
text of ``otlp_keys``; what follows MESSAGE goes to the body instead of ``attrs``."""

NONE, STRING, BOOL, INT, REAL, LIST, OBJECT, OCTETS = range(8)
"""Kinds of AnyValue: its field numbers, 0 = holds nothing."""

DEPTH: Final = 16
"""Deepest nesting of lists and objects in one value; the official decoder takes about 30."""
MEMBERS: Final = 128
"""Most attributes of one record, resource or object; SDKs keep no more by default."""
PROBES: Final = 64
"""Longest search for a name: the hash has no key, and a sender who makes names collide gets the slow decoder."""

RECORDS, SCOPES, PARTS, TAPE_USED, ATTRIBUTES_USED, FULL, KEYS, STACK = range(8)
"""Places in ``Walk.state``: how much was found, with parts as the slow decoder counts them; how far buffers are used, whether
one was too small, how many names of objects are open; then a stack of the lists and objects that are open (their kind, where
they continue and end, their first name), then the names."""
NAMES: Final = STACK + 4 * DEPTH
"""Where in ``Walk.state`` the names of open objects begin."""

FIRST, LAST, WORDS_END = range(3)
"""Columns of ``Walk.records`` and ``Walk.origins``: the attributes (of the record, of the resource) from FIRST to before LAST,
and where their part of the tape ends."""
(
    TIME,
    OTHER_TIME,
    NUMBER,
    STATUS_CODE,
    TEXT_AT,
    TEXT_END,
    PARENT_AT,
    PARENT_END,
    NAME_AT,
    NAME_END,
    TRACE_AT,
    TRACE_END,
    SPAN_AT,
    SPAN_END,
    BODY_KIND,
    BODY_AT,
    BODY_END,
    EVENTS_AT,
    TAPE_FROM,
    TAPE_TO,
    ORIGIN,
    FIELDS,
) = range(3, 25)
"""Columns of ``Walk.records``. Of a log: its time, the time it was observed, severity number, -, severity text, event name;
of a span: its end and start, kind, status code, status message, name. EVENTS_AT is where its first event lies in the body
(0 = it has none); behind WORDS_END the tape holds its name. ORIGIN is a row of ``Walk.origins``."""
(
    SCOPE_AT,
    SCOPE_END,
    RESOURCE_FROM,
    RESOURCE_TO,
    SCOPE_FROM,
    SCOPE_TO,
    SOURCE_ATTRIBUTE,
    TARGET_ATTRIBUTE,
    ORIGIN_LAYER,
    SOURCE_CODE,
    TARGET_CODE,
    ORIGIN_FIELDS,
) = range(3, 15)
"""Columns of ``Walk.origins``: the scope's name, the resource's and the scope's part of the tape; then, for the other kernels,
the attributes that name source and target, the layer, and the codes of the names, -1 until a record needs them."""

KEY_AT, KEY_END, VALUE_KIND, AT, END, WORDS_FROM, ATTRIBUTE_FIELDS = range(7)
"""Columns of ``Walk.attributes``: the name, the value's kind, its text (END is the value itself of a number or truth value,
as 64 bits), where its words begin on the tape."""

Array = np.ndarray[Any, Any]

LOG_RECORD, SPAN_RECORD, STATUS_MESSAGE, LINK, SCOPE, RESOURCE, ENTITY, SPAN_EVENT = range(8)
"""Messages of OTLP: rows of ``PLACES``."""
IGNORED, ASCII, REFUSED, ATTRIBUTE, BODY, STATUS_PART, LINK_PART, ENTITY_PART, EVENT_PART = range(-1, -10, -1)
"""What is done with a field that is not simply stored: passed over; passed over if it is ASCII; not plain; read as what it is."""


def _places() -> Array:
    fixed64, varint, octets = 1, 0, 2
    fields: dict[int, dict[tuple[int, int], int]] = {
        LOG_RECORD: {
            (1, fixed64): TIME,
            (2, varint): NUMBER,
            (3, octets): TEXT_AT,
            (5, octets): BODY,
            (6, octets): ATTRIBUTE,
            (9, octets): TRACE_AT,
            (10, octets): SPAN_AT,
            (11, fixed64): OTHER_TIME,
            (12, octets): NAME_AT,
        },
        SPAN_RECORD: {
            (1, octets): TRACE_AT,
            (2, octets): SPAN_AT,
            (3, octets): ASCII,
            (4, octets): PARENT_AT,
            (5, octets): NAME_AT,
            (6, varint): NUMBER,
            (7, fixed64): OTHER_TIME,
            (8, fixed64): TIME,
            (9, octets): ATTRIBUTE,
            (11, octets): EVENT_PART,
            (13, octets): LINK_PART,
            (15, octets): STATUS_PART,
        },
        STATUS_MESSAGE: {(2, octets): TEXT_AT, (3, varint): STATUS_CODE},
        LINK: {(3, octets): ASCII, (4, octets): REFUSED},
        SCOPE: {(1, octets): SCOPE_AT, (2, octets): ASCII, (3, octets): REFUSED},
        RESOURCE: {(1, octets): ATTRIBUTE, (3, octets): ENTITY_PART},
        ENTITY: {(number, octets): ASCII for number in (1, 2, 3, 4)},
        SPAN_EVENT: {(2, octets): NAME_AT},  # its attributes are read apart
    }
    places = np.full((len(fields), 256), IGNORED, np.int64)
    for message, known in fields.items():
        for (number, wire), place in known.items():
            places[message, number << 3 | wire] = place
    return places


KINDS: Final = np.full(256, -1, np.int64)
"""For each tag the kind of AnyValue that it says."""
for _kind, _wire in ((STRING, 2), (BOOL, 0), (INT, 0), (REAL, 1), (LIST, 2), (OBJECT, 2), (OCTETS, 2)):
    KINDS[_kind << 3 | _wire] = _kind

PLACES: Final = _places()
"""For each message and tag (field number times eight plus wire type) the column that the field is stored in, or what is done
with it. A known field with another wire type is as good as unknown, as for the official decoder."""


class Walk(NamedTuple):
    """What the bytes of a body hold, before anyone asks what it means."""

    state: Array
    records: Array
    """(n, FIELDS)"""
    origins: Array
    """(scopes, ORIGIN_FIELDS)"""
    attributes: Array
    """(m, ATTRIBUTE_FIELDS)"""
    tape: Array
    shared: Array
    """(ORIGIN_FIELDS,) of the resource at hand."""
    spare: Array
    """(FIELDS,) for an event."""


NAMES_USED, TEXT_USED, NO_ROOM, COUNTS = range(4)
"""Places in ``Interned.meta``: how many names there are, how many bytes, whether there were too few; then how many names each
column has."""


class Interned(NamedTuple):
    """Distinct names of all six columns, in order of first appearance."""

    meta: Array
    places: Array
    """Open addressing: 32 bits of the name's hash, then its number plus one; 0 = free."""
    entries: Array
    """Two words for each name: ``start << 32 | length`` of its text, ``column << 32 | number`` in its column."""
    text: Array


def walk(records: int, scopes: int, attributes: int, words: int) -> Walk:
    """Room for what a body holds."""
    return Walk(
        np.zeros(NAMES + (DEPTH + 1) * MEMBERS, np.int64),
        np.zeros((records, FIELDS), np.int64),
        np.empty((scopes, ORIGIN_FIELDS), np.int64),
        np.empty((attributes, ATTRIBUTE_FIELDS), np.int64),
        np.empty(words, np.int64),
        np.zeros(ORIGIN_FIELDS, np.int64),
        np.zeros(FIELDS, np.int64),
    )


def interned(names: int, text_bytes: int) -> Interned:
    """Room for some names, in a table that is never more than three quarters full."""
    places = 1 << max(6, (4 * names // 3).bit_length())
    return Interned(
        np.zeros(COUNTS + len(TEXT_COLUMNS), np.int64),
        np.zeros(places, np.int64),
        np.empty(2 * (3 * places // 4 + 1), np.int64),
        np.empty(text_bytes, np.uint8),
    )


DOUBLES_USED, NO_SPACE = range(2)
"""Places in ``Output.meta``: how many doubles were left out, whether the room was too small."""


class Output(NamedTuple):
    """Texts of n records, one after the other, but for their doubles."""

    data: Array
    ends: Array
    """(n + 1,): where each text begins, and the last ends."""
    places: Array
    """Where a double belongs."""
    bits: Array
    meta: Array


def output(records: int, text_bytes: int, doubles: int) -> Output:
    """Room for the texts of some records."""
    return Output(
        np.empty(text_bytes, np.uint8),
        np.zeros(records + 1, np.int32),
        np.empty(doubles, np.int64),
        np.empty(doubles, np.int64),
        np.zeros(2, np.int64),
    )
