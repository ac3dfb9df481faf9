"""The command in both languages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from guardian.cli import language_of
from tests.guardian.test_run import running


@pytest.mark.parametrize("language", ["en", "es-MX"])
def test_help_in_both_languages(language: str) -> None:
    out = subprocess.run(
        [sys.executable, "-m", "guardian", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"GUARDIAN_LANG": language, "PATH": ""},
    )
    for command in (
        "run",
        "replay",
        "backtest",
        "verify",
        "check",
        "bench",
        "acknowledge",
        "acknowledgements",
        "dlq",
    ):
        assert command in out.stdout
    assert ("Watches" in out.stdout or "watches" in out.stdout) == (language == "en")
    assert ("vigila" in out.stdout) == (language != "en")


def test_the_more_special_variable_wins() -> None:
    assert language_of({"GUARDIAN_LANG": "en", "LANG": "es_MX.UTF-8"}) == "en"
    assert language_of({"LC_ALL": "es_ES", "LANG": "en_US"}) == "es-MX"
    assert language_of({"LANG": "de_DE.UTF-8"}) == "es-MX"


def test_acknowledging_by_the_command(tmp_path: Path) -> None:
    with running(tmp_path / "data") as service:

        def guardian(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "guardian", *arguments, "--url", service.url]
            environment = {**os.environ, "GUARDIAN_LANG": "en"}
            return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

        name = ("acknowledge", "target", "ñ", "nightly backup")
        made = json.loads(guardian(*name, "--reason", "known", "--for", "8h", "--json").stdout)
        assert (made["action"], made["entity"], made["msrIndex"]) == ("snooze", "ñ", 1)
        shown = guardian("acknowledgements")
        assert shown.returncode == 0
        assert "1 of 1" in shown.stdout
        assert json.loads(guardian("acknowledgements", "--json").stdout)["items"] == [made]
        ended = guardian(*name, "--reason", "moved", "--withdraw")
        assert "registered as MSR entry 2" in ended.stdout
        assert guardian("acknowledgements").stdout == "0 of 0\n"
        assert json.loads(guardian("acknowledgements", "--all", "--json").stdout)["total"] == 2
        refused = guardian("acknowledge", "host", "a", "b", "--reason", " ")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "role: expected one of actor" in refused.stderr
        assert "reason: expected text" in refused.stderr
        assert refused.stderr.count("\n") == 1
