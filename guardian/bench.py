"""``guardian bench``: how fast this machine does what users wait for, each figure beside a peer that is installed.

Whole paths only: bytes in, all four roles scored. CPU seconds stand beside wall seconds, since machines are shared.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from guardian import texts
from guardian.decode.columns import batch_of, encoded

WINDOWS: Final = "otrf/metasploit_logonpasswords_lsass_memory_dump.zip"
ALERTS: Final = "ait-ads/santos.parquet"
SYNTHETIC_EVENTS: Final = 400_000
PEER_ROWS: Final = 20_000

_REPLAY: Final = """
import json, sys
from pathlib import Path
from guardian.config import Config
from guardian.replay import replay
from guardian.warm_up import MODULES
from scoring.compilation import compile_all
compile_all(*MODULES)
print(json.dumps(replay([Path(sys.argv[1])], map_name=sys.argv[2] or None, form=None, out=None, config=Config(),
                        progress=False, language="en")))
"""
_RIVER: Final = """
import json, sys, time
import pyarrow.parquet as pq
from river import anomaly, preprocessing
rows = pq.read_table(sys.argv[1]).slice(0, int(sys.argv[2])).select(["actor", "address", "target", "session", "kind"])
rows = rows.to_pylist()
model = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(n_trees=10, height=8, window_size=250, seed=1)
wall, cpu = time.perf_counter(), time.process_time()
for row in rows:
    x = {name: float(hash(value) % 1000) for name, value in row.items()}
    model.score_one(x)
    model.learn_one(x)
print(json.dumps({"events": len(rows), "wallSeconds": time.perf_counter() - wall, "cpuSeconds": time.process_time() - cpu}))
"""


def bench(data: Path | None) -> dict[str, Any]:
    """Measure; ``data`` is a folder of public data sets (as ``shared/data``), without which synthetic data is used."""
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="guardian-bench-") as scratch:
        events = Path(scratch) / "events.parquet"
        pq.write_table(pa.Table.from_batches([synthetic_events(SYNTHETIC_EVENTS)]), events)
        ours = _measured(_REPLAY, str(events), "")
        figures.append(_figure("replay Parquet, synthetic events, four roles", ours, peer=_river(events)))
        if data is not None and (data / ALERTS).exists():
            run = _measured(_REPLAY, str(data / ALERTS), "ait-ads")
            figures.append(_figure("replay Parquet, AIT-ADS santos", run))
        if data is not None and (data / WINDOWS).exists():
            figures.append(
                _figure(
                    "replay NDJSON in zip, Windows events", _measured(_REPLAY, str(data / WINDOWS), "windows")
                )
            )
        else:
            lines = Path(scratch) / "events.ndjson"
            lines.write_bytes(b"".join(_synthetic_lines(50_000)))
            figures.append(
                _figure("replay NDJSON, synthetic 2 KB lines", _measured(_REPLAY, str(lines), "windows"))
            )
    return {"machine": _machine(), "figures": figures}


def table(result: dict[str, Any], language: texts.Language) -> Table:
    """The figures for people."""

    def say(key: str) -> str:
        return texts.text(f"cli.{key}", language)

    made = Table(caption=result["machine"], caption_justify="left")
    for key in ("figure", "rate", "rate_cpu", "cpu", "memory", "beside", "ratio"):
        made.add_column(say(key), justify="left" if key in ("figure", "beside") else "right")
    for each in result["figures"]:
        peer = each.get("peer")
        made.add_row(
            each["name"],
            f"{each['eventsPerSecond']:,.0f}",
            f"{each['eventsPerCpuSecond']:,.0f}",
            f"{each['cpuSeconds']:.2f}",
            f"{each['peakMemoryBytes'] / 2**20:,.0f}",
            f"{peer['name']}: {peer['eventsPerCpuSecond']:,.0f}" if peer else "-",
            f"{peer['ratio']:.0f}×" if peer else "-",
        )
    return made


def synthetic_events(count: int) -> pa.RecordBatch:
    """Events of a made-up service: 2,000 users, 500 addresses, 40 targets, 60 kinds; skewed, for benchmarks only."""
    random = np.random.default_rng(7)
    start = 1_700_000_000 * 10**9

    def names(prefix: str, many: int) -> pa.Array:
        chosen = np.minimum(random.zipf(1.3, count) - 1, many - 1)
        return encoded(pa.array([f"{prefix}{i}" for i in range(many)]).take(pa.array(chosen)))

    return batch_of(
        count,
        {
            "ts": pa.array(start + np.sort(random.integers(0, 86_400 * 10**9, count))).cast(
                pa.timestamp("ns", tz="UTC")
            ),
            "kind": names("GET /resource/", 60),
            "source": names("service-", 12),
            "actor": names("user-", 2000),
            "address": names("10.0.", 500),
            "target": names("host-", 40),
            "session": names("session-", 5000),
        },
    )


def _synthetic_lines(count: int) -> Iterator[bytes]:
    filler = {f"Field{i}": "x" * 40 for i in range(36)}
    for i in range(count):
        record = {
            "@timestamp": f"2023-08-15T{i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d}.000Z",
            "Channel": "Security",
            "EventID": 4600 + i % 40,
            "Hostname": f"host-{i % 20}",
            "User": f"user-{i % 300}",
            "Message": "synthetic message " * 8,
            **filler,
        }
        yield msgspec.json.encode(record) + b"\n"


def _measured(script: str, *arguments: str) -> dict[str, Any]:
    """Run in a process of its own, so that memory and caches of one figure do not colour another; median of three."""
    runs = []
    for _ in range(3):
        out = subprocess.run(  # noqa: S603  (our own script and interpreter)
            [sys.executable, "-c", script, *arguments], capture_output=True, check=True, text=True
        )
        runs.append(msgspec.json.decode(out.stdout))
    runs.sort(key=lambda run: run["cpuSeconds"])
    median: dict[str, Any] = runs[1]
    return median


def _figure(name: str, run: dict[str, Any], *, peer: dict[str, Any] | None = None) -> dict[str, Any]:
    figure = {
        "name": name,
        "events": run["events"],
        "wallSeconds": run["wallSeconds"],
        "cpuSeconds": run["cpuSeconds"],
        "eventsPerSecond": run["events"] / run["wallSeconds"],
        "eventsPerCpuSecond": run["events"] / run["cpuSeconds"],
        "peakMemoryBytes": run["peakMemoryBytes"],
    }
    if peer is not None:
        figure["peer"] = {**peer, "ratio": figure["eventsPerCpuSecond"] / peer["eventsPerCpuSecond"]}
    return figure


def _river(events: Path) -> dict[str, Any] | None:
    """River's half-space trees over the same columns: one detector, where ours scores four roles."""
    if find_spec("river") is None:
        return None
    run = _measured(_RIVER, str(events), str(PEER_ROWS))
    return {
        "name": f"River {version('river')} HalfSpaceTrees, one detector",
        "events": run["events"],
        "cpuSeconds": run["cpuSeconds"],
        "eventsPerCpuSecond": run["events"] / run["cpuSeconds"],
    }


def _machine() -> str:
    packages = []
    for name in ("numpy", "numba", "pyarrow", "polars"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    return (
        f"{platform.machine()}, Python {platform.python_version()}, {', '.join(packages)}, {memory} GiB,"
        f" {time.strftime('%Y-%m-%d')}"
    )
