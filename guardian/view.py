"""What the engine shows: one consistent reading of the state, for metrics, the API, the page and headsets.

Owns the shape, and how reasons read on one line. ``Engine.view()`` fills it; whoever shows it adds nothing but layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from guardian import texts
from guardian.levels import Level, level_of

ALL_KINDS: Final = "*"
"""The kind of a reason that is about events of any kind, such as a burst."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A guardian score and its level."""

    score: float
    level: Level


@dataclass(frozen=True, slots=True)
class Reason:
    """One part of a score; the contributions of all reasons sum to the score."""

    channel: str
    contribution: float
    kind: str
    event: int
    without: float
    """The score that would stand without this channel."""

    @property
    def level_without(self) -> Level:
        """The level that would stand without this channel."""
        return level_of(self.without)


def told(reasons: Sequence[Reason], language: texts.Language, *, most: int = 3) -> str:
    """The strongest reasons of one score on one line, safe for a terminal.

    The strongest also says which level would stand without its channel, where that is another one.

    >>> told([Reason("rule", 60.0, "login", 4, 23.5), Reason("context", 4.0, "", -1, 60.0)], "en")
    'rule 60.0 (login; without it, low); context 4.0'
    """
    level = level_of(round(sum(each.contribution for each in reasons), 9))  # a sum of floats may miss an edge
    parts: list[str] = []
    for each in sorted(reasons, key=lambda reason: -reason.contribution)[:most]:
        about = [texts.plain(each.kind)] if each.kind not in ("", ALL_KINDS) else []
        if not parts and each.level_without != level:
            word = texts.text(f"levels.{each.level_without.word}", language)
            about.append(texts.text("cli.without", language, level=word))
        channel = texts.text(f"page.channel_{each.channel}", language)
        parts.append(f"{channel} {each.contribution:.1f}" + (f" ({'; '.join(about)})" if about else ""))
    return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A kind at an entity that a person declared benign, until an event time (nanoseconds since 1970) or for good."""

    role: str
    entity: str
    kind: str
    until: int | None


@dataclass(frozen=True, slots=True)
class EntityView:
    """One entity as it stands: how threatened, since when, and why."""

    role: str
    entity: str
    score: float
    level: Level
    first_seen: int
    """Event time of its first event, nanoseconds since 1970."""
    last_seen: int
    events: int
    layer: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class View:
    """The whole ecosystem as it stands at ``updated_at`` (event time, nanoseconds since 1970)."""

    score: float
    level: Level
    updated_at: int
    events: int
    """Events folded into the state since it was created, each exactly once."""
    late: int
    layers: dict[str, Standing]
    """``L0`` … ``L7`` of every layer that has been seen."""
    protocols: dict[str, Standing]
    """Per protocol id, for protocols that have been seen."""
    top: tuple[EntityView, ...]
    """The entities with the highest scores, over all roles, highest first."""
    entities: dict[str, int] = field(default_factory=dict)
    """Live entities per role."""
    evicted: dict[str, int] = field(default_factory=dict)
    """Forgotten entries per table (roles, kinds, pairs, templates), because the table was full."""
