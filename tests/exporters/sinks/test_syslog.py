"""Syslog: what "delivered" means without acknowledgements, against strict receivers and a real rsyslog."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporters.sinks.syslog import SyslogSink
from guardian.errors import HoldError, RetryError
from guardian.sink_settings import Syslog
from tests.exporters.sinks.conftest import messages, server_context, serving, texts
from tests.guardian.sources.conftest import Certificates, until
from tests.receivers import Rsyslog


def sink_to(port: int, **more: Any) -> SyslogSink:
    return SyslogSink(
        Syslog(
            name="siem",
            host=more.pop("host", "127.0.0.1"),
            port=port,
            transport=more.pop("transport", "tcp"),
            **more,
        )
    )


class Strict:
    """A receiver of octet-counted messages that takes nothing else."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.connections = 0
        self.torn = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            try:
                length = await reader.readuntil(b" ")
                assert length[:1] != b"0"
                self.lines.append((await reader.readexactly(int(length))).decode())
            except (asyncio.IncompleteReadError, OSError) as error:
                self.torn += bool(getattr(error, "partial", b""))
                return


async def test_frames_are_counted_in_octets_and_one_connection_is_kept() -> None:
    strict = Strict()
    async with serving(strict) as port:
        sink = sink_to(port)
        for first in range(0, 30, 10):
            assert await sink.write(messages(first, first + 10, size=first)) == ({}, 0)
        await sink.close()
        await sink.close()
        await until(lambda: len(strict.lines) == 30)
    assert strict.lines == [text for first in range(0, 30, 10) for text in texts(first, first + 10, first)]
    assert (strict.connections, strict.torn) == (1, 0)


async def resetting(strict: Strict, sink_of: Callable[[int], SyslogSink], finish: bool) -> list[str]:
    """The second batch is acknowledged by the receiver's machine, never read, and reset away."""
    unread = asyncio.Event()

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if unread.is_set():
            await strict(reader, writer)
            return
        await reader.readexactly(1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        unread.set()
        await asyncio.sleep(0.2)
        writer.transport.abort()

    async with serving(half) as port:
        sink = sink_of(port)
        await sink.write(messages(0, 10))
        await unread.wait()
        await sink.write(messages(10, 20))
        connection = sink._connection
        assert connection is not None
        await until(lambda: connection.over)
        if not finish:
            await sink.write(messages(20, 30))
        await sink.close()
        await until(lambda: len(strict.lines) == (20 if finish else 30))
    return strict.lines


@pytest.mark.parametrize("finish", [False, True])
async def test_what_a_reset_took_is_sent_again(finish: bool) -> None:
    assert await resetting(Strict(), sink_to, finish) == texts(0, 20 if finish else 30)


async def test_what_is_kept_for_a_reset_is_bounded() -> None:
    strict = Strict()
    async with serving(strict) as port:
        sink = sink_to(port)
        for first in range(0, 100, 10):
            await sink.write(messages(first, first + 10, size=30_000))
            assert sink._kept_bytes() <= 2**20
        assert sink._kept_bytes() > 2**19
        await sink.close()
        assert not sink._kept, "it read them all"


async def test_large_batches_are_sent_in_pieces() -> None:
    strict = Strict()
    async with serving(strict) as port:
        sink = sink_to(port)
        await sink.write(messages(0, 40, size=60_000))
        await sink.write([])
        await sink.close()
    assert strict.lines == texts(0, 40, 60_000)


async def test_a_receiver_that_left_while_idle_is_called_again() -> None:
    strict = Strict()
    async with serving(strict) as port:
        sink = sink_to(port)
        await sink.write(messages(0, 1))
        await until(lambda: len(strict.lines) == 1)
    assert sink._connection is not None
    await until(lambda: sink._connection is not None and sink._connection.over)
    with pytest.raises(RetryError, match=f"127.0.0.1:{port}: Connection refused"):
        await sink.write(messages(1, 2))
    async with serving(strict, port):
        await sink.write(messages(1, 2))
        await sink.close()
        await until(lambda: len(strict.lines) == 2)
    assert strict.lines == texts(0, 2)


@pytest.mark.parametrize("how", ["leaves", "resets"])
async def test_a_receiver_that_leaves_in_the_middle_has_nothing(how: str) -> None:
    async def leaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1000)
        if how == "resets":
            writer.transport.abort()

    async with serving(leaving) as port:
        sink = sink_to(port)
        with pytest.raises(RetryError, match=r"closed the connection|reset by peer|Broken pipe"):
            await sink.write(messages(0, 100, size=60_000))
        assert sink._connection is None, "the rest of a frame is not what the next begins with"
        await sink.close()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_receiver_that_reads_nothing_costs_a_bounded_time(
    transport: str, certificates: Certificates
) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        await asyncio.Event().wait()

    context = server_context(certificates) if transport == "tls" else None
    async with serving(deaf, ssl=context) as port:
        sink = sink_to(port, timeout_s=0.4, transport=transport, ca_file=certificates.file("authority.pem"))
        async with asyncio.timeout(20):
            with pytest.raises(RetryError, match="no answer in time"):
                await sink.write(messages(0, 200, size=60_000))
        assert sink._connection is None
        await sink.close()


