"""The keys of OTLP/JSON agree with the official definitions, and each is found in its place."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from guardian.decode import otlp_json_schema as schema

OFFICIAL = {
    schema.LOGS: logs_service_pb2.ExportLogsServiceRequest,
    schema.SPANS: trace_service_pb2.ExportTraceServiceRequest,
    schema.RESOURCE_LOGS: logs_pb2.ResourceLogs,
    schema.RESOURCE_SPANS: trace_pb2.ResourceSpans,
    schema.SCOPE_LOGS: logs_pb2.ScopeLogs,
    schema.SCOPE_SPANS: trace_pb2.ScopeSpans,
    schema.RESOURCE: resource_pb2.Resource,
    schema.SCOPE: common_pb2.InstrumentationScope,
    schema.LOG: logs_pb2.LogRecord,
    schema.SPAN: trace_pb2.Span,
    schema.EVENT: trace_pb2.Span.Event,
    schema.STATUS: trace_pb2.Status,
    schema.PAIR: common_pb2.KeyValue,
    schema.VALUE: common_pb2.AnyValue,
    schema.LIST: common_pb2.ArrayValue,
    schema.OBJECT: common_pb2.KeyValueList,
}
WIRE = {1: 1, 3: 0, 6: 1, 8: 0, 9: 2, 11: 2, 12: 2, 14: 0}


@pytest.mark.parametrize(("number", "field"), list(enumerate(schema.FIELDS)))
def test_fields(number: int, field: tuple[int, str, tuple[int, int, int]]) -> None:
    message, key, (_, kind, inner) = field
    assert schema.SLOTS[message, schema.place(len(key), ord(key[0]), ord(key[-1]))] == number, (
        "no other is there"
    )
    first, last = schema.KEY_STARTS[number], schema.KEY_STARTS[number + 1]
    assert schema.KEY_DATA[first:last].tobytes() == key.encode()
    if kind == schema.REFUSED:
        return
    (official,) = (each for each in OFFICIAL[message].DESCRIPTOR.fields if each.json_name == key)
    assert schema.FIELD_TAG[number] == official.number << 3 | WIRE[official.type]
    if kind in {schema.MESSAGE, schema.MANY}:
        assert official.message_type.full_name == OFFICIAL[inner].DESCRIPTOR.full_name


def test_digits() -> None:
    assert [schema.HEX_VALUES[ord(each)] for each in "09afAF gG"] == [0, 9, 10, 15, 10, 15, -1, -1, -1]
    assert bytes(schema.ESCAPED).decode() == '"\\/\b\f\n\r\t'
