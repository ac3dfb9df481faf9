"""Commands that ask a running service, against servers that answer as they are told."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from rich.console import Console

from guardian.errors import GuardianError, InputError, MachineError, Problem, RequestError
from guardian.gateway import client

PATH = "/api/v1/acknowledgements"


async def asked(face: Any, path: str = PATH, body: dict[str, Any] | None = None, key: str = "items") -> Any:
    return await asyncio.to_thread(client.ask, f"http://127.0.0.1:{face.port}/", path, body, key=key)


async def test_what_the_service_answers_comes_back(face: Any):
    assert (await asked(face))["total"] == 7
    told = await asked(face, body={"reason": "ñ 🧑‍🚀"}, key="id")
    assert told == {"id": "k1"}
    assert face.service.calls[-1] == ("acknowledge", {"reason": "ñ 🧑‍🚀"})


async def test_another_method_can_be_named(face: Any):
    url = f"http://127.0.0.1:{face.port}"
    told = await asyncio.to_thread(client.ask, url, "/api/v1/silences/s1", key="state", method="DELETE")
    assert told == {"id": "s1", "state": "ended"}
    with pytest.raises(InputError, match="no silence of this id"):
        await asyncio.to_thread(client.ask, url, "/api/v1/silences/nothing", key="state", method="DELETE")


async def test_a_refusal_names_every_field_on_one_line(face: Any):
    face.service.failure = RequestError(
        [Problem("until", "a time", "text\x1b[31m"), Problem("reason", "text", "nothing")]
    )
    with pytest.raises(InputError) as refusal:
        await asked(face, body={})
    said = str(refusal.value)
    assert said.endswith("until: expected a time, got text\\x1b[31m; reason: expected text, got nothing")
    assert "\n" not in said


async def test_a_refusal_without_fields_says_its_detail(face: Any):
    with pytest.raises(InputError, match="nothing at this path"):
        await asked(face, "/api/v1/nothing")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"<html>hello", "text/html", 200),
        (b"{", "application/json", 200),
        (b"[]", "application/json", 200),
        (b"\xff", "application/json", 200),
        (b"{}", "application/json", 200),
        (b'{"items": []}', "application/json", 500),
        (b"x", "application/problem+json", 404),
        (b"", "text/plain", 302),
    ],
)
async def test_what_is_no_guardian_is_said_to_be_none(body: bytes, content_type: str, status: int):
    async def answer(_request: web.Request) -> web.Response:
        headers = {"Content-Type": content_type, "Location": "http://127.0.0.1:1/"}
        return web.Response(body=body, status=status, headers=headers)

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        with pytest.raises(MachineError, match=rf"no Guardian \(HTTP {status}\)"):
            await asyncio.to_thread(client.ask, url, PATH, key="items")
    finally:
        await runner.cleanup()


async def test_what_is_not_even_http():
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(MachineError, match=r"no service answers .* guardian run"):
            await asyncio.to_thread(client.ask, f"http://127.0.0.1:{port}", PATH, key="items")


@pytest.mark.parametrize(
    "url", ["", "nope", "ftp://127.0.0.1", "http://", "http://[", "http://a:x", "http://a:99999"]
)
def test_an_address_that_is_none(url: str):
    with pytest.raises(InputError, match="--url: expected an address"):
        client.ask(url, PATH, key="items")


def test_nobody_there_is_one_clear_line():
    url = f"http://127.0.0.1:{unused_port()}"
    with pytest.raises(MachineError) as refusal:
        client.ask(url, PATH, key="items")
    said = str(refusal.value)
    assert said.startswith(f"no service answers at {url} (")
    assert "--url" in said
    assert "\n" not in said


def test_arguments_that_are_no_text():
    with pytest.raises(InputError, match="UTF-8"):
        client.ask(client.DEFAULT_URL, PATH, {"reason": "\udcff"}, key="id")


def body(**more: Any) -> dict[str, Any]:
    given = {"reason": "r", "until": None, "during": None, "withdraw": False} | more
    return client.acknowledgement("actor", "ana", "login", **given)


def test_what_a_person_writes_becomes_a_request():
    assert body() == {
        "role": "actor",
        "entity": "ana",
        "kind": "login",
        "action": "acknowledge",
        "reason": "r",
    }
    assert body(withdraw=True)["action"] == "withdraw"
    snooze = body(until="2030-01-01T06:00:00-06:00")
    assert (snooze["action"], snooze["until"]) == ("snooze", "2030-01-01T12:00:00+00:00")
    local = datetime.fromisoformat("2030-01-01T06:00").astimezone(UTC).isoformat()
    assert body(until="2030-01-01T06:00")["until"] == local
    before = datetime.now(UTC)
    ends = datetime.fromisoformat(body(during="8h")["until"])
    assert before + timedelta(hours=8) <= ends <= datetime.now(UTC) + timedelta(hours=8)
    # The service says what it thinks of both; nothing is dropped in silence.
    assert set(body(withdraw=True, during="8h")) >= {"until", "action"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"until": "soon"}, "--until: expected a time"),
        ({"until": "0001-01-01T00:00:00+14:00"}, "--until: expected a time"),
        ({"during": "long"}, "--for: expected a duration"),
        ({"during": "999999999d"}, "--for: expected a duration"),
        ({"until": "2030-01-01", "during": "8h"}, "only one of --until and --for"),
    ],
)
def test_times_that_cannot_be_read(more: dict[str, str], said: str):
    with pytest.raises(GuardianError, match=said):
        body(**more)


@pytest.mark.parametrize("language", ["es-MX", "en"])
def test_the_table_shows_hostile_names_as_text(language: Any):
    hostile = "[red]a\x1b[31m\u202e[/]"
    item = {
        "createdAt": "2026-01-01T00:00:00.000Z",
        "role": "actor",
        "entity": hostile,
        "kind": hostile,
        "action": "snooze",
        "until": "2026-01-01T00:00:00.000Z",
        "actorId": "local",
        "reason": hostile,
        "active": True,
    }
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(client.table([item, item | {"action": "withdraw", "active": False}], language))
    shown = console.export_text()
    assert shown.count("[red]a\\x1b[31m\\u202e[/]") == 6
    assert "\x1b" not in shown
    assert "2026-01-01 00:00Z" in shown
