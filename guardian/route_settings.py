"""The ``[[routes]]`` and ``[[inhibitions]]`` tables of ``guardian.toml``: which alert goes to whom, and when.

Owns their settings, defaults and what no single value can say about itself. Does not own reading the file
(``guardian.config``) nor the decisions (``exporters.policy``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from guardian.errors import Problem
from guardian.units import LayerName, LevelName, Name

RoleName = Literal["actor", "address", "target", "session"]
GroupKey = Literal["route", "role", "entity", "layer", "level", "channel", "kind"]
"""What alerts of one group have in common; channel and kind are those of the strongest reason."""
EqualKey = Literal["role", "entity", "layer"]

_Wait = Annotated[float, Meta(ge=0, le=86_400, description="seconds, 0 to 86400")]
_Interval = Annotated[float, Meta(ge=1, le=86_400, description="seconds, 1 to 86400")]
_Names = Annotated[tuple[str, ...], Meta(min_length=1, description="a list of at least one sink's name")]


class Route(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Some alerts, the sinks that they are owed to, and how they gather. All routes that match an alert count.

    With routes, the minimum level of a sink itself is not asked.
    """

    name: Name
    minimum_level: LevelName = "medium"
    roles: tuple[RoleName, ...] = ()
    """Of these roles; empty = of all."""
    layers: tuple[LayerName, ...] = ()
    """Of these layers; empty = of all, and of none."""
    sinks: _Names
    group_by: tuple[GroupKey, ...] = ()
    """Alerts that agree in these are one group and are told together; empty = each at once. ``route`` alone = all of
    the route are one group. Name ``level`` too, and a rise to another level need not wait for the others."""
    group_wait_s: _Wait = 0.0
    """How long the first alert of a group waits for others …"""
    group_interval_s: _Interval = 300.0
    """… and how far apart later ones are told. Also how often what was held back is summed up."""
    repeat_interval_s: _Wait = 14_400.0
    """After an alert, others of its finding that are no louder are held back for this long and summed up; 0 = never."""


class Inhibition(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """While a louder finding is open, quieter alerts that agree with it are held back and summed up."""

    name: Name
    louder: LevelName = "high"
    """What quiets others has reached this level …"""
    louder_roles: tuple[RoleName, ...] = ()
    """… and is of these roles; empty = of all."""
    quieter: LevelName = "medium"
    """What is held back is at most of this level, and below the louder one's …"""
    quieter_roles: tuple[RoleName, ...] = ()
    """… and of these roles."""
    equal: Annotated[
        tuple[EqualKey, ...], Meta(min_length=1, description="a list of at least one of role, entity, layer")
    ] = ("entity",)
    """What both have in common."""


def problems_across(
    routes: Sequence[Route], inhibitions: Sequence[Inhibition], sinks: Sequence[Any]
) -> Iterator[Problem]:
    """What no single value can say about itself."""
    known = [sink.name for sink in sinks]
    yield from _twice("routes", routes)
    yield from _twice("inhibitions", inhibitions)
    for index, route in enumerate(routes):
        for place, name in enumerate(route.sinks):
            if name not in known:
                yield Problem(f"routes[{index}].sinks[{place}]", "the name of a sink", f'"{name}"')
    reached = {name for route in routes for name in route.sinks} | {sink.fallback for sink in sinks}
    for index, name in enumerate(known if routes else ()):
        if name not in reached:
            # It would be told nothing, ever, and nobody would notice.
            yield Problem(f"sinks[{index}].name", "a route to it, or a sink whose fallback it is", "neither")


def _twice(key: str, tables: Sequence[Route] | Sequence[Inhibition]) -> Iterator[Problem]:
    names = [each.name for each in tables]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(f"{key}[{index}].name", "a name of its own", f'"{name}"')
