"""One synthetic day for all tests of the demonstration, its decoding by the real decoders, and a stand-in service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pyarrow as pa
import pytest
from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve

from guardian.config import Config
from guardian.decisions import eoct, isabella, protocols
from guardian.decisions.events import as_events
from guardian.decode import Decoded, decode_body
from guardian.demo import Item, day, encode
from xr_telemetry.decode import decode_messages
from xr_telemetry.envelope import parse, tag

START = 1_785_000_000.0
"""Start of the day, seconds since 1970."""

Decode = Callable[[float, Sequence[Item]], list[Decoded]]


@pytest.fixture(scope="session")
def start() -> float:
    return START


@pytest.fixture(scope="session")
def today(start: float) -> list[Item]:
    return list(day(7, start_s=start))


@pytest.fixture(scope="session")
def decode() -> Decode:
    """Items of one or several doors, through encoders and the service's own decoders."""
    return _decode


def _decode(start: float, items: Sequence[Item]) -> list[Decoded]:
    bodies = {
        "log": ("/api/v1/events", "application/x-ndjson", encode.ndjson),
        "otlp_log": ("/v1/logs", "application/json", encode.otlp_logs),
        "span": ("/v1/traces", "application/json", encode.otlp_spans),
    }
    received_at = int((start + 90_000) * 1e9)
    decoded = []
    for door, (path, content_type, write) in bodies.items():
        if chosen := [item for item in items if item.door == door]:
            decoded.append(
                decode_body(
                    write(start, chosen),
                    content_type=content_type,
                    encoding="",
                    path=path,
                    map_name="tamv",
                    received_at=received_at,
                    max_decoded_bytes=2**28,
                )
            )
    if messages := [encode.envelope(start, item) for item in items if item.door == "xr"]:
        lines = b"".join(tag(parse(each), address="", user="", session="") for each in messages)
        decoded.append(decode_messages(lines, received_at=received_at))
    decisions = [_decision(start, item) for item in items if item.door in {"protocol", "isabella", "eoct"}]
    if decisions:
        decoded.append(Decoded(as_events(decisions, address="127.0.0.1"), ()))
    return decoded


def _decision(start: float, item: Item) -> Any:
    _, body = encode.request(start, item)
    now = int((start + item.at) * 1e9)
    settings = Config().eoct
    number = str(item.number)
    if item.door == "protocol":
        request = protocols.request(body)
        return protocols.evaluate(
            request, event_id=f"{item.number:032x}", actor_id="demo", now=now, settings=settings
        ).event
    if item.door == "isabella":
        return isabella.decide(isabella.request(body), record_id=number, actor_id="demo", now=now)
    return eoct.evaluate(eoct.request(body), record_id=number, actor_id="demo", now=now, settings=settings)


@pytest.fixture(scope="session")
def in_order() -> Callable[[list[Decoded]], pa.RecordBatch]:
    """What several doors decoded, as one batch in order of time."""

    def joined(decoded: list[Decoded]) -> pa.RecordBatch:
        table = pa.Table.from_batches([each.batch for each in decoded]).unify_dictionaries()
        return table.sort_by("ts").combine_chunks().to_batches()[0]

    return joined


class StandIn:
    """A service that keeps what it gets; ``trouble`` are statuses to answer first.

    ``enough`` is set once every door of ``wanted`` was used; ``hang_up_after`` closes an XR socket after so many
    messages.
    """

    def __init__(
        self, trouble: Sequence[int] = (), *, wanted: set[str] | None = None, hang_up_after: int = 0
    ) -> None:
        self.trouble = list(trouble)
        self.wanted = wanted
        self.hang_up_after = hang_up_after
        self.bodies: list[tuple[str, bytes]] = []
        self.messages: list[dict[str, Any]] = []
        self.refused = 0
        self.enough = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        if self.trouble:
            self.refused += 1
            return web.Response(status=self.trouble.pop(0), headers={"Retry-After": "0"})
        self.bodies.append((request.path_qs, await request.read()))
        self._look()
        return web.json_response({})

    async def listen(self, socket: ServerConnection) -> None:
        async for message in socket:
            self.messages.append(json.loads(message))
            self._look()
            if self.hang_up_after and len(self.messages) % self.hang_up_after == 0:
                return

    def _look(self) -> None:
        seen = {path for path, _ in self.bodies} | ({"xr"} if self.messages else set())
        if self.wanted is not None and self.wanted <= seen:
            self.enough.set()

    def lines(self) -> list[dict[str, Any]]:
        bodies = [body for path, body in self.bodies if path == "/api/v1/events?map=tamv"]
        return [json.loads(line) for body in bodies for line in body.splitlines()]


DOORS = {
    "/api/v1/events?map=tamv",
    "/v1/logs",
    "/v1/traces",
    "/api/v1/protocols/execute",
    "/api/v1/isabella/decisions",
    "/api/v1/eoct/evaluate",
    "xr",
}


@asynccontextmanager
async def _running(service: StandIn) -> AsyncIterator[tuple[str, str]]:
    """The stand-in on free ports: its base URL and that of its XR socket."""
    app = web.Application()
    app.router.add_post("/{path:.*}", service.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    try:
        async with serve(service.listen, "127.0.0.1", 0) as gateway:
            xr_port = next(iter(gateway.sockets)).getsockname()[1]
            yield f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{xr_port}/ws/xr"
    finally:
        await runner.cleanup()


@pytest.fixture
def stand_in() -> type[StandIn]:
    return StandIn


@pytest.fixture
def running() -> Callable[[StandIn], AbstractAsyncContextManager[tuple[str, str]]]:
    return _running


@pytest.fixture(scope="session")
def doors() -> set[str]:
    """Every path that the demonstration uses; ``xr`` stands for the socket."""
    return DOORS
