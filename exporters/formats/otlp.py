"""An alert as a serialized OpenTelemetry ``LogRecord``.

Attributes are those of the semantic conventions where there is one, and ``tamv.guardian.*`` where there is none. The
resource, scope and request around it belong to the sink, which sends many records in one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from exporters.alert import Alert
from exporters.formats import sentences
from exporters.formats.about import About
from exporters.formats.limits import bounded
from guardian.levels import RECOMMENDED_ACTION, Level

EVENT_NAME: Final = "tamv.guardian.alert"
SEVERITY: Final = {
    Level.NONE: (9, "INFO"),
    Level.LOW: (10, "INFO2"),
    Level.MEDIUM: (13, "WARN"),
    Level.HIGH: (17, "ERROR"),
    Level.CRITICAL: (21, "FATAL"),
}
"""SeverityNumber of the logs data model, and its short name."""

_ENTITY: Final = {"actor": "user.name", "address": "source.address", "session": "session.id"}
_TRACE: Final = re.compile(r"(?!0{32})[0-9a-f]{32}\Z")

_Value = str | bool | int | float | Sequence[str]


def render(alert: Alert, about: About) -> bytes:
    """The record. A pure function: the time of observation is that of the alert."""
    alert = bounded(alert)
    number, text = SEVERITY[alert.level_to]
    told = f"{sentences.title(alert, about.language)}. {sentences.description(alert, about.language)}"
    return LogRecord(
        time_unix_nano=alert.created_at,
        observed_time_unix_nano=alert.created_at,
        severity_number=number,  # type: ignore[arg-type]  # the stub wants a member of the enum, the wire a number
        severity_text=text,
        event_name=EVENT_NAME,
        body=AnyValue(string_value=told),
        attributes=[KeyValue(key=key, value=_value(value)) for key, value in _attributes(alert).items()],
        trace_id=bytes.fromhex(alert.trace_id) if _TRACE.match(alert.trace_id) else b"",
    ).SerializeToString(deterministic=True)


def _attributes(alert: Alert) -> dict[str, _Value]:
    told: dict[str, _Value] = {
        "log.record.uid": alert.id,
        "tamv.guardian.finding": alert.identity,
        "tamv.guardian.activity": alert.activity,
        _ENTITY.get(alert.role, "destination.address"): alert.entity,
        "security_rule.name": "guardian entity risk",
        "security_rule.ruleset.name": "guardian",
        "security_rule.version": alert.config,
        "tamv.guardian.role": alert.role,
        "tamv.guardian.entity": alert.entity,
        "tamv.guardian.level": alert.level_to.word,
        "tamv.guardian.level_from": alert.level_from.word,
        "tamv.guardian.score": alert.score,
        "tamv.guardian.recommended_action": RECOMMENDED_ACTION[alert.level_to],
        "tamv.guardian.synthetic": alert.synthetic,
        "tamv.guardian.extrapolated": alert.extrapolated,
        "tamv.guardian.suppressed": alert.suppressed,
    }
    if alert.suppressed_since:
        told["tamv.guardian.suppressed_since"] = alert.suppressed_since
    if alert.layer >= 0:
        told["tamv.guardian.layer"] = f"L{alert.layer}"
    if alert.tags:
        told["tamv.guardian.tags"] = alert.tags
    return told


def _value(value: _Value) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=each) for each in value]))
