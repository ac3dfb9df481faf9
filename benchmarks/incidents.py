"""Entity risk on real alerts of an intrusion testbed (AIT-ADS): who is ranked highest, beside the reference aggregators.

Windows of five minutes by host after 24 hours of warm-up, as ``guardian backtest`` judges them. The references score the
same windows from the same novelty. Nothing is fitted here but in the row that says so.
"""

from __future__ import annotations

import itertools
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from msgspec.structs import replace

from guardian.backtest.measure import backtest_files
from guardian.backtest.result import Result
from guardian.backtest.windows import SCORERS
from guardian.config import Config

TITLE = "Entity risk: attacks among the alerts of three days of office life"
GOAL = (
    "mean average precision ≥ .78 over fox, russellmitchell and shaw, ≥ .75 with parameters chosen on the other two; the kill "
    "chain's first window at high or above in 3 of 3; ≤ .5 false high per scenario-day; santos ≥ .95, with its beacon silent "
    "20 minutes of each hour ≥ .85; a benign round-the-clock alert, acknowledged, costs ≤ .05 elsewhere"
)
BURSTS = ("fox", "russellmitchell", "shaw")
PERSISTENT = "santos"
CHAIN = {
    "fox": "2022-01-18T11:59:00+00:00",
    "russellmitchell": "2022-01-24T03:01:00+00:00",
    "shaw": "2022-01-29T14:37:00+00:00",
}
"""When the network scans that open each kill chain begin (attack_phases.csv of the set)."""

HIGH = 3
GRID = {
    "context_share": (0.5, 0.7, 0.9),
    "episode_gap_s": (60.0, 300.0),
    "rank_power": (0.5, 0.6, 0.75),
    "context_half_life_s": (3600.0, 7200.0),
}

Row = dict[str, Any]


def measure(shared: Path, *, quick: bool) -> list[Row]:
    """One row a scenario, then the means and the variants."""
    folder = shared / "data" / "ait-ads" if (shared / "data").is_dir() else shared / "ait-ads"
    results = {name: judged(folder / f"{name}.parquet") for name in (*BURSTS, PERSISTENT)}
    rows = [told(name, result) for name, result in results.items()]
    precision = [results[name].metrics.scorers["guardian"].average_precision for name in BURSTS]
    rows.append(summary("mean of the first three", precision, 0.78))
    for name in SCORERS[1:]:
        other = [results[each].metrics.scorers[name].average_precision for each in BURSTS]
        rows.append({"scenario": f"mean of the first three, {name}", "average precision": mean(other)})
    rows.append(
        summary("parameters chosen on the other two, mean", chosen_elsewhere(folder, quick=quick), 0.75)
    )
    with tempfile.TemporaryDirectory() as scratch:
        quiet = silenced(folder / f"{PERSISTENT}.parquet", Path(scratch), minutes=20)
        value = judged(quiet).metrics.scorers["guardian"].average_precision
        rows.append(summary("santos, its beacon silent 20 minutes of each hour", [value], 0.85))
        for name in BURSTS:
            file, host = injected(folder / f"{name}.parquet", Path(scratch))
            plain = results[name].metrics.scorers["guardian"].average_precision
            loud = judged(file).metrics.scorers["guardian"].average_precision
            mute = judged(file, acknowledged=[{"role": "target", "entity": host, "kind": "benign beacon"}])
            kept = mute.metrics.scorers["guardian"].average_precision
            rows.append(
                {
                    "scenario": f"{name}, a benign alert every minute at {host}: acknowledged",
                    "average precision": round(kept, 3),
                    "interval": f"{loud:.3f} before",
                    "goal": "met" if kept >= plain - 0.05 else "missed",
                }
            )
    return rows


def judged(
    file: Path, config: Config | None = None, acknowledged: list[dict[str, str]] | None = None
) -> Result:
    """The backtest of one file."""
    return backtest_files([file], map="ait-ads", config=config, acknowledged=acknowledged or ())


