"""A real gateway on a free port, and clients that speak to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection, connect

from guardian.config import Xr
from xr_telemetry.decode import decode_messages
from xr_telemetry.gateway import Gateway

NOW = int(datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()) * 10**9


class Journal:
    """Keeps what is ingested; can be made to fail or to wait."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.failures: list[Exception] = []
        self.open = asyncio.Event()
        self.open.set()

    async def ingest(self, body: bytes) -> None:
        await self.open.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.bodies.append(body)

    def rows(self) -> list[dict[str, Any]]:
        """Every event that was ingested, in order."""
        found = decode_messages(b"".join(self.bodies), received_at=NOW)
        assert found.rejected == ()
        return found.batch.to_pylist()


class House:
    """A gateway and what it writes to."""

    def __init__(self, gateway: Gateway, journal: Journal, port: int) -> None:
        self.gateway = gateway
        self.journal = journal
        self.url = f"ws://127.0.0.1:{port}/ws/xr"

    def connect(self, token: str = "", **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return connect(self.url, compression=None, additional_headers=headers, **options)


@pytest.fixture
def house():
    """``async with house(tick_ms=10, authenticate=…)``."""

    @asynccontextmanager
    async def opened(*, authenticate: Any = None, **settings: Any) -> AsyncIterator[House]:
        journal = Journal()
        gateway = Gateway(
            replace(Xr(), **{"tick_ms": 10.0, "messages_per_s": 1e6} | settings),
            ingest=journal.ingest,
            authenticate=authenticate,
            clock=lambda: NOW,
        )
        port = await gateway.start("127.0.0.1", 0)
        try:
            yield House(gateway, journal, port)
        finally:
            await gateway.stop()
            assert gateway.connections == 0

    return opened


def message(kind: str = "space_join", payload: Any = None, **fields: Any) -> str:
    """One message of a client."""
    body = {"type": kind, "payload": payload or {}, "createdAt": "2026-01-01T11:00:00Z"}
    return json.dumps(body | fields)


async def hear(socket: ClientConnection, *kinds: str) -> dict[str, Any]:
    """The next message of one of these types."""
    async with asyncio.timeout(10):
        while True:
            found: dict[str, Any] = json.loads(await socket.recv())
            if found["type"] in kinds:
                return found


async def until(condition: Any) -> None:
    """Wait for something that the loop is about to do."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def client():
    """What a test client says and hears: ``message``, ``hear``, ``until``; ``now_s`` is the gateway's clock."""

    class Client:
        now_s = NOW / 1e9
        message = staticmethod(message)
        hear = staticmethod(hear)
        until = staticmethod(until)

    return Client
