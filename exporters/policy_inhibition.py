"""Louder findings that keep quieter alerts back while they are open.

Owns the test. Does not own the findings (``exporters.policy_tables``) nor what becomes of an alert that is held back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from exporters.alert import Alert
from exporters.policy_tables import Finding, cut, findings
from guardian.levels import Level, level_named
from guardian.route_settings import EqualKey, Inhibition


@dataclass(frozen=True, slots=True)
class Rule:
    """One inhibition, as decisions need it."""

    louder: Level
    louder_roles: frozenset[str]
    quieter: Level
    quieter_roles: frozenset[str]
    equal: tuple[EqualKey, ...]

    def shared(self, of: Alert | Finding) -> tuple[Any, ...]:
        """What a finding and an alert must have in common."""
        return tuple(getattr(of, name) for name in self.equal)


def rules(inhibitions: Sequence[Inhibition]) -> tuple[Rule, ...]:
    """The inhibitions of a configuration."""
    return tuple(
        Rule(
            louder=level_named(each.louder),
            louder_roles=frozenset(each.louder_roles),
            quieter=level_named(each.quieter),
            quieter_roles=frozenset(each.quieter_roles),
            equal=each.equal,
        )
        for each in inhibitions
    )


class Louder:
    """How many open findings of which peak may keep alerts back, by what an alert must have in common with them."""

    def __init__(self, known: Sequence[Rule], connection: sa.Connection, entities: Collection[str]) -> None:
        """Count the open findings that alerts about some entities may meet."""
        self._rules = known
        self._open: dict[tuple[int, tuple[Any, ...]], list[int]] = {}
        for number, rule in enumerate(known):
            shared = [findings.c[name] for name in rule.equal]
            query = (
                sa.select(findings.c.peak, sa.func.count(), *shared)
                .where(findings.c.peak >= rule.louder)
                .group_by(findings.c.peak, *shared)
            )
            if rule.louder_roles:
                query = query.where(findings.c.role.in_(rule.louder_roles))
            parts = cut(entities) if "entity" in rule.equal else [None]
            for part in parts:
                asked = query if part is None else query.where(findings.c.entity.in_(part))
                for peak, count, *values in connection.execute(asked):
                    self._at(number, tuple(values))[peak] += count

    def note(self, finding: Finding, change: int) -> None:
        """A finding is open (1) or is not any more as it was (−1)."""
        for number, rule in enumerate(self._rules):
            if finding.peak >= rule.louder and (not rule.louder_roles or finding.role in rule.louder_roles):
                self._at(number, rule.shared(finding))[finding.peak] += change

    def holds_back(self, alert: Alert, level: Level) -> bool:
        """Whether a louder finding keeps an alert of a level back."""
        return any(
            level <= rule.quieter
            and (not rule.quieter_roles or alert.role in rule.quieter_roles)
            and any(self._at(number, rule.shared(alert))[level + 1 :])
            for number, rule in enumerate(self._rules)
        )

    def _at(self, number: int, shared: tuple[Any, ...]) -> list[int]:
        return self._open.setdefault((number, shared), [0] * len(Level))
