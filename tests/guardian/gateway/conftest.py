"""A service that answers from memory, and a way to talk to the real server in front of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import uvloop
from aiohttp import web

from guardian.config import Server
from guardian.errors import InputError
from guardian.gateway import Receipt, application, runner
from guardian.levels import Level
from guardian.view import EntityView, Reason, Standing, View

ENTITY = EntityView(
    role="actor",
    entity="ana",
    score=61.5,
    level=Level.HIGH,
    first_seen=1_700_000_000_000_000_000,
    last_seen=1_700_000_060_500_000_000,
    events=12,
    layer=5,
    reasons=(Reason("rule", 61.5, "login_failed", 7, 0.0),),
)
VIEW = View(
    score=61.5,
    level=Level.HIGH,
    updated_at=1_700_000_060_500_000_000,
    events=40,
    late=2,
    layers={"L5": Standing(61.5, Level.HIGH)},
    protocols={"fenix": Standing(3.0, Level.NONE)},
    top=(ENTITY,),
)


@dataclass
class FakeService:
    """Every method of Service; ``failure`` is raised by all, ``calls`` remembers what was asked."""

    receipt: Receipt = field(default_factory=lambda: Receipt(3))
    failure: Exception | None = None
    synthetic: bool = False
    readiness: tuple[bool, str] = (True, "")
    checkpoint: str | None = "tamv-guardian.local/msr\n1\nhash\n"
    calls: list[Any] = field(default_factory=list)

    def _called(self, *what: Any) -> None:
        self.calls.append(what)
        if self.failure is not None:
            raise self.failure

    async def ingest(self, **given: Any) -> Receipt:
        self._called("ingest", given)
        return self.receipt

    async def view(self) -> View:
        self._called("view")
        return VIEW

    async def page(self, name: str, *, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        self._called("page", name, limit, offset)
        return [{"id": f"{name}-1", "score": float("nan")}], 41

    async def entities(self, *, limit: int, offset: int) -> tuple[list[EntityView], int]:
        self._called("entities", limit, offset)
        return [ENTITY], 1

    async def entity(self, role: str, name: str) -> EntityView | None:
        self._called("entity", role, name)
        return None if name == "nobody" else ENTITY

    async def evaluate_eoct(self, body: dict[str, Any]) -> dict[str, Any]:
        self._called("eoct", body)
        return {"id": "e1"}

    async def decide_isabella(self, body: dict[str, Any]) -> dict[str, Any]:
        self._called("isabella", body)
        return {"id": "i1"}

    async def execute_protocol(self, body: dict[str, Any]) -> dict[str, Any]:
        self._called("protocol", body)
        return {"id": "p1"}

    async def acknowledge(self, body: dict[str, Any]) -> dict[str, Any]:
        self._called("acknowledge", body)
        return {"id": "k1"}

    async def dead_letters(self, body: dict[str, Any]) -> dict[str, Any]:
        self._called("dead_letters", body)
        if body.get("sink") == "nobody":
            raise InputError("nobody", "there is no such dead letter")
        return {"action": body["action"]}

    async def acknowledgements(
        self, *, active: bool, limit: int, offset: int
    ) -> tuple[list[dict[str, Any]], int]:
        self._called("acknowledgements", active, limit, offset)
        return [{"id": "k1", "active": True}], 7

    async def silence(self, body: dict[str, Any]) -> dict[str, Any]:
        self._called("silence", body)
        return {"id": "s1"}

    async def silences(self, *, active: bool, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        self._called("silences", active, limit, offset)
        return [{"id": "s1", "state": "active"}], 3

    async def end_silence(self, silence_id: str) -> dict[str, Any] | None:
        self._called("end_silence", silence_id)
        return None if silence_id == "nothing" else {"id": silence_id, "state": "ended"}

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        self._called("metrics", accept)
        return b"# EOF\n", "application/openmetrics-text; version=1.0.0; charset=utf-8"

    def ready(self) -> tuple[bool, str]:
        return self.readiness

    async def msr_checkpoint(self) -> str | None:
        self._called("checkpoint")
        return self.checkpoint

    async def msr_tile(self, path: str) -> bytes | None:
        self._called("tile", path)
        return None if path.startswith("9") else b"\x01" * 32

    async def msr_proof(self, index: int) -> str | None:
        self._called("proof", index)
        return None if index > 5 else "c2sp.org/tlog-proof@v1\n"


@dataclass
class Face:
    """A running server and a client of it."""

    service: FakeService
    port: int
    client: aiohttp.ClientSession
    refused: Counter[str]
    server: web.Server

    async def get(self, path: str, **more: Any) -> tuple[int, Any, Any]:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, **more: Any) -> tuple[int, Any, Any]:
        return await self.ask("POST", path, **more)

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any, Any]:
        """Status, headers and the body: decoded if it is JSON, else bytes."""
        async with self.client.request(method, path, **more) as answer:
            body = await answer.read()
            if answer.content_type.endswith("json") and body:
                return answer.status, answer.headers, await answer.json(content_type=None)
            return answer.status, answer.headers, body


Serve = Callable[..., Awaitable[Face]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], uvloop.Loop]]:
    """The loop that the service runs on: it treats sockets unlike asyncio's own."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def started(
            *,
            idle_s: float = 30.0,
            max_body_bytes: int = 16 * 2**20,
            max_connections: int = 4096,
            **more: Any,
        ) -> Face:
            service = FakeService()
            settings = Server(max_body_bytes=max_body_bytes, host=more.pop("host", "127.0.0.1"))
            refused: Counter[str] = Counter()
            app = application(service, settings=settings, refused=lambda name: refused.update([name]), **more)
            running = runner(app, idle_s=idle_s, max_connections=max_connections)
            await running.setup()
            stack.push_async_callback(running.cleanup)
            await web.TCPSite(running, "127.0.0.1", 0).start()
            port = running.addresses[0][1]
            client = aiohttp.ClientSession(f"http://127.0.0.1:{port}", auto_decompress=False)
            await stack.enter_async_context(client)
            assert running.server is not None
            return Face(service, port, client, refused, running.server)

        yield started


@pytest.fixture
async def face(serve: Serve) -> Face:
    return await serve()
