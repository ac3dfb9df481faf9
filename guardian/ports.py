"""The two protocols at the edges: where bodies come from, and where what we say goes.

A ``Source`` is one method and a ``Sink`` is two. ``guardian.run`` holds the one table from a configured type to its
constructor; there are no base classes, registries or plugins.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple, Protocol

from guardian.errors import DeliveryError
from guardian.journal.records import Record
from guardian.levels import Level


class Source(Protocol):
    """Something that delivers bodies, each with the position at which it goes on."""

    def deliveries(self, resume: bytes | None) -> AsyncGenerator[Record, None]:
        """Yield bodies in order, from just behind the position ``resume`` (None = there is none yet).

        When the next one is asked for, the last one is durable together with its position: only then is a broker
        told. After a crash the source begins again at the position of the last durable one.
        """
        ...


class Message(NamedTuple):
    """One alert as it is sent: rendered, with what a sink needs to know about it."""

    id: str
    """The same in every attempt: a receiver that can tells a repetition by it."""
    finding: str
    """What it tells about: the same from its opening to its end."""
    at: int
    """When the alert was raised, nanoseconds since 1970."""
    level: Level
    body: bytes
    """In the sink's form, without a newline at its end."""


class Answers(NamedTuple):
    """What became of messages that were sent together; whatever is not named was taken."""

    refused: Mapping[str, DeliveryError] = {}
    """By id: RetryError, HoldError or PoisonError."""
    duplicates: int = 0
    """How many of those taken the receiver had already."""


class Sink(Protocol):
    """Something that takes what we say and keeps it."""

    async def write(self, messages: Sequence[Message]) -> Answers:
        """Deliver messages; return only once the receiver has durably what is not named as refused.

        Idempotent by the messages' ids as far as the receiver allows.

        Raises:
            RetryError, HoldError, PoisonError: about all of them; the caller keeps them.
        """
        ...

    async def close(self) -> None:
        """Release connections. Nothing that ``write`` returned for is lost."""
        ...
