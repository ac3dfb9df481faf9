"""Syslog over TCP and TLS.

Owns connections: how many, how long they may be silent or unfinished, and in what turn they are read. What waits is
bounded: ``queue_bytes`` and one piece in all, and beside it one unfinished message a connection. A connection whose
share is full is not read until its messages were taken; they are taken in turn, so that a noisy one delays itself only.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Final, cast

from guardian.errors import MachineError
from guardian.journal.records import Record
from guardian.source_settings import SyslogTcp
from guardian.sources.framing import Framer, mark
from guardian.sources.gathering import BODY_BYTES, Gathering, gathered, refused

_PIECE_BYTES: Final = 64 * 1024
SHARE_BYTES: Final = 64 * 1024
"""What one connection may have waiting before it is not read any more; a single piece may exceed it."""


class SyslogTcpSource:
    """A listener.

    ``count`` hears ``message_cut``, ``too_many_connections``, ``tls_handshake`` (failed) and ``stalled`` (a message
    that was not finished in time, with its connection).
    """

    def __init__(self, settings: SyslogTcp, count: Callable[[str, int], None]) -> None:
        self.settings = settings
        self.count = count
        self.piece = memoryview(bytearray(_PIECE_BYTES))
        """What is read goes through here, one connection at a time."""
        self.address: tuple[str, int] = ("", 0)
        """Where it listens, once it does."""
        self._connections: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._sockets = 0
        self._waiting: deque[_Connection] = deque()
        self._held = 0
        self._shares = 0
        """Connections that have read as much as they may."""
        self._full = False
        self._gathering = Gathering()

    async def deliveries(self, resume: bytes | None) -> AsyncGenerator[Record, None]:  # noqa: ARG002  (syslog does not repeat)
        """Bodies of the messages that came, those of all connections in turn.

        Raises:
            MachineError: the address is not to be had, or a certificate, key or authority cannot be read.
        """
        settings = self.settings
        self._gathering = Gathering()
        self._sockets = 0
        context = await asyncio.to_thread(self._context)
        with await self._bound() as listener:
            self.address = listener.getsockname()[:2]
            tasks = [
                asyncio.create_task(self._accept(listener, context)),
                asyncio.create_task(self._look_after()),
            ]
            try:
                while True:
                    await self._gathering.ready()
                    yield gathered(self._take(), settings.name, settings.timezone)
            finally:
                tasks += self._opening
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for connection in list(self._connections):
                    connection.abort()
                while self._connections:  # noqa: ASYNC110  (each is gone a few turns of the loop later)
                    await asyncio.sleep(0)

    def _context(self) -> ssl.SSLContext | None:
        settings = self.settings
        if not settings.cert_file:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
            if settings.client_ca_file:
                context.load_verify_locations(settings.client_ca_file)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:  # also what OpenSSL says
            files = ", ".join(filter(None, (settings.cert_file, settings.key_file, settings.client_ca_file)))
            said = "not PEM, or not a pair" if isinstance(error, ssl.SSLError) else error.strerror
            raise MachineError(f"source {settings.name}: cannot use {files}: {said}") from None
        return context

    async def _bound(self) -> socket.socket:
        settings = self.settings
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                settings.host, settings.port, type=socket.SOCK_STREAM
            )
            family, kind, protocol, _, address = found[0]
            listener = socket.socket(family, kind, protocol)
        except OSError as error:
            raise refused(settings.name, settings.host, settings.port, error) from None
        try:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)
        except OSError as error:
            listener.close()
            raise refused(settings.name, settings.host, settings.port, error) from None
        return listener

    async def _accept(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(listener)
            except OSError:  # no file descriptor is left, or the peer has gone again
                await asyncio.sleep(0.1)
                continue
            if self._sockets >= self.settings.max_connections:
                self.count("too_many_connections", 1)
                sock.close()
                continue
            self._sockets += 1
            opening = asyncio.create_task(self._open(sock, peer[0], context))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _open(self, sock: socket.socket, peer: str, context: ssl.SSLContext | None) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        patience = self.settings.stall_s if context else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Connection(self, peer), sock, ssl=context, ssl_handshake_timeout=patience
            )
        except OSError:  # of TLS too, and a timeout
            self.count("tls_handshake", 1)
            self._sockets -= 1
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise

    async def _look_after(self) -> None:
        """Close connections that are silent or do not finish."""
        settings = self.settings
        while True:
            await asyncio.sleep(min(1.0, settings.stall_s / 4, settings.idle_s / 4))
            now = asyncio.get_running_loop().time()
            for connection in list(self._connections):
                if connection.waits:
                    connection.heard_at = connection.began_at = now
                elif connection.framer.unfinished:
                    if now - connection.began_at > settings.stall_s:
                        self.count("stalled", 1)
                        connection.abort()
                elif now - connection.heard_at > settings.idle_s:
                    connection.abort()

    def opened(self, connection: _Connection) -> None:
        """A connection is there."""
        self._connections.add(connection)
        if self._full:
            connection.wait()

    def closed(self, connection: _Connection) -> None:
        """It is gone; what it has waiting is still taken."""
        self._sockets -= 1
        self._connections.discard(connection)

    def put(self, connection: _Connection, frames: bytes) -> None:
        """Take over what a connection has read."""
        if not connection.pending:
            self._waiting.append(connection)
        connection.pending += frames
        self._held += len(frames)
        if len(connection.pending) >= SHARE_BYTES > len(connection.pending) - len(frames):
            self._shares += 1
            connection.wait()
        if not self._full and self._held >= self.settings.queue_bytes:
            self._full = True
            for each in self._connections:
                each.wait()
        self._gathering.holds(self._held, enough=self._held >= BODY_BYTES or self._shares > 0)

    def _take(self) -> bytes:
        body = bytearray()
        peer = ""
        while self._waiting and len(body) < BODY_BYTES:
            connection = self._waiting.popleft()
            if connection.peer != peer:
                peer = connection.peer
                body += mark(peer)
            body += connection.pending
            self._held -= len(connection.pending)
            self._shares -= len(connection.pending) >= SHARE_BYTES
            connection.pending = bytearray()
            if not self._full:
                connection.go_on()
        if self._full and self._held <= self.settings.queue_bytes // 2:
            self._full = False
            for each in self._connections:
                if len(each.pending) < SHARE_BYTES:
                    each.go_on()
        self._gathering.holds(self._held, enough=self._held >= BODY_BYTES or self._shares > 0)
        return bytes(body)


class _Connection(asyncio.BufferedProtocol):
    """One connection: its unfinished message, and what waits to be taken."""

    def __init__(self, source: SyslogTcpSource, peer: str) -> None:
        self._source = source
        self._transport: asyncio.Transport | None = None
        self.peer = peer
        self.framer = Framer(source.settings.max_message_bytes)
        self.pending = bytearray()
        self.heard_at = self.began_at = asyncio.get_running_loop().time()
        self.waits = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, but not by inheritance
        self._source.opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  (there is one size)
        return self._source.piece

    def buffer_updated(self, nbytes: int) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        began = self.framer.unfinished
        frames = self.framer.feed(self._source.piece[:nbytes])
        if frames or not began:
            self.began_at = self.heard_at
        self._give(frames)

    def eof_received(self) -> None:
        self._give(self.framer.finish())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (gone is gone)
        self._give(self.framer.finish())
        self._source.closed(self)

    def _give(self, frames: bytes) -> None:
        if self.framer.cut:
            self._source.count("message_cut", self.framer.cut)
            self.framer.cut = 0
        if frames:
            self._source.put(self, frames)

    def wait(self) -> None:
        """Read no more for now."""
        if not self.waits and self._transport is not None and not self._transport.is_closing():
            self.waits = True
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self.waits and self._transport is not None and not self._transport.is_closing():
            self.waits = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close it now."""
        if self._transport is not None:
            self._transport.abort()
