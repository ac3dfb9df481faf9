"""The Prometheus rules, held to their conventions and run by promtool. Thresholds are tested in the promtool files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from exporters.metrics_table import METRICS
from tests.alerts.rule_files import (
    ALERTS,
    CASES,
    FOLDER,
    ROOT,
    RULE_FILES,
    RULES,
    TEST_FILES,
    Rule,
    needed,
    needs_promtool,
    promtool,
)

RUNBOOKS = ROOT / "docs" / "runbooks"
ANNOTATIONS = ("summary", "summary_en", "description", "description_en", "runbook_url", "dashboard")
OWNERS = {"seguridad", "etica", "plataforma", "xr"}
BOARDS = {
    json.loads(file.read_text(encoding="utf-8"))["uid"]
    for file in (ROOT / "dashboards" / "grafana").glob("*.json")
}

LABELS = {row.name: set(row.labels) for row in METRICS}


def _plain(expr: str) -> str:
    """An expression without the names of what is recorded, which say which metric they are of."""
    return re.sub(r"\bjob:\w+:\w+", "0", expr)


def _metric(name: str) -> tuple[str, set[str]]:
    """The metric of the table that a series belongs to, and the labels that its form adds."""
    for suffix, more in (("_bucket", {"le"}), ("_sum", set[str]()), ("_count", set[str]())):
        if name not in LABELS and name.endswith(suffix):
            return name.removesuffix(suffix), more
    return name, set()


@needs_promtool
def test_promtool_accepts_the_rules():
    run = promtool("check", "rules", *map(str, RULE_FILES))
    assert run.returncode == 0, run.stdout
    assert sum(map(int, re.findall(r"(\d+) rules found", run.stdout))) == len(RULES)


@needs_promtool
@pytest.mark.slow
@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.name)
def test_promtool_passes_the_rule_tests(file: Path):
    run = promtool("test", "rules", str(file))
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS.keys())
def test_every_alert_says_who_what_and_where(rule: Rule):
    assert rule.told("severity") in {"critical", "warning"}
    assert rule.told("owner") in OWNERS
    assert all(rule.told(annotation) for annotation in ANNOTATIONS)
    for annotation in ("summary", "description"):
        assert rule.told(annotation) != rule.told(f"{annotation}_en")
        both = [
            re.findall(r"\{\{.*?\}\}", rule.told(each).replace("crítico", "").replace("critical", ""))
            for each in (annotation, f"{annotation}_en")
        ]
        assert {tag for tag in both[0] if "$" in tag} == {tag for tag in both[1] if "$" in tag}
    assert rule.told("runbook_url") == f"docs/runbooks/{rule.name}.md"
    assert rule.told("dashboard").removeprefix("/d/") in BOARDS


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_a_runbook_in_both_languages(name: str):
    page = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}\n\n## Español\n")
    assert page.count("\n## English\n") == 1
    spanish, english = page.split("\n## English\n")
    assert all(
        f"**{part}" in spanish for part in ("Qué significa", "Qué mirar", "Qué hacer", "Cuándo termina")
    )
    assert all(
        f"**{part}" in english
        for part in ("What it means", "What to look at", "What to do", "When it is over")
    )
    assert [spanish.count(mark) for mark in ("\n- ", "\n1. ")] == [
        english.count(mark) for mark in ("\n- ", "\n1. ")
    ]


def test_no_runbook_is_left_without_its_alert():
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == set(ALERTS)


def test_runbooks_name_only_alerts_that_exist():
    for page in RUNBOOKS.glob("*.md"):
        named = re.findall(
            r"\b(?:Guardian|Xr|Isabella|Eoct|Protocol)(?:[A-Z][a-z]+){2,}\b", page.read_text("utf-8")
        )
        assert set(named) <= set(ALERTS), page.name


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_every_metric_and_label_of_a_rule_exists(rule: Rule):
    expr = _plain(rule.expr)
    labels = {"job", "instance"}
    for name, matchers in re.findall(r"\b(tamv_\w+|up)\b(?:\{([^}]*)\})?", expr):
        metric, more = _metric(name)
        own = (LABELS[metric] | more if name != "up" else set()) | {"job", "instance"}
        assert set(re.findall(r"(\w+)\s*[=!]", re.sub(r'"[^"]*"', '""', matchers))) <= own
        labels |= own
    for grouping in re.findall(r"\b(?:by|without|on) \(([^)]*)\)", expr):
        assert set(grouping.split(", ")) <= labels
    used = set(re.findall(r"\$labels\.(\w+)", rule.text))
    assert used <= labels | {
        label for each in needed(rule) for label in re.findall(r"by \((\w+)\)", each.expr)
    }


def test_values_of_labels_are_those_of_the_table():
    vocabularies = {(row.name, label): set(words) for row in METRICS for label, words in row.labels.items()}
    for rule in RULES.values():
        for name, matchers in re.findall(r"\b(tamv_\w+)\{([^}]*)\}", _plain(rule.expr)):
            for label, words in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
                known = vocabularies.get((name, label), set())
                assert not known or set(words.split("|")) <= known, (rule.name, label)


def test_shorter_windows_are_a_twelfth_of_the_longer_ones():
    minutes = {"m": 1, "h": 60, "d": 1440}
    pairs = {
        name: [int(size) * minutes[unit] for size, unit in re.findall(r":\w*ratio(\d+)([mhd]) >", rule.expr)]
        for name, rule in ALERTS.items()
        if "Burn" in name
    }
    assert len(pairs) == 6
    assert all(longer == 12 * shorter for longer, shorter in pairs.values())


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_seen_firing_quiet_and_resolved(name: str):
    """By its number where it fires, and by nothing before and after."""
    fires, quiet = [], []
    for case in CASES:
        for text in case.about(name).splitlines():
            found = re.search(r"eval_time: (\w+), exp_samples: (\[.*\])\}$", text)
            if found and f'"{name}"' in text:
                (quiet if found[2] == "[]" else fires).append(_minutes(found[1]))
    assert fires
    assert min(quiet) < max(fires)
    assert max(quiet) > min(fires)


def _minutes(text: str) -> int:
    return sum(
        int(size) * {"m": 1, "h": 60, "d": 1440}[unit] for size, unit in re.findall(r"(\d+)([mhd])", text)
    )


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_seen_with_its_labels_and_texts(name: str):
    told = [entry for case in CASES for entry in case.alerts if f"alertname: {name}\n" in entry]
    assert told
    assert all("exp_labels" in entry and "summary_en" in entry for entry in told)


def test_with_nothing_there_only_the_twins_speak():
    """The tests of nothing count every alert there is, so one that fires on missing series would be seen."""
    nothing = [line for case in CASES for line in case.queries if "count by (alertname) (ALERTS)" in line]
    assert len(nothing) == len(RULE_FILES)
    assert FOLDER.is_dir()
