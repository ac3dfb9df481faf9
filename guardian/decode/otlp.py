"""OpenTelemetry logs and spans as events, one record at a time: the specification of what the kernels do in bulk.

Owns the meaning of attributes, whose names are in ``conventions``; ``otlp_wire`` and ``otlp_json`` own the two encodings
and hand plain values over. An attribute that became a column is left out of ``attrs``; the resource's attributes stand
there under ``resource``. ``otlp_kernels`` does the same to whole bodies, to the byte, wherever they hold nothing unusual.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from guardian.decode.columns import MAX_RECORDS, Decoded, Rejects
from guardian.decode.conventions import (
    ACTOR,
    ADDRESS,
    DURATION,
    ERROR,
    EVENT_OUTCOMES,
    GRPC_DENIED,
    GRPC_STATUS,
    KIND,
    LAYER,
    METHOD,
    OUTCOME,
    PATH,
    PEER,
    RESOURCE_SOURCE,
    RESOURCE_TARGET,
    ROUTE,
    RPC_OUTCOMES,
    RPC_STATUS,
    SERVER_KINDS,
    SESSION,
    SEVERITY_OF_TEXT,
    STATUS,
    STATUS_ERROR,
    STATUS_OK,
    TARGET,
)
from guardian.decode.draft import Draft, Names, finish, id_column, layer_of, objects, shorten
from guardian.decode.mapping import TEXT_COLUMNS
from guardian.decode.scalars import finite, number, scalar_text
from guardian.decode.times import GOOD, number_ns
from guardian.errors import BodyError
from guardian.events import Outcome, Signal

MAX_RECORD_BYTES: Final = 2**20

_NAMED: Final = KIND[:1]
_SERVER_ADDRESS: Final = ADDRESS + PEER

_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Origin:
    """What all records of one resource and scope share."""

    source: str = ""
    target: str = ""
    layer: int = -1
    scope: str = ""
    tail: bytes = b""
    """The resource's further attributes as the last member of ``attrs``."""

    @classmethod
    def of(cls, resource: dict[str, Any], scope: str) -> Origin:
        """The origin that a resource's attributes and a scope's name describe. Takes ``service.name`` out of it."""
        source, target = _first(resource, RESOURCE_SOURCE, []), _first(resource, RESOURCE_TARGET, [])
        layer = layer_of(scalar_text(resource.get(LAYER[0])), -1)
        resource.pop(RESOURCE_SOURCE[0], None)
        tail = b'"resource":' + _encode(resource) if resource else b""
        return cls(source, target, layer, scope, tail)


@dataclass(slots=True)
class Log:
    """One log record as both encodings give it."""

    time: Any
    observed: Any
    severity_number: int
    severity_text: str
    event_name: str
    body: Any
    attributes: dict[str, Any]
    trace_id: bytes
    span_id: bytes


@dataclass(slots=True)
class Span:
    """One span as both encodings give it."""

    name: str
    kind: int
    start: Any
    end: Any
    status: int
    status_message: str
    attributes: dict[str, Any]
    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    events: list[dict[str, Any]] = field(default_factory=list)


def text_room(body_bytes: int) -> int:
    """Most bytes of names, messages and attributes that a body of some length may become.

    The resource's attributes are repeated for every record, so without a bound a megabyte of them and a million empty
    records would be a terabyte.
    """
    return min(max(64 * 2**20, 8 * body_bytes), 2**31 - 1)


