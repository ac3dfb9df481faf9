from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.backtest.durations import iso, moment, nanoseconds
from guardian.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("24h", 86_400),
        ("1.5d", 129_600),
        (" 30s ", 30),
        ("250ms", 0.25),
        (timedelta(minutes=1), 60),
    ],
)
def test_durations(text: Any, seconds: float):
    assert nanoseconds("window", text) == seconds * 1e9


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "5min", "1e3s", "٥m", "9999999999d", 300, None])
def test_anything_else_is_refused_by_name(text: Any):
    with pytest.raises(InputError, match="window: expected a duration such as 30s"):
        nanoseconds("window", text)


@given(st.integers(-(2**63) + 10**6, 2**63 - 1))
def test_moment_reads_what_iso_writes(at: int):
    assert moment(iso(at)) == at // 10**6 * 10**6


def test_moments_without_a_zone_are_utc():
    assert moment("2026-01-01") == moment("2026-01-01T00:00:00Z") == moment(datetime(2026, 1, 1, tzinfo=UTC))
    assert moment(datetime(2026, 1, 1)) == moment("2026-01-01T06:00:00+06:00")  # noqa: DTZ001  (naive is the case)
    assert moment(datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == 0
    with pytest.raises(InputError, match="ISO 8601"):
        moment("yesterday")


@pytest.mark.parametrize("at", [2**63, "9999-01-01", datetime(1600, 1, 1, tzinfo=UTC)])
def test_moments_outside_of_64_bits_are_refused(at: Any):
    with pytest.raises(InputError, match="1677 to 2262"):
        moment(at)
