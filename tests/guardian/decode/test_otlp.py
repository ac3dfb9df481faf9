"""OTLP: protobuf and JSON say the same; damage of any kind is one clear refusal."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pyarrow as pa
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from guardian.decode import Decoded, otlp
from guardian.errors import BodyError

NOW = 1_700_000_000 * 10**9
TRACE, SPAN = bytes(range(16)), bytes(range(8))


def logs() -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "shop"
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
    named = scope.log_records.add(observed_time_unix_nano=NOW - 4, event_name="cart.emptied")
    named.body.kvlist_value.values.add(key="n").value.double_value = 0.5
    return request


def traces() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope = resource.scope_spans.add()
    span = scope.spans.add(
        name="GET",
        start_time_unix_nano=NOW - 2 * 10**9,
        end_time_unix_nano=NOW - 10**9,
        trace_id=TRACE,
        span_id=SPAN,
    )
    span.attributes.add(key="http.request.method").value.string_value = "GET"
    span.attributes.add(key="http.route").value.string_value = "/orders/{id}"
    span.attributes.add(key="http.response.status_code").value.int_value = 403
    span.attributes.add(key="server.address").value.string_value = "orders"
    failed = scope.spans.add(name="work", start_time_unix_nano=NOW - 10, end_time_unix_nano=NOW - 5)
    failed.status.code = 2
    return request


def json_of(request: ExportLogsServiceRequest | ExportTraceServiceRequest) -> bytes:
    """OTLP/JSON: protobuf's JSON, but ids in hexadecimal and enums as numbers."""
    text = json_format.MessageToJson(request, use_integers_for_enums=True)
    for octets in (TRACE, SPAN):
        text = text.replace(base64.b64encode(octets).decode(), octets.hex())
    return text.encode()


def status_of(read: Callable[..., Decoded], data: bytes, *, is_json: bool) -> int:
    try:
        read(data, is_json=is_json, received_at=NOW)
    except BodyError as error:
        return error.status
    return 200


def test_log_records() -> None:
    batch = otlp.decode_logs(logs().SerializeToString(), is_json=False, received_at=NOW).batch
    rows = batch.drop_columns(["ts"]).to_pylist()
    assert rows[0]["kind"] == "cart: error"
    assert (rows[0]["source"], rows[0]["actor"], rows[0]["address"]) == ("shop", "ana", "10.0.0.1")
    assert (rows[0]["layer"], rows[0]["body"], rows[0]["trace_id"]) == (5, "boom", TRACE)
    assert rows[0]["severity"] == pytest.approx(16 / 23)
    assert '"retries":3' in rows[0]["attrs"]
    assert rows[1]["kind"] == "cart.emptied"
    assert rows[1]["body"] == '{"n":0.5}'
    assert batch.column("ts").cast(pa.int64()).to_pylist() == [NOW - 5, NOW - 4]


def test_spans() -> None:
    rows = otlp.decode_traces(
        traces().SerializeToString(), is_json=False, received_at=NOW
    ).batch.drop_columns(["ts"])
    first, second = rows.to_pylist()
    assert (first["kind"], first["target"], first["outcome"], first["value"]) == (
        "GET /orders/{id}",
        "orders",
        3,
        1.0,
    )
    assert (first["signal"], second["kind"], second["outcome"]) == (1, "work", 2)


def test_json_and_protobuf_say_the_same() -> None:
    for request, read in ((logs(), otlp.decode_logs), (traces(), otlp.decode_traces)):
        one = read(request.SerializeToString(), is_json=False, received_at=NOW).batch
        other = read(json_of(request), is_json=True, received_at=NOW).batch
        assert str(one.drop_columns(["ts"]).to_pylist()) == str(other.drop_columns(["ts"]).to_pylist())
        assert one.column("ts").equals(other.column("ts"))


def test_records_without_a_usable_time_are_rejected_one_by_one() -> None:
    request = logs()
    records = request.resource_logs[0].scope_logs[0].log_records
    records.add(time_unix_nano=0)
    records.add(time_unix_nano=1)
    records.add(time_unix_nano=2**64 - 1)
    records.add(time_unix_nano=NOW + 2 * 86_400 * 10**9)
    decoded = otlp.decode_logs(request.SerializeToString(), is_json=False, received_at=NOW)
    assert len(decoded.batch) == 2
    assert dict(decoded.reasons) == {"no_time": 1, "time_out_of_range": 3}
    assert [each.line for each in decoded.rejected] == [3, 4, 5, 6]


def test_every_truncation_is_read_or_refused() -> None:
    whole = logs().SerializeToString()
    for length in range(len(whole)):
        assert status_of(otlp.decode_logs, whole[:length], is_json=False) in (200, 400)


@given(data=st.binary(max_size=300), is_json=st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, is_json: bool) -> None:
    for read in (otlp.decode_logs, otlp.decode_traces):
        assert status_of(read, data, is_json=is_json) in (200, 400)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b'{"resourceLogs": 3}',
        b'{"resourceLogs": [3]}',
        b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "soon"}]}]}]}',
        b'{"resourceLogs": [{"resource": {"attributes": [{"key": "a", "value": {"intValue": "x"}}]}}]}',
        b'{"resourceLogs":' + b"[" * 200_000,
    ],
)
def test_json_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError, match="not an OTLP/JSON request"):
        otlp.decode_logs(body, is_json=True, received_at=NOW)
