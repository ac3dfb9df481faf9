"""The HTTP sink: what is sent, and what each answer means."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from exporters.sinks.http import HttpSink
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers
from guardian.sink_settings import Http
from tests.receivers_http import messages, served, tenzir, until

MESSAGES = messages(2)


class Endpoint:
    """A receiver that keeps what it was asked and answers as it is told."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        self.asked.append(request)
        text = "why" if self.status != 204 else None
        return web.Response(
            status=self.status, text=text, headers={"Retry-After": "7", "Location": "/elsewhere"}
        )

    @asynccontextmanager
    async def sink(self, **settings: Any) -> AsyncIterator[HttpSink]:
        async with served(self._handle) as url:
            sink = HttpSink(Http(name="siem", url=f"{url}/in", **settings))
            try:
                yield sink
            finally:
                await sink.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, None) for status in (200, 201, 202, 204)),
        *((status, RetryError) for status in (429, 500, 503)),
        *((status, HoldError) for status in (301, 307, 401, 403, 404)),
        *((status, PoisonError) for status in (400, 413, 422)),
    ],
)
async def test_what_answers_mean(status: int, error: type[DeliveryError] | None) -> None:
    endpoint = Endpoint(status)
    async with endpoint.sink() as sink:
        if error is None:
            assert await sink.write(MESSAGES) == Answers()
        else:
            with pytest.raises(error) as caught:
                await sink.write(MESSAGES)
            assert caught.value.said == f"HTTP {status} why"
    assert len(endpoint.asked) == 1, "a redirect is not followed: it would carry the token elsewhere"
    assert json.loads(endpoint.bodies[0]) == [json.loads(message.body) for message in MESSAGES]
    assert endpoint.asked[0].content_type == "application/json"
    assert "Authorization" not in endpoint.asked[0].headers


async def test_the_idempotency_key_is_of_exactly_these_messages() -> None:
    """Were it that of the first one, a receiver that honours it would drop the rest of a longer batch."""
    endpoint = Endpoint()
    async with endpoint.sink() as sink:
        for some in (MESSAGES, MESSAGES, MESSAGES[:1], MESSAGES[::-1]):
            await sink.write(some)
    keys = [request.headers["Idempotency-Key"] for request in endpoint.asked]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


async def test_a_token_is_read_anew_for_each_request(tmp_path: Path) -> None:
    file = tmp_path / "token"
    endpoint = Endpoint()
    async with endpoint.sink(token_file=str(file)) as sink:
        for token in ("first", "rotated\n"):
            file.write_text(token)
            await sink.write(MESSAGES)
        file.unlink()
        with pytest.raises(HoldError, match="token_file"):
            await sink.write(MESSAGES)
    sent = [request.headers["Authorization"] for request in endpoint.asked]
    assert sent == ["Bearer first", "Bearer rotated"], "nothing is sent without the credential asked for"


async def test_closing_without_having_sent() -> None:
    await HttpSink(Http(name="siem", url="http://127.0.0.1:9")).close()


async def test_a_real_receiver_stores_every_alert(tmp_path: Path) -> None:
    sent = messages(1000)
    source = 'accept_http "127.0.0.1:PORT" { read_json arrays_of_objects=true }'
    async with tenzir(tmp_path, source) as receiver:
        sink = HttpSink(Http(name="siem", url=f"{receiver.url}/in"))
        for start in range(0, 1000, 100):
            assert await sink.write(sent[start : start + 100]) == Answers()
        await sink.close()
        await until(lambda: len(receiver.lines()) >= 1000, what="1000 alerts")
        stored = receiver.lines()
    assert [each["event"]["id"] for each in stored] == [f"id {each.id}" for each in sent]
