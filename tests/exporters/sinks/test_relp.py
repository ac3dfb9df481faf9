"""RELP: each message has its own answer, whatever the receiver does, and what has none comes again."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.sinks import relp as module
from exporters.sinks.relp import RelpSink
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.sink_settings import Relp
from tests.exporters.sinks.conftest import messages, server_context, serving, texts
from tests.guardian.sources.conftest import Certificates, until
from tests.receivers import Rsyslog

OPENED = b"200 OK\nrelp_version=0\nrelp_software=fake\ncommands=syslog"


def sink_to(port: int, **more: Any) -> RelpSink:
    return RelpSink(
        Relp(name="siem", host="127.0.0.1", port=port, transport=more.pop("transport", "tcp"), **more)
    )


class Strict:
    """A receiver that takes RELP and nothing else, and answers each message as it is told."""

    def __init__(self, answer: Callable[[int, str], bytes | None] = lambda _number, _text: b"200 OK") -> None:
        self.answer = answer
        self.opened = OPENED
        self.commands: Counter[str] = Counter()
        self.lines: list[str] = []
        self.numbers: list[int] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            number, command, data = await self.frame(reader)
            self.commands[command] += 1
            if command == "open":
                assert number == 1
                assert data == b"relp_version=0\nrelp_software=tamv-guardian\ncommands=syslog"
                said: bytes | None = self.opened
            elif command == "close":
                writer.write(b"%d rsp 0\n0 serverclose 0\n" % number)
                await writer.drain()
                return
            else:
                assert command == "syslog"
                self.numbers.append(number)
                self.lines.append(data.decode())
                said = self.answer(number, data.decode())
            if said is not None:
                writer.write(b"%d rsp %d %s\n" % (number, len(said), said))

    @staticmethod
    async def frame(reader: asyncio.StreamReader) -> tuple[int, str, bytes]:
        number = int(await reader.readuntil(b" "))
        command = (await reader.readuntil(b" ")).decode().strip()
        head = await reader.readexactly(1)
        while head[-1:].isdigit():
            head += await reader.readexactly(1)
        length = int(head[:-1])
        assert head[-1:] == (b" " if length else b"\n")
        data = await reader.readexactly(length) if length else b""
        if length:
            assert await reader.readexactly(1) == b"\n"
        return number, command, data


async def test_a_session_from_its_beginning_to_its_end() -> None:
    strict = Strict()
    async with serving(strict) as port:
        sink = sink_to(port, window=4)
        for first in (0, 10):
            assert await sink.write(messages(first, first + 10)) == ({}, 0)
        assert await sink.write([]) == ({}, 0)
        await sink.close()
        await sink.close()
    assert strict.commands == {"open": 1, "syslog": 20, "close": 1}
    assert strict.lines == texts(0, 20)
    assert strict.numbers == list(range(2, 22))


async def test_no_more_than_the_window_is_under_way() -> None:
    most, go_on = 0, asyncio.Event()

    async def holding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        waiting: list[int] = []
        while True:
            try:
                async with asyncio.timeout(None if not waiting else 0.05):
                    number, command, _ = await Strict.frame(reader)
            except TimeoutError:
                go_on.set()
                for each in waiting:
                    writer.write(b"%d rsp 6 200 OK\n" % each)
                waiting.clear()
                continue
            if command == "open":
                writer.write(b"1 rsp %d %s\n" % (len(OPENED), OPENED))
                continue
            waiting.append(number)
            most = max(most, len(waiting))

    async with serving(holding) as port:
        sink = sink_to(port, window=7, timeout_s=20)
        assert await sink.write(messages(0, 30)) == ({}, 0)
        sink._abort()
    assert go_on.is_set()
    assert most == 7


async def test_each_answer_is_about_its_own_message() -> None:
    def answer(_number: int, text: str) -> bytes:
        which = int(text.split()[-2])
        return {3: b"500 this one \xff never", 5: b"421 busy", 6: b"", 7: b"2000"}.get(which, b"200 OK")

    strict = Strict(answer)
    async with serving(strict) as port:
        sink = sink_to(port)
        refused, duplicates = await sink.write(messages(0, 10))
        await sink.close()
    kinds = {int(name, 16): type(error) for name, error in refused.items()}
    assert kinds == {3: PoisonError, 5: RetryError, 6: RetryError}
    assert str(refused[f"{3:032x}"]) == "500 this one \ufffd never"
    assert duplicates == 0


@pytest.mark.parametrize("answered", [0, 1, 17])
@pytest.mark.parametrize("how", ["leaves", "hangs", "serverclose", "unknown number", "no relp", "too long"])
async def test_what_has_no_answer_is_named_and_comes_again(answered: int, how: str) -> None:
    strict = Strict()

    async def failing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, command, _ = await Strict.frame(reader)
        assert command == "open"
        writer.write(b"1 rsp %d %s\n" % (len(OPENED), OPENED))
        for _ in range(answered):
            number, _, _ = await Strict.frame(reader)
            writer.write(b"%d rsp 6 200 OK\n" % number)
        said = {
            "leaves": b"",
            "hangs": b"",
            "serverclose": b"0 serverclose 0\n",
            "unknown number": b"999 rsp 6 200 OK\n",
            "no relp": b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "too long": b"%d rsp 999999999 200 OK" % (answered + 2),
        }[how]
        writer.write(said)
        await writer.drain()
        if how == "leaves":
            return
        await asyncio.Event().wait()

    batch = messages(0, 40)
    async with serving(failing) as port:
        sink = sink_to(port, window=8, timeout_s=0.4 if how == "hangs" else 20)
        if answered:
            refused, _ = await sink.write(batch)
            assert [int(name, 16) for name in refused] == list(range(answered, 40)), "in their order"
            assert {type(error) for error in refused.values()} == {RetryError}
        else:
            refused = dict.fromkeys(message.id for message in batch)
            with pytest.raises(RetryError):
                await sink.write(batch)
    async with serving(strict, port):
        await sink.write([message for message in batch if message.id in refused])
        await sink.close()
    assert strict.lines == texts(answered, 40)


async def test_a_flood_and_a_trickle_are_bounded() -> None:
    async def trickling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Strict.frame(reader)
        writer.write(b"1 rsp %d %s\n" % (len(OPENED), OPENED))
        while True:
            number, _, _ = await Strict.frame(reader)
            await asyncio.sleep(0.05)
            writer.write(b"%d rsp 6 200 OK\n" % number)

    async def flooding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"1" * 65536)
            await writer.drain()

    async with serving(trickling) as port:
        sink = sink_to(port, window=2, timeout_s=0.4)
        async with asyncio.timeout(20):
            refused, _ = await sink.write(messages(0, 1000))
        assert 900 < len(refused) < 1000, "what was answered is not sent again"
        await sink.close()
    async with serving(flooding) as port:
        sink = sink_to(port)
        with pytest.raises(RetryError, match="no RELP: 1111"):
            await sink.write(messages(0, 1))
        await sink.close()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"500 no such version", HoldError),
        (b"200 OK\nrelp_version=0\ncommands=eventlog", HoldError),
        (b"", HoldError),
    ],
)
async def test_a_session_that_is_refused(said: bytes, kind: type[DeliveryError]) -> None:
    strict = Strict()
    strict.opened = said
    async with serving(strict) as port:
        sink = sink_to(port)
        with pytest.raises(kind):
            await sink.write(messages(0, 1))
        await sink.close()
    assert not strict.lines


async def test_a_receiver_that_took_its_leave_while_idle_is_called_again() -> None:
    strict = Strict()
    leave = asyncio.Event()

    async def leaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if leave.is_set():
            await strict(reader, writer)
        serving_ = asyncio.create_task(strict(reader, writer))
        await leave.wait()
        writer.write(b"0 serverclose 0\n")
        await writer.drain()
        await asyncio.wait([serving_])

    async with serving(leaving) as port:
        sink = sink_to(port)
        await sink.write(messages(0, 1))
        leave.set()
        connection = sink._connection
        assert connection is not None
        await until(lambda: bool(connection.received))
        assert await sink.write(messages(1, 2)) == ({}, 0)
        await sink.close()
    assert strict.commands["open"] == 2
    assert strict.lines == texts(0, 2)


async def test_numbers_begin_again_after_the_last() -> None:
    strict = Strict()
    async with serving(strict) as port:
        sink = sink_to(port)
        await sink.write(messages(0, 1))
        sink._number = module._LAST_NUMBER - 2
        assert await sink.write(messages(1, 6)) == ({}, 0)
        await sink.close()
    assert strict.numbers[1:] == [999_999_998, 999_999_999, 1, 2, 3]


ANSWERS = st.lists(
    st.tuples(
        st.integers(0, 10**9 - 1),
        st.sampled_from([b"rsp", b"serverclose"]),
        st.binary(max_size=50),
    )
)


@given(frames=ANSWERS, cuts=st.lists(st.integers(0, 400), max_size=8))
def test_answers_are_the_same_however_they_arrive(
    frames: list[tuple[int, bytes, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(module._frame(*frame) for frame in frames)
    received, found, at = bytearray(), [], 0
    for cut in [*sorted(cuts), len(stream)]:
        received += stream[at:cut]
        at = max(at, min(cut, len(stream)))
        found += [tuple(answer) for answer in module._answers(received)]
    assert found == frames
    assert not received


@given(said=st.one_of(st.binary(max_size=200), st.from_regex(rb"\d{1,3} rsp \d{1,5}[ \n].{0,40}\n?")))
def test_whatever_a_receiver_says_is_an_answer_or_an_error(said: bytes) -> None:
    received = bytearray(said)
    try:
        answers = list(module._answers(received))
    except RetryError:
        return
    for answer in answers:
        assert answer.code in range(1000)
        assert len(answer.said) <= 300
    assert len(received) <= module._LONGEST_HEADER + module._LONGEST_ANSWER + 1


class TestRsyslog:
    async def test_tcp(self, tmp_path: Path) -> None:
        with Rsyslog(tmp_path / "rsyslog", "imrelp").running() as receiver:
            sink = sink_to(receiver.port)
            for first in range(0, 1000, 100):
                assert await sink.write(messages(first, first + 100)) == ({}, 0)
            await sink.close()
            assert receiver.lines == texts(0, 1000), "answered is stored: its queue is a direct one"

    async def test_tls(self, tmp_path: Path, certificates: Certificates) -> None:
        tls = (
            'tls="on" tls.authMode="name" tls.permittedPeer=["client"] '
            f'tls.caCert="{certificates.file("authority.pem")}" '
            f'tls.myCert="{certificates.file("server.pem")}" '
            f'tls.myPrivKey="{certificates.file("server.key")}"'
        )
        more = {"transport": "tls", "ca_file": certificates.file("authority.pem")}
        with Rsyslog(tmp_path / "rsyslog", "imrelp", tls).running() as receiver:
            stranger = sink_to(receiver.port, **more)
            with pytest.raises((HoldError, RetryError)):
                await stranger.write(messages(0, 1))
            await stranger.close()
            sink = sink_to(
                receiver.port,
                **more,
                cert_file=certificates.file("client.pem"),
                key_file=certificates.file("client.key"),
            )
            assert await sink.write(messages(0, 500)) == ({}, 0)
            await sink.close()
            assert receiver.lines == texts(0, 500)

    async def test_killed_in_the_middle_of_a_window(self, tmp_path: Path) -> None:
        """Nothing is lost, and at most one window a kill is there twice."""
        window, kills, count = 128, 3, 6_000
        with Rsyslog(tmp_path / "rsyslog", "imrelp").running() as receiver:
            sink = sink_to(receiver.port, window=window)
            owed = messages(0, count, size=500)
            for kill in range(kills):
                enough = (kill + 1) * 500_000

                def strike(enough: int = enough) -> None:
                    until_ = time.monotonic() + 20
                    while time.monotonic() < until_:
                        if receiver.stored.exists() and receiver.stored.stat().st_size > enough:
                            break
                        time.sleep(0.001)
                    receiver.kill()

                striking = threading.Thread(target=strike)
                striking.start()
                refused, _ = await sink.write(owed)
                striking.join()
                assert 0 < len(refused) < len(owed)
                owed = [message for message in owed if message.id in refused]
                receiver.start()
            assert await sink.write(owed) == ({}, 0)
            await sink.close()
            stored = Counter(re.findall(r"- - - (\d+) ", "\n".join(receiver.lines)))
        assert {int(number) for number in stored} == set(range(count))
        assert sum(stored.values()) - count <= kills * window

    async def test_a_certificate_that_is_not_trusted(
        self, tmp_path: Path, certificates: Certificates
    ) -> None:
        async with serving(Strict(), ssl=server_context(certificates, "stranger")) as port:
            sink = sink_to(port, transport="tls", ca_file=certificates.file("authority.pem"))
            with pytest.raises(HoldError, match="its certificate"):
                await sink.write(messages(0, 1))
            await sink.close()
