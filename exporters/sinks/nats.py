"""Alerts on a NATS JetStream subject: one message each, acknowledged each, deduplicated by its id.

Owns the part of the client protocol that publishing needs, and what an acknowledgement or a refusal means. Does not
own the connection (``exporters.sinks.connection``) nor the stream: somebody has bound one to the subject, and how its
storage is synced is set there (``sync_interval``; a replicated stream does not depend on it).

A message counts once the stream has acknowledged it. Those without an acknowledgement come again with the same
``Nats-Msg-Id``; within the stream's ``duplicate_window`` (2 minutes unless set otherwise) it recognises them.

Not nats-py, well kept as it is (2.16, September 2026): with ``tls://`` it sends the token in clear text to a server
that says it wants no TLS, publishes that are under way when a connection breaks are never told, and what a server
says is kept without a limit. What is needed here is six verbs.

Source: the NATS client protocol, and ADR-4 (headers), ADR-13 and ADR-22 (JetStream publish) of nats-architecture.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import socket
import ssl
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from exporters.sinks.connection import (
    HELD_BYTES,
    SAID_KEPT,
    Connection,
    connect,
    dial,
    meaning,
    tls_context,
)
from exporters.sinks.credentials import token
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import Nats

_WINDOW: Final = 256
_PORT: Final = 4222
_LONGEST_REPLY: Final = 16 * 1024
_TOO_LARGE: Final = 10054
"""JetStream's error code: the message exceeds what its stream takes."""
_NO_RESPONDERS: Final = b"503"
_LINE: Final = re.compile(rb"([^\r\n]{0,16384})\r\n")
_DELIVERY: Final = re.compile(rb"(H?)MSG +(\S+) +\S+ +(?:(\d+) +)?(\d+)\Z")


class _Reply(NamedTuple):
    """What came back for a publish."""

    subject: bytes
    status: bytes
    """Of the header: three digits, or nothing."""
    body: bytes


@dataclass
class _UnderWay:
    """Messages of one write, and what became of them."""

    waiting: deque[Message]
    pending: dict[bytes, str]
    """Sent and not acknowledged: by reply subject."""
    refused: dict[str, DeliveryError]
    duplicates: int = 0


