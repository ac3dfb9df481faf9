"""Every refusal: as ``application/problem+json`` (RFC 9457), or as an OTLP Status to senders of OTLP.

Owns the table from an error to a status, both forms, and that each is counted under its word. What a sender is told never holds a payload, a path of
this machine or a traceback.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # has stubs but no py.typed

from guardian.errors import BodyError, JournalError, JournalFullError, MapError, Problem, RequestError

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
OTLP_PATHS: Final = ("/v1/logs", "/v1/traces")

_log: Final = logging.getLogger("guardian.gateway")
_GRPC_CODES: Final = {408: 4, 404: 5, 405: 12, 429: 8, 500: 13, 503: 14}
"""HTTP status → code of google.rpc.Status; any other is 3, invalid argument."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Count = Callable[[str], None]
"""Is told the word of each refusal. The words are a closed set that the code writes, never what a sender sent."""

REFUSED: Final = web.AppKey[Count]("refused")


class RefusalError(Exception):
    """A request is answered with an error. ``name`` is the word that it is known under."""

    def __init__(
        self,
        status: int,
        name: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        problems: Sequence[Problem] = (),
    ) -> None:
        super().__init__(status, name, detail)
        self.status = status
        self.name = name
        self.detail = detail
        self.headers = dict(headers or {})
        self.problems = problems


def as_problem(refusal: RefusalError) -> web.Response:
    """The refusal as RFC 9457 describes; ``errors`` names each wrong value by its key path."""
    body: dict[str, Any] = {
        "type": f"urn:tamv-guardian:problem:{refusal.name}",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": refusal.detail,
    }
    if refusal.problems:
        body["errors"] = [
            {"key": each.key, "expected": each.expected, "got": each.got} for each in refusal.problems
        ]
    return web.Response(
        status=refusal.status,
        body=msgspec.json.encode(body),
        headers={**refusal.headers, "Content-Type": "application/problem+json"},
    )


def as_otlp(refusal: RefusalError, content_type: str) -> web.Response:
    """The refusal as OTLP/HTTP asks: a google.rpc.Status, in JSON to senders of JSON, else in protobuf."""
    code = _GRPC_CODES.get(refusal.status, 3)
    if content_type == JSON:
        body = msgspec.json.encode({"code": code, "message": refusal.detail})
    else:
        content_type = PROTOBUF
        body = Status(code=code, message=refusal.detail).SerializeToString()
    return web.Response(
        status=refusal.status, body=body, headers={**refusal.headers, "Content-Type": content_type}
    )


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into an answer; only what nobody foresaw is logged."""
    try:
        return await handler(request)
    except (BodyError, JournalError, MapError, RequestError, RefusalError, web.HTTPException) as error:
        refusal = _refusal(error)
    except Exception as error:
        if isinstance(error, ConnectionError) and request.transport is None:
            raise  # the sender is gone; there is nobody to answer
        _log.exception("a request to %s failed", request.match_info.route.resource)
        refusal = RefusalError(500, "internal", "the service failed on this request; its log says why")
    request.app[REFUSED](refusal.name)
    if request.path in OTLP_PATHS:
        return as_otlp(refusal, request.content_type)
    return as_problem(refusal)


def _refusal(error: Exception) -> RefusalError:
    match error:
        case RefusalError():
            return error
        case BodyError():
            return RefusalError(error.status, error.reason, error.detail)
        case JournalFullError():
            return busy(str(error), error.retry_after_s)
        case JournalError():
            return RefusalError(503, "journal", "nothing can be made durable now; send again later")
        case MapError():
            return RefusalError(400, "map", "the map cannot be used", problems=error.problems)
        case RequestError():
            return RefusalError(422, "request", "the request is not usable", problems=error.problems)
        case web.HTTPException():
            return _of_http(error)
    raise error


def busy(detail: str, retry_after_s: float) -> RefusalError:
    """Too much at once: the sender should come back after a while."""
    return RefusalError(429, "busy", detail, headers={"Retry-After": str(max(1, math.ceil(retry_after_s)))})


def _of_http(error: web.HTTPException) -> RefusalError:
    """What aiohttp itself refuses: no such route, or not with this method."""
    headers = {name: value for name, value in error.headers.items() if name == "Allow"}
    match error.status:
        case 404:
            return RefusalError(404, "not_found", "there is nothing at this path")
        case 405:
            return RefusalError(405, "method", f"expected {headers.get('Allow')}", headers=headers)
    return RefusalError(error.status, "http", HTTPStatus(error.status).description or error.reason)
