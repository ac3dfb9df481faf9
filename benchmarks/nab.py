"""NAB's own scoring of this project's detector for one metric, beside the per-file results that NAB publishes.

NAB is not part of the project: point to a checkout (or a bare copy) of it by NAB_ROOT, or by ``--nab PATH`` where this file runs by itself. Its scoring code
and the published scores of other detectors are read from there and run as they are; nothing of it is copied.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.series import SeriesScorer

TITLE = "One metric over time: Numenta Anomaly Benchmark"
GOAL = (
    "on the 24 files of AWS and known causes above every published detector but the best one, with one fixed parameter set;"
    " ≥ 1 M points/s. All rows are scored by NAB's code, each with the threshold that NAB's optimiser finds for it on these"
    " files. About a hundred variants were tried on these 24 files, so its figure here flatters; the design stood before the other"
    " 34 files of NAB were scored, and one later change that they suggested was dropped"
)
PROFILES = ("standard", "reward_low_FP_rate", "reward_low_FN_rate")
OURS = "scoring.SeriesScorer"
QUICK = ("null", "randomCutForest", "windowedGaussian", "numenta")

Points = tuple[list[datetime], NDArray[np.float64]]
Scores = Mapping[str, Iterable[float]]


class Checkout:
    """Files of NAB, from a work tree or a bare repository."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bare = not (root / "nab" / "sweeper.py").exists()

    def read(self, path: str) -> str:
        """The text of a file."""
        if not self.bare:
            return (self.root / path).read_text("utf-8")
        return self._git("show", f"HEAD:{path}")

    def folders(self, path: str) -> list[str]:
        """The folders within a folder."""
        if not self.bare:
            return sorted(each.name for each in (self.root / path).iterdir() if each.is_dir())
        return self._git("ls-tree", "-d", "--name-only", f"HEAD:{path}").split()

    def _git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(self.root), *arguments], capture_output=True, check=True, text=True
        ).stdout


def measure(shared: Path, *, quick: bool) -> list[dict[str, Any]]:
    """One row a detector, best first, on the 24 files; then all files where the checkout holds them; then the speed."""
    local = shared / "data" / "nab"
    windows = json.loads((local / "combined_windows.json").read_text("utf-8"))
    data = {name: points(gzip.decompress((local / f"{name}.gz").read_bytes()).decode()) for name in windows}
    root = nab_root()
    rows = []
    if root is not None:
        nab = Checkout(root)
        detectors = [name for name in nab.folders("results") if not quick or name in QUICK]
        rows += board(nab, "AWS and known causes", data, windows, detectors)
        if not quick:
            windows = json.loads(nab.read("labels/combined_windows.json"))
            everything = {name: points(nab.read(f"data/{name}")) for name in windows}
            others = {name: each for name, each in everything.items() if name not in data}
            rows += board(nab, "the other 34 files", others, windows, detectors)
            rows += board(nab, "all 58 files", everything, windows, detectors)
    else:
        rows.append({"files": "–", "detector": "not scored: no checkout of NAB (NAB_ROOT)"})
    return [*rows, speed(data)]


def nab_root() -> Path | None:
    """Where the user says that NAB is."""
    given = sys.argv[sys.argv.index("--nab") + 1] if "--nab" in sys.argv[:-1] else os.environ.get("NAB_ROOT")
    return Path(given) if given else None


def points(text: str) -> Points:
    """Times and values of one file."""
    rows = list(csv.DictReader(text.splitlines()))
    return [when(row["timestamp"]) for row in rows], np.array([float(row["value"]) for row in rows])


def when(text: str) -> datetime:
    """A time of NAB's, to the second."""
    return datetime.fromisoformat(text.partition(".")[0]).replace(tzinfo=UTC)


def board(
    nab: Checkout, label: str, data: Mapping[str, Points], windows: Mapping[str, Any], detectors: list[str]
) -> list[dict[str, Any]]:
    """Every detector on these files, best first."""
    scored: dict[str, Callable[[], Scores]] = {OURS: lambda: ours(data)}
    for name in detectors:
        scored[name] = lambda name=name: published(nab, name, data)
    sweeper = module(nab.read("nab/sweeper.py"))
    costs = json.loads(nab.read("config/profiles.json"))
    rows = []
    for name, scores in scored.items():
        found = scores()
        figures = [normalised(sweeper, costs[each]["CostMatrix"], found, data, windows) for each in PROFILES]
        rows.append({"files": label, "detector": name} | dict(zip(PROFILES, figures, strict=True)))
    rows.sort(key=lambda row: -row["standard"])
    place = next(i for i, row in enumerate(rows) if row["detector"] == OURS)
    rows[place]["place"] = f"{place + 1} of {len(rows)}"
    if label == "AWS and known causes":
        rows[place]["goal"] = "met" if place <= 1 else "missed"
    return rows


def module(source: str) -> ModuleType:
    """NAB's scoring code, run from where it is."""
    made = ModuleType("nab_sweeper")
    exec(compile(source, "nab/sweeper.py", "exec"), made.__dict__)
    return made


def ours(data: Mapping[str, Points]) -> Scores:
    """A fresh scorer a file."""
    return {
        name: SeriesScorer().score_learn(seconds(times), values).tolist()
        for name, (times, values) in data.items()
    }


def seconds(times: list[datetime]) -> NDArray[np.float64]:
    """Since 1970."""
    return np.array([each.timestamp() for each in times])


def published(nab: Checkout, detector: str, data: Mapping[str, Points]) -> Scores:
    """What NAB's repository holds of a detector."""
    found = {}
    for name in data:
        folder, _, file = name.partition("/")
        rows = csv.DictReader(nab.read(f"results/{detector}/{folder}/{detector}_{file}").splitlines())
        found[name] = [float(row["anomaly_score"]) for row in rows]
    return found


def normalised(
    sweeper: ModuleType, cost: Any, scores: Scores, data: Mapping[str, Points], windows: Mapping[str, Any]
) -> float:
    """NAB's score at its best threshold: 0 as the null detector, 100 perfect (nab/runner.py, normalize)."""
    judge = sweeper.Sweeper(probationPercent=0.15, costMatrix=cost)
    judged: list[Any] = []
    for name, (times, _) in data.items():
        limits = [(when(first), when(last)) for first, last in windows[name]]
        judged += judge.calcSweepScore(times, scores[name], limits, name)
    best = max(each.score for each in judge.calcScoreByThreshold(judged))
    count = sum(len(windows[name]) for name in data)
    null, perfect = -count * cost["fnWeight"], count * cost["tpWeight"]
    return float(100.0 * (best - null) / (perfect - null))


def speed(data: Mapping[str, Points]) -> dict[str, Any]:
    """Points a second over all files, compiled and warm."""
    arrays = [(seconds(times), values) for times, values in data.values()]
    count = sum(len(values) for _, values in arrays)
    took = []
    for _ in range(5):
        scorers = [SeriesScorer() for _ in arrays]
        started = time.process_time()
        for scorer, (at, values) in zip(scorers, arrays, strict=True):
            scorer.score_learn(at, values)
        took.append(time.process_time() - started)
    rate = count / statistics.median(took)
    return {
        "files": "AWS and known causes",
        "detector": OURS,
        "points per CPU second": rate,
        "goal": "met" if rate >= 1e6 else "missed",
    }


if __name__ == "__main__":
    from run import show

    show(__file__)
