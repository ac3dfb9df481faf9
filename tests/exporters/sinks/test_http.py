"""The HTTP sink: what is sent, and what each answer means."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from exporters.sinks import http
from exporters.sinks.http import HttpSink, check_credentials
from guardian.config import Sink
from guardian.errors import DeliveryError, HoldError, MachineError, PoisonError, RetryError

ITEMS = [{"metadata": {"uid": name}} for name in ("a", "ñ")]


class Endpoint:
    """A receiver that keeps what it was asked and answers as it is told."""

    def __init__(self, answer: Callable[[], web.StreamResponse] = web.Response) -> None:
        self.answer = answer
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        self.asked.append(request)
        return self.answer()

    @asynccontextmanager
    async def sink(self, **settings: Any) -> AsyncIterator[HttpSink]:
        app = web.Application()
        app.router.add_post("/in", self._handle)
        server = web.AppRunner(app)
        await server.setup()
        await web.TCPSite(server, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{server.addresses[0][1]}/in"
        sink = HttpSink(Sink(name="siem", type="http", url=url, **settings))
        try:
            yield sink
        finally:
            await sink.close()
            await server.cleanup()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, None) for status in (200, 201, 202, 204)),
        *((status, RetryError) for status in (408, 429, 500, 502, 503, 504)),
        *((status, HoldError) for status in (301, 302, 307, 401, 403, 404, 405, 410, 415)),
        *((status, PoisonError) for status in (400, 413, 422)),
    ],
)
async def test_what_answers_mean(status: int, error: type[DeliveryError] | None) -> None:
    def answer() -> web.Response:
        text = "why\x00\n " * 10_000 if status != 204 else None
        return web.Response(status=status, text=text, headers={"Retry-After": "7", "Location": "/elsewhere"})

    endpoint = Endpoint(answer)
    async with endpoint.sink() as sink:
        if error is None:
            await sink.write(ITEMS)
        else:
            with pytest.raises(DeliveryError) as caught:
                await sink.write(ITEMS)
            assert type(caught.value) is error
            assert caught.value.said.startswith(f"HTTP {status} why")
            assert len(caught.value.said) < 320, "of a long answer only the beginning is read"
            assert "\n" not in caught.value.said
            if isinstance(caught.value, RetryError):
                assert caught.value.wait_s == 7.0
    assert len(endpoint.asked) == 1, "a redirect is not followed: it would carry the token elsewhere"
    assert json.loads(endpoint.bodies[0]) == ITEMS
    assert endpoint.asked[0].content_type == "application/json"
    assert "Authorization" not in endpoint.asked[0].headers


async def test_the_idempotency_key_is_of_exactly_these_items() -> None:
    """Were it that of the first item, a receiver that honours it would drop the rest of a longer batch."""
    endpoint = Endpoint()
    async with endpoint.sink() as sink:
        for items in (ITEMS, ITEMS, ITEMS[:1], ITEMS[::-1]):
            await sink.write(items)
    keys = [request.headers["Idempotency-Key"] for request in endpoint.asked]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


async def test_a_token_is_read_anew_for_each_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    endpoint = Endpoint()
    async with endpoint.sink(token_file=str(file)) as sink:
        for token in ("first", "rotated\n"):
            file.write_text(token)
            await sink.write(ITEMS)
    monkeypatch.setenv("SIEM_TOKEN", "from-env")
    async with endpoint.sink(token_env="SIEM_TOKEN") as sink:
        await sink.write(ITEMS)
    assert [request.headers["Authorization"] for request in endpoint.asked] == [
        "Bearer first",
        "Bearer rotated",
        "Bearer from-env",
    ]


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"a\r\nX-Evil: 1", "ñ".encode(), b"\xff"])
async def test_an_unusable_token_is_never_sent_and_never_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    endpoint = Endpoint()
    async with endpoint.sink(token_file=str(file)) as sink:
        with pytest.raises(HoldError, match="token_file") as caught:
            await sink.write(ITEMS)
    assert "Evil" not in caught.value.said
    assert not endpoint.asked, "nothing is sent without the credential that was asked for"


async def test_a_token_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint()
    monkeypatch.delenv("SIEM_TOKEN", raising=False)
    for settings, key in (
        ({"token_file": str(tmp_path / "no")}, "token_file"),
        ({"token_env": "SIEM_TOKEN"}, "token_env"),
    ):
        async with endpoint.sink(**settings) as sink:
            with pytest.raises(HoldError, match=key):
                await sink.write(ITEMS)
        with pytest.raises(MachineError, match=rf"sinks\.siem\.{key}: there is no"):
            check_credentials(Sink(name="siem", type="http", url="-", **settings))
    check_credentials(Sink(name="siem", type="http", url="-"))
    assert not endpoint.asked


async def test_nobody_listens_or_answers() -> None:
    sink = HttpSink(Sink(name="siem", type="http", url="http://127.0.0.1:9/in"))
    with pytest.raises(RetryError, match="Connect"):
        await sink.write(ITEMS)
    await sink.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side gives up
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sink = HttpSink(Sink(name="siem", type="http", url=f"http://127.0.0.1:{port}/in", timeout_s=0.1))
    with pytest.raises(RetryError, match="Timeout"):
        await sink.write(ITEMS)
    await sink.close()
    server.close()
    await asyncio.sleep(0.01)


async def test_an_answer_that_is_not_http() -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 smtp.example.org ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(odd, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sink = HttpSink(Sink(name="siem", type="http", url=f"http://127.0.0.1:{port}/in"))
    with pytest.raises(RetryError) as caught:
        await sink.write(ITEMS)
    assert len(caught.value.said) <= 300
    await sink.close()
    server.close()


def test_how_long_a_receiver_asks_to_wait() -> None:
    assert http._seconds("0") == 0.0
    assert http._seconds("120") == 120.0
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80.0 < http._seconds(soon) <= 90.0
    assert http._seconds("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0
    for unusable in ("", "soon", "-5", "1.5", "٣", "Thu, 99 Foo 99999 99:99:99 GMT"):
        assert http._seconds(unusable) == 0.0


@given(
    st.one_of(st.text(max_size=60), st.from_regex(r"\w{3}, \d{1,9} \w{3} \d{1,9} [\d:]{0,12} [+\-\w]{0,8}"))
)
def test_whatever_stands_in_retry_after_is_a_wait(value: str) -> None:
    assert 0.0 <= http._seconds(value) < float("inf")
