"""The ensemble: what it finds, what its channels mean, and that nobody can freeze it or teach it faster than the gate allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from scoring import Ensemble, TailCalibrator
from scoring import ensemble_layout as at
from tests.twins_ensemble import EnsembleTwin


def ordinary(seed: int, rows: int, features: int = 3) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((rows, features))


def test_the_first_48_rows_score_nothing() -> None:
    said = Ensemble(3).judge_learn(ordinary(0, 60))
    assert not said.score[:48].any()
    assert (said.p_value[:48] == 1.0).all()
    assert said.score[48:].all()


def test_judging_gives_the_scores_of_scoring_and_leaves_the_same_state() -> None:
    X = ordinary(1, 3000)
    X[70], X[2000] = np.nan, 9.0
    scored, judged, alone = Ensemble(3), Ensemble(3), Ensemble(3)
    said = judged.judge_learn(X)
    assert np.array_equal(scored.score_learn(X), said.score)
    assert np.array_equal([alone.score_learn_one(x) for x in X], said.score)
    assert scored.snapshot() == judged.snapshot() == alone.snapshot()
    np.testing.assert_allclose(said.marginal + said.whitened + said.neighbour, said.score, atol=1e-9)
    assert said.p_value[70] == 1.0
    assert said.p_value[2000] == said.p_value[1000:].min()


def test_p_values_are_those_of_a_tail_calibrator_over_the_scores() -> None:
    X = ordinary(2, 5000)
    said = Ensemble(3).judge_learn(X)
    assert np.array_equal(said.p_value[48:], TailCalibrator().p_value_learn(said.score[48:].copy()))


def test_the_twin_agrees_through_lag_gate_and_growing_samples() -> None:
    X = ordinary(3, 5600, 2)
    X[np.random.default_rng(3).random(5600) < 0.004] *= 6.0
    detector = Ensemble(2, seed=5)
    twin = EnsembleTwin(detector)
    expected = [twin.score_learn(row) for row in X.tolist()]
    np.testing.assert_allclose(detector.score_learn(X), expected, rtol=1e-8, atol=1e-8)
    assert detector.refused == twin.refused
    assert twin.seen - twin.learnt - twin.refused == 4096


def test_the_seed_chooses_the_sample_and_nothing_else() -> None:
    X = ordinary(4, 2000)
    one, other = Ensemble(3).judge_learn(X), Ensemble(3, seed=2**63 - 1).judge_learn(X)
    assert np.array_equal(one.marginal, other.marginal)
    assert not np.array_equal(one.neighbour, other.neighbour)
    assert np.corrcoef(one.score, other.score)[0, 1] > 0.98


def test_channels_see_what_they_should() -> None:
    """Correlated features, and rows that break the correlation with values that are ordinary one by one."""
    random = np.random.default_rng(5)
    common = random.standard_normal((20_000, 1))
    X = common + 0.2 * random.standard_normal((20_000, 2))
    y = random.random(20_000) < 0.01
    X[y, 1] = -X[y, 0] + 0.3
    X[y] += np.where(np.abs(X[y]) < 0.7, 1.0, 0.0) * [1.0, -1.0]
    said = Ensemble(2).judge_learn(X)
    assert roc_auc_score(y, said.whitened) > 0.9
    assert roc_auc_score(y, said.neighbour) > 0.9
    assert roc_auc_score(y, said.marginal) < 0.7


@pytest.mark.parametrize("features", [1, 32, 33, 70])
def test_any_number_of_features_is_whitened_in_blocks(features: int) -> None:
    X = ordinary(6, 600, features)
    X[500] = 12.0
    scores = Ensemble(features).score_learn(X)
    assert scores[300:].argmax() == 200
    blocks = -(-features // at.BLOCK)
    assert at.new_state(features, 0).whitening.shape == (features, -(-features // blocks))


def flooded(share: float, shift: float) -> tuple[Ensemble, NDArray[np.bool_], NDArray[np.float64]]:
    """30,000 ordinary rows, then 30,000 in a place where nobody was, mixed with a flood of one strange row."""
    random = np.random.default_rng(7)
    X = ordinary(7, 60_000)
    X[30_000:] += [shift, 0.0, -0.5 * shift]
    flood = random.random(60_000) < share
    flood[:30_000] = False
    X[flood] = [-9.0, 9.0, 9.0]
    detector = Ensemble(3)
    return detector, flood, detector.score_learn(X)


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5])
def test_no_flood_keeps_the_ensemble_from_learning(share: float) -> None:
    _, flood, scores = flooded(share, shift=2.0)
    shifted = scores[30_000:33_000][~flood[30_000:33_000]]
    learnt = scores[55_000:][~flood[55_000:]]
    assert np.median(shifted) > 10.0
    assert np.median(learnt) < 0.0


def test_a_flood_below_the_opening_share_is_not_learnt() -> None:
    detector, flood, scores = flooded(0.03, shift=0.0)
    assert detector.refused > 0.9 * flood[:-4096].sum()
    assert np.median(scores[flood][-100:]) > 0.5 * np.median(scores[flood][:100])


def test_a_flood_above_the_opening_share_is_learnt() -> None:
    detector, flood, scores = flooded(0.5, shift=0.0)
    assert detector.refused < 0.1 * flood.sum()
    assert np.median(scores[flood][-100:]) < 0.1 * np.median(scores[flood][:100])


def test_strange_rows_are_learnt_no_faster_than_tokens_allow() -> None:
    X = ordinary(8, 20_000)
    X[10_007::200] += 15.0
    detector = Ensemble(3)
    suspects = 0
    for start in range(0, len(X), 50):
        limit = detector._arrays.pace[at.SUSPECT_ABOVE]
        scores = detector.score_learn(X[start : start + 50])
        suspects += int((scores > limit).sum())
    waiting = detector._arrays.held[:, -1].sum()
    learnt = suspects - detector.refused - waiting
    assert suspects > at.MAX_TOKENS
    assert learnt <= at.MAX_TOKENS + at.SUSPECT * 10_000


def test_one_absurd_row_hardly_moves_the_scores_of_others() -> None:
    X = ordinary(9, 30_000)
    wild = X.copy()
    wild[10_000] = 1e12
    plain, after = Ensemble(3).score_learn(X), Ensemble(3).score_learn(wild)
    assert after[10_000] > plain.max()
    assert np.median(np.abs(after - plain)[10_001:]) < 0.1
    assert np.corrcoef(after[10_001:], plain[10_001:])[0, 1] > 0.99
    assert np.array_equal(after[:10_000], plain[:10_000])


def test_slow_poisoning_does_not_hide_what_is_less_strange() -> None:
    """However far away a row lies, it pulls a mean by at most 16 standard deviations times the rate."""
    X = ordinary(10, 40_000)
    X[50::100] = 1e9
    y = np.zeros(40_000, bool)
    y[20_007::100] = True
    X[y] *= 4.0
    detector = Ensemble(3)
    scores = detector.score_learn(X)
    mean = detector._arrays.columns[at.MEAN] + detector._arrays.columns[at.ORIGIN]
    assert np.abs(mean).max() < 2.0
    late = np.arange(40_000) > 20_000
    late[50::100] = False
    clean = Ensemble(3).score_learn(np.delete(X, np.s_[50::100], axis=0))
    expected = roc_auc_score(np.delete(y, np.s_[50::100])[19_800:], clean[19_800:])
    assert roc_auc_score(y[late], scores[late]) > expected - 0.03


def test_weights_are_taken_back_before_they_overflow() -> None:
    X = ordinary(11, 3000)
    plain, heavy = Ensemble(3), Ensemble(3)
    plain.score_learn(X[:1500])
    heavy.score_learn(X[:1500])
    state = heavy._arrays
    for array in (state.mass, state.white_mass, state.gate_mass):
        array[...] *= 2.0**700
    state.pace[at.MASS_WEIGHT] *= 2.0**700
    np.testing.assert_allclose(heavy.score_learn(X[1500:]), plain.score_learn(X[1500:]), rtol=1e-9)
    assert state.pace[at.MASS_WEIGHT] < 2.0


@pytest.mark.parametrize(
    ("array", "place", "value"),
    [
        ("mass", (0, 0), np.nan),
        ("columns", (1, 0), np.inf),
        ("clock", at.FILLED, 129),
        ("clock", at.SEEN, -1),
    ],
)
def test_a_snapshot_that_would_lead_the_loop_astray_is_refused(
    array: str, place: object, value: float
) -> None:
    detector = Ensemble(2)
    detector.score_learn(ordinary(12, 300, 2))
    getattr(detector._arrays, array)[place] = value
    with pytest.raises(ValueError, match="snapshot"):
        Ensemble.restore(detector.snapshot())


@pytest.mark.parametrize("seed", [-1, 2**63, 0.5, None])
def test_a_wrong_seed_is_refused(seed: object) -> None:
    with pytest.raises(ValueError, match="seed"):
        Ensemble(3, seed=seed)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    ("name", "shuffled"),
    [("http", False), ("http", True), ("smtp", False), ("shuttle", False), ("cover", False), ("cover", True)],
)
def test_worst_area_under_the_curve_on_public_sets(shared_data: Path, name: str, shuffled: bool) -> None:
    with np.load(shared_data / "adbench" / f"{name}.npz") as file:
        X, y = file["X"].astype(np.float64), file["y"]
    if shuffled:
        order = np.random.default_rng(1).permutation(len(y))
        X, y = X[order], y[order]
    assert roc_auc_score(y, Ensemble(X.shape[1]).score_learn(np.ascontiguousarray(X))) >= 0.93
