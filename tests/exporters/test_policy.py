"""Random histories: what holds for every finding at every sink, whatever the routes, silences and inhibitions say."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.alert import Alert, Decision
from exporters.policy_groups import ways
from exporters.policy_tables import findings, groups, held, told
from exporters.silences import EXPIRED, silences
from guardian.levels import Level, level_named
from guardian.route_settings import Inhibition, Route
from guardian.sink_settings import File
from tests.exporters.policy_world import T0, S, World

SINKS = tuple(
    File(name=name, path=name, minimum_level=level)
    for name, level in (("a", "low"), ("b", "high"), ("c", "none"))
)
LEVELS = ("low", "medium", "high", "critical")
ENTITIES = ("x", "y", "z")


@st.composite
def routings(draw: st.DrawFn) -> tuple[list[Route], list[Inhibition]]:
    routes = [
        Route(
            name=f"r{number}",
            minimum_level=draw(st.sampled_from(LEVELS)),
            roles=draw(st.sampled_from([(), ("actor",)])),
            sinks=tuple(draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))),
            group_by=draw(st.sampled_from([(), ("route",), ("layer",), ("entity", "level")])),
            group_wait_s=draw(st.sampled_from([0.0, 20.0])),
            group_interval_s=draw(st.sampled_from([10.0, 60.0])),
            repeat_interval_s=draw(st.sampled_from([0.0, 100.0])),
        )
        for number in range(draw(st.integers(0, 3)))
    ]
    inhibitions = [
        Inhibition(
            name=f"i{number}",
            louder=draw(st.sampled_from(LEVELS)),
            quieter=draw(st.sampled_from(LEVELS)),
            louder_roles=draw(st.sampled_from([(), ("actor",)])),
            equal=draw(st.sampled_from([("entity",), ("layer",), ("role", "entity")])),
        )
        for number in range(draw(st.integers(0, 2)))
    ]
    return routes, inhibitions


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Steps (what, when, …): alerts in batches, ends, looks at the clock, silences and their early ends."""
    steps: list[tuple[Any, ...]] = []
    at = 0.0
    for passed in draw(st.lists(st.sampled_from([0.0, 1.0, 15.0, 70.0]), min_size=1, max_size=25)):
        at += passed
        what = draw(st.sampled_from(["alerts", "alerts", "alerts", "over", "due", "silence", "end"]))
        if what == "alerts":
            alert = st.tuples(
                st.sampled_from(ENTITIES),
                st.sampled_from(("actor", "target")),
                st.sampled_from(list(Level)[1:]),
                st.sampled_from([Level.NONE, Level.LOW]),
                st.sampled_from([0.0, 0.0, -5.0, 3.0]),
                st.sampled_from([3, 5]),
            )
            steps.append((what, at, draw(st.lists(alert, min_size=1, max_size=4))))
        elif what == "over":
            steps.append((what, at, draw(st.sampled_from(ENTITIES))))
        elif what == "silence":
            about = draw(
                st.sampled_from(
                    [
                        {"entity": "x"},
                        {"entity": "[xy]"},
                        {"role": "actor"},
                        {"entity": "*", "level_at_most": "medium"},
                    ]
                )
            )
            steps.append(
                (what, at, draw(st.sampled_from([0.0, 30.0])), draw(st.sampled_from([20.0, 200.0])), about)
            )
        else:
            steps.append((what, at))
    return steps


def play(world: World, steps: list[tuple[Any, ...]], *, one_by_one: bool = False) -> None:
    added: list[str] = []
    for what, at, *more in steps:
        if what == "alerts":
            alerts = [
                world.alert(entity, level, at + late, before=before, role=role, layer=layer)
                for entity, role, level, before, late, layer in more[0]
            ]
            for batch in [[alert] for alert in alerts] if one_by_one else [alerts]:
                world.decide(*batch)
        elif what == "over":
            world.over(at, more[0])
        elif what == "due":
            world.due(at)
        elif what == "silence":
            later, lasts, about = more
            added.append(world.silence(at + later, at + later + lasts, **about))
        elif added:
            world.end(added.pop(0), at)


def ended(world: World) -> None:
    """All is over, and so are all silences."""
    world.over(10_000)
    world.due(100_000)


@settings(max_examples=50)
@given(routings(), histories())
def test_the_life_cycle_of_every_finding(routing: tuple[list[Route], list[Inhibition]], steps: Any):
    with World(*routing, sinks=SINKS) as world:
        play(world, steps)
        ended(world)
        everything = [each.alert for each in world.decisions]
        assert len({alert.id for alert in everything}) == len(everything)
        opened = [alert for alert in everything if alert.activity == "open"]
        assert len({alert.finding for alert in opened}) == len(opened)
        for alert in opened:
            of_it = [each for each in everything if each.finding == alert.finding]
            assert of_it[0] is alert, "opened once, and before all else"
            assert alert.finding == alert.id
            assert {(each.role, each.entity) for each in of_it} == {(alert.role, alert.entity)}
            assert any(each.activity == "resolved" for each in of_it)
            assert all((each.level_to == Level.NONE) == (each.activity == "resolved") for each in of_it)
        assert {alert.finding for alert in everything} == {alert.finding for alert in opened}
        for sink in world.sinks:
            heard: dict[str, list[str]] = defaultdict(list)
            for alert in world.told(sink):
                heard[alert.finding].append(alert.activity)
            for activities in heard.values():
                assert activities.count("open") <= 1
                assert activities.index("resolved") == len(activities) - 1, (
                    "told of the end, once, and of nothing after"
                )
        for table in (findings, told, held):
            assert world.rows(table) == []
        assert all(row.members == 0 for row in world.rows(groups))


