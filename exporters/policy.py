"""Who is told what and when: asked with every alert, and every second for what is due by itself.

Owns which rows a decision needs and that they are written in the caller's transaction, so that alerts and decisions
stand or fall together. It keeps nothing in memory: made anew between any two calls it decides the same. What it says
depends only on the order of the alerts, their own times, and the ``now`` that it is given. Does not own the rules
(``exporters.policy_course``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import sqlalchemy as sa

from exporters.alert import Alert, Decision
from exporters.policy_course import Course, Memory, decode
from exporters.policy_groups import ways
from exporters.policy_inhibition import Louder, rules
from exporters.policy_tables import findings, groups, held, told
from exporters.silences import Silences
from guardian.levels import Level
from guardian.route_settings import Inhibition, Route
from guardian.sink_settings import Sink

_MOST_DUE: Final = 10_000
"""Rows that one call sums up; the next call goes on."""
_KEPT_NS: Final = 86_400 * 10**9
"""How long an ended group is kept: nothing that comes now may claim to be older than what is behind it by more."""


class Policy:
    """Routes, groups, silences, inhibitions, repeat intervals and the life cycle of findings, durably."""

    def __init__(
        self,
        sinks: Sequence[Sink],
        routes: Sequence[Route],
        inhibitions: Sequence[Inhibition],
        silences: Silences,
    ) -> None:
        """Prepare.

        Args:
            sinks: all of them; without routes each is told what reaches its minimum level, at once.
            routes: of the configuration.
            inhibitions: of the configuration.
            silences: those of this instance.
        """
        self._sinks = tuple(sink.name for sink in sinks)
        self._ways = ways(routes, sinks)
        self._rules = rules(inhibitions)
        self._silences = silences

    def decide(self, connection: sa.Connection, fresh: list[Alert]) -> list[Decision]:
        """What becomes of alerts that were not known before, in their order and in the caller's transaction.

        An alert that rises from nothing while its entity's finding is open shows that this was over: then the end
        of that one stands before it, as an alert of its own.
        """
        if not fresh:
            return []
        times = [alert.created_at for alert in fresh]
        entities = {alert.entity for alert in fresh}
        memory = Memory()
        memory.findings.load_in(connection, findings.c.entity, entities)
        keys = {way.key(alert, alert.level_to) for way in self._ways if way.group_by for alert in fresh}
        self._load(connection, memory, keys)
        course = self._course(connection, memory, entities, min(times), max(times))
        decisions = [each for alert in fresh for each in course.take(alert)]
        memory.save(connection)
        return decisions

    def due(self, connection: sa.Connection, now: int) -> list[Decision]:
        """Summaries of what was held back and is due by ``now``; also registers silences that came to their end.

        To be called every second or so, in a transaction. Nanoseconds since 1970.
        """
        self._silences.expire(connection, now)
        ended = sa.and_(groups.c.members == 0, groups.c.ends_at < now - _KEPT_NS)
        connection.execute(groups.delete().where(ended))
        in_force = [each.id for each in self._silences.between(connection, now, now)]
        query = (
            sa.select(held)
            .where(held.c.due_at <= now, held.c.silence.not_in(in_force))
            .order_by(held.c.due_at, held.c.finding, held.c.sink)
            .limit(_MOST_DUE)
        )
        places = [(row["finding"], row["sink"]) for row in connection.execute(query).mappings()]
        if not places:
            return []
        memory = Memory()
        memory.findings.load_in(connection, findings.c.id, (finding for finding, _ in places))
        memory.held.load_in(connection, held.c.finding, (finding for finding, _ in places))
        memory.told.load_in(connection, told.c.finding, (finding for finding, _ in places))
        course = self._course(connection, memory, (), now, now)
        rows = [row for place in places if (row := memory.held.get(*place)) is not None]
        decisions = course.sum_up(rows, {each.id: each for each in memory.findings.all()}, now)
        memory.save(connection)
        return decisions

    def resolve(
        self, connection: sa.Connection, still_open: Callable[[str, str], Level], *, now: int
    ) -> list[Decision]:
        """The ends of findings whose entity has no level any more, in the caller's transaction.

        Args:
            connection: of the caller's transaction.
            still_open: the level of an entity as it stands, by role and name; NONE also if it is not known any more.
            now: when that is, in nanoseconds since 1970.
        """
        known = connection.execute(
            sa.select(findings.c.role, findings.c.entity)
            .where(findings.c.scored)
            .order_by(findings.c.opened_at, findings.c.id)
        ).all()
        over = [(role, entity) for role, entity in known if still_open(role, entity) == Level.NONE]
        if not over:
            return []
        memory = Memory()
        memory.findings.load_in(connection, findings.c.entity, (entity for _, entity in over))
        self._load(connection, memory, ())
        ends = [finding for place in over if (finding := memory.findings.get(*place)) is not None]
        last = max(finding.last_at for finding in ends)
        course = self._course(connection, memory, (), now, max(now, last))
        # Not before its newest alert, whose sender's clock may be ahead.
        decisions = [each for finding in ends for each in course.close(finding, max(now, finding.last_at))]
        memory.save(connection)
        return decisions

    def told_of(self, connection: sa.Connection, sink: str) -> list[Alert]:
        """The newest alert of every open finding that a sink was told of, in the order in which they were opened."""
        query = (
            sa.select(findings.c.alert)
            .join(told, told.c.finding == findings.c.id)
            .where(told.c.sink == sink)
            .order_by(findings.c.opened_at, findings.c.id)
        )
        return [decode(text) for text in connection.execute(query).scalars()]

    def _load(self, connection: sa.Connection, memory: Memory, keys: Iterable[str]) -> None:
        """All that belongs to the findings that were read, and the groups of some keys."""
        ids = [finding.id for finding in memory.findings.all()]
        memory.told.load_in(connection, told.c.finding, ids)
        memory.held.load_in(connection, held.c.finding, ids)
        keys = {*keys, *(row.key for row in memory.told.all())} - {""}
        memory.groups.load_in(connection, groups.c.key, sorted(keys))

    def _course(
        self, connection: sa.Connection, memory: Memory, entities: Iterable[str], first: int, last: int
    ) -> Course:
        return Course(
            memory,
            sinks=self._sinks,
            ways=self._ways,
            silences=self._silences.between(connection, first, last),
            louder=Louder(self._rules, connection, set(entities)),
        )
