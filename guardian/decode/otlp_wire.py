"""OTLP/HTTP in protobuf: splits a body into records and decodes one record at a time.

The official decoder turns a two-byte empty record into more than a hundred bytes of memory, so a whole body is never
handed to it: the framing (resource, scope, record) is walked here, each record is decoded alone by
``opentelemetry-proto``, and a body with more than MAX_RECORDS parts is refused. A record whose own bytes are broken is
rejected and costs its neighbours nothing; broken framing refuses the body.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanRecord

from guardian.decode.columns import Decoded
from guardian.decode.otlp import MAX_RECORD_BYTES, Log, Origin, Rows, Span
from guardian.decode.otlp_columns import decode_plain
from guardian.errors import BodyError
from guardian.events import Signal

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_SHARED: Final = (
    1  # field number of the resource in ResourceLogs/ResourceSpans, of the scope in ScopeLogs/ScopeSpans
)
_MANY: Final = 2  # field number of the repeated part: resources, scopes, records


def decode_protobuf(body: bytes, signal: Signal, latest: int) -> Decoded:
    """The events of an ExportLogsServiceRequest (``Signal.LOG``) or ExportTraceServiceRequest (``Signal.SPAN``).

    Raises:
        BodyError: 400 the framing is no OTLP protobuf; 413 more than MAX_RECORDS parts, or too much text.
    """
    plain = decode_plain(body, signal, latest)
    return decode_records(body, signal, latest) if plain is None else plain


def decode_records(body: bytes, signal: Signal, latest: int) -> Decoded:
    """As ``decode_protobuf``, one record at a time: whatever the kernels leave, and what they are tested against."""
    rows = Rows(signal, latest, len(body))
    add = _add_log if signal is Signal.LOG else _add_span
    line = 0
    for _, resource_at, resource_end in _messages(body, 0, len(body), rows, field=1):
        resource = Resource()
        _merge(resource, body, resource_at, resource_end, rows)
        shared = _attributes(resource.attributes)
        for _, scope_at, scope_end in _messages(body, resource_at, resource_end, rows, field=_MANY):
            scope = InstrumentationScope()
            _merge(scope, body, scope_at, scope_end, rows)
            origin = Origin.of(dict(shared), scope.name)
            for _, at, end in _messages(body, scope_at, scope_end, rows, field=_MANY):
                line += 1
                if end - at > MAX_RECORD_BYTES:
                    rows.rejects.add(
                        line, "record_too_long", f"expected at most {MAX_RECORD_BYTES} bytes in a record"
                    )
                    continue
                try:
                    add(rows, line, body[at:end], origin)
                except DecodeError:
                    rows.rejects.add(
                        line, "invalid_record", "expected a record as opentelemetry-proto defines it"
                    )
    return rows.decoded()


def _add_log(rows: Rows, line: int, data: bytes, origin: Origin) -> None:
    record = LogRecord.FromString(data)
    rows.log(
        line,
        Log(
            record.time_unix_nano,
            record.observed_time_unix_nano,
            record.severity_number,
            record.severity_text,
            record.event_name,
            _value(record.body) if record.HasField("body") else None,
            _attributes(record.attributes),
            record.trace_id,
            record.span_id,
        ),
        origin,
    )


def _add_span(rows: Rows, line: int, data: bytes, origin: Origin) -> None:
    record = SpanRecord.FromString(data)
    rows.span(
        line,
        Span(
            record.name,
            record.kind,
            record.start_time_unix_nano,
            record.end_time_unix_nano,
            record.status.code,
            record.status.message,
            _attributes(record.attributes),
            record.trace_id,
            record.span_id,
            record.parent_span_id,
            [{"name": event.name, "attributes": _attributes(event.attributes)} for event in record.events],
        ),
        origin,
    )


def _merge(message: Any, body: bytes, at: int, end: int, rows: Rows) -> None:
    """Field 1 of the message that stands at ``at``; given several times, protobuf merges."""
    for _, inner_at, inner_end in _messages(body, at, end, rows, field=_SHARED):
        if inner_end - inner_at > MAX_RECORD_BYTES:
            raise BodyError(
                413, "record_too_long", f"expected at most {MAX_RECORD_BYTES} bytes of shared attributes"
            )
        try:
            message.MergeFromString(body[inner_at:inner_end])
        except DecodeError:
            raise _broken(inner_at) from None


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def _messages(body: bytes, at: int, end: int, rows: Rows, *, field: int) -> Iterator[tuple[int, int, int]]:
    """The length-delimited fields with one number as ``(number, start, end)``; all others are passed over.

    Encoding: https://protobuf.dev/programming-guides/encoding/. Groups (wire types 3 and 4) are refused.
    """
    while at < end:
        rows.count()
        tag, at = _varint(body, at, end)
        wire = tag & 7
        if wire == _LENGTH:
            size, at = _varint(body, at, end)
            stop = at + size
        elif wire == _VARINT:
            _, stop = _varint(body, at, end)
        elif wire in {_FIXED64, _FIXED32}:
            stop = at + (8 if wire == _FIXED64 else 4)
        else:
            raise _broken(at)
        if stop > end or not tag >> 3:
            raise _broken(at)
        if wire == _LENGTH and tag >> 3 == field:
            yield field, at, stop
        at = stop


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _broken(at)


def _broken(at: int) -> BodyError:
    return BodyError(400, "not_protobuf", f"expected an OTLP protobuf message, it breaks near byte {at}")
