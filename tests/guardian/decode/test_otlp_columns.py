"""Protobuf in bulk: the same events as record by record, or left to it; broken and hostile bodies included."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from guardian.decode import otlp, otlp_columns
from guardian.decode.columns import LATEST, Decoded
from guardian.decode.conventions import ACTOR, ERROR, SESSION, TARGET
from guardian.decode.otlp_columns import decode_plain
from guardian.decode.otlp_wire import decode_protobuf, decode_records
from guardian.errors import BodyError
from guardian.events import Signal

NOW = 1_700_000_000 * 10**9


def part(number: int, content: bytes | str) -> bytes:
    octets = content.encode() if isinstance(content, str) else content
    size, out = len(octets), bytearray([number << 3 | 2])
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(out) + bytes([size]) + octets


def time(number: int = 1, value: int = NOW) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<Q", value)


def attribute(key: str | bytes, value: bytes, number: int = 6) -> bytes:
    return part(number, part(1, key if isinstance(key, bytes) else key.encode()) + part(2, value))


def text(key: str, value: str, number: int = 6) -> bytes:
    return attribute(key, part(1, value), number)


def request(*records: bytes, resource: bytes = b"", scope: bytes = b"") -> bytes:
    scopes = part(1, scope) + b"".join(part(2, record) for record in records)
    return part(1, part(1, resource) + part(2, scopes))


def said(decoded: Decoded) -> list[Any]:
    """All of it, with the bits of NaN and the dictionaries as they are."""
    columns: list[Any] = [decoded.rejected, dict(decoded.reasons), decoded.batch.schema]
    for column in decoded.batch.columns:
        if pa.types.is_floating(column.type):
            columns.append(column.to_numpy().tobytes())
        elif pa.types.is_dictionary(column.type):
            columns.append((column.indices.to_pylist(), column.dictionary.to_pylist()))
        else:
            columns.append(column.cast(pa.int64()).to_pylist() if column.type == "timestamp" else column)
    return columns


def outcome(body: bytes, signal: Signal, *, bulk: bool) -> Any:
    try:
        return said((decode_protobuf if bulk else decode_records)(body, signal, LATEST))
    except BodyError as error:
        return error.status, error.reason, error.detail


def agree(body: bytes, signal: Signal = Signal.LOG) -> bool:
    """Check that both say the same; whether the kernels took it."""
    assert outcome(body, signal, bulk=True) == outcome(body, signal, bulk=False)
    return decode_plain(body, signal, LATEST) is not None


LOG = (
    time()
    + b"\x10\x11"
    + part(3, "Error")
    + part(5, part(1, 'bö"\\\n\x01om'))
    + text("user.id", "ana")
    + text("http.route", "/a")
    + attribute("n", b"\x18\x81\x01")
    + attribute("low", b"\x18" + b"\xff" * 9 + b"\x01")
    + attribute("yes", b"\x10\x01")
    + attribute("share", b"\x21" + struct.pack("<d", 0.1))
    + attribute("raw", part(7, b"\x00\xff\x10\x20"))
    + attribute("none", b"")
    + attribute(
        "deep", part(6, part(1, part(1, "k") + part(2, part(5, part(1, b"\x10\x00") + part(1, b"")))))
    )
    + part(9, bytes(range(16)))
    + part(10, bytes(8))
)
SPAN = (
    part(1, bytes(range(16)))
    + part(2, bytes(range(8)))
    + part(3, "a=b")
    + part(4, b"\xab" * 8)
    + part(5, "GET /x")
    + b"\x30\x02"
    + time(7, NOW - 10**9)
    + time(8)
    + text("http.route", "/x/{id}", 9)
    + text("http.request.method", "GET", 9)
    + text("net.peer.ip", "10.0.0.9", 9)
    + part(11, time() + part(2, "exception") + text("exception.type", "KeyError", 3))
    + part(11, b"")
    + part(13, part(1, bytes(16)) + part(3, "a=b"))
    + part(15, part(2, "out of order") + b"\x18\x02")
)
RESOURCE = text("service.name", "shop", 1) + text("host.name", "h1", 1) + text("tamv.layer", "L5", 1)
SCOPE = part(1, "cart") + part(2, "1.0")


@pytest.mark.parametrize(("record", "signal"), [(LOG, Signal.LOG), (SPAN, Signal.SPAN)])
def test_whole_records(record: bytes, signal: Signal) -> None:
    assert agree(request(record, record, resource=RESOURCE, scope=SCOPE), signal)
    assert agree(request(record) + request(record, resource=RESOURCE), signal)
    decoded = decode_plain(request(record, resource=RESOURCE, scope=SCOPE), signal, LATEST)
    assert decoded is not None
    (row,) = decoded.batch.drop_columns(["ts"]).to_pylist()
    assert (row["source"], row["target"], row["layer"]) == ("shop", "h1", 5)


def test_fixtures(logs: ExportLogsServiceRequest, traces: ExportTraceServiceRequest) -> None:
    assert agree(logs.SerializeToString())
    assert agree(traces.SerializeToString(), Signal.SPAN)
    assert agree(b"")


def test_json_is_what_msgspec_writes() -> None:
    texts = ["".join(map(chr, range(48))), '\x7f\x80é日本語😀"\\/', ""]
    doubles = [
        0.1,
        -0.0,
        1e16,
        1e22,
        5e-324,
        1.7976931348623157e308,
        float("nan"),
        float("inf"),
        200.0,
        1 / 3,
    ]
    record = (
        time()
        + b"".join(text(f"t{i}", each) + text(each or "empty", "x") for i, each in enumerate(texts))
        + b"".join(attribute(f"d{i}", b"\x21" + struct.pack("<d", each)) for i, each in enumerate(doubles))
        + b"".join(attribute(f"b{size}", part(7, bytes(range(250, 250 + size)))) for size in range(6))
        + part(5, part(5, part(1, b"\x21" + struct.pack("<d", 0.5)) + part(1, part(1, "x"))))
    )
    assert agree(request(record, record, LOG))
    decoded = decode_plain(request(record), Signal.LOG, LATEST)
    assert decoded is not None
    attrs = msgspec.json.decode(decoded.batch.column("attrs")[0].as_py())
    assert [attrs[f"t{i}"] for i in range(3)] == texts
    assert attrs["d0"] == 0.1
    assert decoded.batch.column("body").to_pylist() == ['[0.5,"x"]']


@pytest.mark.parametrize(
    "record",
    [
        time() + time(),  # a field twice
        time() + part(5, part(1, "a")) + part(5, part(1, "b")),  # a message twice: protobuf merges
        time() + part(5, part(1, "a") + b"\x10\x01"),  # a value of two kinds
        time() + part(5, b"\x40\x01"),  # a kind that came later
        time() + text("a", "1") + text("a", "2"),  # a name twice
        time() + attribute("m", part(6, text("a", "1", 1) + text("a", "2", 1))),
        time() + b"\x0b\x0c",  # a group
        time() + text("severity_text", "x") + part(3, "INFO"),  # a name that the record takes itself
        time() + attribute("user.id", b"\x21" + bytes(8)),  # a name that is a fraction
        time() + attribute("user.id", part(7, b"x")),
        time() + text("http.response.status_code", "none"),
        time() + text("http.response.status_code", "1" * 16),
        time() + attribute(ERROR[0], part(5, b"")),
        time() + part(3, "É"),  # whose lower case is the kind
        time() + part(5, part(1, "\u3000")),
        time() + part(5, b"\x21" + bytes(8)),
        time() + part(12, "e") + text("event.name", "f"),
        time() + text("a", "x")[:-1] + b"\xff",  # no UTF-8
        time() + attribute(b"\xff", part(1, "x")),
        time() + part(3, b"\xed\xa0\x80"),
        time() + attribute("user.id", part(1, b"\xc3")),
        time() + b"".join(text(f"a{i}", "x") for i in range(129)),
        time() + text("x" * 2**20, "y"),
        b"\xff\xff",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x82\x80\x80\x80\x80\x80\x80\x80\x00\x00",
        b"\x10" + b"\xff" * 10 + b"\x01",
        b"\x02\x00",
    ],
)
def test_what_is_rare_or_broken_is_left_and_costs_no_neighbour(record: bytes) -> None:
    assert not agree(request(LOG, record, LOG, resource=RESOURCE))


@pytest.mark.parametrize(
    "body",
    [
        part(1, part(2, part(2, LOG)) + part(1, RESOURCE)),  # the resource comes last
        part(1, part(1, RESOURCE) * 2 + part(2, part(2, LOG))),
        part(1, part(2, part(2, LOG) + part(1, SCOPE))),
        part(1, part(2, part(1, SCOPE) * 2 + part(2, LOG))),
        part(1, part(1, RESOURCE)),
        part(1, part(1, attribute("a", part(1, b"\xff"), 1))),
        part(1, part(2, part(1, part(1, b"\xff")))),
        request(LOG, scope=part(2, "é")),
        request(LOG, scope=part(3, b"")),
        request(LOG, scope=part(1, "x" * 600)),
        request(time(), scope=part(1, "x" * 600)),
        request(LOG, resource=attribute("share", b"\x21" + bytes(8), 1)),
        request(LOG, resource=attribute("host.name", b"\x21" + bytes(8), 1)),
        request(LOG, resource=text("a", "x" * 2**20, 1)),
    ],
)
def test_frames_that_are_rare_or_broken(body: bytes) -> None:
    agree(body)


def test_every_truncation_and_every_changed_byte() -> None:
    for record, signal in ((LOG, Signal.LOG), (SPAN, Signal.SPAN)):
        whole = request(record, resource=RESOURCE, scope=SCOPE)
        for size in range(len(whole)):
            agree(whole[:size], signal)
        taken = 0
        for at in range(len(whole)):
            for mask in (0x01, 0x08, 0x80):
                taken += agree(whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :], signal)
        assert taken > len(whole) // 2


def test_nesting() -> None:
    for depth in (1, 15, 16, 17, 40, 101):
        value = part(1, "x")
        for _ in range(depth):
            value = part(5, part(1, value))
        assert agree(request(time() + attribute("a", value))) == (depth <= 16)
        value = part(1, "x")
        for _ in range(depth):
            value = part(6, part(1, part(1, "k") + part(2, value)))
        assert agree(request(time() + attribute("a", value))) == (depth <= 16)


def test_a_million_levels_are_refused_at_once() -> None:
    sizes = [0]
    while len(sizes) < 1_000_000:
        sizes.append(sizes[-1] + len(part(5, b"")) - 1 + len(_length(sizes[-1])))
    bomb = b"".join((b"\x2a" if i % 2 else b"\x0a") + _length(size) for i, size in enumerate(reversed(sizes)))
    agree(bomb)
    agree(request(time() + part(6, part(1, "a") + part(2, bomb[-(2**19) :]))))


def _length(size: int) -> bytes:
    out = bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(out) + bytes([size])


def test_buffers_grow_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [time() + text("k", "v") + text("user.id", f"u{i}") for i in range(3_000)]
    assert agree(request(*many))
    assert agree(
        b"".join(request(each, resource=text("host.name", str(i), 1)) for i, each in enumerate(many))
    )
    assert agree(request(*([time()] * 5_000), resource=text("shared", "x" * 200, 1)))
    escaped = time() + text("k", "\x01" * 50_000) + part(5, part(1, "y"))
    assert agree(request(escaped))
    doubles = b"".join(part(1, b"\x21" + struct.pack("<d", i / 7)) for i in range(5_000))
    assert agree(request(time() + attribute("list", part(5, doubles))))
    crowded = [
        time() + b"".join(text(name, f"{name}{i}") for name in (ACTOR[0], TARGET[0], SESSION[0]))
        for i in range(999)
    ]
    assert agree(request(*crowded))


def test_names_that_collide_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny(names: int, text_bytes: int) -> Any:
        made = interned(names, text_bytes)
        return made._replace(places=np.full(len(made.places), -1, np.int64))

    interned = otlp_columns.to.interned
    monkeypatch.setattr(otlp_columns.to, "interned", tiny)
    assert not agree(request(LOG))


def test_what_all_records_share_is_not_repeated_without_end() -> None:
    shared = text("big", "x" * 1_000_000, 1)
    body = request(*([time()] * 100), resource=shared)
    tracemalloc.start()
    with pytest.raises(BodyError) as caught:
        decode_protobuf(body, Signal.LOG, LATEST)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (caught.value.status, caught.value.reason) == (413, "attributes_too_long")
    assert peak < 300 * 2**20
    assert agree(request(*([time()] * 50), resource=shared))


def test_names_count_towards_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "text_room", lambda _: 100)
    monkeypatch.setattr(otlp_columns, "text_room", lambda _: 100)
    assert outcome(request(time() + text("user.id", "x" * 101)), Signal.LOG, bulk=True)[0] == 413
    assert outcome(request(time() + part(5, part(1, "x" * 101))), Signal.LOG, bulk=True)[0] == 413


@given(st.lists(st.text(max_size=12), max_size=6), st.text(max_size=12), st.booleans())
def test_any_texts(texts: list[str], name: str, is_span: bool) -> None:
    signal, number = (Signal.SPAN, 9) if is_span else (Signal.LOG, 6)
    pairs = b"".join(text(key, value, number) for key, value in zip(ACTOR + TARGET, texts, strict=False))
    record = time(8 if is_span else 1) + part(5, name if is_span else part(1, name)) + pairs
    agree(request(record, record, resource=text("service.name", name, 1)), signal)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(body: bytes, is_span: bool) -> None:
    signal = Signal.SPAN if is_span else Signal.LOG
    agree(body, signal)
    agree(request(body), signal)
    agree(request(time() + part(6, body)), signal)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_any_times(first: int, second: int) -> None:
    assert agree(request(time(1, first) + time(11, second) + LOG[9:]))
    assert agree(request(time(7, first) + time(8, second)), Signal.SPAN)
