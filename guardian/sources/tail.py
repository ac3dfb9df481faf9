"""Log files as they grow: whole lines of one file at a time, exactly once over restarts.

Owns what a line is and what a delivery is. Does not own which file is which (``watch``) nor how one is read
(``contents``). Holds one piece of BODY_BYTES; files are read in another thread, one at a time.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import Final

import msgspec

from guardian.decode.bodies import NDJSON_ROUTE
from guardian.decode.mapfile import builtin_map
from guardian.decode.syslog import LINES_TYPE, SYSLOG_ROUTE, TEXT_TYPE, typed
from guardian.errors import StateError
from guardian.journal.records import Record
from guardian.source_settings import FileTail
from guardian.sources.contents import SAMPLE_BYTES, Contents, FileState, digest
from guardian.sources.watch import Position, Watch

BODY_BYTES: Final = 2**20
"""Most that is delivered at once; a longer line is passed over, and counted."""


class FileTailSource:
    """Files that match some patterns.

    ``count`` hears ``line_too_long``, ``broken_archive`` (a compressed file that cannot be read to its end) and
    ``too_many_files`` (one that waits for room).

    Raises:
        MapError: there is no such map.
    """

    def __init__(self, settings: FileTail, count: Callable[[str, int], None]) -> None:
        self._settings = settings
        self._count = count
        host = settings.host or socket.gethostname()
        zone = settings.timezone
        if settings.format == "ndjson":
            builtin_map(settings.map)
            self._kind = (NDJSON_ROUTE, "application/x-ndjson", settings.map)
        elif settings.format == "syslog":
            self._kind = (
                SYSLOG_ROUTE,
                typed(LINES_TYPE, timezone=zone, service=settings.service, host=host),
                "",
            )
        else:
            service = settings.service or settings.name
            self._kind = (SYSLOG_ROUTE, typed(TEXT_TYPE, timezone=zone, service=service, host=host), "")

    async def deliveries(self, resume: bytes | None) -> AsyncGenerator[Record, None]:
        """Whole lines of one file at a time.

        Raises:
            StateError: ``resume`` is not a position of this kind of source.
        """
        settings = self._settings
        tail = _Tail(settings, _position(settings.name, resume), self._count)
        path, content_type, map_name = self._kind
        try:
            if resume is None and settings.start == "end":
                # Where the end was is only known after a restart if somebody keeps it: so, without any line.
                await asyncio.to_thread(tail.look)
                yield Record(
                    path, content_type, "", map_name, time.time_ns(), b"", settings.name, tail.position()
                )
            while True:
                body, position = await asyncio.to_thread(tail.next)
                if not body:
                    await asyncio.sleep(settings.poll_s)
                    continue
                yield Record(path, content_type, "", map_name, time.time_ns(), body, settings.name, position)
        finally:
            await asyncio.to_thread(tail.close)


def _position(name: str, resume: bytes | None) -> Position:
    if resume is None:
        return Position()
    try:
        return msgspec.json.decode(resume, type=Position)
    except msgspec.MsgspecError:
        raise StateError(f"source {name}: its position was not written by a source of files") from None


class _Tail:
    """What the thread does. A lock makes closing wait until it is done."""

    def __init__(self, settings: FileTail, position: Position, count: Callable[[str, int], None]) -> None:
        self._settings = settings
        self._count = count
        self._watch = Watch(
            settings.paths,
            position,
            max_files=settings.max_files,
            at_end=settings.start == "end" and not position.since,
            count=count,
        )
        self._lock = threading.Lock()
        self._open = True
        self._look_at = 0.0

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            self._open = False
            self._watch.close()

    def position(self) -> bytes:
        """What to remember."""
        return msgspec.json.encode(self._watch.position())

    def look(self) -> None:
        """See what became of the files, if it is time to."""
        now = time.monotonic()
        if now >= self._look_at:
            self._watch.look(wall_ns=time.time_ns(), now=now, settle_s=self._settings.settle_s)
            self._look_at = time.monotonic() + self._settings.poll_s

    def next(self) -> tuple[bytes, bytes]:
        """The next lines and the position behind them; none if there are no new ones."""
        with self._lock:
            if not self._open:
                return b"", b""
            self.look()
            states = self._watch.states
            # What was rotated away is older. Of the others none waits for a busy one: it goes to the end.
            for state in sorted(states.values(), key=lambda state: not state.rotated):
                body = self._lines(state)
                if body:
                    if not state.rotated:
                        states[state.identity] = states.pop(state.identity)
                    return body, self.position()
            return b"", b""

    def _lines(self, state: FileState) -> bytes:
        contents = None if state.done else self._watch.contents(state)
        while contents is not None and not state.done:
            try:
                data = contents.read(state.offset, BODY_BYTES)
                # Asked after reading: had the file been replaced before, this would not be its content.
                if not contents.codec and not contents.holds(state):
                    self._watch.doubt(state)
                    return b""
            except OSError:
                self._give_up(state, contents)
                return b""
            if not data:
                if contents.codec:
                    self._watch.finish(state)
                return b""
            size = self._whole(state, contents, data)
            if not size:
                return b""
            passed = state.passing
            state.passing = passed and not data.endswith(b"\n", 0, size)
            if not passed and size == len(data) == BODY_BYTES and b"\n" not in data:
                self._count("line_too_long", 1)
                state.passing = passed = True
            self._advance(state, contents, data[:size])
            if not passed:
                return data[:size]
        return b""

    def _whole(self, state: FileState, contents: Contents, data: bytes) -> int:
        """How much of the data is to be taken now: whole lines, or all that there will be."""
        if state.passing:
            return (data.find(b"\n") + 1) or len(data)
        whole = data.rfind(b"\n") + 1
        if len(data) == BODY_BYTES:
            return whole or len(data)
        if contents.codec:
            return len(data)
        if not whole and state.rotated:
            still = self._watch.still_for(state, contents.size(), time.monotonic())
            return len(data) if still >= self._settings.settle_s else 0
        return whole

    def _advance(self, state: FileState, contents: Contents, taken: bytes) -> None:
        state.offset += len(taken)
        before = taken[-SAMPLE_BYTES:]
        if not contents.codec:
            if len(before) < SAMPLE_BYTES:
                start = max(0, state.offset - SAMPLE_BYTES)
                before = contents.read(start, state.offset - start)
            if state.head_size < SAMPLE_BYTES:
                contents.sample(state)
        state.back_size, state.back = len(before), digest(before)

    def _give_up(self, state: FileState, contents: Contents) -> None:
        """Wait for the rest of an archive that is being written; one that does not grow any more is broken."""
        still = self._watch.still_for(state, contents.size(), time.monotonic())
        if contents.codec and still >= self._settings.settle_s:
            self._count("broken_archive", 1)
            self._watch.finish(state)
