"""Bodies and streams of JSON lines: one batch for a body, blocks for a file, line numbers that stay right."""

from __future__ import annotations

import pytest

from guardian.decode import ndjson
from guardian.decode.columns import LATEST, Rejected
from guardian.decode.lines import MAX_BLOCK_LINES
from guardian.decode.mapfile import builtin_map
from guardian.decode.ndjson import decode_ndjson, decode_pieces
from guardian.errors import BodyError

NOW = 1_700_000_000 * 10**9
GOOD = b'{"timestamp":"2023-11-14T22:00:00Z","action":"a","user_id":"u"}'
TAMV = builtin_map("tamv")


def test_a_body_is_one_batch() -> None:
    decoded = decode_ndjson(b"\n".join([GOOD, b"x", GOOD] * 5000), TAMV, received_at=NOW)
    assert len(decoded.batch) == 10_000
    assert decoded.batch.column("kind").dictionary.to_pylist() == ["a"]
    assert decoded.reasons == {"not_json": 5000}
    assert [each.line for each in decoded.rejected[:3]] == [2, 5, 8]


def test_time_counts_from_the_arrival() -> None:
    assert len(decode_ndjson(GOOD, TAMV, received_at=NOW).batch) == 1
    early = decode_ndjson(GOOD, TAMV, received_at=NOW - 30 * 86_400 * 10**9)
    assert early.reasons == {"time_out_of_range": 1}
    assert len(decode_ndjson(GOOD, TAMV, received_at=None).batch) == 1


def test_an_empty_body_has_no_events() -> None:
    for body in (b"", b"\n", b"\r\n\r\n", b"\xef\xbb\xbf"):
        decoded = decode_ndjson(body, TAMV, received_at=NOW)
        assert (len(decoded.batch), decoded.rejected) == (0, ())


def test_too_many_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "MAX_RECORDS", 9)
    with pytest.raises(BodyError, match="at most 9 records"):
        decode_ndjson(b"\n".join([GOOD] * 10), TAMV, received_at=NOW)


def test_a_stream_comes_in_batches_that_account_for_themselves() -> None:
    body = b"\n".join([*[GOOD] * (MAX_BLOCK_LINES + 10), b"x", b"", GOOD])
    items = list(decode_pieces([body[at : at + 1000] for at in range(0, len(body), 1000)], TAMV, LATEST))
    assert sum(len(decoded.batch) for decoded, _ in items) == MAX_BLOCK_LINES + 11
    assert [each for decoded, _ in items for each in decoded.rejected] == [
        Rejected(MAX_BLOCK_LINES + 11, "not_json", "JSON is malformed: invalid character (byte 0)")
    ]
    (one, labels), two = decode_pieces([body], TAMV, LATEST)
    assert (len(one.batch), labels, one.rejected) == (MAX_BLOCK_LINES, None, ())
    assert len(two[0].batch) == 11
