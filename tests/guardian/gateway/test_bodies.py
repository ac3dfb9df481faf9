from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardian.gateway.bodies import HELD_BODIES


async def test_a_declared_length_past_the_cap_is_refused_at_once(serve: Any):
    face = await serve(max_body_bytes=1024)
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n")
    assert b" 413 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert face.service.calls == []


async def test_who_asks_before_sending_is_told_before_sending(serve: Any):
    face = await serve(max_body_bytes=1024)
    head = b"POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n"
    kind = b"Content-Type: application/json\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(head % 1025 + kind)
    assert b" 413 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert face.service.calls == []
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(head % 1024 + kind)
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    writer.write(bytes(1024))
    assert await reader.readline() == b"\r\n"
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()
    await writer.wait_closed()
    assert len(face.service.calls) == 1


async def test_an_undeclared_one_is_cut_at_the_cap(serve: Any):
    face = await serve(max_body_bytes=1024)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 64 * 2**20:
            sent += 4096
            yield bytes(4096)

    try:
        status, _, body = await face.post("/api/v1/events", data=endless())
        assert (status, body["type"]) == (413, "urn:tamv-guardian:problem:too_large")
        assert "1024 bytes" in body["detail"]
    except OSError:
        pass  # the connection was closed while we were still sending
    assert face.service.calls == []


async def test_exactly_the_cap_is_taken(serve: Any):
    face = await serve(max_body_bytes=1024)
    assert (await face.post("/api/v1/events", data=bytes(1024)))[0] == 200
    assert (await face.post("/api/v1/events", data=bytes(1025)))[0] == 413


async def test_all_bodies_together_are_bounded(serve: Any):
    face = await serve(max_body_bytes=1024)
    connections = []
    for _ in range(HELD_BODIES + 2):
        reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
        writer.write(
            b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1024\r\n\r\n" + bytes(1000)
        )
        await writer.drain()
        connections.append((reader, writer))
    await asyncio.wait(
        [asyncio.create_task(reader.readline()) for reader, _ in connections],
        return_when=asyncio.FIRST_COMPLETED,
    )
    status, headers, _ = await face.post("/api/v1/events", data=bytes(1024))
    assert (status, headers["Retry-After"]) == (429, "1")
    for _, writer in connections:
        writer.close()
        await writer.wait_closed()
    for _ in range(100):
        if (await face.post("/api/v1/events", data=bytes(1024)))[0] == 200:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the bodies of closed connections still count")


async def test_one_sender_cannot_take_the_room_of_the_others(serve: Any):
    face = await serve(max_body_bytes=1024)

    async def waits_with(size: int, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", face.port, local_addr=(source, 0))
        writer.write(
            b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1024\r\n\r\n" + bytes(size)
        )
        await writer.drain()
        return reader, writer

    loud = [await waits_with(1000, "127.0.0.1") for _ in range(HELD_BODIES)]
    refused = [
        done.result()
        for done in (
            await asyncio.wait([asyncio.create_task(reader.readline()) for reader, _ in loud], timeout=0.5)
        )[0]
    ]
    assert 5 <= len(refused) <= 8, "half of the room, less what has not arrived"
    assert all(b" 429 " in line for line in refused)
    quiet_reader, quiet = await waits_with(1024, "127.0.0.2")
    assert b" 200 " in await quiet_reader.readline()
    for writer in (quiet, *(writer for _, writer in loud)):
        writer.close()
        await writer.wait_closed()


async def test_a_slow_body_is_cut_off(serve: Any):
    face = await serve(arrival_s=0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n123")
    assert b" 408 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert face.service.calls == []


async def test_a_broken_off_body_reaches_nobody(face: Any):
    _, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n123")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await face.get("/health/live"))[0] == 200
    assert face.service.calls == []


async def test_wrong_chunks_are_a_400(face: Any):
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(
        b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n"
    )
    assert b" 400 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert face.service.calls == []


@given(body=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_any_body_of_a_decision_gets_a_clear_answer(body: bytes):
    async def run() -> None:
        import aiohttp.test_utils as aiohttp_test

        from guardian.config import Server
        from guardian.gateway import application
        from tests.guardian.gateway.conftest import FakeService

        server = aiohttp_test.TestServer(application(FakeService(), settings=Server()))
        async with aiohttp_test.TestClient(server) as client:
            answer = await client.post(
                "/api/v1/eoct/evaluate", data=body, headers={"Content-Type": "application/json"}
            )
            assert answer.status in {201, 400, 422}

    asyncio.run(run())
