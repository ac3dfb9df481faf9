"""Totals of the gateway."""

from __future__ import annotations

from xr_telemetry.counts import Counts


def test_counts_start_at_zero_and_apart() -> None:
    one, two = Counts(), Counts()
    one.refused["bad_json"] += 1
    assert two.refused.total() == 0
    assert (one.received, one.accepted, one.windows, one.windows_lost, one.sent, one.sent_bytes) == (0,) * 6
