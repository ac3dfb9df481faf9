"""Bodies of events: JSON lines, and OTLP over HTTP (protobuf or JSON).

Owns the routes and the form of their answers. A body goes on as it was received: still compressed, not looked into.
"""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from guardian.errors import BodyError
from guardian.gateway.bodies import Bodies, encoding_of
from guardian.gateway.problems import JSON, PROTOBUF
from guardian.gateway.service import Receipt, Service

_DEFAULT_MAP: Final = "tamv"
_TOLD: Final = 5
"""Rejected records that the sentence of a partial success tells."""


def add_routes(router: web.UrlDispatcher, service: Service, bodies: Bodies) -> None:
    """The three ingest routes."""

    async def take(request: web.Request, map_name: str = "") -> Receipt:
        # aiohttp says application/octet-stream when nothing was said; the decoders know nothing as JSON lines.
        content_type = request.content_type if "Content-Type" in request.headers else ""
        async with bodies.read(request) as body:
            return await service.ingest(
                path=request.path,
                content_type=content_type,
                encoding=encoding_of(request),
                map_name=map_name,
                body=body,
                sender=request.remote or "",
            )

    async def events(request: web.Request) -> web.Response:
        receipt = await take(request, request.query.get("map", _DEFAULT_MAP))
        answer = {
            "accepted": receipt.accepted,
            "rejected": [
                {"line": each.line, "reason": each.reason, "detail": each.detail} for each in receipt.rejected
            ],
            "rejectedTotal": receipt.rejected_total,
        }
        return web.Response(body=msgspec.json.encode(answer), content_type=JSON)

    async def otlp(request: web.Request) -> web.Response:
        if request.content_type not in (PROTOBUF, JSON):
            raise BodyError(
                415, "content_type", f"expected {PROTOBUF} or {JSON}, got {request.content_type!r}"
            )
        receipt = await take(request)
        logs = request.path == "/v1/logs"
        answer = _json_answer if request.content_type == JSON else _protobuf_answer
        return web.Response(body=answer(receipt, logs=logs), content_type=request.content_type)

    router.add_post("/api/v1/events", events, expect_handler=bodies.expect)
    router.add_post("/v1/logs", otlp, expect_handler=bodies.expect)
    router.add_post("/v1/traces", otlp, expect_handler=bodies.expect)


def _protobuf_answer(receipt: Receipt, *, logs: bool) -> bytes:
    if not receipt.rejected_total:
        return b""  # the empty message: all was accepted
    message: ExportLogsServiceResponse | ExportTraceServiceResponse
    if logs:
        message = ExportLogsServiceResponse()
        message.partial_success.rejected_log_records = receipt.rejected_total
    else:
        message = ExportTraceServiceResponse()
        message.partial_success.rejected_spans = receipt.rejected_total
    message.partial_success.error_message = _sentence(receipt)
    return message.SerializeToString()


def _json_answer(receipt: Receipt, *, logs: bool) -> bytes:
    if not receipt.rejected_total:
        return b"{}"
    count = "rejectedLogRecords" if logs else "rejectedSpans"
    # Protobuf's JSON writes 64-bit numbers as text.
    partial = {count: str(receipt.rejected_total), "errorMessage": _sentence(receipt)}
    return msgspec.json.encode({"partialSuccess": partial})


def _sentence(receipt: Receipt) -> str:
    told = "; ".join(f"record {each.line}: {each.detail}" for each in receipt.rejected[:_TOLD])
    more = receipt.rejected_total - min(len(receipt.rejected), _TOLD)
    return f"{told}; and {more} more" if more and told else told or f"{more} records were rejected"
