"""Log templates: lines a second and grouping beside Drain3, on labelled lines of sixteen systems and on Windows events.

The labelled lines are loghub's, which is not part of the project: point to a checkout (or a bare copy) of it by
LOGHUB_ROOT, or by ``--loghub PATH`` where this file runs by itself. Nothing of it is copied. Drain3 runs with the masks that its own
documentation proposes, and once more with regular expressions for all that we mask.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import statistics
import subprocess
import sys
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from guardian import Config, Engine
from guardian.events import EVENTS, ROLES
from guardian.templates import Miner

TITLE = "Log templates"
GOAL = (
    "≥ 10× the lines a CPU second of Drain3 with its masks, at no worse grouping: mean grouping accuracy (share of lines whose"
    " group is exactly the labelled one) and mean pairwise F1 over all sets. One setting for every set, on both sides. The"
    " thresholds of ours were chosen on loghub's lines, so its figures there flatter; the Windows events were scored once, afterwards."
    " `as told` groups lines by the text that each was given when it came, later changes included: what a kind is to the engine"
)
SYSTEMS = (
    *("Android", "Apache", "BGL", "HDFS", "HPC", "Hadoop", "HealthApp", "Linux"),
    *("Mac", "OpenSSH", "OpenStack", "Proxifier", "Spark", "Thunderbird", "Windows", "Zookeeper"),
)
WINDOWS = (
    "cmd_psh_stop_netprofm_eventlog_after_reboot",
    "empire_psexec_dcerpc_tcp_svcctl",
    "proxylogon_ssrf_rce_poc",
    "rdp_interactive_taskmanager_lsass_dump",
)
MOST_LINES = 2000
REPEATS = 3
FLOOD = 10_000

_START, _END = r"((?<=[^A-Za-z0-9])|^)", r"((?=[^A-Za-z0-9])|$)"
PROPOSED = (
    (rf"{_START}(([0-9a-f]{{2,}}:){{3,}}([0-9a-f]{{2,}})){_END}", "ID"),
    (rf"{_START}(\d{{1,3}}\.\d{{1,3}}\.\d{{1,3}}\.\d{{1,3}}){_END}", "IP"),
    (rf"{_START}([0-9a-f]{{6,}} ?){{3,}}{_END}", "SEQ"),
    (rf"{_START}([0-9A-F]{{4}} ?){{4,}}{_END}", "SEQ"),
    (rf"{_START}(0x[a-f0-9A-F]+){_END}", "HEX"),
    (rf"{_START}([\-\+]?\d+){_END}", "NUM"),
    (r'(?<=executed cmd )(".+?")', "CMD"),
)
"""The masks of Drain3's documentation."""

WIDER = (
    (r"(?<![A-Za-z])[A-Za-z]+://[^\s\"'<>)\]}]+", "URL"),
    (r"(?<![\w.%+-])[\w.%+-]+@[A-Za-z][\w.-]*", "MAIL"),
    (rf"{_START}[0-9A-Fa-f]{{8}}(-[0-9A-Fa-f]{{4}}){{3}}-[0-9A-Fa-f]{{12}}{_END}", "UUID"),
    (rf"{_START}([0-9A-Fa-f]{{2}}[:-]){{5}}[0-9A-Fa-f]{{2}}{_END}", "MAC"),
    (rf"{_START}\d{{4}}[-/]\d\d[-/]\d\d(T\d\d:\d\d:\d\d(\.\d+)?Z?)?{_END}", "TIME"),
    (rf"{_START}\d\d?:\d\d:\d\d(\.\d+)?{_END}", "TIME"),
    (r"((?<=[\s=\"'(\[,:])|^)(~|\.\.?|[A-Za-z]:)?[/\\][^\s,;\"'()\[\]]+", "PATH"),
    *PROPOSED[1:2],
    (rf"{_START}0x[0-9A-Fa-f]+{_END}", "HEX"),
    (rf"{_START}(?=[0-9A-Fa-f]*\d)(?=[0-9A-Fa-f]*[A-Fa-f])[0-9A-Fa-f]{{6,}}{_END}", "HEX"),
    (r"[\-\+]?\d+(\.\d+)*", "NUM"),
)
"""All that we mask, as regular expressions; without the look-behinds two of them take quadratic time on long words."""

Lines = list[str]
Groups = tuple[Sequence[Hashable], Sequence[Hashable]]
"""The group of each line in the end, and as told when it came."""


