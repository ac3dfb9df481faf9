"""The aiohttp application and the server that runs it, with the limits of both.

Owns how the parts are put together. Addresses and the order of starting are ``guardian.run``'s.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, Final, cast

from aiohttp import web

from guardian.config import Server
from guardian.gateway import boundary, console, deciding, ingest, reading, silencing
from guardian.gateway.bodies import ARRIVAL_S, Bodies
from guardian.gateway.problems import REFUSED, Count, RefusalError, answer_problems, as_problem
from guardian.gateway.service import Service

BODIES: Final = web.AppKey("bodies", Bodies)
"""What is held of bodies at this moment."""

_IDLE_S: Final = 30.0
_LINGER_S: Final = 2.0
_FULL_BODY: Final = (
    b'{"type":"urn:tamv-guardian:problem:connections","title":"Service Unavailable","status":503,'
    b'"detail":"too many connections are open at once"}'
)
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_FULL_BODY), _FULL_BODY)
)
"""Said to a connection past the limit, before it says anything."""


def _not_counted(_name: str) -> None:
    """For those who do not count refusals."""


def application(
    service: Service,
    *,
    settings: Server,
    folder: Path | None = None,
    arrival_s: float = ARRIVAL_S,
    refused: Count = _not_counted,
) -> web.Application:
    """Every route.

    ``folder`` holds the page; None = where ``console_folder`` finds it. ``refused`` is called with the word of each
    refusal, also of what is not HTTP.
    """
    middlewares = [answer_problems, boundary.check_origin]
    if boundary.is_loopback(settings.host):
        middlewares.append(boundary.check_host)
    app = web.Application(middlewares=middlewares)
    app[REFUSED] = refused
    app.on_response_prepare.append(boundary.add_headers)
    bodies = app[BODIES] = Bodies(settings.max_body_bytes, arrival_s=arrival_s)
    ingest.add_routes(app.router, service, bodies)
    reading.add_routes(app.router, service)
    deciding.add_routes(app.router, service, bodies)
    silencing.add_routes(app.router, service, bodies)
    console.add_routes(app.router, folder or console.console_folder())
    return app


def in_use(app: web.AppRunner) -> tuple[int, int]:
    """Open connections, and bytes of bodies held, at this moment."""
    server = cast("_Server | None", app.server)
    return (server.open if server is not None else 0), app.app[BODIES].held_bytes


def runner(app: web.Application, *, idle_s: float = _IDLE_S, max_connections: int = 4096) -> web.AppRunner:
    """What serves the application, on as many addresses as are wanted.

    A connection past ``max_connections`` is told 503 and closed, whatever it wanted.

    Bodies stay as received; there is no access log. A connection that sends no whole request head for ``idle_s`` is
    closed, new or kept alive, and so is one that takes nothing of its answer for as long; after a refused body the
    rest is read and thrown away for two seconds at most.
    """
    return _Runner(
        app,
        max_connections=max_connections,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=idle_s,
        lingering_time=_LINGER_S,
        shutdown_timeout=5.0,
    )


class _Runner(web.AppRunner):
    def __init__(self, app: web.Application, *, max_connections: int, **more: Any) -> None:
        super().__init__(app, **more)
        self._max_connections = max_connections

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()

        async def answered(request: Any) -> web.StreamResponse:
            # Once more around all of it: aiohttp looks at Expect before it asks the middlewares.
            return await answer_problems(request, made.request_handler)

        return _Server(
            answered,
            refused=self.app[REFUSED],
            max_connections=self._max_connections,
            request_factory=made.request_factory,
            **self._kwargs,
        )


class _Server(web.Server):
    def __init__(self, handler: Any, *, refused: Count, max_connections: int, **more: Any) -> None:
        super().__init__(handler, **more)
        self.refused = refused
        self.max_connections = max_connections
        self.open = 0

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    """A connection whose answers to what is not HTTP are ours: no version, no echo, no line in a log."""

    __slots__ = ("_refused", "_server")

    def __init__(self, manager: _Server, **more: Any) -> None:
        super().__init__(manager, **more)
        self._server = manager
        self._refused = manager.refused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse one too many; have the kernel close the connection of a reader that takes nothing of its answer."""
        super().connection_made(transport)
        self._server.open += 1
        if self._server.open > self._server.max_connections:
            self._refused("connections")
            cast("asyncio.Transport", transport).write(_FULL)
            transport.close()
            return
        patience_ms = int(self.keepalive_timeout * 1000)
        transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience_ms
        )

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for another one."""
        super().connection_lost(exc)
        self._server.open -= 1

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that never reached the application."""
        del exc, message  # they repeat what was sent
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        self._refused("http")
        refusal = RefusalError(status, "http", "expected a request as HTTP/1.1 describes")
        response = as_problem(refusal)
        response.headers.update(boundary.HEADERS)
        response.force_close()
        return response
