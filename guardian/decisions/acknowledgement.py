"""Acknowledging: a person says that one kind of event at one entity is benign, for how long, and why.

Owns the request, its record as bytes of the journal, and what it asks of the engine. Does not own its effect on a risk
(``guardian.engine``) nor where it is kept (``exporters.records``). Acknowledge and snooze do the same to the engine;
a snooze must say when it ends.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Protocol, runtime_checkable

import msgspec
from msgspec import Meta, Struct

from guardian.decisions.record import Acknowledgement, AcknowledgementAction, RoleName, iso
from guardian.decisions.request import decode
from guardian.errors import BodyError, Problem, RequestError

CONTENT_TYPE: Final = "application/vnd.tamv-guardian.acknowledgement+json"
"""Content type of an acknowledgement in the journal. No route takes it: only a decision becomes one."""

MAX_NAME: Final = 512
"""Characters of a name; no event carries a longer one."""
MAX_REASON: Final = 1000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END: Final = datetime(2262, 1, 1, tzinfo=UTC)
"""64 bits of nanoseconds end in April of that year."""
_CONTROLS: Final = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
"""Control characters but tab and line feed, and those that turn the direction of what is read after them."""

_A_TIME: Final = "a time in ISO 8601 with its zone, such as 2026-01-31T18:00:00Z"
_A_REASON: Final = f"text of 1 to {MAX_REASON} characters, without control characters"

Entity = Annotated[str, Meta(min_length=1, max_length=MAX_NAME, description="a name of 1 to 512 characters")]
Kind = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_NAME,
        pattern=r"^(?!\*\Z)",
        description="the name of one kind, of 1 to 512 characters; not *, which stands for all of them",
    ),
]
Reason = Annotated[
    str,
    Meta(
        max_length=MAX_REASON,
        pattern=rf"^(?=[\s\S]*\S)[^{_CONTROLS}]*\Z",
        description=_A_REASON,
    ),
]
Until = Annotated[datetime, Meta(tz=True, description=_A_TIME)]


class AcknowledgementRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The body of ``POST /api/v1/acknowledgements``.

    Neither the entity nor the kind need be known yet. A misspelt key would silence for longer than meant, so unknown
    keys are refused.
    """

    role: RoleName
    entity: Entity
    kind: Kind
    action: AcknowledgementAction
    reason: Reason
    until: Until | None = None


@runtime_checkable
class Acknowledging(Protocol):
    """The part of the engine that acknowledgements reach. Times in nanoseconds since 1970."""

    def acknowledge(self, role: str, entity: str, kind: str, *, until: int | None, at: int) -> None:
        """Let events of a kind at an entity add nothing to its risk until event time ``until``; None = for good."""
        ...

    def withdraw(self, role: str, entity: str, kind: str, *, at: int) -> None:
        """End that."""
        ...


def request(body: bytes | dict[str, Any]) -> AcknowledgementRequest:
    """Read a request.

    Raises:
        RequestError: it is not usable; every problem is listed by its key path.
    """
    read = decode(AcknowledgementRequest, body)
    if read.action == "snooze" and read.until is None:
        raise RequestError([Problem("until", f"{_A_TIME}, since the action is snooze", "nothing")])
    if read.action == "withdraw" and read.until is not None:
        raise RequestError([Problem("until", "nothing, since the action is withdraw", "a time")])
    if read.until is not None and read.until >= _END:
        raise RequestError([Problem("until", "a time before 2262, or none at all", f"{read.until.year}")])
    return read


def decide(request: AcknowledgementRequest, *, record_id: str, actor_id: str, now: int) -> Acknowledgement:
    """The record of a request; ``now`` in nanoseconds since 1970.

    Raises:
        RequestError: it would have ended before it began.
    """
    until = None if request.until is None else nanoseconds(request.until)
    if until is not None and until <= now:
        raise RequestError([Problem("until", f"a time after {iso(now)}", request.until.isoformat())])  # type: ignore[union-attr]  # not None: until would be
    return Acknowledgement(
        id=record_id,
        actor_id=actor_id,
        role=request.role,
        entity=request.entity,
        kind=request.kind,
        action=request.action,
        until=until,
        reason=request.reason.strip(),
        created_at=now,
    )


def nanoseconds(at: datetime) -> int:
    """A moment with its zone, in nanoseconds since 1970.

    >>> nanoseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000000
    """
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def apply(record: Acknowledgement, engine: Acknowledging) -> None:
    """Tell the engine."""
    name = (record.role, record.entity, record.kind)
    if record.action == "withdraw":
        engine.withdraw(*name, at=record.created_at)
    else:
        engine.acknowledge(*name, until=record.until, at=record.created_at)


def to_bytes(record: Acknowledgement) -> bytes:
    """The record as its body in the journal."""
    return msgspec.json.encode(record)


def from_bytes(body: bytes) -> Acknowledgement:
    """The record of a body in the journal.

    Raises:
        BodyError: the body is none.
    """
    try:
        return msgspec.json.decode(body, type=Acknowledgement)
    except msgspec.MsgspecError:
        raise BodyError(400, "not_an_acknowledgement", "expected the record of an acknowledgement") from None
