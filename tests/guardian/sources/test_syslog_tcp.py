"""Connections: framings, TLS, a thousand at once, slow ones, noisy ones, and bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardian.errors import MachineError
from guardian.source_settings import SyslogTcp
from guardian.sources import SyslogTcpSource
from guardian.sources.syslog_tcp import SHARE_BYTES
from tests.guardian.sources.conftest import Certificates, Run, running, until

Count = Callable[[str, int], None]


def made(count: Count, **more: Any) -> SyslogTcpSource:
    return SyslogTcpSource(SyslogTcp(name="tcp", port=0, **more), count)


async def listening(source: SyslogTcpSource) -> tuple[str, int]:
    await until(lambda: source.address[1] > 0)
    return source.address


async def said(address: tuple[str, int], data: bytes, **more: Any) -> None:
    _, writer = await asyncio.open_connection(*address, **more)
    try:
        writer.write(data)
        await writer.drain()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_both_framings_and_what_stands_unfinished_at_the_end(
    counted: Counter[str], count: Count
) -> None:
    source = made(count)
    async with running(source) as run:
        address = await listening(source)
        await said(address, b"<13>one\n<13>two\r\n<13>three")
        await until(lambda: len(run.bodies()) == 3)
        await said(address, b"7 <13>a\nb8 <13>four")
        await until(lambda: len(run.bodies()) == 5)
        await said(address, b"99 <13>torn")
        await until(lambda: len(run.bodies()) == 6)
    assert run.bodies() == ["one", "two", "three", "a\nb", "four", "torn"]
    assert Run.column(run.records[0], "target") == ["127.0.0.1"] * len(Run.column(run.records[0], "target"))
    assert counted == {"message_cut": 1}


async def test_a_thousand_connections(counted: Counter[str], count: Count) -> None:
    source = made(count, max_connections=1000)
    async with running(source) as run:
        address = await listening(source)
        writers = []
        for number in range(1000):
            _, writer = await asyncio.open_connection(*address)
            writer.write(b"<13>first %d\n<13>second" % number)
            writers.append(writer)
        await until(lambda: len(run.bodies()) == 1000)
        for number, writer in enumerate(writers):
            writer.write(b" %d\n" % number)
        await until(lambda: len(run.bodies()) == 2000)
        for writer in writers:
            writer.close()
    wanted = {f"{word} {number}" for word in ("first", "second") for number in range(1000)}
    assert set(run.bodies()) == wanted
    assert not counted


async def test_one_connection_too_many_is_closed_and_counted(counted: Counter[str], count: Count) -> None:
    source = made(count, max_connections=1)
    async with running(source) as run:
        address = await listening(source)
        _, first = await asyncio.open_connection(*address)
        first.write(b"<13>a\n")
        await until(lambda: run.bodies() == ["a"])
        reader, second = await asyncio.open_connection(*address)
        assert await reader.read() == b""
        second.close()
        first.close()
        await until(lambda: not source._connections)
        await said(address, b"<13>b\n")
        await until(lambda: run.bodies() == ["a", "b"])
    assert counted == {"too_many_connections": 1}


async def test_who_does_not_finish_is_closed_and_who_waits_is_not(
    counted: Counter[str], count: Count
) -> None:
    source = made(count, stall_s=0.3, idle_s=30)
    async with running(source) as run:
        address = await listening(source)
        slow_reader, slow = await asyncio.open_connection(*address)
        _, quiet = await asyncio.open_connection(*address)
        quiet.write(b"<13>a\n")

        async def drip() -> None:
            while not slow.is_closing():
                slow.write(b"x")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert await slow_reader.read() == b""
        dripping.cancel()
        slow.close()
        quiet.write(b"<13>b\n")
        await until(lambda: {"a", "b"} <= set(run.bodies()))
        quiet.close()
    assert counted == {"stalled": 1}
    assert {"a", "b"} < set(run.bodies()), "what there was of the unfinished one is an event too"


async def test_silence_ends_at_some_time(counted: Counter[str], count: Count) -> None:
    source = made(count, idle_s=0.2)
    async with running(source):
        reader, writer = await asyncio.open_connection(*await listening(source))
        assert await reader.read() == b""
        writer.close()
    assert not counted, "nothing was lost"


async def test_a_full_queue_stops_the_senders_and_loses_nothing(counted: Counter[str], count: Count) -> None:
    queue = 512 * 1024
    source = made(count, queue_bytes=queue)
    connections, each, text = 8, 4000, b"x" * 180
    async with running(source) as run:
        address = await listening(source)
        await said(address, b"<13>go\n")
        await until(lambda: len(run.records) == 1)
        run.taking.clear()
        senders = [
            asyncio.create_task(
                said(address, b"".join(b"<13>%d %d %b\n" % (who, n, text) for n in range(each)))
            )
            for who in range(connections)
        ]
        await until(lambda: source._full)
        await asyncio.sleep(0.1)
        assert source._held <= queue + 2 * SHARE_BYTES
        run.taking.set()
        await asyncio.gather(*senders)
        await until(
            lambda: sum(len(Run.column(record, "body")) for record in run.records) == connections * each + 1
        )
    seen: dict[str, list[int]] = {}
    for body in run.bodies()[1:]:
        who, number, _ = body.split()
        seen.setdefault(who, []).append(int(number))
    assert all(numbers == list(range(each)) for numbers in seen.values())
    assert not counted


async def test_a_noisy_peer_delays_itself_only(count: Count) -> None:
    source = made(count)
    async with running(source) as run:
        address = await listening(source)
        await said(address, b"<13>go\n")
        await until(lambda: len(run.records) == 1)
        run.taking.clear()
        noisy = asyncio.create_task(said(address, b"<13>noise noise noise noise\n" * 20_000))
        await until(lambda: source._held >= SHARE_BYTES)
        await said(address, b"<13>quiet\n")
        await until(lambda: len(source._waiting) == 2)
        run.taking.set()
        await until(lambda: "quiet" in run.bodies())
        before = run.bodies().index("quiet")
        await noisy
        await until(lambda: len(run.bodies()) == 20_002)
    assert before * 27 < 4 * SHARE_BYTES, "it waits for one share of the other, not for all of it"


class TestTls:
    @staticmethod
    def client(certificates: Certificates, who: str = "") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=certificates.file("authority.pem"))
        if who:
            context.load_cert_chain(certificates.file(f"{who}.pem"), certificates.file(f"{who}.key"))
        return context

    @staticmethod
    def server(count: Count, certificates: Certificates, **more: Any) -> SyslogTcpSource:
        files = {"cert_file": certificates.file("server.pem"), "key_file": certificates.file("server.key")}
        return made(count, **files, **more)

    async def test_what_was_said_before_closing_is_delivered(
        self, certificates: Certificates, counted: Counter[str], count: Count
    ) -> None:
        source = self.server(count, certificates)
        long = b"y" * 40_000
        async with running(source) as run:
            address = await listening(source)
            data = b"<13>one\n%d <13>%b<13>last" % (len(long) + 4, long)
            await said(address, data, ssl=self.client(certificates), server_hostname="localhost")
            await until(lambda: len(run.bodies()) == 3)
        assert run.bodies() == ["one", long.decode(), "last"]
        assert not counted

    async def test_who_does_not_speak_it_is_refused(
        self, certificates: Certificates, counted: Counter[str], count: Count
    ) -> None:
        source = self.server(count, certificates, stall_s=0.5)
        async with running(source) as run:
            address = await listening(source)
            await said(address, b"<13>in clear\n")
            await until(lambda: counted["tls_handshake"] == 1)
            reader, silent = await asyncio.open_connection(*address)
            assert await reader.read() == b""
            silent.close()
            old = self.client(certificates)
            old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            old.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.warns(DeprecationWarning, match="TLSv1_1"):
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises((ssl.SSLError, OSError)):
                await said(address, b"<13>x\n", ssl=old, server_hostname="localhost")
            await until(lambda: counted["tls_handshake"] == 3)
        assert not run.records

    async def test_clients_may_have_to_show_who_they_are(
        self, certificates: Certificates, counted: Counter[str], count: Count
    ) -> None:
        source = self.server(count, certificates, client_ca_file=certificates.file("authority.pem"))
        async with running(source) as run:
            address = await listening(source)
            for who in ("", "stranger"):
                reader, writer = await asyncio.open_connection(
                    *address, ssl=self.client(certificates, who), server_hostname="localhost"
                )
                with contextlib.suppress(OSError):
                    writer.write(b"<13>x\n")
                    await writer.drain()
                    assert await reader.read() == b"", "closed"
                writer.close()
            known = self.client(certificates, "client")
            await said(address, b"<13>hello\n", ssl=known, server_hostname="localhost")
            await until(lambda: run.bodies() == ["hello"])
        assert counted == {"tls_handshake": 2}

    async def test_files_that_are_none_are_a_clear_error(
        self, certificates: Certificates, tmp_path: Path, count: Count
    ) -> None:
        for cert, key in (("server.pem", "client.key"), ("server.key", "server.key")):
            source = made(count, cert_file=certificates.file(cert), key_file=certificates.file(key))
            with pytest.raises(MachineError, match=r"source tcp: cannot use .*: not PEM, or not a pair"):
                await anext(source.deliveries(None))
        source = made(count, cert_file=str(tmp_path / "none"), key_file=certificates.file("server.key"))
        with pytest.raises(MachineError, match="No such file"):
            await anext(source.deliveries(None))


async def test_an_address_that_is_taken_is_a_clear_error(count: Count) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        source = SyslogTcpSource(SyslogTcp(name="tcp", port=other.getsockname()[1]), count)
        with pytest.raises(MachineError, match=r"source tcp: cannot listen on 127.0.0.1 port .*in use"):
            await anext(source.deliveries(None))


@pytest.mark.parametrize("framing", ["octet-counted", "traditional"])
async def test_rsyslog(framing: str, tmp_path: Path, count: Count) -> None:
    rsyslogd = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin:/sbin")
    if rsyslogd is None:
        pytest.skip("no rsyslogd here")
    source = made(count)
    async with running(source) as run:
        host, port = await listening(source)
        log = tmp_path / "in.log"
        log.write_text("".join(f"message {number}\n" for number in range(500)))
        (tmp_path / "rsyslog.conf").write_text(
            f'global(workDirectory="{tmp_path}")\nmodule(load="imfile" mode="polling" pollingInterval="1")\n'
            f'input(type="imfile" File="{log}" Tag="shop:" Facility="local1" ruleset="out")\n'
            f'ruleset(name="out") {{ action(type="omfwd" target="{host}" port="{port}" protocol="tcp"\n'
            f'  TCP_Framing="{framing}" template="RSYSLOG_SyslogProtocol23Format") }}\n'
        )
        arguments = ["-n", "-f", str(tmp_path / "rsyslog.conf"), "-i", str(tmp_path / "pid")]
        daemon = await asyncio.create_subprocess_exec(rsyslogd, *arguments, stderr=subprocess.DEVNULL)
        try:
            await until(lambda: len(run.bodies()) == 500)
        finally:
            daemon.terminate()
            await daemon.wait()
    assert run.bodies() == [f"message {number}" for number in range(500)]
    assert set(Run.column(run.records[0], "source")) == {"shop"}
