"""The Splunk sink: a batch counts once an indexer has it; whatever happens to that answer, nothing is lost."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from exporters.sinks import splunk as module
from exporters.sinks.splunk import SplunkSink
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers
from guardian.sink_settings import Splunk
from tests.receivers_http import message, messages, served, tenzir, until

TOKEN = "B5A79AAD-D822-46CC-80D1-819F80D7BFB0"
TEXTS = {
    0: (200, "Success"),
    2: (401, "Token is required"),
    4: (403, "Invalid token"),
    5: (400, "No data"),
    6: (400, "Invalid data format"),
    7: (400, "Incorrect index"),
    9: (503, "Server is busy"),
    10: (400, "Data channel is missing"),
    11: (400, "Invalid data channel"),
    12: (400, "Event field is required"),
    14: (400, "ACK is disabled"),
    15: (400, "Error in handling indexed fields"),
}
KEYS = {"time", "host", "source", "sourcetype", "index", "event", "fields"}


class Node:
    """One collector: numbers of a channel, each told once."""

    def __init__(self) -> None:
        self.channels: dict[str, dict[int, int]] = {}
        """By channel and number: questions until it is indexed."""

    def number(self, channel: str, questions: int) -> int:
        numbers = self.channels.setdefault(channel, {})
        # Numbers of what was told already are not used again.
        number = max([*numbers, -1]) + 1
        numbers[number] = questions
        return number

    def told(self, channel: str, number: int) -> bool:
        numbers = self.channels.get(channel, {})
        if number not in numbers or numbers[number] < 0:
            return False
        numbers[number] -= 1
        return numbers[number] < 0


class Collector:
    """HEC by its documentation: strict about what it is sent, with as many nodes and faults as a test wants."""

    def __init__(self, *, nodes: int = 1, acknowledges: bool = True, sticky: bool = True) -> None:
        self.nodes = [Node() for _ in range(nodes)]
        self.acknowledges = acknowledges
        self.sticky = sticky
        self.questions = 0
        """How often is asked in vain."""
        self.lose = 0
        """Answers about acknowledgements that are lost on their way."""
        self.script: list[web.Response] = []
        self.ack_script: list[web.Response] = []
        self.indexed: list[dict[str, Any]] = []
        self.channels: list[str] = []
        self.asked: list[int] = []
        self._turn = 0

    def say(self, code: int, **more: Any) -> web.Response:
        status, text = TEXTS[code]
        return web.json_response({"text": text, "code": code, **more}, status=status)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        node = self._node(request)
        answer = await self._answer(request, self.nodes[node])
        if self.sticky and isinstance(answer, web.Response):
            answer.set_cookie("node", str(node))
        return answer

    def _node(self, request: web.Request) -> int:
        if "node" in request.cookies:
            return int(request.cookies["node"])
        self._turn += 1
        return self._turn % len(self.nodes)

    async def _answer(self, request: web.Request, node: Node) -> web.StreamResponse:
        assert request.method == "POST"
        if "Authorization" not in request.headers:
            return self.say(2)
        if request.headers["Authorization"] != f"Splunk {TOKEN}":
            return self.say(4)
        channel = request.headers.get("X-Splunk-Request-Channel", "")
        if self.acknowledges and not channel:
            return self.say(10)
        try:
            uuid.UUID(channel)
        except ValueError:
            return self.say(11)
        if request.path == "/services/collector/ack":
            return await self._acknowledgement(request, node, channel)
        assert request.path == "/services/collector/event"
        if self.script:
            return self.script.pop(0)
        assert request.headers["Content-Encoding"] == "gzip", "aiohttp has undone it"
        code, number = self._index(await request.read())
        self.channels.append(channel)
        if code:
            return self.say(code, **{"invalid-event-number": number})
        return self.say(0, **({"ackId": node.number(channel, self.questions)} if self.acknowledges else {}))

    def _index(self, body: bytes) -> tuple[int, int]:
        """Code, and which event it is about; what stands before that one is indexed."""
        text, place, number = body.decode(), 0, 0
        if not text:
            return 5, 0
        while place < len(text):
            try:
                event, place = json.JSONDecoder().raw_decode(text, place)
            except ValueError:
                return 6, number
            if set(event) - KEYS:
                return 6, number
            if "event" not in event:
                return 12, number
            if any(isinstance(value, dict | list) for value in event.get("fields", {}).values()):
                return 15, number
            if event["event"] == "bad":
                return 6, number
            self.indexed.append(event)
            number += 1
        return 0, 0

    async def _acknowledgement(self, request: web.Request, node: Node, channel: str) -> web.StreamResponse:
        if self.ack_script:
            return self.ack_script.pop(0)
        if channel not in node.channels:
            return self.say(11)
        numbers = json.loads(await request.read())["acks"]
        self.asked += numbers
        acks = {str(number): node.told(channel, number) for number in numbers}
        if self.lose and any(acks.values()):
            self.lose -= 1
            assert request.transport is not None
            request.transport.close()
        return web.json_response({"acks": acks})

    def ids(self) -> list[str]:
        return [event["fields"]["event_id"] for event in self.indexed]

    @asynccontextmanager
    async def sink(self, **settings: Any) -> AsyncIterator[SplunkSink]:
        async with served(self.handle) as url, sink(url, **settings) as made:
            yield made


@asynccontextmanager
async def sink(url: str, **settings: Any) -> AsyncIterator[SplunkSink]:
    made = SplunkSink(Splunk(name="splunk", url=url, **{"token_env": "HEC", **settings}))
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEC", TOKEN)
    monkeypatch.setattr(module, "_FIRST_POLL_S", 0.001)
    monkeypatch.setattr(module, "_LONGEST_POLL_S", 0.005)


async def test_what_an_event_is() -> None:
    collector = Collector()
    sent = message(7, finding="f" * 32)
    async with collector.sink(index="tamv", source="s", sourcetype="t") as made:
        await made.write([sent])
    (event,) = collector.indexed
    assert event.pop("host")
    assert event == {
        "time": 2_000_000_000.007,
        "source": "s",
        "sourcetype": "t",
        "index": "tamv",
        "event": json.loads(sent.body),
        "fields": {"event_id": sent.id, "finding": "f" * 32},
    }


async def test_it_is_delivered_once_an_indexer_has_it() -> None:
    collector, sent = Collector(), messages(100)
    collector.questions = 5
    async with collector.sink() as made:
        assert await made.write(sent) == Answers()
        assert await made.write(messages(1, start=100)) == Answers()
    assert collector.ids() == [each.id for each in [*sent, message(100)]]
    assert collector.asked == [0] * 6 + [1] * 6
    assert len(set(collector.channels)) == 1


async def test_not_before() -> None:
    collector = Collector()
    collector.questions = 10**9
    async with collector.sink() as made:
        writing = asyncio.ensure_future(made.write(messages(1)))
        await until(lambda: len(collector.asked) > 20, what="questions")
        assert not writing.done()
        ((_, numbers),) = collector.nodes[0].channels.items()
        numbers[0] = 0
        assert await writing == Answers()


async def test_an_acknowledgement_that_is_lost_on_its_way() -> None:
    """It is told once only: the batch is sent again, with the same ids, by a channel of its own."""
    collector, sent = Collector(), messages(3)
    collector.lose = 1
    async with collector.sink(acknowledge_timeout_s=0.3) as made:
        with pytest.raises(RetryError, match=r"not acknowledged in 0\.3 s"):
            await made.write(sent)
        assert await made.write(sent) == Answers()
    assert collector.ids() == [each.id for each in sent] * 2
    assert len(set(collector.channels)) == 2


async def test_a_node_that_restarts_forgets_its_numbers() -> None:
    collector, sent = Collector(), messages(3)
    collector.questions = 10**9
    async with collector.sink(acknowledge_timeout_s=0.3) as made:
        writing = asyncio.ensure_future(made.write(sent))
        await until(lambda: collector.asked, what="a question")
        collector.nodes[0] = Node()
        with pytest.raises(RetryError, match="not acknowledged"):
            await writing
        collector.questions = 0
        assert await made.write(sent) == Answers()


async def test_a_number_that_is_told_for_others_too() -> None:
    collector = Collector()
    async with collector.sink() as made:
        await made.write(messages(1))
        # Told again, and beside a number that nobody asked for.
        collector.ack_script = [
            web.json_response({"acks": {"0": True, "9": True}}),
            web.json_response({"acks": {"0": True, "1": True}}),
        ]
        await made.write(messages(1, start=1))
    assert not collector.ack_script, "what is told of others is no acknowledgement of ours"


async def test_questions_go_to_the_node_that_has_the_number() -> None:
    collector = Collector(nodes=3)
    collector.questions = 2
    async with collector.sink() as made:
        for number in range(4):
            await made.write(messages(1, start=number))
    assert len([node for node in collector.nodes if node.channels]) == 1


async def test_a_balancer_that_keeps_no_sessions() -> None:
    """A node that does not know the channel is no reason to give up."""
    collector = Collector(nodes=3, sticky=False)
    async with collector.sink() as made:
        assert await made.write(messages(2)) == Answers()
    assert len(collector.indexed) == 2


@pytest.mark.parametrize("settings", [{}, {"acknowledge": False}])
async def test_a_collector_without_acknowledgement(settings: dict[str, Any]) -> None:
    collector = Collector(acknowledges=bool(settings))
    async with collector.sink(**settings) as made:
        assert await made.write(messages(2)) == Answers()
    assert not collector.asked


async def test_acknowledgement_that_is_switched_off_meanwhile() -> None:
    collector = Collector()
    collector.ack_script = [collector.say(14)]
    async with collector.sink() as made:
        assert await made.write(messages(2)) == Answers()


async def test_a_collector_that_nobody_can_ask() -> None:
    collector = Collector()
    collector.ack_script = [web.Response(status=404, text="no such page")]
    async with collector.sink() as made:
        with pytest.raises(HoldError, match="acknowledge = false"):
            await made.write(messages(2))


async def test_a_token_that_is_withdrawn_meanwhile() -> None:
    collector = Collector()
    collector.ack_script = [collector.say(4)]
    async with collector.sink() as made:
        with pytest.raises(HoldError, match="Invalid token"):
            await made.write(messages(2))


async def test_questions_that_are_answered_badly_are_asked_again() -> None:
    collector = Collector()
    collector.ack_script = [
        collector.say(9),
        web.Response(text="<html>"),
        web.Response(status=500),
        web.json_response({"acks": []}),
        collector.say(6),
    ]
    async with collector.sink() as made:
        assert await made.write(messages(2)) == Answers()
    assert not collector.ack_script


@pytest.mark.parametrize(
    ("code", "error"),
    [
        *((code, HoldError) for code in (2, 4, 7)),
        *((code, RetryError) for code in (9, 10, 11)),
        *((code, PoisonError) for code in (5, 6, 12, 15)),
    ],
)
async def test_what_codes_mean(code: int, error: type[DeliveryError]) -> None:
    collector = Collector()
    answer = collector.say(code)
    answer.headers["Retry-After"] = "4"
    collector.script = [answer]
    async with collector.sink() as made:
        with pytest.raises(error, match=TEXTS[code][1]) as caught:
            await made.write(messages(2))
        assert await made.write(messages(2)) == Answers()
    if code == 9:
        assert isinstance(caught.value, RetryError)
        assert caught.value.wait_s == 4.0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda: web.Response(text="<html>sign in</html>"), RetryError),
        (lambda: web.json_response({"ok": True}), RetryError),
        (lambda: web.json_response({"text": "odd", "code": 77}), RetryError),
        (lambda: web.Response(status=502), RetryError),
        (lambda: web.Response(status=401, text="error: unauthorized"), HoldError),
        (lambda: web.Response(status=404), HoldError),
        (lambda: web.Response(status=413), PoisonError),
    ],
)
async def test_answers_of_somebody_in_between(
    answer: Callable[[], web.Response], error: type[DeliveryError]
) -> None:
    collector = Collector()
    collector.script = [answer()]
    async with collector.sink() as made:
        with pytest.raises(DeliveryError) as caught:
            await made.write(messages(2))
    assert type(caught.value) is error


async def test_the_event_that_is_refused_is_named() -> None:
    collector, sent = Collector(), messages(5)
    sent[2] = sent[2]._replace(body=b'"bad"')
    async with collector.sink() as made:
        answers = await made.write(sent)
        assert type(answers.refused[sent[2].id]) is PoisonError
        again = [each for each in sent if type(answers.refused.get(each.id)) is RetryError]
        assert again == [*sent[:2], *sent[3:]]
        assert await made.write(again) == Answers()
    assert set(collector.ids()) == {each.id for each in again}


@pytest.mark.parametrize("number", [-1, 2, 10**9])
async def test_a_number_of_no_event(number: int) -> None:
    collector = Collector()
    collector.script = [collector.say(6, **{"invalid-event-number": number})]
    async with collector.sink() as made:
        with pytest.raises(PoisonError):
            await made.write(messages(2))


async def test_a_real_receiver_stores_every_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fluent Bit knows no acknowledgement, and hands on some 75 events a second here."""
    sent = messages(60)
    source = f'from_fluent_bit "splunk", options={{splunk_token:"{TOKEN}",listen:"127.0.0.1",port:PORT}}'
    async with tenzir(tmp_path, source) as receiver, sink(receiver.url) as made:
        assert await made.write(sent[:20]) == Answers()
        assert await made.write(sent[20:]) == Answers()
        with pytest.raises(PoisonError, match="Invalid data format"):
            await made.write([message(1, body=b'{"torn')])
        monkeypatch.setenv("HEC", "wrong")
        with pytest.raises(HoldError, match="HTTP 401"):
            await made.write(sent)
        stored = await until(lambda: (got := receiver.lines()) and len(got) >= 60 and got, what="60 events")
    events = [line["message"] for line in stored]
    assert [event["event"]["event"]["id"] for event in events] == [f"id {each.id}" for each in sent]
    assert {event["sourcetype"] for event in events} == {"tamv:guardian:alert"}
    assert [round(event["time"] * 1000) for event in events] == [each.at // 10**6 for each in sent]
