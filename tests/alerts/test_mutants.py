"""The rule tests pin the rules: whatever is changed in one place of a rule, a promtool test fails.

Comparators, windows, offsets, ``for``, thresholds (a tenth), set operators, aggregations, arithmetic, groupings, matchers.
A changed rule stands alone in a file, with what is recorded for it and with what the test files ask about it, so that
nothing but the change can fail it; many such files go through one promtool, two of which run side by side. A seeded
sample is taken unless GUARDIAN_ALL_MUTANTS is set.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.alerts.mutants import Mutant, mutants
from tests.alerts.rule_files import RULES, Rule, asked_of, needed, needs_promtool, promtool, rules_text

SAMPLE: Final = 120
SEED: Final = 5
_BATCH: Final = 40

EQUIVALENT: Final[dict[str, str]] = {}
"""Change → why no test can tell it from the rule."""

ALL: Final = [mutant for rule in RULES.values() for mutant in mutants(rule)]
UNCHANGED: Final = [Mutant(rule, "none", rule.name) for rule in RULES.values()]


def _chosen() -> list[Mutant]:
    if os.environ.get("GUARDIAN_ALL_MUTANTS"):
        return ALL
    return random.Random(SEED).sample(ALL, min(SAMPLE, len(ALL)))


def _passed(batch: Sequence[Mutant], folder: Path) -> list[Mutant]:
    """Those that no test notices. Each round runs one more test of each that none has noticed yet."""
    asked: list[list[str]] = []
    for number, mutant in enumerate(batch):
        rules = f"{number}.rules.yml"
        (folder / rules).write_text(rules_text([*needed(mutant.rule), mutant.rule]), encoding="utf-8")
        asked.append(asked_of(mutant.rule.name, rules))
    # A rule that promtool cannot read would fail its tests too: that is no proof.
    checked = promtool("check", "rules", *(f"{number}.rules.yml" for number in range(len(batch))), cwd=folder)
    assert checked.returncode == 0, checked.stdout
    left = set(range(len(batch)))
    for turn in range(max(map(len, asked))):
        files = {f"{number}.test.yml": number for number in sorted(left) if turn < len(asked[number])}
        for name, number in files.items():
            (folder / name).write_text(asked[number][turn], encoding="utf-8")
        said = _said(files, folder) if files else {}
        left -= {files[name] for name, word in said.items() if word == "FAILED"}
    return [batch[number] for number in sorted(left)]


def _said(files: Collection[str], folder: Path) -> dict[str, str]:
    run = promtool("test", "rules", *files, cwd=folder)
    said = dict(re.findall(r"^Unit Testing: +(\S+)\n +(SUCCESS|FAILED)", run.stdout, re.MULTILINE))
    assert said.keys() == set(files), run.stdout
    return said


def _unnoticed(chosen: Sequence[Mutant], tmp_path: Path) -> list[str]:
    batches = [chosen[start : start + _BATCH] for start in range(0, len(chosen), _BATCH)]
    folders = [tmp_path / str(number) for number in range(len(batches))]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(2) as pool:
        return [mutant.change for left in pool.map(_passed, batches, folders) for mutant in left]


@needs_promtool
@pytest.mark.slow
def test_unchanged_rules_pass_alone(tmp_path: Path):
    """Without this, a test that fails for a reason of its own would look like one that notices."""
    assert _unnoticed(UNCHANGED, tmp_path) == [mutant.change for mutant in UNCHANGED]


@needs_promtool
@pytest.mark.slow
def test_every_changed_rule_fails_a_test(tmp_path: Path):
    assert set(_unnoticed(_chosen(), tmp_path)) <= set(EQUIVALENT)


def test_what_is_called_equivalent_is_a_change_with_a_reason():
    assert set(EQUIVALENT) <= {mutant.change for mutant in ALL}
    assert all(len(reason) > 20 for reason in EQUIVALENT.values())


def test_changes_have_names_of_their_own():
    assert len({mutant.change for mutant in ALL}) == len(ALL)


def test_there_are_changes_of_every_kind():
    assert Counter(mutant.kind for mutant in ALL).keys() == {
        "arithmetic",
        "comparator",
        "for",
        "grouping",
        "matchers",
        "number",
        "offset",
        "window",
        "word",
    }


@pytest.mark.parametrize(
    ("expr", "changed"),
    [
        ("a >= 20", {"a > 20", "a < 20", "a <= 20", "a == 20", "a != 20", "a >= 18", "a >= 22"}),
        ("a offset 1h", {"a offset 1800s", "a offset 7200s"}),
        ("rate(a[5m])", {"rate(a[150s])", "rate(a[600s])"}),
        ("a and b", {"a or b", "a unless b"}),
        ("a unless on (x, y) b", {"a and on (x, y) b", "a or on (x, y) b", "a unless on (y) b", "a unless on (x) b", "a unless  b"}),
        ("max by (x) (a1)", {"sum by (x) (a1)", "max by () (a1)"}),
        ('a{x="1 > 0", y=~"p|q"}', {'a{y=~"p|q"}', 'a{x="1 > 0"}', 'a{x="1 > 0", y=~"q"}', 'a{x="1 > 0", y=~"p"}'}),
        ("a / job:b:ratio5m", {"a * job:b:ratio5m"}),
    ],
)  # fmt: skip
def test_what_is_changed(expr: str, changed: set[str]):
    assert {mutant.rule.expr for mutant in mutants(Rule("A", "alert", "", expr))} == changed


def test_a_for_is_halved_doubled_and_left_out():
    rule = Rule("A", "alert", "        for: 5m\n        labels:\n", "a")
    assert [mutant.rule.waits for mutant in mutants(rule)] == ["150s", "600s", "0s"]
