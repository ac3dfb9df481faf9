"""Redis streams as a consumer group: one entry is one body.

Owns the order of reading and acknowledging. Entry k is acknowledged once k + 1 is asked for, that is once k is durable;
where a crash comes in between, ``resume`` names k and it is acknowledged without being delivered again. After a start
come the entries that were handed to this consumer before, then those that another one left for ``claim_idle_s``, then
new ones. Holds one entry; how large it is, Redis limits (``proto-max-bulk-len``). Does not own trying again: a
connection that fails ends the deliveries with an error, and whoever asks again goes on where they ended.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from guardian.decode.bodies import NDJSON_ROUTE, SIGNALS
from guardian.decode.syslog import SYSLOG_ROUTE
from guardian.errors import MachineError
from guardian.journal.records import Record
from guardian.source_settings import RedisStream

_BLOCK_MS: Final = 1_000
_MAX_FIELD: Final = 256
_TYPES: Final = {
    NDJSON_ROUTE: "application/x-ndjson",
    SYSLOG_ROUTE: "text/plain",
    **dict.fromkeys(SIGNALS, "application/x-protobuf"),
}
"""Paths that an entry may name, with the content type of one that names none. Guardian's own are not among them."""


class _Position(msgspec.Struct):
    stream: str
    group: str
    entry: str


class _Reading(msgspec.Struct):
    """Where one run of deliveries is."""

    owed: list[bytes] = []
    """Entries to acknowledge before anything else."""
    handed: bytes | None = b"0-0"
    """The last of the entries that were handed to us before; None = there are no more."""
    claim_from: bytes = b"0-0"
    claim_at: float = 0.0


class RedisStreamSource:
    """A stream.

    ``count`` hears entries that can be no body, by reason: ``no_body``, ``too_large``, ``unknown_path``, ``bad_field``;
    and ``trimmed``: entries that Redis deleted before they were read.
    """

    def __init__(self, settings: RedisStream, count: Callable[[str, int], None]) -> None:
        self._settings = settings
        self._count = count
        self._consumer = settings.consumer or socket.gethostname()

    async def deliveries(self, resume: bytes | None) -> AsyncGenerator[Record, None]:
        """One entry at a time.

        Raises:
            MachineError: Redis cannot be reached or refuses, or the password is not to be had.
        """
        settings = self._settings
        client = self._client()
        try:
            reading = _Reading(owed=self._durable(resume))
            await self._make_group(client)
            while True:
                _heed_cancellation()
                entry, fields = await self._next(client, reading)
                if not entry:
                    continue
                record = self._record(entry, fields)
                if record is not None:
                    yield record
                reading.owed.append(entry)
        except (RedisError, OSError) as error:
            raise MachineError(f"source {settings.name}: Redis: {error}") from None
        finally:
            await client.aclose()

    def _client(self) -> Redis:
        settings = self._settings
        more: dict[str, Any] = {"ssl_ca_certs": settings.ca_file} if settings.ca_file else {}
        return Redis.from_url(
            settings.url,
            username=settings.username or None,
            password=self._password(),
            socket_timeout=10.0 + _BLOCK_MS / 1000,
            socket_connect_timeout=10.0,
            **more,
        )

    def _password(self) -> str | None:
        settings = self._settings
        if settings.password_env:
            if settings.password_env not in os.environ:
                raise MachineError(f"source {settings.name}: {settings.password_env} is not set")
            return os.environ[settings.password_env]
        if settings.password_file:
            try:
                return Path(settings.password_file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise MachineError(
                    f"source {settings.name}: {settings.password_file} cannot be read"
                ) from None
        return None

    def _durable(self, resume: bytes | None) -> list[bytes]:
        """The entry that is durable and perhaps not acknowledged."""
        try:
            last = msgspec.json.decode(resume or b"", type=_Position)
        except msgspec.MsgspecError:
            return []
        ours = (last.stream, last.group) == (self._settings.stream, self._settings.group)
        return [last.entry.encode()] if ours else []

    async def _make_group(self, client: Redis) -> None:
        try:
            await client.xgroup_create(self._settings.stream, self._settings.group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # there is one
                raise

    async def _next(self, client: Redis, reading: _Reading) -> tuple[bytes, Mapping[bytes, bytes] | None]:
        """The next entry, perhaps without fields; an empty name if there is none yet."""
        settings = self._settings
        if reading.owed:
            await client.xack(settings.stream, settings.group, *reading.owed)
            reading.owed.clear()
        if reading.handed is not None:
            found = await self._read(client, reading.handed)
            reading.handed = found[0] or None
            return found
        if time.monotonic() >= reading.claim_at:
            return await self._claim(client, reading)
        return await self._read(client, b">", block=_BLOCK_MS)

    async def _read(
        self, client: Redis, after: bytes, *, block: int | None = None
    ) -> tuple[bytes, Mapping[bytes, bytes] | None]:
        settings = self._settings
        try:
            answer: Any = await client.xreadgroup(
                settings.group, self._consumer, {settings.stream: cast("Any", after)}, count=1, block=block
            )
        except ResponseError as error:
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            await self._make_group(client)  # somebody deleted the stream
            return b"", None
        for _stream, entries in answer.items() if isinstance(answer, dict) else answer or ():
            for entry, fields in entries:
                return entry, fields
        return b"", None

    async def _claim(self, client: Redis, reading: _Reading) -> tuple[bytes, Mapping[bytes, bytes] | None]:
        """Take over one entry of another consumer; once there are none, ask again only after a while."""
        settings = self._settings
        answer: Any = await client.xautoclaim(
            settings.stream,
            settings.group,
            self._consumer,
            min_idle_time=int(settings.claim_idle_s * 1000),
            start_id=cast("Any", reading.claim_from),
            count=1,
        )
        reading.claim_from, entries, *deleted = answer
        if deleted and deleted[0]:
            self._count("trimmed", len(deleted[0]))
        if reading.claim_from == b"0-0":
            reading.claim_at = time.monotonic() + settings.claim_idle_s / 2
        for entry, fields in entries:
            if entry is not None:
                return entry, fields
        return b"", None

    def _record(self, entry: bytes, fields: Mapping[bytes, bytes] | None) -> Record | None:
        """What an entry says; None, and counted, if it is no body."""
        settings = self._settings
        body = (fields or {}).get(b"body")
        if not fields or body is None:
            self._count("no_body" if fields else "trimmed", 1)
            return None
        if len(body) > settings.max_entry_bytes:
            self._count("too_large", 1)
            return None
        try:
            said = {
                name: fields.get(name, b"")[:_MAX_FIELD].decode()
                for name in (b"path", b"type", b"encoding", b"map")
            }
        except UnicodeDecodeError:
            self._count("bad_field", 1)
            return None
        path = said[b"path"] or NDJSON_ROUTE
        if path not in _TYPES:
            self._count("unknown_path", 1)
            return None
        position = msgspec.json.encode(_Position(settings.stream, settings.group, entry.decode()))
        kind = said[b"type"] or _TYPES[path]
        return Record(
            path, kind, said[b"encoding"], said[b"map"], time.time_ns(), body, settings.name, position
        )


def _heed_cancellation() -> None:
    """End a task that was cancelled while its library did not let it know.

    redis-py sends with ``asyncio.wait_for``, which up to Python 3.11 drops a cancellation that comes as the sending ends:
    a service that was stopped in that moment would have gone on reading for ever.

    Raises:
        CancelledError: it was.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
