"""Sessions of HDFS log kinds: recall and false positives beside exact count vectors and a forest, and sessions a second."""

from __future__ import annotations

import gzip
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.sequences import SequenceScorer

TITLE = "Sequences: HDFS sessions"
GOAL = (
    "recall ≥ .99 at ≤ .3 % false positives; ≥ 1.8 M sessions/s. Every method learns one half of the normal sessions and is"
    " judged on the other and on all abnormal ones, over 10 halves; its threshold is the quantile that lets .2 % of the learnt"
    " half through, each tenth scored by what the other nine gave. Chosen on loghub, confirmed on Xu"
)
NOMINAL = 0.002

Sessions = list[tuple[int, ...]]
Scores = NDArray[np.float64]
Fit = Callable[[Sessions], Callable[[Sessions], Scores]]


def read(path: Path) -> Sessions:
    """One session a line: ``block,kind kind kind``."""
    with gzip.open(path, "rt") as lines:
        return [tuple(int(kind) for kind in line.split(",")[1].split()) for line in lines]


def flat(sessions: Sessions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Kinds in one row, and where each session begins."""
    kinds = np.array([kind for session in sessions for kind in session], np.int64)
    return kinds, np.cumsum([0, *map(len, sessions)], dtype=np.int64)


def ours(learnt: Sessions) -> Callable[[Sessions], Scores]:
    """Known counts, else the rarest transition."""
    scorer = SequenceScorer()
    scorer.learn(*flat(learnt))
    return lambda sessions: scorer.score(*flat(sessions))


def exact_counts(learnt: Sessions) -> Callable[[Sessions], Scores]:
    """1 for a count vector never seen."""
    known = {frozenset(Counter(session).items()) for session in learnt}
    return lambda sessions: np.array(
        [frozenset(Counter(each).items()) not in known for each in sessions], float
    )


def transitions_only(learnt: Sessions) -> Callable[[Sessions], Scores]:
    """The rarest transition, whether or not the counts are known."""
    scorer = SequenceScorer()
    scorer.learn(*flat(learnt))
    return lambda sessions: scorer.explain(*flat(sessions)).transition


def forest(learnt: Sessions) -> Callable[[Sessions], Scores]:
    """scikit-learn's isolation forest on counts of kinds."""
    from sklearn.ensemble import IsolationForest

    columns = {kind: i for i, kind in enumerate(sorted({kind for session in learnt for kind in session}))}

    def counts(sessions: Sessions) -> NDArray[np.float64]:
        made = np.zeros((len(sessions), len(columns) + 1))
        for row, session in enumerate(sessions):
            for kind in session:
                made[row, columns.get(kind, len(columns))] += 1
        return made

    fitted = IsolationForest(random_state=0).fit(counts(learnt))
    return lambda sessions: -fitted.score_samples(counts(sessions))


METHODS: dict[str, Fit] = {
    "scoring.SequenceScorer": ours,
    "exact count vectors": exact_counts,
    "rarest transition alone": transitions_only,
    "scikit-learn isolation forest": forest,
}


def measure(shared: Path, *, quick: bool) -> list[dict[str, Any]]:
    """One row a data set and method, then the speed, then what the stored order shows."""
    rows, sets = [], ("loghub", "xu")
    for name in sets:
        normal, abnormal = data(shared, name)
        if quick:
            abnormal = abnormal[::8]
        for method, fit in METHODS.items():
            judged = [
                outcome(fit, learnt, held_out, abnormal)
                for learnt, held_out in halves(normal, 1 if quick else 5)
            ]
            recall, false = (statistics.mean(column) for column in zip(*judged, strict=True))
            rows.append(
                {
                    "data": name,
                    "method": method,
                    "recall": recall,
                    "false positives, %": 100 * false,
                    "highest of the halves, %": 100 * max(each[1] for each in judged),
                    "goal": ("met" if recall >= 0.99 and false <= 0.003 else "missed")
                    if fit is ours
                    else None,
                }
            )
    rows += [speed(*data(shared, "loghub"))]
    for name in sets:
        rows += stored_order(name, *data(shared, name))
    return rows


def data(shared: Path, name: str) -> tuple[Sessions, Sessions]:
    """Normal and abnormal sessions."""
    folder = shared / "data" / "hdfs"
    return read(folder / f"hdfs_{name}_hdfs_train.gz"), read(folder / f"hdfs_{name}_hdfs_test_abnormal.gz")


def halves(sessions: Sessions, times: int) -> Iterator[tuple[Sessions, Sessions]]:
    """Random halves, each learnt once and held out once."""
    for seed in range(times):
        order = np.random.default_rng(seed).permutation(len(sessions))
        first, second = ([sessions[i] for i in part] for part in np.array_split(order, 2))
        yield first, second
        yield second, first


def outcome(fit: Fit, learnt: Sessions, normal: Sessions, abnormal: Sessions) -> tuple[float, float]:
    """Recall and rate of false positives at a threshold that saw only the learnt half."""
    order = np.random.default_rng(0).permutation(len(learnt))
    crossed = []
    for fold in range(10):
        others = [learnt[i] for place, i in enumerate(order) if place % 10 != fold]
        crossed.append(fit(others)([learnt[i] for i in order[fold::10]]))
    threshold = np.quantile(np.hstack(crossed), 1 - NOMINAL, method="higher")
    if threshold >= 1.0 and fit is exact_counts:
        threshold = 0.5  # it has no threshold to choose: unknown is strange
    score = fit(learnt)
    return float(np.mean(score(abnormal) > threshold)), float(np.mean(score(normal) > threshold))


def speed(normal: Sessions, abnormal: Sessions) -> dict[str, Any]:
    """Scoring and learning in one pass over a stream of the data's own mixture, and the exact match in Python."""
    stream = (normal + abnormal[: len(normal) // 32]) * 20
    kinds, offsets = flat(stream)
    seconds, beside = [], []
    for _ in range(5):
        scorer = SequenceScorer()
        started = time.perf_counter()
        scorer.score_learn(kinds, offsets)
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        exact_counts(stream[: len(normal)])
        beside.append((time.perf_counter() - started) * len(stream) / len(normal))
    rate = len(stream) / statistics.median(seconds)
    return {
        "data": "loghub, 3 % abnormal",
        "method": "scoring.SequenceScorer, score and learn",
        "sessions/s": rate,
        "× exact count vectors in Python": statistics.median(beside) / statistics.median(seconds),
        "goal": "met" if rate >= 1.8e6 else "missed",
    }


def stored_order(name: str, normal: Sessions, abnormal: Sessions) -> Iterator[dict[str, Any]]:
    """The first half learnt, the second judged as stored: it holds kinds and habits that the first never shows."""
    half = len(normal) // 2
    for fit, method in ((ours, "scoring.SequenceScorer"), (exact_counts, "exact count vectors")):
        recall, false = outcome(fit, normal[:half], normal[half:], abnormal)
        yield {
            "data": f"{name}, as stored",
            "method": method,
            "recall": recall,
            "false positives, %": 100 * false,
        }
    scorer = SequenceScorer()
    scorer.learn(*flat(normal[:half]))
    false = float(np.mean(scorer.score_learn(*flat(normal[half:])) > 2.0))
    recall = float(np.mean(scorer.score(*flat(abnormal)) > 2.0))
    yield {
        "data": f"{name}, as stored",
        "method": "scoring.SequenceScorer, learning on, above 2 decades",
        "recall": recall,
        "false positives, %": 100 * false,
    }


if __name__ == "__main__":
    from run import show

    show(__file__)
