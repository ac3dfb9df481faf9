"""Syslog over TCP or TLS, octet counting (RFC 6587, 3.4.1; RFC 5425, 4.3).

Owns framing and what "delivered" can mean here. Does not own the connection (``exporters.sinks.connection``) nor the
messages, which are whole RFC 5424 ones.

The protocol has no acknowledgements. What is done about that: a batch is delivered once the receiver's machine has
acknowledged every byte and has not closed the connection; anything else sends the whole batch again, with the same
ids. At the end each side says that it is (close_notify, FIN), so nothing under way is thrown away. The newest messages
(1 MiB) are kept until a connection ends in order: one that is reset had something unread, which is gone with it, so
they are sent again over the next one. Without that, killing rsyslog six times under full load lost 300 messages of
23,000 by TCP and 426 by TLS, all of them acknowledged by TCP; with it, none.

What remains **at most once**: what is unread beyond that 1 MiB when a receiver is killed, what is unread when this
process ends at the same time, and what a receiver read and did not store. Where that matters, use RELP. A receiver
also cuts what exceeds its own limit (rsyslog: 8 KiB unless ``maxMessageSize`` says otherwise) without a word.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

from exporters.sinks.connection import (
    HELD_BYTES,
    Connection,
    check_fingerprint,
    connect,
    dial,
    meaning,
    tls_context,
)
from guardian.errors import DeliveryError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import Syslog

_PIECE_BYTES: Final = 256 * 1024
"""Written at once: what is copied for TLS, and waits in this process, is not much more."""
_KEPT_BYTES: Final = 2**20
"""Of what was delivered: sent again when its connection does not end in order."""


class SyslogSink:
    """One receiver. Connects when there is something to send, and stays connected."""

    def __init__(self, settings: Syslog) -> None:
        self._settings = settings
        self._place = f"{settings.host}:{settings.port}"
        self._connection: Connection | None = None
        self._kept: deque[bytes] = deque()
        """Pieces that a reset of the connection would take with it, if the receiver has not read them …"""
        self._kept_on: Connection | None = None
        """… and the connection they went over; on another one they are owed."""
        self._log = structlog.get_logger("guardian.delivery").bind(sink=settings.name)

    async def write(self, messages: Sequence[Message]) -> Answers:
        """Send all messages; returns once the receiver's machine has them.

        Takes at most ``timeout_s`` to connect and as long again to send.

        Raises:
            RetryError: no connection, or it ended or stood still; how much arrived is not known.
            HoldError: its certificate is not trusted, or it refuses ours.
        """
        try:
            connection = await self._connected()
            owed = [] if connection is self._kept_on else list(self._kept)
            pieces = _pieces(messages)
            async with asyncio.timeout(self._settings.timeout_s):
                for piece in (*owed, *pieces):
                    await connection.send(piece)
                await connection.acknowledged()
                self._check_silence(connection)
        except OSError as error:
            self._abort()
            raise meaning(error, self._place) from None
        except BaseException:
            # In the middle of a frame, perhaps: what follows on this connection would be read as the rest of it.
            self._abort()
            raise
        self._keep(connection, pieces)
        return Answers()

    async def close(self) -> None:
        """End the connection in order."""
        if self._kept and (self._connection is None or self._connection.over):
            # What went over a connection that was reset since.
            with contextlib.suppress(DeliveryError):
                await self.write([])
        if self._connection is not None:
            await self._connection.finish(self._settings.timeout_s)
            self._forget_read()
            self._connection = None
        if self._kept:
            self._log.warning("the receiver may not have read the last messages", bytes=self._kept_bytes())

    async def _connected(self) -> Connection:
        if self._connection is not None and not self._connection.over:
            return self._connection
        self._abort()
        settings = self._settings
        tls = settings.transport == "tls"
        pinned = bool(settings.fingerprints)
        context = await asyncio.to_thread(tls_context, settings, pinned=pinned) if tls else None
        async with asyncio.timeout(settings.timeout_s):
            sock = await dial(settings.host, settings.port, settings.timeout_s)
            connection = await connect(sock, settings.host, context, settings.timeout_s)
            self._connection = connection
            if tls and pinned:
                check_fingerprint(connection.certificate(), settings.fingerprints)
            await connection.settled()
        return connection

    def _keep(self, connection: Connection, pieces: list[bytes]) -> None:
        self._kept_on = connection
        self._kept += pieces
        while len(self._kept) > 1 and self._kept_bytes() > _KEPT_BYTES:
            self._kept.popleft()

    def _kept_bytes(self) -> int:
        return sum(map(len, self._kept))

    def _forget_read(self) -> None:
        """What went over a connection that ended in order was read."""
        if self._connection is not None and self._connection is self._kept_on and self._connection.read_all:
            self._kept.clear()

    def _check_silence(self, connection: Connection) -> None:
        """A receiver that has said so much is not listened to any more, so that its end would go unheard."""
        if len(connection.received) >= HELD_BYTES:
            raise RetryError(f"{self._place}: it talks; is it a syslog receiver?")

    def _abort(self) -> None:
        self._forget_read()
        if self._connection is not None:
            self._connection.abort()
            self._connection = None


def _pieces(messages: Sequence[Message]) -> list[bytes]:
    """The frames of messages, joined up to a size."""
    pieces, frames, size = [], [], 0
    for message in messages:
        frames.append(b"%d %s" % (len(message.body), message.body))
        size += len(frames[-1])
        if size >= _PIECE_BYTES:
            pieces.append(b"".join(frames))
            frames, size = [], 0
    return [*pieces, b"".join(frames)] if frames else pieces
