"""Connections to receivers: in time, with bounds, trusted, ended in order, and what each failure means."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from exporters.sinks import connection as module
from exporters.sinks.connection import (
    HELD_BYTES,
    Connection,
    check_fingerprint,
    connect,
    dial,
    meaning,
    tls_context,
)
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.sink_settings import Syslog
from tests.exporters.sinks.conftest import server_context, serving
from tests.guardian.sources.conftest import Certificates

PATIENCE_S = 20.0


async def opened(port: int, context: ssl.SSLContext | None = None) -> Connection:
    sock = await dial("127.0.0.1", port, PATIENCE_S)
    return await connect(sock, "127.0.0.1", context, PATIENCE_S)


async def forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_nobody_there() -> None:
    async with serving(forever) as port:
        pass
    with pytest.raises(ConnectionRefusedError) as caught:
        await dial("127.0.0.1", port, PATIENCE_S)
    assert str(meaning(caught.value, "siem:1")) == "siem:1: Connection refused"
    with pytest.raises(OSError, match=r".*") as unknown:
        await dial("no-such-name.invalid", 1, PATIENCE_S)
    assert isinstance(meaning(unknown.value, "siem:1"), RetryError)


async def test_each_address_of_a_name_is_tried_in_its_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first takes no connection (its queue is full), the second does."""
    with socket.socket() as full, socket.socket() as filler:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [filler, socket.socket(), socket.socket()]
        for each in fillers:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        async with serving(forever) as port:
            loop = asyncio.get_running_loop()

            async def found(*_: Any, **__: Any) -> list[Any]:
                kinds = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
                return [(*kinds, full.getsockname()), (*kinds, ("127.0.0.1", port))]

            class Loop:
                getaddrinfo = staticmethod(found)
                sock_connect = staticmethod(loop.sock_connect)

            monkeypatch.setattr(module.asyncio, "get_running_loop", Loop)
            sock = await dial("siem", port, 0.6)
            assert sock.getpeername()[1] == port
            sock.close()
            monkeypatch.undo()
        for each in fillers:
            each.close()


async def test_a_handshake_that_nobody_answers_ends_in_time(certificates: Certificates) -> None:
    context = ssl.create_default_context(cafile=certificates.file("authority.pem"))
    async with serving(forever) as port:
        sock = await dial("127.0.0.1", port, PATIENCE_S)
        with pytest.raises(OSError, match=r".*") as caught:
            await connect(sock, "127.0.0.1", context, 0.2)
        assert isinstance(meaning(caught.value, "x"), RetryError)
        assert sock._closed


async def test_what_a_receiver_says_is_kept_up_to_a_limit() -> None:
    async def talking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with serving(talking) as port:
        connection = await opened(port)
        while len(connection.received) < HELD_BYTES:
            await connection.more()
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert len(connection.received) < HELD_BYTES + 2**18 + 1, "one read of the event loop more, at most"
        connection.received.clear()
        await connection.more()
        assert connection.received
        connection.abort()


async def test_bytes_that_nobody_reads_are_not_acknowledged() -> None:
    go_on = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        await go_on.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        while await reader.read(65536):
            pass

    async with serving(deaf, limit=1024) as port:
        connection = await opened(port)
        sending = asyncio.create_task(connection.send(b"x" * 2**25))
        await asyncio.wait([sending], timeout=0.2)
        assert not sending.done()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.acknowledged()
        go_on.set()
        async with asyncio.timeout(PATIENCE_S):
            await sending
            await connection.acknowledged()
        connection.abort()


async def test_a_socket_that_is_closed_before_anybody_is_told() -> None:
    """As uvloop does when TLS breaks off."""

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(quiet) as port:
        connection = await opened(port)
        connection._sock = socket.socket()
        connection._sock.close()
        with pytest.raises(ConnectionResetError, match="broke off"):
            await connection.acknowledged()
        connection.abort()