def measure(shared: Path, *, quick: bool) -> list[dict[str, Any]]:
    """One row a set, the means, a flood, and what the engine pays."""
    sets = labelled(shared)
    if quick:
        sets = dict(list(sets.items())[:2])
    rows = [compared(name, lines, labels) for name, (lines, labels) in sets.items()]
    rows.append(mean(rows))
    if loghub_root() is None:
        rows.append({"set": "loghub: not measured, no checkout of it (LOGHUB_ROOT)"})
    return [*rows, flood(), *engine([line for lines, _ in sets.values() for line in lines])]


def loghub_root() -> Path | None:
    """Where the user says that loghub is."""
    given = (
        sys.argv[sys.argv.index("--loghub") + 1]
        if "--loghub" in sys.argv[:-1]
        else os.environ.get("LOGHUB_ROOT")
    )
    return Path(given) if given else None


def labelled(shared: Path) -> dict[str, tuple[Lines, list[str]]]:
    """Lines and the label of each, by set."""
    sets = {}
    root = loghub_root()
    for system in SYSTEMS if root is not None else ():
        rows = list(csv.DictReader(io.StringIO(stored(root, f"{system}/{system}_2k.log_structured.csv"))))
        sets[system] = [row["Content"] for row in rows], [row["EventId"] for row in rows]
    for name in WINDOWS:
        lines, labels = [], []
        with zipfile.ZipFile(shared / "data" / "otrf" / f"{name}.zip") as packed:
            files = [each for each in packed.namelist() if each.endswith(".json") and "__MACOSX" not in each]
            for each in (line for file in files for line in packed.open(file)):
                record = json.loads(each)
                if record.get("Message") and len(lines) < MOST_LINES:
                    lines.append(record["Message"])
                    labels.append(f"{record.get('Channel') or record.get('SourceName')}/{record['EventID']}")
        sets[f"Windows events, {name.split('_')[0]}"] = lines, labels
    return sets


def stored(root: Path | None, path: str) -> str:
    """The text of a file of loghub, from a work tree or a bare repository."""
    assert root is not None
    if (root / path).exists():
        return (root / path).read_text("utf-8")
    show = ["git", "-C", str(root), "show", f"HEAD:{path}"]
    return subprocess.run(show, capture_output=True, check=True).stdout.decode()


def ours(lines: Lines) -> Groups:
    """From Python's strings, though the engine has them as a column."""
    column = pa.array(lines, pa.string())
    kind, template, texts = Miner(Config()).mine(column, np.arange(len(column), dtype=np.int32))
    names = texts.to_pylist()
    return template.tolist(), [names[each] for each in kind.tolist()]


def drain3(masks: Sequence[tuple[str, str]]) -> Callable[[Lines], Groups]:
    """Drain3 with its defaults and some masks."""
    from drain3 import TemplateMiner
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in masks]

    def group(lines: Lines) -> Groups:
        miner = TemplateMiner(config=config)
        found = [miner.add_log_message(line) for line in lines]
        return [each["cluster_id"] for each in found], [each["template_mined"] for each in found]

    return group


def compared(name: str, lines: Lines, labels: list[str]) -> dict[str, Any]:
    """Grouping of all, and the speed of ours and Drain3, in turns."""
    methods = {"ours": ours, "Drain3": drain3(PROPOSED), "Drain3, all masks": drain3(WIDER)}
    found = {method: group(lines) for method, group in methods.items()}
    took: dict[str, list[float]] = defaultdict(list)
    for _ in range(REPEATS):
        for method, group in methods.items():
            started = time.process_time()
            group(lines)
            took[method].append(time.process_time() - started)
    rate = {method: len(lines) / statistics.median(took[method]) for method in methods}
    row: dict[str, Any] = {"set": name, "lines": len(lines), "labels": len(set(labels))}
    for method, (groups, told) in found.items():
        row |= {
            f"{method}: templates": len(set(groups)),
            f"{method}: accuracy": accuracy(groups, labels),
            f"{method}: F1": pairwise_f1(groups, labels),
            f"{method}: F1 as told": pairwise_f1(told, labels),
        }
    row |= {f"{method}: lines/s": each for method, each in rate.items()}
    return row | {"× Drain3": rate["ours"] / rate["Drain3"]}


def accuracy(groups: Sequence[Hashable], labels: Sequence[str]) -> float:
    """Share of the lines whose group holds the lines of their label, all of them and no other (Zhu et al. 2019)."""
    by_group, by_label = members(groups), members(labels)
    right = (each for each in by_group.values() if by_label[labels[each[0]]] == each)
    return sum(map(len, right)) / len(labels)


