"""Correlations beside a slow twin that looks at all matches of a group again, and the bounds of their memory."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.errors import StateError
from guardian.sigma import correlate
from guardian.sigma.correlate import Correlator
from guardian.sigma.rule import About, Correlation

SECOND = 10**9


def correlation(
    kind: Any, *, rules: tuple[int, ...] = (0,), at_least: int = 3, span_s: int = 10
) -> Correlation:
    about = About("C", "C", "", "c.yml", "high", (), reports=True)
    value = "v" if kind == "value_count" else ""
    return Correlation(about, kind, rules, (("g",),) * len(rules), span_s * SECOND, at_least, value)


def fed(correlator: Correlator, matched: list[tuple[int, int, str, str]]) -> list[int]:
    """Which of (second, rule, group, value) complete something; the time of a group does not run backwards."""
    rows = [(row, at * SECOND, number) for row, (at, number, _, _) in enumerate(matched)]
    values = {
        "g": {row: group for row, (_, _, group, _) in enumerate(matched) if group},
        "v": {row: value for row, (_, _, _, value) in enumerate(matched) if value},
    }
    return sorted({row for row, _ in correlator.completed(rows, values)})


def expected(rule: Correlation, matched: list[tuple[int, int, str, str]]) -> list[int]:
    """Slow twin: at each match, everything of its group within the span is looked at again."""
    found = []
    span = rule.timespan_ns // SECOND
    for row, (_, number, group, value) in enumerate(matched):
        if number not in rule.rules or not group or (rule.value and not value):
            continue
        clock, past = -(10**9), []
        for at, other, same, told in matched[: row + 1]:
            if same == group and other in rule.rules and (told or not rule.value):
                clock = max(clock, at)
                past.append((clock, other, told))
        within = [each for each in past if each[0] >= clock - span]
        if rule.kind == "event_count":
            complete = len(within) >= rule.at_least
        elif rule.kind == "value_count":
            complete = len({told for _, _, told in within}) >= rule.at_least
        elif rule.kind == "temporal":
            complete = len({other for _, other, _ in within}) >= rule.at_least
        else:
            ahead = list(rule.rules)
            for _, other, _ in within:
                if ahead and other == ahead[0]:
                    ahead.pop(0)
            complete = not ahead and number == rule.rules[-1]
        if complete:
            found.append(row)
    return found


@given(st.integers(0, 2**32), st.sampled_from(["event_count", "value_count", "temporal", "temporal_ordered"]))
@settings(max_examples=150)
def test_as_the_slow_twin(seed: int, kind: Any) -> None:
    draw = random.Random(seed)
    ordered = kind.startswith("temporal")
    rules = (0, 1, 2) if ordered else (0, 1)[: draw.randrange(1, 3)]
    rule = correlation(kind, rules=rules, at_least=3 if ordered else draw.randrange(1, 5))
    at, matched = 0, []
    for _ in range(draw.randrange(1, 60)):
        at += draw.choice([0, 1, 1, 3, 12, -2])
        matched.append(
            (at, draw.randrange(3), draw.choice(["a", "b", ""]), draw.choice(["x", "y", "z", "w", ""]))
        )
    assert fed(Correlator([rule], 3), matched) == expected(rule, matched)
    first, cut = Correlator([rule], 3), draw.randrange(len(matched) + 1)
    before = fed(first, matched[:cut])
    second = Correlator([rule], 3)
    second.restore(first.snapshot())
    assert before + [cut + row for row in fed(second, matched[cut:])] == expected(rule, matched)


def test_correlations_of_correlations() -> None:
    inner = correlation("event_count", at_least=2)
    outer = correlation("event_count", rules=(1,), at_least=2)
    found = Correlator([inner, outer], 1).completed(
        [(row, row * SECOND, 0) for row in range(4)], {"g": dict.fromkeys(range(4), "a")}
    )
    assert found == [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2)]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlate, "MOST_GROUPS", 10)
    kept = Correlator([correlation("event_count", at_least=2)], 1)
    fed(kept, [(at, 0, f"g{at}", "") for at in range(25)])
    assert kept.forgotten == 15
    assert fed(kept, [(26, 0, "g24", ""), (26, 0, "g3", "")]) == [0]
    size = len(kept.snapshot())
    fed(kept, [(30, 0, "g24", "")] * 1_000)
    assert len(kept.snapshot()) < size + 100


@pytest.mark.parametrize(
    "blob", [b"", b"x", b"\x92\x00\x90", b"\x92\x00\x91\x91\x92\x91\xa1a\x93\x00\x90\x90"]
)
def test_what_is_no_state_is_refused(blob: bytes) -> None:
    with pytest.raises(StateError, match="damaged"):
        Correlator([correlation("event_count")], 1).restore(blob)
