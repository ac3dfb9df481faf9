"""Alerts in Splunk, by its HTTP Event Collector (HEC).

Owns the request, what the collector's codes mean, and indexer acknowledgement. ``Success`` says that a request looks
valid; that its events are indexed is told later, to whoever asks for the number that came with it, on the same channel
and at the same node. So a batch counts as delivered once its number was acknowledged. A collector that gives no number
(Splunk Cloud, Fluent Bit, a token without acknowledgement) is taken at its word.

An acknowledgement is told once: if that answer is lost, or a node forgets its numbers, it never comes, and the batch is
sent again with the same ids in the indexed fields ``event_id`` and ``finding``, by which repetitions are found:
``| dedup event_id``.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import uuid
from collections.abc import Sequence
from typing import Final

import msgspec

from exporters.sinks import credentials
from exporters.sinks.requests import Client, Reply, at, refusal, short
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import Splunk

_ANSWER_BYTES: Final = 16_384
_FIRST_POLL_S: Final = 0.05
_LONGEST_POLL_S: Final = 2.0
_GZIP_LEVEL: Final = 1
"""1 MiB of findings: 1.7 ms, to a 25th; level 6: 3.8 ms, to a 30th."""

# "Possible error codes" of the HEC troubleshooting page.
_SUCCESS: Final = 0
_CREDENTIAL: Final = frozenset({1, 2, 3, 4, 16, 21, 22})
_INDEX: Final = 7
_CHANNEL: Final = frozenset({10, 11})
_NO_ACKNOWLEDGEMENT: Final = 14
_BUSY: Final = frozenset({8, 9, 18, 19, 20, 23, 24, 25, 26, 27})
_EVENT: Final = frozenset({5, 6, 12, 13, 15})


class _Answer(msgspec.Struct, rename={"ack": "ackId", "invalid": "invalid-event-number"}):
    code: int
    text: str = ""
    ack: int | None = None
    invalid: int | None = None


class _Acks(msgspec.Struct):
    acks: dict[str, bool]


class SplunkSink:
    """One collector, or several behind a balancer that keeps a session at its node by a cookie."""

    def __init__(self, settings: Splunk) -> None:
        """Prepare; nothing is connected yet.

        Raises:
            MachineError: a certificate cannot be used.
        """
        self._settings = settings
        self._client = Client(settings, cookies=True)
        self._channel = str(uuid.uuid4())
        about = {
            "host": socket.gethostname(),
            "source": settings.source,
            "sourcetype": settings.sourcetype,
            **({"index": settings.index} if settings.index else {}),
        }
        self._about = msgspec.json.encode(about)[1:-1]

    async def write(self, messages: Sequence[Message]) -> Answers:
        """Send all messages as events; returns once they are indexed, where the collector tells.

        Raises:
            RetryError: no connection, the collector is busy, or no acknowledgement in ``acknowledge_timeout_s``.
            HoldError: the token or the index is not accepted, or the token cannot be read.
            PoisonError: the collector cannot read the events, and does not say which.
        """
        headers = {"X-Splunk-Request-Channel": self._channel}
        token = credentials.token(self._settings)
        if token:
            headers["Authorization"] = f"Splunk {token}"
        body = await asyncio.to_thread(self._body, messages)
        reply = await self._client.post(
            at(self._settings.url, "/services/collector/event"),
            body,
            {**headers, "Content-Type": "application/json", "Content-Encoding": "gzip"},
            answer_bytes=_ANSWER_BYTES,
        )
        answer = reply.read(_Answer)
        if not reply.taken or answer is None or answer.code != _SUCCESS:
            return self._refused(messages, reply, answer)
        if self._settings.acknowledge and answer.ack is not None:
            await self._indexed(answer.ack, headers)
        return Answers()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _body(self, messages: Sequence[Message]) -> bytes:
        parts: list[bytes] = []
        for message in messages:
            seconds, rest = divmod(message.at, 10**9)
            fields = msgspec.json.encode({"event_id": message.id, "finding": message.finding})
            parts += (
                b'{"time":%d.%03d,"fields":' % (seconds, rest // 10**6),
                fields,
                b",",
                self._about,
                b',"event":',
                message.body,
                b"}",
            )
        return gzip.compress(b"".join(parts), _GZIP_LEVEL)

    async def _indexed(self, number: int, headers: dict[str, str]) -> None:
        """Ask until the number is acknowledged.

        Raises:
            RetryError: it was not, in the time for it; the next batch goes by a channel of its own.
            HoldError: the token is not accepted any more, or nobody answers for acknowledgements.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.acknowledge_timeout_s
        wait, said = _FIRST_POLL_S, ""
        while (left := until - loop.time()) > 0.0:
            await asyncio.sleep(min(wait, left))
            wait = min(2.0 * wait, _LONGEST_POLL_S)
            try:
                done, said = await self._asked(number, headers)
            except RetryError as error:
                done, said = False, error.said
            if done:
                return
        self._channel = str(uuid.uuid4())
        raise RetryError(short(f"not acknowledged in {self._settings.acknowledge_timeout_s:g} s {said}"))

    async def _asked(self, number: int, headers: dict[str, str]) -> tuple[bool, str]:
        """Whether a number is acknowledged; else what the collector said instead, if it said something."""
        reply = await self._client.post(
            at(self._settings.url, "/services/collector/ack"),
            msgspec.json.encode({"acks": [number]}),
            {**headers, "Content-Type": "application/json"},
            answer_bytes=_ANSWER_BYTES,
        )
        if reply.taken:
            acks = reply.read(_Acks)
            return (acks.acks.get(str(number), False), "") if acks else (False, reply.said)
        answer = reply.read(_Answer)
        if answer is not None and answer.code == _NO_ACKNOWLEDGEMENT:
            # It was switched off since: what was taken counts as with a collector that gives no numbers.
            return True, ""
        if answer is None and reply.status == 404:
            raise HoldError("the collector gives numbers and acknowledges none: set acknowledge = false")
        # A channel that is not known may be so at another node only; the next question may reach the right one.
        error = RetryError(reply.said) if answer and answer.code in _CHANNEL else _meaning(reply, answer)
        if isinstance(error, HoldError):
            raise error
        return False, reply.said

    def _refused(self, messages: Sequence[Message], reply: Reply, answer: _Answer | None) -> Answers:
        """What a refusal means for each message.

        Raises:
            DeliveryError: it is about all of them.
        """
        error = _meaning(reply, answer)
        if answer is not None and answer.code in _CHANNEL:
            self._channel = str(uuid.uuid4())
        bad = answer.invalid if answer is not None else None
        if not isinstance(error, PoisonError) or bad is None or not 0 <= bad < len(messages):
            raise error
        # The collector stops at the first event that it cannot read and names it; the others are sent again.
        others = RetryError("was sent together with an event that was refused")
        return Answers({**dict.fromkeys([m.id for m in messages], others), messages[bad].id: error})


def _meaning(reply: Reply, answer: _Answer | None) -> DeliveryError:
    code = answer.code if answer is not None else None
    if code in _CREDENTIAL or code == _INDEX:
        return HoldError(reply.said)
    if code in _BUSY or code in _CHANNEL:
        return RetryError(reply.said, reply.wait_s)
    if code in _EVENT:
        return PoisonError(reply.said)
    if reply.taken:
        return RetryError(f"{reply.said}: not the answer of a collector")
    return refusal(reply)
