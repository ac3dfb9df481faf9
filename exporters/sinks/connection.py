"""One TCP or TLS connection to a receiver: what the syslog, RELP and NATS sinks stand on.

Owns connecting within a time, whom to trust, how much of what a receiver says is kept, knowing whether the receiver's
machine has what was sent, an orderly end, and what a failure means. Does not own any protocol spoken over it.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import hmac
import os
import socket
import ssl
import struct
import termios
from typing import Any, Final, cast

from exporters.sinks.credentials import tls
from guardian.errors import DeliveryError, HoldError, MachineError, RetryError

HELD_BYTES: Final = 64 * 1024
"""What a receiver may have said that nobody has read yet; past it, it is not listened to until somebody has."""
SAID_KEPT: Final = 300
"""Characters of an answer that an error repeats."""
FAREWELL_S: Final = 5.0
"""Longest that an end in order may take: a service that stops waits for it."""
_SETTLE_S: Final = 0.2
_POLL_S: Final = 0.0005
_SLOWEST_POLL_S: Final = 0.02
_CONFIGURED: Final = (
    "CERTIFICATE",
    "UNKNOWN_CA",
    "NO_SHARED_CIPHER",
    "PROTOCOL_VERSION",
    "UNSUPPORTED_PROTOCOL",
    "WRONG_VERSION_NUMBER",
    "HANDSHAKE_FAILURE",
    "ACCESS_DENIED",
    "UNRECOGNIZED_NAME",
    "INAPPROPRIATE_FALLBACK",
)
"""In a reason of OpenSSL: what no other attempt changes until a person does."""


class Connection(asyncio.Protocol):
    """One connection. ``received`` is what the receiver said and nobody has taken from it yet."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.received = bytearray()
        self.over = False
        """The receiver closed it, or it broke; nothing more will come or go."""
        self.read_all = False
        """The receiver closed it and had read whatever its machine had acknowledged: one that closes with something
        unread resets instead (RFC 2525, 2.17; Linux and the BSDs do)."""
        self._error: Exception | None = None
        self._transport: asyncio.Transport
        """What is written goes through this …"""
        self._socket_transport: asyncio.Transport
        """… and leaves through this, which is another one with TLS."""
        self._heard = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There it is."""
        self._transport = self._socket_transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)

    def through(self, transport: asyncio.Transport) -> None:
        """Speak TLS from now on."""
        self._transport = transport
        # Not 0: asyncio's TLS pauses at the limit, and not above it, and at 0 stays so.
        transport.set_write_buffer_limits(high=1, low=0)

    def data_received(self, data: bytes) -> None:
        """Keep what the receiver says, up to a limit."""
        self.received += data
        self._heard.set()
        # A receiver with Nagle's algorithm holds its second answer back until the first is acknowledged, which Linux
        # does after 40 ms: 2,300 messages a second to rsyslog by RELP in batches of 100, where it is 53,000 with this.
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if len(self.received) >= HELD_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """The receiver says no more: in none of these protocols does it go on listening then."""
        self.read_all = not self.over
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._end(exc)
        self._gone.set()

    def pause_writing(self) -> None:
        """Something waits in this process."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """All of it is with the kernel."""
        self._writable.set()

    def unheard(self) -> None:
        """Raises OSError when something was said before TLS: by whoever stands in between, and it would be believed."""
        if self.received:
            raise ConnectionAbortedError("the receiver spoke before TLS")

    async def send(self, data: bytes) -> None:
        """Hand bytes to the kernel; returns once none wait in this process.

        Raises:
            OSError: the connection is over.
        """
        self.check()
        if data:
            self._transport.write(data)
        await self._writable.wait()
        self.check()

    async def more(self) -> None:
        """Wait for the receiver to say something more.

        Raises:
            OSError: the connection is over and everything it said was there before.
        """
        self._heard.clear()
        if len(self.received) < HELD_BYTES:
            self._transport.resume_reading()
        if not self.over:
            await self._heard.wait()
        elif self._error is not None:
            raise self._error
        else:
            raise ConnectionResetError("the receiver closed the connection")

    async def acknowledged(self) -> None:
        """Wait until the receiver's machine has acknowledged every byte (TCP). What it then does with them is its own.

        Raises:
            OSError: the connection is over.
        """
        pause = _POLL_S
        while True:
            # Two turns of the loop: uvloop writes at the end of one, and an end that the kernel knows of shows.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.check()
            here = self._transport.get_write_buffer_size() + self._socket_transport.get_write_buffer_size()
            if not here and not self._unacknowledged():
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _SLOWEST_POLL_S)

    async def settled(self) -> None:
        """Wait until a receiver that refuses us would have said so.

        With TLS 1.3 our side of a handshake is over before the receiver looked at our certificate. A session ticket
        says that it took it; one that sends none is given 0.2 s.

        Raises:
            OSError: it did refuse.
        """
        session: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        if session is None or session.version() != "TLSv1.3":
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + _SETTLE_S
        while loop.time() < until and not (session.session and session.session.has_ticket):
            await asyncio.sleep(_POLL_S)
            self.check()

    def check(self) -> None:
        """Raises OSError when the connection is over."""
        if self._error is not None:
            raise self._error
        if self.over:
            raise ConnectionResetError("the receiver closed the connection")

    async def finish(self, timeout_s: float) -> None:
        """End it so that nothing sent is lost: close_notify or FIN, and wait for the receiver's own.

        A socket that is closed while something unread is in it (session tickets, say) is reset, and a reset takes
        what the receiver has not read yet with it: of 20,000 messages rsyslog kept 4,636 and 7,700 then.
        """
        if not self._gone.is_set():
            try:
                async with asyncio.timeout(min(timeout_s, FAREWELL_S)):
                    if self._transport.get_extra_info("ssl_object") is None:  # else close says close_notify
                        self._transport.write_eof()
                        while not self.over:
                            self.received.clear()
                            await self.more()
                    self._transport.close()
                    await self._gone.wait()
                    self.read_all = self._error is None
            except OSError:
                return  # it has ended all the same, or is not going to
            finally:
                self._transport.abort()

    def abort(self) -> None:
        """End it now; what is under way may be lost."""
        self._transport.abort()

    def certificate(self) -> bytes:
        """The receiver's certificate, DER; empty without TLS."""
        session: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return (session.getpeercert(binary_form=True) or b"") if session else b""

    def _unacknowledged(self) -> int:
        """Bytes in the kernel's send queue (SIOCOUTQ)."""
        descriptor = self._sock.fileno()
        if descriptor < 0:
            # uvloop closes it a turn before it says that the connection is over, when TLS breaks off.
            raise ConnectionResetError("the connection broke off")
        (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
        return int(count)

    def _end(self, error: Exception | None) -> None:
        self.over = True
        self._error = self._error or error
        self._heard.set()
        self._writable.set()


async def dial(host: str, port: int, timeout_s: float) -> socket.socket:
    """A connected socket; each address of a name is given its share of the time.

    Raises:
        OSError: none of them answers. TimeoutError is one.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failed: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            async with asyncio.timeout(timeout_s / len(found)):
                await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failed = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failed


async def connect(
    sock: socket.socket, host: str, context: ssl.SSLContext | None, timeout_s: float
) -> Connection:
    """Speak over a socket, through TLS if there is a context. The socket is closed if that fails.

    Raises:
        OSError: no handshake; ssl.SSLError is one.
    """
    loop = asyncio.get_running_loop()
    connection = Connection(sock)
    transport: asyncio.Transport | None = None
    try:
        async with asyncio.timeout(timeout_s):
            transport, _ = await loop.create_connection(lambda: connection, sock=sock)
            if context is not None:
                connection.unheard()
                secured = await loop.start_tls(
                    transport,
                    connection,
                    context,
                    server_hostname=host,
                    ssl_handshake_timeout=timeout_s,
                    ssl_shutdown_timeout=timeout_s,
                )
                if secured is None:
                    raise ConnectionResetError("the receiver closed the connection")  # noqa: TRY301  (as any other)
                connection.unheard()
                connection.through(secured)
    except BaseException:
        if transport is not None:
            transport.abort()
        sock.close()
        raise
    return connection


def tls_context(settings: Any, *, pinned: bool = False) -> ssl.SSLContext:
    """TLS 1.2 or newer; the receiver's certificate and name are checked, unless certificates are ``pinned``.

    Reads the files anew each time, so that a renewed certificate is picked up with the next connection.

    Raises:
        HoldError: a file cannot be used.
    """
    try:
        context = tls(settings)
    except MachineError as error:
        raise HoldError(str(error)) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if pinned:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def check_fingerprint(certificate: bytes, fingerprints: tuple[str, ...]) -> None:
    """Accept a certificate that is listed, as ``sha-256:AB:CD:…`` (RFC 5425, 4.2.2).

    Raises:
        HoldError: it is not; says what its fingerprint is.
    """
    digest = hashlib.sha256(certificate).digest()
    found = "sha-256:" + ":".join(f"{byte:02X}" for byte in digest)
    if not any(hmac.compare_digest(found.lower(), each.lower()) for each in fingerprints):
        raise HoldError(f"the receiver's certificate has the fingerprint {found}, which is not listed")


def meaning(error: BaseException, place: str) -> DeliveryError:
    """What a failure means for what was to be sent: later, or not before a person changes something."""
    if isinstance(error, DeliveryError):
        return error
    if isinstance(error, TimeoutError):
        return RetryError(f"{place}: no answer in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        return HoldError(f"{place}: its certificate: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        reason = error.reason or type(error).__name__
        kind = HoldError if any(word in reason for word in _CONFIGURED) else RetryError
        return kind(f"{place}: TLS: {reason}")
    said = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno:
        # What asyncio says instead of "Connection refused" is where.
        said = os.strerror(error.errno) if error.errno > 0 else error.strerror or said
    return RetryError(f"{place}: {said}"[:SAID_KEPT])
