"""OpenTelemetry's conventions: who, where, how and how long."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from guardian.decode import otlp
from guardian.decode.columns import LATEST
from guardian.decode.otlp import Log, Origin, Rows, Span
from guardian.decode.otlp_wire import decode_protobuf
from guardian.errors import BodyError
from guardian.events import Signal

NOW = 1_700_000_000 * 10**9
TRACE = bytes(range(16))


def log_row(
    attributes: dict[str, Any] | None = None, origin: Origin | None = None, **changes: Any
) -> dict[str, Any]:
    record = Log(NOW, 0, 0, "", "e", None, dict(attributes or {}), b"", b"")
    for name, value in changes.items():
        setattr(record, name, value)
    rows = Rows(Signal.LOG, LATEST)
    rows.log(1, record, origin or Origin())
    (row,) = rows.decoded().batch.drop_columns(["ts"]).to_pylist()
    return dict(row)


def span_row(attributes: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    record = Span("work", 0, NOW - 10**9, NOW, 0, "", dict(attributes or {}), b"", b"", b"")
    for name, value in changes.items():
        setattr(record, name, value)
    rows = Rows(Signal.SPAN, LATEST)
    rows.span(1, record, Origin())
    (row,) = rows.decoded().batch.drop_columns(["ts"]).to_pylist()
    return dict(row)


def test_log_records(logs: ExportLogsServiceRequest) -> None:
    batch = decode_protobuf(logs.SerializeToString(), Signal.LOG, LATEST).batch
    rows = batch.drop_columns(["ts"]).to_pylist()
    assert rows[0]["kind"] == "", "its message will be made a kind"
    assert (rows[0]["source"], rows[0]["actor"], rows[0]["address"]) == ("shop", "ana", "10.0.0.1")
    assert (rows[0]["layer"], rows[0]["body"], rows[0]["trace_id"]) == (5, "boom", TRACE)
    assert rows[0]["severity"] == pytest.approx(16 / 23)
    assert msgspec.json.decode(rows[0]["attrs"]) == {
        "tamv.layer": "L5",
        "retries": 3,
        "raw": "AP8=",
        "share": 0.5,
        "many": [True],
        "severity_text": "ERROR",
        "otel.scope.name": "cart",
        "resource": {"deployment.environment": "prod"},
    }
    assert (rows[1]["kind"], rows[1]["body"], rows[1]["target"]) == ("cart.emptied", '{"n":0.5}', "shop")
    assert batch.column("ts").cast(pa.int64()).to_pylist() == [NOW - 5, NOW - 4]


def test_spans(traces: ExportTraceServiceRequest) -> None:
    batch = decode_protobuf(traces.SerializeToString(), Signal.SPAN, LATEST).batch
    assert batch.column("ts").cast(pa.int64()).to_pylist() == [NOW - 10**9, NOW - 5], (
        "the end: then it is known"
    )
    first, second = batch.drop_columns(["ts"]).to_pylist()
    assert (first["kind"], first["target"], first["outcome"], first["value"]) == (
        "GET /orders/{id}",
        "orders",
        3,
        1.0,
    )
    assert (first["address"], first["layer"], first["signal"]) == ("10.0.0.2", 6, 1)
    assert '"parent_span_id":"0001020304050607"' in first["attrs"]
    assert (second["kind"], second["outcome"], second["value"]) == ("work", 2, 5e-9)
    assert '"otel.status_description":"out of order"' in second["attrs"]
    assert '"events":[{"name":"exception","attributes":{"exception.type":"KeyError"}}]' in second["attrs"]


def test_records_without_a_usable_time_are_rejected_one_by_one(logs: ExportLogsServiceRequest) -> None:
    records = logs.resource_logs[0].scope_logs[0].log_records
    for time in (0, 1, 2**64 - 1, LATEST + 1):
        records.add(time_unix_nano=time)
    decoded = decode_protobuf(logs.SerializeToString(), Signal.LOG, LATEST)
    assert len(decoded.batch) == 2
    assert dict(decoded.reasons) == {"no_time": 1, "time_out_of_range": 3}
    assert [each.line for each in decoded.rejected] == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("attributes", "outcome"),
    [
        ({}, 0),
        ({"http.response.status_code": 200}, 1),
        ({"http.response.status_code": "404"}, 2),
        ({"http.status_code": 500}, 2),
        ({"http.response.status_code": 401}, 3),
        ({"http.response.status_code": 403}, 3),
        ({"http.response.status_code": "none"}, 0),
        ({"rpc.grpc.status_code": 0}, 1),
        ({"rpc.grpc.status_code": 7}, 3),
        ({"rpc.grpc.status_code": 13}, 2),
        ({"event.outcome": "failure"}, 2),
        ({"error.type": "timeout"}, 2),
    ],
)
def test_outcomes(attributes: dict[str, Any], outcome: int) -> None:
    assert log_row(attributes)["outcome"] == outcome
    assert span_row(attributes)["outcome"] == outcome
    assert span_row(attributes, status=2)["outcome"] == (3 if outcome == 3 else 2)
    assert span_row(attributes, status=1)["outcome"] == (outcome or 1)


@pytest.mark.parametrize(
    ("number", "text", "severity"),
    [
        (1, "", 0.0),
        (24, "", 1.0),
        (9, "ERROR", 8 / 23),
        (0, "Error", 16 / 23),
        (0, "", math.nan),
        (99, "", math.nan),
        (-1, "", math.nan),
    ],
)
def test_severities(number: int, text: str, severity: float) -> None:
    assert log_row(severity_number=number, severity_text=text)["severity"] == pytest.approx(
        severity, nan_ok=True
    )


def test_kinds() -> None:
    assert log_row(event_name="", attributes={"event.name": "login"})["kind"] == "login"
    assert log_row(event_name="", severity_text="WARN")["kind"] == "warn"
    assert log_row(event_name="")["kind"] == "log"
    assert span_row({"http.route": "/a", "http.method": "PUT"})["kind"] == "PUT /a"
    assert '"name":"work"' in span_row({"http.route": "/a", "http.method": "PUT"})["attrs"]


def test_times_that_make_no_duration() -> None:
    assert math.isnan(span_row(start=NOW, end=NOW - 1)["value"])
    assert math.isnan(span_row(start=NOW, end=0)["value"]) or span_row(start=NOW, end=0)["value"] == 0.0
    assert math.isnan(span_row(start=0)["value"])


def test_a_client_spans_peer_is_no_address() -> None:
    peer = {"network.peer.address": "10.0.0.9", "peer.service": "db"}
    assert span_row(peer, kind=3)["address"] == ""
    assert span_row(peer, kind=2)["address"] == "10.0.0.9"
    assert span_row(peer, kind=3)["target"] == "db"


def test_origins() -> None:
    origin = Origin.of({"service.name": "shop", "host.name": "h1", "tamv.layer": "L5"}, "cart")
    row = log_row({}, origin)
    assert (row["source"], row["target"], row["layer"]) == ("shop", "h1", 5)
    assert row["attrs"] == '{"otel.scope.name":"cart","resource":{"host.name":"h1","tamv.layer":"L5"}}'
    assert log_row({"tamv.layer": "L2"}, origin)["layer"] == 2


def test_ids_of_a_wrong_size_are_none() -> None:
    row = log_row(trace_id=b"abc", span_id=b"")
    assert (row["trace_id"], row["span_id"]) == (bytes(16), bytes(8))


def test_the_number_of_parts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MAX_RECORDS", 2)
    rows = Rows(Signal.LOG, LATEST)
    rows.count()
    rows.count()
    with pytest.raises(BodyError) as caught:
        rows.count()
    assert caught.value.status == 413
