from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring import risk

Aggregate = Callable[..., Any]

GOLDEN = [70, 45, 21, 21, 21]
SCORES = st.lists(st.floats(0, 100), max_size=40)


def test_elastic_documented_example():
    assert risk.elastic_zeta(GOLDEN) == pytest.approx(36.16, abs=0.005)
    assert risk.elastic_zeta(GOLDEN, 2.0) == pytest.approx(
        53.11, abs=0.01
    )  # documented from the rounded 36.16
    assert risk.elastic_zeta([100], zeta=2.5924) == pytest.approx(38.6, abs=0.05)


def test_criticality_works_on_the_odds():
    half = risk.elastic_zeta(GOLDEN, 0.5)
    odds = risk.elastic_zeta(GOLDEN) / (100 - risk.elastic_zeta(GOLDEN))
    assert half / (100 - half) == pytest.approx(odds / 2)


@pytest.mark.parametrize(("criticality", "zeta"), [(0.0, 2.6), (-1.0, 2.6), (1.0, 0.0), (float("nan"), 2.6)])
def test_elastic_refuses_what_has_no_odds(criticality: float, zeta: float):
    with pytest.raises(ValueError, match="criticality > 0"):
        risk.elastic_zeta(GOLDEN, criticality, zeta=zeta)


@pytest.mark.parametrize("aggregate", [risk.elastic_zeta, risk.splunk_sum, risk.secops_max, risk.count])
class TestEveryAggregator:
    def test_nothing_is_zero(self, aggregate: Aggregate):
        assert aggregate([]) == 0.0
        assert aggregate([float("nan")]) == 0.0

    def test_nan_is_as_if_not_reported(self, aggregate: Aggregate):
        assert aggregate([70, float("nan"), 45]) == aggregate([70, 45])

    def test_order_does_not_matter(self, aggregate: Aggregate):
        assert aggregate(GOLDEN[::-1]) == pytest.approx(aggregate(GOLDEN))

    def test_two_dimensions_or_unequal_lengths_are_refused(self, aggregate: Aggregate):
        with pytest.raises(ValueError, match="shape"):
            aggregate([[1.0]])
        with pytest.raises(ValueError, match="shape"):
            aggregate([1.0], groups=np.array([0, 1]))

    def test_no_groups_give_no_answers(self, aggregate: Aggregate):
        assert aggregate([], groups=np.array([], np.int64)).shape == (0,)

    def test_an_empty_group_is_zero(self, aggregate: Aggregate):
        assert aggregate([5.0], groups=np.array([1]))[0] == 0.0

    @given(data=st.data(), scores=SCORES)
    def test_groups_are_the_same_as_one_call_each(
        self, aggregate: Aggregate, data: st.DataObject, scores: list[float]
    ):
        groups = np.array(
            data.draw(st.lists(st.integers(0, 4), min_size=len(scores), max_size=len(scores))), np.int64
        )
        together = aggregate(scores, groups=groups)
        for group, got in enumerate(together):
            alone = aggregate([s for s, g in zip(scores, groups, strict=True) if g == group])
            assert got == pytest.approx(alone, abs=1e-9)

    @given(scores=SCORES, more=st.floats(0, 100))
    def test_one_more_score_never_lowers(self, aggregate: Aggregate, scores: list[float], more: float):
        assert aggregate([*scores, more]) >= aggregate(scores) - 1e-9


@given(SCORES)
def test_elastic_stays_below_100(scores: list[float]):
    assert 0.0 <= risk.elastic_zeta(scores) <= 100.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40))
def test_formulas_written_out(scores: list[float]):
    ranked = sorted(scores, reverse=True)
    assert risk.elastic_zeta(scores) == pytest.approx(
        sum(r / (i + 1) ** 1.5 for i, r in enumerate(ranked)) / 2.612
    )
    assert risk.splunk_sum(scores) == pytest.approx(sum(scores))
    assert risk.secops_max(scores) == pytest.approx(ranked[0] + 0.2 * sum(ranked[1:]))
    assert risk.count(scores) == len(scores)
