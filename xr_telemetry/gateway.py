"""The XR gateway: a WebSocket server on its own port, path ``/ws/xr``.

Owns who may connect, the greeting, the gauge of connections and the orderly end. What a client says is a
``Conversation``; what everybody is told is the ``Fanout``.

A client is known by a bearer token: in the ``Authorization`` header, or, since browsers cannot set one, in a first
message ``{"type": "authenticate", "payload": {"token": …}}``; the same message renews it later. Never in the URL.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
import secrets
import socket as sockets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Origin

from guardian.config import Xr
from guardian.errors import MachineError, MessageError
from xr_telemetry.conversation import Conversation, Speaker
from xr_telemetry.counts import Counts
from xr_telemetry.envelope import AUTHENTICATE, PATH, PROTOCOL, Message, build, moment, parse
from xr_telemetry.fanout import Fanout, hang_up
from xr_telemetry.frames import MAX_FRAMES
from xr_telemetry.intake import Intake
from xr_telemetry.scenes import Scene

AUTHENTICATE_WITHIN_S: Final = 5.0
DRAIN_S: Final = 2.0
"""At the end, how long a client may take to read the answers that it is owed."""

KERNEL_BUFFER_BYTES: Final = 128 * 1024
"""What the kernel may hold for one connection; left to itself it grows to megabytes for one that does not read."""

UNAUTHENTICATED, FULL, FAILED, GOING_AWAY = 1008, 1013, 1011, 1001

_LOOPBACK_ORIGIN: Final = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")
_log = structlog.get_logger(__name__)

# The library logs a traceback for each broken handshake of a stranger; ours are logged where they happen.
_quiet = logging.getLogger("xr_telemetry.websockets")
_quiet.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token stands for."""

    user: str
    expires_at: float | None = None
    """Seconds since 1970; then the connection is closed unless it was renewed. None = never."""


