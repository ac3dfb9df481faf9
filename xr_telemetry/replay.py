"""Plays a motion file to a gateway, as a headset would: raw frames over ``/ws/xr``, at their own pace or faster.

Owns the client's side of the socket. A message is answered before the next is sent, so frames stay in order when one
has to be sent again; each window therefore becomes durable exactly once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from guardian.errors import MachineError
from xr_telemetry.envelope import FRAMES, build, moment
from xr_telemetry.frames import payload
from xr_telemetry.recordings import Chunk, MotionFile

ATTEMPTS: Final = 100
"""How often one message is sent while the gateway asks to come back later."""

LATER: Final = frozenset({"busy", "rate_limited", "unavailable"})
PAUSE_S: Final = 0.1


@dataclass(slots=True)
class Replayed:
    """What came of a replay."""

    recordings: int = 0
    frames: int = 0
    messages: int = 0
    windows: int = 0
    """Windows that the gateway says are durable."""
    updates: int = 0
    """``guardian_update`` messages heard meanwhile."""
    repeated: int = 0
    """Messages sent again because the gateway asked to come back later."""
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows of the file that were not sent, per reason."""


async def replay(
    url: str,
    path: str | Path,
    *,
    speed: float = 1.0,
    token: str = "",
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
) -> Replayed:
    """Play a file to the gateway at ``url``, ``speed`` times as fast as it was recorded, without gaps in between.

    Raises:
        InputError: the file is not a motion file.
        MachineError: the gateway cannot be reached, refuses, goes away, or stays busy.
    """
    file = MotionFile(path)
    told = Replayed()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with connect(url, compression=None, additional_headers=headers) as socket:
            player = _Player(socket, told, sleep)
            started, played_s = clock(), 0.0
            last: Chunk | None = None
            for chunk in file.chunks():
                if last is not None and chunk.recording != last.recording:
                    await player.end(last)
                    last = None
                if last is None:
                    told.recordings += 1
                    previous_s = float(chunk.frames.t[0])
                else:
                    previous_s = float(last.frames.t[-1])
                played_s += max(0.0, float(chunk.frames.t[-1]) - previous_s)
                ahead_s = started + played_s / speed - clock()
                if ahead_s > 0:
                    await sleep(ahead_s)
                await player.send(FRAMES, _frames(chunk), chunk)
                told.frames += len(chunk.frames)
                last = chunk
            if last is not None:
                await player.end(last)
    except ConnectionClosed as error:
        raise MachineError(f"xr gateway {url}: it closed the connection ({error})") from None
    except (OSError, InvalidHandshake, InvalidURI, TimeoutError) as error:
        raise MachineError(f"xr gateway {url}: {error}") from None
    told.dropped = Counter(file.rejects.reasons)
    return told


class _Player:
    """Sends one message after another and hears what comes back."""

    def __init__(
        self, socket: ClientConnection, told: Replayed, sleep: Callable[[float], Awaitable[Any]]
    ) -> None:
        self._socket = socket
        self._told = told
        self._sleep = sleep

    async def send(self, kind: str, body: dict[str, Any], chunk: Chunk) -> None:
        message = build(kind, body, at=moment(chunk.last_ns), session_id=chunk.recording)
        self._told.messages += 1
        for _ in range(ATTEMPTS):
            await self._socket.send(message, text=True)
            answer = await self._answer()
            self._told.windows += answer.get("windows", 0)
            reason = answer.get("reason")
            if reason in LATER:
                self._told.repeated += 1
                await self._sleep(answer.get("retryAfterS", PAUSE_S))
                continue
            if reason is not None:
                self._told.refused[reason] += 1
            return
        raise MachineError(f"xr gateway: still busy after {ATTEMPTS} attempts")

    async def end(self, chunk: Chunk) -> None:
        """Say that a recording is over, which closes its last window."""
        who = {} if chunk.subject is None else {"userId": chunk.subject}
        await self.send("session_ended", who, chunk)

    async def _answer(self) -> dict[str, Any]:
        while True:
            message = msgspec.json.decode(await self._socket.recv())
            if message["type"] in {"event_received", "error"}:
                answer: dict[str, Any] = message["payload"]
                return answer
            self._told.updates += message["type"] == "guardian_update"


def _frames(chunk: Chunk) -> dict[str, Any]:
    who = {} if chunk.subject is None else {"userId": chunk.subject}
    return payload(chunk.frames) | who
