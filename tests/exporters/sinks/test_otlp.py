"""The OTLP sink: one request around records that were serialized alone; a 200 counts once it was read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from exporters.sinks.otlp import OtlpSink, _field
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import Otlp
from tests.receivers_http import message, rotel, served, until

PROTOBUF = "application/x-protobuf"


def record(number: int, text: str = "señal") -> Message:
    name = f"{number:032x}"
    body = LogRecord(
        time_unix_nano=2 * 10**18 + number,
        severity_number=17,
        body=AnyValue(string_value=text),
        attributes=[KeyValue(key="event.id", value=AnyValue(string_value=name))],
    ).SerializeToString()
    return message(number, body=body)


RECORDS = [record(number) for number in range(4)]


class Collector:
    """What a receiver of OTLP does by the specification."""

    def __init__(self, answer: web.Response | None = None) -> None:
        self.answer = answer or web.Response(body=b"", content_type=PROTOBUF)
        self.taken: list[LogRecord] = []
        self.asked: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert request.path == "/v1/logs"
        assert request.content_type == PROTOBUF
        self.asked.append(request)
        asked = ExportLogsServiceRequest.FromString(await request.read())
        for resource in asked.resource_logs:
            assert [a.value.string_value for a in resource.resource.attributes] == ["tamv-guardian"]
            for scope in resource.scope_logs:
                assert scope.scope.name == "tamv-guardian"
                self.taken += scope.log_records
        return self.answer

    @asynccontextmanager
    async def sink(self, **settings: Any) -> AsyncIterator[OtlpSink]:
        async with served(self.handle) as url, sink(url, **settings) as made:
            yield made


@asynccontextmanager
async def sink(url: str, **settings: Any) -> AsyncIterator[OtlpSink]:
    made = OtlpSink(Otlp(name="otel", url=url, **settings))
    try:
        yield made
    finally:
        await made.close()


def partial(rejected: int, why: str = "") -> web.Response:
    told = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=why)
    body = ExportLogsServiceResponse(partial_success=told).SerializeToString()
    return web.Response(body=body, content_type=PROTOBUF)


async def test_one_request_holds_every_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL", "s3cr3t")
    collector = Collector()
    async with collector.sink(token_env="OTEL") as made:
        assert await made.write(RECORDS) == Answers()
    assert [each.SerializeToString() for each in collector.taken] == [each.body for each in RECORDS]
    assert [request.headers["Authorization"] for request in collector.asked] == ["Bearer s3cr3t"]


FRAMES = OtlpSink(Otlp(name="otel", url="http://127.0.0.1:9"))
"""Never opened. A context for TLS takes 50 ms to make."""


@given(st.lists(st.text(max_size=400), max_size=5))
def test_the_frame_is_that_of_the_specification(texts: list[str]) -> None:
    bodies = [record(number, text).body for number, text in enumerate(texts)]
    asked = ExportLogsServiceRequest.FromString(FRAMES._body(bodies))
    (resource,) = asked.resource_logs
    (scope,) = resource.scope_logs
    assert [each.SerializeToString() for each in scope.log_records] == bodies


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 2_097_152])
def test_lengths_of_fields(length: int) -> None:
    assert len(_field(2, bytes(length))) == length + 2 + (length > 127) + (length > 16_383) + (
        length > 2_097_151
    )
    assert ExportLogsServiceRequest.FromString(_field(15, bytes(length))) is not None


async def test_all_are_refused() -> None:
    async with Collector(partial(4, "too old")).sink() as made:
        answers = await made.write(RECORDS)
    assert set(answers.refused) == {each.id for each in RECORDS}
    for error in answers.refused.values():
        assert type(error) is PoisonError
        assert error.said == "4 of 4 log records refused: too old"


async def test_some_are_refused_and_nobody_says_which() -> None:
    async with Collector(partial(1, "too old")).sink() as made:
        with pytest.raises(PoisonError, match="1 of 4 log records refused: too old"):
            await made.write(RECORDS)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: partial(0),
        lambda: partial(0, "deprecated field"),
        lambda: web.Response(body=b""),
        lambda: web.json_response({}),
        lambda: web.json_response({"partialSuccess": {}}),
        lambda: web.json_response({"partialSuccess": {"rejectedLogRecords": "0", "errorMessage": "careful"}}),
    ],
)
async def test_warnings_and_empty_answers_are_deliveries(answer: Callable[[], web.Response]) -> None:
    async with Collector(answer()).sink() as made:
        assert await made.write(RECORDS) == Answers()


@pytest.mark.parametrize("rejected", [2, "2"])
async def test_an_answer_in_json(rejected: int | str) -> None:
    text = json.dumps({"partialSuccess": {"rejectedLogRecords": rejected, "errorMessage": "no"}})
    async with Collector(web.Response(text=text, content_type="application/json")).sink() as made:
        with pytest.raises(PoisonError, match="2 of 4"):
            await made.write(RECORDS)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>sign in</html>", content_type="text/html"),
        lambda: web.Response(body=b"\xff\xff", content_type=PROTOBUF),
        lambda: web.json_response(["no"]),
        lambda: web.json_response({"partialSuccess": {"rejectedLogRecords": "many"}}),
    ],
)
async def test_a_200_of_somebody_else_is_no_delivery(answer: Callable[[], web.Response]) -> None:
    async with Collector(answer()).sink() as made:
        with pytest.raises(HoldError, match="not the answer"):
            await made.write(RECORDS)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, RetryError) for status in (429, 502, 503, 504)),
        *((status, HoldError) for status in (301, 401, 403, 404, 405)),
        *((status, PoisonError) for status in (400, 408, 413, 422, 500, 501)),
    ],
)
async def test_only_four_answers_may_be_repeated(status: int, error: type[DeliveryError]) -> None:
    answer = web.Response(
        status=status, body=b"\x12\x03why", content_type=PROTOBUF, headers={"Retry-After": "9"}
    )
    async with Collector(answer).sink() as made:
        with pytest.raises(DeliveryError, match=f"HTTP {status} why") as caught:
            await made.write(RECORDS)
    assert type(caught.value) is error
    if isinstance(caught.value, RetryError):
        assert caught.value.wait_s == 9.0


async def test_a_real_receiver_takes_every_record(tmp_path: Path) -> None:
    sent = [record(number) for number in range(1000)]
    async with rotel(tmp_path) as receiver, sink(receiver.url) as made:
        assert await made.write(sent[:100]) == Answers()
        assert await made.write(sent[100:]) == Answers()
        told = await until(
            lambda: (out := receiver.out.read_text()).count("event.id: Str(") >= 1000 and out,
            what="1000 records",
        )
    assert all(each.id in told for each in sent)
