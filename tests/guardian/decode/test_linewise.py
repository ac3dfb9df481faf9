"""JSON lines: one broken line never costs its neighbours, and every reason is named and counted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decode import Decoded, load_map
from guardian.decode.columns import REJECTS_KEPT, Rejects, latest_for
from guardian.decode.lines import MAX_LINE_BYTES, line_blocks, slices
from guardian.decode.linewise import decode_lines

NOW = 1_700_000_000 * 10**9
GOOD = b'{"timestamp":"2023-11-14T22:00:00Z","action":"a","user_id":"u"}'
TAMV = load_map("tamv")


def decode(body: bytes) -> Decoded:
    rejects = Rejects()
    lines = [line for _, block in line_blocks(slices(body)) for line in block]
    batch, _ = decode_lines(lines, 1, TAMV, latest_for(NOW), rejects)
    return rejects.decoded(batch)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not_json"),
        (b'{"timestamp":"2023-11-14T22:00:00Z","action":"a"} x', "not_json"),
        (b'"text"', "not_an_object"),
        (b"[]", "not_an_object"),
        (b'{"action":"a\xff"}', "invalid_utf8"),
        (b'{"action":"a"}', "no_time"),
        (b'{"timestamp":"","action":"a"}', "no_time"),
        (b'{"timestamp":"yesterday","action":"a"}', "time_unreadable"),
        (b'{"timestamp":{"at":1},"action":"a"}', "time_unreadable"),
        (b'{"timestamp":"2023-11-14T22:00:00Z"}', "no_kind"),
        (b'{"timestamp":"2023-11-14T22:00:00Z","action":"  "}', "no_kind"),
        (b'{"timestamp":"1970-01-01T00:00:00Z","action":"a"}', "time_out_of_range"),
        (b'{"timestamp":"2262-04-11T23:47:16Z","action":"a"}', "time_out_of_range"),
        (b'{"timestamp":"9999-12-31T23:59:59Z","action":"a"}', "time_out_of_range"),
        (b'{"timestamp":"2023-11-16T22:00:00Z","action":"a"}', "time_out_of_range"),
        (b'{"a":' * 100_000, "too_deep"),
        (b'{"timestamp":"2023-11-14T22:00:00Z","action":"' + b"x" * MAX_LINE_BYTES + b'"}', "line_too_long"),
        (b'{"timestamp":"2023-11-14T22:00:00Z","action":"\\ud800"}', "not_json"),
        (b'{"timestamp":"2023-11-14T22:00:00Z","action":"a","x":1e400}', "number_out_of_range"),
        (
            b'{"timestamp":"2023-11-14T22:00:00Z","action":"a","x":' + b"1" * 5000 + b"}",
            "number_out_of_range",
        ),
        (b'{"timestamp":"2023-11-14T22:00:00Z","action":"a","x":NaN}', "not_json"),
        (b'{"timestamp":true,"action":"a"}', "time_unreadable"),
    ],
)
def test_a_bad_line_between_good_ones(line: bytes, reason: str) -> None:
    decoded = decode(b"\n".join([GOOD, line, GOOD, b"", b"  ", GOOD]))
    assert len(decoded.batch) == 3
    assert dict(decoded.reasons) == {reason: 1}
    assert [(each.line, each.reason) for each in decoded.rejected] == [(2, reason)]
    assert decoded.rejected[0].detail


def test_values_of_odd_types_become_what_they_can() -> None:
    lines = [
        {
            "timestamp": "2023-11-14T22:00:00Z",
            "action": 5,
            "user_id": True,
            "duration_ms": "12",
            "status": 403,
        },
        {"timestamp": "2023-11-14T22:00:00+02:00", "action": ["a"], "user_id": None, "duration_ms": "fast"},
        {"timestamp": "2023-11-14 22:00:00", "action": "c", "user_id": 2**70, "duration_ms": 1e300},
    ]
    decoded = decode(b"\n".join(map(msgspec.json.encode, lines)))
    assert not decoded.reasons
    assert decoded.batch.column("kind").to_pylist() == ["5", "a", "c"]
    assert decoded.batch.column("actor").to_pylist() == ["true", "", str(2**70)]
    assert decoded.batch.column("value").to_pylist()[0] == 0.012
    assert decoded.batch.column("value").to_pylist()[1] != decoded.batch.column("value").to_pylist()[1]
    assert decoded.batch.column("outcome").to_pylist() == [3, 0, 0]


def test_what_json_leaves_open_is_defined() -> None:
    line = (
        b'{"timestamp":"2023-11-14T22:00:00Z","action":"first","action":"l\\u0061st\\n\\ud83d\\ude00","user_id":"\\u0000",'
        b'"duration_ms":1e308,"n":123456789012345678901234567890,"z":-0.0,"x":"\xc3\xa9\\/"}'
    )
    (row,) = decode(line).batch.drop_columns(["ts"]).to_pylist()
    assert row["kind"] == "last\n😀", "of repeated keys the last counts"
    assert row["actor"] == "\0"
    assert row["attrs"] == '{"n":123456789012345678901234567890,"z":-0.0,"x":"é/"}'
    huge = decode(b'{"timestamp":"2023-11-14T22:00:00Z","action":"a","duration_ms":' + b"9" * 400 + b"}")
    assert huge.batch.column("value").to_pylist() != huge.batch.column("value").to_pylist(), "NaN"
    assert len(huge.batch) == 1


def test_a_byte_order_mark_and_carriage_returns() -> None:
    decoded = decode(b"\xef\xbb\xbf" + GOOD + b"\r\n" + GOOD + b"\r\n\r\n")
    assert len(decoded.batch) == 2
    assert not decoded.reasons


def test_many_rejects_are_counted_and_the_first_are_told() -> None:
    decoded = decode(b"x\n" * (REJECTS_KEPT + 500))
    assert dict(decoded.reasons) == {"not_json": REJECTS_KEPT + 500}
    assert len(decoded.rejected) == REJECTS_KEPT
    assert len(decoded.batch) == 0


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(
    ["timestamp", "action", "user_id", "ip", "metadata", "status", "duration_ms", "risk_level"]
)


@given(records=st.lists(st.dictionaries(fields, json_values, max_size=6), max_size=8))
def test_any_json_is_decoded_or_refused_line_by_line(records: list[dict[str, Any]]) -> None:
    body = b"\n".join(msgspec.json.encode(record) for record in records)
    decoded = decode(body)
    written = sum(1 for record in records) if records else 0
    assert len(decoded.batch) + sum(decoded.reasons.values()) == written
    assert sum(decoded.reasons.values()) == len(decoded.rejected)


@given(body=st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    decoded = decode(body)
    lines = [line for line in body.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    assert len(decoded.batch) + sum(decoded.reasons.values()) == len(lines)


@given(
    lines=st.lists(
        st.one_of(st.just(GOOD), st.binary(max_size=30), st.sampled_from([b"{}", b"1", b"[{}]"])), max_size=8
    )
)
def test_msgspec_is_the_oracle_of_what_is_an_object(lines: list[bytes]) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    rejects = Rejects()
    batch, _ = decode_lines(list(lines), 1, TAMV, latest_for(NOW), rejects)
    refused = {each.line: each.reason for each in rejects.decoded(batch).rejected}
    for number, line in enumerate(lines, 1):
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            assert refused.get(number, "blank") in {
                "not_json",
                "invalid_utf8",
                "number_out_of_range",
                "blank",
            }
            assert (number in refused) == bool(line.strip())
        else:
            assert (refused.get(number) == "not_an_object") == (not isinstance(record, dict))
