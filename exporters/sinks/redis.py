"""Alerts in a Redis Stream: one entry each, a batch in one transaction.

Owns the entries and what Redis' errors mean. An entry has the fields ``id``, ``finding``, ``level``, ``at``
(nanoseconds since 1970) and ``body``. Does not own how long Redis keeps what it acknowledged: with ``appendonly yes``
and ``appendfsync always`` it is on disk before the answer, with ``everysec`` a crash of its machine takes up to a
second, and without either everything since the last snapshot; a replica has it only some time later (WAIT is not
used). The stream is trimmed to about ``max_length`` entries, whether or not somebody has read them.

Idempotent as far as a stream allows. A transaction is there as a whole or not at all, so only a batch whose answer was
lost is in doubt: the next write, as the first one after a start, looks through the newest entries for its ids and
leaves those out. Beyond that, ``id`` tells a reader.

What Redis answers is kept by redis-py without a limit: a server that is not what it seems is bounded by time only.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    RedisError,
    ResponseError,
)

from exporters.sinks.connection import SAID_KEPT
from exporters.sinks.credentials import token
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import Redis as Settings

_LOOK_BACK: Final = 1_000
"""Entries beside as many as the batch has, in which the ids of a batch in doubt are looked for."""
_LATER: Final = frozenset(
    {
        "BUSY",
        "CLUSTERDOWN",
        "FAILOVER",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOREPLICAS",
        "OOM",
        "READONLY",
        "TRYAGAIN",
    }
)
"""First words of errors that pass by themselves."""
_NEVER: Final = ("string exceeds maximum", "invalid bulk length")


class _Credentials(CredentialProvider):
    """Asked for with each connection, so that a rotated password is picked up."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        password = await asyncio.to_thread(token, self._settings, "password")
        return (self._settings.username, password) if self._settings.username else (password,)


class RedisSink:
    """One stream."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        tls: dict[str, Any] = {}
        if settings.url.startswith("rediss://"):
            tls = {
                "ssl_ca_certs": settings.ca_file or None,
                "ssl_certfile": settings.cert_file or None,
                "ssl_keyfile": settings.key_file or None,
                "ssl_password": "",  # a key with a passphrase would ask for it on the terminal
                "ssl_min_version": ssl.TLSVersion.TLSv1_2,
                "ssl_check_hostname": True,
            }
        protected = settings.password_env or settings.password_file
        self._client = Redis.from_url(
            settings.url,
            credential_provider=_Credentials(settings) if protected else None,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            # It would send a transaction again whose answer was lost.
            retry=Retry(NoBackoff(), 0),
            **tls,
        )
        self._in_doubt = True

    async def write(self, messages: Sequence[Message]) -> Answers:
        """Add all messages in one transaction; takes at most ``timeout_s``.

        Raises:
            RetryError: no connection, no answer in time, or Redis is loading, read-only, out of memory and the like.
            HoldError: a password or certificate is refused, or the stream cannot be written for another reason.
            PoisonError: an entry is larger than Redis takes.
        """
        settings = self._settings
        try:
            async with asyncio.timeout(settings.timeout_s):
                known = await self._stored(len(messages)) if self._in_doubt else frozenset[bytes]()
                new = [message for message in messages if message.id.encode() not in known]
                if new:
                    self._in_doubt = True
                    await self._add(new)
        except (DeliveryError, RedisError, OSError) as error:
            # A connection that was not authenticated would be used again as it is.
            await self._client.connection_pool.disconnect()
            raise _meaning(error) from None
        self._in_doubt = False
        return Answers(duplicates=len(messages) - len(new))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _stored(self, many: int) -> frozenset[bytes]:
        """Ids of the newest entries."""
        newest: Any = await self._client.xrevrange(self._settings.stream, count=_LOOK_BACK + many)
        return frozenset(fields.get(b"id", b"") for _, fields in newest)

    async def _add(self, messages: Sequence[Message]) -> None:
        async with self._client.pipeline(transaction=True) as transaction:
            for message in messages:
                transaction.xadd(
                    self._settings.stream,
                    {
                        "id": message.id,
                        "finding": message.finding,
                        "level": message.level.word,
                        "at": message.at,
                        "body": message.body,
                    },
                    maxlen=self._settings.max_length,
                    approximate=True,
                )
            await transaction.execute()


def _meaning(error: Exception) -> DeliveryError:
    """What a failure means. Of what redis-py says only Redis' own words are kept: it repeats the command, body and all."""
    if isinstance(error, DeliveryError):
        return error
    said = str(error).rpartition("caused error: ")[2].strip("()',\" ")[:SAID_KEPT]
    word = getattr(error, "status_code", None) or said.partition(" ")[0]
    said = said if said.startswith(str(word)) else f"{word} {said}"
    if isinstance(error, AuthenticationError | AuthorizationError) or _is_certificate(error):
        return HoldError(said)
    if not isinstance(error, ResponseError) or word in _LATER:
        return RetryError(said or type(error).__name__)
    if any(text in said for text in _NEVER):
        return PoisonError(said)
    return HoldError(said)


def _is_certificate(error: BaseException) -> bool:
    """Whether it comes from a certificate that is not trusted."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None