class NatsSink:
    """One server. Connects when there is something to send, and stays connected."""

    def __init__(self, settings: Nats) -> None:
        self._settings = settings
        parts = urlsplit(settings.url)
        self._host, self._port = parts.hostname or "", parts.port or _PORT
        self._tls = parts.scheme == "tls"
        self._place = f"{self._host}:{self._port}"
        self._connection: Connection | None = None
        self._inbox = b""
        self._number = 0
        self._max_payload = 0
        self._pong = b""
        """Owed to the server; one answers any number of pings, so that they cost nothing here."""

    async def write(self, messages: Sequence[Message]) -> Answers:
        """Publish messages, 256 under way at a time; returns what was answered to each.

        Takes at most ``timeout_s`` to connect and as long again for all messages. What has no acknowledgement by then
        is refused with RetryError, and what is larger than the server or the stream takes with PoisonError.

        Raises:
            RetryError: no connection, or none of them was acknowledged.
            HoldError: no stream takes this subject, a token or certificate is refused, or publishing is not allowed.
        """
        under_way = _UnderWay(deque(messages), {}, {})
        try:
            connection = await self._connected()
            async with asyncio.timeout(self._settings.timeout_s):
                while under_way.waiting or under_way.pending:
                    await connection.send(self._pong + self._frames(under_way))
                    self._pong = b""
                    for reply in self._replies(connection):
                        self._settle(reply, under_way)
                    if under_way.pending and (len(under_way.pending) >= _WINDOW or not under_way.waiting):
                        await connection.more()
        except (DeliveryError, OSError) as error:
            self._abort()
            failed = meaning(error, self._place)
            left = [*under_way.pending.values(), *(message.id for message in under_way.waiting)]
            if len(left) == len(messages):
                raise failed from None
            under_way.refused |= dict.fromkeys(left, failed)
        except BaseException:
            self._abort()
            raise
        return Answers(under_way.refused, under_way.duplicates)

    async def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            await self._connection.finish(self._settings.timeout_s)
            self._connection = None

    def _frames(self, under_way: _UnderWay) -> bytes:
        """Publishes of what the window has room for."""
        frames = []
        while under_way.waiting and len(under_way.pending) < _WINDOW:
            message = under_way.waiting.popleft()
            head = b"NATS/1.0\r\nNats-Msg-Id: %s\r\n\r\n" % message.id.encode()
            size = len(head) + len(message.body)
            if size > self._max_payload:
                said = f"{size} bytes are more than the server takes ({self._max_payload})"
                under_way.refused[message.id] = PoisonError(said)
                continue
            self._number += 1
            reply = b"%s.%d" % (self._inbox, self._number)
            under_way.pending[reply] = message.id
            subject = self._settings.subject.encode()
            frames.append(
                b"HPUB %s %s %d %d\r\n%s%s\r\n" % (subject, reply, len(head), size, head, message.body)
            )
        return b"".join(frames)

    def _settle(self, reply: _Reply, under_way: _UnderWay) -> None:
        """Note what became of one message.

        Raises:
            HoldError: nothing will be taken; this one is still under way.
            RetryError: it belongs to none.
        """
        name = under_way.pending.get(reply.subject)
        if name is None:
            raise RetryError(f"{self._place}: a message that was not asked for")
        try:
            under_way.duplicates += _is_duplicate(reply)
        except (RetryError, PoisonError) as error:
            under_way.refused[name] = error
        del under_way.pending[reply.subject]

    def _replies(self, connection: Connection) -> Iterator[_Reply]:
        """Take what came for us; answer pings.

        Raises:
            RetryError, HoldError: the server says an error, or what it says is not NATS.
        """
        while (taken := _take(connection.received)) is not None:
            if isinstance(taken, _Reply):
                yield taken
            elif taken == b"PING":
                self._pong = b"PONG\r\n"
            elif taken.startswith(b"-ERR"):
                raise _refusal(taken, self._place)
            elif not taken.startswith((b"+OK", b"PONG", b"INFO ")):
                raise RetryError(f"{self._place}: no NATS: {_text(taken)}")

    async def _connected(self) -> Connection:
        if self._connection is not None:
            # What came meanwhile: pings, news of the cluster, or why the server leaves.
            if not self._connection.over and not list(self._replies(self._connection)):
                return self._connection
            self._abort()
        settings = self._settings
        credential = await asyncio.to_thread(token, settings)
        async with asyncio.timeout(settings.timeout_s):
            sock = await dial(self._host, self._port, settings.timeout_s)
            try:
                info = await _info(sock, self._place)
                context = await asyncio.to_thread(self._context, info)
            except BaseException:
                sock.close()
                raise
            connection = await connect(sock, self._host, context, settings.timeout_s)
            self._connection = connection
            self._max_payload = int(info.get("max_payload") or 2**20)
            self._inbox, self._number = b"_INBOX." + secrets.token_hex(16).encode(), 0
            hello: dict[str, Any] = {
                "verbose": False,
                "pedantic": False,
                "tls_required": context is not None,
                "name": "tamv-guardian",
                "lang": "python",
                "version": "1",
                "protocol": 1,
                "headers": True,
                "no_responders": True,
            }
            if credential:
                hello["auth_token"] = credential
            await connection.send(b"CONNECT %s\r\nPING\r\n" % msgspec.json.encode(hello))
            while (taken := _take(connection.received)) != b"PONG":
                if taken is None:
                    await connection.more()
                elif isinstance(taken, bytes) and taken.startswith(b"-ERR"):
                    raise _refusal(taken, self._place)
            await connection.send(b"SUB %s.* 1\r\n" % self._inbox)
        return connection

    def _context(self, info: dict[str, Any]) -> ssl.SSLContext | None:
        """TLS where we or the server ask for it.

        Raises:
            HoldError: the server has none and we ask for it: the token does not travel in clear text then.
        """
        if self._tls and not (info.get("tls_required") or info.get("tls_available")):
            raise HoldError(f"{self._place}: tls:// is configured and it offers none")
        return tls_context(self._settings) if self._tls or info.get("tls_required") else None

    def _abort(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None


async def _info(sock: socket.socket, place: str) -> dict[str, Any]:
    """What a server says first. In clear text, also where TLS follows: nothing may stand behind it."""
    loop = asyncio.get_running_loop()
    said = bytearray()
    while not said.endswith(b"\r\n"):
        if len(said) > HELD_BYTES:
            raise RetryError(f"{place}: no NATS: a first line without end")
        piece = await loop.sock_recv(sock, 4096)
        if not piece:
            raise RetryError(f"{place}: it closed the connection")
        said += piece
    line = bytes(said[:-2])
    if not line.startswith(b"INFO ") or b"\r\n" in line:
        raise RetryError(f"{place}: no NATS: {_text(line)}")
    try:
        info = msgspec.json.decode(line[5:], type=dict[str, Any])
    except msgspec.MsgspecError:
        raise RetryError(f"{place}: no NATS: its INFO cannot be read") from None
    if not info.get("headers") or not isinstance(info.get("max_payload"), int):
        raise HoldError(f"{place}: it takes no headers (NATS 2.2 or newer does)")
    return info


def _take(received: bytearray) -> _Reply | bytes | None:
    """The next line or delivery, taken from what was received; None = it is not whole yet."""
    line = _LINE.match(received)
    if line is None:
        if len(received) > _LONGEST_REPLY or (b"\n" in received and b"\r\n" not in received):
            raise RetryError("no NATS: " + _text(received))
        return None
    text, begin = line[1], line.end()
    delivery = _DELIVERY.match(text)
    if delivery is None:
        del received[:begin]
        return text
    header, size = int(delivery[3] or 0) if delivery[1] else 0, int(delivery[4])
    if size > _LONGEST_REPLY or header > size:
        raise RetryError(f"no NATS: a reply of {size} bytes")
    end = begin + size
    if len(received) < end + 2:
        return None
    # A header begins "NATS/1.0 503": the status stands in its first line.
    status = bytes(received[begin : begin + header])[9:12] if header else b""
    reply = _Reply(delivery[2], status, bytes(received[begin + header : end]))
    del received[: end + 2]
    return reply


def _is_duplicate(reply: _Reply) -> bool:
    """Whether a stream that has the message had it before.

    Raises:
        RetryError, HoldError, PoisonError: it has it not.
    """
    if reply.status == _NO_RESPONDERS:
        raise HoldError("no stream takes this subject")
    try:
        answer = json.loads(reply.body)
        error = answer.get("error")
        if error is None:
            if "stream" not in answer:
                raise RetryError("an acknowledgement that names no stream")
            return bool(answer.get("duplicate"))
        code, number = int(error.get("code", 0)), int(error.get("err_code", 0))
        said = f"{number} {error.get('description', '')}"[:SAID_KEPT]
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise RetryError("an acknowledgement that cannot be read") from None
    if number == _TOO_LARGE:
        raise PoisonError(said)
    raise RetryError(said) if code >= 500 or code == 0 else HoldError(said)


def _refusal(line: bytes, place: str) -> DeliveryError:
    """What ``-ERR '…'`` means."""
    said = _text(line[5:])
    held = re.search(r"authorization|authentication|permissions|account|tls|subject", said, re.IGNORECASE)
    return (HoldError if held else RetryError)(f"{place}: {said}")


def _text(said: bytes | bytearray) -> str:
    return " ".join(bytes(said[:SAID_KEPT]).decode("utf-8", "replace").split())
