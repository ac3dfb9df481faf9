"""Which route an alert takes, which group it belongs to, and when that is told.

Owns matching and the times of flushes, as Alertmanager's dispatcher describes them: the first alert of a group waits,
what gathers meanwhile is told with it, later alerts are told an interval after the flush before, for as long as the
group has members. Pure; does not own what is remembered (``exporters.policy_tables``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from exporters.alert import Alert
from exporters.policy_tables import Group
from guardian.levels import Level, level_named
from guardian.route_settings import Route
from guardian.sink_settings import Sink

DEFAULT_INTERVAL_S: Final = 300.0
"""How often what was held back is summed up while no routes are given."""


@dataclass(frozen=True, slots=True)
class Way:
    """One route, as decisions need it. Times in nanoseconds."""

    name: str
    minimum: Level
    roles: frozenset[str]
    layers: frozenset[int]
    sinks: tuple[str, ...]
    group_by: tuple[str, ...]
    wait: int
    interval: int
    repeat: int

    def takes(self, alert: Alert, level: Level) -> bool:
        """Whether an alert goes this way at a level."""
        return (
            level >= self.minimum
            and (not self.roles or alert.role in self.roles)
            and (not self.layers or alert.layer in self.layers)
        )

    def key(self, alert: Alert, level: Level) -> str:
        """The group of an alert; empty = each is told by itself."""
        if not self.group_by:
            return ""
        return msgspec.json.encode([_part(alert, level, name) for name in self.group_by]).decode()

    def flush(self, group: Group, at: int) -> int:
        """When what joins a group at a time is told."""
        first = group.opened_at + self.wait
        if at <= first:
            return first
        return first + -(-(at - first) // self.interval) * self.interval

    def is_over(self, group: Group, at: int) -> bool:
        """Whether an alert at a time opens its group anew: all members are over, or a clock went wrong before.

        A sender whose clock is ahead must not make others wait until then.
        """
        ended = group.members == 0 and at > group.ends_at
        return ended or group.opened_at - at > self.wait + self.interval


def ways(routes: Sequence[Route], sinks: Sequence[Sink]) -> tuple[Way, ...]:
    """The routes; without any, one to each sink from its minimum level on, where nothing gathers or repeats."""
    if not routes:
        return tuple(
            Way(
                name="",
                minimum=level_named(sink.minimum_level),
                roles=frozenset(),
                layers=frozenset(),
                sinks=(sink.name,),
                group_by=(),
                wait=0,
                interval=_nanoseconds(DEFAULT_INTERVAL_S),
                repeat=0,
            )
            for sink in sinks
        )
    return tuple(
        Way(
            name=route.name,
            minimum=level_named(route.minimum_level),
            roles=frozenset(route.roles),
            layers=frozenset(int(layer[1:]) for layer in route.layers),
            sinks=route.sinks,
            group_by=route.group_by,
            wait=_nanoseconds(route.group_wait_s),
            interval=_nanoseconds(route.group_interval_s),
            repeat=_nanoseconds(route.repeat_interval_s),
        )
        for route in routes
    )


def _part(alert: Alert, level: Level, name: str) -> Any:
    match name:
        case "level":
            return level.word
        case "channel" | "kind":
            strongest = max(alert.reasons, key=lambda reason: reason.get("contribution", 0.0), default={})
            return strongest.get(name, "")
        case "route":
            return ""
    return getattr(alert, name)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
