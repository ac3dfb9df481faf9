"""A real Redis: entries once as far as a stream allows, and what each of its refusals means."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis as Client
from redis.exceptions import ResponseError

from exporters.sinks.redis import RedisSink
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.sink_settings import Redis
from tests.exporters.sinks.conftest import messages, serving, texts
from tests.guardian.sources.conftest import Certificates
from tests.receivers import RedisServer

STREAM = "tamv:guardian:alerts"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis-sink"), "--save", "").running() as running:
        yield running


@pytest.fixture
async def client(server: RedisServer) -> AsyncIterator[Client]:
    connected = Client.from_url(server.url)
    await connected.flushall()
    yield connected
    await connected.aclose()


@contextlib.asynccontextmanager
async def sink_to(url: str, **more: Any) -> AsyncIterator[RedisSink]:
    sink = RedisSink(Redis(name="siem", url=url, **more))
    try:
        yield sink
    finally:
        await sink.close()


async def bodies(client: Client) -> list[str]:
    entries: Any = await client.xrange(STREAM)
    return [fields[b"body"].decode() for _, fields in entries]


async def test_an_entry_tells_what_a_reader_needs(server: RedisServer, client: Client) -> None:
    async with sink_to(server.url) as sink:
        assert await sink.write(messages(0, 3)) == ({}, 0)
        assert await sink.write(messages(3, 5)) == ({}, 0)
        assert await sink.write([]) == ({}, 0)
    assert await bodies(client) == texts(0, 5)
    entries: Any = await client.xrange(STREAM)
    (message,) = messages(0, 1)
    assert entries[0][1] == {
        b"id": message.id.encode(),
        b"finding": message.finding.encode(),
        b"level": b"high",
        b"at": str(message.at).encode(),
        b"body": message.body,
    }


async def test_the_stream_is_trimmed(server: RedisServer, client: Client) -> None:
    async with sink_to(server.url, max_length=1_000) as sink:
        for first in range(0, 3_000, 500):
            await sink.write(messages(first, first + 500))
    assert 1_000 <= await client.xlen(STREAM) <= 1_200


async def test_what_is_there_already_after_a_start_is_not_added_again(
    server: RedisServer, client: Client
) -> None:
    async with sink_to(server.url) as sink:
        await sink.write(messages(0, 10))
    async with sink_to(server.url) as sink:
        assert await sink.write(messages(0, 12)) == ({}, 10)
        assert await sink.write(messages(12, 14)) == ({}, 0)
    assert await bodies(client) == texts(0, 14)


async def test_a_batch_whose_answer_is_lost_is_there_once(server: RedisServer, client: Client) -> None:
    """Between us and Redis stands somebody who lets a transaction pass and then hangs up."""
    lose = asyncio.Event()

    async def passing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind = await asyncio.open_connection("127.0.0.1", server.port)

        async def back() -> None:
            while said := await behind_reader.read(65536):
                if lose.is_set() and b"QUEUED" in said:
                    lose.clear()
                    writer.transport.abort()
                    return
                writer.write(said)

        returning = asyncio.create_task(back())
        try:
            while said := await reader.read(65536):
                behind.write(said)
                await behind.drain()
        finally:
            returning.cancel()
            behind.transport.abort()

    async with serving(passing) as port, sink_to(f"redis://127.0.0.1:{port}/0") as sink:
        await sink.write(messages(0, 5))
        lose.set()
        with pytest.raises(RetryError):
            await sink.write(messages(5, 10))
        assert await sink.write(messages(5, 11)) == ({}, 5)
    assert await bodies(client) == texts(0, 11)


async def test_redis_is_killed_and_comes_back(tmp_path: Path) -> None:
    """With appendonly and fsync always, what it acknowledged is there."""
    options = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
    with RedisServer(tmp_path / "redis", *options).running() as server:
        async with sink_to(server.url) as sink:
            await sink.write(messages(0, 100))
            server.kill()
            with pytest.raises(RetryError, match=r"(?i)connect|closed|reset"):
                await sink.write(messages(100, 200))
            server.start()
            answers = None
            async with asyncio.timeout(20):
                while answers is None:
                    with contextlib.suppress(RetryError):  # it is loading what it had
                        answers = await sink.write(messages(100, 200))
            assert answers == ({}, 0)
        async with Client.from_url(server.url) as client:
            assert await bodies(client) == texts(0, 200)


@pytest.fixture
async def configured(client: Client) -> AsyncIterator[Client]:
    """Afterwards the server is as it was."""
    yield client
    for command in (
        ("CONFIG", "SET", "maxmemory", "0"),
        ("REPLICAOF", "NO", "ONE"),
        ("CONFIG", "SET", "requirepass", ""),
        ("ACL", "DELUSER", "writer"),
    ):
        with contextlib.suppress(ResponseError):
            await client.execute_command(*command)


@pytest.mark.parametrize(
    ("before", "more", "kind", "said"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), {}, RetryError, "OOM"),
        (("REPLICAOF", "127.0.0.1", "1"), {}, RetryError, "READONLY"),
        (("SET", STREAM, "a text"), {}, HoldError, "WRONGTYPE"),
        (("CONFIG", "SET", "requirepass", "sesame-2"), {}, HoldError, "NOAUTH"),
        (
            ("CONFIG", "SET", "requirepass", "sesame-2"),
            {"password_env": "REDIS_WORD"},
            HoldError,
            "WRONGPASS",
        ),
        (
            ("ACL", "SETUSER", "writer", "on", ">sesame-1", "+@read", "+multi", "+exec", "~*"),
            {"username": "writer", "password_env": "REDIS_WORD"},
            HoldError,
            "NOPERM",
        ),
    ],
)
async def test_what_refusals_mean(
    server: RedisServer,
    configured: Client,
    monkeypatch: pytest.MonkeyPatch,
    before: tuple[str, ...],
    more: dict[str, str],
    kind: type[DeliveryError],
    said: str,
) -> None:
    monkeypatch.setenv("REDIS_WORD", "sesame-1")
    await configured.execute_command(*before)
    async with sink_to(server.url, **more) as sink:
        with pytest.raises(DeliveryError) as caught:
            await sink.write(messages(0, 2))
    assert type(caught.value) is kind
    assert str(caught.value).startswith(said)
    assert "sesame" not in str(caught.value)
    assert "señal" not in str(caught.value), "what was sent is not repeated"
    assert len(str(caught.value)) < 340


async def test_a_rotated_password_is_picked_up(
    server: RedisServer, configured: Client, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("old-word\n")
    await configured.execute_command("CONFIG", "SET", "requirepass", "new-word")
    async with sink_to(server.url, password_file=str(file)) as sink:
        with pytest.raises(HoldError, match="WRONGPASS"):
            await sink.write(messages(0, 1))
        file.unlink()
        with pytest.raises(HoldError, match="password_file cannot be read"):
            await sink.write(messages(0, 1))
        file.write_text("new-word\n")
        assert await sink.write(messages(0, 1)) == ({}, 0)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", RetryError),
        (b"-MASTERDOWN Link with MASTER is down\r\n", RetryError),
        (b"-CLUSTERDOWN The cluster is down\r\n", RetryError),
        (b"-MISCONF Errors writing to the AOF file\r\n", RetryError),
        (b"-ERR max number of clients reached\r\n", RetryError),
        (b"-ERR unknown command\r\n", HoldError),
        (b"-MOVED 3999 127.0.0.1:6381\r\n", HoldError),
        (b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n", PoisonError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", RetryError),
        (b"", RetryError),
    ],
)
async def test_what_a_receiver_says(said: bytes, kind: type[DeliveryError]) -> None:
    async def saying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            if b"HELLO" in piece:
                writer.write(b"%1\r\n$5\r\nproto\r\n:3\r\n")
            elif b"CLIENT" in piece:
                writer.write(b"+OK\r\n" * piece.count(b"CLIENT"))
            elif said:
                writer.write(said)
            else:
                return

    async with (
        serving(saying) as port,
        sink_to(f"redis://127.0.0.1:{port}/0", timeout_s=5) as sink,
    ):
        with pytest.raises(DeliveryError) as caught:
            await sink.write(messages(0, 1))
    assert type(caught.value) is kind, str(caught.value)
    assert str(caught.value)


async def test_a_receiver_that_hangs_costs_a_bounded_time() -> None:
    async def hanging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with (
        serving(hanging) as port,
        sink_to(f"redis://127.0.0.1:{port}/0", timeout_s=0.3) as sink,
        asyncio.timeout(20),
    ):
        with pytest.raises(RetryError):
            await sink.write(messages(0, 1))


async def test_tls(tmp_path: Path, certificates: Certificates) -> None:
    options = (
        "--save",
        "",
        "--tls-cert-file",
        certificates.file("server.pem"),
        "--tls-key-file",
        certificates.file("server.key"),
        "--tls-ca-cert-file",
        certificates.file("authority.pem"),
    )
    ours = {"cert_file": certificates.file("client.pem"), "key_file": certificates.file("client.key")}
    with RedisServer(tmp_path / "redis", *options, tls=True).running() as server:
        async with sink_to(server.url, ca_file=certificates.file("authority.pem"), **ours) as sink:
            assert await sink.write(messages(0, 3)) == ({}, 0)
        async with sink_to(server.url, ca_file=certificates.file("stranger.pem"), **ours) as sink:
            with pytest.raises(HoldError, match=r"(?i)certificate"):
                await sink.write(messages(0, 3))
