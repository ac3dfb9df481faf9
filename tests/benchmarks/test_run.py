"""The runner of the benchmarks: its page, its failures, and the lock of the peers."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


run = module("run")


def told(**changes: object) -> dict[str, object]:
    return {"title": "A title", "goal": "fast", "rows": [], "failure": None, "seconds": 1.0, **changes}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        ("", "–"),
        (True, "yes"),
        (12345, "12,345"),
        (1234567.8, "1,234,568"),
        (0.98765, "0.9877"),
        ("missed", "**missed**"),
        ("x", "x"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert run.cell(value) == text


def test_a_table_has_every_column_of_every_row() -> None:
    assert run.table([{"a": 1, "b": "x|y"}, {"c": 2.5}]) == [
        "| a | b | c |",
        "|---|---|---|",
        "| 1 | x\\|y | – |",
        "| – | – | 2.5 |",
    ]
    assert run.table([]) == ["(no rows)"]


def test_goals_missed_and_failures_are_shown() -> None:
    rows = [{"goal": "met"}, {"goal": "missed"}, {}]
    missed = run.section("one", told(rows=rows), "here")
    failed = run.section("two", told(failure="ValueError: no"), "here")
    page = run.page("", {"one": missed, "two": failed})
    assert "Goals met: 1, missed: 1" in missed
    assert "**Failed:** ValueError: no" in failed
    assert "| A title | Goals met: 1, missed: 1 |" in page
    assert "| A title | Failed |" in page


def test_a_section_is_replaced_and_the_others_stay() -> None:
    sections = {name: run.section(name, told(title=name), "here") for name in ("a", "b")}
    page = run.page("", sections)
    again = run.page(page, {"b": run.section("b", told(title="b", rows=[{"x": 7}]), "here")})
    assert run.page(page, {}) == page
    assert "| 7 |" in again
    assert again.count("<!-- benchmark") == 2


def test_what_a_benchmark_throws_is_its_result(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text('TITLE = "t"\nGOAL = "g"\ndef measure(shared, *, quick):\n    raise KeyError("peer")\n')
    measured = f"run.measured(pathlib.Path({str(broken)!r}), pathlib.Path('.'), quick=True)"
    code = (
        f"import sys, pathlib; sys.path.insert(0, {str(FOLDER)!r}); import run; print({measured}['failure'])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "KeyError: 'peer'"


def test_every_benchmark_has_the_shape_of_one() -> None:
    assert "engine" in run.names()
    assert "run" not in run.names()
    for name in run.names():
        text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        for part in ("TITLE", "GOAL"):
            assert re.search(rf"^{part}(: \w+)? = ", text, re.MULTILINE), (name, part)


def test_the_lock_of_the_peers_holds_hashes_and_no_addresses() -> None:
    install = module("install")
    lock = (FOLDER / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"https?:|--(extra-)?index-url|--find-links|-f ", lock)
    blocks = install.requirements(lock)
    assert all("==" in block and "--hash=sha256:" in block for block in blocks)
    names = {install.name(block) for block in blocks}
    assert {"river", "pyod", "pysad", "isotree", "drain3", "numpy", "hatchling"} <= names
    ours = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (FOLDER.parent / "requirements.lock").read_text(), re.MULTILINE)
    )
    theirs = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE))
    both = set(ours) & set(theirs)
    assert {name: theirs[name] for name in both} == {name: ours[name] for name in both}
