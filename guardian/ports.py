"""The two protocols at the edges: where batches come from, and where what we say goes.

A ``Source`` is one method and a ``Sink`` is two. ``guardian.run`` holds the one table from a configured type to its
constructor; there are no base classes, registries or plugins.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, TypeVar

import pyarrow as pa

Item_contra = TypeVar("Item_contra", contravariant=True)


class Source(Protocol):
    """Something that delivers batches of events, each with the position to resume after it."""

    def deliveries(self, resume: bytes | None) -> AsyncIterator[tuple[pa.RecordBatch, bytes]]:
        """Yield ``(batch, position)`` in order, from just after ``resume`` (None = from the start).

        The caller owes nothing but order: it stores ``position`` together with the effects of ``batch``. A batch
        that was yielded but whose position was not stored is yielded again after a restart.
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