async def test_who_talks_without_end_is_no_receiver() -> None:
    async def talking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def listen() -> None:
            while await reader.read(65536):
                pass

        listening = asyncio.create_task(listen())
        try:
            while True:
                writer.write(b"HTTP/1.1 400 Bad Request\r\n" * 1000)
                await writer.drain()
        finally:
            listening.cancel()

    async with serving(talking) as port:
        sink = sink_to(port)

        async def many() -> None:
            for _ in range(1000):
                await sink.write(messages(0, 10))
                await asyncio.sleep(0.005)

        with pytest.raises(RetryError, match="is it a syslog receiver"):
            await many()
        await sink.close()


async def test_a_write_that_is_given_up_leaves_no_half_frame() -> None:
    strict, deaf = Strict(), asyncio.Event()

    async def first_deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not deaf.is_set():
            deaf.set()
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
            await asyncio.Event().wait()
        await strict(reader, writer)

    async with serving(first_deaf) as port:
        sink = sink_to(port)
        writing = asyncio.create_task(sink.write(messages(0, 300, size=60_000)))
        await deaf.wait()
        await asyncio.wait([writing], timeout=0.1)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await sink.write(messages(0, 5))
        await sink.close()
        await until(lambda: len(strict.lines) == 5)
    assert strict.lines == texts(0, 5)


@contextlib.contextmanager
def accepting(context: ssl.SSLContext) -> Iterator[tuple[int, list[bytes]]]:
    """A receiver that says what is wrong with a handshake, which asyncio's does not; yields its port and what it heard."""
    heard: list[bytes] = []

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock, contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as secured:
                while piece := secured.recv(65536):
                    heard.append(piece)
                secured.unwrap()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


