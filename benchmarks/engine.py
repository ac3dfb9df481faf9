"""The engine from bytes to alerts: the figures of ``guardian bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TITLE = "The engine, from bytes to alerts"
GOAL = "none of its own: what `guardian bench` measures on any machine, four roles scored"


def measure(shared: Path, *, quick: bool) -> list[dict[str, Any]]:
    """One row a figure; ``quick`` leaves the public data sets out."""
    from guardian.bench import bench

    figures = bench(None if quick else shared / "data")["figures"]
    return [
        {
            "figure": figure["name"],
            "events/s": figure["eventsPerSecond"],
            "events per CPU second": figure["eventsPerCpuSecond"],
            "peak memory, MiB": figure["peakMemoryBytes"] / 2**20,
            "beside": figure.get("peer", {}).get("name"),
            "its events per CPU second": figure.get("peer", {}).get("eventsPerCpuSecond"),
        }
        for figure in figures
    ]


if __name__ == "__main__":
    from run import show

    show(__file__)
