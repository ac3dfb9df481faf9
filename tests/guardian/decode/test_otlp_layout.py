"""The tables of the wire format agree with the official definitions."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from guardian.decode import otlp_layout as to

WIRE = {1: 1, 3: 0, 5: 0, 6: 1, 7: 5, 8: 0, 9: 2, 11: 2, 12: 2, 13: 0, 14: 0}
STRING, MESSAGE = 9, 11
MESSAGES: list[tuple[int, Any]] = [
    (to.LOG_RECORD, logs_pb2.LogRecord),
    (to.SPAN_RECORD, trace_pb2.Span),
    (to.STATUS_MESSAGE, trace_pb2.Status),
    (to.LINK, trace_pb2.Span.Link),
    (to.SCOPE, common_pb2.InstrumentationScope),
    (to.RESOURCE, resource_pb2.Resource),
    (to.ENTITY, common_pb2.EntityRef),
    (to.SPAN_EVENT, trace_pb2.Span.Event),
]


@pytest.mark.parametrize(("message", "official"), MESSAGES)
def test_every_place_is_a_field_of_that_wire_type(message: int, official: Any) -> None:
    tags = {field.number << 3 | WIRE[field.type] for field in official.DESCRIPTOR.fields}
    assert {tag for tag in range(256) if to.PLACES[message, tag] != to.IGNORED} <= tags


@pytest.mark.parametrize(("message", "official"), MESSAGES)
def test_no_text_and_no_message_goes_unchecked(message: int, official: Any) -> None:
    """What the official decoder would refuse, text that is no UTF-8 and broken messages, is looked at or not plain."""
    for field in official.DESCRIPTOR.fields:
        if field.type in {STRING, MESSAGE} and (message, field.name) != (to.SPAN_EVENT, "attributes"):
            assert to.PLACES[message, field.number << 3 | 2] != to.IGNORED, field.full_name


def test_kinds_of_values() -> None:
    for field in common_pb2.AnyValue.DESCRIPTOR.fields:
        expected = field.number if field.number <= to.OCTETS else -1
        assert to.KINDS[field.number << 3 | WIRE[field.type]] == expected


def test_room_grows_with_what_is_asked_for() -> None:
    walk = to.walk(3, 2, 5, 7)
    assert walk.records.shape == (3, to.FIELDS)
    assert not walk.records.any()
    assert not walk.state.any()
    assert len(walk.state) >= to.NAMES + (to.DEPTH + 1) * to.MEMBERS
    small, large = to.interned(1, 10), to.interned(10_000, 10)
    assert len(small.places) < len(large.places)
    assert len(large.places) & (len(large.places) - 1) == 0
    assert len(large.entries) >= 2 * (3 * len(large.places) // 4)
