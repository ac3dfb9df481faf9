import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from guardian.backtest import ranking

windows = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0, 7.5]), st.booleans(), st.integers(0, 3)), min_size=2
)


def test_known_answers():
    positive = np.array([True, False, True, False])
    assert ranking.point(np.array([4.0, 3.0, 2.0, 1.0]), positive) == pytest.approx((0.75, (1 + 2 / 3) / 2))
    assert ranking.point(np.array([4.0, 2.0, 3.0, 1.0]), positive) == (1.0, 1.0)
    assert ranking.point(np.zeros(4), positive) == (0.5, 0.5)


@pytest.mark.parametrize("positive", [[], [True, True], [False, False]])
def test_without_both_sides_there_is_no_figure(positive: list[bool]):
    sides = np.array(positive, np.bool_)
    score = np.zeros(len(sides))
    assert ranking.point(score, sides) is None
    assert ranking.interval(score, sides, np.arange(len(sides))) is None


@given(windows)
def test_the_weighted_twin_is_scikit_learn(rows: list[tuple[float, bool, int]]):
    score = np.array([row[0] for row in rows])
    positive = np.array([row[1] for row in rows])
    weight = np.array([row[2] for row in rows], np.float64)
    assume(weight[positive].sum() > 0 and weight[~positive].sum() > 0)
    ((auc, precision),) = ranking.weighted(score, positive, weight[None, :])
    assert auc == pytest.approx(roc_auc_score(positive, score, sample_weight=weight))
    assert precision == pytest.approx(average_precision_score(positive, score, sample_weight=weight))


def test_weights_that_leave_one_side_out_give_no_figure():
    got = ranking.weighted(
        np.array([1.0, 2.0]), np.array([True, False]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    )
    assert np.isnan(got[:2]).all()
    assert got[2].tolist() == [0.0, 0.5]


def sample(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    positive = random.random(400) < 0.1
    return random.normal(size=400) + positive, positive


def test_intervals_are_the_same_each_time_and_hold_the_figure():
    score, positive = sample()
    first = ranking.interval(score, positive, np.arange(400))
    assert first == ranking.interval(score, positive, np.arange(400))
    assert first is not None
    figures = ranking.point(score, positive)
    assert figures is not None
    for figure, (low, high) in zip(figures, first, strict=True):
        assert 0 <= low < figure < high <= 1


def test_resamples_do_not_depend_on_how_many_are_handled_at_once(monkeypatch: pytest.MonkeyPatch):
    score, positive = sample()
    whole = ranking.interval(score, positive, np.arange(400) // 4)
    monkeypatch.setattr(ranking, "_CELLS", 400 * 7)
    assert ranking.interval(score, positive, np.arange(400) // 4) == whole


def test_blocks_of_dependent_rows_widen_the_interval():
    score, positive = sample()
    copies = np.repeat(score, 5), np.repeat(positive, 5)
    alone = ranking.interval(*copies, np.arange(2000))
    together = ranking.interval(*copies, np.repeat(np.arange(400), 5))
    assert alone is not None
    assert together is not None
    assert together[0][1] - together[0][0] > 1.5 * (alone[0][1] - alone[0][0])


def test_one_block_cannot_be_resampled_into_anything_else():
    score, positive = sample()
    (auc, _), _ = ranking.interval(score, positive, np.zeros(400, np.int64)) or ((0.0, 0.0), (0.0, 0.0))
    assert auc == pytest.approx(roc_auc_score(positive, score))
