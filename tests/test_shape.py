"""The shape of the project: a test beside each module, public names, texts in both languages, locks without addresses."""

from __future__ import annotations

import re
import string
import subprocess
from pathlib import Path

import pytest

import guardian
import scoring
from guardian import texts

ROOT = Path(__file__).parent.parent
PACKAGES = ("guardian", "scoring", "exporters", "xr_telemetry")

COVERED_BY = {
    "guardian/__main__.py": "guardian/test_cli.py",
    "guardian/run.py": "guardian/test_run.py",
    "guardian/service.py": "guardian/test_run.py",
    "guardian/pipeline.py": "guardian/test_run.py",
    "guardian/ports.py": "exporters/test_delivery.py",
    "guardian/warm_up.py": "guardian/test_replay.py",
    "guardian/view.py": "guardian/test_survey.py",
    "guardian/names.py": "guardian/test_engine.py",
    "guardian/roles.py": "guardian/test_engine.py",
    "guardian/errors.py": "guardian/test_config.py",
    "guardian/events.py": "guardian/test_engine.py",
    "guardian/verdict.py": "guardian/test_engine.py",
    "guardian/decode/columns.py": "guardian/decode/test_ndjson.py",
    "guardian/decode/json_attrs.py": "guardian/decode/test_scanner.py",
    "guardian/decode/json_layout.py": "guardian/decode/test_scanner.py",
    "guardian/decode/json_members.py": "guardian/decode/test_scanner.py",
    "guardian/decode/json_names.py": "guardian/decode/test_scanner.py",
    "guardian/decode/json_rows.py": "guardian/decode/test_scanner.py",
    "guardian/decode/json_text.py": "guardian/decode/test_scanner.py",
    "guardian/decode/otlp_json_kernels.py": "guardian/decode/test_otlp_json.py",
    "guardian/decode/otlp_kernels.py": "guardian/decode/test_otlp_columns.py",
    "guardian/decode/otlp_meaning_kernels.py": "guardian/decode/test_otlp_columns.py",
    "guardian/decode/otlp_name_kernels.py": "guardian/decode/test_otlp_columns.py",
    "guardian/decode/otlp_text_kernels.py": "guardian/decode/test_otlp_columns.py",
    "guardian/decode/tables.py": "guardian/decode/test_files.py",
    "guardian/decode/syslog_frames.py": "guardian/decode/test_syslog.py",
    "guardian/decode/syslog_kernels.py": "guardian/decode/test_syslog.py",
    "guardian/decode/syslog_logins.py": "guardian/decode/test_syslog.py",
    "guardian/sources/contents.py": "guardian/sources/test_tail.py",
    "guardian/sources/gathering.py": "guardian/sources/test_syslog_udp.py",
    "guardian/sources/watch.py": "guardian/sources/test_tail.py",
    "guardian/sigma/field_kernels.py": "guardian/sigma/test_fields.py",
    "guardian/sigma/logsources.py": "guardian/sigma/test_parse.py",
    "guardian/sigma/match_kernels.py": "guardian/sigma/test_match.py",
    "guardian/sigma/rule.py": "guardian/sigma/test_parse.py",
    "guardian/sigma_settings.py": "guardian/sigma/test_detector.py",
    "guardian/units.py": "guardian/test_source_settings.py",
    "guardian/journal/files.py": "guardian/journal/test_log.py",
    "guardian/gateway/service.py": "guardian/test_run.py",
    "guardian/gateway/problems.py": "guardian/gateway/test_serving.py",
    "guardian/commands_dlq.py": "guardian/operations/test_dead_letters.py",
    "scoring/cells.py": "test_laws.py",
    "scoring/layout.py": "scoring/test_kernels.py",
    "scoring/ensemble_kernels.py": "scoring/test_ensemble.py",
    "scoring/ensemble_layout.py": "scoring/test_ensemble.py",
    "scoring/transitions.py": "scoring/test_sequences.py",
    "exporters/metrics_table.py": "exporters/test_metrics.py",
    "exporters/outbox.py": "exporters/test_delivery.py",
    "exporters/sinks/file.py": "exporters/test_delivery.py",
    "exporters/sinks/http.py": "exporters/test_delivery.py",
    "exporters/telemetry.py": "guardian/test_run.py",
    "exporters/bookpi.py": "exporters/msr/test_log.py",
    "exporters/register.py": "exporters/msr/test_log.py",
    "exporters/seal.py": "exporters/msr/test_fsck.py",
    "exporters/store.py": "exporters/msr/test_log.py",
}
"""Modules whose behaviour is tested where it is used, rather than in a file of their own."""


def modules() -> list[str]:
    return [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "__init__.py"
    ]


@pytest.mark.parametrize("module", modules())
def test_each_module_has_a_test(module: str) -> None:
    folder, _, name = module.rpartition("/")
    own = ROOT / "tests" / folder / f"test_{name}"
    whole = ROOT / "tests" / folder / f"test_{Path(folder).name}.py"
    beside = ROOT / "tests" / Path(folder).parent / f"test_{Path(folder).name}.py"
    listed = ROOT / "tests" / COVERED_BY.get(module, "-")
    assert own.exists() or whole.exists() or beside.exists() or listed.exists()


def test_nothing_is_listed_that_is_gone() -> None:
    assert set(COVERED_BY) <= set(modules())


def test_public_names() -> None:
    assert guardian.__all__ == ["Config", "Engine", "Verdict", "backtest", "load", "read"]
    assert scoring.__all__ == [
        "Ensemble",
        "HalfSpaceTrees",
        "IsolationForest",
        "Loda",
        "RSHash",
        "SequenceScorer",
        "SeriesScorer",
        "StreamingHistogram",
        "TailCalibrator",
        "eoct",
        "risk",
    ]
    for name in guardian.__all__:
        assert callable(getattr(guardian, name))


def areas() -> list[str]:
    return sorted({path.name.split(".")[0] for path in (ROOT / "guardian" / "texts").glob("*.toml")})


@pytest.mark.parametrize("area", areas())
def test_both_languages_say_the_same_things(area: str) -> None:
    spanish, english = (texts.catalogue(area, language) for language in ("es-MX", "en"))
    assert set(spanish) == set(english)
    for key in spanish:
        assert spanish[key].strip()
        assert english[key].strip()
        assert placeholders(spanish[key]) == placeholders(english[key]), key


def placeholders(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def tracked(*patterns: str) -> list[Path]:
    out = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if out.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in out.stdout.splitlines()]


def test_locks_hold_hashes_and_no_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"https?:|--(extra-)?index-url|--find-links|-f ", lock)
    requirements = re.findall(r"^[A-Za-z0-9_.-]+==", lock, re.MULTILINE)
    assert len(requirements) > 50
    assert lock.count("--hash=sha256:") >= len(requirements)


def test_no_file_is_two_ideas_long() -> None:
    long = {
        path.relative_to(ROOT).as_posix()
        for path in tracked("*.py")
        if path.parts[len(ROOT.parts)] in PACKAGES and len(path.read_text().splitlines()) > 450
    }
    assert long <= {"scoring/kernels.py"}, "the engine's kernels are one loop and its parts"


def test_each_module_says_what_it_owns() -> None:
    for module in modules():
        assert (ROOT / module).read_text(encoding="utf-8").startswith(('"""', 'r"""')), module


def test_importing_reads_no_environment() -> None:
    for module in modules():
        text = (ROOT / module).read_text(encoding="utf-8")
        assert not re.search(r"^\w.*os\.(environ|getenv)", text, re.MULTILINE), (
            f"{module} reads the environment on import"
        )
