"""Alerts in Microsoft Sentinel, by the Logs Ingestion API (2023-01-01).

Owns the calls, the token of Microsoft Entra that they need, and what answers mean. A call holds at most 1 MB, so a
batch may take several; each alert is answered for by its own call. The API knows no ids: what is sent again is stored
again, and ``| summarize arg_max(ingestion_time(), *) by EventId`` finds it.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from exporters.sinks import credentials
from exporters.sinks.requests import Client, Reply, at, refusal, short
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import Sentinel

MOST_BYTES: Final = 1_000_000
"""Of one call, before compression ("Logs Ingestion API limits": 1 MB, compressed and uncompressed)."""
_API: Final = "2023-01-01"
_ANSWER_BYTES: Final = 65_536
_EARLY_S: Final = 300.0
"""A token is fetched again so long before its end …"""
_SHORT_S: Final = 600.0
"""… or after half of its life, when that is shorter than this."""
_CLOUDS: Final = {".azure.us": "https://monitor.azure.us", ".azure.cn": "https://monitor.azure.cn"}
_PUBLIC: Final = "https://monitor.azure.com"
_GZIP_LEVEL: Final = 1
_NO_STREAM: Final = "InvalidStream"


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float


class _Denied(msgspec.Struct):
    error: str
    error_codes: list[int] = []


class _Fault(msgspec.Struct):
    code: str = ""


class _Fails(msgspec.Struct):
    error: _Fault


class SentinelSink:
    """One stream of one data collection rule."""

    def __init__(self, settings: Sentinel) -> None:
        """Prepare; nothing is connected yet.

        Raises:
            MachineError: a certificate cannot be used.
        """
        self._settings = settings
        self._client = Client(settings)
        stream = quote(settings.stream, safe="")
        path = f"/dataCollectionRules/{settings.rule_id}/streams/{stream}?api-version={_API}"
        self._url = at(settings.url, path)
        self._token = ""
        self._until = 0.0

    async def write(self, messages: Sequence[Message]) -> Answers:
        """Send all messages, in as many calls as their size needs; a call that is refused is sent again in halves.

        Raises:
            RetryError: nobody answers, or the service is busy.
            HoldError: the application may not write, its secret cannot be read, or there is no such rule or stream.
        """
        refused: dict[str, DeliveryError] = {
            message.id: PoisonError(f"{len(message.body)} bytes, and a call holds {MOST_BYTES}")
            for message in messages
            if len(message.body) + 2 > MOST_BYTES
        }
        calls = deque(_calls([message for message in messages if message.id not in refused]))
        settled = bool(refused)
        while calls:
            call = calls.popleft()
            try:
                await self._call(call)
                settled = True
            except PoisonError as error:
                half = len(call) // 2
                if half:
                    calls.extendleft((call[half:], call[:half]))
                else:
                    refused[call[0].id] = error
                    settled = True
            except DeliveryError as error:
                if not settled:
                    raise
                rest = [message.id for later in (call, *calls) for message in later]
                return Answers({**refused, **dict.fromkeys(rest, error)})
        return Answers(refused)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _call(self, messages: Sequence[Message]) -> None:
        plain = b"[" + b",".join(message.body for message in messages) + b"]"
        body = await asyncio.to_thread(gzip.compress, plain, _GZIP_LEVEL)
        reply = await self._post(body)
        if reply.status == 401:
            # The token may have been withdrawn before its end: once more with a new one.
            self._token = ""
            reply = await self._post(body)
        if reply.status == 204:
            return
        if reply.taken:
            raise RetryError(f"{reply.said}: expected 204")
        fails = reply.read(_Fails)
        if fails is not None and fails.error.code == _NO_STREAM:
            # 400 too, and about the settings: the same alerts are taken once those are right.
            raise HoldError(reply.said)
        raise refusal(reply)

    async def _post(self, body: bytes) -> Reply:
        headers = {
            "Authorization": f"Bearer {await self._bearer()}",
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
        }
        return await self._client.post(self._url, body, headers, answer_bytes=_ANSWER_BYTES)

    async def _bearer(self) -> str:
        """A token, fetched when there is none that lasts.

        Raises:
            RetryError: Entra does not answer, or asks for time.
            HoldError: it does not know the application or its secret.
        """
        now = asyncio.get_running_loop().time()
        if self._token and now < self._until:
            return self._token
        secret = credentials.token(self._settings, "secret")
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client,
            "client_secret": secret,
            "scope": f"{_audience(self._settings.url)}/.default",
        }
        tenant = quote(self._settings.tenant, safe="")
        reply = await self._client.post(
            at(self._settings.authority, f"/{tenant}/oauth2/v2.0/token"),
            urlencode(form).encode(),
            {"Content-Type": "application/x-www-form-urlencoded"},
            answer_bytes=_ANSWER_BYTES,
        )
        granted = reply.read(_Granted) if reply.taken else None
        if granted is None or not _usable(granted.access_token):
            raise _denied(reply)
        life = granted.expires_in
        self._token = granted.access_token
        self._until = now + (life - _EARLY_S if life > _SHORT_S else life / 2.0)
        return self._token


def _calls(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Cut into calls that each fit into ``MOST_BYTES``."""
    call: list[Message] = []
    size = 1
    for message in messages:
        more = len(message.body) + 1
        if call and size + more > MOST_BYTES:
            yield call
            call, size = [], 1
        call.append(message)
        size += more
    if call:
        yield call


def _audience(url: str) -> str:
    """Whom the token is for: each cloud has its own.

    >>> _audience("https://x.westeurope-1.ingest.monitor.azure.com"), _audience("https://x.ingest.monitor.azure.us/")
    ('https://monitor.azure.com', 'https://monitor.azure.us')
    """
    host = urlsplit(url).hostname or ""
    return next((audience for end, audience in _CLOUDS.items() if host.endswith(end)), _PUBLIC)


def _usable(token: str) -> bool:
    return bool(token) and token.isascii() and token.isprintable() and " " not in token


def _denied(reply: Reply) -> DeliveryError:
    """Why there is no token. The description is left out: it is long, and names the application."""
    denied = reply.read(_Denied)
    if denied is None:
        if reply.taken:
            return RetryError(f"Entra: HTTP {reply.status}, but no token")
        error = refusal(reply)
        # A form that is refused says nothing about the alerts.
        kind = HoldError if isinstance(error, PoisonError) else type(error)
        said = f"Entra: HTTP {reply.status}"
        return RetryError(said, reply.wait_s) if kind is RetryError else HoldError(said)
    codes = " ".join(f"AADSTS{code}" for code in denied.error_codes[:3])
    said = short(f"Entra: HTTP {reply.status} {denied.error} {codes}")
    if denied.error in ("temporarily_unavailable", "server_error") or reply.status in (
        429,
        500,
        502,
        503,
        504,
    ):
        return RetryError(said, reply.wait_s)
    return HoldError(said)
