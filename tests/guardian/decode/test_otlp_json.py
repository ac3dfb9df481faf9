"""OTLP/JSON says what protobuf says; of another shape it is refused, record by record where it can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from guardian.decode import otlp_json as module
from guardian.decode.columns import LATEST, Decoded
from guardian.decode.otlp_columns import decode_plain_json
from guardian.decode.otlp_json import decode_json, decode_json_lines, decode_json_records
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


def said(decoded: Decoded) -> list[Any]:
    """All of it, with the bits of NaN and the dictionaries as they are."""
    floats = [decoded.batch.column(name).to_numpy().tobytes() for name in ("severity", "value")]
    names = [
        (column.indices.to_pylist(), column.dictionary.to_pylist())
        for column in decoded.batch.columns
        if pa.types.is_dictionary(column.type)
    ]
    rest = decoded.batch.drop_columns(["ts", "severity", "value"]).to_pylist()
    times = decoded.batch.column("ts").cast(pa.int64()).to_pylist()
    return [decoded.rejected, dict(decoded.reasons), floats, names, rest, times]


def outcome(decode: Callable[[bytes, Signal, int], Decoded], body: bytes, signal: Signal) -> Any:
    try:
        return said(decode(body, signal, LATEST))
    except BodyError as error:
        return error.status, error.reason, error.detail


def agree(body: bytes, signal: Signal = Signal.LOG) -> bool:
    """Check that the kernels and msgspec say the same; whether the kernels took it."""
    assert outcome(decode_json, body, signal) == outcome(decode_json_records, body, signal)
    return decode_plain_json(body, signal, LATEST) is not None


def log_text(fields: str) -> bytes:
    return f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"{NOW}",{fields}}}]}}]}}]}}'.encode()


def valued(value: str) -> bytes:
    return log_text(f'"attributes":[{{"key":"k","value":{{{value}}}}}]')


def test_fixtures_are_plain(
    logs: ExportLogsServiceRequest, traces: ExportTraceServiceRequest, otlp_json: Encode
) -> None:
    del logs.resource_logs[0].scope_logs[0].log_records[0].attributes[4]  # octets
    assert agree(otlp_json(logs))
    assert agree(otlp_json(traces), Signal.SPAN)
    assert agree(b" { } \n")
    assert agree(b'{"resourceLogs":[]}')


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        (
            valued('"stringValue":"\\\\ \\" \\/ \\b\\f\\n\\r\\t \\u00e9 \\u3042 \\ud83d\\ude00 \\u0000 é😀"'),
            True,
        ),
        (valued('"stringValue":"\\ud83d"'), False),
        (valued('"stringValue":"\\ud83d\\u0041"'), False),
        (valued('"stringValue":"\\ude00"'), False),
        (valued('"stringValue":"\\u12g4"'), False),
        (valued('"stringValue":"\\x"'), False),
        (valued('"stringValue":"a\nb"'), False),
        (valued('"stringValue":5'), False),
        (valued('"stringValue":null'), True),
        (valued('"stringValue":"a","intValue":1'), False),
        (valued('"stringValue":"a","stringValue":"b"'), False),
        (valued('"string\\u0056alue":"a"'), False),
        (valued('"intValue":5'), True),
        (valued('"intValue":"-5"'), True),
        (valued('"intValue":-0'), True),
        (valued('"intValue":"007"'), False),
        (valued('"intValue":05'), False),
        (valued('"intValue":5.0'), False),
        (valued('"intValue":9223372036854775807'), False),
        (valued('"intValue":1e3'), False),
        (valued('"intValue":"five"'), False),
        (valued('"doubleValue":0.1'), True),
        (valued('"doubleValue":-1.5E+3'), True),
        (valued('"doubleValue":12345678901234567890.123456789'), True),
        (valued('"doubleValue":7'), True),
        (valued('"doubleValue":1e999'), False),
        (valued('"doubleValue":"NaN"'), False),
        (valued('"doubleValue":1.'), False),
        (valued('"doubleValue":.5'), False),
        (valued('"doubleValue":1e'), False),
        (valued('"boolValue":true'), True),
        (valued('"boolValue":false'), True),
        (valued('"boolValue":tru'), False),
        (valued('"boolValue":1'), False),
        (valued('"bytesValue":"AP8="'), False),
        (valued('"arrayValue":{"values":[{"intValue":1},{},{"arrayValue":{}}]}'), True),
        (valued('"arrayValue":[]'), False),
        (valued('"kvlistValue":{"values":[{"key":"a","value":{"stringValue":"b"}}]}'), True),
        (valued('"newValue":{"a":[1,{"b":null},"x"],"c":1.5e9}'), True),
        (valued('"newValue":{"a":[1,]}'), False),
        (valued('"newValue":"é"'), False),
        (log_text('"body":null,"severityNumber":"17","severityText":"e","eventName":"n"'), True),
        (log_text('"severityNumber":"SEVERITY_NUMBER_ERROR"'), False),
        (log_text('"severityNumber":-1'), False),
        (log_text('"severityText":null'), False),
        (log_text('"traceId":"0AF7651916CD43DD8448EB211C80319C","spanId":""'), True),
        (log_text('"traceId":"0x0af7651916cd43dd8448eb211c80319c"'), False),
        (log_text('"traceId":"zz"'), False),
        (log_text('"attributes":[{"key":"k"}],"attributes":[]'), False),
        (log_text('"attributes":[{"key":"k","value":null},{"key":"l"}]'), True),
        (log_text('"attributes":[[]]'), False),
        (log_text('"attributes":{}'), False),
        (log_text('"attributes":[null]'), False),
        (log_text('"observedTimeUnixNano":"0"'), True),
        (log_text('"observedTimeUnixNano":"-1"'), False),
        (log_text('"observedTimeUnixNano":1.5'), False),
        (log_text('"observedTimeUnixNano":"99999999999999999999"'), False),
        (log_text('"flags":1,"droppedAttributesCount":0'), True),
        (log_text('"flags":1}'), False),
        (log_text('"flags":1') + b"x", False),
        (log_text('"flags" 1'), False),
        (log_text("flags:1"), False),
        (b'{"resourceSpans":[]}', False),
        (b"[]", False),
        (b'"x"', False),
        (b"", False),
        (
            '{"resourceLogs":[{"scopeLogs":[{"scope":{"name":"n","version":"é"},"logRecords":[{}]}]}]}'.encode(),
            False,
        ),
        (b'{"resourceLogs":[{"scopeLogs":[{"scope":{"name":"n","version":"1"},"logRecords":[{}]}]}]}', True),
        (b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}],"resource":{}}]}', False),
    ],
)
def test_what_is_plain(body: bytes, plain: bool) -> None:
    assert agree(body) == plain


def test_times_that_say_none() -> None:
    span = {"name": "s", "startTimeUnixNano": str(NOW), "endTimeUnixNano": "0"}
    body = msgspec.json.encode({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    assert agree(body, Signal.SPAN)
    assert len(decode_json(body, Signal.SPAN, LATEST).batch) == 1, "it has its start"


def test_every_truncation_and_every_changed_byte_is_the_same(
    logs: ExportLogsServiceRequest, otlp_json: Encode
) -> None:
    del logs.resource_logs[0].scope_logs[0].log_records[0].attributes[4]
    whole = msgspec.json.format(otlp_json(logs), indent=0)
    assert not any(agree(whole[:size]) for size in range(len(whole)))
    taken = 0
    for at in range(len(whole)):
        for octet in b'"\\{1':
            taken += agree(whole[:at] + bytes([octet]) + whole[at + 1 :])
    assert taken > len(whole) // 4


def test_depth_and_length() -> None:
    for depth in (15, 16, 17, 40):
        value = '"intValue":1'
        for _ in range(depth):
            value = f'"arrayValue":{{"values":[{{{value}}}]}}'
        assert agree(valued(value)) == (depth <= 16)
    agree(b"[" * 1_000_000)
    agree(b'{"a":' * 200_000)
    agree(b'{"resourceLogs":[{"a":' + b"[" * 100_000)
    assert agree(valued('"stringValue":"' + "x" * 100_000 + '"'))
    assert agree(valued('"stringValue":"' + "\\n" * 100_000 + '"'))
    assert not agree(valued('"stringValue":"' + "x" * 2**20 + '"'))
    assert agree(valued('"arrayValue":{"values":[' + ",".join(['{"doubleValue":0.25}'] * 3_000) + "]}"))
    for size in range(90, 140):
        value = f'{{"doubleValue":0.5}},{{"stringValue":"{"x" * size}"}},{{"doubleValue":{size}.25}}'
        assert agree(valued(f'"arrayValue":{{"values":[{value},{{"arrayValue":{{"values":[{value}]}}}}]}}'))


@given(st.text(max_size=20), st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_and_number(key: str, text: str, number: float) -> None:
    pairs = [
        {"key": "a" + key, "value": {"stringValue": text}},
        {"key": "b" + key, "value": {"doubleValue": number}},
    ]
    assert agree(one_log({"timeUnixNano": str(NOW), "eventName": "e", "attributes": pairs}))
    agree(one_log({"timeUnixNano": NOW, "eventName": text, "body": {"stringValue": key}}))


@given(st.binary(max_size=80))
def test_any_bytes_are_the_same(octets: bytes) -> None:
    agree(octets)
    agree(log_text('"x":1')[:-9] + octets)
