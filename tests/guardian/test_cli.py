"""The command in both languages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from guardian.cli import language_of


@pytest.mark.parametrize("language", ["en", "es-MX"])
def test_help_in_both_languages(language: str) -> None:
    out = subprocess.run(
        [sys.executable, "-m", "guardian", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"GUARDIAN_LANG": language, "PATH": ""},
    )
    for command in ("run", "replay", "backtest", "verify", "check", "bench"):
        assert command in out.stdout
    assert ("Watches" in out.stdout or "watches" in out.stdout) == (language == "en")
    assert ("vigila" in out.stdout) == (language != "en")


def test_the_more_special_variable_wins() -> None:
    assert language_of({"GUARDIAN_LANG": "en", "LANG": "es_MX.UTF-8"}) == "en"
    assert language_of({"LC_ALL": "es_ES", "LANG": "en_US"}) == "es-MX"
    assert language_of({"LANG": "de_DE.UTF-8"}) == "es-MX"
