"""OTLP logs and traces to events, from protobuf (the official decoder) and from JSON.

Owns which attribute of the OpenTelemetry semantic conventions means which column. JSON goes through msgspec, never
through protobuf's ``json_format``, which takes 270 µs a record and would be a way to deny service.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from guardian.decode.columns import EARLIEST, Decoded, Rejects, as_text, batch_of, encoded, in_range
from guardian.errors import BodyError
from guardian.events import LAYERS, Outcome, Signal

ACTOR: Final = ("user.id", "enduser.id", "user.name", "user.email")
ADDRESS: Final = (
    "client.address",
    "source.address",
    "network.peer.address",
    "net.peer.ip",
    "http.client_ip",
    "source.ip",
)
TARGET: Final = (
    "server.address",
    "destination.address",
    "peer.service",
    "host.name",
    "db.namespace",
    "url.path",
)
SESSION: Final = ("session.id",)
STATUS: Final = ("http.response.status_code", "http.status_code")
LAYER: Final = "tamv.layer"

_DENIED: Final = frozenset({"401", "403"})
_MAX_DEPTH: Final = 32


class _Rows:
    """Records on their way to columns: one list a column."""

    def __init__(self, signal: Signal, received_at: int) -> None:
        self.signal = signal
        self.received_at = received_at
        self.rejects = Rejects()
        self.seen = 0
        self.ts: list[int] = []
        self.text: dict[str, list[str]] = {
            name: [] for name in ("source", "kind", "actor", "address", "target", "session")
        }
        self.layer: list[int] = []
        self.outcome: list[int] = []
        self.severity: list[float] = []
        self.value: list[float] = []
        self.trace_id: list[bytes] = []
        self.span_id: list[bytes] = []
        self.body: list[str | None] = []
        self.attrs: list[str | None] = []

    def add(
        self,
        ts: int,
        kind: str,
        resource: Mapping[str, Any],
        own: dict[str, Any],
        *,
        outcome: Outcome,
        severity: float = np.nan,
        value: float = np.nan,
        trace_id: bytes,
        span_id: bytes,
        body: str | None,
    ) -> None:
        self.seen += 1
        if ts == 0:
            self.rejects.add(self.seen, "no_time", "expected a time in timeUnixNano or observedTimeUnixNano")
            return
        if not (EARLIEST <= ts < 2**63) or not in_range(np.array([ts]), self.received_at)[0]:
            self.rejects.add(
                self.seen, "time_out_of_range", "expected a time from 1990 to a day after its arrival"
            )
            return
        self.ts.append(ts)
        self.text["kind"].append(kind)
        self.text["source"].append(_first(("service.name",), own, resource))
        for name, keys in (("actor", ACTOR), ("address", ADDRESS), ("target", TARGET), ("session", SESSION)):
            self.text[name].append(_first(keys, own, resource))
        layer = _first((LAYER,), own, resource)
        self.layer.append(LAYERS.index(layer) if layer in LAYERS else -1)
        status = _first(STATUS, own, {})
        if status in _DENIED:
            outcome = Outcome.DENIED
        elif len(status) == 3 and status[0] in "45":
            outcome = Outcome.FAILURE
        elif len(status) == 3 and outcome == Outcome.UNKNOWN:
            outcome = Outcome.SUCCESS
        self.outcome.append(int(outcome))
        self.severity.append(severity)
        self.value.append(value)
        self.trace_id.append(trace_id if len(trace_id) == 16 else bytes(16))
        self.span_id.append(span_id if len(span_id) == 8 else bytes(8))
        self.body.append(body)
        self.attrs.append(msgspec.json.encode(own).decode() if own else None)

    def decoded(self) -> Decoded:
        rows = len(self.ts)
        made = {
            "ts": pa.array(self.ts, pa.int64()).cast(pa.timestamp("ns", tz="UTC")),
            "signal": pa.array(np.full(rows, int(self.signal), np.int8)),
            "layer": pa.array(self.layer, pa.int8()),
            **{name: encoded(pa.array(values, pa.string())) for name, values in self.text.items()},
            "outcome": pa.array(self.outcome, pa.int8()),
            "severity": pa.array(self.severity, pa.float64()),
            "value": pa.array(self.value, pa.float64()),
            "trace_id": pa.array(self.trace_id, pa.binary(16)),
            "span_id": pa.array(self.span_id, pa.binary(8)),
            "body": pa.array(self.body, pa.string()),
            "attrs": pa.array(self.attrs, pa.string()),
        }
        return self.rejects.decoded(batch_of(rows, made))


def decode_logs(data: bytes, *, is_json: bool, received_at: int) -> Decoded:
    """The records of an ExportLogsServiceRequest. ``kind`` is the event name, else the severity and the scope.

    Raises:
        BodyError: the body is not such a request.
    """
    rows = _Rows(Signal.LOG, received_at)
    for resource, scope, record in _json(data, "Logs", "logRecords") if is_json else _log_records(data):
        attributes = record["attributes"]
        severity = record["severity"]
        word = record["severity_text"].lower() or "log"
        name = record["event_name"] or _text(attributes.get("event.name"))
        rows.add(
            record["time"] or record["observed"],
            name or (f"{scope}: {word}" if scope else word),
            resource,
            attributes,
            outcome=Outcome.UNKNOWN,
            severity=min(max((severity - 1) / 23, 0.0), 1.0) if severity else np.nan,
            trace_id=record["trace_id"],
            span_id=record["span_id"],
            body=record["body"],
        )
    return rows.decoded()


def decode_traces(data: bytes, *, is_json: bool, received_at: int) -> Decoded:
    """The spans of an ExportTraceServiceRequest. ``kind`` is method and route where there are, else the span's name.

    Raises:
        BodyError: the body is not such a request.
    """
    rows = _Rows(Signal.SPAN, received_at)
    for resource, _scope, span in _json(data, "Spans", "spans") if is_json else _spans(data):
        attributes = span["attributes"]
        route = _text(attributes.get("http.route"))
        method = _text(attributes.get("http.request.method") or attributes.get("http.method"))
        kind = f"{method} {route}".strip() if route else span["name"]
        took = span["end"] - span["start"]
        rows.add(
            span["start"],
            kind or "span",
            resource,
            attributes,
            outcome=(Outcome.UNKNOWN, Outcome.SUCCESS, Outcome.FAILURE)[span["status"]],
            value=took * 1e-9 if took >= 0 and span["end"] else np.nan,
            trace_id=span["trace_id"],
            span_id=span["span_id"],
            body=None,
        )
    return rows.decoded()


Record = tuple[Mapping[str, Any], str, dict[str, Any]]


def _log_records(data: bytes) -> Iterator[Record]:
    for whole in _parsed(ExportLogsServiceRequest(), data).resource_logs:
        resource = _attributes(whole.resource.attributes)
        for part in whole.scope_logs:
            for log in part.log_records:
                yield (
                    resource,
                    part.scope.name,
                    {
                        "time": log.time_unix_nano,
                        "observed": log.observed_time_unix_nano,
                        "severity": log.severity_number,
                        "severity_text": log.severity_text,
                        "event_name": log.event_name,
                        "attributes": _attributes(log.attributes),
                        "trace_id": log.trace_id,
                        "span_id": log.span_id,
                        "body": _body(_value(log.body)) if log.HasField("body") else None,
                    },
                )


def _spans(data: bytes) -> Iterator[Record]:
    for whole in _parsed(ExportTraceServiceRequest(), data).resource_spans:
        resource = _attributes(whole.resource.attributes)
        for part in whole.scope_spans:
            for span in part.spans:
                yield (
                    resource,
                    part.scope.name,
                    {
                        "name": span.name,
                        "start": span.start_time_unix_nano,
                        "end": span.end_time_unix_nano,
                        "status": span.status.code if span.status.code in (0, 1, 2) else 0,
                        "attributes": _attributes(span.attributes),
                        "trace_id": span.trace_id,
                        "span_id": span.span_id,
                    },
                )


def _parsed(message: Any, data: bytes) -> Any:
    try:
        message.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        raise BodyError(400, "not_otlp", f"not an OTLP request: {error}") from None
    return message


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any, depth: int = 0) -> Any:
    which = value.WhichOneof("value")
    if which is None or depth > _MAX_DEPTH:
        return None
    found = getattr(value, which)
    if which == "array_value":
        return [_value(each, depth + 1) for each in found.values]
    if which == "kvlist_value":
        return {pair.key: _value(pair.value, depth + 1) for pair in found.values}
    if which == "bytes_value":
        return base64.b64encode(found).decode()
    return found


def _json(data: bytes, what: str, records: str) -> Iterator[Record]:
    """The same from OTLP/JSON: ids are hexadecimal, 64-bit numbers may be texts, enums are numbers."""
    try:
        tree = msgspec.json.decode(data)
        for whole in _list(tree, f"resource{what}"):
            resource = _json_attributes(whole.get("resource", {}))
            for part in _list(whole, f"scope{what}"):
                scope = _text(part.get("scope", {}).get("name"))
                for each in _list(part, records):
                    yield resource, scope, _json_record(each)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BodyError(400, "not_otlp", f"not an OTLP/JSON request: {error}") from None
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise BodyError(
            400, "not_otlp", f"not an OTLP/JSON request: a field has another type ({error})"
        ) from None


def _list(tree: Any, key: str) -> list[Any]:
    found = tree.get(key) or []
    if not isinstance(found, list):
        raise BodyError(400, "not_otlp", f"not an OTLP/JSON request: {key} is no list")
    return found


def _json_record(each: dict[str, Any]) -> dict[str, Any]:
    status = each.get("status", {}).get("code", 0)
    codes = {"STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
    body = each.get("body")
    return {
        "time": int(each.get("timeUnixNano") or 0),
        "observed": int(each.get("observedTimeUnixNano") or 0),
        "start": int(each.get("startTimeUnixNano") or 0),
        "end": int(each.get("endTimeUnixNano") or 0),
        "severity": int(each.get("severityNumber") or 0),
        "severity_text": _text(each.get("severityText")),
        "event_name": _text(each.get("eventName")),
        "name": _text(each.get("name")),
        "status": codes.get(status, status if status in (0, 1, 2) else 0),
        "attributes": _json_attributes(each),
        "trace_id": _hex(each.get("traceId")),
        "span_id": _hex(each.get("spanId")),
        "body": None if body is None else _body(_json_value(body)),
    }


def _json_attributes(tree: dict[str, Any]) -> dict[str, Any]:
    return {_text(pair.get("key")): _json_value(pair.get("value")) for pair in _list(tree, "attributes")}


def _json_value(value: Any, depth: int = 0) -> Any:
    if not isinstance(value, dict) or depth > _MAX_DEPTH:
        return None
    for name, found in value.items():
        if name == "intValue":
            return int(found)
        if name == "arrayValue":
            return [_json_value(each, depth + 1) for each in _list(found, "values")]
        if name == "kvlistValue":
            return {
                _text(pair.get("key")): _json_value(pair.get("value"), depth + 1)
                for pair in _list(found, "values")
            }
        if name in ("stringValue", "boolValue", "doubleValue", "bytesValue"):
            return found
    return None


def _hex(text: Any) -> bytes:
    try:
        return binascii.unhexlify(text) if isinstance(text, str) else b""
    except binascii.Error:
        return b""


def _text(value: Any) -> str:
    return "" if value is None else as_text(value)


def _body(value: Any) -> str | None:
    return None if value is None else as_text(value)


def _first(keys: tuple[str, ...], own: Mapping[str, Any], resource: Mapping[str, Any]) -> str:
    for attributes in (own, resource):
        for key in keys:
            value = attributes.get(key)
            if value is not None and value != "":
                return as_text(value)
    return ""
