"""The offline forest beside scikit-learn's own walk, and whether it adds to the ensemble."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import scoring

TITLE = "The offline forest"
GOAL = (
    "scores equal scikit-learn's within 1e-12 at ≥ 5× its rows/s. Below: each fifth of a stream scored by a forest fitted on"
    " 10,000 rows of the fifth before it, no labels, beside `Ensemble` and the sum of both as −log10 of streaming p-values"
    " (ROC-AUC/average precision of the last four fifths)"
)
SETS = ("http", "smtp", "shuttle", "cover", "mammography")
SHUFFLED = ("http", "cover")
TIMED_ROWS = 50_000
FITTED_ROWS = 10_000
PARTS = 5

Floats = NDArray[np.float64]


def measure(shared: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Speed on each set, then what adding the forest does."""
    rows: list[dict[str, Any]] = []
    stored = {name: data(shared, name, quick=quick) for name in SETS}
    rows += [speed(name, X) for name, (X, _) in stored.items()]
    for name, (X, y) in stored.items():
        rows.append(added(name, X, y))
        if name in SHUFFLED:
            order = np.random.default_rng(0).permutation(len(X))
            rows.append(added(f"{name}, shuffled", X[order], y[order]))
    return rows


def data(shared: Path, name: str, *, quick: bool) -> tuple[Floats, NDArray[np.bool_]]:
    """Rows and labels, as stored."""
    with np.load(shared / "data" / "adbench" / f"{name}.npz") as stored:
        X, y = np.ascontiguousarray(stored["X"], np.float64), stored["y"].astype(bool)
    every = max(len(X) // 10_000, 1) if quick else 1
    return np.ascontiguousarray(X[::every]), y[::every]


def speed(name: str, X: Floats) -> dict[str, Any]:
    """Both walks over the same rows, interleaved."""
    from sklearn.ensemble import IsolationForest

    X = np.ascontiguousarray(X[:TIMED_ROWS])
    theirs = IsolationForest(random_state=0).fit(X)
    ours = scoring.IsolationForest.from_sklearn(theirs)
    ours.score(X[:1])
    took: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(5):
        started = time.perf_counter()
        mine = ours.score(X)
        took["ours"].append(time.perf_counter() - started)
        started = time.perf_counter()
        other = -theirs.score_samples(X)
        took["theirs"].append(time.perf_counter() - started)
    mine_s, other_s = (statistics.median(took[who]) for who in ("ours", "theirs"))
    difference = float(np.abs(mine - other).max())
    return {
        "data": name,
        "features": X.shape[1],
        "rows/s": len(X) / mine_s,
        "scikit-learn rows/s": len(X) / other_s,
        "ratio": other_s / mine_s,
        "largest difference": difference,
        "goal": "met" if other_s / mine_s >= 5 and difference <= 1e-12 else "missed",
    }


def added(name: str, X: Floats, y: NDArray[np.bool_]) -> dict[str, Any]:
    """The forest alone, the ensemble alone, both."""
    edges = np.linspace(0, len(X), PARTS + 1).astype(int)
    judged = slice(edges[1], None)
    forest = np.zeros(len(X))
    for before, start, stop in zip(edges, edges[1:], edges[2:], strict=False):
        random = np.random.default_rng(int(start))
        chosen = random.choice(np.arange(before, start), min(FITTED_ROWS, start - before), replace=False)
        forest[start:stop] = scoring.IsolationForest.fit(X[np.sort(chosen)]).score(X[start:stop])
    ensemble = scoring.Ensemble(X.shape[1]).score_learn(X)
    both = surprisal(forest[judged]) + surprisal(ensemble[judged])
    return {
        "data": name,
        "forest": quality(y[judged], forest[judged]),
        "Ensemble": quality(y[judged], ensemble[judged]),
        "both": quality(y[judged], both),
    }


def surprisal(scores: Floats) -> Floats:
    """-log10 of streaming p-values."""
    return -np.log10(np.maximum(scoring.TailCalibrator().p_value_learn(np.ascontiguousarray(scores)), 1e-300))


def quality(y: NDArray[np.bool_], scores: Floats) -> str:
    """ROC-AUC and average precision."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    return f"{roc_auc_score(y, scores):.3f}/{average_precision_score(y, scores):.3f}"


if __name__ == "__main__":
    from run import show

    show(__file__)
