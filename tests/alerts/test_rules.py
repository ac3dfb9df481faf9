"""The Prometheus rules, held to their conventions and run by promtool. Thresholds are tested in the promtool file."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES = ROOT / "alerts" / "guardian.rules.yml"
RULE_TESTS = ROOT / "alerts" / "guardian.rules.test.yml"
RUNBOOKS = ROOT / "docs" / "runbooks"
ANNOTATIONS = ("summary", "summary_en", "description", "description_en", "runbook_url", "dashboard")

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")


def _alerts() -> dict[str, str]:
    """Name → text of each rule. The file's own layout is the grammar; promtool checks that it is YAML."""
    blocks = re.split(r"^      - alert: ", RULES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {block.split("\n", 1)[0].strip(): block for block in blocks}


ALERTS = _alerts()


def _promtool(*arguments: str) -> str:
    assert PROMTOOL is not None
    run = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@needs_promtool
def test_promtool_accepts_the_rules():
    assert f"{len(ALERTS)} rules found" in _promtool("check", "rules", str(RULES))


@needs_promtool
def test_promtool_passes_the_rule_tests():
    _promtool("test", "rules", str(RULE_TESTS))


@needs_promtool
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("GuardianThreatCritical", ">= 4", ">= 5"),
        ("GuardianThreatHigh", "== 3\n", "== 2\n"),
        ("EoctRiskCritical", "> 0.8\n", ">= 0.8\n"),
        ("IsabellaRejectRatioHigh", ") > 0.3", ") > 0.6"),
        ("IsabellaRejectRatioHigh", ">= 20", ">= 1"),
        ("ProtocolDoctrineViolation", "offset 10m", "offset 1m"),
        ("XrGatewayEmpty", ") >= 5", ") >= 0"),
        ("XrGatewayMissing", "absent(tamv_xr_gateway_connections)", "absent(up)"),
        ("GuardianNoEvents", ") == 0", ") < 0"),
        ("GuardianRejectedRatioHigh", ") > 0.05", ") > 0.95"),
        ("GuardianRejectedRatioHigh", ">= 50", ">= 1"),
        ("GuardianJournalBacklog", "> 100000", ">= 100000"),
        (
            "GuardianOutboxBacklog",
            'deriv(tamv_guardian_outbox_rows{state="pending"}[10m]) > 0',
            "vector(1) > 0",
        ),
        ("GuardianSnapshotOld", "> 300\n", "> 3000\n"),
        ("GuardianMetricsMissing", 'absent(tamv_guardian_threat_level{scope="global"}) or', ""),
        ("GuardianPipelineMetricsMissing", "absent(tamv_guardian_journal_backlog_events) or", ""),
    ],
)
def test_the_rule_tests_notice_a_changed_rule(tmp_path: Path, name: str, old: str, new: str):
    """Only the tests that speak of the alert are run: all of them on each change would take half a minute."""
    rules = RULES.read_text(encoding="utf-8")
    assert old in ALERTS[name]
    changed = rules.replace(ALERTS[name], ALERTS[name].replace(old, new))
    (tmp_path / RULES.name).write_text(changed, encoding="utf-8")
    head, *blocks = re.split(r"(?m)^(?=  - name: )", RULE_TESTS.read_text(encoding="utf-8"))
    about = [block for block in blocks if name in block]
    tests = tmp_path / RULE_TESTS.name
    tests.write_text(head + "".join(about), encoding="utf-8")
    assert PROMTOOL is not None
    run = subprocess.run(
        [PROMTOOL, "test", "rules", str(tests)], capture_output=True, check=False, timeout=60
    )
    assert run.returncode != 0


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_who_what_and_where(name: str):
    block = ALERTS[name]
    assert re.search(r"^ {10}severity: (critical|warning)$", block, re.MULTILINE)
    assert re.search(r"^ {10}owner: [a-z]+$", block, re.MULTILINE)
    for annotation in ANNOTATIONS:
        assert re.search(rf"^ {{10}}{annotation}: \S", block, re.MULTILINE), annotation
    assert f"runbook_url: docs/runbooks/{name}.md" in block
    assert "dashboard: /d/tamv-guardian-overview" in block


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


def test_no_runbook_is_left_without_its_alert():
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_seen_firing_and_quiet(name: str):
    tests = RULE_TESTS.read_text(encoding="utf-8")
    promql = re.findall(rf'alertname="{name}"[^\n]*exp_samples: (\[[^\n]*\])', tests)
    rules = re.findall(rf"alertname: {name}\n +exp_alerts:( \[\])?", tests)
    fires = [entry != "[]" for entry in promql] + [entry == "" for entry in rules]
    fires += [True] if f"{{labels: '{{alertname=\"{name}\"}}'" in tests else []
    assert True in fires
    assert False in fires
