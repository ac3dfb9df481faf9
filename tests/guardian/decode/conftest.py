"""One OTLP request of logs and one of spans, in both encodings."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

NOW = 1_700_000_000 * 10**9
TRACE, SPAN = bytes(range(16)), bytes(range(8))
Request = ExportLogsServiceRequest | ExportTraceServiceRequest


@pytest.fixture
def logs() -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    resource.resource.attributes.add(key="deployment.environment").value.string_value = "prod"
    scope = resource.scope_logs.add()
    scope.scope.name = "cart"
    log = scope.log_records.add(
        time_unix_nano=NOW - 5, severity_number=17, severity_text="ERROR", trace_id=TRACE, span_id=SPAN
    )
    log.body.string_value = "boom"
    log.attributes.add(key="user.id").value.string_value = "ana"
    log.attributes.add(key="client.address").value.string_value = "10.0.0.1"
    log.attributes.add(key="tamv.layer").value.string_value = "L5"
    log.attributes.add(key="retries").value.int_value = 3
    log.attributes.add(key="raw").value.bytes_value = b"\x00\xff"
    log.attributes.add(key="share").value.double_value = 0.5
    log.attributes.add(key="many").value.array_value.values.add().bool_value = True
    named = scope.log_records.add(observed_time_unix_nano=NOW - 4, event_name="cart.emptied")
    named.body.kvlist_value.values.add(key="n").value.double_value = 0.5
    return request


@pytest.fixture
def traces() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    resource.resource.attributes.add(key="tamv.layer").value.string_value = "L6"
    scope = resource.scope_spans.add()
    span = scope.spans.add(
        name="GET",
        kind=2,
        start_time_unix_nano=NOW - 2 * 10**9,
        end_time_unix_nano=NOW - 10**9,
        trace_id=TRACE,
        span_id=SPAN,
        parent_span_id=SPAN,
    )
    span.attributes.add(key="http.request.method").value.string_value = "GET"
    span.attributes.add(key="http.route").value.string_value = "/orders/{id}"
    span.attributes.add(key="http.response.status_code").value.int_value = 403
    span.attributes.add(key="server.address").value.string_value = "orders"
    span.attributes.add(key="network.peer.address").value.string_value = "10.0.0.2"
    failed = scope.spans.add(name="work", start_time_unix_nano=NOW - 10, end_time_unix_nano=NOW - 5)
    failed.status.code = Status.StatusCode.STATUS_CODE_ERROR
    failed.status.message = "out of order"
    failed.events.add(name="exception").attributes.add(key="exception.type").value.string_value = "KeyError"
    return request


@pytest.fixture
def otlp_json() -> Callable[[Request], bytes]:
    """OTLP/JSON: protobuf's JSON, but ids in hexadecimal and enums as numbers."""

    def encode(request: Request) -> bytes:
        text = json_format.MessageToJson(request, use_integers_for_enums=True)
        for octets in (TRACE, SPAN):
            text = text.replace(base64.b64encode(octets).decode(), octets.hex())
        return text.encode()

    return encode
