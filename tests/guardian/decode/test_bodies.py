"""Bodies: encodings, content types, and caps that a hostile sender cannot get around."""

from __future__ import annotations

import gzip
import tracemalloc

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from guardian.decode import ARROW, decode_body, decompress, ndjson
from guardian.decode.bodies import ENCODINGS, NDJSON_TYPES, OTLP_TYPES
from guardian.decode.draft import empty, joined
from guardian.errors import BodyError
from guardian.events import EVENTS

NOW = 1_700_000_000 * 10**9
LINE = b'{"timestamp":"2023-11-14T22:00:00Z","action":"a"}\n'


def decode(body: bytes, **changes: str) -> int:
    arguments = {
        "content_type": "application/x-ndjson",
        "encoding": "",
        "path": "/api/v1/events",
        "map_name": "tamv",
    }
    decoded = decode_body(body, **{**arguments, **changes}, received_at=NOW, max_decoded_bytes=2**20)
    return len(decoded.batch)


def test_encodings() -> None:
    assert decode(LINE * 3) == 3
    assert decode(gzip.compress(LINE * 3), encoding="gzip") == 3
    assert decode(gzip.compress(LINE) + gzip.compress(LINE), encoding="GZIP") == 2
    assert decode(zstandard.compress(LINE * 3), encoding="zstd") == 3
    assert decode(b"", encoding="gzip") == 0
    assert decode(zstandard.compress(b""), encoding="zstd") == 0


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"not gzip", "gzip", 400),
        (gzip.compress(LINE * 100)[:-10], "gzip", 400),
        (b"not zstd", "zstd", 400),
        (zstandard.compress(LINE * 100)[:8], "zstd", 400),
        (zstandard.compress(LINE * 9000)[:-3], "zstd", 400),
        (gzip.compress(LINE) + b"rubbish", "gzip", 400),
        (zstandard.compress(LINE) + b"rubbish", "zstd", 400),
        (LINE, "br", 415),
        (b"x" * (2**20 + 1), "", 413),
        (gzip.compress(b"x" * (2**20 + 1)), "gzip", 413),
        (zstandard.compress(b"x" * (2**20 + 1)), "zstd", 413),
    ],
)
def test_bodies_that_are_refused(body: bytes, encoding: str, status: int) -> None:
    with pytest.raises(BodyError) as caught:
        decode(body, encoding=encoding)
    assert caught.value.status == status
    assert str(caught.value)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_refused_before_it_unfolds(encoding: str) -> None:
    size = 200 * 2**20
    packed = gzip.compress(bytes(size)) if encoding == "gzip" else zstandard.compress(bytes(size))
    tracemalloc.start()
    with pytest.raises(BodyError) as caught:
        decompress(packed, encoding, 2**20)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.status == 413
    assert peak < 16 * 2**20


def test_types_and_maps_that_nobody_reads() -> None:
    for changes, status in (
        ({"content_type": "image/png"}, 415),
        ({"map_name": "/etc/passwd"}, 400),
        ({"map_name": "../x.toml"}, 400),
        ({"path": "/v1/logs"}, 415),
        ({"content_type": "application/vnd.apache.arrow.stream"}, 415),
        ({"content_type": "application/vnd.apache.arrow.stream", "path": "/decisions"}, 400),
        ({"path": "/anything"}, 404),
        ({"map_name": ""}, 400),
    ):
        with pytest.raises(BodyError) as caught:
            decode(LINE, **changes)
        assert caught.value.status == status


def test_a_truncated_stream_is_never_taken_for_a_whole_one() -> None:
    for encoding, packed in (("gzip", gzip.compress(LINE * 50)), ("zstd", zstandard.compress(LINE * 50))):
        for length in range(1, len(packed)):
            with pytest.raises(BodyError) as caught:
                decode(packed[:length], encoding=encoding)
            assert caught.value.status == 400


@pytest.mark.parametrize("body", [b"\0\0\0\x80", b"", b"\xff\xff\xff\xff\0\0\0\0", b"x" * 40])
def test_a_damaged_arrow_stream_is_refused(body: bytes) -> None:
    with pytest.raises(BodyError, match="Arrow stream of EVENTS"):
        decode(body, content_type=ARROW, path="/decisions")


def test_batches_that_guardian_journals_itself() -> None:
    batch = decode_body(
        LINE * 2,
        content_type="",
        encoding="",
        path="/api/v1/events",
        map_name="tamv",
        received_at=NOW,
        max_decoded_bytes=2**20,
    ).batch
    for schema, ok in ((EVENTS, True), (EVENTS.remove(3), False)):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(batch.select(schema.names))
        body = sink.getvalue().to_pybytes()
        if ok:
            assert decode(body, content_type=ARROW, path="/decisions") == 2
        else:
            with pytest.raises(BodyError, match="Arrow stream of EVENTS"):
                decode(body, content_type=ARROW, path="/decisions")


def test_blocks_become_one_batch_with_exact_dictionaries() -> None:
    lines = b"".join(LINE.replace(b'"a"', b'"k%d"' % (i % 9000)) for i in range(20_000))
    decoded = decode_body(
        b"junk\n" + lines,
        content_type="",
        encoding="",
        path="/api/v1/events",
        map_name="tamv",
        received_at=NOW,
        max_decoded_bytes=2**24,
    )
    kinds = decoded.batch.column("kind")
    assert kinds.to_pylist() == [f"k{i % 9000}" for i in range(20_000)]
    assert kinds.dictionary.to_pylist() == [f"k{i}" for i in range(9000)]
    assert [each.line for each in decoded.rejected] == [1]
    assert joined([]).equals(empty())


def test_a_body_of_too_many_records_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "MAX_RECORDS", 10)
    assert decode(LINE * 10) == 10
    with pytest.raises(BodyError) as caught:
        decode(LINE * 11)
    assert caught.value.status == 413


@given(
    body=st.binary(max_size=60),
    content_type=st.sampled_from(
        [*NDJSON_TYPES, *OTLP_TYPES, ARROW, "text/html", "application/json; charset=utf-8"]
    ),
    encoding=st.sampled_from([*ENCODINGS, "br", "deflate"]),
    path=st.sampled_from(["/v1/logs", "/v1/traces", "/api/v1/events", "/decisions"]),
    map_name=st.sampled_from(["otel", "ecs", "windows", "x"]),
)
def test_any_request_is_decoded_or_refused(
    body: bytes, content_type: str, encoding: str, path: str, map_name: str
) -> None:
    arguments = {"content_type": content_type, "encoding": encoding, "path": path, "map_name": map_name}
    try:
        first = decode_body(body, **arguments, received_at=NOW, max_decoded_bytes=2**20)
    except BodyError as error:
        status = error.status
    else:
        status = 200
        again = decode_body(body, **arguments, received_at=NOW, max_decoded_bytes=2**20)
        assert first.batch.equals(again.batch)
        assert (first.rejected, first.reasons) == (again.rejected, again.reasons)
    assert status in {200, 400, 404, 413, 415}
