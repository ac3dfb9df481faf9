"""Reading a request body, as received, without ever holding more than is allowed.

Owns four bounds: of one body, of all bodies that are held at once, of one sender's share of those, and of the time that
one may take to arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiohttp import HttpVersion11, web

from guardian.errors import BodyError, Problem, RequestError
from guardian.gateway.problems import RefusalError, busy
from guardian.shares import Shares

ARRIVAL_S: Final = 60.0
"""A body must have arrived after this long; a slower sender is cut off, so that it cannot hold its place forever."""

HELD_BODIES: Final = 16
"""As many of the largest bodies may be held at once, over all connections; counted in bytes that did arrive."""

JSON_BYTES: Final = 2**20
"""Largest request for a decision."""

_RETRY_AFTER_S: Final = 1.0


class Bodies:
    """The bodies that are held at this moment."""

    def __init__(self, max_body_bytes: int, *, arrival_s: float = ARRIVAL_S) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_held_bytes = HELD_BODIES * max_body_bytes
        self.held_bytes = 0
        self._shares = Shares()
        self._arrival_s = arrival_s

    @asynccontextmanager
    async def read(self, request: web.Request, *, limit: int | None = None) -> AsyncIterator[bytes]:
        """The body of a request, still compressed; it counts as held for as long as the block lasts.

        Raises:
            BodyError: more than the limit (413) or damaged in transport (400). Nothing beyond the limit is kept.
            RefusalError: it took too long (408), or too many bodies are held at once, of all or of this sender (429).
        """
        limit = min(limit or self._max_body_bytes, self._max_body_bytes)
        _check_declared(request, limit)
        sender = self._shares.name(request.remote or "")
        chunks: list[bytes] = []
        size = 0
        try:
            try:
                async with asyncio.timeout(self._arrival_s):
                    async for chunk in request.content.iter_any():
                        size += len(chunk)
                        self.held_bytes += len(chunk)
                        self._shares.hold(sender, len(chunk))
                        if size > limit:
                            raise _too_large(limit)
                        self._check_room(sender, size)
                        chunks.append(chunk)
            except TimeoutError:
                raise RefusalError(
                    408, "slow", f"expected the whole body within {self._arrival_s:g} s"
                ) from None
            except web.RequestPayloadError:
                raise BodyError(400, "damaged", "the body broke off or is not framed as HTTP says") from None
            body = b"".join(chunks)
            chunks.clear()
            yield body
        finally:
            self.held_bytes -= size
            self._shares.release(sender, size)

    def _check_room(self, sender: str, size: int) -> None:
        free = self._max_held_bytes - self.held_bytes
        if free < 0:
            raise busy("too many bodies are arriving at once", _RETRY_AFTER_S)
        if not self._shares.admits(sender, free=free, size=size):
            raise busy("this sender holds its whole share of what may arrive at once", _RETRY_AFTER_S)

    async def expect(self, request: web.Request) -> None:
        """Answer ``Expect: 100-continue`` before the body is sent; a large one need not travel to be refused.

        Raises:
            BodyError: it will be larger than the limit.
            HTTPExpectationFailed: something else is expected of us.
        """
        if request.headers["Expect"].lower() != "100-continue":
            raise web.HTTPExpectationFailed
        _check_declared(request, self._max_body_bytes)
        if request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # as aiohttp does: the answer itself has not begun

    async def read_json(self, request: web.Request) -> dict[str, Any]:
        """The JSON object of a request for a decision.

        Raises:
            BodyError: not JSON, or not said to be.
            RequestError: JSON, but no object.
            RefusalError: as ``read``.
        """
        # A page of another origin can post text/plain without asking; it cannot post application/json.
        if request.content_type != "application/json":
            raise BodyError(415, "content_type", f"expected application/json, got {request.content_type!r}")
        if encoding_of(request) not in ("", "identity"):
            raise BodyError(415, "encoding", "expected no content encoding")
        async with self.read(request, limit=JSON_BYTES) as body:
            try:
                value = msgspec.json.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BodyError(400, "json", f"expected JSON: {error}") from None
        if not isinstance(value, dict):
            raise RequestError([Problem("(body)", "a JSON object", type(value).__name__)])
        return value


def encoding_of(request: web.Request) -> str:
    """The content encoding that a sender names, lower case; empty = none."""
    return request.headers.get("Content-Encoding", "").strip().lower()


def _check_declared(request: web.Request, limit: int) -> None:
    if (request.content_length or 0) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> BodyError:
    return BodyError(413, "too_large", f"expected at most {limit} bytes as sent; send smaller batches")
