from typing import Any

import polars as pl
import pytest

from guardian.backtest import Result, backtest
from guardian.backtest.figures import UNDEFINED

HOUR = 3600


def test_coverage(small: Result):
    covered = small.coverage
    assert (covered.read, covered.scored, covered.unnamed, covered.rejected) == (100, 100, 0, {})
    assert (covered.entities, covered.windows, covered.warm_up_windows, covered.judged_windows) == (
        2,
        96,
        48,
        48,
    )
    assert covered.positives == 1
    assert (covered.first, covered.last) == ("1970-01-01T00:00:00.000Z", "1970-01-02T23:00:00.000Z")
    assert covered.judged_days == pytest.approx(23 / 24)
    assert covered.entity_days == pytest.approx(2 * 23 / 24)


def test_late_and_out_of_order_events_are_counted(value_engine: Any, frame: Any):
    rows = [(100.0, "web", 1.0, ""), (0.0, "web", 1.0, "x"), (130.0, "", 1.0, "")]
    covered = backtest(frame(rows), warmup="0s", engine=value_engine).coverage
    assert (covered.late, covered.unnamed, covered.windows) == (1, 1, 1)


def test_delay_runs_from_the_first_event_of_the_attack_to_high(small: Result):
    scan, dump = small.metrics.attacks
    assert (scan.label, scan.events, scan.entities, scan.windows, scan.warm_up) == ("scan", 2, 1, 1, False)
    assert (scan.delay_s, scan.detected, scan.peak) == (60.0, "1970-01-02T06:01:10.000Z", 65.0)
    assert (dump.label, dump.delay_s, dump.peak) == ("dump", 0.0, 90.0)


def test_an_attack_that_never_reaches_high_has_no_delay(value_engine: Any, frame: Any):
    rows = [
        (0.0, "web", 70.0, ""),
        (60.0, "web", 59.9, "x"),
        (90.0, "db", 99.0, ""),
        (120.0, "web", 10.0, "x"),
    ]
    (attack,) = backtest(frame(rows), warmup="0s", engine=value_engine).metrics.attacks
    assert (attack.delay_s, attack.detected, attack.peak) == (None, None, 59.9)


def test_an_attack_that_began_in_the_warm_up_is_marked(value_engine: Any, frame: Any):
    (attack,) = backtest(frame([(0.0, "web", 70.0, "x")]), engine=value_engine).metrics.attacks
    assert attack.warm_up


def test_alert_rates_count_rises_past_each_level(small: Result):
    rates = {rate.level: rate for rate in small.metrics.alerts}
    assert {level: (rate.alerts, rate.false_alerts) for level, rate in rates.items()} == {
        "low": (2, 1),  # 5 → 30, and 5 → 61 at the other host
        "medium": (2, 1),  # 30 → 65 and 5 → 61
        "high": (2, 1),
        "critical": (1, 0),
    }
    assert rates["high"].per_day == pytest.approx(2 / (23 / 24))
    assert rates["high"].false_per_entity_day == pytest.approx(1 / (2 * 23 / 24))


def test_alerts_of_the_warm_up_and_of_other_roles_do_not_count(value_engine: Any, frame: Any):
    rows = [(0.0, "web", 90.0, ""), (25 * HOUR, "web", 1.0, ""), (26 * HOUR, "web", 90.0, "")]
    events = frame(rows).with_columns(actor=pl.lit("ana"))
    result = backtest(events, engine=value_engine)
    assert [rate.alerts for rate in result.metrics.alerts] == [1, 1, 1, 1]
    assert len(result.alerts) == 4


def test_all_within_the_warm_up_gives_no_figures_and_no_error(value_engine: Any, frame: Any):
    result = backtest(frame([(0.0, "web", 90.0, "x"), (9.0, "web", 1.0, "")]), engine=value_engine)
    assert set(result.metrics.scorers.values()) == {UNDEFINED}
    assert (result.coverage.judged_windows, result.coverage.judged_days) == (0, 0.0)
    assert {(rate.per_day, rate.false_per_entity_day) for rate in result.metrics.alerts} == {(None, None)}
