"""The sink of Elasticsearch and OpenSearch: each item lands in its class, and an id is stored once."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from exporters.sinks import elastic as module
from exporters.sinks.elastic import ElasticSink
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers
from guardian.sink_settings import Elastic
from tests.receivers_http import message, messages, served, tenzir, until


class Cluster:
    """What ``_bulk`` does by its documentation: strict about the request, an answer for each item in its order."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.faults: dict[str, dict[str, Any]] = {}
        """By id: status and error of an item that is refused."""
        self.whole: web.Response | None = None
        self.asked: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if self.whole is not None:
            return self.whole
        body = await request.read()
        if request.path != "/_bulk" or request.method != "POST":
            return web.json_response({"error": "no handler"}, status=405)
        if request.content_type not in ("application/x-ndjson", "application/json"):
            return web.json_response({"error": "Content-Type header"}, status=406)
        if not body.endswith(b"\n"):
            error = {"type": "illegal_argument_exception", "reason": "must be terminated by a newline [\\n]"}
            return web.json_response({"error": error}, status=400)
        lines = body.split(b"\n")[:-1]
        assert len(lines) % 2 == 0
        items = [
            self._create(json.loads(action), line)
            for action, line in zip(lines[::2], lines[1::2], strict=True)
        ]
        errors = any("error" in item["create"] for item in items)
        return web.json_response({"took": 3, "errors": errors, "items": items})

    def _create(self, action: dict[str, Any], line: bytes) -> dict[str, Any]:
        ((operation, about),) = action.items()
        assert operation == "create", "a data stream takes nothing else"
        assert set(about) == {"_index", "_id"}
        name = about["_id"]
        if name in self.faults:
            return {"create": {"_index": about["_index"], "_id": name, **self.faults[name]}}
        if name in self.documents:
            error = {
                "type": "version_conflict_engine_exception",
                "reason": f"[{name}]: document already exists",
            }
            return {"create": {"_id": name, "status": 409, "error": error}}
        self.documents[name] = json.loads(line)
        return {"create": {"_id": name, "_version": 1, "result": "created", "status": 201}}

    @asynccontextmanager
    async def sink(self, **settings: Any) -> AsyncIterator[ElasticSink]:
        async with served(self.handle) as url, sink(url, **settings) as made:
            yield made


@asynccontextmanager
async def sink(url: str, **settings: Any) -> AsyncIterator[ElasticSink]:
    made = ElasticSink(Elastic(name="es", url=url, **settings))
    try:
        yield made
    finally:
        await made.close()


async def test_an_id_is_stored_once() -> None:
    cluster, sent = Cluster(), messages(3)
    async with cluster.sink() as made:
        assert await made.write(sent[:2]) == Answers()
        assert await made.write(sent) == Answers({}, 2)
    assert cluster.documents == {each.id: json.loads(each.body) for each in sent}


async def test_each_item_lands_in_its_class() -> None:
    cluster, sent = Cluster(), messages(8)
    kept = "mapper [a] cannot be changed. Preview of field's value: 'PRIVATE'"
    faults = (
        (1, 429, "es_rejected_execution_exception", "queue full", RetryError),
        (2, 400, "document_parsing_exception", kept, PoisonError),
        (3, 503, "unavailable_shards_exception", "timeout", RetryError),
        (4, 403, "security_exception", "unauthorized", HoldError),
        (5, 403, "cluster_block_exception", "index [x] blocked: read-only", RetryError),
        (6, 404, "index_not_found_exception", "no such index", HoldError),
    )
    for number, status, kind, reason, _ in faults:
        error = {"type": kind, "reason": reason, "caused_by": {"type": "x", "reason": "y"}}
        cluster.faults[sent[number].id] = {"status": status, "error": error}
    async with cluster.sink() as made:
        await made.write(sent[:1])
        answers = await made.write(sent)
    assert answers.duplicates == 1
    assert set(cluster.documents) == {sent[0].id, sent[7].id}
    assert {name: type(error) for name, error in answers.refused.items()} == {
        sent[number].id: error for number, *_, error in faults
    }
    said = {name: error.said for name, error in answers.refused.items()}
    assert said[sent[1].id] == "item 429 es_rejected_execution_exception queue full"
    assert "PRIVATE" not in said[sent[2].id], "what was sent is not told"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, RetryError),
        (503, RetryError),
        (401, HoldError),
        (403, HoldError),
        (404, HoldError),
        (413, PoisonError),
    ],
)
async def test_a_request_that_is_refused_whole(status: int, error: type[DeliveryError]) -> None:
    cluster = Cluster()
    cluster.whole = web.json_response({"error": "why"}, status=status, headers={"Retry-After": "3"})
    async with cluster.sink() as made:
        with pytest.raises(error, match=f"HTTP {status}") as caught:
            await made.write(messages(2))
    if isinstance(caught.value, RetryError):
        assert caught.value.wait_s == 3.0


