"""Alerts in Elasticsearch or OpenSearch, by ``_bulk``.

Owns the request and what each item's status means. Every alert is a ``create`` with its id as ``_id``: one that is
there already answers 409, which is a delivery. The answer is 200 whatever happened to the items, so each is read.

A data stream takes ``create`` too, but looks for an id in its newest backing index only: what is sent again after a
rollover is stored twice, with the same ``event.id``.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import msgspec

from exporters.sinks import credentials
from exporters.sinks.requests import Client, at, refusal, short
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import Elastic

_ANSWER_BYTES: Final = 65_536
_ITEM_BYTES: Final = 8_192
"""An item that was refused says why; ``filter_path`` leaves only that."""
_FILTER: Final = "errors,items.*.status,items.*.error.type,items.*.error.reason"
_PREVIEW: Final = "Preview of field's value"
"""Behind it a mapper repeats what it was sent."""


class _Error(msgspec.Struct):
    type: str = ""
    reason: str | None = None


class _Item(msgspec.Struct):
    status: int
    error: _Error | None = None


class _Bulk(msgspec.Struct):
    errors: bool
    items: list[dict[str, _Item]]


class ElasticSink:
    """One index or data stream of a cluster."""

    def __init__(self, settings: Elastic) -> None:
        """Prepare; nothing is connected yet.

        Raises:
            MachineError: a certificate cannot be used.
        """
        self._settings = settings
        self._client = Client(settings)
        self._url = at(settings.url, f"/_bulk?filter_path={_FILTER}")

    async def write(self, messages: Sequence[Message]) -> Answers:
        """Create one document a message; returns once the cluster has answered for each.

        Raises:
            RetryError: no connection, no answer that can be read, 429 or 5xx for the whole request.
            HoldError: 401, 403, another refusal that is not about the body, or a credential that cannot be read.
            PoisonError: 400 or 413 for the whole request, or an answer that is too long to be read.
        """
        headers = {"Content-Type": "application/x-ndjson", **self._authorization()}
        most = _ANSWER_BYTES + _ITEM_BYTES * len(messages)
        reply = await self._client.post(self._url, self._body(messages), headers, answer_bytes=most)
        if not reply.taken:
            raise refusal(reply)
        bulk = reply.read(_Bulk)
        if bulk is None and len(reply.body) == most and reply.body.startswith(b"{") and len(messages) > 1:
            # Sent again as a whole it would get the same answer: the halves get shorter ones.
            raise PoisonError(f"HTTP {reply.status}, and an answer of more than {most} bytes")
        if bulk is None:
            raise RetryError(f"HTTP {reply.status}, but not the answer of _bulk")
        return _answers(messages, bulk)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _body(self, messages: Sequence[Message]) -> bytes:
        parts: list[bytes] = []
        for message in messages:
            action = {"create": {"_index": self._settings.index, "_id": message.id}}
            parts += (msgspec.json.encode(action), message.body)
        parts.append(b"")  # the last line ends too
        return b"\n".join(parts)

    def _authorization(self) -> dict[str, str]:
        token = credentials.token(self._settings)
        if not token:
            return {}
        if not self._settings.user:
            return {"Authorization": f"ApiKey {token}"}
        both = base64.b64encode(f"{self._settings.user}:{token}".encode()).decode()
        return {"Authorization": f"Basic {both}"}


def _answers(messages: Sequence[Message], bulk: _Bulk) -> Answers:
    """The items answer in the order of the request.

    Where there are fewer, as Tenzir answers, ``errors`` says whether the others were taken too.
    """
    refused: dict[str, DeliveryError] = {}
    duplicates = 0
    for index, message in enumerate(messages):
        item = next(iter(bulk.items[index].values()), None) if index < len(bulk.items) else None
        if item is None:
            if bulk.errors:
                refused[message.id] = RetryError("_bulk tells of errors, but not of this item")
        elif item.status == 409:
            duplicates += 1
        elif not 200 <= item.status < 300:
            refused[message.id] = _item_refusal(item)
    return Answers(refused, duplicates)


def _item_refusal(item: _Item) -> DeliveryError:
    error = item.error or _Error()
    reason = (error.reason or "").partition(_PREVIEW)[0]
    said = short(f"item {item.status} {error.type} {reason}")
    if item.status == 429 or item.status >= 500 or error.type == "cluster_block_exception":
        # A full disk makes an index read-only: 403 in some versions, and not a matter of credentials.
        return RetryError(said)
    if item.status in (401, 403, 404):
        return HoldError(said)
    return PoisonError(said)