class TestTrust:
    async def test_a_certificate_of_an_authority_for_this_name(self, certificates: Certificates) -> None:
        strict = Strict()
        async with serving(strict, ssl=server_context(certificates)) as port:
            for host in ("localhost", "127.0.0.1"):
                sink = sink_to(port, transport="tls", host=host, ca_file=certificates.file("authority.pem"))
                await sink.write(messages(0, 3))
                await sink.close()
            await until(lambda: len(strict.lines) == 6)

    @pytest.mark.parametrize(
        ("server", "host", "ca_file", "said"),
        [
            ("server", "localhost", "", "its certificate: "),
            ("server", "localhost", "stranger.pem", "its certificate: "),
            ("stranger", "localhost", "authority.pem", "its certificate: .*self.signed"),
            ("server", "127.0.0.2", "authority.pem", "its certificate: .*mismatch"),
        ],
    )
    async def test_any_other_is_refused(
        self, certificates: Certificates, server: str, host: str, ca_file: str, said: str
    ) -> None:
        strict = Strict()
        async with serving(strict, ssl=server_context(certificates, server)) as port:
            more = {"ca_file": certificates.file(ca_file)} if ca_file else {}
            # 127.0.0.2 is this machine too, and not in the certificate.
            address = {"host": host} if host != "127.0.0.2" else {"host": "127.0.0.1"}
            if host == "127.0.0.2":
                server_ = await asyncio.start_server(strict, host, port, ssl=server_context(certificates))
                address = {"host": host}
            sink = sink_to(port, transport="tls", **address, **more)
            with pytest.raises(HoldError, match=said):
                await sink.write(messages(0, 1))
            await sink.close()
            if host == "127.0.0.2":
                server_.close()
        assert not strict.lines

    async def test_fingerprints(self, certificates: Certificates) -> None:
        strict = Strict()
        der = ssl.PEM_cert_to_DER_cert(Path(certificates.file("stranger.pem")).read_text())
        digest = hashlib.sha256(der).hexdigest().upper()
        listed = "sha-256:" + ":".join(digest[at : at + 2] for at in range(0, 64, 2))
        async with serving(strict, ssl=server_context(certificates, "stranger")) as port:
            right = sink_to(port, transport="tls", fingerprints=(listed,))
            await right.write(messages(0, 1))
            await right.close()
            await until(lambda: len(strict.lines) == 1)
            wrong = sink_to(port, transport="tls", fingerprints=("sha-256" + ":00" * 32,))
            with pytest.raises(HoldError, match=f"fingerprint {listed}, which is not listed"):
                await wrong.write(messages(0, 1))
            await wrong.close()
        assert len(strict.lines) == 1

    @pytest.mark.parametrize("tickets", [0, 2])
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_a_receiver_that_wants_to_know_us(
        self, certificates: Certificates, tickets: int, version: ssl.TLSVersion
    ) -> None:
        """With TLS 1.3 it says no after our side is ready to send: nothing may count as delivered before."""
        context = server_context(certificates)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.file("authority.pem"))
        context.minimum_version = context.maximum_version = version
        context.num_tickets = tickets
        with accepting(context) as (port, heard):
            common = {"transport": "tls", "ca_file": certificates.file("authority.pem")}
            stranger = {
                "cert_file": certificates.file("stranger.pem"),
                "key_file": certificates.file("stranger.key"),
            }
            for shown in ({}, stranger):
                sink = sink_to(port, **common, **shown)
                with pytest.raises(HoldError, match=r"TLS: .*(CERTIFICATE|CA|HANDSHAKE)"):
                    await sink.write(messages(0, 1))
                await sink.close()
            client = {
                "cert_file": certificates.file("client.pem"),
                "key_file": certificates.file("client.key"),
            }
            sink = sink_to(port, **common, **client)
            await sink.write(messages(0, 1))
            await sink.close()
            await until(lambda: bool(heard))
        (body,) = (message.body for message in messages(0, 1))
        assert heard == [b"%d %s" % (len(body), body)]

    async def test_no_tls_there(self, certificates: Certificates) -> None:
        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"220 hello, this is no TLS at all\r\n")
            await reader.read()

        async with serving(plain) as port:
            sink = sink_to(port, transport="tls", ca_file=certificates.file("authority.pem"))
            with pytest.raises(HoldError, match=r"TLS: .*WRONG_VERSION_NUMBER"):
                await sink.write(messages(0, 1))
            await sink.close()


@pytest.mark.parametrize(
    ("fingerprint", "valid"),
    [
        ("sha-256" + ":0A" * 32, True),
        ("SHA-256" + ":0a" * 32, True),
        ("sha-256" + ":0A" * 31, False),
        ("sha-1" + ":0A" * 20, False),
        ("0A" * 32, False),
    ],
)
def test_settings_take_only_whole_fingerprints(fingerprint: str, valid: bool) -> None:
    table = {"type": "syslog", "name": "siem", "host": "siem", "fingerprints": [fingerprint]}
    if valid:
        assert msgspec.convert(table, Syslog).fingerprints == (fingerprint,)
    else:
        with pytest.raises(msgspec.ValidationError, match="fingerprints"):
            msgspec.convert(table, Syslog)


