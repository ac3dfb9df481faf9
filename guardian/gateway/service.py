"""What the HTTP face needs from whoever owns the journal, the engine and the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from guardian.decode import Rejected
from guardian.view import EntityView, View

Listed = Literal["alerts", "eoct", "isabella", "protocols", "msr", "bookpi", "xr"]
"""The kept records that can be listed."""

Item = Mapping[str, Any]
"""A record as the API shows it: names in camelCase, values that JSON knows."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one body: how many events are durably accepted, and which lines are none."""

    accepted: int
    rejected: Sequence[Rejected] = ()
    """The first of them."""
    rejected_total: int = 0


class Service(Protocol):
    """The one thing behind the HTTP face. Every method may be called at any time, many at once."""

    @property
    def synthetic(self) -> bool:
        """Whether everything that comes in is made up (``--demo``)."""
        ...

    async def ingest(
        self, *, path: str, content_type: str, encoding: str, map_name: str, body: bytes, sender: str
    ) -> Receipt:
        """Take one body as received; return only once it survives a power cut. ``sender`` is whose turn it takes.

        Raises:
            BodyError: the body is refused as a whole.
            MapError: there is no such map.
            JournalFullError: the sender must come back later.
            JournalError: nothing can be made durable.
        """
        ...

    async def view(self) -> View:
        """The ecosystem as it stands."""
        ...

    async def page(self, name: Listed, *, limit: int, offset: int) -> tuple[Sequence[Item], int]:
        """One page of kept records, newest first with the id as tie-break; and how many there are."""
        ...

    async def entities(self, *, limit: int, offset: int) -> tuple[Sequence[EntityView], int]:
        """One page of live entities; and how many there are."""
        ...

    async def entity(self, role: str, name: str) -> EntityView | None:
        """One entity as it stands; None when it is not known (any more)."""
        ...

    async def evaluate_eoct(self, body: dict[str, Any]) -> Item:
        """Evaluate and keep; the record. Raises RequestError with every problem of the request."""
        ...

    async def decide_isabella(self, body: dict[str, Any]) -> Item:
        """Decide and keep; the record. Raises RequestError with every problem of the request."""
        ...

    async def execute_protocol(self, body: dict[str, Any]) -> Item:
        """Evaluate a protocol's constitution and keep; the record. Raises RequestError."""
        ...

    async def acknowledge(self, body: dict[str, Any]) -> Item:
        """Acknowledge, snooze or withdraw, durably and in effect; the record with the index of its MSR entry.

        Raises:
            RequestError: with every problem of the request.
            JournalFullError: the sender must come back later.
            JournalError: nothing can be made durable.
        """
        ...

    async def acknowledgements(self, *, active: bool, limit: int, offset: int) -> tuple[Sequence[Item], int]:
        """One page of acknowledgements, newest first; ``active`` = only those in force; and how many there are."""
        ...

    async def dead_letters(self, body: dict[str, Any]) -> Item:
        """Do what a request about dead letters says (``guardian.operations.dead_letters``).

        Raises:
            RequestError: it is no such request.
            InputError: it cannot be done; nothing was changed.
        """
        ...

    async def silence(self, body: dict[str, Any]) -> Item:
        """Keep a silence, durably and in effect; the record with the index of its MSR entry. Raises RequestError."""
        ...

    async def silences(self, *, active: bool, limit: int, offset: int) -> tuple[Sequence[Item], int]:
        """One page of silences, newest first; ``active`` = only those in force; and how many there are."""
        ...

    async def end_silence(self, silence_id: str) -> Item | None:
        """End one that is in force or to come, durably; the record. None when there is none."""
        ...

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the form that an Accept header asks for, and their content type."""
        ...

    def ready(self) -> tuple[bool, str]:
        """Whether events can be taken now; if not, why."""
        ...

    async def msr_checkpoint(self) -> str | None:
        """The newest signed checkpoint; None while the log is empty."""
        ...

    async def msr_tile(self, path: str) -> bytes | None:
        """A tile by its path below ``tile/``; None when there is none."""
        ...

    async def msr_proof(self, index: int) -> str | None:
        """The proof that an entry is in the log; None when there is no such entry."""
        ...
