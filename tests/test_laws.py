"""The laws of the streaming detectors, over every public ``Detector`` that has ``score_learn``: none can be left out.

A detector declares on its class the range of its scores (``score_range``) and by how much an added constant may move
them (``offset_tolerance``). Its slow twin is the class ``<Name>Twin`` in any of ``tests/twins_*.py``.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import scoring
from scoring.detector import Detector

ROOT = Path(__file__).parent.parent
DETECTORS = [
    name
    for name in scoring.__all__
    if isinstance(getattr(scoring, name), type)
    and issubclass(getattr(scoring, name), Detector)
    and callable(getattr(getattr(scoring, name), "score_learn", None))
]

SEEDS = st.integers(0, 2**32 - 1)
FEATURES = st.sampled_from([1, 2, 3, 5])
EXAMPLES = settings(max_examples=12)
HOSTILE = (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e12, -1e12, 5e-324, -0.0)

every_detector = pytest.mark.parametrize("name", DETECTORS)


def made(name: str, features: int, **parameters: Any) -> Any:
    return getattr(scoring, name)(features, **parameters)


def stream(seed: int, rows: int, features: int) -> NDArray[np.float64]:
    """Rows with features of every kind: Gaussian, heavy-tailed, few values, constant; some rows far out."""
    random = np.random.default_rng(seed)
    columns = []
    for _ in range(features):
        kind = random.integers(4)
        if kind == 0:
            columns.append(random.standard_normal(rows) * 10.0 ** random.integers(-3, 4))
        elif kind == 1:
            columns.append(random.standard_cauchy(rows))
        elif kind == 2:
            columns.append(random.integers(0, 5, rows).astype(np.float64))
        else:
            columns.append(np.full(rows, float(random.integers(-3, 4))))
    X = np.ascontiguousarray(np.column_stack(columns))
    X[random.random(rows) < 0.01] += 1e6
    return X


def hostile(seed: int, rows: int, features: int) -> NDArray[np.float64]:
    """The same with values that break careless arithmetic, also in the first rows."""
    random = np.random.default_rng(seed)
    X = stream(seed, rows, features)
    where = random.random(X.shape) < random.choice([0.01, 0.3])
    X[where] = random.choice(HOSTILE, int(where.sum()))
    return X


def bits(scores: Any) -> list[str]:
    return [float(score).hex() for score in scores]


def test_every_detector_that_is_promised_is_found() -> None:
    assert {"HalfSpaceTrees", "StreamingHistogram", "Loda", "RSHash"} <= set(DETECTORS)


@every_detector
@EXAMPLES
@given(seed=SEEDS, features=FEATURES, cuts=st.lists(st.integers(0, 700), max_size=6))
def test_split(name: str, seed: int, features: int, cuts: list[int]) -> None:
    X = hostile(seed, 700, features)
    whole, parts, rows = (made(name, features) for _ in range(3))
    expected = bits(whole.score_learn(X))
    assert bits(np.concatenate([parts.score_learn(part) for part in np.split(X, sorted(cuts))])) == expected
    assert bits(rows.score_learn_one(row) for row in X) == expected
    assert whole.snapshot() == parts.snapshot() == rows.snapshot()
    assert whole.skipped == parts.skipped == rows.skipped


@every_detector
@EXAMPLES
@given(seed=SEEDS, features=FEATURES, cut=st.integers(0, 700))
def test_restore(name: str, seed: int, features: int, cut: int) -> None:
    X = hostile(seed, 700, features)
    detector = made(name, features)
    detector.score_learn(X[:cut])
    blob = detector.snapshot()
    again = type(detector).restore(blob)
    assert again.snapshot() == blob
    assert again.skipped == detector.skipped
    assert bits(again.score_learn(X[cut:])) == bits(detector.score_learn(X[cut:]))
    assert again.snapshot() == detector.snapshot()


@every_detector
@EXAMPLES
@given(data=st.data())
def test_a_damaged_snapshot_is_refused(name: str, data: st.DataObject) -> None:
    detector = made(name, 2)
    detector.score_learn(stream(0, 300, 2))
    blob = detector.snapshot()
    at = data.draw(st.integers(0, len(blob) - 1))
    flipped = bytes([blob[at] ^ (1 << data.draw(st.integers(0, 7)))])
    for damaged in (blob[:at], blob[:at] + flipped + blob[at + 1 :], blob + b"\0", data.draw(st.binary())):
        with pytest.raises(ValueError, match="snapshot"):
            type(detector).restore(damaged)


@every_detector
def test_a_snapshot_of_another_detector_is_refused(name: str) -> None:
    for other in DETECTORS:
        if other != name:
            with pytest.raises(ValueError, match=name):
                getattr(scoring, name).restore(made(other, 2).snapshot())


@every_detector
@EXAMPLES
@given(seed=SEEDS, features=FEATURES, order=st.lists(st.booleans(), min_size=1, max_size=40))
def test_interleave(name: str, seed: int, features: int, order: list[bool]) -> None:
    """Another detector's rows, fed in between, never change mine."""
    mine, others = hostile(seed, 700, features), hostile(seed + 1, 700, features)
    alone = bits(made(name, features).score_learn(mine))
    detector, other = made(name, features), made(name, features)
    got: list[float] = []
    for take_mine, part, noise in zip(
        np.resize(order, 20), np.array_split(mine, 20), np.array_split(others, 20), strict=True
    ):
        if take_mine:
            other.score_learn(noise)
        got.extend(detector.score_learn(part))
    assert bits(got) == alone