@pytest.mark.parametrize(
    "text", ["", "<html>sign in</html>", "{}", "[]", '{"errors":false', '{"errors":0,"items":[]}']
)
async def test_a_200_that_is_not_of_bulk_is_no_delivery(text: str) -> None:
    cluster = Cluster()
    cluster.whole = web.Response(text=text)
    async with cluster.sink() as made:
        with pytest.raises(RetryError, match="not the answer"):
            await made.write(messages(2))


@pytest.mark.parametrize("errors", [True, False])
async def test_items_that_are_not_answered_for(errors: bool) -> None:
    cluster, sent = Cluster(), messages(3)
    cluster.whole = web.json_response({"errors": errors, "items": [{"create": {"status": 201}}]})
    async with cluster.sink() as made:
        answers = await made.write(sent)
    assert set(answers.refused) == ({sent[1].id, sent[2].id} if errors else set())
    assert all(type(error) is RetryError for error in answers.refused.values())


async def test_an_answer_that_is_too_long_is_asked_for_in_halves() -> None:
    cluster, sent = Cluster(), messages(2)
    error = {"type": "document_parsing_exception", "reason": "x" * 60_000}
    for each in sent:
        cluster.faults[each.id] = {"status": 400, "error": error}
    async with cluster.sink() as made:
        with pytest.raises(PoisonError, match="an answer of more than"):
            await made.write(sent)
        answers = await made.write(sent[:1])
    assert answers.refused[sent[0].id].said.startswith("item 400 document_parsing_exception xxx")


ITEMS = st.dictionaries(
    st.sampled_from(["create", "index", "odd"]),
    st.fixed_dictionaries(
        {"status": st.integers(-1, 700)},
        optional={
            "error": st.fixed_dictionaries({}, optional={"type": st.text(), "reason": st.none() | st.text()})
        },
    ),
    max_size=1,
)


@given(st.booleans(), st.lists(ITEMS, max_size=6))
def test_every_message_lands_in_one_class(errors: bool, items: list[dict[str, Any]]) -> None:
    sent = messages(4)
    bulk = msgspec.json.decode(json.dumps({"errors": errors, "items": items}), type=module._Bulk)
    answers = module._answers(sent, bulk)
    for each, item in zip_longest(sent, items[: len(sent)]):
        status = next(iter(item.values()))["status"] if item else 0 if errors else 200
        taken = 200 <= status < 300 or status == 409
        assert (each.id in answers.refused) == (not taken)
    assert answers.duplicates + len(answers.refused) <= len(sent)


async def test_ids_are_quoted() -> None:
    cluster = Cluster()
    odd = message(1)._replace(id='a"\n{"index":{}}')
    async with cluster.sink() as made:
        await made.write([odd])
    assert set(cluster.documents) == {odd.id}


async def test_how_it_says_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ES", "s3cr3t")
    cluster = Cluster()
    for settings in ({}, {"token_env": "ES"}, {"token_env": "ES", "user": "guardian"}):
        async with cluster.sink(**settings) as made:
            await made.write(messages(1))
    basic = base64.b64encode(b"guardian:s3cr3t").decode()
    sent = [request.headers.get("Authorization") for request in cluster.asked]
    assert sent == [None, "ApiKey s3cr3t", f"Basic {basic}"]


@pytest.mark.parametrize(
    ("source", "count"),
    [
        # Fluent Bit hands on some 75 documents a second here.
        ('from_fluent_bit "elasticsearch", options={listen:"127.0.0.1",port:PORT}', 60),
        ('accept_opensearch "127.0.0.1:PORT"', 1000),
    ],
    ids=["fluent-bit", "opensearch"],
)
async def test_real_receivers_store_every_document(tmp_path: Path, source: str, count: int) -> None:
    sent = messages(count)
    async with tenzir(tmp_path, source) as receiver, sink(receiver.url) as made:
        assert await made.write(sent[:20]) == Answers()
        assert await made.write(sent[20:]) == Answers()
        await until(lambda: len(receiver.lines()) >= count, what=f"{count} documents")
        stored = [line.get("message", line) for line in receiver.lines()]
    assert [document["event"]["id"] for document in stored] == [f"id {each.id}" for each in sent]
    assert {document["señal"] for document in stored} == {"ñ\n"}
