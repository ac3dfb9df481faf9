from typing import Any

import pytest
from rich.console import Console

from guardian.backtest import Result, backtest
from guardian.texts import LANGUAGES, Language


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
