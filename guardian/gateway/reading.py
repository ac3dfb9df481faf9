"""What the API shows: the guardian's view, entities, kept records, the MSR log, metrics and health.

Owns paths, paging and the names in JSON. What stands in a kept record is its owner's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from aiohttp import web

from guardian.errors import Problem
from guardian.events import LAYERS, ROLES
from guardian.gateway.problems import JSON, Handler, RefusalError
from guardian.gateway.service import Listed, Service
from guardian.view import EntityView, Standing, View

DEFAULT_LIMIT: Final = 20
MOST_LIMIT: Final = 200
MOST_OFFSET: Final = 2**53 - 1

LISTS: Final[dict[str, Listed]] = {
    "/api/v1/alerts": "alerts",
    "/api/v1/eoct/evaluations": "eoct",
    "/api/v1/isabella/decisions": "isabella",
    "/api/v1/protocols/events": "protocols",
    "/api/v1/msr/events": "msr",
    "/api/v1/bookpi/entries": "bookpi",
    "/api/v1/xr/events": "xr",
}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TILE: Final = re.compile(r"[0-9a-z./]{1,100}")
_INDEX: Final = re.compile(r"[0-9]{1,15}")


def add_routes(router: web.UrlDispatcher, service: Service) -> None:
    """Every route that only reads."""

    async def live(_request: web.Request) -> web.Response:
        return answer({"status": "live"})

    async def ready(_request: web.Request) -> web.Response:
        is_ready, reason = service.ready()
        if not is_ready:
            raise RefusalError(503, "not_ready", reason)
        return answer({"status": "ready"})

    async def metrics(request: web.Request) -> web.Response:
        body, content_type = await service.metrics(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def guardian(_request: web.Request) -> web.Response:
        return answer({**shown_view(await service.view()), "synthetic": service.synthetic})

    async def entities(request: web.Request) -> web.Response:
        limit, offset = paging(request.query)
        found, total = await service.entities(limit=limit, offset=offset)
        return listed([shown_entity(each) for each in found], total, limit, offset)

    async def entity(request: web.Request) -> web.Response:
        role, name = request.match_info["role"], request.match_info["name"]
        if role not in ROLES:
            raise RefusalError(404, "not_found", f"expected a role: {', '.join(ROLES)}")
        found = await service.entity(role, name)
        if found is None:
            raise RefusalError(404, "not_found", f"no {role} of this name is known, or not any more")
        return answer(shown_entity(found))

    async def acknowledgements(request: web.Request) -> web.Response:
        limit, offset = paging(request.query)
        active = only_active(request.query)
        found, total = await service.acknowledgements(active=active, limit=limit, offset=offset)
        return listed(found, total, limit, offset)

    async def checkpoint(_request: web.Request) -> web.Response:
        text = await service.msr_checkpoint()
        if text is None:
            raise RefusalError(
                404, "not_found", "the log is empty; its first checkpoint comes with its first entry"
            )
        return web.Response(text=text)

    async def tile(request: web.Request) -> web.Response:
        path = request.match_info["path"]
        data = await service.msr_tile(path) if _TILE.fullmatch(path) else None
        if data is None:
            raise RefusalError(404, "not_found", "there is no such tile")
        # A full tile never changes again; a partial one is replaced by longer ones.
        keep = "no-store" if ".p/" in path else "public, max-age=31536000, immutable"
        return web.Response(
            body=data, content_type="application/octet-stream", headers={"Cache-Control": keep}
        )

    async def proof(request: web.Request) -> web.Response:
        index = request.match_info["index"]
        text = await service.msr_proof(int(index)) if _INDEX.fullmatch(index) else None
        if text is None:
            raise RefusalError(404, "not_found", "the log has no entry of this index")
        return web.Response(text=text)

    router.add_get("/health/live", live)
    router.add_get("/health/ready", ready)
    router.add_get("/metrics", metrics)
    router.add_get("/api/v1/guardian", guardian)
    router.add_get("/api/v1/entities", entities)
    router.add_get("/api/v1/entities/{role}/{name:.+}", entity)
    router.add_get("/api/v1/acknowledgements", acknowledgements)
    router.add_get("/api/v1/msr/checkpoint", checkpoint)
    router.add_get("/api/v1/msr/tile/{path:.+}", tile)
    router.add_get("/api/v1/msr/proof/{index}", proof)
    for path, name in LISTS.items():
        router.add_get(path, _list_of(service, name))


def _list_of(service: Service, name: Listed) -> Handler:
    async def page(request: web.Request) -> web.Response:
        limit, offset = paging(request.query)
        items, total = await service.page(name, limit=limit, offset=offset)
        return listed(items, total, limit, offset)

    return page


def listed(items: Sequence[Any], total: int, limit: int, offset: int) -> web.Response:
    """One page of a list route."""
    return answer({"items": items, "total": total, "limit": limit, "offset": offset})


def paging(query: Mapping[str, str]) -> tuple[int, int]:
    """``limit`` and ``offset`` of a list route.

    Raises:
        RefusalError: 400, with everything that is wrong.

    >>> paging({"limit": "5"})
    (5, 0)
    """
    problems: list[Problem] = []
    limit = _whole(query, "limit", DEFAULT_LIMIT, 1, MOST_LIMIT, problems)
    offset = _whole(query, "offset", 0, 0, MOST_OFFSET, problems)
    if problems:
        detail = "; ".join(map(str, problems))
        raise RefusalError(400, "query", detail, problems=problems)
    return limit, offset


def only_active(query: Mapping[str, str]) -> bool:
    """Whether a list route is to show only what is in force.

    Raises:
        RefusalError: 400; it is said neither to nor not to.

    >>> only_active({}), only_active({"active": "true"})
    (False, True)
    """
    active = query.get("active", "false")
    if active not in ("true", "false"):
        problem = Problem("active", "true or false", repr(active[:40]))
        raise RefusalError(400, "query", str(problem), problems=[problem])
    return active == "true"


def _whole(
    query: Mapping[str, str], key: str, default: int, least: int, most: int, problems: list[Problem]
) -> int:
    text = query.get(key)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most:
        return int(text)
    problems.append(Problem(key, f"a whole number, {least} to {most}", repr(text[:40])))
    return default


def answer(value: object, *, status: int = 200) -> web.Response:
    """A value as JSON."""
    return web.Response(body=msgspec.json.encode(value), status=status, content_type=JSON)


def shown_view(view: View) -> dict[str, Any]:
    """The view as ``/api/v1/guardian`` shows it."""
    return {
        **_standing(view),
        "updatedAt": iso(view.updated_at),
        "events": view.events,
        "late": view.late,
        "layers": {name: _standing(each) for name, each in view.layers.items()},
        "protocols": {name: _standing(each) for name, each in view.protocols.items()},
        "top": [shown_entity(each) for each in view.top],
    }


def shown_entity(entity: EntityView) -> dict[str, Any]:
    """An entity as the API shows it; ``layer`` is null when its events state none."""
    return {
        "role": entity.role,
        "entity": entity.entity,
        **_standing(entity),
        "firstSeen": iso(entity.first_seen),
        "lastSeen": iso(entity.last_seen),
        "events": entity.events,
        "layer": LAYERS[entity.layer] if 0 <= entity.layer < len(LAYERS) else None,
        "reasons": [
            {
                "channel": each.channel,
                "contribution": each.contribution,
                "kind": each.kind,
                "event": each.event,
                "scoreWithout": each.without,
                "levelWithout": each.level_without.word,
            }
            for each in entity.reasons
        ],
    }


def _standing(of: View | EntityView | Standing) -> dict[str, Any]:
    return {"level": of.level.word, "score": of.score}


def iso(ns: int) -> str:
    """Nanoseconds since 1970 as ISO 8601 in UTC, to the millisecond.

    >>> iso(1_700_000_000_123_456_789)
    '2023-11-14T22:13:20.123Z'
    """
    return (_EPOCH + timedelta(milliseconds=ns // 10**6)).isoformat(timespec="milliseconds")[:-6] + "Z"
