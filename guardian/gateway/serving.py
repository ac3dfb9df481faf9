"""The aiohttp application and the server that runs it, with the limits of both.

Owns how the parts are put together. Addresses and the order of starting are ``guardian.run``'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web

from guardian.config import Server
from guardian.gateway import boundary, console, deciding, ingest, reading
from guardian.gateway.bodies import ARRIVAL_S, Bodies
from guardian.gateway.problems import RefusalError, answer_problems, as_problem
from guardian.gateway.service import Service

_IDLE_S: Final = 30.0
_LINGER_S: Final = 2.0


def application(
    service: Service, *, settings: Server, folder: Path | None = None, arrival_s: float = ARRIVAL_S
) -> web.Application:
    """Every route. ``folder`` holds the page; None = where ``console_folder`` finds it."""
    middlewares = [answer_problems, boundary.check_origin]
    if boundary.is_loopback(settings.host):
        middlewares.append(boundary.check_host)
    app = web.Application(middlewares=middlewares)
    app.on_response_prepare.append(boundary.add_headers)
    bodies = Bodies(settings.max_body_bytes, arrival_s=arrival_s)
    ingest.add_routes(app.router, service, bodies)
    reading.add_routes(app.router, service)
    deciding.add_routes(app.router, service, bodies)
    console.add_routes(app.router, folder or console.console_folder())
    return app


def runner(app: web.Application, *, idle_s: float = _IDLE_S) -> web.AppRunner:
    """What serves the application, on as many addresses as are wanted.

    Bodies stay as received; there is no access log. A connection that sends no whole request head for ``idle_s`` is
    closed, new or kept alive; after a refused body the rest is read and thrown away for two seconds at most.
    """
    return _Runner(
        app,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=idle_s,
        lingering_time=_LINGER_S,
        shutdown_timeout=5.0,
    )


class _Runner(web.AppRunner):
    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, **self._kwargs)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    """A connection whose answers to what is not HTTP are ours: no version, no echo, no line in a log."""

    __slots__ = ()

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
        refusal = RefusalError(status, "http", "expected a request as HTTP/1.1 describes")
        response = as_problem(refusal)
        response.headers.update(boundary.HEADERS)
        response.force_close()
        return response
