"""``guardian sigma check``: the table, its JSON and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guardian import texts
from guardian.cli import build
from guardian.commands_sigma import checked
from guardian.errors import ConfigError
from guardian.sigma_settings import Sigma

GOOD = "title: Good\nlevel: high\ntags: [attack.t1059]\nlogsource: {product: tamv}\ndetection: {s: {kind: x}, condition: s}\n"
BAD = "title: Bad\nlevel: high\nlogsource: {product: tamv}\ndetection: {s: {kind|hour: 3}, condition: s}\n"


def test_all_is_told(tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text(GOOD)
    (tmp_path / "bad.yml").write_text(BAD)
    result = CliRunner().invoke(build("en"), ["sigma", "check", str(tmp_path), "--json"])
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert [(each["title"], each["level"], each["tags"]) for each in told["loaded"]] == [
        ("Good", "high", ["attack.t1059"])
    ]
    assert [each["title"] for each in told["refused"]] == ["Bad"]
    assert "expected no part of a time" in told["refused"][0]["reason"]


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_a_table_in_each_language(tmp_path: Path, language: texts.Language) -> None:
    (tmp_path / "good.yml").write_text(GOOD)
    (tmp_path / "guardian.toml").write_text('[sigma]\npaths = ["good.yml"]\n')
    result = CliRunner().invoke(
        build(language), ["sigma", "check", "--config", str(tmp_path / "guardian.toml")]
    )
    assert result.exit_code == 0
    assert texts.text("sigma.counted", language, loaded=1, refused=0) in result.stdout
    assert "Good" in result.stdout


def test_nothing_to_check_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sigma\.paths"):
        checked((), Sigma())
    with pytest.raises(ConfigError, match="none at"):
        checked([tmp_path], Sigma())
