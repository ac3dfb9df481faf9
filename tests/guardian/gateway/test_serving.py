from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.gateway.problems import OTLP_PATHS
from guardian.gateway.reading import LISTS

POSTS = ["/api/v1/events", *OTLP_PATHS, "/api/v1/eoct/evaluate", "/api/v1/protocols/execute"]
GETS = ["/health/live", "/health/ready", "/metrics", "/api/v1/guardian", "/api/v1/entities", *LISTS]


async def exchange(port: int, data: bytes, *, patience_s: float = 20.0) -> bytes:
    """What comes back for raw bytes until the server closes, or until patience ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        writer.write(data)
        async with asyncio.timeout(patience_s):
            while block := await reader.read(65_536):
                answer += block
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


@pytest.mark.parametrize("path", GETS)
async def test_get_routes_take_get_and_head_only(face: Any, path: str):
    assert (await face.get(path))[0] == 200
    status, _, body = await face.ask("HEAD", path)
    assert (status, body) == (200, b"")
    if path != "/api/v1/isabella/decisions":
        status, headers, body = await face.post(path)
        assert (status, body["status"]) == (405, 405)
        assert set(headers["Allow"].split(",")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", POSTS)
async def test_post_routes_take_post_only(face: Any, path: str):
    for method in ("GET", "PUT", "OPTIONS", "TRACE"):
        status, headers, _ = await face.ask(method, path)
        assert (status, headers["Allow"]) == (405, "POST")


async def test_no_such_path(face: Any):
    status, headers, body = await face.get("/api/v2/guardian")
    assert (status, headers["Content-Type"]) == (404, "application/problem+json")
    assert body == {
        "type": "urn:tamv-guardian:problem:not_found",
        "title": "Not Found",
        "status": 404,
        "detail": "there is nothing at this path",
    }


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    ],
)
async def test_what_is_not_http_is_refused_without_echo_or_log(
    face: Any, garbage: bytes, caplog: pytest.LogCaptureFixture
):
    answer = await exchange(face.port, garbage)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"application/problem+json" in answer
    assert b"aiohttp" not in answer
    assert b"Python" not in answer
    assert b"aaaa" not in answer
    assert caplog.records == []
    assert (await face.get("/health/live"))[0] == 200


async def test_a_head_that_never_ends_is_cut_off(serve: Any):
    face = await serve(idle_s=0.05)
    assert await exchange(face.port, b"GET /health/live HTTP/1.1\r\nHost: loc") == b""
    assert await exchange(face.port, b"") == b""


async def test_a_head_that_comes_in_drops_is_cut_off(serve: Any):
    face = await serve(idle_s=0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    with contextlib.suppress(ConnectionError):
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n")
        for _ in range(2000):
            if reader.at_eof() or writer.is_closing():
                break
            writer.write(b"X: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.005)
        else:
            pytest.fail("it was not cut off")
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    assert face.service.calls == []


async def test_a_reader_that_takes_nothing_is_cut_off(serve: Any, monkeypatch: pytest.MonkeyPatch):
    face = await serve(idle_s=0.1)

    async def large(accept: str) -> tuple[bytes, str]:
        return bytes(16 * 2**20), "text/plain"

    monkeypatch.setattr(face.service, "metrics", large)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", face.port))
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        seen = 0
        for _ in range(2000):
            seen = max(seen, len(face.server.connections))
            if seen and not face.server.connections:
                break
            await asyncio.sleep(0.01)
        assert seen == 1
        assert face.server.connections == []


async def test_a_slow_reader_gets_all_of_its_answer(serve: Any, monkeypatch: pytest.MonkeyPatch):
    face = await serve(idle_s=0.2)

    async def large(accept: str) -> tuple[bytes, str]:
        return bytes(2**20), "text/plain"

    monkeypatch.setattr(face.service, "metrics", large)
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port, limit=4096)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    got = 0
    while block := await reader.read(32_768):
        got += len(block)
        await asyncio.sleep(0.005)
    assert got > 2**20
    writer.close()
    await writer.wait_closed()


async def test_requests_in_a_row_are_answered_in_their_order(face: Any):
    each = b"GET /api/v1/msr/proof/%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    row = b"".join(each % (i % 6) for i in range(500))
    answer = await exchange(face.port, row + last)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 501
    assert face.service.calls == [("proof", i % 6) for i in range(500)]
    face.service.calls.clear()
    answer = await exchange(face.port, row + b"junk\r\n\r\n" + last)
    # What was read together with the junk is refused with it; what came before is answered.
    assert face.service.calls == [("proof", i % 6) for i in range(len(face.service.calls))]
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == len(face.service.calls)
    assert answer.count(b" 400 Bad Request\r\n") == 1
    assert face.refused == {"http": 1}


async def test_the_loop_is_the_one_that_the_service_runs_on():
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


async def test_a_connection_kept_alive_is_closed_when_idle(serve: Any):
    face = await serve(idle_s=0.05)
    answer = await exchange(face.port, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_a_failure_nobody_foresaw_is_logged_and_not_shown(face: Any, caplog: pytest.LogCaptureFixture):
    face.service.failure = RuntimeError("the secret is 42")
    status, _, body = await face.get("/api/v1/guardian")
    assert (status, body["type"]) == (500, "urn:tamv-guardian:problem:internal")
    assert "42" not in str(body)
    assert [record.name for record in caplog.records] == ["guardian.gateway"]
    face.service.failure = None
    assert (await face.get("/api/v1/guardian"))[0] == 200


async def test_no_access_log(face: Any, caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG")
    await face.get("/api/v1/guardian")
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4))
@settings(max_examples=10)
def test_any_bytes_leave_the_server_answering(pieces: list[bytes]):
    async def run() -> None:
        from aiohttp import web

        from guardian.config import Server
        from guardian.gateway import application, runner
        from tests.guardian.gateway.conftest import FakeService

        running = runner(application(FakeService(), settings=Server()), idle_s=0.2)
        await running.setup()
        await web.TCPSite(running, "127.0.0.1", 0).start()
        port = running.addresses[0][1]
        for piece in pieces:
            await exchange(port, piece, patience_s=0.05)
            head = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
            await exchange(port, head + piece + b"\r\n\r\n", patience_s=0.05)
        good = await exchange(
            port, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert good.startswith(b"HTTP/1.1 200 OK")
        await running.cleanup()

    asyncio.run(run())


async def test_one_connection_too_many_is_told_so_and_makes_no_difference_to_the_others(serve: Any):
    face = await serve(max_connections=3)
    held = [await asyncio.open_connection("127.0.0.1", face.port) for _ in range(3)]
    answer = await exchange(face.port, b"")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1" in head
    assert int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]) == len(body)
    assert json.loads(body)["status"] == 503
    assert face.refused["connections"] == 1
    reader, writer = held[0]
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b" 200 " in await reader.readline()
    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    for _ in range(100):
        if b" 200 " in await exchange(face.port, b"GET /health/live HTTP/1.0\r\nHost: localhost\r\n\r\n"):
            return
        await asyncio.sleep(0.01)
    pytest.fail("closed connections still count")
