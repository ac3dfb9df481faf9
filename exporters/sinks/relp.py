"""Syslog messages over RELP, each of which the receiver acknowledges.

Owns the protocol: frames, the session's beginning and end, the window of messages that are under way, and what an
answer means. Does not own the connection (``exporters.sinks.connection``) nor the messages.

A message counts once its own answer came. After a break those without one are named as refused and come again with
the same ids, so nothing is lost; at most one window is stored twice. What a receiver acknowledges it has taken over,
not necessarily written: rsyslog answers from its queue. A receiver cuts what exceeds its own limit (imrelp: 8 KiB
unless ``maxDataSize`` says otherwise).

Source: librelp, doc/relp.html ("The Reliable Event Logging Protocol").
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from exporters.sinks.connection import FAREWELL_S, SAID_KEPT, Connection, connect, dial, meaning, tls_context
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import Relp

_OFFER: Final = b"relp_version=0\nrelp_software=tamv-guardian\ncommands=syslog"
_LAST_NUMBER: Final = 999_999_999
_LONGEST_ANSWER: Final = 4096
_HEADER: Final = re.compile(rb"(\d{1,9}) ([A-Za-z]{1,32}) (\d{1,9})([ \n])")
_LONGEST_HEADER: Final = 9 + 1 + 32 + 1 + 9 + 1


class _Answer(NamedTuple):
    """A frame of the receiver."""

    number: int
    command: bytes
    data: bytes

    @property
    def code(self) -> int:
        """The three digits that an answer begins with; 0 = it does not."""
        head = self.data[:3]
        return int(head) if len(head) == 3 and head.isdigit() else 0

    @property
    def said(self) -> str:
        return " ".join(self.data[:SAID_KEPT].decode("utf-8", "replace").split())


class RelpSink:
    """One receiver. Begins a session when there is something to send, and keeps it."""

    def __init__(self, settings: Relp) -> None:
        self._settings = settings
        self._place = f"{settings.host}:{settings.port}"
        self._connection: Connection | None = None
        self._number = 0

    async def write(self, messages: Sequence[Message]) -> Answers:
        """Send messages, ``window`` under way at a time; returns what was answered to each.

        Takes at most ``timeout_s`` to begin a session and as long again for all messages. What has no answer by then
        is refused with RetryError, and what the receiver says it will not take (500) with PoisonError.

        Raises:
            RetryError: no session, or none of them was answered.
            HoldError: its certificate is not trusted, it refuses ours, or it speaks another RELP.
        """
        waiting, pending = deque(messages), dict[int, str]()
        refused: dict[str, DeliveryError] = {}
        try:
            connection = await self._opened()
            async with asyncio.timeout(self._settings.timeout_s):
                await self._exchange(connection, waiting, pending, refused)
        except (DeliveryError, OSError) as error:
            self._abort()
            failed = meaning(error, self._place)
            left = [*pending.values(), *(message.id for message in waiting)]
            if len(left) == len(messages):
                raise failed from None
            refused |= dict.fromkeys(left, failed)
        except BaseException:
            self._abort()
            raise
        return Answers(refused)

    async def close(self) -> None:
        """End the session, if there is one, and the connection."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            async with asyncio.timeout(min(self._settings.timeout_s, FAREWELL_S)):
                await connection.send(_frame(self._next(), b"close", b""))
                while not any(answer.command == b"rsp" for answer in _answers(connection.received)):
                    await connection.more()
        except (DeliveryError, OSError):
            pass  # everything that was written has its answer
        finally:
            await connection.finish(self._settings.timeout_s)

    async def _exchange(
        self,
        connection: Connection,
        waiting: deque[Message],
        pending: dict[int, str],
        refused: dict[str, DeliveryError],
    ) -> None:
        while waiting or pending:
            frames = []
            while waiting and len(pending) < self._settings.window:
                number = self._next()
                pending[number] = waiting[0].id
                frames.append(_frame(number, b"syslog", waiting.popleft().body))
            if frames:
                await connection.send(b"".join(frames))
            for answer in _answers(connection.received):
                if answer.command == b"serverclose":
                    raise RetryError(f"{self._place}: it closes the session")
                if answer.command != b"rsp" or answer.number not in pending:
                    raise RetryError(f"{self._place}: an answer to something that was not asked")
                name = pending.pop(answer.number)
                if answer.code == 500:
                    refused[name] = PoisonError(answer.said)
                elif answer.code != 200:
                    refused[name] = RetryError(answer.said)
            if pending and (len(pending) >= self._settings.window or not waiting):
                await connection.more()

    async def _opened(self) -> Connection:
        connection = self._connection
        # An idle receiver says something only to take its leave.
        if connection is not None and not connection.over and not connection.received:
            return connection
        self._abort()
        settings = self._settings
        tls = settings.transport == "tls"
        context = await asyncio.to_thread(tls_context, settings) if tls else None
        async with asyncio.timeout(settings.timeout_s):
            sock = await dial(settings.host, settings.port, settings.timeout_s)
            connection = await connect(sock, settings.host, context, settings.timeout_s)
            self._connection, self._number = connection, 0
            await connection.send(_frame(self._next(), b"open", _OFFER))
            while (answer := next(_answers(connection.received), None)) is None:
                await connection.more()
        if answer.command != b"rsp" or answer.number != 1:
            raise RetryError(f"{self._place}: expected an answer to open, got {answer.command.decode()}")
        if answer.code != 200:
            raise HoldError(f"{self._place}: {answer.said}")
        if b"syslog" not in answer.data:
            raise HoldError(f"{self._place}: it takes no syslog: {answer.said}")
        return connection

    def _next(self) -> int:
        self._number = self._number % _LAST_NUMBER + 1
        return self._number

    def _abort(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None


def _frame(number: int, command: bytes, data: bytes) -> bytes:
    r"""A frame.

    >>> _frame(1, b"close", b""), _frame(2, b"syslog", b"hi")
    (b'1 close 0\n', b'2 syslog 2 hi\n')
    """
    return b"%d %s %d%s%s\n" % (number, command, len(data), b" " if data else b"", data)


def _answers(received: bytearray) -> Iterator[_Answer]:
    """Take the whole frames from what was received.

    Raises:
        RetryError: what stands there is no frame, or a longer one than any answer is.
    """
    while received:
        header = _HEADER.match(received)
        if header is None:
            if len(received) > _LONGEST_HEADER or b"\n" in received:
                raise RetryError("no RELP: " + bytes(received[:80]).decode("ascii", "replace"))
            return
        length = int(header[3])
        if length > _LONGEST_ANSWER:
            raise RetryError(f"an answer of {length} bytes")
        end = header.end() + length
        if header[4] == b"\n":
            if length:
                raise RetryError("no RELP: a frame without its data")
            end -= 1
        if len(received) <= end:
            return
        if received[end] != 0x0A:
            raise RetryError("no RELP: a frame that does not end where it says")
        answer = _Answer(int(header[1]), header[2], bytes(received[header.end() : end]))
        del received[: end + 1]
        yield answer
