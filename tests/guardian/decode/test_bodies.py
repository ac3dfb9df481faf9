"""Bodies: encodings, content types, and caps that a hostile sender cannot get around."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest
import zstandard

from guardian.decode import decode_body, decompress
from guardian.errors import BodyError

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
        ({"content_type": "application/vnd.apache.arrow.stream"}, 400),
    ):
        with pytest.raises(BodyError) as caught:
            decode(LINE, **changes)
        assert caught.value.status == status