class Gateway:
    """Takes XR messages and tells scenes. Belongs to the event loop that started it.

    Args:
        settings: the ``[xr]`` section.
        authenticate: the identity of a token, or None. Without it only this machine may connect.
        ingest: returns once the NDJSON body it is given is durable; what it raises is answered with ``error``
            (:class:`~guardian.errors.JournalFullError` with the time to wait).
        clock: nanoseconds since 1970.
    """

    def __init__(
        self,
        settings: Xr,
        *,
        ingest: Callable[[bytes], Awaitable[None]],
        authenticate: Callable[[str], Identity | None] | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.counts = Counts()
        self._settings = settings
        self._authenticate = authenticate
        self._clock = clock
        self._intake = Intake(ingest)
        self._fanout = Fanout(settings, self.counts)
        self._admitted = 0
        """Connections that have a place, also while they authenticate."""
        self._conversations: set[Conversation] = set()
        self._server: Server | None = None
        self._telling: asyncio.Task[None] | None = None
        self._expired: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """Open, authenticated connections: the gauge ``tamv_xr_gateway_connections``."""
        return len(self._conversations)

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port (a free one for 0).

        Raises:
            MachineError: the port cannot be had, or the host is not of this machine and nobody would authenticate.
        """
        if self._authenticate is None and not _is_loopback(host):
            raise MachineError(
                f"xr gateway: {host} is reachable by others; configure tokens or use 127.0.0.1"
            )
        origins: list[Origin | re.Pattern[str] | None] = [None, _LOOPBACK_ORIGIN]
        origins += [Origin(origin) for origin in self._settings.origins]
        try:
            self._server = await serve(
                self._handle,
                host,
                port,
                origins=origins,
                compression=None,  # measured: twice the CPU and four times the memory a connection
                process_request=_screen,
                server_header=None,
                open_timeout=5,
                close_timeout=2,
                # Past the limit of settings the client is told; past this the library closes with 1009.
                max_size=4 * self._settings.max_message_bytes,
                max_queue=4,
                write_limit=self._settings.max_buffer_bytes,
                logger=_quiet,
            )
        except OSError as error:
            raise MachineError(
                f"xr gateway: cannot listen on {host}:{port}: {error.strerror or error}"
            ) from None
        self._telling = asyncio.create_task(self._fanout.run())
        bound: int = next(iter(self._server.sockets)).getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Finish what was taken, close every connection with 1001, and return once all is durable."""
        if self._telling is not None:
            self._telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._telling
            self._telling = None
        if self._server is not None:
            answered = [asyncio.create_task(each.answered()) for each in self._conversations]
            if answered:
                _, late = await asyncio.wait(answered, timeout=DRAIN_S)
                for task in late:
                    task.cancel()
            self._server.close(close_connections=False)
            await asyncio.gather(
                *(hang_up(each, GOING_AWAY, "going away") for each in self._server.connections)
            )
            await self._server.wait_closed()
            self._server = None
        await self._fanout.stop()
        await self._intake.idle()

    def publish(self, scenes: Iterable[Scene]) -> None:
        """Make these the newest updates of their scenes; everybody is told within a tick. Never waits."""
        self._fanout.publish(scenes)

    async def _handle(self, socket: ServerConnection) -> None:
        if self._admitted >= self._settings.max_connections:
            await self._turn_away(socket, FULL, "full", "no room for another connection")
            return
        self._admitted += 1
        try:
            await self._admit(socket)
        except ConnectionClosed:
            pass  # while it was being greeted
        except Exception:  # noqa: BLE001  (logged; the client is told, the others are not concerned)
            _log.exception("xr_connection_failed")
            await hang_up(socket, FAILED, "internal error")
        finally:
            self._admitted -= 1

    async def _admit(self, socket: ServerConnection) -> None:
        address = str(socket.remote_address[0])
        identity = Identity("") if self._authenticate is None else await self._identify(socket)
        if identity is None:
            await self._turn_away(socket, UNAUTHENTICATED, "authentication", "authentication failed")
            return
        speaker = Speaker(address, identity.user, f"xr-{secrets.token_hex(8)}")
        alarm = _Alarm(lambda: self._expire(socket), self._clock)
        alarm.set(identity)

        def renew(message: Message) -> None:
            """Take a newer token of the same user."""
            if self._authenticate is None:
                return
            newer = self._known(message.payload.get("token"))
            if newer is None or newer.user != speaker.user:
                raise MessageError("bad_token", "payload.token: expected a valid token of the same user")
            alarm.set(newer)

        conversation = Conversation(
            socket,
            speaker,
            settings=self._settings,
            intake=self._intake,
            counts=self.counts,
            clock=self._clock,
            renew=renew,
        )
        self._conversations.add(conversation)
        try:
            raw = socket.transport.get_extra_info("socket")
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, KERNEL_BUFFER_BYTES)
            await socket.send(self._welcome(speaker), text=True)
            self._fanout.join(socket)
            await conversation.run()
        finally:
            self._conversations.discard(conversation)
            self._fanout.leave(socket)
            alarm.cancel()

    async def _identify(self, socket: ServerConnection) -> Identity | None:
        header = socket.request.headers.get("Authorization", "") if socket.request else ""
        scheme, _, token = header.partition(" ")
        if scheme:
            return self._known(token.strip()) if scheme.lower() == "bearer" else None
        try:
            async with asyncio.timeout(AUTHENTICATE_WITHIN_S):
                message = parse(await socket.recv(decode=False))
        except (TimeoutError, MessageError):
            return None
        return self._known(message.payload.get("token")) if message.type == AUTHENTICATE else None

    def _known(self, token: object) -> Identity | None:
        """The identity of a token that has not expired."""
        if self._authenticate is None or not isinstance(token, str) or not token:
            return None
        identity = self._authenticate(token)
        if identity is None or (
            identity.expires_at is not None and identity.expires_at * 1e9 <= self._clock()
        ):
            return None
        return identity

    def _welcome(self, speaker: Speaker) -> bytes:
        payload = {
            "protocol": PROTOCOL,
            "tickMs": self._settings.tick_ms,
            "windowS": self._settings.window_s,
            "limits": {
                "messageBytes": self._settings.max_message_bytes,
                "messagesPerS": self._settings.messages_per_s,
                "framesPerMessage": MAX_FRAMES,
            },
        }
        return build("welcome", payload, at=moment(self._clock()), session_id=speaker.session)

    async def _turn_away(self, socket: ServerConnection, code: int, reason: str, words: str) -> None:
        self.counts.closed[reason] += 1
        await hang_up(socket, code, words)

    def _expire(self, socket: ServerConnection) -> None:
        task = asyncio.create_task(
            self._turn_away(socket, UNAUTHENTICATED, "expired", "the token has expired")
        )
        self._expired.add(task)
        task.add_done_callback(self._expired.discard)


class _Alarm:
    """Calls once when the newest identity expires."""

    def __init__(self, ring: Callable[[], None], clock: Callable[[], int]) -> None:
        self._ring = ring
        self._clock = clock
        self._handle: asyncio.TimerHandle | None = None

    def set(self, identity: Identity) -> None:
        self.cancel()
        if identity.expires_at is not None:
            left_s = identity.expires_at - self._clock() / 1e9
            self._handle = asyncio.get_running_loop().call_later(max(left_s, 0.0), self._ring)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


def _screen(socket: ServerConnection, request: Request) -> Response | None:
    if request.path.partition("?")[0] != PATH:
        return socket.respond(404, f"The XR gateway is at {PATH}.\n")
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
