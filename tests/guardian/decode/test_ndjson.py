"""JSON lines: one broken line never costs its neighbours, and every reason is named and counted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decode import load_map
from guardian.decode.columns import REJECTS_KEPT
from guardian.decode.ndjson import MAX_LINE, decode_ndjson

NOW = 1_700_000_000 * 10**9
GOOD = b'{"timestamp":"2023-11-14T22:00:00Z","action":"a","user_id":"u"}'
TAMV = load_map("tamv")


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
        (b'{"timestamp":"9999-12-31T23:59:59Z","action":"a"}', "time_unreadable"),
        (b'{"timestamp":"2023-11-16T22:00:00Z","action":"a"}', "time_out_of_range"),
        (b'{"a":' * 100_000, "too_deep"),
        (b'{"timestamp":"2023-11-14T22:00:00Z","action":"' + b"x" * MAX_LINE + b'"}', "line_too_long"),
        (b'{"timestamp":"2023-11-14T22:00:00Z","action":"\\ud800"}', "not_json"),
    ],
)
def test_a_bad_line_between_good_ones(line: bytes, reason: str) -> None:
    decoded = decode_ndjson(b"\n".join([GOOD, line, GOOD, b"", b"  ", GOOD]), TAMV, received_at=NOW)
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
    decoded = decode_ndjson(b"\n".join(map(msgspec.json.encode, lines)), TAMV, received_at=NOW)
    assert not decoded.reasons
    assert decoded.batch.column("kind").to_pylist() == ["5", '["a"]', "c"]
    assert decoded.batch.column("actor").to_pylist() == ["true", "", str(2**70)]
    assert decoded.batch.column("value").to_pylist()[0] == 0.012
    assert decoded.batch.column("value").to_pylist()[1] != decoded.batch.column("value").to_pylist()[1]
    assert decoded.batch.column("outcome").to_pylist() == [3, 0, 0]


def test_many_rejects_are_counted_and_the_first_are_told() -> None:
    decoded = decode_ndjson(b"x\n" * (REJECTS_KEPT + 500), TAMV, received_at=NOW)
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
    decoded = decode_ndjson(body, TAMV, received_at=NOW)
    written = sum(1 for record in records) if records else 0
    assert len(decoded.batch) + sum(decoded.reasons.values()) == written
    assert sum(decoded.reasons.values()) == len(decoded.rejected)


@given(body=st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    decoded = decode_ndjson(body, TAMV, received_at=NOW)
    lines = [line for line in body.split(b"\n") if line.strip()]
    assert len(decoded.batch) + sum(decoded.reasons.values()) == len(lines)


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 10**6), st.text(min_size=1, max_size=8).filter(str.strip)), max_size=10
    )
)
def test_each_line_alone_is_each_line_together(rows: list[tuple[int, str]]) -> None:
    """The row-by-row reading is the twin of the columnar one."""
    lines = [
        msgspec.json.encode(
            {"timestamp": f"2023-11-01T00:00:{second % 60:02d}.{second % 999:03d}Z", "action": kind}
        )
        for second, kind in rows
    ]
    together = decode_ndjson(b"\n".join(lines), TAMV, received_at=NOW).batch
    for i, line in enumerate(lines):
        alone = decode_ndjson(line, TAMV, received_at=NOW).batch
        for name in ("ts", "kind", "attrs", "outcome"):
            assert alone.column(name)[0].as_py() == together.column(name)[i].as_py()
