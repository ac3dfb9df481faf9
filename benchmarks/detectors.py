"""Single streaming detectors beside River's, on the same rows of four public sets, in turns on the same core.

Rates are rows per CPU second. River's rows are timed in five parts with one whole run of ours after each; ours is the
median of the five. Neither pays for building its trees. A slow peer gets an even sample of the stream, in order, and
ours then gets the same rows. Half-space trees have River's seed, so that the scores are equal; Loda's areas are means
over seeds 0 to 4, the peer's are of its one run.
"""

from __future__ import annotations

import math
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

import scoring

TITLE: Final = "Single detectors beside River's"
GOAL: Final = (
    "half-space trees ≥ 100 × River at (10, 8, 250) and ≥ 200 × at (25, 15, 250), AUC within .02; Loda ≥ 1,000 × River's"
    " LODA, AUC at least River's − .01 on identical rows; one row at a time ≥ 150,000 rows/s with the bits of the batch"
)
SETS: Final = ("http", "smtp", "shuttle", "cover")
SHUFFLED: Final = ("http", "cover")
"""Also in random order: in the stored one of cover, minus the row number alone has an area of .87."""

ONE_ROW: Final = 100_000

Rows = NDArray[np.float64]
Labels = NDArray[np.int64]
Make = Callable[[int, int], Any]
"""A detector for so many features and this seed."""


