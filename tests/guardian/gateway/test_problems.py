"""Every refusal has the form that RFC 9457 asks for, tells nothing that it should not, and is counted."""

from __future__ import annotations

import logging
from typing import Any

import jsonschema
import pytest

from guardian.errors import BodyError, JournalError, JournalFullError, MapError, Problem, RequestError
from tests.guardian.gateway.test_serving import exchange

SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "pattern": "^urn:tamv-guardian:problem:[a-z_]+$"},
        "title": {"type": "string", "minLength": 3},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "minLength": 10},
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["key", "expected", "got"],
                "additionalProperties": False,
                "properties": {key: {"type": "string", "minLength": 1} for key in ("key", "expected", "got")},
            },
        },
    },
}
EVENTS = "/api/v1/events"
JSON = {"Content-Type": "application/json"}


def check(status: int, headers: Any, body: Any) -> str:
    """The word of a problem, once its form is right."""
    assert headers["Content-Type"] == "application/problem+json"
    jsonschema.validate(body, SCHEMA)
    assert body["status"] == status
    word: str = body["type"].rpartition(":")[2]
    return word


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "word"),
    [
        ("GET", "/nothing", {}, 404, "not_found"),
        ("GET", "/api/v1/entities/planet/x", {}, 404, "not_found"),
        ("GET", "/api/v1/msr/proof/9", {}, 404, "not_found"),
        ("DELETE", "/api/v1/guardian", {}, 405, "method"),
        ("GET", "/api/v1/alerts?limit=0&offset=x", {}, 400, "query"),
        ("GET", "/", {"headers": {"Host": "evil.example"}}, 421, "host"),
        ("POST", EVENTS, {"headers": {"Origin": "http://evil.example"}}, 403, "origin"),
        ("POST", EVENTS, {"data": bytes(2000)}, 413, "too_large"),
        ("POST", EVENTS, {"data": b"x", "headers": {"Expect": "a miracle"}}, 417, "http"),
        ("GET", "/nothing", {"headers": {"Expect": "a miracle"}}, 417, "http"),
        ("POST", "/api/v1/eoct/evaluate", {"data": b"x"}, 415, "content_type"),
        ("POST", "/api/v1/eoct/evaluate", {"data": b"{", "headers": JSON}, 400, "json"),
        ("POST", "/api/v1/eoct/evaluate", {"data": b"[]", "headers": JSON}, 422, "request"),
    ],
)
async def test_what_the_face_refuses(
    serve: Any, method: str, path: str, more: dict[str, Any], status: int, word: str
):
    face = await serve(max_body_bytes=1024)
    got, headers, body = await face.ask(method, path, **more)
    assert got == status
    assert check(got, headers, body) == word
    assert face.refused == {word: 1}


@pytest.mark.parametrize(
    ("failure", "status", "word"),
    [
        (BodyError(400, "damaged", "not a gzip body"), 400, "damaged"),
        (MapError("x", [Problem("map", "one of tamv", "'x'")]), 400, "map"),
        (RequestError([Problem("subjectType", "text", "nothing")]), 422, "request"),
        (JournalFullError(9, 9, 1.5), 429, "busy"),
        (JournalError("disk on fire in /secret"), 503, "journal"),
        (ConnectionRefusedError("a database at /secret"), 500, "internal"),
        (TimeoutError("/secret"), 500, "internal"),
        (KeyError("/secret"), 500, "internal"),
    ],
)
async def test_what_the_service_refuses(
    face: Any, failure: Exception, status: int, word: str, caplog: pytest.LogCaptureFixture
):
    face.service.failure = failure
    got, headers, body = await face.post(EVENTS, data=b"x")
    assert got == status
    assert check(got, headers, body) == word
    assert "secret" not in str(body)
    assert face.refused == {word: 1}
    logged = [record.levelno for record in caplog.records if record.name == "guardian.gateway"]
    assert logged == ([logging.ERROR] if status == 500 else []), "what nobody foresaw is logged"


async def test_what_is_not_http_is_counted_too(face: Any):
    await exchange(face.port, b"\x16\x03\x01 hello\r\n\r\n")
    assert face.refused == {"http": 1}


async def test_nothing_is_counted_while_all_is_well(face: Any):
    await face.post(EVENTS, data=b"x")
    await face.get("/api/v1/guardian")
    assert face.refused == {}
