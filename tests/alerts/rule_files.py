"""Reads alerts/*.rules.yml and alerts/*.test.yml: their own layout is the grammar; that they are YAML, promtool checks.

Owns where a rule and a test begin and end, and what of the tests speaks of a rule. Does not own what a rule must have
(``test_rules``) nor how one is changed (``mutants``).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "alerts"
RULE_FILES: Final = sorted(FOLDER.glob("*.rules.yml"))
TEST_FILES: Final = sorted(FOLDER.glob("*.test.yml"))

PROMTOOL: Final = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")

_RULE: Final = re.compile(r"^      - (alert|record): (\S+)\n((?: {8}.*\n|\n)*)", re.MULTILINE)
_EXPR: Final = re.compile(r"^        expr: (?:\|\n((?: {10}.*\n)+)|(.+)\n)", re.MULTILINE)


@dataclass(frozen=True)
class Rule:
    """One rule: an alert, or what is recorded."""

    name: str
    kind: str
    text: str
    """As it stands in the file, without the expression."""
    expr: str

    @property
    def waits(self) -> str:
        """Its ``for``, or nothing."""
        found = re.search(r"^ {8}for: (\w+)$", self.text, re.MULTILINE)
        return found[1] if found else ""

    def told(self, key: str) -> str:
        """A label or an annotation, without quotes."""
        found = re.search(rf"^ {{10}}{key}: (.+)$", self.text, re.MULTILINE)
        return found[1].strip("'") if found else ""


@dataclass(frozen=True)
class Case:
    """One test of a file, in parts: its series, and what is asked of them."""

    head: str
    series: str
    alerts: tuple[str, ...]
    queries: tuple[str, ...]

    def about(self, name: str) -> str:
        """The test with only what it asks about one rule; nothing if it asks nothing."""
        word = re.compile(rf"\b{re.escape(name)}\b")
        alerts = [entry for entry in self.alerts if word.search(entry.split("exp_alerts", 1)[0])]
        queries = [line for line in self.queries if word.search(line.split("exp_samples", 1)[0])]
        if not alerts and not queries:
            return ""
        text = self.series
        if alerts:
            text += "    alert_rule_test:\n" + "".join(alerts)
        if queries:
            text += "    promql_expr_test:\n" + "".join(queries)
        return text


def _rules(text: str) -> list[Rule]:
    rules = []
    for kind, name, body in _RULE.findall(text):
        found = _EXPR.search(body)
        assert found, name
        expr = re.sub(r"^ {10}", "", found[1], flags=re.MULTILINE) if found[1] else found[2] + "\n"
        rules.append(Rule(name, kind, _EXPR.sub("", body), expr))
    return rules


def _cases(text: str) -> list[Case]:
    head, *blocks = re.split(r"(?m)^(?=  - name: )", text)
    cases = []
    for block in blocks:
        lines = [line for line in block.splitlines(keepends=True) if not line.startswith("  #")]
        series, _, rest = "".join(lines).partition("    alert_rule_test:\n")
        alerts, _, queries = (rest or series).partition("    promql_expr_test:\n")
        if not rest:
            series, alerts = alerts, ""
        entries = re.split(r"(?m)^(?=      - eval_time: )", alerts)
        cases.append(
            Case(
                head,
                series,
                tuple(filter(None, entries)),
                tuple(line for line in queries.splitlines(keepends=True) if line.strip()),
            )
        )
    return cases


RULES: Final = {rule.name: rule for file in RULE_FILES for rule in _rules(file.read_text(encoding="utf-8"))}
ALERTS: Final = {name: rule for name, rule in RULES.items() if rule.kind == "alert"}
CASES: Final = [case for file in TEST_FILES for case in _cases(file.read_text(encoding="utf-8"))]


def needed(rule: Rule) -> list[Rule]:
    """What is recorded for a rule."""
    return [each for each in RULES.values() if each.kind == "record" and each.name in rule.expr]


def rules_text(rules: Sequence[Rule]) -> str:
    """A file of these rules alone."""
    text = "groups:\n  - name: one\n    rules:\n"
    for rule in rules:
        expr = "".join(f"          {line}\n" for line in rule.expr.splitlines())
        text += f"      - {rule.kind}: {rule.name}\n        expr: |\n{expr}{rule.text}"
    return text


def asked_of(name: str, rules_file: str) -> list[str]:
    """What the test files ask about one rule: a file for each of their tests that asks something."""
    texts = []
    for case in CASES:
        if about := case.about(name):
            head = re.sub(r"(?m)^  - \S+\.rules\.yml$", f"  - {rules_file}", case.head)
            texts.append(head + about)
    return texts


def promtool(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end, whatever it says."""
    assert PROMTOOL is not None
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run([PROMTOOL, *arguments], text=True, check=False, timeout=300, cwd=cwd, **both)