@pytest.fixture
def ossl(certificates: Certificates) -> Callable[[str], str]:
    """Lines of rsyslog's configuration for TLS by OpenSSL."""

    def lines(mode: str) -> str:
        return (
            f'global(defaultNetstreamDriverCAFile="{certificates.file("authority.pem")}" '
            f'defaultNetstreamDriverCertFile="{certificates.file("server.pem")}" '
            f'defaultNetstreamDriverKeyFile="{certificates.file("server.key")}")\n'
            f'module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" '
            f'streamDriver.authMode="{mode}")'
        )

    return lines


class TestRsyslog:
    async def test_tcp(self, tmp_path: Path) -> None:
        with Rsyslog(tmp_path / "rsyslog", "imtcp").running() as receiver:
            sink = sink_to(receiver.port)
            for first in range(0, 500, 100):
                await sink.write(messages(first, first + 100))
            await sink.close()
            await until(lambda: len(receiver.lines) == 500)
        assert receiver.lines == texts(0, 500)

    async def test_tls_with_a_certificate_of_ours(
        self, tmp_path: Path, certificates: Certificates, ossl: Callable[[str], str]
    ) -> None:
        trust = {"transport": "tls", "ca_file": certificates.file("authority.pem")}
        client = {"cert_file": certificates.file("client.pem"), "key_file": certificates.file("client.key")}
        with Rsyslog(tmp_path / "rsyslog", "imtcp", before=ossl("x509/certvalid")).running() as receiver:
            stranger = sink_to(receiver.port, **trust)
            with pytest.raises(HoldError, match=r"TLS: .*CERTIFICATE_REQUIRED"):
                await stranger.write(messages(0, 10))
            await stranger.close()
            sink = sink_to(receiver.port, **trust, **client)
            await sink.write(messages(0, 100))
            await sink.close()
            await until(lambda: len(receiver.lines) == 100)
        assert receiver.lines == texts(0, 100)

    @pytest.mark.slow
    @pytest.mark.parametrize("transport", ["tcp", "tls"])
    async def test_killed_under_load_it_has_everything_in_the_end(
        self, tmp_path: Path, certificates: Certificates, ossl: Callable[[str], str], transport: str
    ) -> None:
        """Some of it twice: at most what is kept, each time."""
        kills, told, size = 3, 0, 1_000
        before = ossl("anon") if transport == "tls" else ""
        with Rsyslog(tmp_path / "rsyslog", "imtcp", before=before).running() as receiver:
            sink = sink_to(
                receiver.port, transport=transport, ca_file=certificates.file("authority.pem"), timeout_s=5
            )
            for _ in range(kills):
                striking = threading.Timer(0.2, receiver.kill)
                striking.start()
                with contextlib.suppress(RetryError):
                    while True:
                        await sink.write(messages(told, told + 100, size))
                        told += 100
                await asyncio.to_thread(striking.join)
                receiver.start()
                await sink.write(messages(told, told + 100, size))
                told += 100
            await sink.close()
            stored = Counter(re.findall(r"- - - (\d+) ", "\n".join(receiver.lines)))
        assert {int(number) for number in stored} >= set(range(told))
        assert sum(stored.values()) - told <= kills * (2**20 // size + 100)

    @pytest.mark.slow
    async def test_20_000_messages_and_20_reconnects(
        self, tmp_path: Path, certificates: Certificates, ossl: Callable[[str], str]
    ) -> None:
        with Rsyslog(tmp_path / "rsyslog", "imtcp", before=ossl("anon")).running() as receiver:
            for first in range(0, 20_000, 1_000):
                sink = sink_to(receiver.port, transport="tls", ca_file=certificates.file("authority.pem"))
                for start in range(first, first + 1_000, 100):
                    assert await sink.write(messages(start, start + 100, size=300)) == ({}, 0)
                await sink.close()
            await until(lambda: len(receiver.lines) >= 20_000)
        assert receiver.lines == texts(0, 20_000, 300)
