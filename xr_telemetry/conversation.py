"""One client's conversation: its messages taken, reduced, made durable and answered, one answer each and in order.

Owns the rate limit, the answers and the reduction of raw motion to windows. Does not own who may connect (``gateway``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from guardian.config import Xr
from guardian.errors import JournalFullError, MessageError
from xr_telemetry import decode, frames, windows
from xr_telemetry.counts import Counts
from xr_telemetry.envelope import AUTHENTICATE, FRAMES, Message, build, moment, nanoseconds, parse, tag
from xr_telemetry.intake import Intake

MAX_UNANSWERED: Final = 64
"""Messages taken from one client ahead of their answers; past it the client waits."""

COST_BYTES: Final = 4096
"""A message counts as one against the rate, and as one more for each of these; a window that it closes is one more."""

MAX_BEHIND_S: Final = 3600.0
"""A device clock that moves more than this within one message has jumped; its windows are dated no further back."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks: what the gateway knows about a connection."""

    address: str
    user: str
    session: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is owed for the ``seq``-th message: an error, or an acknowledgement once ``durable`` is done."""

    seq: int
    error: MessageError | None = None
    durable: asyncio.Future[None] | None = None
    windows: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """The motion of one session while it lasts."""

    session: str
    scene: str | None
    user: str | None
    opened: windows.Open | None
    last_s: float
    """Device time of the newest frame …"""
    last_ns: int
    """… and the event time that its message gave it."""


class Conversation:
    """Reads one connection until it closes."""

    def __init__(
        self,
        socket: ServerConnection,
        speaker: Speaker,
        *,
        settings: Xr,
        intake: Intake,
        counts: Counts,
        clock: Callable[[], int],
        renew: Callable[[Message], None],
    ) -> None:
        self._socket = socket
        self._speaker = speaker
        self._settings = settings
        self._intake = intake
        self._counts = counts
        self._clock = clock
        self._renew = renew
        self._answers: asyncio.Queue[Answer | None] = asyncio.Queue(MAX_UNANSWERED)
        self._stream: Stream | None = None
        self._allowance = settings.messages_per_s
        self._allowed_at = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Take messages until the connection closes; return once all that was taken is durable or counted."""
        answering = asyncio.create_task(self._answer())
        seq = 0
        try:
            while True:
                raw = await self._socket.recv(decode=False)
                seq += 1
                self._counts.received += 1
                try:
                    answer = await self._take(seq, raw)
                except MessageError as error:
                    answer = Answer(seq, error=error)
                await self._answers.put(answer)
                if answer.error is not None and answer.error.reason == "rate_limited":
                    # Dropping costs time too: a flood is read no faster than it would be taken.
                    await asyncio.sleep(1 / self._settings.messages_per_s)
        except ConnectionClosed:
            pass
        finally:
            await self._answers.put(None)
            await answering
            await self._end()

    async def answered(self) -> None:
        """Return once every message that was taken has been answered."""
        await self._answers.join()

    async def _take(self, seq: int, raw: bytes) -> Answer:
        self._meter(1.0 + len(raw) / COST_BYTES)
        if len(raw) > self._settings.max_message_bytes:
            raise MessageError(
                "too_large", f"expected at most {self._settings.max_message_bytes} bytes, got {len(raw)}"
            )
        message = parse(raw)
        if message.type == AUTHENTICATE:
            self._renew(message)
            return Answer(seq)
        if message.type == FRAMES:
            return await self._motion(seq, message)
        decode.check(message, received_at=self._clock())
        line = self._line(message)
        if message.type == "session_ended" and self._stream is not None and self._of_stream(message):
            ended = windows.close(self._stream.opened)
            lines = b"".join(self._told(self._stream, window) for window in ended) + line
            return await self._settled(seq, lines, len(ended), None)
        return Answer(seq, durable=self._intake.add(line))

    async def _motion(self, seq: int, message: Message) -> Answer:
        batch = frames.read(message.payload)
        stream = self._stream
        lines: list[bytes] = []
        if stream is not None and not self._of_stream(message):
            lines += [self._told(stream, window) for window in windows.close(stream.opened)]
            stream = None
        opened, closed = windows.cut(stream.opened if stream else None, batch, self._settings.window_s)
        stream = Stream(
            session=message.session_id or self._speaker.session,
            scene=message.scene_id,
            user=message.payload.get("userId"),
            opened=opened,
            last_s=float(batch.t[-1]),
            last_ns=nanoseconds(message.created_at),
        )
        lines += [self._told(stream, window) for window in closed]
        self._allowance -= len(lines)
        if not lines:
            self._stream = stream
            return Answer(seq)
        return await self._settled(seq, b"".join(lines), len(lines), stream)

    async def _settled(self, seq: int, lines: bytes, count: int, stream: Stream | None) -> Answer:
        """Make lines durable, and only then go on from ``stream``: a sender told to come back sends the same frames."""
        durable = self._intake.add(lines)
        await asyncio.wait([durable])
        if durable.exception() is None:
            self._stream = stream
            self._counts.windows += count
        return Answer(seq, durable=durable, windows=count)

    async def _end(self) -> None:
        """The client is gone: what its last window holds is told all the same."""
        if self._stream is None:
            return
        stream, self._stream = self._stream, None
        ended = windows.close(stream.opened)
        if not ended:
            return
        try:
            await self._intake.add(b"".join(self._told(stream, window) for window in ended))
        except Exception as error:  # noqa: BLE001  (whatever ingest raises, the window is gone and counted)
            self._counts.windows_lost += len(ended)
            _log.warning("xr_window_lost", reason=type(error).__name__)
        else:
            self._counts.windows += len(ended)

    def _of_stream(self, message: Message) -> bool:
        return self._stream is not None and self._stream.session == (
            message.session_id or self._speaker.session
        )

    def _told(self, stream: Stream, window: windows.Window) -> bytes:
        """One window as lines, an event a kind, at the time that its newest frame had."""
        behind_s = min(max(0.0, stream.last_s - window.end_s), MAX_BEHIND_S)
        at = moment(stream.last_ns - round(behind_s * 1e9))
        who = {} if stream.user is None else {"userId": stream.user}
        return b"".join(
            self._line(
                Message(
                    type="event",
                    payload={"kind": kind, **who, **features},
                    created_at=at,
                    session_id=stream.session,
                    scene_id=stream.scene,
                )
            )
            for kind, features in window.features.items()
        )

    def _line(self, message: Message) -> bytes:
        speaker = self._speaker
        return tag(message, address=speaker.address, user=speaker.user, session=speaker.session)

    def _meter(self, cost: float) -> None:
        """Token bucket that holds one second's worth; what a large message or a window costs may leave it in debt."""
        rate = self._settings.messages_per_s
        now = asyncio.get_running_loop().time()
        self._allowance = min(max(rate, 1.0), self._allowance + (now - self._allowed_at) * rate)
        self._allowed_at = now
        if self._allowance < 1.0:
            raise MessageError("rate_limited", f"expected at most {rate:g} messages a second")
        self._allowance -= cost

    async def _answer(self) -> None:
        while (answer := await self._answers.get()) is not None:
            kind, payload = await self._outcome(answer)
            with contextlib.suppress(ConnectionClosed):  # gone; the others are still to be counted
                await self._socket.send(build(kind, payload, at=moment(self._clock())), text=True)
            self._answers.task_done()
        self._answers.task_done()

    async def _outcome(self, answer: Answer) -> tuple[str, dict[str, Any]]:
        error: BaseException | None = answer.error
        if answer.durable is not None:
            await asyncio.wait([answer.durable])
            error = answer.durable.exception()
        payload: dict[str, Any] = {"seq": answer.seq}
        if error is None:
            self._counts.accepted += 1
            return "event_received", payload | ({"windows": answer.windows} if answer.windows else {})
        if isinstance(error, MessageError):
            payload |= {"reason": error.reason, "detail": error.detail}
        elif isinstance(error, JournalFullError):
            detail = "the service has no room now; send the message again later"
            payload |= {"reason": "busy", "detail": detail, "retryAfterS": error.retry_after_s}
        else:
            _log.error("xr_ingest_failed", reason=type(error).__name__)
            payload |= {
                "reason": "unavailable",
                "detail": "the message could not be made durable; send it again",
            }
        self._counts.refused[payload["reason"]] += 1
        return "error", payload
