"""Numbers and times read without Python are those that Python reads; in doubt they are not read."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guardian.decode import json_layout as on
from guardian.decode.columns import LATEST
from guardian.decode.json_numbers import decimal, fraction, iso_time, number, number_time
from guardian.decode.times import GOOD, iso_ns, number_ns

digits = st.text("0123456789", max_size=21)
numbers = st.one_of(
    st.builds("{}{}{}{}".format, st.sampled_from(["", "-", "+"]), digits, st.sampled_from(["", "."]), digits),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers().map(str),
    st.text("0123456789.-+eE_ ", max_size=24),
)


def octets(text: str, after: bytes = b",") -> Any:
    return np.frombuffer(text.encode() + after + bytes(16), np.uint8)


@given(numbers)
@example("-0")
@example("0.0001")
@example("0.00001")
@example("1234567890123456.0")
@example("1E309")
def test_a_number_is_one_for_msgspec_too(text: str) -> None:
    end, kind = number(octets(text), 0)
    if end < 0:
        return
    if kind == on.DOUBTFUL and math.isinf(float(text[:end])):
        with pytest.raises(msgspec.ValidationError, match="out of range"):
            msgspec.json.decode(text[:end])
        return
    read = msgspec.json.decode(text[:end])
    assert isinstance(read, int | float)
    if kind != on.DOUBTFUL:
        assert msgspec.json.encode(read).decode() == text[:end] == repr(read)
        assert isinstance(read, int) == (kind == on.INTEGER)


@given(numbers)
def test_a_decimal_is_what_python_reads(text: str) -> None:
    kind, whole, places = decimal(octets(text), 0, len(text))
    if kind == 0:
        return
    assert "_" not in text
    if kind == 1:
        assert int(text) == whole
    value = fraction(whole, places)
    assert math.isnan(value) or value == float(text)
    for unit in ("s", "ms", "us", "ns"):
        factor = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[unit]
        ns = number_time(kind, whole, value, factor, LATEST)
        expected, verdict = number_ns(text, unit, LATEST)
        assert ns == expected if ns >= 0 else (verdict != GOOD or math.isnan(value))


stamps = st.builds(
    "{:04}-{:02}-{:02}{}{}{}{}".format,
    st.integers(1985, 2205),
    st.integers(0, 13),
    st.integers(0, 32),
    st.sampled_from(["", "T", " ", "t", "x"]),
    st.one_of(
        st.just(""), st.builds("{:02}:{:02}".format, st.integers(0, 25), st.integers(0, 61)),
        st.builds("{:02}:{:02}:{:02}".format, st.integers(0, 25), st.integers(0, 61), st.integers(0, 62)),
    ),
    st.one_of(st.just(""), st.builds("{}{}".format, st.sampled_from([".", ","]), st.text("0123456789", max_size=11))),
    st.sampled_from(["", "Z", "z", "+00", "-0330", "+05:45", "+24:00", "-05:60", "Zz", "+5", "+05:4"]),
)  # fmt: skip


@given(stamps | st.text("0123456789-:TZ+. ", max_size=36))
@example("2024-02-29T23:59:60.999999999Z")
@example("1900-02-29")
@example("2000-02-29T00:00")
@example("1990-01-01T00:30:00+01:00")
def test_a_time_is_what_all_rows_at_once_read(text: str) -> None:
    ns = iso_time(octets(text, b'"'), 0, len(text), LATEST)
    expected, verdict = iso_ns(pa.array([text]), LATEST)
    assert ns == (expected[0] if verdict[0] == GOOD else -1)
