"""A real Redis: each entry once, whatever dies in between; entries that are none never come back."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from guardian.errors import MachineError
from guardian.journal.records import Record
from guardian.source_settings import RedisStream
from guardian.sources import RedisStreamSource
from tests.guardian.sources.conftest import Certificates, running, until

Count = Callable[[str, int], None]


class Server:
    """One redis-server on a free port."""

    def __init__(self, folder: Path, *more: str, tls: bool = False) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("no redis-server here (Debian: redis-server)")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        ports = ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        self._command = [program, *ports, "--bind", "127.0.0.1", "--dir", str(folder), *more]
        self._tls = tls
        self.start()

    @property
    def url(self) -> str:
        return f"redis{'s' if self._tls else ''}://localhost:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.025)
        pytest.fail("redis-server did not start")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("redis"), "--save", "")
    yield made
    made.stop()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Redis]:
    connected = Redis.from_url(server.url)
    await connected.flushall()
    yield connected
    await connected.aclose()


def made(server: Server, count: Count, **more: Any) -> RedisStreamSource:
    return RedisStreamSource(
        RedisStream(name="stream", url=server.url, consumer=more.pop("consumer", "me"), **more), count
    )


async def append(client: Redis, *bodies: bytes, **fields: str) -> list[bytes]:
    return [await client.xadd("guardian", {"body": body, "map": "ecs", **fields}) for body in bodies]


async def pending(client: Redis) -> int:
    return (await client.xpending("guardian", "guardian"))["pending"]


async def taken(source: RedisStreamSource, many: int, resume: bytes | None = None) -> list[Record]:
    """The next deliveries; the last one is yielded, and the process dies before another is asked for."""
    deliveries = source.deliveries(resume)
    try:
        return [await anext(deliveries) for _ in range(many)]
    finally:
        await deliveries.aclose()


async def test_entries_are_acknowledged_once_the_next_is_asked_for(
    server: Server, client: Redis, count: Count
) -> None:
    await append(client, b"a", b"b", type="application/json", encoding="zstd")
    await append(client, b"c", path="/v1/logs")
    source = made(server, count)
    deliveries = source.deliveries(None)
    first = await anext(deliveries)
    assert first[:4] == ("/api/v1/events", "application/json", "zstd", "ecs")
    assert (first.body, first.source) == (b"a", "stream")
    assert await pending(client) == 1
    await anext(deliveries)
    assert await pending(client) == 1
    third = await anext(deliveries)
    assert third[:2] == ("/v1/logs", "application/x-protobuf")
    waiting = asyncio.ensure_future(anext(deliveries))
    async with asyncio.timeout(10):
        while await pending(client):
            await asyncio.sleep(0.01)
        await append(client, b"d")
        assert (await waiting).body == b"d", "what comes later comes too"
    await deliveries.aclose()


@pytest.mark.parametrize("durable", [0, 1, 2, 3])
async def test_a_crash_at_any_moment(durable: int, server: Server, client: Redis, count: Count) -> None:
    await append(client, b"a", b"b", b"c", b"d")
    before = await taken(made(server, count), durable) if durable else []
    if durable < 3:  # one more was handed over, and the process died before it was durable
        await taken(made(server, count), 1, before[-1].position if before else None)
    resume = before[-1].position if before else None
    after = await taken(made(server, count), 4 - durable, resume)
    assert [record.body for record in before + after] == [b"a", b"b", b"c", b"d"]
    assert await pending(client) == 1, "the last one, which nobody has said is durable"
    task = asyncio.ensure_future(taken(made(server, count), 1, after[-1].position))
    async with asyncio.timeout(10):
        while await pending(client):
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])


async def test_a_position_of_another_stream_says_nothing(server: Server, client: Redis, count: Count) -> None:
    await append(client, b"a")
    (record,) = await taken(made(server, count), 1)
    other = made(server, count, stream="other")
    await client.xadd("other", {"body": b"x"}, id=record.position.decode().split('"')[-2])
    assert (await taken(other, 1, record.position))[0].body == b"x"
    assert (await taken(other, 1, b"\xffnonsense"))[0].body == b"x"


async def test_what_a_dead_consumer_left_is_taken_over(server: Server, client: Redis, count: Count) -> None:
    await append(client, b"a", b"b", b"c")
    await client.xgroup_create("guardian", "guardian", id="0")
    await client.xreadgroup("guardian", "dead", {"guardian": ">"}, count=2)
    await asyncio.sleep(0.05)
    records = await taken(made(server, count, claim_idle_s=0.02), 3)
    assert [record.body for record in records] == [b"a", b"b", b"c"]


async def test_what_a_living_consumer_has_is_left_alone(server: Server, client: Redis, count: Count) -> None:
    await append(client, b"a", b"b")
    await client.xgroup_create("guardian", "guardian", id="0")
    await client.xreadgroup("guardian", "other", {"guardian": ">"}, count=1)
    assert (await taken(made(server, count, claim_idle_s=60), 1))[0].body == b"b"


async def test_entries_that_are_none_are_counted_and_never_come_back(
    server: Server, client: Redis, counted: Counter[str], count: Count
) -> None:
    await client.xadd("guardian", {"text": b"x"})
    await append(client, b"x" * 2000)
    await append(client, b"{}", path="/internal/decisions")
    await client.xadd("guardian", {"body": b"{}", "map": b"\xff"})
    await append(client, b"good")
    source = made(server, count, max_entry_bytes=1024)
    async with running(source) as run:
        await until(lambda: len(run.records) == 1)
        async with asyncio.timeout(10):
            while await pending(client):
                await asyncio.sleep(0.01)
    assert run.records[0].body == b"good"
    assert counted == {"no_body": 1, "too_large": 1, "unknown_path": 1, "bad_field": 1}


async def test_entries_that_redis_deleted(
    server: Server, client: Redis, counted: Counter[str], count: Count
) -> None:
    ids = await append(client, b"a", b"b", b"c")
    await client.xgroup_create("guardian", "guardian", id="0")
    await client.xreadgroup("guardian", "me", {"guardian": ">"}, count=1)
    await client.xreadgroup("guardian", "dead", {"guardian": ">"}, count=1)
    await client.xdel("guardian", *ids[:2])
    await asyncio.sleep(0.05)
    assert (await taken(made(server, count, claim_idle_s=0.02), 1))[0].body == b"c"
    assert counted == {"trimmed": 2}


async def test_a_stream_that_somebody_deletes(server: Server, client: Redis, count: Count) -> None:
    source = made(server, count)
    async with running(source) as run:
        await append(client, b"a")
        await until(lambda: len(run.records) == 1)
        await client.delete("guardian")
        await append(client, b"b")
        await until(lambda: len(run.records) == 2)
    assert [record.body for record in run.records] == [b"a", b"b"]


async def test_a_cancellation_that_the_library_swallows(
    server: Server, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, reached = made(server, count), asyncio.Event()

    async def swallowing(*_: object) -> tuple[bytes, None]:
        reached.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return b"", None

    monkeypatch.setattr(source, "_next", swallowing)
    task = asyncio.create_task(taken(source, 1))
    await reached.wait()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=20)
    assert done
    assert task.cancelled()


async def test_a_server_that_goes_and_comes_back(tmp_path: Path, count: Count) -> None:
    own = Server(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    client = Redis.from_url(own.url)
    try:
        await append(client, b"a", b"b")
        deliveries = made(own, count).deliveries(None)
        first = await anext(deliveries)
        await client.aclose()
        own.stop()
        with pytest.raises(MachineError, match="source stream: Redis: "):
            await anext(deliveries)
        with pytest.raises(MachineError, match="source stream: Redis: "):
            await anext(made(own, count).deliveries(first.position))
        own.start()
        (second,) = await taken(made(own, count), 1, first.position)
        assert (first.body, second.body) == (b"a", b"b")
    finally:
        await client.aclose()
        own.stop()


async def test_password_and_tls(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    files = [
        *(
            "--tls-cert-file",
            certificates.file("server.pem"),
            "--tls-key-file",
            certificates.file("server.key"),
        ),
        *("--tls-ca-cert-file", certificates.file("authority.pem"), "--tls-auth-clients", "no"),
    ]
    own = Server(tmp_path, "--save", "", "--requirepass", "hunter2", *files, tls=True)
    ca = certificates.file("authority.pem")
    client = Redis.from_url(own.url, password="hunter2", ssl_ca_certs=ca)
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    monkeypatch.setenv("REDIS_SECRET", "hunter2")
    monkeypatch.setenv("REDIS_WRONG", "hunter3")
    try:
        await append(client, b"a", b"b")
        for more in ({"password_env": "REDIS_SECRET"}, {"password_file": str(secret)}):
            assert (await taken(made(own, count, ca_file=ca, **more), 1))[0].body == b"a"
        for more in (
            {"password_env": "REDIS_WRONG"},
            {},
            {"password_env": "REDIS_SECRET", "ca_file": certificates.file("stranger.pem")},
        ):
            with pytest.raises(MachineError) as caught:
                await taken(made(own, count, **{"ca_file": ca, **more}), 1)
            assert "hunter" not in str(caught.value)
        for more in ({"password_env": "NOT_SET"}, {"password_file": str(tmp_path / "none")}):
            with pytest.raises(MachineError, match=r"source stream: \S+ (is not set|cannot be read)"):
                await taken(made(own, count, **more), 1)
    finally:
        await client.aclose()
        own.stop()
