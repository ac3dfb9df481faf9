from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from guardian.backtest import Result, backtest
from guardian.backtest.result import Explanation
from guardian.texts import LANGUAGES, Language
from guardian.view import Reason
from guardian.view import told as told_of


def printed(result: Result, language: Language) -> str:
    console = Console(width=140, record=True, file=None, quiet=False)
    with console.capture() as captured:
        result.print(console, language)
    return captured.get()


def test_coverage_comes_first_and_every_part_is_there(small: Result):
    told = printed(small, "en")
    places = [told.index(title) for title in ("Coverage", "How well", "Attacks", "rise to at least")]
    assert places == sorted(places)
    assert "1.000 [1.00, 1.00]" in told
    assert "60 s" in told
    assert "events without a target" in told


def test_spanish(small: Result):
    told = printed(small, "es-MX")
    assert told.startswith("Cobertura")
    assert "eventos sin objetivo" in told
    assert "crítico" in told


@pytest.mark.parametrize("language", LANGUAGES)
def test_figures_that_do_not_exist_are_a_dash(language: Language, value_engine: Any, frame: Any):
    result = backtest(frame([(0.0, "web", 1.0, "x")]), engine=value_engine)
    told = printed(result, language)
    assert "–" in told
    assert "x *" in told
    assert "nan" not in told.lower().split()


def test_names_from_a_file_are_neither_markup_nor_control_characters(value_engine: Any, frame: Any):
    label = "[red]scan[/red][/] \x1b[2J"
    told = printed(backtest(frame([(0.0, "web", 1.0, label)]), engine=value_engine), "en")
    assert "[red]scan[/red][/]" in told
    assert "\x1b[2J" not in told


@pytest.mark.parametrize(
    ("language", "why"),
    [
        ("es-MX", "regla 60.0 (k[/]; sin ello, bajo); novedad 10.0"),
        ("en", "rule 60.0 (k[/]; without it, low); novelty 10.0"),
    ],
)
def test_an_explanation_says_what_would_be_without_its_strongest_channel(language: Language, why: str):
    reasons = (Reason("novelty", 10.0, "", 3, 60.0), Reason("rule", 60.0, "k[/]", 3, 25.0))
    found = Explanation(
        entity="web[/]\n",
        start=datetime(2026, 1, 2, 6, tzinfo=UTC),
        score=70.0,
        labels=(),
        event=3,
        reasons=reasons,
        kinds={f"k{number}": 9 - number for number in range(7)},
    )
    console = Console(width=140)
    with console.capture() as captured:
        found.print(console, language)
    told = captured.get()
    for part in ("web[/]\\n", "2026-01-02 06:00:00", "70.0", why, "k0 9, k1 8, k2 7, k3 6, k4 5, …"):
        assert part in told


def test_nothing_is_said_where_the_level_would_stay():
    reasons = [Reason("novelty", 20.1, "k", 0, 60.0), Reason("rarity", 39.9, "k", 0, 60.0)]
    assert told_of(reasons, "en") == "rarity 39.9 (k); novelty 20.1 (k)"
    assert told_of([], "en") == ""
