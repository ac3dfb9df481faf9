"""Run the benchmarks of this folder, each alone on one core, and write their tables into the documentation.

A benchmark is a file with ``TITLE``, ``GOAL`` and ``measure(shared, *, quick) -> rows``: one dictionary a row, its keys
the headings; one that runs servers has ``CORES = 2``, one for the server and one for those who send to it. A column named ``goal`` holds "met" or "missed"; a benchmark that fails is a section that says so. Owns
the page ``docs/reference/benchmarks.md``, section by section: ``--only`` replaces one, ``--quick`` writes nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
OURS = ("numpy", "numba", "scikit-learn", "pyarrow")
ONE_THREAD = dict.fromkeys(
    [
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "RAYON_NUM_THREADS",
    ],
    "1",
)
HEAD = """# Benchmarks

Written by `make bench`, section by section, and not compared in CI: figures differ by machine, and a shared machine adds
up to a factor of two from one run to the next. Compare within a section only, where everything ran on the same core
and the same rows. Goals missed and benchmarks that failed are shown like the rest. Data: public sets, kept outside the project; NAB's own code and
results are read from a checkout that NAB_ROOT names.
"""

Row = dict[str, Any]


def names() -> list[str]:
    """The benchmarks there are."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if "\ndef measure(" in path.read_text("utf-8"))


def loaded(path: Path) -> ModuleType:
    """A benchmark as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def measured(path: Path, shared: Path, *, quick: bool) -> Row:
    """Title, goal and rows of one benchmark, measured here and now; a failure is told in place of the rows."""
    started = time.perf_counter()
    told: Row = {"title": path.stem, "goal": "", "rows": [], "failure": None}
    try:
        module = loaded(path)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-getattr(module, "CORES", 1) :])
        told |= {"title": module.TITLE, "goal": module.GOAL}
        told["rows"] = module.measure(shared, quick=quick)
    except Exception as error:  # noqa: BLE001  (whatever a peer or a benchmark throws is a result of this run)
        traceback.print_exc()
        told["failure"] = f"{type(error).__name__}: {error}"
    return {**told, "seconds": time.perf_counter() - started}


def in_its_own_process(name: str, shared: Path, *, quick: bool) -> Row:
    """As ``measured``, so that memory, caches and threads of one benchmark do not colour another."""
    with tempfile.TemporaryDirectory(prefix="guardian-bench-") as scratch:
        answer = Path(scratch) / "answer.json"
        code = subprocess.run(
            [sys.executable, __file__, "--only", name, "--shared", shared, "--answer", answer]
            + ["--quick"] * quick,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)},
            stdout=sys.stderr,
            check=False,
        ).returncode
        if not answer.exists():
            return {"title": name, "goal": "", "rows": [], "failure": f"exit code {code}", "seconds": 0.0}
        told: Row = json.loads(answer.read_text("utf-8"))
        return told


def section(name: str, told: Row, where: str) -> str:
    """One benchmark for the page."""
    lines = [
        f"<!-- benchmark {name} -->",
        f"## {told['title']}",
        "",
        f"Goal: {told['goal'] or 'not stated'}.",
        "",
    ]
    if told["failure"] is not None:
        lines += [f"**Failed:** {told['failure']}", ""]
    else:
        lines += [f"**{verdict(told['rows'])}**", "", *table(told["rows"]), ""]
    lines += [f"`benchmarks/run.py --only {name}`, {told['seconds']:.0f} s. {where}", ""]
    return "\n".join(lines)


def verdict(rows: Sequence[Row]) -> str:
    """How many of the goals that the rows state were met."""
    goals = [row.get("goal") for row in rows]
    met, missed = goals.count("met"), goals.count("missed")
    return f"Goals met: {met}, missed: {missed}" if met or missed else "No goal is judged by itself"


def table(rows: Sequence[Row]) -> list[str]:
    """Rows as Markdown, the columns in the order in which they first appear."""
    if not rows:
        return ["(no rows)"]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = (cell(row.get(column)) for column in columns)
        lines.append("| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |")
    return lines


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "**missed**" if value == "missed" else str(value)


def page(old: str, sections: dict[str, str]) -> str:
    """The page with these sections new and its others as they were, behind an overview of all."""
    known = {
        match[1]: match[0]
        for match in re.finditer(
            r"^<!-- benchmark (\w+) -->\n.*?(?=^<!-- benchmark |\Z)", old, re.MULTILINE | re.DOTALL
        )
    }
    known |= sections
    overview = ["| benchmark | outcome |", "|---|---|"]
    for name in sorted(known):
        title = re.search(r"^## (.*)$", known[name], re.MULTILINE)
        outcome = re.search(r"^\*\*(.*?)\*\*", known[name], re.MULTILINE)
        assert title is not None
        assert outcome is not None
        overview.append(f"| {title[1]} | {outcome[1].removesuffix(':')} |")
    return "\n".join([HEAD, *overview, "", *(known[name].rstrip("\n") + "\n" for name in sorted(known))])


def machine() -> str:
    """Where this was measured, with which versions, and which peers are missing."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text("utf-8"))
        model = found[1] if found else model
    pinned = re.findall(r"^([\w.-]+)==", (FOLDER / "requirements.in").read_text("utf-8"), re.MULTILINE)
    have, missing = [], []
    for package in (*OURS, *pinned):
        try:
            have.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    without = f"; not installed: {', '.join(missing)}" if missing else ""
    return (
        f"{model}, one core and one thread; Python {platform.python_version()}, {', '.join(have)}{without};"
        f" {time.strftime('%Y-%m-%d')}."
    )


def show(path: str) -> None:
    """Measure one benchmark in this process and print it: what each file does when it is run by itself."""
    from rich.console import Console
    from rich.table import Table

    told = measured(Path(path), shared_folder(), quick="--quick" in sys.argv[1:])
    made = Table(
        title=told["title"], caption=told["failure"] or f"Goal: {told['goal']}. {verdict(told['rows'])}."
    )
    columns = list(dict.fromkeys(column for row in told["rows"] for column in row))
    for column in columns:
        made.add_column(column)
    for row in told["rows"]:
        made.add_row(*(cell(row.get(column)) for column in columns))
    Console().print(made)
    sys.exit(told["failure"] is not None)


def shared_folder() -> Path:
    """The folder of public data, beside the project unless GUARDIAN_SHARED says otherwise."""
    return Path(os.environ.get("GUARDIAN_SHARED", ROOT.parent / "shared"))


def main() -> int:
    """Run; the exit code is 1 if a benchmark failed (a goal missed is a result, not a failure)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=names(), help="one benchmark; its section of the page is replaced")
    parser.add_argument(
        "--quick", action="store_true", help="small samples, to see that it runs; the page is left alone"
    )
    parser.add_argument("--shared", type=Path, default=shared_folder(), help="the folder that holds data/")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.answer:
        told = measured(FOLDER / f"{asked.only}.py", asked.shared, quick=asked.quick)
        asked.answer.write_text(json.dumps(told, default=lambda value: value.item()), encoding="utf-8")
        return 0
    where, failed = machine(), False
    for name in [asked.only] if asked.only else names():
        print(f"{name} …", file=sys.stderr, flush=True)
        told = in_its_own_process(name, asked.shared, quick=asked.quick)
        failed |= told["failure"] is not None
        made = section(name, told, where)
        print(made)
        if not asked.quick:
            old = asked.page.read_text("utf-8") if asked.page.exists() else ""
            asked.page.write_text(page(old, {name: made}), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
