"""The Sentinel sink: a token that is fetched before it ends, calls that are not too large, and each answer's meaning."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from exporters.sinks import sentinel as module
from exporters.sinks.sentinel import MOST_BYTES, SentinelSink
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import Sentinel
from tests.receivers_http import message, messages, served

RULE = "dcr-" + "0" * 31 + "7"
STREAM = "Custom-TamvGuardian_CL"
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
SECRET = "Ab~8Q~" + "x" * 34


class Azure:
    """Entra's token endpoint and a data collection endpoint, by their documentation."""

    def __init__(self) -> None:
        self.secret = SECRET
        self.life = 3599
        self.valid: set[str] = set()
        self.fetched = 0
        self.script: list[web.Response] = []
        self.token_script: list[web.Response] = []
        self.rows: list[Any] = []
        self.calls: list[int] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert request.method == "POST"
        if request.path == f"/{TENANT}/oauth2/v2.0/token":
            return await self._token(request)
        if request.path != f"/dataCollectionRules/{RULE}/streams/{STREAM}":
            return self.fault(404, "NotFound")
        if request.query.get("api-version") != "2023-01-01":
            return self.fault(400, "InvalidApiVersion")
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.valid:
            return self.fault(401, "AuthenticationFailed")
        if self.script:
            return self.script.pop(0)
        assert request.headers["Content-Encoding"] == "gzip", "aiohttp has undone it"
        body = await request.read()
        if len(body) > 2**20:
            return self.fault(413, "ContentLengthLimitExceeded")
        rows = json.loads(body)
        assert isinstance(rows, list)
        if any(row == "bad" for row in rows):
            return self.fault(400, "InvalidLogsPayload")
        self.calls.append(len(body))
        self.rows += rows
        return web.Response(status=204)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        if self.token_script:
            return self.token_script.pop(0)
        assert request.content_type == "application/x-www-form-urlencoded"
        form = {key: value for key, (value,) in parse_qs((await request.read()).decode()).items()}
        secret = form.pop("client_secret", "")
        assert form == {
            "grant_type": "client_credentials",
            "client_id": "app",
            "scope": "https://monitor.azure.com/.default",
        }
        if secret != self.secret:
            return self.denied("invalid_client", 7000215, 401)
        self.fetched += 1
        token = f"eyJ0.{self.fetched}.sig"
        self.valid = {token}
        more = {"expires_in": self.life, "ext_expires_in": self.life, "token_type": "Bearer"}
        return web.json_response({"access_token": token, **more})

    def fault(self, status: int, code: str, **headers: str) -> web.Response:
        return web.json_response({"error": {"code": code, "message": "why"}}, status=status, headers=headers)

    def denied(self, error: str, code: int, status: int) -> web.Response:
        text = f"AADSTS{code}: Invalid client secret provided for app 'app'. Trace ID: 1"
        more = {"error_description": text, "error_codes": [code], "trace_id": "1"}
        return web.json_response({"error": error, **more}, status=status)

    @asynccontextmanager
    async def sink(self, **settings: Any) -> AsyncIterator[SentinelSink]:
        values = {"rule_id": RULE, "stream": STREAM, "tenant": TENANT, "client": "app", "secret_env": "AZURE"}
        async with served(self.handle) as url:
            made = SentinelSink(
                Sentinel(name="azure", **{"url": url, "authority": url, **values, **settings})
            )
            try:
                yield made
            finally:
                await made.close()


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE", SECRET)


def large(number: int, size: int) -> Message:
    return message(number, body=b'"%s"' % (b"x" * (size - 2)))


async def test_one_token_for_many_calls() -> None:
    azure, sent = Azure(), messages(20)
    async with azure.sink() as made:
        for start in range(0, 20, 5):
            assert await made.write(sent[start : start + 5]) == Answers()
    assert azure.rows == [json.loads(each.body) for each in sent]
    assert azure.fetched == 1


@pytest.mark.parametrize(("life", "fetched"), [(3599, 1), (301, 1), (0, 3)])
async def test_a_token_is_fetched_again_before_it_ends(life: int, fetched: int) -> None:
    azure = Azure()
    azure.life = life
    async with azure.sink() as made:
        for _ in range(3):
            await made.write(messages(1))
    assert azure.fetched == fetched


async def test_how_early() -> None:
    azure = Azure()
    for life, left in ((3600, 3300), (600, 300), (60, 30)):
        azure.life = life
        async with azure.sink() as made:
            await made.write(messages(1))
            now = module.asyncio.get_running_loop().time()
            assert left - 10 < made._until - now <= left


async def test_a_token_that_was_withdrawn_is_fetched_once_more() -> None:
    azure = Azure()
    async with azure.sink() as made:
        await made.write(messages(1))
        azure.valid.clear()
        assert await made.write(messages(1, start=1)) == Answers()
        assert azure.fetched == 2
        azure.script = [azure.fault(401, "AuthenticationFailed") for _ in range(2)]
        with pytest.raises(HoldError, match="HTTP 401"):
            await made.write(messages(1))