@pytest.mark.parametrize("tls", [False, True])
async def test_an_end_in_order_leaves_nothing_behind(tls: bool, certificates: Certificates) -> None:
    got: list[int] = []
    done = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome, unread")
        size = 0
        while piece := await reader.read(4096):
            size += len(piece)
            await asyncio.sleep(0)
        got.append(size)
        done.set()

    context = server_context(certificates) if tls else None
    client = ssl.create_default_context(cafile=certificates.file("authority.pem")) if tls else None
    async with serving(slow, ssl=context) as port:
        connection = await opened(port, client)
        await connection.send(b"x" * 2**20)
        await connection.finish(PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            await done.wait()
        await connection.finish(PATIENCE_S)
    assert got == [2**20]


@pytest.mark.parametrize("tls", [False, True])
async def test_an_end_that_the_receiver_does_not_answer_ends_in_time(
    tls: bool, certificates: Certificates
) -> None:
    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        await asyncio.Event().wait()

    context = server_context(certificates) if tls else None
    client = ssl.create_default_context(cafile=certificates.file("authority.pem")) if tls else None
    async with serving(stuck, ssl=context) as port:
        connection = await opened(port, client)
        async with asyncio.timeout(PATIENCE_S):
            await connection.finish(0.1)


async def test_an_end_of_the_receiver_is_noticed() -> None:
    async def leaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        await reader.read(1)

    async with serving(leaving) as port:
        connection = await opened(port)
        await connection.send(b"x")
        async with asyncio.timeout(PATIENCE_S):
            while not connection.over:
                await connection.more()
        with pytest.raises(OSError, match=r"closed|reset"):
            await connection.more()
        assert connection.received == b"bye"
        assert connection.over
        for call in (connection.send(b"x"), connection.acknowledged()):
            with pytest.raises(OSError, match=r"closed|reset"):
                await call
        connection.abort()


async def test_what_is_said_before_tls_is_not_believed(certificates: Certificates) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"1 rsp 6 200 OK\n")
        await reader.read(1)
        await reader.read()

    context = ssl.create_default_context(cafile=certificates.file("authority.pem"))
    async with serving(early) as port:
        for _ in range(5):
            with pytest.raises(OSError, match=r"WRONG_VERSION|wrong version|spoke before TLS"):
                await opened(port, context)
    with socket.socket() as sock:
        connection = Connection(sock)
        connection.received += b"1 rsp"
        with pytest.raises(ConnectionAbortedError, match="spoke before TLS"):
            connection.unheard()


def test_fingerprints() -> None:
    digest = hashlib.sha256(b"certificate").hexdigest()
    listed = "sha-256:" + ":".join(digest[at : at + 2] for at in range(0, 64, 2))
    check_fingerprint(b"certificate", ("sha-256:" + "00:" * 31 + "00", listed))
    check_fingerprint(b"certificate", (listed.upper(),))
    with pytest.raises(HoldError, match=r"sha-256:([0-9A-F]{2}:){31}[0-9A-F]{2}, which is not listed"):
        check_fingerprint(b"another", (listed,))


def test_files_that_cannot_be_used(tmp_path: Path, certificates: Certificates) -> None:
    pem, key = certificates.file("client.pem"), certificates.file("client.key")
    private = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    protected = tmp_path / "protected.key"
    protected.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    for files in (
        {"ca_file": str(tmp_path / "none.pem")},
        {"ca_file": key},
        {"cert_file": pem, "key_file": certificates.file("server.key")},
        {"cert_file": pem, "key_file": str(protected)},
    ):
        with pytest.raises(HoldError, match=r"sinks\.a\.(ca|cert)_file: cannot be used"):
            tls_context(Syslog(name="a", host="siem", **files))
    context = tls_context(Syslog(name="a", host="siem", cert_file=pem, key_file=key))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


def _tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), RetryError),
        (ConnectionResetError("gone"), RetryError),
        (socket.gaierror(-2, "Name or service not known"), RetryError),
        (_tls("UNEXPECTED_EOF_WHILE_READING"), RetryError),
        (_tls("WRONG_VERSION_NUMBER"), HoldError),
        (_tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"), HoldError),
        (_tls("TLSV1_ALERT_UNKNOWN_CA"), HoldError),
        (PoisonError("no"), PoisonError),
    ],
)
def test_what_failures_mean(error: Exception, kind: type[DeliveryError]) -> None:
    meant = meaning(error, "siem:6514")
    assert type(meant) is kind
    assert str(meant)
