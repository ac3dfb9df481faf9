"""What keeps an alert back, beside the same said plainly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.policy_inhibition import Louder, rules
from exporters.policy_tables import Finding, findings
from guardian.levels import Level, level_named
from guardian.route_settings import Inhibition
from tests.exporters.policy_world import World

ROLES = ("actor", "target")
WORDS = ("low", "medium", "high", "critical")
LEVELS = st.sampled_from(list(Level)[1:])
inhibitions = st.builds(
    Inhibition,
    name=st.just("i"),
    louder=st.sampled_from(WORDS),
    quieter=st.sampled_from(WORDS),
    louder_roles=st.sampled_from([(), ("actor",)]),
    quieter_roles=st.sampled_from([(), ("target",)]),
    equal=st.sampled_from([("entity",), ("role", "entity"), ("layer",), ("layer", "role")]),
)
places = st.tuples(st.sampled_from(ROLES), st.sampled_from("xy"), st.integers(0, 1), LEVELS)


def finding(number: int, place: tuple[str, str, int, Level]) -> Finding:
    role, entity, layer, peak = place
    return Finding(role, f"{entity}", f"f{number}", 0, 0, layer, int(peak), scored=True, alert="")


def plainly(rule: Inhibition, known: list[Finding], alert: Any, level: Level) -> bool:
    return any(
        each.peak >= level_named(rule.louder)
        and (not rule.louder_roles or each.role in rule.louder_roles)
        and level <= level_named(rule.quieter)
        and (not rule.quieter_roles or alert.role in rule.quieter_roles)
        and each.peak > level
        and all(getattr(each, name) == getattr(alert, name) for name in rule.equal)
        for each in known
    )


@settings(max_examples=60)
@given(
    st.lists(inhibitions, max_size=2),
    st.dictionaries(
        st.tuples(st.sampled_from(ROLES), st.sampled_from("xy")), st.tuples(st.integers(0, 1), LEVELS)
    ),
    st.lists(places, max_size=3),
    places,
)
def test_it_is_what_the_rules_say(
    given_rules: list[Inhibition],
    stored: dict[Any, Any],
    noted: list[Any],
    about: tuple[str, str, int, Level],
):
    role, entity, layer, level = about
    with World() as world:
        kept = [finding(number, (*place, *more)) for number, (place, more) in enumerate(stored.items())]
        for each in kept:
            values = {name: getattr(each, name) for name in Finding.__struct_fields__}
            world.connection.execute(findings.insert().values(**values))
        louder = Louder(rules(given_rules), world.connection, {entity})
        more = [finding(100 + number, place) for number, place in enumerate(noted)]
        for each in more:
            louder.note(each, 1)
        alert = world.alert(entity, level, role=role, layer=layer)
        known = [*kept, *more]
        # Of other entities only those were read that a rule without entity may meet.
        assert louder.holds_back(alert, level) == any(
            plainly(rule, known, alert, level) for rule in given_rules
        )
        for each in more:
            louder.note(each, -1)
        assert louder.holds_back(alert, level) == any(
            plainly(rule, kept, alert, level) for rule in given_rules
        )


@pytest.mark.parametrize("level", list(Level)[1:])
def test_nothing_keeps_itself_back(level: Level):
    with World() as world:
        louder = Louder(
            rules([Inhibition(name="i", louder="low", quieter="critical")]), world.connection, ["x"]
        )
        louder.note(finding(1, ("actor", "x", 0, level)), 1)
        assert not louder.holds_back(world.alert("x", level), level)