async def test_a_secret_that_ends_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    azure = Azure()
    azure.secret = "another"
    async with azure.sink() as made:
        with pytest.raises(HoldError) as caught:
            await made.write(messages(1))
        assert caught.value.said == "Entra: HTTP 401 invalid_client AADSTS7000215"
        monkeypatch.setenv("AZURE", "another")
        assert await made.write(messages(1)) == Answers()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (
            lambda: web.json_response({"error": "unauthorized_client", "error_codes": [700016]}, status=400),
            HoldError,
        ),
        (lambda: web.json_response({"error": "temporarily_unavailable"}, status=503), RetryError),
        (lambda: web.json_response({"error": "invalid_request"}, status=429), RetryError),
        (lambda: web.Response(status=500), RetryError),
        (lambda: web.Response(status=400), HoldError),
        (lambda: web.Response(status=404), HoldError),
        (lambda: web.Response(text="<html>"), RetryError),
        (lambda: web.json_response({"access_token": "", "expires_in": 1}), RetryError),
        (lambda: web.json_response({"access_token": "a\r\nb", "expires_in": 1}), RetryError),
        (lambda: web.json_response({"access_token": "a", "expires_in": "soon"}), RetryError),
    ],
)
async def test_what_entra_may_say(make: Callable[[], web.Response], error: type[DeliveryError]) -> None:
    azure, answer = Azure(), make()
    answer.headers["Retry-After"] = "11"
    azure.token_script = [answer]
    async with azure.sink() as made:
        with pytest.raises(DeliveryError, match="Entra") as caught:
            await made.write(messages(1))
        assert type(caught.value) is error
        assert await made.write(messages(1)) == Answers()
    if isinstance(caught.value, RetryError) and answer.status in (429, 500, 503):
        assert caught.value.wait_s == 11.0


async def test_calls_hold_a_megabyte() -> None:
    azure = Azure()
    sent = [large(number, 300_000) for number in range(7)]
    async with azure.sink() as made:
        assert await made.write(sent) == Answers()
    assert len(azure.rows) == 7
    assert azure.calls == [900_004, 900_004, 300_002]


@given(st.lists(st.integers(2, MOST_BYTES - 2), max_size=30))
def test_nothing_is_cut_off_and_no_call_is_too_large(sizes: list[int]) -> None:
    sent = [Message(str(number), "", 0, message(0).level, bytes(size)) for number, size in enumerate(sizes)]
    calls = list(module._calls(sent))
    assert [each for call in calls for each in call] == sent
    for call in calls:
        assert call
        assert sum(len(each.body) for each in call) + len(call) + 1 <= MOST_BYTES


async def test_what_no_call_can_hold() -> None:
    azure = Azure()
    sent = [large(0, MOST_BYTES - 2), large(1, MOST_BYTES - 1), *messages(1, start=2)]
    async with azure.sink() as made:
        answers = await made.write(sent)
    assert list(answers.refused) == [sent[1].id]
    assert type(answers.refused[sent[1].id]) is PoisonError
    assert len(azure.rows) == 2


async def test_the_one_that_is_refused_is_found() -> None:
    azure, sent = Azure(), messages(20)
    sent[13] = sent[13]._replace(body=b'"bad"')
    async with azure.sink() as made:
        answers = await made.write(sent)
    assert {name: type(error) for name, error in answers.refused.items()} == {sent[13].id: PoisonError}
    assert azure.rows == [json.loads(each.body) for each in sent if each.body != b'"bad"']


async def test_what_was_taken_before_the_service_was_busy_is_delivered() -> None:
    azure = Azure()
    sent = [large(number, 400_000) for number in range(6)]
    async with azure.sink() as made:
        azure.script = [
            web.Response(status=204),
            azure.fault(429, "TooManyRequests", **{"Retry-After": "60"}),
        ]
        answers = await made.write(sent)
    assert list(answers.refused) == [each.id for each in sent[2:]]
    for error in answers.refused.values():
        assert isinstance(error, RetryError)
        assert error.wait_s == 60.0


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (429, "TooManyRequests", RetryError),
        (500, "InternalServerError", RetryError),
        (503, "ServiceUnavailable", RetryError),
        (200, "Odd", RetryError),
        (403, "OperationFailed", HoldError),
        (404, "NotFound", HoldError),
        (400, "InvalidStream", HoldError),
    ],
)
async def test_what_answers_mean(status: int, code: str, error: type[DeliveryError]) -> None:
    azure = Azure()
    azure.script = [azure.fault(status, code)]
    async with azure.sink() as made:
        with pytest.raises(DeliveryError, match=f"HTTP {status}") as caught:
            await made.write(messages(2))
    assert type(caught.value) is error


async def test_a_rule_that_does_not_exist() -> None:
    azure = Azure()
    async with azure.sink(rule_id="dcr-" + "f" * 32) as made:
        with pytest.raises(HoldError, match="HTTP 404"):
            await made.write(messages(2))
