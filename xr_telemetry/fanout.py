"""One state told to many headsets: the newest update of each scene, to everyone who keeps up.

Owns who has been told what, and what happens to a connection that does not read. Nothing is queued: a connection with
too much waiting is told nothing new until that is gone, and then only the newest. Measured on two cores (field notes):
one broadcast to 5,000 connections blocks the loop 70–190 ms, hence slices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import structlog
from msgspec import structs
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.protocol import State

from guardian.config import Xr
from xr_telemetry.counts import Counts
from xr_telemetry.envelope import EPOCH, build
from xr_telemetry.scenes import Scene

SLICE: Final = 200
"""Connections told before the loop goes on with other work; about 3 ms."""

CLOSE_SLOW: Final = 4408
"""Close code of a connection that did not read for too long (from the private range; 408 is HTTP's timeout)."""

CLOSE_WITHIN_S: Final = 2.0
"""How long a client may take to agree to a close before its connection is cut."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Listener:
    socket: ServerConnection
    told: int = 0
    """Version up to which it was told."""
    stalled_since: float | None = None
    closing: bool = False


@dataclass(frozen=True, slots=True)
class _Told:
    scene: Scene
    version: int
    frame: bytes


class Fanout:
    """Tells scenes to connections every ``tick_ms``. Belongs to one event loop."""

    def __init__(self, settings: Xr, counts: Counts) -> None:
        self._settings = settings
        self._counts = counts
        self._listeners: dict[ServerConnection, _Listener] = {}
        self._scenes: dict[str, _Told] = {}
        self._version = 0
        self._closing: set[asyncio.Task[None]] = set()

    def publish(self, scenes: Iterable[Scene]) -> None:
        """Make these the newest updates of their scenes. One that differs in its time only is not told again."""
        for scene in scenes:
            known = self._scenes.get(scene.scene_id)
            if known is not None and _untimed(known.scene) == _untimed(scene):
                continue
            self._version += 1
            frame = build("guardian_update", scene, at=scene.updated_at, scene_id=scene.scene_id)
            self._scenes[scene.scene_id] = _Told(scene, self._version, frame)

    def join(self, socket: ServerConnection) -> None:
        """Tell a connection all scenes now, and changes from now on."""
        listener = self._listeners[socket] = _Listener(socket)
        self._tell([listener])

    def leave(self, socket: ServerConnection) -> None:
        """Tell a connection nothing more."""
        self._listeners.pop(socket, None)

    async def run(self) -> None:
        """Tell what changed, tick by tick, until cancelled."""
        while True:
            await asyncio.sleep(self._settings.tick_ms / 1000)
            listeners = list(self._listeners.values())
            for first in range(0, len(listeners), SLICE):
                try:
                    self._tell(listeners[first : first + SLICE])
                except Exception:  # noqa: BLE001  (logged; one bad slice must not silence the others for ever)
                    _log.exception("xr_fanout_failed")
                await asyncio.sleep(0)

    async def stop(self) -> None:
        """Wait for the connections that are being closed."""
        if self._closing:
            await asyncio.wait(self._closing)

    def _tell(self, listeners: list[_Listener]) -> None:
        now = asyncio.get_running_loop().time()
        ready: dict[int, list[ServerConnection]] = {}
        for listener in listeners:
            if listener.closing or listener.socket.state is not State.OPEN:
                continue
            behind = listener.told < self._version
            if listener.socket.transport.get_write_buffer_size() > self._settings.max_buffer_bytes:
                self._counts.held_back += behind
                self._stalled(listener, now)
                continue
            listener.stalled_since = None
            if behind:
                ready.setdefault(listener.told, []).append(listener.socket)
                listener.told = self._version
        for told, sockets in ready.items():
            for scene in self._scenes.values():
                if scene.version > told:
                    broadcast(sockets, scene.frame, text=True)
                    self._counts.sent += len(sockets)
                    self._counts.sent_bytes += len(sockets) * len(scene.frame)

    def _stalled(self, listener: _Listener, now: float) -> None:
        if listener.stalled_since is None:
            listener.stalled_since = now
        elif now - listener.stalled_since >= self._settings.stall_s:
            listener.closing = True
            self._counts.closed["slow"] += 1
            task = asyncio.create_task(hang_up(listener.socket, CLOSE_SLOW, "slow"))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


async def hang_up(socket: ServerConnection, code: int, reason: str) -> None:
    """Close a connection, by force if its client does not take part.

    The library's ``close`` alone is not enough: it first waits, without a limit, for room in the buffer of a client
    that does not read.
    """
    try:
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await socket.close(code, reason)
    except TimeoutError:
        socket.transport.abort()


def _untimed(scene: Scene) -> Scene:
    return structs.replace(scene, updated_at=EPOCH)
