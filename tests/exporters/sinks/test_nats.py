"""NATS JetStream: each message acknowledged or named, once by its id, against strict servers and a real one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.sinks import nats as module
from exporters.sinks.nats import NatsSink
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.sink_settings import Nats
from tests.exporters.sinks.conftest import messages, serving, texts
from tests.guardian.sources.conftest import Certificates
from tests.receivers import NatsServer

SUBJECT = "tamv.guardian.alerts"


class Admin:
    """Makes streams and looks into them, over the client protocol."""

    def __init__(self, port: int, **credential: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), 20)
        self._file = self._sock.makefile("rb")
        assert self._file.readline().startswith(b"INFO ")
        self._sock.sendall(
            b"CONNECT %s\r\nSUB reply 1\r\n" % json.dumps({"verbose": False, **credential}).encode()
        )

    def ask(self, api: str, **body: Any) -> dict[str, Any]:
        data = json.dumps(body).encode()
        self._sock.sendall(b"PUB $JS.API.%s reply %d\r\n%s\r\n" % (api.encode(), len(data), data))
        while not (line := self._file.readline()).startswith(b"MSG"):
            assert line, "the server has gone"
        answer: dict[str, Any] = json.loads(self._file.read(int(line.split()[-1])))
        self._file.readline()
        return answer

    def make(self, **more: Any) -> None:
        self.ask("STREAM.DELETE.ALERTS")
        answer = self.ask(
            "STREAM.CREATE.ALERTS",
            **{"name": "ALERTS", "subjects": [SUBJECT], "storage": "file", "retention": "limits", **more},
        )
        assert "error" not in answer, answer

    def stored(self) -> list[str]:
        """Bodies, and each with the id that it was published under."""
        count = self.ask("STREAM.INFO.ALERTS")["state"]["messages"]
        found = []
        for number in range(1, count + 1):
            message = self.ask("STREAM.MSG.GET.ALERTS", seq=number)["message"]
            text = base64.b64decode(message["data"]).decode()
            header = base64.b64decode(message["hdrs"]).decode()
            assert header == f"NATS/1.0\r\nNats-Msg-Id: {int(text.split()[-2]):032x}\r\n\r\n"
            found.append(text)
        return found

    def count(self) -> int:
        return int(self.ask("STREAM.INFO.ALERTS")["state"]["messages"])

    def close(self) -> None:
        self._file.close()
        self._sock.close()


@contextlib.contextmanager
def administered(server: NatsServer, **credential: str) -> Iterator[Admin]:
    admin = Admin(server.port, **credential)
    try:
        yield admin
    finally:
        admin.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")).running() as running:
        yield running


@pytest.fixture
def admin(server: NatsServer) -> Iterator[Admin]:
    with administered(server) as one:
        one.ask("STREAM.DELETE.ALERTS")
        yield one


@contextlib.asynccontextmanager
async def sink_to(url: str, **more: Any) -> AsyncIterator[NatsSink]:
    sink = NatsSink(Nats(name="siem", url=url, **more))
    try:
        yield sink
    finally:
        await sink.close()


async def test_each_message_is_stored_with_its_id(server: NatsServer, admin: Admin) -> None:
    admin.make()
    async with sink_to(server.url) as sink:
        assert await sink.write(messages(0, 600)) == ({}, 0)
        assert await sink.write(messages(600, 610)) == ({}, 0)
        assert await sink.write([]) == ({}, 0)
    assert admin.stored() == texts(0, 610)


async def test_repetitions_are_recognised(server: NatsServer, admin: Admin) -> None:
    admin.make()
    async with sink_to(server.url) as sink:
        await sink.write(messages(0, 10))
    async with sink_to(server.url) as sink:
        assert await sink.write(messages(5, 15)) == ({}, 5)
    assert admin.stored() == texts(0, 15)


async def test_no_stream_takes_the_subject(server: NatsServer, admin: Admin) -> None:
    async with sink_to(server.url) as sink:
        with pytest.raises(HoldError, match="no stream takes this subject"):
            await sink.write(messages(0, 10))
        admin.make()
        assert await sink.write(messages(0, 10)) == ({}, 0)
    assert admin.stored() == texts(0, 10)


async def test_a_message_that_is_too_large_is_refused_alone(server: NatsServer, admin: Admin) -> None:
    admin.make(max_msg_size=1_000)
    huge, large = messages(1, 2, size=2**20)[0], messages(3, 4, size=1_000)[0]
    async with sink_to(server.url) as sink:
        batch = [*messages(0, 1), huge, *messages(2, 3), large, *messages(4, 5)]
        refused, _ = await sink.write(batch)
    assert {int(name, 16): type(error) for name, error in refused.items()} == {1: PoisonError, 3: PoisonError}
    assert "more than the server takes (1048576)" in str(refused[huge.id])
    assert str(refused[large.id]) == "10054 message size exceeds maximum allowed"
    assert admin.count() == 3


async def test_a_full_stream_takes_them_later(server: NatsServer, admin: Admin) -> None:
    admin.make(max_msgs=5, discard="new")
    async with sink_to(server.url) as sink:
        refused, _ = await sink.write(messages(0, 8))
        assert [int(name, 16) for name in refused] == [5, 6, 7]
        assert {type(error) for error in refused.values()} == {RetryError}
        assert "maximum messages exceeded" in str(refused[f"{5:032x}"])
        admin.ask("STREAM.PURGE.ALERTS")
        assert await sink.write(messages(5, 8)) == ({}, 0)


async def test_a_server_that_is_killed_under_way_loses_and_repeats_nothing(tmp_path: Path) -> None:
    count = 20_000
    with NatsServer(tmp_path / "nats").running() as server:
        with administered(server) as admin:
            admin.make(duplicate_window=3600 * 10**9)

            def strike() -> None:
                until = time.monotonic() + 20
                while time.monotonic() < until and admin.count() < 1_000:
                    time.sleep(0.001)
                server.kill()

            striking = threading.Thread(target=strike)
            async with sink_to(server.url) as sink:
                striking.start()
                refused, _ = await sink.write(messages(0, count))
                await asyncio.to_thread(striking.join)
                assert 0 < len(refused) < count
                server.start()
                owed = [message for message in messages(0, count) if message.id in refused]
                answers = await sink.write(owed)
                assert not answers.refused
                assert answers.duplicates <= module._WINDOW
        with administered(server) as admin:
            assert admin.count() == count


@pytest.mark.parametrize(("token", "kind"), [("sesame-1", HoldError), ("", HoldError), ("sesame-2", None)])
async def test_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, kind: type[DeliveryError] | None
) -> None:
    monkeypatch.setenv("NATS_WORD", token)
    more = {"token_env": "NATS_WORD"} if token else {}
    with NatsServer(tmp_path / "nats", "--auth", "sesame-2").running() as server:
        with administered(server, auth_token="sesame-2") as admin:
            admin.make()
        async with sink_to(server.url, **more) as sink:
            if kind is None:
                assert await sink.write(messages(0, 3)) == ({}, 0)
                return
            with pytest.raises(kind, match="Authorization Violation") as caught:
                await sink.write(messages(0, 3))
            assert "sesame" not in str(caught.value)


async def test_publishing_that_is_not_allowed(tmp_path: Path) -> None:
    folder = tmp_path / "nats"
    folder.mkdir()
    (folder / "nats.conf").write_text(
        "no_auth_user: guest\naccounts { A { jetstream: enabled, users: [ { user: guest, password: x, "
        'permissions: { publish: "other" } } ] } }\n'
    )
    with NatsServer(folder, "-c", str(folder / "nats.conf")).running() as server:
        async with sink_to(server.url, timeout_s=5) as sink:
            with pytest.raises(HoldError, match="Permissions Violation for Publish"):
                await sink.write(messages(0, 3))


class TestTls:
    @pytest.fixture
    def options(self, certificates: Certificates) -> tuple[str, ...]:
        return (
            "--tls",
            "--tlscert",
            certificates.file("server.pem"),
            "--tlskey",
            certificates.file("server.key"),
        )

    async def test_a_server_that_asks_for_it(
        self, tmp_path: Path, options: tuple[str, ...], certificates: Certificates
    ) -> None:
        trusted = {"ca_file": certificates.file("authority.pem")}
        with NatsServer(tmp_path / "nats", *options, tls=True).running() as server:
            for url in (server.url, server.url.replace("tls:", "nats:")):
                async with sink_to(url, **trusted) as sink:
                    with pytest.raises(HoldError, match="no stream takes this subject"):
                        await sink.write(messages(0, 3))
            async with sink_to(server.url, ca_file=certificates.file("stranger.pem")) as sink:
                with pytest.raises(HoldError, match="its certificate"):
                    await sink.write(messages(0, 3))

    async def test_a_server_that_offers_none_is_told_no_token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NATS_WORD", "sesame")
        fake = Fake()
        async with (
            serving(fake) as port,
            sink_to(f"tls://127.0.0.1:{port}", token_env="NATS_WORD") as sink,
        ):
            with pytest.raises(HoldError, match="offers none"):
                await sink.write(messages(0, 1))
        assert not fake.hello

    async def test_what_is_slipped_in_before_tls_is_not_believed(self, certificates: Certificates) -> None:
        async def slipping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(info(tls_required=True) + b"+OK\r\n")
            await reader.read()

        async with (
            serving(slipping) as port,
            sink_to(f"tls://127.0.0.1:{port}", ca_file=certificates.file("authority.pem")) as sink,
        ):
            with pytest.raises(RetryError, match="no NATS"):
                await sink.write(messages(0, 1))


def info(**more: Any) -> bytes:
    return b"INFO %s\r\n" % json.dumps({"headers": True, "max_payload": 2**20, **more}).encode()


class Fake:
    """A server that takes the client protocol and answers each publish as it is told."""

    def __init__(self, answer: Callable[[bytes, int], bytes] | None = None) -> None:
        self.answer = answer or (lambda subject, _count: taken(subject))
        self.hello: dict[str, Any] = {}
        self.bodies: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(info())
        while line := await reader.readline():
            assert line.endswith(b"\r\n")
            word, _, rest = line[:-2].partition(b" ")
            if word == b"CONNECT":
                self.hello = json.loads(rest)
                assert self.hello["headers"]
                assert self.hello["no_responders"]
            elif word == b"PING":
                writer.write(b"PONG\r\n")
            elif word == b"HPUB":
                subject, reply, header, size = rest.split()
                assert subject == SUBJECT.encode()
                head = await reader.readexactly(int(header))
                assert head.startswith(b"NATS/1.0\r\nNats-Msg-Id: ")
                assert head.endswith(b"\r\n\r\n")
                self.bodies.append(await reader.readexactly(int(size) - int(header)))
                assert await reader.readexactly(2) == b"\r\n"
                writer.write(self.answer(reply, len(self.bodies)))
            else:
                assert word in {b"SUB", b"PONG"}


def taken(reply: bytes, **more: Any) -> bytes:
    body = json.dumps({"stream": "S", "seq": 1, **more}).encode()
    return b"MSG %s 1 %d\r\n%s\r\n" % (reply, len(body), body)


NO_RESPONDERS = b"HMSG %s 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"


def failing(code: int, number: int) -> Callable[[bytes, int], bytes]:
    return lambda reply, _count: taken(
        reply, error={"code": code, "err_code": number, "description": "why " * 200}
    )


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (failing(503, 10077), RetryError),
        (failing(400, 10054), PoisonError),
        (failing(400, 10071), HoldError),
        (lambda reply, _: NO_RESPONDERS % reply, HoldError),
        (lambda reply, _: b"MSG %s 1 2\r\n{}\r\n" % reply, RetryError),
        (lambda reply, _: b"MSG %s 1 2\r\n[]\r\n" % reply, RetryError),
        (lambda reply, _: b'MSG %s 1 12\r\n{"error": 1 }\r\n' % reply, RetryError),
        (lambda reply, _: b"MSG %s 1 3\r\n\xff\xfe\xfd\r\n" % reply, RetryError),
        (lambda reply, _: b"MSG %s 1 99999999999\r\n" % reply, RetryError),
        (lambda reply, _: b"HMSG %s 1 99 10\r\n" % reply, RetryError),
        (lambda _reply, _: b"MSG other 1 2\r\n{}\r\n", RetryError),
        (lambda _reply, _: b"HTTP/1.1 400 Bad Request\r\n", RetryError),
        (lambda _reply, _: b"x" * 100_000, RetryError),
        (lambda _reply, _: b"-ERR 'Stale Connection'\r\n", RetryError),
        (lambda _reply, _: b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n", HoldError),
        (lambda _reply, _: b"", RetryError),
    ],
)
async def test_what_a_server_says(answer: Callable[[bytes, int], bytes], kind: type[DeliveryError]) -> None:
    async with (
        serving(Fake(answer)) as port,
        sink_to(f"nats://127.0.0.1:{port}", timeout_s=1) as sink,
    ):
        refused: dict[str, DeliveryError] = {}
        try:
            refused = dict((await sink.write(messages(0, 1))).refused)
            (error,) = refused.values()
        except DeliveryError as raised:
            error = raised
    assert type(error) is kind
    assert str(error)
    assert len(str(error)) < 400


async def test_what_was_acknowledged_before_a_break_is_not_sent_again() -> None:
    fake = Fake(lambda reply, count: taken(reply) if count <= 7 else b"-ERR 'x'\r\n")
    async with serving(fake) as port, sink_to(f"nats://127.0.0.1:{port}") as sink:
        refused, _ = await sink.write(messages(0, 20))
    assert [int(name, 16) for name in refused] == list(range(7, 20))


async def test_pings_and_news_are_no_answers() -> None:
    fake = Fake(lambda reply, _: b"PING\r\n" * 1000 + info() + b"+OK\r\n" + taken(reply, duplicate=True))
    async with serving(fake) as port, sink_to(f"nats://127.0.0.1:{port}") as sink:
        assert await sink.write(messages(0, 30)) == ({}, 30)
        assert await sink.write(messages(30, 31)) == ({}, 1)
    assert len(fake.bodies) == 31


@pytest.mark.parametrize(
    ("first", "kind", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", RetryError, "no NATS"),
        (b"INFO nonsense\r\n", RetryError, "its INFO cannot be read"),
        (b'INFO {"max_payload": 1}\r\n', HoldError, "no headers"),
        (b"INFO " + b" " * 100_000, RetryError, "a first line without end"),
        (b"", RetryError, "no answer in time"),
        (None, RetryError, "closed the connection"),
    ],
)
async def test_who_begins_otherwise_is_no_server(
    first: bytes | None, kind: type[DeliveryError], said: str
) -> None:
    async def beginning(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if first is not None:
            writer.write(first)
            await reader.read()

    async with (
        serving(beginning) as port,
        sink_to(f"nats://127.0.0.1:{port}", timeout_s=0.5) as sink,
        asyncio.timeout(20),
    ):
        with pytest.raises(kind, match=said):
            await sink.write(messages(0, 1))


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b 0", "a.*", "a.>", ".a", "a..b", "a."])
def test_settings_take_no_subject_that_is_none(subject: str) -> None:
    table = {"type": "nats", "name": "siem", "url": "nats://siem:4222", "subject": subject}
    with pytest.raises(msgspec.ValidationError, match="subject"):
        msgspec.convert(table, Nats)


@given(
    replies=st.lists(st.tuples(st.integers(0, 99), st.binary(max_size=60), st.binary(max_size=60))),
    cuts=st.lists(st.integers(0, 600), max_size=8),
)
def test_deliveries_are_the_same_however_they_arrive(
    replies: list[tuple[int, bytes, bytes]], cuts: list[int]
) -> None:
    stream, expected = b"", []
    for number, header, body in replies:
        subject = b"_INBOX.x.%d" % number
        size = len(header) + len(body)
        stream += b"HMSG %s 1 %d %d\r\n%s%s\r\n" % (subject, len(header), size, header, body)
        expected.append((subject, header[9:12], body))
    received, found, at = bytearray(), [], 0
    for cut in [*sorted(cuts), len(stream)]:
        received += stream[at:cut]
        at = max(at, min(cut, len(stream)))
        while (one := module._take(received)) is not None:
            found.append(tuple(one))
    assert found == expected


@given(said=st.one_of(st.binary(max_size=300), st.from_regex(rb"H?MSG a 1 \d{1,3} ?\d{0,3}\r\n.{0,60}")))
def test_whatever_a_server_says_is_taken_or_an_error(said: bytes) -> None:
    received = bytearray(said)
    with contextlib.suppress(RetryError):
        while module._take(received) is not None:
            pass
