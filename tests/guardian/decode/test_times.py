"""Event times: every form, every verdict, and the same answer with and without neighbours."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decode.columns import EARLIEST, LATEST, latest_for
from guardian.decode.times import (
    GOOD,
    MISSING,
    OUT_OF_RANGE,
    UNREADABLE,
    column_ns,
    iso_ns,
    looks_iso,
    number_ns,
    objects_ns,
)

S = 10**9
MOMENT = 1_699_999_200 * S  # 2023-11-14T22:00:00Z


def iso(*texts: str | None) -> list[tuple[int, int]]:
    ns, verdicts = iso_ns(pa.array(texts, pa.string()), LATEST)
    return list(zip(ns.tolist(), verdicts.tolist(), strict=True))


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2023-11-14T22:00:00Z", MOMENT),
        ("2023-11-14t22:00:00z", MOMENT),
        ("2023-11-14 22:00:00", MOMENT),
        ("2023-11-14T22:00", MOMENT),
        ("2023-11-14T22:00Z", MOMENT),
        ("2023-11-14T22:00:00.5Z", MOMENT + S // 2),
        ("2023-11-14T22:00:00,123456789Z", MOMENT + 123_456_789),
        ("2023-11-14T16:00:00-06:00", MOMENT),
        ("2023-11-15T00:30:00.000000001+0230", MOMENT + 1),
        ("2023-11-15T00:00+02", MOMENT),
        ("2023-11-14", MOMENT - 22 * 3600 * S),
        ("2024-02-29T00:00:00Z", 1_709_164_800 * S),
        ("2023-11-14T21:59:60Z", MOMENT),
        ("1990-01-01T00:00:00Z", EARLIEST),
    ],
)
def test_iso_forms(text: str, ns: int) -> None:
    assert iso(text) == [(ns, GOOD)]
    assert iso("x", text, None)[1] == (ns, GOOD), "a neighbour changes nothing"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (None, MISSING),
        ("", MISSING),
        ("yesterday", UNREADABLE),
        ("2023-13-01T00:00:00Z", UNREADABLE),
        ("2023-02-29T00:00:00Z", UNREADABLE),
        ("2023-11-14T24:00:00Z", UNREADABLE),
        ("2023-11-14T22:60:00Z", UNREADABLE),
        ("2023-11-14T22:00:61Z", UNREADABLE),
        ("2023-11-14T22:00:00.Z", UNREADABLE),
        ("2023-11-14T22:00:00.1234567890Z", UNREADABLE),
        ("2023-11-14T22:00:00+2", UNREADABLE),
        ("2023-11-14T22:00:00+25:00", UNREADABLE),
        ("2023-11-14T22:00:00 UTC", UNREADABLE),
        ("2023-11-14T22", UNREADABLE),
        ("2023-11-14Z", UNREADABLE),
        ("20231114T220000Z", UNREADABLE),
        ("２０２３-11-14", UNREADABLE),
        ("2023-11-14T22:00:00Z" + "0" * 5000, UNREADABLE),
        ("1970-01-01T00:00:00Z", OUT_OF_RANGE),
        ("1989-12-31T23:59:59.999999999Z", OUT_OF_RANGE),
        ("2262-04-11T23:47:17Z", OUT_OF_RANGE),
        ("9999-12-31T23:59:59Z", OUT_OF_RANGE),
        ("0000-01-01T00:00:00Z", OUT_OF_RANGE),
    ],
)
def test_iso_that_is_no_usable_time(text: str | None, verdict: int) -> None:
    assert iso(text) == [(0, verdict)]


_FORM = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)?)?",
    re.ASCII,
)


def twin(text: str) -> tuple[int, int]:
    """The form as a regular expression, the calendar as Python's."""
    if not text:
        return 0, MISSING
    found = _FORM.fullmatch(text)
    if not found:
        return 0, UNREADABLE
    year, month, day, hour, minute, second, fraction, sign, zone_hour, zone_minute = found.groups()
    try:
        moment = datetime(
            max(int(year), 1), int(month), int(day), int(hour or 0), int(minute or 0), tzinfo=UTC
        )
    except ValueError:
        return 0, UNREADABLE
    if int(second or 0) > 60 or int(zone_hour or 0) > 23 or int(zone_minute or 0) > 59:
        return 0, UNREADABLE
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1) + int(second or 0)
    offset = int(zone_hour or 0) * 3600 + int(zone_minute or 0) * 60
    seconds -= -offset if sign == "-" else offset
    ns = seconds * S + int((fraction or "").ljust(9, "0"))
    return (ns, GOOD) if EARLIEST <= ns <= LATEST else (0, OUT_OF_RANGE)


_number = st.integers(0, 99).map("{:02d}".format)
near_iso = st.builds(
    "{}-{}-{}{}{}:{}{}{}{}".format,
    st.sampled_from(["0000", "1989", "1990", "2000", "2023", "2199", "2200", "2300", "20x3"]),
    st.integers(0, 13).map("{:02d}".format),
    st.integers(0, 32).map("{:02d}".format),
    st.sampled_from(["T", " ", "t", "_"]),
    st.integers(0, 24).map("{:02d}".format),
    st.integers(0, 60).map("{:02d}".format),
    st.one_of(st.just(""), st.integers(0, 61).map(":{:02d}".format)),
    st.one_of(st.just(""), st.integers(0, 10**9).map(".{}".format)),
    st.one_of(st.sampled_from(["", "Z", "z", "+", "-03:3", "Q"]), st.builds("{}{}{}{}".format, st.sampled_from("+-"), _number, st.sampled_from(["", ":"]), _number)),
)  # fmt: skip


