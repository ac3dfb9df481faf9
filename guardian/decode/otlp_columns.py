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
from guardian.decode.columns import EARLIEST, MAX_RECORDS, Decoded, Rejects
from guardian.decode.draft import Draft, Names, finish
from guardian.decode.mapping import TEXT_COLUMNS
from guardian.decode.otlp import text_room
from guardian.decode.otlp_kernels import walk_otlp
from guardian.decode.otlp_keys import USES
from guardian.decode.otlp_meaning_kernels import read_attributes
from guardian.decode.otlp_name_kernels import intern_names
from guardian.decode.otlp_text_kernels import fill_doubles, write_texts
from guardian.decode.scalars import finite
from guardian.decode.times import GOOD, MISSING, OUT_OF_RANGE, Int8, Int64
from guardian.events import Signal

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

_GROWTH: Final = 2


def decode_plain(body: bytes, signal: Signal, latest: int) -> Decoded | None:
    """The events of an OTLP request, or None when it is left to the slow decoder."""
    draft = plain_draft(body, signal, latest)
    if draft is None:
        return None
    rejects = Rejects()
    batch, _ = finish(draft, rejects)
    return rejects.decoded(batch)


def plain_draft(body: bytes, signal: Signal, latest: int) -> Draft | None:
    """The columns of an OTLP request before they are judged, or None when it is left to the slow decoder.

    Memory: the walk takes about six times the body, and nothing more than ``text_room`` of it per buffer.
    """
    octets = np.frombuffer(body, np.uint8)
    room = text_room(len(body))
    out = np.zeros(1, np.int64)
    walk = _walked(octets, signal, room, out)
    if walk is None:
        return None
    count = int(walk.state[to.RECORDS])
    found = np.empty((count, USES), np.int64)
    outcome, layer, value = np.empty(count, np.int8), np.empty(count, np.int8), np.empty(count)
    read_attributes(octets, int(signal is Signal.SPAN), walk, found, outcome, layer, value, out)
    if out[0] != to.PLAIN:
        return None
    named = _named(octets, signal, walk, found, room, out)
    if named is None:
        return None
    interned, codes = named
    texts = _written(octets, walk, room, out)
    if texts is None:
        return None
    attrs, messages = texts
    used = int(interned.meta[to.TEXT_USED])
    if used + len(attrs.buffers()[2]) + len(messages.buffers()[2]) > room:
        return None
    entries = interned.entries[: 2 * interned.meta[to.NAMES_USED]].reshape(-1, 2)
    offsets = np.zeros(len(entries) + 1, np.int32)
    np.cumsum(entries[:, 0] & 0xFFFFFFFF, out=offsets[1:])
    names = pa.Array.from_buffers(
        pa.string(), len(entries), [None, pa.py_buffer(offsets), pa.py_buffer(interned.text[:used])]
    )
    try:
        for array in (names, attrs, messages):
            array.validate(full=True)
    except pa.ArrowInvalid:
        return None
    records = walk.records[:count]
    time, other = records[:, to.TIME], records[:, to.OTHER_TIME]
    ts, verdicts = _judged(np.where(time != 0, time, other), latest)
    severity = np.full(count, np.nan)
    if signal is Signal.SPAN:
        start, start_verdicts = _judged(other, latest)
        timed = (verdicts == GOOD) & (start_verdicts == GOOD) & (ts >= start)
        value[timed] = (ts[timed] - start[timed]) / 1e9
    else:
        number = records[:, to.NUMBER]
        stated = (number >= 1) & (number <= 24)
        severity[stated] = (number[stated] - 1) / 23
    return Draft(
        lines=np.arange(1, count + 1),
        ts=ts,
        verdicts=verdicts,
        names={
            name: Names(codes[column], names.filter(pa.array(entries[:, 1] >> 32 == column)))
            for column, name in enumerate(TEXT_COLUMNS)
        },
        outcome=outcome,
        layer=layer,
        severity=severity,
        value=finite(value),
        trace_id=_ids(octets, records[:, to.TRACE_AT], records[:, to.TRACE_END], 16),
        span_id=_ids(octets, records[:, to.SPAN_AT], records[:, to.SPAN_END], 8),
        body=messages,
        attrs=attrs,
        signal=signal,
    )


def _walked(octets: Bytes, signal: Signal, room: int, out: Int64) -> to.Walk | None:
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
    octets: Bytes, signal: Signal, walk: to.Walk, found: Int64, room: int, out: Int64
) -> tuple[to.Interned, np.ndarray[Any, np.dtype[np.int32]]] | None:
    """The names, and their codes for each record."""
    count = len(found)
    codes = np.empty((len(TEXT_COLUMNS), count), np.int32)
    size, names = len(octets) // 2 + 4096, 2 * count + 64
    while True:
        interned = to.interned(names, min(size, room))
        intern_names(octets, int(signal is Signal.SPAN), walk, found, interned, codes, out)
        if out[0] == to.PLAIN:
            return interned, codes
        if not interned.meta[to.NO_ROOM] or size >= _GROWTH * room:
            return None
        size, names = _GROWTH * size, _GROWTH * names


def _written(octets: Bytes, walk: to.Walk, room: int, out: Int64) -> tuple[pa.Array, pa.Array] | None:
    """``attrs`` and messages, with null where there is none."""
    records = int(walk.state[to.RECORDS])
    sizes = [2**16, len(octets) + 64 * records + 4096, len(octets) + 4096]
    doubles = len(octets) // 9 + 1  # each takes nine bytes of the body
    while True:
        rows = (0, records, records)
        tail, attrs, messages = (
            to.output(n, min(size, room), doubles) for n, size in zip(rows, sizes, strict=True)
        )
        write_texts(octets, walk, tail, attrs, messages, out)
        if out[0] == to.PLAIN and _longest(attrs) + _longest(messages) > room:
            return None
        if out[0] == to.PLAIN:
            return _texts(attrs, len("{}") + 1), _texts(messages, 1)
        full = [bool(each.meta[to.NO_SPACE]) for each in (tail, attrs, messages)]
        if not any(full) or max(sizes) >= _GROWTH * room:
            return None
        sizes = [size * _GROWTH if grows else size for size, grows in zip(sizes, full, strict=True)]
        del tail, attrs, messages


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


def _judged(times: Int64, latest: int) -> tuple[Int64, Int8]:
    """Times in nanoseconds and their verdicts; a time past 2262 is a negative number here, 0 is none."""
    good = (times >= EARLIEST) & (times <= latest)
    verdicts = np.where(good, GOOD, np.where(times == 0, MISSING, OUT_OF_RANGE)).astype(np.int8)
    return np.where(good, times, 0), verdicts


def _ids(octets: Bytes, starts: Int64, ends: Int64, size: int) -> pa.Array:
    """Ids of one size; zeros for one of another size."""
    ids = np.zeros((len(starts), size), np.uint8)
    there = np.flatnonzero(ends - starts == size)
    if len(there):
        windows = np.lib.stride_tricks.sliding_window_view(octets, size)
        ids[there] = windows[starts[there]]
    return pa.Array.from_buffers(pa.binary(size), len(ids), [None, pa.py_buffer(ids)])
