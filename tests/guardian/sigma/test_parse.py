"""What of Sigma is understood, and that everything else is refused with its file, title and reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.sigma.logsources import CHANNELS, gate
from guardian.sigma.parse import parse
from guardian.sigma.rule import And, Not, Or, Present, Text, Wild


def text(selection: Any = None, condition: str = "s", **more: Any) -> str:
    detection = {"s": {"A": "x"} if selection is None else selection, "condition": condition}
    return json.dumps(
        {"title": "T", "level": "high", "logsource": {"product": "tamv"}, "detection": detection, **more}
    )


def correlation(**changes: Any) -> str:
    told = {
        "type": "event_count",
        "rules": ["base"],
        "timespan": "1m",
        "group-by": ["g"],
        "condition": {"gte": 2},
    }
    base = text(title="Base", name="base")
    return f"{base}\n---\n" + json.dumps({"title": "C", "level": "low", "correlation": {**told, **changes}})


@pytest.mark.parametrize(
    ("given_text", "reason"),
    [
        (":\n :", "YAML"),
        ("[1, 2]", "expected Sigma rules"),
        ("", "got none"),
        (text(level=None), "level: expected one of informational"),
        (text(level="urgent"), "urgent"),
        (text({"A|hour": 3}), "part of a time"),
        (text({"A|contains": "%x%"}).replace("contains", "expand"), "placeholders"),
        (text({"A|re": "(?=x)y"}), "egular expression"),
        (text({"A|re": "("}), "egular expression"),
        (text({"A|cidr": "10.0.0.0/99"}), "CIDR"),
        (text({"A|unknown": "x"}), "unknown"),
        (text({"A": 2**60}), "a double holds"),
        (text(condition="t"), "not defined"),
        (text(condition="s | count() > 5"), "pipe"),
        (text(condition="s and"), "xpected"),
        (text({"|exists": True}), "field"),
        (
            correlation(type="value_sum", condition={"gte": 2, "field": "v"}),
            "type: expected one of event_count",
        ),
        (correlation(condition={"lt": 2}), "expected gte or gt"),
        (correlation(condition={"gte": 10**6}), "expected 1 to 4096"),
        (correlation(condition={"gte": 1.5}), "whole number"),
        (correlation(rules=["nobody"]), "nobody"),
        (correlation(timespan="soon"), "soon"),
        (correlation(type="temporal", condition="base or base"), "not evaluated"),
        (
            correlation(type="temporal_ordered", rules=["base", "base"], condition={"gte": 2}),
            "each rule once",
        ),
    ],
)
def test_what_is_not_understood_is_refused(given_text: str, reason: str) -> None:
    found = parse({"folder/rule.yml": given_text})
    assert found.refused, found
    assert all(each.file == "folder/rule.yml" for each in found.refused)
    assert reason in " ".join(map(str, found.refused))


def test_correlations_that_refer_to_each_other_in_a_circle() -> None:
    one, two = (
        json.dumps(
            {
                "title": f"C{name}",
                "name": name,
                "level": "low",
                "correlation": {
                    "type": "event_count",
                    "rules": [other],
                    "timespan": "1m",
                    "condition": {"gte": 2},
                },
            }
        )
        for name, other in (("a", "b"), ("b", "a"))
    )
    found = parse({"a.yml": one, "b.yml": two})
    assert [each.reason for each in found.refused] == [
        "expected rules that do not refer to each other in a circle"
    ] * 2


def test_names_tags_and_levels() -> None:
    texts = {
        "a.yml": text(tags=["attack.t1", "car.x", "attack.t1"]),
        "b.yml": text(id="11111111-1111-4111-8111-111111111111"),
    }
    first, second = parse(texts).abouts()
    assert (first.name, first.tags, first.level) == ("T", ("attack.t1",), "high")
    assert second.name == "T (11111111-1111-4111-8111-111111111111)"
    assert not parse(texts, exclude=("T",)).rules
    assert len(parse(texts, exclude=("11111111-1111-4111-8111-111111111111",)).rules) == 1


def test_a_rule_that_feeds_a_correlation_reports_nothing_itself() -> None:
    found = parse({"c.yml": correlation()})
    assert [(about.title, about.reports) for about in found.abouts()] == [("Base", False), ("C", True)]
    assert [about.reports for about in parse({"c.yml": correlation(generate=True)}).abouts()] == [True, True]
    assert (found.correlations[0].rules, found.correlations[0].at_least) == ((0,), 2)
    assert parse({"c.yml": correlation(condition={"gt": 2})}).correlations[0].at_least == 3


def test_conditions_become_plain_values() -> None:
    (rule,) = parse({"a.yml": text({"A|contains": "x", "B": None})}).rules
    assert rule.condition == And((Text("A", (Wild.MANY, "x", Wild.MANY)), Not(Present("B"))))


def test_log_sources() -> None:
    assert gate("tamv", "", "") is None
    assert gate("", "", "") is None
    assert gate("linux", "process_creation", "") is None
    assert gate("tamv", "", "economy") == Text("source", ("economy",))
    assert gate("windows", "", "security") == Text("Channel", ("Security",))
    assert gate("windows", "", "") == Text("EventID", (Wild.MANY,))
    created = gate("windows", "process_creation", "")
    assert isinstance(created, Or)
    assert Text("kind", ("Sysmon/1",)) in created.parts
    assert Text("kind", ("Security-Auditing/4688",)) in created.parts
    assert all(CHANNELS.values())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["title", "level", "logsource", "detection", "condition", "correlation", "a|re", "a|all"]
                ),
                x,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_tree_is_loaded_or_refused(tree: Any) -> None:
    found = parse({"x.yml": json.dumps(tree), "y.yml": text()})
    assert len(found.rules) == 1 or found.rules
    assert found.refused or found.rules
