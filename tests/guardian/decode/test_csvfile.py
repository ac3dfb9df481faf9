"""CSV: rows have lines, and a broken row costs no neighbour."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decode.columns import LATEST, Decoded
from guardian.decode.csvfile import decode_csv
from guardian.decode.lines import line_blocks
from guardian.decode.mapfile import builtin_map
from guardian.errors import InputError

HEADER = b"time,name,ip,host,short,event_label\n"
GOOD = b"1642213952.5,A,1.1.1.1,h,x,-\n"


def decode(body: bytes) -> tuple[Decoded, Any]:
    ((decoded, labels),) = decode_csv(line_blocks([body]), builtin_map("ait-ads"), LATEST, "f.csv")
    return decoded, labels


def test_rows_and_labels() -> None:
    decoded, labels = decode(HEADER + GOOD + b'1642213953,"say ""hi"", all\nof you","",h,,scan\r\n')
    assert decoded.batch.column("kind").to_pylist() == ["A", 'say "hi", all\nof you']
    assert decoded.batch.column("address").to_pylist() == ["1.1.1.1", ""]
    assert decoded.batch.column("attrs").to_pylist() == ['{"short":"x"}', '{"ip":"","short":""}']
    assert labels.to_pylist() == ["", "scan"]
    assert not decoded.reasons


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1642213952.5,A,1.1.1.1\n", "wrong_columns"),
        (b"1642213952.5,A,1,2,3,4,5,6\n", "wrong_columns"),
        (b"1642213952.5,A\xff,1.1.1.1,h,x,-\n", "invalid_utf8"),
        (b'1642213952.5,"A"b,1.1.1.1,h,x,-\n', "not_csv"),
        (b"soon,A,1.1.1.1,h,x,-\n", "time_unreadable"),
        (b",A,1.1.1.1,h,x,-\n", "no_time"),
        (b"5,A,1.1.1.1,h,x,-\n", "time_out_of_range"),
        (b"1642213952.5,,1.1.1.1,h,x,-\n", "no_kind"),
        (b"1642213952.5," + b"x" * 2**20 + b",1.1.1.1,h,x,-\n", "line_too_long"),
        (b"1642213952.5," + b"x" * 200_000 + b",1.1.1.1,h,x,-\n", "not_csv"),
    ],
)
def test_a_bad_row_between_good_ones(row: bytes, reason: str) -> None:
    decoded, _ = decode(HEADER + GOOD + row + b"\n" + GOOD)
    assert len(decoded.batch) == 2
    assert [(each.line, each.reason) for each in decoded.rejected] == [(3, reason)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "a CSV header"),
        (b"\n\n", "a CSV header"),
        (b"time,name,time\n", "different names"),
        (b"when,name\n1,2\n", "a column time for ts"),
    ],
)
def test_a_header_that_cannot_be_used(body: bytes, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        decode(body)


def test_a_header_without_rows() -> None:
    decoded, _ = decode(b"\xef\xbb\xbf" + HEADER)
    assert len(decoded.batch) == 0
    assert not decoded.reasons


@given(
    st.lists(st.sampled_from([GOOD, b'"', b",", b"\n", b"\r", b"\xff", b"x", b"\0"]), max_size=12).map(
        b"".join
    )
)
def test_any_bytes_are_read_or_rejected(body: bytes) -> None:
    decoded, labels = decode(HEADER + body)
    assert len(decoded.batch) == len(labels)
    assert all(each.line > 1 for each in decoded.rejected)