def measure(shared: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Each pair on each set, then every detector of ours alone, then one row at a time."""
    folder = shared / "data" / "adbench"
    if not folder.is_dir():
        return [{"set": "–", "skipped": f"public sets are not here: no folder {folder}"}]
    sets = {name: read(folder / f"{name}.npz") for name in SETS}
    for name in SHUFFLED:
        X, y = sets[name]
        order = np.random.default_rng(0).permutation(len(X))
        sets[f"{name} shuffled"] = np.ascontiguousarray(X[order]), y[order]
    table = []
    for title, ours, peer, most, ratio, allowed in pairs():
        for name, (X, y) in sets.items():
            sample = slice(None, None, max(1, math.ceil(len(X) / (most // 10 if quick else most))))
            kept = np.ascontiguousarray(X[sample])
            table.append(beside(title, name, kept, y[sample], ours, peer, ratio, allowed))
    for title in detectors():
        for name, (X, y) in sets.items():
            many = len(X) // 10 if quick else len(X)
            table.append(alone(title, name, X[:many], y[:many]))
    table += [one_by_one(title, sets["cover"][0][:ONE_ROW]) for title in detectors()]
    return table


def pairs() -> list[tuple[str, Make, Callable[[], Any], int, float, float]]:
    """Title, our detector, River's, at most how many rows, the goal for the ratio, how far our AUC may fall behind."""
    from river import anomaly, preprocessing

    def trees(n_trees: int, height: int, window: int) -> tuple[Make, Callable[[], Any]]:
        def ours(features: int, _: int) -> Any:
            return scoring.HalfSpaceTrees(
                features, n_trees=n_trees, height=height, window_size=window, seed=1
            )

        def river() -> Any:
            return preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(n_trees, height, window, seed=1)

        return ours, river

    return [
        ("half-space trees (10, 8, 250)", *trees(10, 8, 250), 1_000_000, 100.0, 0.02),
        ("half-space trees (25, 15, 250)", *trees(25, 15, 250), 10_000, 200.0, 0.02),
        ("Loda", seeded("Loda"), lambda: anomaly.LODA(seed=1), 20_000, 1000.0, 0.01),
    ]


def detectors() -> list[str]:
    """Every detector that stands alone."""
    return ["HalfSpaceTrees", "StreamingHistogram", "Loda", "RSHash"]


def seeded(title: str) -> Make:
    """A detector of ours with its default parameters; one without chance takes no seed."""
    kind = getattr(scoring, title)
    return lambda features, seed: (
        kind(features, seed=seed) if title != "StreamingHistogram" else kind(features)
    )


def read(path: Path) -> tuple[Rows, Labels]:
    """Rows as float64 (two of the sets are stored as int16) and labels."""
    with np.load(path) as stored:
        return np.ascontiguousarray(stored["X"].astype(np.float64)), stored["y"]


def beside(
    title: str,
    name: str,
    X: Rows,
    y: Labels,
    make: Make,
    peer: Callable[[], Any],
    ratio: float,
    allowed: float,
) -> dict[str, Any]:
    """One pair on one set; River's first row, on which it builds its trees, is not timed."""
    make(X.shape[1], 0).score_learn(X[:10])  # compiles
    model = peer()
    rows = [dict(enumerate(row)) for row in X.tolist()]
    theirs = np.zeros(len(rows))
    model.learn_one(rows[0])
    their_seconds = 0.0
    runs = []
    for seed, part in enumerate(np.array_split(np.arange(1, len(rows)), 5)):
        began = time.process_time()
        for i in part.tolist():
            theirs[i] = model.score_one(rows[i])
            model.learn_one(rows[i])
        their_seconds += time.process_time() - began
        runs.append(timed(make, X, seed))
    ours = figures(y, runs)
    our_rate = len(X) / ours["CPU s"]
    their_rate = (len(X) - 1) / their_seconds
    their_area, their_precision = areas(y, theirs)
    reached = our_rate / their_rate >= ratio and ours["AUC"] >= their_area - allowed
    return {
        "what": title,
        "set": name,
        "rows": len(X),
        "strange": int(y.sum()),
        "rows/s": our_rate,
        "River rows/s": their_rate,
        "ratio": our_rate / their_rate,
        **ours,
        "River AUC": their_area,
        "River AP": their_precision,
        "River CPU s": their_seconds,
        "goal": "met" if reached else "missed",
    }


def alone(title: str, name: str, X: Rows, y: Labels) -> dict[str, Any]:
    """One detector of ours with its default parameters on a whole set; seeds 0 to 4."""
    ours = figures(y, [timed(seeded(title), X, seed) for seed in range(5)])
    return {
        "what": f"{title}, whole set",
        "set": name,
        "rows": len(X),
        "strange": int(y.sum()),
        "rows/s": len(X) / ours["CPU s"],
        **ours,
    }


def one_by_one(title: str, X: Rows) -> dict[str, Any]:
    """Calls of the one-row API; median of five; every score must have the bits that the batch gives."""
    expected = getattr(scoring, title)(X.shape[1]).score_learn(X)
    seconds = []
    equal = True
    for _ in range(5):
        detector = getattr(scoring, title)(X.shape[1])
        rows = list(X)
        began = time.process_time()
        scores = [detector.score_learn_one(row) for row in rows]
        seconds.append(time.process_time() - began)
        equal &= np.array_equal(scores, expected)
    rate = len(X) / statistics.median(seconds)
    return {
        "what": f"{title}, one row at a time",
        "set": f"cover, {X.shape[1]} features",
        "rows": len(X),
        "rows/s": rate,
        "CPU s": statistics.median(seconds),
        "goal": "met" if equal and rate >= 150_000 else "missed",
    }


def timed(make: Make, X: Rows, seed: int) -> tuple[Rows, float, int]:
    """The scores of a fresh detector, their CPU seconds (its construction left out) and the bytes of its snapshot."""
    detector = make(X.shape[1], seed)
    began = time.process_time()
    scores = detector.score_learn(X)
    seconds = time.process_time() - began
    return scores, seconds, len(detector.snapshot())


def figures(y: Labels, runs: list[tuple[Rows, float, int]]) -> dict[str, Any]:
    """What stands in every row: means of the areas, the median of the seconds."""
    both = [areas(y, scores) for scores, _, _ in runs]
    return {
        "AUC": statistics.fmean(area for area, _ in both),
        "AP": statistics.fmean(precision for _, precision in both),
        "CPU s": statistics.median(seconds for _, seconds, _ in runs),
        "state KiB": runs[0][2] // 1024,
        "process peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def areas(y: Labels, scores: Rows) -> tuple[float, float]:
    """Area under the ROC curve and average precision; not a number where all rows are of one kind."""
    if not 0 < y.sum() < len(y):
        return math.nan, math.nan
    return float(roc_auc_score(y, scores)), float(average_precision_score(y, scores))


if __name__ == "__main__":
    from run import show

    show(__file__)
