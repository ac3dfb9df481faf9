"""guardian.toml: every problem at once, each by its key path; the digest covers what can change a score."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.config import Config, load, parse
from guardian.errors import ConfigError


def problems(text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return {problem.key: f"{problem.expected} | {problem.got}" for problem in caught.value.problems}


def test_all_problems_at_once() -> None:
    found = problems(
        """
        language = "fr"
        colour = 1
        server = 3
        [engine]
        hold_s = "5m"
        max_kinds = 0
        [layers]
        shop = "L9"
        bank = "L5"
        [[sinks]]
        name = "A"
        type = "http"
        [[sinks]]
        """
    )
    assert found["engine.hold_s"] == 'seconds > 0 | "5m"'
    assert found["language"] == 'one of es-MX, en | "fr"'
    assert found["server"] == "a table [server] | 3"
    assert found["layers.shop"].endswith('| "L9"')
    assert set(found) == {
        "language",
        "colour",
        "server",
        "engine.hold_s",
        "engine.max_kinds",
        "layers.shop",
        "sinks[0].name",
        "sinks[0].url",
        "sinks[1].type",
    }


def test_what_no_value_can_say_alone() -> None:
    found = problems(
        "[calibration]\nrisk = [0, 2, 1]\nscore = [0, 1, 2]\n"
        "[[sinks]]\nname = 'a'\ntype = 'file'\npath = 'x'\n[[sinks]]\nname = 'a'\ntype = 'file'\npath = 'y'"
    )
    assert set(found) == {"calibration.risk", "sinks[1].name"}
    assert "calibration" in problems("[calibration]\nrisk = [1]\nscore = [1]")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: \(file\): expected a readable UTF-8 file"):
        load(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "b.toml")
    with pytest.raises(ConfigError, match="expected TOML"):
        parse("x =")


def test_the_digest_covers_what_can_change_a_score_and_nothing_else() -> None:
    base = Config().digest()
    assert parse("[server]\nport = 1\n[xr]\ntick_ms = 99\n[eoct]\nprofile = 'tamv'").digest() == base
    for text in (
        "[engine]\nhold_s = 301",
        "[rules]\nhoneypots = ['x']",
        "[layers]\na = 'L1'",
        "[calibration]\nconfirmed_to = 50",
    ):
        assert parse(text).digest() != base
    assert parse("[layers]\na='L1'\nb='L2'").digest() == parse("[layers]\nb='L2'\na='L1'").digest()


@given(text=st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except ConfigError as error:
        problems_told = str(error)
    else:
        return
    assert problems_told.startswith("guardian.toml: ")
