"""Datagrams: whatever sender, bounded, and each one delivered or counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Callable
from logging.handlers import SysLogHandler

import pytest

from guardian.errors import MachineError
from guardian.source_settings import SyslogUdp
from guardian.sources import SyslogUdpSource
from guardian.sources.gathering import BODY_BYTES
from tests.guardian.sources.conftest import Run, running, until

Count = Callable[[str, int], None]


async def listening(source: SyslogUdpSource) -> tuple[str, int]:
    await until(lambda: source.address[1] > 0)
    return source.address


def sender(address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(address)
    return sock


async def test_each_datagram_is_a_message_of_its_sender(counted: Counter[str], count: Count) -> None:
    source = SyslogUdpSource(SyslogUdp(name="udp", port=0, timezone="America/Bogota"), count)
    async with running(source) as run:
        with sender(await listening(source)) as sock:
            sock.send(b"<13>one\n")
            await until(lambda: run.bodies() == ["one"])
            for message in (b"", b"<13>1 - h a - - - two", b"\xff"):
                sock.send(message)
            await until(lambda: run.bodies() == ["one", "two", "\ufffd"])
    assert run.records[0].source == "udp"
    assert run.records[0].position == b""
    assert "America/Bogota" in run.records[0].content_type
    assert Run.column(run.records[0], "target") == ["127.0.0.1"]
    assert counted == {"empty": 1}
    assert SyslogUdp(name="udp").host == "127.0.0.1"


async def test_a_longer_message_is_cut(counted: Counter[str], count: Count) -> None:
    source = SyslogUdpSource(SyslogUdp(name="udp", port=0, max_message_bytes=480), count)
    async with running(source) as run:
        with sender(await listening(source)) as sock:
            sock.send(b"<13>" + b"x" * 476)
            sock.send(b"<13>" + b"y" * 477)
            await until(lambda: len(run.bodies()) == 2)
    assert [len(body) for body in run.bodies()] == [476, 476]
    assert counted == {"message_cut": 1}


async def test_what_is_not_delivered_was_counted_by_the_kernel(counted: Counter[str], count: Count) -> None:
    settings = SyslogUdp(name="udp", port=0, queue_bytes=BODY_BYTES, receive_buffer_bytes=4096)
    source = SyslogUdpSource(settings, count)
    sent = 3000
    async with running(source) as run:
        with sender(await listening(source)) as sock:
            sock.send(b"<13>first")
            await until(lambda: len(run.records) == 1)
            run.taking.clear()
            for number in range(sent):
                sock.send(b"<13>%d %b" % (number, b"x" * 300))
                if number % 20 == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0.1)
            assert source._held <= settings.queue_bytes + 400, "no more is held than was promised"
            run.taking.set()
            await until(lambda: len(run.bodies()) - 1 + counted["dropped_by_kernel"] == sent)
    assert counted["dropped_by_kernel"] > 0
    numbers = [int(body.split()[0]) for body in run.bodies()[1:]]
    assert numbers == sorted(set(numbers))
    assert all(len(record.body) < BODY_BYTES + 1024 for record in run.records)


async def test_many_messages_share_a_body(count: Count) -> None:
    source = SyslogUdpSource(SyslogUdp(name="udp", port=0), count)
    async with running(source) as run:
        with sender(await listening(source)) as sock:
            for number in range(200):
                sock.send(b"<13>%d" % number)
                await asyncio.sleep(0)
            await until(lambda: len(run.bodies()) == 200)
    assert len(run.records) <= 20


async def test_an_address_that_is_taken_is_a_clear_error(count: Count) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        source = SyslogUdpSource(SyslogUdp(name="udp", port=other.getsockname()[1]), count)
        with pytest.raises(MachineError, match=r"source udp: cannot listen on 127.0.0.1 port"):
            await anext(source.deliveries(None))
    source = SyslogUdpSource(SyslogUdp(name="udp", host="no.such.host.invalid"), count)
    with pytest.raises(MachineError, match=r"cannot listen on no.such.host.invalid"):
        await anext(source.deliveries(None))


async def test_the_address_is_free_again_afterwards(count: Count) -> None:
    source = SyslogUdpSource(SyslogUdp(name="udp", port=0), count)
    async with running(source):
        address = await listening(source)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(address)


async def test_pythons_own_handler(count: Count) -> None:
    source = SyslogUdpSource(SyslogUdp(name="udp", port=0), count)
    async with running(source) as run:
        handler = SysLogHandler(await listening(source), facility=SysLogHandler.LOG_AUTH)
        handler.ident = "shop: "
        record = logging.LogRecord("x", logging.ERROR, "", 0, "Failed login für %s", ("ana",), None)
        handler.emit(record)
        handler.close()
        await until(lambda: len(run.records) == 1)
    assert run.bodies() == ["Failed login für ana"]
    assert Run.column(run.records[0], "source") == ["shop"]
    assert Run.column(run.records[0], "severity") == [pytest.approx(4 / 7)]


@pytest.mark.parametrize("form", ["--rfc3164", "--rfc5424"])
async def test_logger_of_util_linux(form: str, count: Count) -> None:
    logger = shutil.which("logger")
    if logger is None:
        pytest.skip("no logger (util-linux) here")
    source = SyslogUdpSource(SyslogUdp(name="udp", port=0), count)
    async with running(source) as run:
        host, port = await listening(source)
        more = ["--msgid", "ID7", "--sd-id", "a@1", "--sd-param", 'b="c"'] if form == "--rfc5424" else []
        said = [
            form,
            *more,
            "-n",
            host,
            "-P",
            str(port),
            "-d",
            "-t",
            "shop",
            "-p",
            "local3.warning",
            "hello world",
        ]
        await asyncio.to_thread(subprocess.run, [logger, *said], check=True)
        await until(lambda: len(run.records) == 1)
    record = run.records[0]
    assert run.bodies() == ["hello world"]
    assert Run.column(record, "source") == ["shop"]
    assert Run.column(record, "kind") == ["ID7" if more else ""]
    assert Run.column(record, "target") != ["127.0.0.1"], "it states its host"
    assert '"facility":"local3"' in Run.column(record, "attrs")[0]


@pytest.mark.parametrize("protocol", ["udp"])
async def test_closing_while_nothing_comes(protocol: str, count: Count) -> None:
    source = SyslogUdpSource(SyslogUdp(name=protocol, port=0), count)
    deliveries = source.deliveries(None)
    task = asyncio.ensure_future(anext(deliveries))
    await listening(source)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await deliveries.aclose()