def told(name: str, result: Result) -> Row:
    """One scenario: ranking, references, first window of the chain, false highs."""
    own = result.metrics.scorers["guardian"]
    windows = result.windows.filter(~pl.col("warm_up"))
    days = (windows["start"].max() - windows["start"].min()).total_seconds() / 86_400  # type: ignore[operator, union-attr]  # times
    false_high = windows.filter(~pl.col("positive") & (pl.col("level") >= HIGH)).height / days
    low, high = own.average_precision_interval
    row: Row = {
        "scenario": name,
        "average precision": round(own.average_precision, 3),
        "interval": f"{low:.2f}-{high:.2f}",
        **{each: round(result.metrics.scorers[each].average_precision, 3) for each in SCORERS[1:]},
        "false high a day": round(false_high, 2),
    }
    reached = name == PERSISTENT and own.average_precision >= 0.95
    if name in CHAIN:
        start = datetime.fromisoformat(CHAIN[name])
        after = windows.filter(pl.col("positive") & (pl.col("start").dt.offset_by("5m") > start))
        first = after.filter(pl.col("start") == after["start"].min())
        row["first window"] = round(float(first["guardian"].max()), 1)  # type: ignore[arg-type]  # a number
        reached = int(first["level"].max()) >= HIGH  # type: ignore[arg-type]  # a level
    row["goal"] = "met" if reached and false_high <= 0.5 else "missed"
    return row


def summary(name: str, values: list[float], goal: float) -> Row:
    """A row with one figure and its goal."""
    value = mean(values)
    return {"scenario": name, "average precision": value, "goal": "met" if value >= goal else "missed"}


def mean(values: list[float]) -> float:
    """The mean, as shown."""
    return round(float(np.mean(values)), 3)


def chosen_elsewhere(folder: Path, *, quick: bool) -> list[float]:
    """For each scenario, the precision of the grid's parameters that are best on the other two."""
    names, options = list(GRID), list(itertools.product(*GRID.values()))
    found = np.array(
        [
            [
                judged(folder / f"{name}.parquet", configured(dict(zip(names, option, strict=True))))
                .metrics.scorers["guardian"]
                .average_precision
                for name in BURSTS
            ]
            for option in (options[::6] if quick else options)
        ]
    )
    return [
        float(found[int(np.argmax(np.delete(found, each, axis=1).mean(axis=1))), each])
        for each in range(len(BURSTS))
    ]


def configured(values: dict[str, float]) -> Config:
    """The default configuration with some values of the engine changed."""
    return replace(Config(), engine=replace(Config().engine, **values))


def silenced(file: Path, folder: Path, *, minutes: int) -> Path:
    """The same alerts without those of the beacon in the first minutes of each hour."""
    frame = pl.read_parquet(file)
    quiet = (pl.col("event_label") == "dnsteal") & (pl.col("time") % 3600 < 60 * minutes)
    frame.filter(~quiet).write_parquet(folder / f"silent-{file.name}")
    return folder / f"silent-{file.name}"


def injected(file: Path, folder: Path) -> tuple[Path, str]:
    """The same alerts and a made-up benign one every minute at the host with the most alerts, and that host."""
    frame = pl.read_parquet(file).sort("time", maintain_order=True)
    [host] = frame.group_by("host").len().sort("len", "host", descending=True).head(1)["host"].to_list()
    [address] = frame.filter(pl.col("host") == host).head(1)["ip"].to_list()
    times = np.arange(float(frame["time"].min()), float(frame["time"].max()), 60.0)  # type: ignore[arg-type]  # numbers
    row = {
        "name": "benign beacon",
        "ip": address,
        "host": host,
        "short": "-",
        "time_label": "-",
        "event_label": "-",
    }
    extra = pl.DataFrame({"time": times, **{key: [value] * len(times) for key, value in row.items()}})
    extra = extra.select([pl.col(name).cast(kind) for name, kind in frame.schema.items()])
    pl.concat([frame, extra]).sort("time", maintain_order=True).write_parquet(folder / f"beacon-{file.name}")
    return folder / f"beacon-{file.name}", host


if __name__ == "__main__":
    from run import show

    show(__file__)
