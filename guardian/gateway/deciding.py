"""Requests for a decision: EOCT evaluations, Isabella, a protocol's constitution, acknowledgements, dead letters.

Owns the routes. What a request must hold, and what is kept, is the service's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from guardian.errors import InputError
from guardian.gateway.bodies import Bodies
from guardian.gateway.problems import Handler, RefusalError
from guardian.gateway.reading import answer
from guardian.gateway.service import Item, Service

_Decide = Callable[[dict[str, Any]], Awaitable[Item]]


def add_routes(router: web.UrlDispatcher, service: Service, bodies: Bodies) -> None:
    """The routes that answer 201 with the record that was kept, and the one of dead letters, which answers 200."""

    async def dead_letters(request: web.Request) -> web.Response:
        try:
            return answer(await service.dead_letters(await bodies.read_json(request)))
        except InputError as error:
            raise RefusalError(404, "not_found", str(error)) from None

    router.add_post("/api/v1/dead-letters", dead_letters)
    router.add_post("/api/v1/eoct/evaluate", _decision(service.evaluate_eoct, bodies))
    router.add_post("/api/v1/isabella/decisions", _decision(service.decide_isabella, bodies))
    router.add_post("/api/v1/protocols/execute", _decision(service.execute_protocol, bodies))
    router.add_post("/api/v1/acknowledgements", _decision(service.acknowledge, bodies))


def _decision(decide: _Decide, bodies: Bodies) -> Handler:
    async def decided(request: web.Request) -> web.Response:
        return answer(await decide(await bodies.read_json(request)), status=201)

    return decided
