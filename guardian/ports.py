"""The two protocols at the edges: where bodies come from, and where what we say goes.

A ``Source`` is one method and a ``Sink`` is two. ``guardian.run`` holds the one table from a configured type to its
constructor; there are no base classes, registries or plugins.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, TypeVar

from guardian.journal.records import Record

Item_contra = TypeVar("Item_contra", contravariant=True)


class Source(Protocol):
    """Something that delivers bodies, each with the position at which it goes on."""

    def deliveries(self, resume: bytes | None) -> AsyncGenerator[Record, None]:
        """Yield bodies in order, from just behind the position ``resume`` (None = there is none yet).

        When the next one is asked for, the last one is durable together with its position: only then is a broker
        told. After a crash the source begins again at the position of the last durable one.
        """
        ...


class Sink(Protocol[Item_contra]):
    """Something that takes what we say and keeps it."""

    async def write(self, items: Sequence[Item_contra]) -> None:
        """Deliver all items; return only once the receiver has them durably.

        Idempotent by the items' ids: writing an item twice is the same as once. Raises when the receiver did not
        take all of them; the caller keeps them and tries again.
        """
        ...

    async def close(self) -> None:
        """Release connections. Nothing that ``write`` returned for is lost."""
        ...
