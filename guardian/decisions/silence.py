"""Silencing: a person says which alerts nobody is to be told of, from when until when, and why.

Owns the request and its record. Does not own its effect (``exporters.policy``) nor where it is kept
(``exporters.silences``). A silence changes no score and no level, unlike an acknowledgement: what happens is still
seen, counted and summed up, only not sent.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from guardian.decisions.acknowledgement import MAX_NAME, Kind, Reason, Until, nanoseconds
from guardian.decisions.record import RoleName, iso
from guardian.decisions.request import decode
from guardian.errors import Problem, RequestError
from guardian.units import LayerName, LevelName

LONGEST_NS: Final = 366 * 86_400 * 10**9
"""Nobody remembers a silence that is older; what is benign for good is acknowledged instead."""

MATCHERS: Final = ("role", "entity", "layer", "channel", "kind")

Pattern = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_NAME,
        description="a name of 1 to 512 characters, where * stands for any characters and ? for one",
    ),
]
Owner = Annotated[
    str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z", description="a name")
]
Channel = Literal[
    "novelty",
    "rarity",
    "burst",
    "persistence",
    "seasonal",
    "multivariate",
    "rule",
    "failure",
    "fan_out",
    "value",
    "sequence",
    "pairing",
    "context",
    "delivery",
]
"""``delivery`` is that of Guardian's alerts about its own sinks."""


class SilenceRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The body of ``POST /api/v1/silences``. An alert must fit all that is given."""

    role: RoleName | None = None
    entity: Pattern | None = None
    layer: LayerName | None = None
    channel: Channel | None = None
    """One of the alert's reasons is of this channel."""
    kind: Kind | None = None
    """One of the alert's reasons is of this kind."""
    level_at_most: LevelName = "critical"
    """A louder alert is told all the same."""
    owner: Owner | None = None
    """Whom to ask; by default whoever sends this."""
    reason: Reason
    starts_at: Until | None = None
    """By default at once."""
    ends_at: Until


class Silence(Struct, frozen=True, kw_only=True, rename="camel"):
    """One silence. Names, reason and owner are free text and may hold personal data. Times in nanoseconds since 1970."""

    id: str
    role: RoleName | None
    entity: str | None
    """A name, or a pattern with ``*`` and ``?``."""
    layer: LayerName | None
    channel: str | None
    kind: str | None
    level_at_most: LevelName
    owner: str
    reason: str
    starts_at: int
    ends_at: int
    """Not silenced any more at this time."""
    created_at: int


def request(body: bytes | dict[str, object]) -> SilenceRequest:
    """Read a request.

    Raises:
        RequestError: it is not usable; every problem is listed by its key path.
    """
    read = decode(SilenceRequest, body)
    if all(getattr(read, name) is None for name in MATCHERS):
        # One slip would make everything quiet.
        raise RequestError([Problem("(body)", f"at least one of {', '.join(MATCHERS)}", "none of them")])
    return read


def decide(request: SilenceRequest, *, record_id: str, actor_id: str, now: int) -> Silence:
    """The record of a request; ``now`` in nanoseconds since 1970.

    Raises:
        RequestError: it would end before it begins, has ended already or lasts too long.
    """
    starts_at = now if request.starts_at is None else max(now, nanoseconds(request.starts_at))
    ends_at = nanoseconds(request.ends_at)
    if not starts_at < ends_at <= starts_at + LONGEST_NS:
        expected = f"a time after {iso(starts_at)} and at most 366 days later"
        raise RequestError([Problem("endsAt", expected, request.ends_at.isoformat())])
    return Silence(
        id=record_id,
        role=request.role,
        entity=request.entity,
        layer=request.layer,
        channel=request.channel,
        kind=request.kind,
        level_at_most=request.level_at_most,
        owner=request.owner or actor_id,
        reason=request.reason.strip(),
        starts_at=starts_at,
        ends_at=ends_at,
        created_at=now,
    )
