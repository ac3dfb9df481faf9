"""The message envelope of TAMV's XR sockets: its shape, its closed vocabularies, its limits.

Owns what one message may say and how it is refused. Does not own what a message means as an event (``decode``), nor
the payload of motion frames (``frames``).

Origin: the envelope, the server's types and the seven input kinds are TAMV's; ``event``, ``xr_frames``,
``authenticate``, ``guardian_update``'s place on the same socket and all limits are ours.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from guardian.errors import MessageError

PROTOCOL: Final = "tamv.xr/1"
PATH: Final = "/ws/xr"

SERVER_TYPES: Final = frozenset(
    {
        "welcome",
        "session_created",
        "session_updated",
        "session_ended",
        "scene_created",
        "scene_updated",
        "scene_loaded",
        "scene_enhanced",
        "event_received",
        "error",
        "guardian_update",
    }
)
"""Every type that a gateway may send."""

SESSION_TYPES: Final = frozenset({"session_created", "session_updated", "session_ended"})
"""Sent by clients about their own session; the type is the kind of the event."""

INPUT_KINDS: Final = frozenset(
    {
        "space_join",
        "space_leave",
        "object_interact",
        "permission_denied",
        "safety_alert",
        "moderation_action",
        "scene_config_change",
    }
)
"""What an ``event`` can tell; a client may also use the kind itself as the type."""

WINDOW_KINDS: Final = frozenset({"xr.frame.window", "xr.pose.window", "xr.imu.window"})
"""Summaries of motion, as an ``event``: from clients that reduce their own frames, or from the gateway's reduction."""

EVENT_TYPES: Final = frozenset({"event", "event_received"})
"""Types whose kind stands in ``payload.kind``. ``event_received`` is the name that TAMV's list has for an event."""

FRAMES: Final = "xr_frames"
AUTHENTICATE: Final = "authenticate"

CLIENT_TYPES: Final = EVENT_TYPES | SESSION_TYPES | INPUT_KINDS | {FRAMES, AUTHENTICATE}

MAX_NAME: Final = 256
"""Longest name of a session, scene or user, in characters."""

Name = Annotated[str, Meta(max_length=MAX_NAME)]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_NS: Final = 2**63 - 1


class Message(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One envelope. Fields that it does not have are ignored, as TAMV's own clients do."""

    type: Annotated[str, Meta(max_length=64)]
    payload: dict[str, Any]
    created_at: Annotated[datetime, Meta(tz=True)]
    session_id: Name | None = None
    scene_id: Name | None = None

    @property
    def kind(self) -> Any:
        """What happened: the type itself, or ``payload.kind`` for the types that leave it to the payload."""
        return self.payload.get("kind") if self.type in EVENT_TYPES else self.type


class Tagged(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of what the gateway makes durable: a client's message and what the gateway knows about it."""

    address: str = ""
    user: str = ""
    """Authenticated user; empty when nobody had to authenticate."""
    session: str = ""
    """The connection's own session, for messages that name none."""
    message: Message


_message: Final = msgspec.json.Decoder(Message)
_tagged: Final = msgspec.json.Decoder(Tagged)
_encode: Final = msgspec.json.Encoder()


def parse(raw: str | bytes) -> Message:
    """The message of one WebSocket frame.

    Raises:
        MessageError: ``bad_json``, ``bad_envelope``, ``unknown_type``, ``unknown_kind`` or ``bad_time``.

    >>> parse('{"type":"space_join","payload":{},"createdAt":"2026-01-01T00:00:00Z","sceneId":"plaza"}').kind
    'space_join'
    """
    try:
        message = _message.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise refusal(error) from None
    if message.type not in CLIENT_TYPES:
        raise MessageError(
            "unknown_type", f"expected one of {_listed(CLIENT_TYPES)}, got {_shown(message.type)}"
        )
    if message.type in EVENT_TYPES:
        kinds = INPUT_KINDS | WINDOW_KINDS
        kind = message.kind
        if not isinstance(kind, str) or kind not in kinds:
            raise MessageError(
                "unknown_kind", f"payload.kind: expected one of {_listed(kinds)}, got {_shown(kind)}"
            )
    nanoseconds(message.created_at)
    return message


def parse_tagged(line: bytes) -> Tagged:
    """One line that the gateway made durable.

    Raises:
        MessageError: ``bad_json`` or ``bad_envelope``.
    """
    try:
        return _tagged.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise refusal(error) from None


def build(
    kind: str, payload: Any, *, at: datetime, session_id: str | None = None, scene_id: str | None = None
) -> bytes:
    """One envelope on the wire. ``payload`` is anything that msgspec encodes.

    >>> build("error", {"reason": "bad_json"}, at=EPOCH)
    b'{"type":"error","payload":{"reason":"bad_json"},"createdAt":"1970-01-01T00:00:00Z"}'
    """
    message: dict[str, Any] = {"type": kind, "payload": payload, "createdAt": at}
    if session_id is not None:
        message["sessionId"] = session_id
    if scene_id is not None:
        message["sceneId"] = scene_id
    return _encode.encode(message)


def tag(message: Message, *, address: str, user: str, session: str) -> bytes:
    """One line for the journal, with its newline.

    Raises:
        MessageError: ``bad_json``: nested too deeply to be written again.
    """
    try:
        line = _encode.encode(Tagged(address=address, user=user, session=session, message=message))
    except RecursionError as error:
        raise refusal(error) from None
    return line + b"\n"


def nanoseconds(at: datetime) -> int:
    """Nanoseconds since 1970.

    Raises:
        MessageError: ``bad_time``: before 1970 or past what 64 bits hold (the year 2262).
    """
    value = (at - EPOCH) // timedelta(microseconds=1) * 1000
    if not 0 <= value <= _LATEST_NS:
        raise MessageError("bad_time", "createdAt: expected a time from 1970 to 2262")
    return value


def moment(ns: int) -> datetime:
    """The time of a count of nanoseconds since 1970, in whole microseconds."""
    return EPOCH + timedelta(microseconds=ns // 1000)


def refusal(error: Exception) -> MessageError:
    """What msgspec found, as a refusal. Its sentences name the field and the types, never the values."""
    if isinstance(error, msgspec.ValidationError):
        return MessageError("bad_envelope", str(error))
    if isinstance(error, RecursionError):
        return MessageError("bad_json", "expected JSON that is nested less deeply")
    if isinstance(error, UnicodeError):
        return MessageError("bad_json", "expected UTF-8")
    return MessageError("bad_json", f"expected a JSON object: {error}")


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _shown(value: Any) -> str:
    return repr(value[:64]) if isinstance(value, str) else type(value).__name__
