"""Each rule by itself: life cycle, silences, inhibition, repeats, summaries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporters.policy_tables import findings, groups, held, told
from guardian.levels import Level
from guardian.route_settings import Inhibition, Route
from tests.exporters.policy_world import T0, S, World, times

NONE, LOW, MEDIUM, HIGH, CRITICAL = Level
ONE = Route(name="one", sinks=("a",), minimum_level="low", repeat_interval_s=3600.0)
BOTH = Route(name="both", sinks=("a", "b"), minimum_level="low", repeat_interval_s=0.0)


class TestLifeCycle:
    def test_opened_updated_resolved_and_opened_anew(self):
        with World([BOTH]) as world:
            first = world.raised(before=NONE)
            second = world.raised(level=CRITICAL, at=60, before=HIGH)
            assert (first.alert.activity, second.alert.activity) == ("open", "update")
            assert first.alert.finding == second.alert.finding == first.alert.id
            assert world.over(100, "other") == []
            (end,) = world.over(200)
            assert (end.alert.activity, end.alert.level_from, end.alert.level_to) == (
                "resolved",
                CRITICAL,
                NONE,
            )
            assert end.alert.created_at == T0 + 200 * S
            assert end.alert.identity == first.alert.id
            assert len({first.alert.id, second.alert.id, end.alert.id}) == 3
            assert times(end) == {"a": 0, "b": 0}
            assert world.over(300) == []
            again = world.raised(at=400, before=NONE)
            assert (again.alert.activity, again.alert.finding) == ("open", again.alert.id)

    def test_a_rise_from_nothing_shows_that_what_was_open_is_over(self):
        with World([BOTH]) as world:
            first = world.raised(before=NONE)
            end, second = world.decide(world.alert(at=700, before=NONE))
            assert (end.alert.activity, end.alert.finding) == ("resolved", first.alert.id)
            assert (second.alert.activity, second.alert.finding) == ("open", second.alert.id)
            assert end.alert.created_at == second.alert.created_at

    def test_the_same_name_in_two_roles_is_two_findings(self):
        with World([BOTH]) as world:
            world.raised(role="address")
            assert world.raised(role="actor").alert.activity == "open"
            assert len(world.over(10)) == 2

    def test_the_end_is_not_before_the_newest_alert(self):
        with World([BOTH]) as world:
            world.raised(at=500)
            (end,) = world.over(100)
            assert end.alert.created_at == T0 + 500 * S

    def test_the_end_goes_to_those_who_were_told(self):
        with World() as world:  # b takes high and above
            world.raised(level=MEDIUM, before=NONE)
            (end,) = world.over(10)
            assert times(end) == {"a": 0}
            world.raised(level=LOW, at=20, before=NONE)
            (unheard,) = world.over(30)
            assert (dict(unheard.owed), unheard.suppressed) == ({}, {"a", "b"})

    def test_what_is_no_engines_is_not_resolved_by_levels(self):
        with World([BOTH]) as world:
            opened = world.raised(event=-1, before=NONE, entity="guardian:sink:x")
            assert world.over(10) == []
            end = world.alert("guardian:sink:x", NONE, 20, before=HIGH, event=-1, activity="resolved")
            (ended,) = world.decide(end)
            assert (ended.alert.id, ended.alert.finding) == (end.id, opened.alert.id)
            assert times(ended) == {"a": 0, "b": 0}
            # One whose opening nobody remembers goes to whom that would have gone.
            (lost,) = world.decide(replace(end, id="f" * 32, finding="x"))
            assert (times(lost), lost.alert.finding) == ({"a": 0, "b": 0}, "x")

    def test_nothing_is_left_once_all_is_over(self):
        with World([BOTH]) as world:
            world.raised()
            world.over(5)
            assert [world.rows(table) for table in (findings, told, held, groups)] == [[], [], [], []]


class TestRepeats:
    def test_what_is_no_louder_waits_and_is_summed_up(self):
        with World([ONE]) as world:
            world.raised(at=0)
            for at in (60, 120, 180):
                repeated = world.raised(at=at, level=MEDIUM if at == 120 else HIGH)
                assert (dict(repeated.owed), repeated.suppressed) == ({}, {"a", "b"})
            assert world.due(359.9) == []
            (summary,) = world.due(360)
            assert times(summary) == {"a": 0}
            told_of = summary.alert
            assert (told_of.suppressed, told_of.suppressed_since) == (3, T0 + 60 * S)
            assert (told_of.activity, told_of.level_to) == ("update", HIGH)
            assert told_of.finding == world.decisions[0].alert.id
            assert world.due(10_000) == []

    def test_a_rise_passes_and_so_does_what_comes_later(self):
        with World([ONE]) as world:
            world.raised(at=0, level=MEDIUM)
            assert times(world.raised(at=1, level=HIGH)) == {"a": 0}
            assert times(world.raised(at=2, level=HIGH)) == {}
            assert times(world.raised(at=3, level=CRITICAL)) == {"a": 0}
            assert times(world.raised(at=3602.9, level=CRITICAL)) == {}
            assert times(world.raised(at=3603, level=LOW)) == {"a": 0}
            # What counts is what was told last: it is louder than that.
            assert times(world.raised(at=3604, level=MEDIUM)) == {"a": 0}

    def test_a_summary_says_where_the_finding_stands(self):
        with World([ONE]) as world:
            world.raised(at=0, level=MEDIUM)
            world.raised(at=10, level=MEDIUM)
            world.raised(at=20, level=CRITICAL)
            (summary,) = world.due(400)
            assert (summary.alert.suppressed, summary.alert.level_to) == (1, CRITICAL)

    def test_the_end_carries_what_was_held_back(self):
        with World([ONE]) as world:
            world.raised(at=0)
            world.raised(at=10)
            world.raised(at=20)
            (end,) = world.over(30)
            assert (end.alert.activity, end.alert.suppressed, end.alert.suppressed_since) == (
                "resolved",
                2,
                T0 + 10 * S,
            )
            assert world.due(10_000) == []

    def test_a_clock_that_was_ahead_makes_nothing_a_repetition(self):
        with World([ONE]) as world:
            world.raised(at=86_000)
            assert times(world.raised(at=0)) == {"a": 0}

    def test_sinks_that_missed_something_else_are_told_ends_of_their_own(self):
        quiet = Route(name="quiet", sinks=("b",), minimum_level="high", repeat_interval_s=3600.0)
        with World([ONE, quiet]) as world:
            world.raised(at=0)
            world.raised(at=10, level=MEDIUM)
            world.raised(at=20, level=HIGH)
            ends = world.over(30)
            assert {sink: end.alert.suppressed for end in ends for sink in end.owed} == {"a": 2, "b": 1}
            assert len({end.alert.id for end in ends}) == 2
            assert {end.alert.identity for end in ends} == {world.decisions[0].alert.id}


class TestSilences:
    def test_what_it_is_about_is_summed_up_when_it_ends(self):
        with World([BOTH]) as world:
            world.silence(0, 100, entity="e")
            assert times(world.raised(at=10)) == {}
            assert times(world.raised(at=20)) == {}
            assert times(world.raised("other", at=20)) == {"a": 0, "b": 0}
            assert world.due(99) == []
            (summary,) = world.due(100)
            assert times(summary) == {"a": 0, "b": 0}
            assert (summary.alert.suppressed, summary.alert.activity) == (2, "update")
            assert times(world.raised(at=100)) == {"a": 0, "b": 0}
            assert len(world.over(200, "e")) == 1

    def test_ended_early(self):
        with World([BOTH]) as world:
            silence = world.silence(0, 1000, role="address")
            world.raised(at=10)
            assert world.due(50) == []
            world.end(silence, 60)
            (summary,) = world.due(60)
            assert summary.alert.suppressed == 1

    def test_the_next_one_goes_on(self):
        with World([BOTH]) as world:
            world.silence(0, 100, kind="login")
            world.silence(90, 200, channel="rule")
            world.raised(at=10)
            assert world.due(100) == []
            assert world.due(199) == []
            assert len(world.due(200)) == 1

    def test_a_louder_alert_passes_only_above_its_level(self):
        with World([ONE]) as world:
            world.silence(0, 100, layer="L5", level_at_most="high")
            assert times(world.raised(at=10, level=MEDIUM)) == {}
            assert times(world.raised(at=20, level=HIGH)) == {}, (
                "a rise does not pass one that names its level"
            )
            assert times(world.raised(at=30, level=CRITICAL)) == {"a": 0}

    def test_who_was_told_hears_of_the_end(self):
        with World([BOTH]) as world:
            world.raised(at=0)
            world.silence(5, 1000, entity="*")
            world.raised(at=10)
            (end,) = world.over(20)
            assert times(end) == {"a": 0, "b": 0}
            assert end.alert.suppressed == 1
            assert world.due(2000) == []

    def test_who_was_told_nothing_hears_of_it_all_at_once_later(self):
        with World([BOTH]) as world:
            world.silence(0, 1000, entity="?")
            world.raised(at=10)
            world.raised(at=15)
            (end,) = world.over(20)
            assert (dict(end.owed), end.suppressed) == ({}, {"a", "b"})
            world.raised(at=30, before=NONE)  # another finding of the same entity
            later, other = sorted(world.due(1000), key=lambda each: each.alert.activity)
            assert (later.alert.activity, later.alert.level_to, later.alert.suppressed) == (
                "resolved",
                NONE,
                3,
            )
            assert later.alert.identity != other.alert.identity
            assert (other.alert.activity, other.alert.suppressed) == ("update", 1)
            assert times(later) == times(other) == {"a": 0, "b": 0}
            assert world.rows(held) == []

    def test_it_holds_without_routes_too(self):
        with World() as world:
            world.silence(0, 100, entity="e")
            assert times(world.raised(at=10)) == {}
            assert world.rows(held)[0].count == 1
            world.raised("f", LOW, 10)  # below every minimum: suppressed, and nobody wants a sum of it
            assert len(world.rows(held)) == 2
            assert [each.alert.entity for each in world.due(100)] == ["e"]

    def test_a_late_alert_of_its_time_is_summed_up_at_once(self):
        with World([BOTH]) as world:
            world.silence(0, 100, entity="e")
            assert world.due(150) == []
            assert times(world.raised(at=99)) == {}
            assert len(world.due(151)) == 1


class TestInhibition:
    RULE = Inhibition(name="i")

    def test_a_louder_finding_of_the_same_entity_keeps_quieter_ones_back(self):
        with World([BOTH], [self.RULE]) as world:
            world.raised(level=CRITICAL, role="target")
            assert times(world.raised(level=MEDIUM, at=1, role="address")) == {}
            assert times(world.raised(level=HIGH, at=2, role="address")) == {"a": 0, "b": 0}
            assert times(world.raised("other", level=MEDIUM, at=3)) == {"a": 0, "b": 0}
            (summary,) = world.due(301)
            assert (summary.alert.role, summary.alert.suppressed) == ("address", 1)

    def test_not_any_more_once_it_is_over(self):
        with World([BOTH], [self.RULE]) as world:
            world.raised(level=HIGH, role="target")
            world.over(5)
            assert times(world.raised(level=MEDIUM, at=10, role="address")) == {"a": 0, "b": 0}

    def test_what_was_never_told_is_told_with_its_end(self):
        with World([BOTH], [self.RULE]) as world:
            world.raised(level=HIGH, role="target", entity="e")
            world.raised(level=LOW, at=1, role="session")
            ends = world.over(20)
            assert [(each.alert.role, each.alert.suppressed, times(each)) for each in ends] == [
                ("target", 0, {"a": 0, "b": 0}),
                ("session", 1, {"a": 0, "b": 0}),
            ]

    def test_one_that_ended_in_the_same_batch_keeps_nothing_back(self):
        with World([BOTH], [self.RULE]) as world:
            world.raised(level=CRITICAL, role="target")
            anew = world.alert(level=LOW, at=600, before=NONE, role="target")
            quiet = world.alert(level=MEDIUM, at=601, role="address")
            assert times(world.decide(anew, quiet)[-1]) == {"a": 0, "b": 0}

    @pytest.mark.parametrize("at_once", [True, False])
    def test_within_one_batch_as_between_two(self, at_once: bool):
        with World([BOTH], [self.RULE]) as world:
            loud = world.alert(level=HIGH, role="target")
            quiet = world.alert(level=LOW, at=1, role="session")
            batches = [[loud, quiet]] if at_once else [[loud], [quiet]]
            decided = [each for batch in batches for each in world.decide(*batch)]
            assert [times(each) for each in decided] == [{"a": 0, "b": 0}, {}]


class TestRoutes:
    def test_the_union_of_all_that_match(self):
        routes = [
            Route(name="loud", sinks=("a", "b"), minimum_level="high"),
            Route(name="xr", sinks=("b",), minimum_level="low", layers=("L4",), roles=("session",)),
        ]
        with World(routes) as world:
            assert times(world.raised("1", HIGH)) == {"a": 0, "b": 0}
            assert times(world.raised("2", MEDIUM)) == {}
            assert times(world.raised("3", LOW, layer=4, role="session")) == {"b": 0}
            assert times(world.raised("4", LOW, layer=4)) == {}
            assert times(world.raised("5", LOW, layer=-1, role="session")) == {}
            assert world.rows(held) == [], "what no route takes is counted, and nobody wants a sum of it"

    def test_a_sink_that_is_configured_no_more(self):
        with World([BOTH]) as world:
            world.silence(0, 100, entity="e")
            world.raised(at=1)
            policy = type(world.policy)([], [], [], world.silences)
            assert policy.due(world.connection, T0 + 200 * S) == []
            assert world.rows(held) == []

    def test_a_route_that_is_gone(self):
        grouped = Route(name="g", sinks=("a",), minimum_level="low", group_by=("layer",), group_wait_s=9)
        with World([grouped]) as world:
            world.raised(at=1)
            policy = type(world.policy)([], [], [], world.silences)
            (end,) = policy.resolve(world.connection, lambda *_: NONE, now=T0)
            assert (end.owed, end.suppressed) == ({}, frozenset())
