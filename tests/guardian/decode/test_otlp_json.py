"""OTLP/JSON says what protobuf says; of another shape it is refused, record by record where it can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from guardian.decode import otlp_json as module
from guardian.decode.columns import LATEST
from guardian.decode.otlp_json import decode_json, decode_json_lines
from guardian.decode.otlp_wire import decode_protobuf
from guardian.errors import BodyError
from guardian.events import Signal

NOW = 1_700_000_000 * 10**9
Encode = Callable[[Any], bytes]


def one_log(record: Any) -> bytes:
    return msgspec.json.encode({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})


def test_json_and_protobuf_say_the_same(
    logs: ExportLogsServiceRequest, traces: ExportTraceServiceRequest, otlp_json: Encode
) -> None:
    for request, signal in ((logs, Signal.LOG), (traces, Signal.SPAN)):
        one = decode_protobuf(request.SerializeToString(), signal, LATEST).batch
        other = decode_json(otlp_json(request), signal, LATEST).batch
        assert one.column("ts").equals(other.column("ts"))
        assert str(one.drop_columns(["ts"]).to_pylist()) == str(other.drop_columns(["ts"]).to_pylist())


def test_numbers_in_text_and_enums_by_name() -> None:
    body = one_log(
        {
            "timeUnixNano": NOW,
            "severityNumber": "SEVERITY_NUMBER_ERROR",
            "traceId": "0AF7651916CD43DD8448EB211C80319C",
            "attributes": [
                {"key": "n", "value": {"intValue": 9}},
                {"key": "m", "value": {"intValue": "-9"}},
                {"key": "f", "value": {"doubleValue": "NaN"}},
                {"key": "u", "value": {"newValue": 1}},
                {"key": "v"},
            ],
            "future": [1],
        }
    )
    (row,) = decode_json(body, Signal.LOG, LATEST).batch.drop_columns(["ts"]).to_pylist()
    assert row["severity"] == 16 / 23
    assert row["trace_id"].hex() == "0af7651916cd43dd8448eb211c80319c"
    assert row["attrs"] == '{"n":9,"m":-9,"f":null,"u":null,"v":null}'


@pytest.mark.parametrize(
    "record",
    [
        3,
        [],
        {"timeUnixNano": NOW, "attributes": 3},
        {"timeUnixNano": NOW, "attributes": [{"key": "a", "value": {"intValue": "x"}}]},
        {"timeUnixNano": NOW, "attributes": [{"key": "a", "value": {"bytesValue": "%"}}]},
        {"timeUnixNano": NOW, "body": {"arrayValue": 1}},
        {"timeUnixNano": [1]},
    ],
)
def test_a_bad_record_is_one_reject(record: Any) -> None:
    decoded = decode_json(one_log(record), Signal.LOG, LATEST)
    assert len(decoded.batch) == 0
    assert [(each.line, each.reason) for each in decoded.rejected] == [(1, "invalid_record")]
    assert decoded.rejected[0].detail


def test_records_of_unusable_size_depth_or_time() -> None:
    nested = b'{"timeUnixNano":1,"body":' + b'{"arrayValue":{"values":[' * 3000 + b"{}" + b"]}}" * 3000 + b"}"
    long = msgspec.json.encode({"timeUnixNano": NOW, "severityText": "x" * 2**20})
    body = (
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":['
        + nested
        + b","
        + long
        + b',{"timeUnixNano":"soon"}]}]}]}'
    )
    with pytest.raises(BodyError, match="less nesting"):
        decode_json(body, Signal.LOG, LATEST)
    decoded = decode_json(body.replace(nested, b"{}"), Signal.LOG, LATEST)
    assert dict(decoded.reasons) == {"no_time": 1, "record_too_long": 1, "time_unreadable": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"resourceLogs": 3}',
        b'{"resourceLogs": [3]}',
        b'{"resourceLogs": [{"resource": {"attributes": [{"key": "a", "value": {"intValue": "x"}}]}}]}',
        b'{"resourceLogs": [{"resource": 3, "scopeLogs": []}]}',
        b'{"resourceLogs":' + b"[" * 200_000,
    ],
)
def test_a_frame_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError, match="expected OTLP JSON") as caught:
        decode_json(body, Signal.LOG, LATEST)
    assert caught.value.status == 400


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = msgspec.json.encode({"resourceLogs": [{"resource": {"attributes": [{"key": "x" * 2**20}]}}]})
    with pytest.raises(BodyError) as caught:
        decode_json(wide, Signal.LOG, LATEST)
    assert caught.value.status == 413
    monkeypatch.setattr(module, "MAX_OBJECTS", 3)
    with pytest.raises(BodyError) as caught:
        decode_json(one_log({}), Signal.LOG, LATEST)
    assert caught.value.status == 413


@given(body=st.binary(max_size=200), signal=st.sampled_from([Signal.LOG, Signal.SPAN]))
def test_any_bytes_are_read_or_refused(body: bytes, signal: Signal) -> None:
    status = 200
    try:
        decode_json(body, signal, LATEST)
    except BodyError as error:
        status = error.status
    assert status in {200, 400}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "key",
                    "value",
                    "stringValue",
                    "intValue",
                    "arrayValue",
                    "values",
                    "kvlistValue",
                    "bytesValue",
                    "doubleValue",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
fields = st.sampled_from(
    ["timeUnixNano", "observedTimeUnixNano", "severityNumber", "severityText", "eventName", "body", "attributes",
     "traceId", "spanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano", "status", "events"]
)  # fmt: skip


@given(records=st.lists(st.dictionaries(fields, json_values, max_size=5), max_size=4))
def test_any_records_are_read_or_rejected(records: list[dict[str, Any]]) -> None:
    for outer, inner, many, signal in (
        ("resourceLogs", "scopeLogs", "logRecords", Signal.LOG),
        ("resourceSpans", "scopeSpans", "spans", Signal.SPAN),
    ):
        body = msgspec.json.encode({outer: [{inner: [{many: records}]}]})
        decoded = decode_json(body, signal, LATEST)
        assert len(decoded.batch) + sum(decoded.reasons.values()) == len(records)


def test_lines_of_a_file(
    logs: ExportLogsServiceRequest, traces: ExportTraceServiceRequest, otlp_json: Encode
) -> None:
    compact = [msgspec.json.encode(msgspec.json.decode(otlp_json(each))) for each in (logs, traces)]
    bad_time = one_log({"timeUnixNano": 1})
    parts = list(decode_json_lines([b"\n".join([compact[0], b"{broken", b"", bad_time, compact[1]])], LATEST))
    assert [len(part.batch) for part in parts] == [2, 0, 0, 2]
    assert [each.line for part in parts for each in part.rejected] == [2, 4]
    assert [part.batch.column("signal")[0].as_py() for part in parts if len(part.batch)] == [0, 1]
