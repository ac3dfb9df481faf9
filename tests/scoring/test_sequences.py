"""Sequences beside their twin; the laws of split, restore and bounded memory; HDFS where its data is at hand."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring import transitions
from scoring.sequences import SequenceScorer
from tests.twins_series import SequenceTwin

Flat = tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]

kinds = st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 2**63 - 1])
sessions = st.lists(st.lists(kinds, max_size=12), max_size=12)


def flat(given: list[Any]) -> Flat:
    """Sessions as arrays."""
    ids = np.array([kind for session in given for kind in session], np.int64)
    return ids, np.cumsum([0, *map(len, given)], dtype=np.int64)


@settings(max_examples=80)
@given(learnt=sessions, streamed=sessions, support=st.integers(1, 3))
def test_scores_are_those_of_the_twin(learnt: list[Any], streamed: list[Any], support: int) -> None:
    scorer, twin = SequenceScorer(support=support), SequenceTwin()
    scorer.learn(*flat(learnt))
    for session in learnt:
        twin.learn(session)
    expected = [twin.score(session, support) for session in streamed]
    assert scorer.score(*flat(streamed)) == pytest.approx(expected, abs=1e-12)
    why = scorer.explain(*flat(streamed))
    assert why.transition == pytest.approx([twin.transition(session) for session in streamed], abs=1e-12)
    assert why.length == pytest.approx([twin.length(session) for session in streamed], abs=1e-12)
    expected = []
    for session in streamed:
        expected.append(twin.score(session, support))
        twin.learn(session)
    assert scorer.score_learn(*flat(streamed)) == pytest.approx(expected, abs=1e-12)
    assert scorer.sessions == len(learnt) + len(streamed)


@settings(max_examples=40)
@given(given_=sessions, cut=st.integers(0, 12), small=st.booleans())
def test_parts_and_restoring_change_no_bit(given_: list[Any], cut: int, small: bool) -> None:
    sizes = {"kinds": 8, "transitions": 8, "sessions": 8} if small else {}
    whole, parts = SequenceScorer(**sizes), SequenceScorer(**sizes)
    at_once = whole.score_learn(*flat(given_))
    first = parts.score_learn(*flat(given_[:cut]))
    restored = SequenceScorer.restore(parts.snapshot())
    second = restored.score_learn(*flat(given_[cut:]))
    assert np.hstack([first, second]).tobytes() == at_once.tobytes()
    assert restored.snapshot() == whole.snapshot()


def check_tables(scorer: SequenceScorer) -> None:
    """What the tables hold adds up."""
    state = scorer._state
    live = state.kinds["key"] != 0
    assert state.totals[transitions.SYMBOLS] == state.kinds["seen"][live].sum()
    assert state.totals[transitions.DISTINCT] == (state.kinds["seen"][live] > 0).sum()
    steps = state.steps[state.steps["key"] != 0]
    for place in np.flatnonzero(live):
        own = steps[steps["context"] == state.kinds["context"][place]]
        assert state.kinds["left"][place] == own["seen"].sum()
        assert state.kinds["followers"][place] == len(own)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), many=st.integers(1, 60), length=st.integers(1, 60))
def test_full_tables_forget_and_still_add_up(seed: int, many: int, length: int) -> None:
    random = np.random.default_rng(seed)
    scorer = SequenceScorer(kinds=16, transitions=16, sessions=8)
    size = len(scorer.snapshot())
    given_ = [list(random.zipf(1.3, length) % 1000) for _ in range(many)]
    scores = scorer.score_learn(*flat(given_))
    assert len(scorer.snapshot()) == size
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    check_tables(scorer)
    if many * length > 1000:
        assert min(scorer.evicted.values()) > 0


def test_what_is_used_outlives_a_flood_of_others() -> None:
    scorer = SequenceScorer(kinds=64, transitions=256, sessions=64)
    for start in range(0, 4000, 4):
        scorer.learn(*flat([[1, 2, 3], [5 + start, 6 + start, 7 + start, 8 + start]]))
    assert scorer.evicted["sessions"] > 800
    assert scorer.score(*flat([[1, 2, 3], [3, 2, 1]]))[0] == 0.0
    why = scorer.explain(*flat([[1, 2, 3], [3, 2, 1]]))
    assert why.transition[0] < 1.0 < why.transition[1]


def test_an_explanation_names_the_event_of_the_rarest_step() -> None:
    scorer = SequenceScorer()
    scorer.learn(*flat([[1, 2, 3]] * 40 + [[1, 2]] * 20))
    why = scorer.explain(*flat([[1, 2, 9, 3], [], [1, 2, 3, 3]]))
    assert why.at.tolist()[:2] == [2, 4]
    assert why.seen.tolist() == [0, 0, 0]
    assert why.length[1] == pytest.approx(np.log10(61))


@pytest.mark.parametrize(
    ("ids", "offsets", "said"),
    [
        (np.zeros(3, np.int32), np.array([0, 3]), "kinds: expected int64 of shape"),
        ([1, 2], np.array([0, 2]), "got list"),
        (np.zeros(6, np.int64)[::2], np.array([0, 3]), "not C order"),
        (np.zeros(3, np.int64), np.array([0.0, 3.0]), "offsets: expected int64"),
        (np.zeros(3, np.int64), np.array([], np.int64), "from 0 to 3"),
        (np.zeros(3, np.int64), np.array([0, 2]), "from 0 to 3"),
        (np.zeros(3, np.int64), np.array([1, 3]), "from 0 to 3"),
        (np.zeros(3, np.int64), np.array([0, 2, 1, 3]), "without a step back"),
    ],
)
def test_other_arrays_are_refused(ids: Any, offsets: Any, said: str) -> None:
    scorer = SequenceScorer()
    for method in (scorer.score, scorer.learn, scorer.score_learn, scorer.explain):
        with pytest.raises(ValueError, match=said):
            method(ids, offsets)
    assert scorer.sessions == 0


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"kinds": 4}, "kinds: expected a whole number from 8"),
        ({"transitions": 100}, "transitions: expected a power of two, got 100"),
        ({"sessions": 8.0}, "sessions: expected a whole number"),
        ({"support": 0}, "support"),
        ({"seed": -1}, "seed"),
    ],
)
def test_other_parameters_are_refused(parameters: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SequenceScorer(**parameters)


def test_an_empty_scorer_finds_nothing_strange_and_no_session_gives_no_score() -> None:
    scorer = SequenceScorer()
    assert scorer.score(*flat([[1, 2], []])).tolist() == [0.0, 0.0]
    assert scorer.score_learn(*flat([])).tolist() == []


def test_another_scorers_snapshot_is_refused() -> None:
    blob = SequenceScorer().snapshot()
    other = blob.replace(b"SequenceScorer", b"SequenceScarer")
    with pytest.raises(ValueError, match="snapshot"):
        SequenceScorer.restore(other)
    scorer = SequenceScorer()
    scorer._state.steps["owner"][3] = 4096
    with pytest.raises(ValueError, match="contradict each other"):
        SequenceScorer.restore(scorer.snapshot())


def read(path: Path) -> list[list[int]]:
    with gzip.open(path, "rt") as lines:
        return [[int(kind) for kind in line.split(",")[1].split()] for line in lines]


@pytest.mark.parametrize("name", ["loghub", "xu"])
def test_hdfs(shared_data: Path, name: str) -> None:
    """The goal, on random halves of the normal sessions; 2 decades lie far between both kinds."""
    normal = read(shared_data / "hdfs" / f"hdfs_{name}_hdfs_train.gz")
    abnormal = flat(read(shared_data / "hdfs" / f"hdfs_{name}_hdfs_test_abnormal.gz"))
    false = []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(normal))
        half = len(order) // 2
        scorer = SequenceScorer()
        scorer.learn(*flat([normal[i] for i in order[:half]]))
        false.append(np.mean(scorer.score(*flat([normal[i] for i in order[half:]])) > 2.0))
        assert np.mean(scorer.score(*abnormal) > 2.0) >= 0.99
    assert np.mean(false) <= 0.003