@every_detector
@EXAMPLES
@given(seed=SEEDS, features=FEATURES)
def test_range_and_values_that_are_not_finite(name: str, seed: int, features: int) -> None:
    X = hostile(seed, 700, features)
    finite = np.isfinite(X).all(axis=1)
    detector, without = made(name, features), made(name, features)
    low, high = type(detector).score_range
    scores = detector.score_learn(X)
    assert scores.dtype == np.float64
    assert scores.shape == (700,)
    assert np.isfinite(scores).all()
    assert ((scores >= low) & (scores <= high)).all()
    assert not scores[~finite].any()
    assert detector.skipped == (~finite).sum()
    assert bits(scores[finite]) == bits(without.score_learn(np.ascontiguousarray(X[finite])))
    assert without.skipped == 0


@every_detector
def test_no_rows_and_constant_rows(name: str) -> None:
    detector = made(name, 3)
    before = detector.snapshot()
    assert detector.score_learn(np.empty((0, 3))).shape == (0,)
    assert detector.snapshot() == before
    constant = np.full((600, 3), 7.0)
    low, high = type(detector).score_range
    scores = detector.score_learn(constant)
    assert np.isfinite(scores).all()
    assert ((scores >= low) & (scores <= high)).all()
    assert np.isfinite(detector.score_learn_one(np.array([7.0, 8.0, 7.0])))


@every_detector
def test_one_absurd_row_does_not_stop_the_scoring(name: str) -> None:
    X = np.random.default_rng(5).standard_normal((2000, 3))
    X[1000] = 1e12
    scores = made(name, 3).score_learn(X)
    assert np.isfinite(scores).all()
    assert scores[1000] >= np.quantile(scores[500:1000], 0.9)


@every_detector
@EXAMPLES
@given(seed=SEEDS, features=FEATURES, added=st.sampled_from([1e9, -1e9, 1234567.0]))
def test_offset(name: str, seed: int, features: int, added: float) -> None:
    random = np.random.default_rng(seed)
    X = np.rint(random.standard_normal((700, features)) * 50)
    plain, moved = made(name, features), made(name, features)
    difference = np.abs(plain.score_learn(X) - moved.score_learn(X + added))
    assert difference.max() <= type(plain).offset_tolerance


def twin_of(name: str) -> Any:
    for path in sorted((ROOT / "tests").glob("twins_*.py")):
        found = getattr(importlib.import_module(f"tests.{path.stem}"), f"{name}Twin", None)
        if found is not None:
            return found
    pytest.fail(f"no class {name}Twin in tests/twins_*.py: every detector has its slow twin")


