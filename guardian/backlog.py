"""What is durable and not scored yet: steps in the order of the journal, in bounded memory.

Owns the wait between the journal and the engine. Up to a number of bytes steps are held as they were decoded; past it
nothing is held, and the engine reads the journal from where it stands until it has caught up. So a backlog as large as
the disk costs no memory, and each of its records is read once, whatever its length.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias

import pyarrow as pa

from guardian.ahead import ahead
from guardian.decisions import Acknowledgement
from guardian.decisions.model import ModelSwap

GROUP: Final = 64
"""Steps that may share one transaction …"""
GROUP_EVENTS: Final = 16_384
"""… and the events after which a group ends: what it raised is told no later than they are scored."""

Step: TypeAlias = pa.RecordBatch | Acknowledgement | ModelSwap
"""What one record of the journal means to the engine."""


class Durable(NamedTuple):
    """One record of the journal, decoded."""

    seq: int
    step: Step
    received_at: int = 0
    """Wall clock, nanoseconds since 1970."""
    source: str = ""
    """The source that delivered it; empty = it came by HTTP, or is Guardian's own."""
    position: bytes = b""
    """Where that source goes on after it."""

    @property
    def events(self) -> int:
        """How many events it holds."""
        return len(self.step) if isinstance(self.step, pa.RecordBatch) else 0

    @property
    def size(self) -> int:
        """Bytes that holding it takes, about."""
        return int(self.step.nbytes) if isinstance(self.step, pa.RecordBatch) else 0


class Backlog:
    """The queue in front of the engine. Any thread offers, in rising order; one takes."""

    def __init__(self, read: Callable[[int], Iterator[Durable]], *, limit_bytes: int, taken: int = 0) -> None:
        """Begin behind the record ``taken``; ``read(seq)`` gives every durable record above a number, in order."""
        self._read = read
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._held: deque[Durable] = deque()
        self._taken = taken
        self._newest = taken
        self._behind = False
        """Whether the engine reads from the journal, because more than the limit came."""
        self._reading: Iterator[Durable] | None = None
        self._known = taken
        """The newest record that had been offered when the engine began to read."""
        self._closed = False
        self.events = 0
        """Events that are durable and not taken yet."""
        self.held_bytes = 0

    @property
    def behind(self) -> bool:
        """Whether more has come than is held in memory."""
        return self._behind

    def offer(self, item: Durable) -> None:
        """Queue what has become durable."""
        with self._changed:
            self._newest = item.seq
            self.events += item.events
            if self._behind or (self._held and self.held_bytes + item.size > self._limit_bytes):
                self._behind = True
            else:
                self._held.append(item)
                self.held_bytes += item.size
            self._changed.notify()

    def close(self) -> None:
        """No more will be offered; what was is still taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def groups(self, *, idle_s: float) -> Iterator[list[Durable]]:
        """Everything that was offered, a few at a time; an empty group when nothing came for ``idle_s`` seconds."""
        while True:
            with self._changed:
                if not self._held and not self._behind and not self._closed:
                    self._changed.wait(idle_s)
                group = self._from_memory()
                behind = self._behind
                ended = self._closed and not group and not behind
            if ended:
                return
            yield group if group or not behind else self._from_journal()

    def _from_memory(self) -> list[Durable]:
        group: list[Durable] = []
        events = 0
        while self._held and len(group) < GROUP and events < GROUP_EVENTS:
            item = self._held.popleft()
            self.held_bytes -= item.size
            events += item.events
            group.append(item)
        self._took(group, events)
        return group

    def _from_journal(self) -> list[Durable]:
        group: list[Durable] = []
        events = 0
        if self._reading is None:
            with self._changed:
                self._known = self._newest
            self._reading = ahead(self._read(self._taken))
        for item in self._reading:
            group.append(item)
            events += item.events
            if len(group) == GROUP or events >= GROUP_EVENTS:
                break
        else:
            self._reading = None
        with self._changed:
            self._took(group, events)
            if self._reading is None and not group:
                # What was offered before the reader began and is not there is damage, which the reader has told. What was
                # offered since may only have come too late for it.
                self._taken = max(self._taken, self._known)
            if self._newest == self._taken:
                self.events = 0
            # What is durable may be read before it is offered, and must not be held and taken again then.
            self._behind = self._reading is not None or self._newest != self._taken
        return group

    def _took(self, group: list[Durable], events: int) -> None:
        if group:
            self._taken = group[-1].seq
            self.events -= events
