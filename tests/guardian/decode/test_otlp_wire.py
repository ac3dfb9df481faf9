"""Protobuf: truncated anywhere or flipped anywhere, it is read or refused; a bad record costs no neighbour."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from guardian.decode.columns import LATEST
from guardian.decode.otlp_wire import decode_protobuf
from guardian.errors import BodyError
from guardian.events import Signal


def field(number: int, content: bytes) -> bytes:
    out = bytearray()
    for value in (number << 3 | 2, len(content)):
        rest = value
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out) + content


def status_of(body: bytes, signal: Signal) -> int:
    try:
        decode_protobuf(body, signal, LATEST)
    except BodyError as error:
        return error.status
    return 200


def test_every_truncation_is_read_or_refused(
    logs: ExportLogsServiceRequest, traces: ExportTraceServiceRequest
) -> None:
    for request, signal in ((logs, Signal.LOG), (traces, Signal.SPAN)):
        whole = request.SerializeToString()
        statuses = [status_of(whole[:length], signal) for length in range(len(whole) + 1)]
        assert statuses[0] == statuses[-1] == 200
        assert set(statuses[1:-1]) == {400}, "one resource: every proper part of it is broken"


def test_every_flipped_byte_is_read_or_refused(logs: ExportLogsServiceRequest) -> None:
    whole = bytearray(logs.SerializeToString())
    for at in range(len(whole)):
        for mask in (0x01, 0x80, 0xFF):
            whole[at] ^= mask
            assert status_of(bytes(whole), Signal.LOG) in {200, 400}
            whole[at] ^= mask


@given(body=st.binary(max_size=300), signal=st.sampled_from([Signal.LOG, Signal.SPAN]))
def test_any_bytes_are_read_or_refused(body: bytes, signal: Signal) -> None:
    assert status_of(body, signal) in {200, 400}
    assert status_of(field(1, field(2, field(2, body))), signal) == 200, "a broken record is only a reject"


def test_a_bad_record_costs_its_neighbours_nothing(logs: ExportLogsServiceRequest) -> None:
    good = [record.SerializeToString() for record in logs.resource_logs[0].scope_logs[0].log_records]
    broken, long = b"\xff\xff", field(3, b"x" * 2**20)
    body = field(1, field(2, b"".join(field(2, each) for each in (good[0], broken, long, good[1]))))
    decoded = decode_protobuf(body, Signal.LOG, LATEST)
    assert len(decoded.batch) == 2
    assert [(each.line, each.reason) for each in decoded.rejected] == [
        (2, "invalid_record"),
        (3, "record_too_long"),
    ]


def test_the_resource_may_come_last_and_in_parts(logs: ExportLogsServiceRequest) -> None:
    whole = logs.resource_logs[0]
    scope, shared = whole.scope_logs[0].SerializeToString(), whole.resource.attributes
    parts = [field(1, field(1, each.SerializeToString())) for each in shared]
    body = field(1, field(2, scope) + b"".join(parts))
    assert str(decode_protobuf(body, Signal.LOG, LATEST).batch.drop_columns(["ts"]).to_pylist()) == str(
        decode_protobuf(logs.SerializeToString(), Signal.LOG, LATEST).batch.drop_columns(["ts"]).to_pylist()
    )


@pytest.mark.parametrize(
    "body",
    [
        b"\x0b",  # a group
        b"\x0a" + b"\xff" * 11,  # a length that never ends
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length past everything
        b"\x02\x00",  # field number 0
        field(1, field(1, b"\xff")),  # a resource that is none
    ],
)
def test_broken_framing_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError, match="breaks near byte") as caught:
        decode_protobuf(body, Signal.LOG, LATEST)
    assert caught.value.status == 400


def test_unknown_fields_are_passed_over(logs: ExportLogsServiceRequest) -> None:
    extra = b"\x18\x05" + b"\x21" + bytes(8) + b"\x2d" + bytes(4) + field(6, b"future")
    assert len(decode_protobuf(extra + logs.SerializeToString(), Signal.LOG, LATEST).batch) == 2


def test_many_empty_records_stay_small() -> None:
    body = field(1, field(2, field(2, b"") * 50_000))
    tracemalloc.start()
    decoded = decode_protobuf(body, Signal.LOG, LATEST)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert decoded.reasons == {"no_time": 50_000}
    assert peak < 64 * 2**20
    with pytest.raises(BodyError) as caught:
        decode_protobuf(field(1, field(2, field(1, b"") * 1_000_001)), Signal.LOG, LATEST)
    assert caught.value.status == 413