@every_detector
@settings(max_examples=4)
@given(seed=SEEDS, features=st.sampled_from([1, 3]))
def test_twin(name: str, seed: int, features: int) -> None:
    """Equal to 1e-9: the twin fades what it saw, the kernel lets the weight of what is new grow."""
    twin_class = twin_of(name)
    X = stream(seed, 560, features)
    detector = made(name, features, **getattr(twin_class, "parameters", {}))
    twin = twin_class(detector)
    expected = [twin.score_learn(row) for row in X.tolist()]
    np.testing.assert_allclose(detector.score_learn(X), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["StreamingHistogram", "Loda", "RSHash"])
def test_twin_when_weights_near_overflow(name: str) -> None:
    """At a half-life of one row the weight of what is new passes 1e200 after 664 rows: all is divided by it, twice."""
    X = stream(8, 1400, 2)
    twin_class = twin_of(name)
    detector = made(name, 2, **{**getattr(twin_class, "parameters", {}), "half_life": 1.0})
    twin = twin_class(detector)
    expected = [twin.score_learn(row) for row in X.tolist()]
    np.testing.assert_allclose(detector.score_learn(X), expected, rtol=1e-9, atol=1e-9)
    assert detector._mass[0] < 1e200


INTERPRETED = """
import json, sys
import numpy as np
import scoring
X = np.frombuffer(sys.stdin.buffer.read()).reshape(-1, 3)
with np.errstate(all="ignore"):
    print(json.dumps({name: getattr(scoring, name)(3).score_learn(X).tolist() for name in sys.argv[1:]}))
"""


def test_twin_that_python_interprets() -> None:
    """The loops as Python runs them; logarithms may differ by some units in the last place, nothing else may."""
    X = hostile(3, 520, 3)
    run = subprocess.run(
        [sys.executable, "-c", INTERPRETED, *DETECTORS],
        input=X.tobytes(),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    interpreted = json.loads(run.stdout)
    for name in DETECTORS:
        np.testing.assert_allclose(made(name, 3).score_learn(X), interpreted[name], rtol=1e-13, atol=1e-13)


@every_detector
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((5, 2)), r"expected float64 of shape \(n, 3\) in C order, got float64 of shape \(5, 2\)"),
        (np.zeros(3), r"got float64 of shape \(3,\)"),
        (np.zeros((5, 3), np.float32), "got float32"),
        (np.zeros((5, 3), np.int16), "got int16"),
        (np.zeros((5, 3), ">f8"), "got >f8"),
        (np.zeros((3, 5)).T, "not C order"),
        (np.zeros((5, 6))[:, ::2], "not C order"),
        ([[1.0, 2.0, 3.0]], "got list"),
        (None, "got NoneType"),
    ],
)
def test_rows_of_the_wrong_kind_are_refused(name: str, wrong: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(name, 3).score_learn(wrong)


@every_detector
@pytest.mark.parametrize("wrong", [np.zeros(2), np.zeros((1, 3)), np.zeros(3, np.float32), [0.0, 0.0, 0.0]])
def test_a_row_of_the_wrong_kind_is_refused(name: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"x: expected float64 of shape \(3,\), got"):
        made(name, 3).score_learn_one(wrong)


@every_detector
def test_read_only_rows_are_taken_and_left_alone(name: str) -> None:
    X = stream(1, 50, 3)
    kept = X.copy()
    X.setflags(write=False)
    made(name, 3).score_learn(X)
    made(name, 3).score_learn_one(X[0])
    assert np.array_equal(X, kept)


@every_detector
@pytest.mark.parametrize("features", [0, -1, 1.5, True, "3", 10**9])
def test_a_wrong_number_of_features_is_refused(name: str, features: Any) -> None:
    with pytest.raises(ValueError, match="features: expected a whole number from 1"):
        made(name, features)
