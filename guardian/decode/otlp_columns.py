"""OTLP protobuf to events in bulk: runs the kernels over a body and hands their columns to Arrow.

Owns the buffers, their growth and its bounds, and the check that all text is UTF-8. Does not decide anything: a body that
is not plain gives None, and ``otlp_wire`` decodes it record by record.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from guardian.decode import otlp_layout as to
from guardian.decode.columns import MAX_RECORDS, Decoded, Rejects
from guardian.decode.draft import Draft, Names, finish
from guardian.decode.mapping import TEXT_COLUMNS
from guardian.decode.otlp import text_room
from guardian.decode.otlp_column_kernels import make_columns
from guardian.decode.otlp_kernels import walk_otlp
from guardian.decode.otlp_text_kernels import fill_doubles, write_texts
from guardian.decode.scalars import finite
from guardian.events import Signal

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

_GROWTH: Final = 4


def decode_plain(body: bytes, signal: Signal, latest: int) -> Decoded | None:
    """The events of an OTLP request, or None when it is left to the slow decoder.

    Memory: the walk takes about six times the body, and nothing more than ``text_room`` of it per buffer.
    """
    octets = np.frombuffer(body, np.uint8)
    room = text_room(len(body))
    out = np.zeros(1, np.int64)
    walk = _walked(octets, signal, room, out)
    if walk is None:
        return None
    records = int(walk.state[to.RECORDS])
    columns = to.columns(records)
    interned = _named(octets, signal, latest, walk, columns, room, out)
    if interned is None:
        return None
    texts = _written(octets, walk, room, out)
    if texts is None:
        return None
    attrs, messages = texts
    used = int(interned.meta[to.TEXT_USED])
    if used + len(attrs.buffers()[2]) + len(messages.buffers()[2]) > room:
        return None
    count = int(interned.meta[to.NAMES_USED])
    entries = interned.entries[:count]
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(entries[:, to.NAME_LENGTH], out=offsets[1:])
    names = pa.Array.from_buffers(
        pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(interned.text[:used])]
    )
    try:
        for array in (names, attrs, messages):
            array.validate(full=True)
    except pa.ArrowInvalid:
        return None
    draft = Draft(
        lines=np.arange(1, records + 1),
        ts=columns.ts,
        verdicts=columns.verdict,
        names={
            name: Names(columns.codes[column], names.filter(pa.array(entries[:, to.COLUMN] == column)))
            for column, name in enumerate(TEXT_COLUMNS)
        },
        outcome=columns.outcome,
        layer=columns.layer,
        severity=columns.severity,
        value=finite(columns.value),
        trace_id=_ids(columns.trace),
        span_id=_ids(columns.span),
        body=messages,
        attrs=attrs,
        signal=signal,
    )
    rejects = Rejects()
    batch, _ = finish(draft, rejects)
    return rejects.decoded(batch)


def _walked(octets: Bytes, signal: Signal, room: int, out: Any) -> to.Walk | None:
    """The walk over the body, with buffers that grow until they hold it or reach their bounds."""
    size = len(octets)
    records, scopes, attributes, words = size // 64, size // 128, size // 24, size // 6
    while True:
        walk = to.walk(
            min(records + 16, MAX_RECORDS),
            min(scopes + 16, MAX_RECORDS),
            min(attributes + 64, room // (8 * to.ATTRIBUTE_FIELDS)),
            min(words + 256, room // 8),
        )
        walk_otlp(octets, int(signal is Signal.SPAN), walk, out)
        if out[0] == to.PLAIN and not walk.state[to.FULL]:
            return walk
        if not walk.state[to.FULL] or words > room // 8:
            return None
        records, scopes, attributes, words = (
            _GROWTH * count for count in (records + 16, scopes + 16, attributes + 64, words + 256)
        )


def _named(
    octets: Bytes, signal: Signal, latest: int, walk: to.Walk, columns: to.Columns, room: int, out: Any
) -> to.Interned | None:
    size, names = len(octets) // 2 + 4096, 2 * int(walk.state[to.RECORDS]) + 64
    while True:
        interned = to.interned(names, min(size, room))
        make_columns(octets, int(signal is Signal.SPAN), latest, walk, columns, interned, out)
        if out[0] == to.PLAIN:
            return interned
        if not interned.meta[to.NO_ROOM] or size >= _GROWTH * room:
            return None
        size, names = _GROWTH * size, _GROWTH * names


def _written(octets: Bytes, walk: to.Walk, room: int, out: Any) -> tuple[pa.Array, pa.Array] | None:
    """``attrs`` and messages, with null where there is none."""
    records = int(walk.state[to.RECORDS])
    size, doubles = len(octets) + 64 * records + 4096, records + 64
    while True:
        tail, attrs, messages = (
            to.output(count, min(size, room), doubles) for count in (0, records, records)
        )
        write_texts(octets, walk, tail, attrs, messages, out)
        if out[0] == to.PLAIN and _longest(attrs) + _longest(messages) > room:
            return None
        if out[0] == to.PLAIN:
            return _texts(attrs, len("{}") + 1), _texts(messages, 1)
        if not any(each.meta[to.NO_SPACE] for each in (tail, attrs, messages)) or size >= room:
            return None
        size, doubles = _GROWTH * size, _GROWTH * doubles


def _longest(output: to.Output) -> int:
    """Bytes of the texts once the doubles are in."""
    return int(output.ends[-1]) + 25 * int(output.meta[to.DOUBLES_USED])


def _texts(output: to.Output, least: int) -> pa.Array:
    """Texts as an Arrow array, their doubles filled in; null where one is shorter than ``least``."""
    ends, used = output.ends, int(output.ends[-1])
    data, doubles = output.data[:used], int(output.meta[to.DOUBLES_USED])
    if doubles:
        places = output.places[:doubles]
        encoded = msgspec.json.encode(output.bits[:doubles].view(np.float64).tolist())[1:-1]
        numbers = np.frombuffer(encoded, np.uint8)
        stops = np.append(np.flatnonzero(numbers == ord(",")), len(numbers))
        data = np.empty(used + len(numbers) - doubles + 1, np.uint8)
        fill_doubles(output.data[:used], places, numbers, stops, data)
        written = np.concatenate([[0], stops - np.arange(doubles)])
        ends = (ends + written[np.searchsorted(places, ends)]).astype(np.int32)
    there = np.diff(ends) >= least
    validity = None if there.all() else pa.array(there).buffers()[1]
    buffers = [validity, pa.py_buffer(ends), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(there), buffers)


def _ids(octets: Bytes) -> pa.Array:
    return pa.Array.from_buffers(pa.binary(octets.shape[1]), len(octets), [None, pa.py_buffer(octets)])
