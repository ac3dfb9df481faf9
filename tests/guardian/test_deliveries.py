"""A whole instance and its receivers: opened, held back, resolved, refused, replayed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from guardian import sink_settings
from guardian.config import parse
from guardian.deliveries import SINKS
from guardian.errors import MachineError
from guardian.service import Service


class Receiver:
    """Keeps what it is sent; answers 400 while it is told to."""

    def __init__(self) -> None:
        self.findings: list[dict[str, Any]] = []
        self.refuses = False
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.refuses:
            return web.Response(status=400, text="no such field")
        self.findings += msgspec.json.decode(body)
        return web.Response()

    def activities(self) -> list[str]:
        """What each finding that came says about its life."""
        return [finding["activity_name"] for finding in self.findings]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/in", made.handle)
    server = web.AppRunner(app)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    made.port = server.addresses[0][1]
    yield made
    await server.cleanup()


Start = Callable[[str], Awaitable[Service]]


@pytest.fixture
async def start(tmp_path: Path, receiver: Receiver) -> AsyncIterator[Start]:
    started: list[Service] = []

    async def begin(config: str = "") -> Service:
        settings = parse(
            f'[[sinks]]\nname = "siem"\ntype = "http"\nurl = "http://127.0.0.1:{receiver.port}/in"\n{config}'
        )
        service = await asyncio.to_thread(Service, settings, tmp_path / "data", synthetic=False)
        started.append(service)
        await service.start()
        return service

    yield begin
    for service in started:
        await service.stop()


async def until(true: Callable[[], bool]) -> None:
    """Wait for something, with patience for a busy machine."""
    deadline = time.monotonic() + 20.0
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def attack(service: Service, entity: str, *, ago_s: float = 0.0) -> None:
    """A critical verdict of another tool, which is an alert by itself."""
    line = {
        "timestamp": int((time.time() - ago_s) * 1000),
        "type": "scan",
        "severity": "critical",
        "metadata": {"userId": entity},
    }
    await service.ingest(
        path="/api/v1/events",
        content_type="application/x-ndjson",
        encoding="",
        map_name="tamv-sentinel",
        body=msgspec.json.encode(line),
        sender="127.0.0.1",
    )


def test_every_type_of_sink_has_a_constructor() -> None:
    assert set(SINKS) == set(sink_settings.KINDS.values())


async def test_opened_and_resolved(start: Start, receiver: Receiver) -> None:
    service = await start("[engine]\nhold_s = 0.5\nrisk_half_life_s = 0.2\nactive_s = 1.0\n")
    await attack(service, "ana")
    await until(lambda: len(receiver.findings) == 2)
    assert receiver.activities() == ["Create", "Close"]
    opened, resolved = receiver.findings
    assert opened["finding_info"]["uid"] == resolved["finding_info"]["uid"] == opened["metadata"]["uid"]
    assert resolved["status"] == "Resolved"
    items, total = await service.page("alerts", limit=10, offset=0)
    assert (total, [item["activity"] for item in items]) == (2, ["resolved", "open"])


async def test_a_silence_holds_back_and_its_end_tells(start: Start, receiver: Receiver) -> None:
    service = await start("")
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    record = await service.silence({"entity": "an*", "endsAt": ends, "reason": "prueba"})
    await attack(service, "ana")
    await attack(service, "bea")
    await until(lambda: len(receiver.findings) == 1)
    assert receiver.findings[0]["unmapped"]["tamv"]["entity"] == "bea"
    assert (await service.silences(active=True, limit=10, offset=0))[1] == 1
    assert await service.end_silence(record["id"]) is not None
    await until(lambda: len(receiver.findings) == 2)
    assert receiver.findings[1]["unmapped"]["tamv"]["entity"] == "ana"
    assert "1" in receiver.findings[1]["message"] + receiver.findings[1]["finding_info"]["desc"]
    assert await service.end_silence("none") is None


async def test_a_dead_letter_is_replayed(start: Start, receiver: Receiver) -> None:
    receiver.refuses = True
    service = await start("")
    await attack(service, "ana")
    dead = 0

    async def letters(action: str, **more: Any) -> Any:
        return await service.dead_letters({"action": action, **more})

    deadline = time.monotonic() + 20.0
    while not dead and time.monotonic() < deadline:
        dead = (await letters("list"))["total"]
    assert "no such field" in msgspec.json.encode((await letters("list"))["items"][0]).decode()
    receiver.refuses = False
    assert (await letters("replay", sink="siem", every=True))["changed"] == 1
    await until(lambda: len(receiver.findings) == 1)
    body, _ = await service.metrics("text/plain")
    assert b'tamv_guardian_outbox_rows{sink="siem",state="delivered"} 1.0' in body


async def test_what_is_open_is_told_to_alertmanager_again(tmp_path: Path, start: Start) -> None:
    told: list[list[dict[str, Any]]] = []

    async def handle(request: web.Request) -> web.Response:
        told.append(msgspec.json.decode(await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/api/v2/alerts", handle)
    server = web.AppRunner(app)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    port = server.addresses[0][1]
    config = f'[[sinks]]\nname = "pager"\ntype = "alertmanager"\nurl = "http://127.0.0.1:{port}"\n'
    try:
        service = await start(config)
        await attack(service, "ana")
        await until(lambda: bool(told))
        await service.stop()
        told.clear()
        service = await start(config)
        await until(lambda: bool(told))
        assert told[0][0]["labels"]["entity"] == "ana"
    finally:
        await server.cleanup()


async def test_a_credential_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    config = parse(
        '[[sinks]]\nname = "a"\ntype = "splunk"\nurl = "http://127.0.0.1:9"\ntoken_env = "NO_SUCH_TOKEN"'
    )
    with pytest.raises(MachineError, match="NO_SUCH_TOKEN"):
        Service(config, tmp_path / "data", synthetic=False)
