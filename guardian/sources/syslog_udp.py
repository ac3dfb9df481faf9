"""Syslog in datagrams.

Owns the socket and what waits between it and the journal: at most ``queue_bytes`` and one body. While that is full the
socket is not read; what the kernel then drops is counted from its own counter, so that overload costs no time here.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Final

from guardian.journal.records import Record
from guardian.source_settings import SyslogUdp
from guardian.sources.framing import mark
from guardian.sources.gathering import BODY_BYTES, Gathering, gathered, refused

_AT_ONCE: Final = 256
"""Datagrams read before the loop turns to others."""
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_DROPS: Final = 8
_MEMINFO: Final = struct.Struct("9I")
"""As in linux/sock_diag.h; the last one is SK_MEMINFO_DROPS."""


class SyslogUdpSource:
    """A listener; ``count`` hears ``message_cut``, ``empty`` and ``dropped_by_kernel``."""

    def __init__(self, settings: SyslogUdp, count: Callable[[str, int], None]) -> None:
        self._settings = settings
        self._count = count
        self._bodies: deque[bytearray] = deque()
        self._held = 0
        self._peer = ""
        self._dropped = 0
        self._reading = False
        self._buffer = bytearray(settings.max_message_bytes + 1)
        self.address: tuple[str, int] = ("", 0)
        """Where it listens, once it does."""

    async def deliveries(self, resume: bytes | None) -> AsyncGenerator[Record, None]:  # noqa: ARG002  (syslog does not repeat)
        """Bodies of the datagrams that came.

        Raises:
            MachineError: the address is not to be had.
        """
        settings = self._settings
        gathering = Gathering()
        loop = asyncio.get_running_loop()
        with await self._bound() as sock:
            self.address = sock.getsockname()[:2]
            try:
                while True:
                    if not self._reading and self._held < settings.queue_bytes:
                        self._reading = True
                        loop.add_reader(sock, self._read, sock, gathering)
                    await gathering.ready()
                    body = bytes(self._bodies.popleft())
                    self._held -= len(body)
                    self._peer = self._peer if self._bodies else ""
                    gathering.holds(self._held, enough=self._held >= BODY_BYTES)
                    yield gathered(body, settings.name, settings.timezone)
                    self._count_dropped(sock)
            finally:
                self._stop(sock)
                self._count_dropped(sock)

    async def _bound(self) -> socket.socket:
        settings = self._settings
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                settings.host, settings.port, type=socket.SOCK_DGRAM
            )
            family, kind, protocol, _, address = found[0]
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            raise refused(settings.name, settings.host, settings.port, error) from None
        try:
            sock.setblocking(False)
            try:
                sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, settings.receive_buffer_bytes)
            except OSError:  # not privileged
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.receive_buffer_bytes)
            sock.bind(address)
        except OSError as error:
            sock.close()
            raise refused(settings.name, settings.host, settings.port, error) from None
        return sock

    def _read(self, sock: socket.socket, gathering: Gathering) -> None:
        limit = self._settings.max_message_bytes
        view = memoryview(self._buffer)
        for _ in range(_AT_ONCE):
            try:
                size, sender = sock.recvfrom_into(view)
            except OSError:  # nothing more, or an error of an earlier answer, of which there is none
                break
            if size > limit:
                size = limit
                self._count("message_cut", 1)
            if not size:
                self._count("empty", 1)
                continue
            self._add(view[:size], sender[0])
            if self._held >= self._settings.queue_bytes:
                self._stop(sock)
                break
        gathering.holds(self._held, enough=self._held >= BODY_BYTES)

    def _add(self, message: memoryview, peer: str) -> None:
        if not self._bodies or len(self._bodies[-1]) >= BODY_BYTES:
            self._bodies.append(bytearray())
            self._peer = ""
        body = self._bodies[-1]
        before = len(body)
        if peer != self._peer:
            body += mark(peer)
            self._peer = peer
        body += b"%d " % len(message)
        body += message
        self._held += len(body) - before

    def _stop(self, sock: socket.socket) -> None:
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(sock)

    def _count_dropped(self, sock: socket.socket) -> None:
        try:
            told = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:  # a kernel older than 4.12, or one that only looks like Linux
            return
        dropped = _MEMINFO.unpack(told.ljust(_MEMINFO.size, b"\0"))[_DROPS]
        if more := (dropped - self._dropped) & 0xFFFFFFFF:
            self._count("dropped_by_kernel", more)
        self._dropped = dropped
