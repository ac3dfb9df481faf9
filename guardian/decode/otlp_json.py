"""OTLP/HTTP in JSON: typed decoding by msgspec, one record at a time.

Never ``json_format`` (3,700 records/s, a way to stop the service). The frame is decoded with its records left as raw
bytes, then each record alone, so that memory follows the largest record and a bad record costs its neighbours nothing.
Read as the OTLP specification says: lowerCamelCase, ids in hex, 64-bit integers as text or numbers, enums as numbers
(or as names), unknown fields ignored.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Status as StatusRecord

from guardian.decode.columns import MAX_RECORDS, Decoded, Rejected, Rejects
from guardian.decode.draft import empty, id_bytes
from guardian.decode.lines import line_blocks
from guardian.decode.otlp import MAX_RECORD_BYTES, Log, Origin, Rows, Span
from guardian.errors import BodyError
from guardian.events import Signal

MAX_OBJECTS: Final = 4 * MAX_RECORDS
"""Most JSON objects in a body: each is an allocation, and a real record of 40 bytes an object stays far below."""

MAX_REQUEST_BYTES: Final = 16 * 2**20
"""Longest line of a file of OTLP JSON lines; each holds a whole request."""

_ENUMS: Final[dict[str, int]] = {
    **dict(SeverityNumber.items()),
    **dict(SpanRecord.SpanKind.items()),
    **dict(StatusRecord.StatusCode.items()),
}


class _Value(Struct, rename="camel", gc=False):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    bytes_value: str | None = None
    array_value: _Array | None = None
    kvlist_value: _Pairs | None = None


class _Array(Struct):
    values: list[_Value] = []


class _Pair(Struct, gc=False):
    key: str = ""
    value: _Value | None = None


class _Pairs(Struct):
    values: list[_Pair] = []


class _Scope(Struct):
    name: str = ""


class _Resource(Struct):
    attributes: list[_Pair] = []


class _ScopeRecords(Struct, rename="camel"):
    scope: Raw = Raw(b"{}")
    log_records: list[Raw] = []
    spans: list[Raw] = []


class _ResourceRecords(Struct, rename="camel"):
    resource: Raw = Raw(b"{}")
    scope_logs: list[_ScopeRecords] = []
    scope_spans: list[_ScopeRecords] = []


class _Request(Struct, rename="camel"):
    resource_logs: list[_ResourceRecords] = []
    resource_spans: list[_ResourceRecords] = []


class _Log(Struct, rename="camel", gc=False):
    time_unix_nano: int | str = 0
    observed_time_unix_nano: int | str = 0
    severity_number: int | str = 0
    severity_text: str = ""
    event_name: str = ""
    body: _Value | None = None
    attributes: list[_Pair] = []
    trace_id: str = ""
    span_id: str = ""


class _Event(Struct):
    name: str = ""
    attributes: list[_Pair] = []


class _Status(Struct, frozen=True):
    code: int | str = 0
    message: str = ""


class _Span(Struct, rename="camel"):
    name: str = ""
    kind: int | str = 0
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    attributes: list[_Pair] = []
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    status: _Status = _Status()
    events: list[_Event] = []


_request: Final = msgspec.json.Decoder(_Request).decode
_resource: Final = msgspec.json.Decoder(_Resource).decode
_scope: Final = msgspec.json.Decoder(_Scope).decode
_log: Final = msgspec.json.Decoder(_Log).decode
_span: Final = msgspec.json.Decoder(_Span).decode
_NO_JSON: Final = (msgspec.DecodeError, ValueError, RecursionError)


def decode_json(body: bytes, signal: Signal, latest: int) -> Decoded:
    """The events of an ExportLogsServiceRequest (``Signal.LOG``) or ExportTraceServiceRequest (``Signal.SPAN``).

    Raises:
        BodyError: 400 the frame is no OTLP JSON; 413 too many parts.
    """
    if body.count(b"{") > MAX_OBJECTS:
        raise BodyError(413, "too_many_records", f"expected at most {MAX_OBJECTS} objects in one body")
    rows = Rows(signal, latest, len(body))
    line = 0
    try:
        request = _request(body)
        for resource in request.resource_logs if signal is Signal.LOG else request.resource_spans:
            rows.count()
            shared = _attributes(_resource(_limited(resource.resource)).attributes)
            for scope in resource.scope_logs if signal is Signal.LOG else resource.scope_spans:
                rows.count()
                origin = Origin.of(dict(shared), _scope(_limited(scope.scope)).name)
                for raw in scope.log_records if signal is Signal.LOG else scope.spans:
                    rows.count()
                    line += 1
                    _add(rows, line, raw, origin, signal)
    except _NO_JSON as error:
        raise BodyError(400, "not_json", f"expected OTLP JSON: {_reason(error)}") from None
    return rows.decoded()


def decode_json_lines(pieces: Iterable[bytes], latest: int) -> Iterator[Decoded]:
    """The events of a file of OTLP JSON lines, as the collector's file exporter writes them: one request a line.

    Logs and traces may alternate. A line that is no request is one reject; a rejected record carries its line.
    """
    for first_line, lines in line_blocks(pieces, MAX_REQUEST_BYTES):
        for number, line in enumerate(lines, first_line):
            rejects = Rejects()
            if line is None:
                rejects.add(number, "line_too_long", f"expected at most {MAX_REQUEST_BYTES} bytes in a line")
                yield rejects.decoded(empty())
                continue
            if not line or line.isspace():
                continue
            try:
                signal = Signal.SPAN if b'"resourceSpans"' in line else Signal.LOG
                decoded = decode_json(line, signal, latest)
            except BodyError as error:
                rejects.add(number, error.reason, error.detail)
                yield rejects.decoded(empty())
                continue
            named = tuple(Rejected(number, reject.reason, reject.detail) for reject in decoded.rejected)
            yield Decoded(decoded.batch, named, decoded.reasons)


def _add(rows: Rows, line: int, raw: Raw, origin: Origin, signal: Signal) -> None:
    if memoryview(raw).nbytes > MAX_RECORD_BYTES:
        rows.rejects.add(line, "record_too_long", f"expected at most {MAX_RECORD_BYTES} bytes in a record")
        return
    try:
        record: Log | Span = _read_log(raw) if signal is Signal.LOG else _read_span(raw)
    except _NO_JSON as error:
        rows.rejects.add(line, "invalid_record", _reason(error))
        return
    if isinstance(record, Log):
        rows.log(line, record, origin)
    else:
        rows.span(line, record, origin)


def _read_log(raw: Raw) -> Log:
    log = _log(raw)
    return Log(
        log.time_unix_nano if log.time_unix_nano not in {"0", ""} else 0,
        log.observed_time_unix_nano,
        _enum(log.severity_number),
        log.severity_text,
        log.event_name,
        None if log.body is None else _value(log.body),
        _attributes(log.attributes),
        id_bytes(log.trace_id, 16),
        id_bytes(log.span_id, 8),
    )


def _read_span(raw: Raw) -> Span:
    span = _span(raw)
    return Span(
        span.name,
        _enum(span.kind),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _enum(span.status.code),
        span.status.message,
        _attributes(span.attributes),
        id_bytes(span.trace_id, 16),
        id_bytes(span.span_id, 8),
        id_bytes(span.parent_span_id, 8) if span.parent_span_id else b"",
        [{"name": event.name, "attributes": _attributes(event.attributes)} for event in span.events],
    )


def _limited(raw: Raw) -> Raw:
    if memoryview(raw).nbytes > MAX_RECORD_BYTES:
        raise BodyError(
            413, "record_too_long", f"expected at most {MAX_RECORD_BYTES} bytes of shared attributes"
        )
    return raw


def _enum(value: int | str) -> int:
    if isinstance(value, int):
        return value
    return _ENUMS.get(value, 0) if not value.isdecimal() else int(value[:9])


def _attributes(pairs: list[_Pair]) -> dict[str, Any]:
    return {pair.key: None if pair.value is None else _value(pair.value) for pair in pairs}


def _value(value: _Value) -> Any:
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return int(value.int_value)
    if value.bool_value is not None:
        return value.bool_value
    if value.double_value is not None:
        return float(value.double_value)
    if value.array_value is not None:
        return [_value(item) for item in value.array_value.values]
    if value.kvlist_value is not None:
        return _attributes(value.kvlist_value.values)
    if value.bytes_value is not None:
        return base64.b64decode(value.bytes_value, validate=True)
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "less nesting"
    if isinstance(error, UnicodeDecodeError):
        return "bytes that are not UTF-8"
    if isinstance(error, msgspec.DecodeError):
        return str(error)
    return "text of base64" if isinstance(error, binascii.Error) else "a number in text"
