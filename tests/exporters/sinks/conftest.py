"""What tests of sinks share: both event loops, messages, certificates and receivers that do as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvloop

from guardian.levels import Level
from guardian.ports import Message
from tests.guardian.sources.conftest import Certificates, certificates

__all__ = ["certificates"]  # a fixture

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The service runs on uvloop, whose transports differ in places; a program that embeds it may not."""
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


def messages(first: int, last: int, size: int = 0) -> list[Message]:
    """RFC 5424 messages, numbered; some characters take more than a byte."""
    return [
        Message(
            f"{number:032x}",
            f"{number:032x}",
            10**18 + number,
            Level.HIGH,
            f"<108>1 2026-11-24T21:00:00.000Z host guardian - - - {number} señal {'x' * size}".rstrip().encode(),
        )
        for number in range(first, last)
    ]


def texts(first: int, last: int, size: int = 0) -> list[str]:
    return [message.body.decode() for message in messages(first, last, size)]


@asynccontextmanager
async def serving(handler: Handler, port: int = 0, **more: Any) -> AsyncIterator[int]:
    """A server, on a free port unless one is given, gone with all its connections at the end."""
    tasks: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await handler(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", port, **more)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


def server_context(certificates: Certificates, name: str = "server") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.file(f"{name}.pem"), certificates.file(f"{name}.key"))
    return context