class Rows:
    """Collects the records of a body of ``body_bytes`` into columns."""

    def __init__(self, signal: Signal, latest: int, body_bytes: int = 0) -> None:
        self._signal = signal
        self._latest = latest
        self.rejects = Rejects()
        self._tables: dict[str, dict[str, int]] = {name: {} for name in TEXT_COLUMNS}
        self._codes: dict[str, list[int]] = {name: [] for name in TEXT_COLUMNS}
        self._lines: list[int] = []
        self._ts: list[int] = []
        self._verdicts: list[int] = []
        self._outcome: list[int] = []
        self._layer: list[int] = []
        self._severity: list[float] = []
        self._value: list[float] = []
        self._ids: tuple[list[bytes], list[bytes]] = ([], [])
        self._body: list[str | None] = []
        self._attrs = bytearray()
        self._attr_ends: list[int] = []
        self._seen = 0
        self._room = text_room(body_bytes)

    def count(self) -> int:
        """Count one record, scope or resource.

        Raises:
            BodyError: there are more than MAX_RECORDS.
        """
        self._seen += 1
        if self._seen > MAX_RECORDS:
            raise BodyError(413, "too_many_records", f"expected at most {MAX_RECORDS} records in one body")
        return self._seen

    def log(self, line: int, log: Log, origin: Origin) -> None:
        """Add a log record.

        The kind is the event's name. Without one, a record with a message has no kind yet: the message's template will
        be it; a record without a message is of the kind that scope and severity make (``app.db: error``).
        """
        attributes, used = log.attributes, list(_NAMED)
        ts, verdict = number_ns(log.time, "ns", self._latest) if log.time else (0, 0)
        if not ts and not verdict:
            ts, verdict = number_ns(log.observed or None, "ns", self._latest)
        severity = log.severity_number or SEVERITY_OF_TEXT.get(log.severity_text.lower(), 0)
        kind = log.event_name or _first(attributes, KIND, used)
        if not kind and not (type(log.body) is str and log.body.strip()):
            word = log.severity_text.lower() or "log"
            kind = f"{shorten(origin.scope)}: {word}" if origin.scope else word
        extra = {"severity_text": log.severity_text} if log.severity_text else {}
        body = log.body if type(log.body) is str else "" if log.body is None else _encode(log.body).decode()
        value = number(attributes.get(DURATION[0])) * 1e-9
        if value == value:  # noqa: PLR0124  (NaN: it stays an attribute)
            used.append(DURATION[0])
        outcome = _outcome(attributes)
        self._add(
            line,
            ts,
            verdict,
            kind,
            attributes,
            used,
            origin,
            _SERVER_ADDRESS,
            extra,
            body,
            (log.trace_id, log.span_id),
        )
        self._outcome.append(outcome)
        self._severity.append((severity - 1) / 23 if 1 <= severity <= 24 else math.nan)
        self._value.append(value)

    def span(self, line: int, span: Span, origin: Origin) -> None:
        """Add a span, at the time of its end: that is when it could be known. Its value is its duration in seconds.

        The kind is method and route for HTTP (``GET /orders/{id}``), else the span's name.
        """
        attributes, used = span.attributes, list[str]()
        end, verdict = number_ns(span.end or span.start or None, "ns", self._latest)
        start, start_verdict = number_ns(span.start or None, "ns", self._latest)
        route, method = _first(attributes, ROUTE, []), _first(attributes, METHOD, [])
        kind = f"{method} {route}".strip() if route else span.name
        extra: dict[str, Any] = {"name": span.name} if route and span.name != kind else {}
        if span.parent_span_id:
            extra["parent_span_id"] = span.parent_span_id.hex()
        if span.status_message:
            extra["otel.status_description"] = span.status_message
        if span.events:
            extra["events"] = span.events
        addresses = _SERVER_ADDRESS if span.kind in SERVER_KINDS else ADDRESS
        outcome = _outcome(attributes)
        if outcome != Outcome.DENIED and span.status == STATUS_ERROR:
            outcome = Outcome.FAILURE
        elif outcome == Outcome.UNKNOWN and span.status == STATUS_OK:
            outcome = Outcome.SUCCESS
        self._add(
            line,
            end,
            verdict,
            kind,
            attributes,
            used,
            origin,
            addresses,
            extra,
            "",
            (span.trace_id, span.span_id),
        )
        self._outcome.append(outcome)
        self._severity.append(math.nan)
        duration = (end - start) / 1e9 if verdict == start_verdict == GOOD and end >= start else math.nan
        self._value.append(duration)

    def _add(
        self,
        line: int,
        ts: int,
        verdict: int,
        kind: str,
        attributes: dict[str, Any],
        used: list[str],
        origin: Origin,
        addresses: tuple[str, ...],
        extra: dict[str, Any],
        body: str,
        ids: tuple[bytes, bytes],
    ) -> None:
        names = (
            origin.source,
            kind,
            _first(attributes, ACTOR, used),
            _first(attributes, addresses, used),
            _first(attributes, TARGET, used) or origin.target or _first(attributes, PATH, []),
            _first(attributes, SESSION, used),
        )
        for name, text in zip(TEXT_COLUMNS, names, strict=True):
            table = self._tables[name]
            code = table.get(text)
            if code is None:
                code = table[text] = len(table)
                self._room -= len(text)
            self._codes[name].append(code)
        self._lines.append(line)
        self._ts.append(ts)
        self._verdicts.append(verdict)
        layer = attributes.get(LAYER[0])
        self._layer.append(origin.layer if layer is None else layer_of(scalar_text(layer), origin.layer))
        for column, found, size in zip(self._ids, ids, (16, 8), strict=True):
            column.append(found if len(found) == size else bytes(size))
        self._body.append(body or None)
        for name in used:
            attributes.pop(name, None)
        if origin.scope:
            extra["otel.scope.name"] = origin.scope
        attrs = _encode(attributes | extra if extra else attributes)
        if origin.tail:
            attrs = attrs[:-1] + (b"," if len(attrs) > 2 else b"") + origin.tail + b"}"
        self._room -= len(attrs) + len(body)
        if self._room < 0:
            raise BodyError(
                413, "attributes_too_long", "expected less text once each record has its resource's"
            )
        self._attrs += attrs
        self._attr_ends.append(len(self._attrs))

    def decoded(self) -> Decoded:
        """The events and rejects of all that was added."""
        count = len(self._lines)
        draft = Draft(
            lines=np.array(self._lines, np.int64),
            ts=np.array(self._ts, np.int64),
            verdicts=np.array(self._verdicts, np.int8),
            names={name: Names(self._codes[name], list(self._tables[name])) for name in TEXT_COLUMNS},
            outcome=np.array(self._outcome, np.int8),
            layer=np.array(self._layer, np.int8),
            severity=np.array(self._severity, np.float64),
            value=finite(np.array(self._value, np.float64)) if count else np.zeros(0),
            trace_id=id_column(self._ids[0], 16),
            span_id=id_column(self._ids[1], 8),
            body=pa.array(self._body, pa.string()),
            attrs=objects(self._attrs, self._attr_ends),
            signal=self._signal,
        )
        batch, _ = finish(draft, self.rejects)
        return self.rejects.decoded(batch)


def _first(attributes: dict[str, Any], names: tuple[str, ...], used: list[str]) -> str:
    for name in names:
        found = attributes.get(name)
        if found is not None:
            text = found if type(found) is str else scalar_text(found)
            if text:
                used.append(name)
                return text
    return ""


def _outcome(attributes: dict[str, Any]) -> int:
    for name in STATUS:
        status = number(attributes.get(name))
        if status in {401, 403}:
            return Outcome.DENIED
        if status >= 100:
            return Outcome.FAILURE if status >= 400 else Outcome.SUCCESS
    grpc = number(attributes.get(GRPC_STATUS[0]))
    if grpc == 0:
        return Outcome.SUCCESS
    if grpc > 0:
        return Outcome.DENIED if grpc in GRPC_DENIED else Outcome.FAILURE
    rpc = _first(attributes, RPC_STATUS, []).lower()
    if rpc:
        return RPC_OUTCOMES.get(rpc, Outcome.FAILURE)
    stated = EVENT_OUTCOMES.get(scalar_text(attributes.get(OUTCOME[0])).lower())
    if stated is not None:
        return stated
    return Outcome.FAILURE if attributes.get(ERROR[0]) or attributes.get(ERROR[1]) else Outcome.UNKNOWN
