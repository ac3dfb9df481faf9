"""OTLP: the record is read back by OpenTelemetry's own messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from exporters.alert import Alert
from exporters.formats import About, otlp
from exporters.formats.sentences import description, title
from tests.twins_forms import alerts, with_long_names

ABOUT = About("en", "0.1.0", "guardia-1")


def test_golden(
    step: str, steps: dict[str, Alert], about: About, golden: Callable[[str, bytes], None]
) -> None:
    """The file holds the record as OTLP/JSON has it, for people to read."""
    record = LogRecord.FromString(otlp.render(steps[step], about))
    golden(f"otlp.{step}.json", json.dumps(MessageToDict(record), ensure_ascii=False, indent=1).encode())


@given(alert=alerts())
def test_every_field_is_read_back(alert: Alert) -> None:
    record = LogRecord.FromString(otlp.render(alert, ABOUT))
    told = {each.key: value(each.value) for each in record.attributes}
    assert len(told) == len(record.attributes)
    assert (record.time_unix_nano, record.observed_time_unix_nano) == (alert.created_at, alert.created_at)
    assert record.event_name == "tamv.guardian.alert"
    assert record.body.string_value == f"{title(alert, 'en')}. {description(alert, 'en')}"
    assert record.trace_id.hex() == (alert.trace_id if alert.trace_id.strip("0") else "")
    assert (told["log.record.uid"], told["tamv.guardian.finding"]) == (alert.id, alert.identity)
    assert (told["tamv.guardian.role"], told["tamv.guardian.entity"]) == (alert.role, alert.entity)
    standard = {"actor": "user.name", "address": "source.address", "session": "session.id"}
    assert told[standard.get(alert.role, "destination.address")] == alert.entity
    assert told["tamv.guardian.activity"] == alert.activity
    assert (told["tamv.guardian.level"], told["tamv.guardian.level_from"]) == (
        alert.level_to.word,
        alert.level_from.word,
    )
    assert told["tamv.guardian.score"] == alert.score
    assert (told["tamv.guardian.synthetic"], told["tamv.guardian.extrapolated"]) == (
        alert.synthetic,
        alert.extrapolated,
    )
    assert told["tamv.guardian.suppressed"] == alert.suppressed
    assert told.get("tamv.guardian.suppressed_since", 0) == alert.suppressed_since
    assert told.get("tamv.guardian.layer", "L-1") == f"L{alert.layer}"
    assert told.get("tamv.guardian.tags", []) == list(alert.tags)
    assert told["security_rule.version"] == alert.config


def test_severities_rise_with_levels_and_are_named_as_otel_names_them() -> None:
    numbers = [number for number, _ in otlp.SEVERITY.values()]
    assert numbers == sorted(set(numbers))
    for number, text in otlp.SEVERITY.values():
        assert SeverityNumber.Name(number) == f"SEVERITY_NUMBER_{text}"


@given(alert=alerts())
@settings(max_examples=25)
def test_long_names_are_cut_and_the_ids_kept(alert: Alert) -> None:
    raw = otlp.render(with_long_names(alert), ABOUT)
    told = {each.key: value(each.value) for each in LogRecord.FromString(raw).attributes}
    assert (told["log.record.uid"], told["tamv.guardian.finding"]) == (alert.id, alert.identity)
    assert len(raw) < 16 * 1024


@pytest.mark.parametrize("trace", ["", "0" * 32, "xyz", "ab" * 15])
def test_what_is_no_trace_id_is_none(steps: dict[str, Alert], trace: str) -> None:
    import dataclasses

    raw = otlp.render(dataclasses.replace(steps["open"], trace_id=trace), ABOUT)
    assert LogRecord.FromString(raw).trace_id == b""


def value(each: AnyValue) -> Any:
    if each.WhichOneof("value") == "array_value":
        return [value(one) for one in each.array_value.values]
    return getattr(each, each.WhichOneof("value"))
