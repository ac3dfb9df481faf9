"""Changed rules: each differs from ours in one place, in a way that somebody could mistype or a later hand "tidy up".

Owns the kinds of change. Whether a test notices them is ``test_mutants``'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from tests.alerts.rule_files import Rule

COMPARATORS: Final = (">", ">=", "<", "<=", "==", "!=")
SETS: Final = ("and", "or", "unless")
AGGREGATIONS: Final = {"sum": "max", "max": "sum"}
ARITHMETIC: Final = {"+": "-", "-": "+", "/": "*", "*": "/"}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_TOKEN: Final = re.compile(
    r"""(?P<matchers>\{[^}]*\})
      | (?P<grouping>\b(?:by|without|on)\ \([^)]*\))
      | \[(?P<window>\w+)\]
      | \boffset\ (?P<offset>\w+)
      | (?P<word>[A-Za-z_:][\w:]*)
      | (?P<number>\d+(?:\.\d+)?)
      | (?P<comparator>[<>]=?|[=!]=)
      | (?P<arithmetic>[-+*/])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Mutant:
    """A changed rule, and what was changed."""

    rule: Rule
    kind: str
    change: str


def mutants(rule: Rule) -> Iterator[Mutant]:
    """Every rule that differs from this one in one place of its expression or in its ``for``."""
    for token in _TOKEN.finditer(rule.expr):
        kind = token.lastgroup
        assert kind is not None
        start, end = token.span(kind)
        line = rule.expr.count("\n", 0, start) + 1
        for new in _instead(kind, token[kind]):
            expr = rule.expr[:start] + new + rule.expr[end:]
            change = f"{rule.name}, line {line}: {token[kind]} → {new or '(nothing)'} at {start}"
            yield Mutant(replace(rule, expr=expr), kind, change)
    for waits in (*_durations(rule.waits), "0s") if rule.waits else ():
        text = rule.text.replace(f"        for: {rule.waits}\n", f"        for: {waits}\n")
        yield Mutant(replace(rule, text=text), "for", f"{rule.name}, for: {rule.waits} → {waits}")


def _instead(kind: str, old: str) -> Iterator[str]:
    match kind:
        case "comparator":
            yield from (new for new in COMPARATORS if new != old)
        case "window" | "offset":
            yield from _durations(old)
        case "number":
            yield from _numbers(float(old))
        case "word" if old in SETS:
            yield from (new for new in SETS if new != old)
        case "word" if old in AGGREGATIONS:
            yield AGGREGATIONS[old]
        case "arithmetic":
            yield ARITHMETIC[old]
        case "grouping":
            yield from _groupings(old)
        case "matchers":
            yield from _matchers(old)


def _durations(old: str) -> Iterator[str]:
    """Half of it and twice it."""
    seconds = int(old[:-1]) * _SECONDS[old[-1]]
    yield f"{seconds // 2}s"
    yield f"{seconds * 2}s"


def _numbers(old: float) -> Iterator[str]:
    """A tenth less and a tenth more; of nothing, one."""
    if old == 0:
        yield from ("-1", "1")
    else:
        yield from (f"{old * 0.9:.12g}", f"{old * 1.1:.12g}")


def _groupings(old: str) -> Iterator[str]:
    """Without one of its labels; ``on`` also without all, which matches on every label there is."""
    word, _, inside = old.rstrip(")").partition(" (")
    labels = inside.split(", ")
    for label in labels:
        yield f"{word} ({', '.join(each for each in labels if each != label)})"
    if word == "on":
        yield ""
    elif len(labels) > 1:
        yield f"{word} ()"


def _matchers(old: str) -> Iterator[str]:
    """Without one of its matchers, or without one of the words that a matcher takes."""
    matchers = re.findall(r'\w+(?:=~|!~|!=|=)"[^"]*"', old)
    for matcher in matchers:
        yield "{" + ", ".join(each for each in matchers if each != matcher) + "}"
        name, words = re.split(r"=~", matcher) if "=~" in matcher else (matcher, "")
        choices = words.strip('"').split("|")
        for choice in choices if len(choices) > 1 else ():
            fewer = "|".join(each for each in choices if each != choice)
            yield old.replace(matcher, f'{name}=~"{fewer}"')