@given(texts=st.lists(st.one_of(near_iso, st.text(max_size=40)), max_size=8), start=st.integers(0, 3))
def test_iso_is_its_twin_row_by_row(texts: list[str], start: int) -> None:
    array = pa.array(texts, pa.string()).slice(start)
    ns, verdicts = iso_ns(array, LATEST)
    assert list(zip(ns.tolist(), verdicts.tolist(), strict=True)) == [twin(text) for text in texts[start:]]


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1_699_999_200, "s", (MOMENT, GOOD)),
        (1_699_999_200.000001, "s", (MOMENT + 1000, GOOD)),
        ("1699999200.25", "s", (MOMENT + S // 4, GOOD)),
        (1_699_999_200_001, "ms", (MOMENT + 1_000_000, GOOD)),
        ("1699999200000001", "us", (MOMENT + 1000, GOOD)),
        (MOMENT + 1, "ns", (MOMENT + 1, GOOD)),
        ("1e400", "s", (0, OUT_OF_RANGE)),
        (10**400, "s", (0, OUT_OF_RANGE)),
        (-1, "s", (0, OUT_OF_RANGE)),
        (float("inf"), "s", (0, OUT_OF_RANGE)),
        (float("nan"), "s", (0, MISSING)),
        (None, "s", (0, MISSING)),
        ("", "s", (0, MISSING)),
        (True, "s", (0, UNREADABLE)),
        ("1_6", "s", (0, UNREADABLE)),
        ("soon", "s", (0, UNREADABLE)),
        ([1], "s", (0, UNREADABLE)),
        ("9" * 50, "s", (0, UNREADABLE)),
    ],
)
def test_numbers(value: object, unit: str, expected: tuple[int, int]) -> None:
    assert number_ns(value, unit, LATEST) == expected  # type: ignore[arg-type]


@given(
    values=st.lists(
        st.one_of(
            st.none(),
            st.integers(-(2**62), 2**62),
            st.integers(600_000_000, 8_000_000_000),
        ),
        max_size=6,
    ),
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
)
def test_integer_columns_are_read_as_single_numbers(values: list[int | None], unit: str) -> None:
    ns, verdicts = column_ns(pa.array(values, pa.int64()), unit, LATEST)  # type: ignore[arg-type]
    singles = [number_ns(value, unit, LATEST) for value in values]  # type: ignore[arg-type]
    assert list(zip(ns.tolist(), verdicts.tolist(), strict=True)) == singles


@given(
    values=st.lists(st.one_of(st.floats(), st.floats(6e8, 8e9), st.floats(6e17, 8e18)), max_size=6),
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
)
def test_float_columns_are_read_as_single_numbers(values: list[float], unit: str) -> None:
    ns, verdicts = column_ns(pa.array(values, pa.float64()), unit, LATEST)  # type: ignore[arg-type]
    singles = [number_ns(value, unit, LATEST) for value in values]  # type: ignore[arg-type]
    assert list(zip(ns.tolist(), verdicts.tolist(), strict=True)) == singles


def test_columns_that_know_their_unit() -> None:
    stamp = datetime(2023, 11, 14, 22, tzinfo=UTC)
    for kind in (pa.timestamp("s"), pa.timestamp("ms", tz="UTC"), pa.timestamp("ns", tz="UTC")):
        ns, verdicts = column_ns(pa.array([stamp, None], kind), "iso8601", LATEST)
        assert (ns.tolist(), verdicts.tolist()) == ([MOMENT, 0], [GOOD, MISSING])
    far = pa.array([2**62], pa.timestamp("s"))
    assert column_ns(far, "s", LATEST)[1].tolist() == [OUT_OF_RANGE]
    ns, _ = column_ns(pa.array([date(2023, 11, 14)]), "iso8601", LATEST)
    assert ns.tolist() == [MOMENT - 22 * 3600 * S]
    assert column_ns(pa.array([True]), "s", LATEST)[1].tolist() == [UNREADABLE]
    assert column_ns(pa.array(["2023-11-14T22:00:00Z"], pa.large_string()), "iso8601", LATEST)[
        0
    ].tolist() == [MOMENT]
    assert column_ns(pa.array([2**64 - 1], pa.uint64()), "ns", LATEST)[1].tolist() == [OUT_OF_RANGE]


def test_objects_of_mixed_types_do_not_disturb_each_other() -> None:
    ns, verdicts = objects_ns([1, "2023-11-14T22:00:00.123456789Z", None], "iso8601", LATEST)
    assert (ns.tolist(), verdicts.tolist()) == ([0, MOMENT + 123_456_789, 0], [UNREADABLE, GOOD, MISSING])
    assert objects_ns([], "s", LATEST)[0].dtype == np.int64


def test_bounds_and_forms() -> None:
    assert latest_for(MOMENT) == MOMENT + 86_400 * S
    assert latest_for(2**63 - 1) == LATEST
    assert (looks_iso("2023-11"), looks_iso("1699999200"), looks_iso("")) == (True, False, False)
