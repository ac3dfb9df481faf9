"""Items of the synthetic day as the bytes and objects that each door of the service takes.

Owns the wire forms: TAMV's structured log lines as NDJSON, OTLP/JSON logs and spans, the XR envelope. Every record
says that it is synthetic. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from guardian.demo.day import Item


def instant(start_s: float, item: Item) -> str:
    """When the item happens, ISO 8601 with microseconds.

    >>> instant(0.0, Item(1.5, 0, "log", {}))
    '1970-01-01T00:00:01.500000Z'
    """
    return (
        datetime.fromtimestamp(start_s + item.at, UTC)
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )


def _nanoseconds(start_s: float, item: Item) -> int:
    return int(start_s) * 10**9 + round((start_s % 1.0 + item.at) * 1e9)


def ndjson(start_s: float, items: Iterable[Item]) -> bytes:
    """Structured log lines of TAMV, one a line."""
    encode = msgspec.json.encode
    return b"".join(encode({"timestamp": instant(start_s, item)} | item.body) + b"\n" for item in items)


def _attributes(values: dict[str, str | bool]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"boolValue" if isinstance(value, bool) else "stringValue": value}}
        for key, value in values.items()
    ]


def _by_service(items: Iterable[Item]) -> dict[tuple[str, str], list[Item]]:
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.body["service"], item.body["layer"]), []).append(item)
    return groups


def _resource(service: str, layer: str) -> dict[str, Any]:
    return {"attributes": _attributes({"service.name": service, "tamv.layer": layer, "tamv.synthetic": True})}


def otlp_logs(start_s: float, items: Iterable[Item]) -> bytes:
    """An ``ExportLogsServiceRequest`` in OTLP/JSON."""
    scope = {"name": "tamv.demo"}
    resources = [
        {
            "resource": _resource(service, layer),
            "scopeLogs": [{"scope": scope, "logRecords": [_record(start_s, item) for item in group]}],
        }
        for (service, layer), group in _by_service(items).items()
    ]
    return msgspec.json.encode({"resourceLogs": resources})


def _record(start_s: float, item: Item) -> dict[str, Any]:
    body = item.body
    at = str(_nanoseconds(start_s, item))
    number, word = (9, "INFO") if body["ok"] else (17, "ERROR")
    return {
        "timeUnixNano": at,
        "observedTimeUnixNano": at,
        "severityNumber": number,
        "severityText": word,
        "eventName": body["name"],
        "body": {"stringValue": f"{body['name']} en {body['target']}: {body['duration_ms']} ms"},
        "attributes": _attributes({"event.name": body["name"], "peer.service": body["target"]}),
        "traceId": body["trace"],
        "spanId": body["span"],
    }


def otlp_spans(start_s: float, items: Iterable[Item]) -> bytes:
    """An ``ExportTraceServiceRequest`` in OTLP/JSON. A span ends at its item's time, so it never lies ahead."""
    scope = {"name": "tamv.demo"}
    resources = [
        {
            "resource": _resource(service, layer),
            "scopeSpans": [{"scope": scope, "spans": [_span(start_s, item) for item in group]}],
        }
        for (service, layer), group in _by_service(items).items()
    ]
    return msgspec.json.encode({"resourceSpans": resources})


def _span(start_s: float, item: Item) -> dict[str, Any]:
    body = item.body
    end = _nanoseconds(start_s, item)
    return {
        "traceId": body["trace"],
        "spanId": body["span"],
        "name": body["name"],
        "kind": 3,  # client: the service works on what ``peer.service`` names
        "startTimeUnixNano": str(end - int(body["duration_ms"] * 1e6)),
        "endTimeUnixNano": str(end),
        "attributes": _attributes({"peer.service": body["target"]}),
        "status": {"code": 1 if body["ok"] else 2},
    }


def envelope(start_s: float, item: Item) -> str:
    """One XR message."""
    payload = dict(item.body)
    scene, session = payload.pop("sceneId"), payload.pop("sessionId")
    message = {
        "type": "event_received",
        "payload": payload,
        "createdAt": instant(start_s, item),
        "sessionId": session,
        "sceneId": scene,
    }
    return msgspec.json.encode(message).decode()


def request(start_s: float, item: Item) -> tuple[str, bytes]:
    """Route and body of a decision: protocol, Isabella or EOCT.

    The decision carries when it happened in ``createdAt`` (protocols: in their metadata), since the play's clock
    runs faster than the service's.
    """
    body = dict(item.body)
    at = instant(start_s, item)
    if item.door == "protocol":
        body["metadata"] = body["metadata"] | {"createdAt": at}
        return "/api/v1/protocols/execute", msgspec.json.encode(body)
    route = {"isabella": "/api/v1/isabella/decisions", "eoct": "/api/v1/eoct/evaluate"}[item.door]
    return route, msgspec.json.encode(body | {"createdAt": at})
