"""Alerts by HTTP: one POST a batch, a JSON array, with a bearer token when one is configured.

Owns the request. A JSON array and not JSON lines, because generic receivers parse ``application/json`` without being
told how.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from exporters.sinks import credentials
from exporters.sinks.requests import Client, refusal
from guardian.ports import Answers, Message
from guardian.sink_settings import Http


class HttpSink:
    """One HTTP endpoint."""

    def __init__(self, settings: Http) -> None:
        """Prepare; nothing is connected yet.

        Raises:
            MachineError: a certificate cannot be used.
        """
        self._settings = settings
        self._client = Client(settings)

    async def write(self, messages: Sequence[Message]) -> Answers:
        """Send all messages in one request; returns when the receiver answered 2xx.

        ``Idempotency-Key`` names exactly these messages, so another batch that begins with the same one is not taken
        for a repetition.

        Raises:
            RetryError: no connection, no answer in time, 408, 429, 5xx and the like.
            HoldError: 401, 403, another refusal that is not about the body (3xx, 404, 405, 415 …), or a token that
                cannot be read.
            PoisonError: 400, 413 or 422: the receiver will never take this body.
        """
        ids = "\n".join(message.id for message in messages)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": hashlib.sha256(ids.encode()).hexdigest(),
        }
        token = credentials.token(self._settings)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        body = b"[" + b",".join(message.body for message in messages) + b"]"
        reply = await self._client.post(self._settings.url, body, headers)
        if not reply.taken:
            raise refusal(reply)
        return Answers()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
