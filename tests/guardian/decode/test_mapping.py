"""What a map means, apart from where the values come from."""

from __future__ import annotations

import math

import pytest

from guardian.decode.mapping import OutcomeWords, Path, SeverityScale, Template, alternative


def test_alternatives() -> None:
    assert alternative("a") == Path("a", ())
    assert alternative("a.b") == Path("a.b", ("a", "b"))
    assert alternative("{a.b}/x{c}") == Template(("", "/x", ""), (Path("a.b", ("a", "b")), Path("c", ())))


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("1", 0.0),
        ("15", 1.0),
        ("8", 0.5),
        ("99", 1.0),
        ("-4", 0.0),
        ("ERROR", 0.7),
        ("Error", 0.7),
        ("inf", 1.0),
    ],
)
def test_severities(text: str, severity: float) -> None:
    assert SeverityScale(levels={"error": 0.7}, low=1, high=15).read(text) == severity


@pytest.mark.parametrize("text", ["", "smoke", "nan"])
def test_severities_that_are_not_stated(text: str) -> None:
    assert math.isnan(SeverityScale().read(text))


def test_a_scale_may_fall() -> None:
    assert [SeverityScale(low=7, high=0).read(text) for text in ("7", "0", "3.5")] == [0.0, 1.0, 0.5]


def test_outcomes_ignore_case() -> None:
    words = OutcomeWords(words={"ok": 1, "401": 3})
    assert [words.read(text) for text in ("OK", "401", "later", "")] == [1, 3, 0, 0]
