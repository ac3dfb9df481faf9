"""calibrate: the map gives the budget that it promises on the period it was fitted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.calibrate import DAY_NS, KNOTS, calibrate, fitted
from guardian.config import Config, parse
from guardian.errors import InputError


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 3000),
    days=st.floats(10.0, 5000.0),
    flat=st.booleans(),
)
def test_the_budget_is_kept_and_the_map_is_valid(seed: int, count: int, days: float, flat: bool) -> None:
    random = np.random.default_rng(seed)
    risk = np.zeros(count) if flat else random.exponential(2.0, count)
    fit = fitted(risk, days)
    assert parse(fit.toml()).calibration.risk
    knots = fit.calibration
    assert knots.score[0] == 0.0
    assert knots.score[-1] == 100.0
    points = np.interp(risk, knots.risk, knots.score)
    for score in KNOTS:
        if days * 10 ** (-score / 20) >= 1.0:
            assert np.count_nonzero(points > score) <= days * 10 ** (-score / 20)
    assert 20.0 <= knots.confirmed_to <= 100.0


def ordinary(folder: Path, days: int) -> Path:
    random = np.random.default_rng(1)
    count = 400 * days
    stamps = np.sort(random.uniform(0, days * 86_400, count)) + 1.7e9
    frame = pl.DataFrame(
        {
            "time": stamps,
            "name": [f"k{min(int(k), 30)}" for k in random.zipf(1.6, count)],
            "ip": [f"10.0.0.{i}" for i in random.integers(0, 4, count)],
            "host": [f"h{i}" for i in random.integers(0, 5, count)],
        }
    )
    frame.write_parquet(folder / "ordinary.parquet")
    return folder / "ordinary.parquet"


def test_a_period_becomes_a_map(tmp_path: Path) -> None:
    fit = calibrate([ordinary(tmp_path, 6)], map_name="ait-ads", warmup_ns=DAY_NS, config=Config())
    assert fit.entity_days == pytest.approx(45.0, rel=0.05)
    assert fit.exceeded["low"] <= fit.entity_days / 10 + 1
    assert fit.exceeded["medium"] <= 1
    assert list(fit.calibration.risk) == sorted(fit.calibration.risk)
    told = fit.to_json()
    assert told["budgetPerEntityDay"] == {"low": 0.1, "medium": 0.01, "high": 0.001, "critical": 0.0001}


def test_too_short_a_period_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 10 entity-days after the warm-up"):
        calibrate([ordinary(tmp_path, 1)], map_name="ait-ads", warmup_ns=DAY_NS // 2, config=Config())
    (tmp_path / "none.ndjson").write_text("")
    with pytest.raises(InputError, match="expected events, got none"):
        calibrate([tmp_path / "none.ndjson"], map_name="tamv", warmup_ns=0, config=Config())
