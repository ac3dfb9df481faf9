"""Silences over HTTP: which alerts nobody is to be told of, added, listed and ended.

Owns the three routes. What a silence must hold, and what is kept, is the service's.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from guardian.gateway.bodies import Bodies
from guardian.gateway.problems import RefusalError
from guardian.gateway.reading import answer, listed, only_active, paging
from guardian.gateway.service import Service

PATH: Final = "/api/v1/silences"


def add_routes(router: web.UrlDispatcher, service: Service, bodies: Bodies) -> None:
    """``GET`` and ``POST`` of all, ``DELETE`` of one, which ends it and keeps what it was."""

    async def silences(request: web.Request) -> web.Response:
        limit, offset = paging(request.query)
        active = only_active(request.query)
        found, total = await service.silences(active=active, limit=limit, offset=offset)
        return listed(found, total, limit, offset)

    async def silence(request: web.Request) -> web.Response:
        return answer(await service.silence(await bodies.read_json(request)), status=201)

    async def end(request: web.Request) -> web.Response:
        ended = await service.end_silence(request.match_info["id"])
        if ended is None:
            raise RefusalError(404, "not_found", "no silence of this id is in force or to come")
        return answer(ended)

    router.add_get(PATH, silences)
    router.add_post(PATH, silence)
    router.add_delete(PATH + "/{id:[0-9a-zA-Z-]{1,64}}", end)