def members(names: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    """The lines of each name."""
    found = defaultdict(list)
    for line, name in enumerate(names):
        found[name].append(line)
    return found


def pairwise_f1(groups: Sequence[Hashable], labels: Sequence[str]) -> float:
    """F1 over pairs of lines: together in a group, together under a label."""

    def pairs(names: Sequence[Hashable]) -> int:
        return sum(count * (count - 1) // 2 for count in Counter(names).values())

    both = pairs(list(zip(groups, labels, strict=True)))
    return 2 * both / (pairs(groups) + pairs(labels))


def mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over all sets; speeds as the geometric mean. Carries the goals."""
    found: dict[str, Any] = {"set": "mean"}
    for column in rows[0]:
        values = [row[column] for row in rows]
        if column.endswith(("accuracy", "F1", "as told")):
            found[column] = statistics.fmean(values)
        elif column.endswith(("lines/s", "Drain3")):
            found[column] = statistics.geometric_mean(values)
    no_worse = all(found[f"ours: {each}"] >= found[f"Drain3: {each}"] for each in ("accuracy", "F1"))
    return found | {"goal": "met" if found["× Drain3"] >= 10 and no_worse else "missed"}


def flood() -> dict[str, Any]:
    """Lines of random words, of which no two are alike."""
    draw = random.Random(1)
    lines = [
        " ".join("".join(draw.choices("abcdefghijklmnop", k=8)) for _ in range(draw.randint(1, 12)))
        for _ in range(FLOOD)
    ]
    row: dict[str, Any] = {"set": "random words", "lines": FLOOD}
    for method, group in {"ours": ours, "Drain3": drain3(PROPOSED)}.items():
        started = time.process_time()
        groups, _ = group(lines)
        row[f"{method}: lines/s"] = FLOOD / (time.process_time() - started)
        row[f"{method}: templates"] = len(set(groups))
    row["ours: templates"] = f"{row['ours: templates']:,} made, {Config().templates.max_templates:,} kept"
    return row | {"× Drain3": row["ours: lines/s"] / row["Drain3: lines/s"]}


def engine(lines: Lines) -> list[dict[str, Any]]:
    """Events a CPU second of the whole engine with two entities each: kinds mined, and the same kinds named by the sender."""
    _, told = ours(lines)
    batches = {
        "Engine.feed, kinds mined": events(lines, [""] * len(lines)),
        "Engine.feed, the same kinds named": events(lines, [str(name) for name in told]),
    }
    took: dict[str, list[float]] = defaultdict(list)
    for _ in range(REPEATS + 1):
        for name, batch in batches.items():
            made = Engine(Config())
            started = time.process_time()
            for start in range(0, len(lines), 4096):
                made.feed(batch.slice(start, 4096))
            took[name].append(time.process_time() - started)
    return [
        {"set": name, "lines": len(lines), "ours: lines/s": len(lines) / statistics.median(each[1:])}
        for name, each in took.items()
    ]


def events(lines: Lines, kinds: list[str]) -> pa.RecordBatch:
    """One event a line, a tenth of a second apart, of 200 hosts and 500 actors."""
    count = len(lines)
    draw = np.random.default_rng(2)
    names: dict[str, list[str]] = {each: [""] * count for each in ("source", *ROLES)} | {"kind": kinds}
    names["target"] = [f"host{each}" for each in draw.integers(0, 200, count)]
    names["actor"] = [f"user{each}" for each in draw.integers(0, 500, count)]
    columns = {name: pa.array(each, pa.string()).dictionary_encode() for name, each in names.items()}
    columns["ts"] = pa.array(10**18 + np.arange(count) * 10**8).cast(EVENTS.field("ts").type)
    for name in ("signal", "outcome"):
        columns[name] = pa.array(np.zeros(count, np.int8))
    columns["layer"] = pa.array(np.full(count, -1, np.int8))
    for name in ("severity", "value"):
        columns[name] = pa.array(np.full(count, np.nan))
    for name, width in (("trace_id", 16), ("span_id", 8)):
        columns[name] = pa.array([bytes(width)] * count, pa.binary(width))
    columns["body"] = pa.array(lines, pa.string())
    columns["attrs"] = pa.nulls(count, pa.string())
    return pa.RecordBatch.from_arrays([columns[name] for name in EVENTS.names], schema=EVENTS)


if __name__ == "__main__":
    from run import show

    show(__file__)