@settings(max_examples=50)
@given(routings(), histories())
def test_what_is_held_back_is_summed_up_to_the_last_one(
    routing: tuple[list[Route], list[Inhibition]], steps: Any
):
    known = ways(routing[0], SINKS)
    with World(*routing, sinks=SINKS) as world:
        play(world, steps)
        for _ in range(2):
            missed, wanted = Counter[str](), defaultdict[str, set[str]](set)
            ends_missed = {(row.finding, row.sink) for row in world.rows(held) if row.alert}
            for each in world.decisions:
                alert = each.alert
                for sink in world.sinks:
                    takes = any(sink in way.sinks and way.takes(alert, alert.level_to) for way in known)
                    if takes and not alert.suppressed and alert.activity != "resolved":
                        wanted[sink].add(alert.finding)
                        missed[sink] += sink in each.suppressed
            for sink in world.sinks:
                waiting = sum(row.count for row in world.rows(held) if row.sink == sink)
                summed_up = sum(alert.suppressed for alert in world.told(sink))
                ends = sum(of_sink == sink for _, of_sink in ends_missed) + _ends_summed_up(world, sink)
                assert summed_up + waiting == missed[sink] + ends
            ended(world)
        for sink in world.sinks:
            assert {alert.finding for alert in world.told(sink)} == wanted[sink], (
                "nobody who wants it hears nothing"
            )


def _ends_summed_up(world: World, sink: str) -> int:
    """Ends that came too late, with what was held back before: each stands for itself too."""
    first: dict[str, int] = {}
    for each in world.decisions:
        if each.alert.activity == "resolved":
            first.setdefault(each.alert.finding, each.alert.created_at)
    return sum(
        alert.activity == "resolved" and alert.created_at != first[alert.finding]
        for alert in world.told(sink)
    )


@settings(max_examples=25)
@given(routings(), histories())
def test_made_anew_between_any_two_steps_it_decides_the_same(
    routing: tuple[list[Route], list[Inhibition]], steps: Any
):
    outcomes: list[tuple[list[Decision], list[Any]]] = []
    for anew, one_by_one in ((True, False), (False, False), (True, True)):
        with World(*routing, sinks=SINKS, anew=anew) as world:
            play(world, steps, one_by_one=one_by_one)
            ended(world)
            rows = [sorted(map(tuple, world.rows(table))) for table in (findings, told, held, groups)]
            outcomes.append((world.decisions, rows))
    assert outcomes[0] == outcomes[1], "it keeps nothing to itself"
    assert outcomes[0] == outcomes[2], "how alerts are cut into batches changes nothing"


@settings(max_examples=25)
@given(histories())
def test_without_routes_each_is_told_what_reaches_its_minimum_at_once(steps: Any):
    with World(sinks=SINKS) as world:
        play(world, [step for step in steps if step[0] not in ("silence", "end")])
        for each in world.decisions:
            if each.alert.activity == "resolved":
                continue
            level = each.alert.level_to
            owed = {sink.name: 0 for sink in SINKS if level >= level_named(sink.minimum_level)}
            assert each.owed == owed
            assert each.alert.suppressed == 0


def test_a_transaction_that_is_rolled_back_leaves_nothing():
    with World(sinks=SINKS) as world:
        world.connection.commit()
        alert = world.alert()
        before = world.decide(alert)
        world.connection.rollback()
        assert world.rows(findings) == []
        assert world.decide(alert) == before
        assert world.policy.decide(world.connection, []) == []


def test_more_entities_than_one_statement_takes():
    inhibitions = [Inhibition(name="i"), Inhibition(name="l", equal=("layer",), louder_roles=("target",))]
    with World(inhibitions=inhibitions, sinks=SINKS) as world:
        assert len(world.decide(*(world.alert(f"e{number}") for number in range(2500)))) == 2500
        assert len(world.over(1)) == 2500


def test_summaries_come_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("exporters.policy._MOST_DUE", 4)
    with World([Route(name="r", sinks=("a",))], sinks=SINKS) as world:
        world.silence(0, 10, entity="*")
        world.decide(*(world.alert(f"e{number}", at=1) for number in range(10)))
        assert [len(world.due(at)) for at in (9, 10, 11, 12, 13)] == [0, 4, 4, 2, 0]


def test_a_silence_that_expires_is_registered_once():
    with World(sinks=SINKS) as world:
        world.silence(0, 10, entity="x")
        for at in (9, 10, 11):
            world.due(at)
        entries = [entry for entry in world.register.entries if entry.action == EXPIRED]
        assert [entry.created_at for entry in entries] == [T0 + 10 * S]
        assert [row.over for row in world.rows(silences)] == [True]


def test_late_alerts_and_alerts_of_one_moment_are_kept_apart():
    with World([Route(name="r", sinks=("a",))], sinks=SINKS) as world:
        alerts: list[Alert] = [world.alert(at=0), *(world.alert(at=at) for at in (5, 5, 4))]
        world.decide(*alerts)
        (first,) = world.due(400)
        world.decide(world.alert(at=5))
        (second,) = world.due(400)
        assert (first.alert.suppressed, first.alert.suppressed_since) == (3, T0 + 4 * S)
        assert (second.alert.suppressed, second.alert.suppressed_since) == (1, T0 + 5 * S)
        assert first.alert.id != second.alert.id
