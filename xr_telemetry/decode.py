"""XR messages as events: lines that the gateway made durable → one EVENTS record batch.

Owns what each field of an XR message means as a column, and the reasons for which a line is rejected. Does no input
or output. Motion arrives here only as windows; raw frames are refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from guardian.decode import Decoded
from guardian.decode.columns import AHEAD, EARLIEST, LATEST, Rejects, batch_of
from guardian.errors import MessageError
from guardian.events import EVENTS, LAYERS, ROLES, TEXT, Outcome, Signal
from guardian.levels import level_named
from xr_telemetry import motion
from xr_telemetry.envelope import (
    EVENT_TYPES,
    INPUT_KINDS,
    MAX_NAME,
    SESSION_TYPES,
    Message,
    Tagged,
    nanoseconds,
    parse_tagged,
    refusal,
)

SOURCE: Final = "xr"
DEFAULT_LAYER: Final = LAYERS.index("L4")

UNSTATED_ALERT_SEVERITY: Final = 0.5
"""Severity of a ``safety_alert`` that states none. Ours."""

WINDOWS: Final[dict[str, tuple[type[msgspec.Struct], str]]] = {
    "xr.frame.window": (motion.FrameWindow, "interval_p95_s"),
    "xr.pose.window": (motion.PoseWindow, "speed_p95"),
    "xr.imu.window": (motion.InertialWindow, "acceleration_p95"),
}
"""Per kind of window its features, and the one that becomes the event's ``value``."""

_OUTCOMES: Final = {"success": Outcome.SUCCESS, "failure": Outcome.FAILURE, "denied": Outcome.DENIED}
_COLUMNS: Final = frozenset(
    {"kind", "userId", "sessionId", "sceneId", "spaceId", "outcome", "severity", "value", "layer"}
)
"""Fields of a payload that have a column of their own; the others go to ``attrs``."""


@dataclass(frozen=True, slots=True)
class Event:
    """The columns of one XR event that are not the same for all of them."""

    ts: int
    layer: int
    kind: str
    actor: str
    address: str
    target: str
    session: str
    outcome: int
    severity: float
    value: float
    attrs: str | None


def decode_messages(body: bytes, *, received_at: int | None) -> Decoded:
    """The events of one body: one :class:`~xr_telemetry.envelope.Tagged` message a line.

    Args:
        body: NDJSON; empty lines are skipped. A line that is no event is rejected and counted.
        received_at: when the body arrived, nanoseconds since 1970; None where nobody knows (files). The event time is
            the envelope's ``createdAt``, which may lie at most a day after it.
    """
    events: list[Event] = []
    rejects = Rejects()
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            events.append(event(parse_tagged(line), received_at=received_at))
        except MessageError as error:
            rejects.add(number, error.reason, error.detail)
    return rejects.decoded(_batch(events))


def event(tagged: Tagged, *, received_at: int | None) -> Event:
    """The event of one message.

    An authenticated user counts, whoever the payload names; only where nobody had to authenticate is the payload
    believed.

    Raises:
        MessageError: ``unknown_kind``, ``bad_time``, or ``bad_payload`` naming the field.
    """
    message = tagged.message
    kind = message.kind
    payload = message.payload
    value = _number(payload, "value")
    rest: dict[str, Any] = {name: item for name, item in payload.items() if name not in _COLUMNS}
    if message.type not in EVENT_TYPES and "kind" in payload:
        rest["kind"] = payload["kind"]  # says something else there: the type is the kind
    if kind in WINDOWS:
        features, main = WINDOWS[kind]
        try:
            window = msgspec.convert(rest, features)
        except msgspec.ValidationError as error:
            raise MessageError("bad_payload", str(error).replace("$", "payload", 1)) from None
        magnitude = getattr(window, main)
        value = math.nan if magnitude is None else magnitude
    elif kind not in INPUT_KINDS and kind not in SESSION_TYPES:
        raise MessageError("unknown_kind", "expected the kind of an XR event")
    claimed = _name(payload, "userId")
    if tagged.user and claimed not in {"", tagged.user}:
        rest["claimedUserId"] = claimed
    return Event(
        ts=_time(message, received_at),
        layer=_layer(payload),
        kind=kind,
        actor=tagged.user or claimed,
        address=tagged.address,
        target=message.scene_id or _name(payload, "sceneId") or _name(payload, "spaceId"),
        session=message.session_id or _name(payload, "sessionId") or tagged.session,
        outcome=_outcome(kind, payload),
        severity=_severity(kind, payload),
        value=value,
        attrs=_attrs(rest),
    )


def check(message: Message, *, received_at: int) -> None:
    """Refuse now what :func:`decode_messages` would reject later, so that the sender can be told.

    Raises:
        MessageError: as :func:`event`.
    """
    event(Tagged(message=message), received_at=received_at)


def _batch(events: list[Event]) -> pa.RecordBatch:
    count = len(events)

    def texts(name: str) -> pa.Array:
        return pa.array([getattr(each, name) for each in events], pa.string()).dictionary_encode().cast(TEXT)

    def numbers(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array([getattr(each, name) for each in events], kind)

    return batch_of(
        count,
        {
            "ts": numbers("ts", pa.int64()).cast(EVENTS.field("ts").type),
            "signal": pa.array(np.full(count, Signal.XR, np.int8)),
            "layer": numbers("layer", pa.int8()),
            "source": pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([SOURCE])),
            **{name: texts(name) for name in ("kind", *ROLES)},
            "outcome": numbers("outcome", pa.int8()),
            "severity": numbers("severity", pa.float64()),
            "value": numbers("value", pa.float64()),
            "attrs": pa.array([each.attrs for each in events], pa.string()),
        },
    )


def _time(message: Message, received_at: int | None) -> int:
    ts = nanoseconds(message.created_at)
    latest = LATEST if received_at is None else min(received_at + AHEAD, LATEST)
    if not EARLIEST <= ts <= latest:
        raise MessageError("bad_time", "createdAt: expected a time from 1990 to a day after its arrival")
    return ts


def _name(payload: dict[str, Any], field: str) -> str:
    value = payload.get(field)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise MessageError("bad_payload", f"payload.{field}: expected text of at most {MAX_NAME} characters")
    return value


def _number(payload: dict[str, Any], field: str) -> float:
    value = payload.get(field)
    if value is None:
        return math.nan
    if (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e300
    ):  # fits a float64
        return float(value)
    raise MessageError("bad_payload", f"payload.{field}: expected a number")


def _layer(payload: dict[str, Any]) -> int:
    layer = payload.get("layer")
    if layer is None:
        return DEFAULT_LAYER
    if isinstance(layer, str) and layer in LAYERS:
        return LAYERS.index(layer)
    raise MessageError("bad_payload", "payload.layer: expected L0 to L7")


def _outcome(kind: str, payload: dict[str, Any]) -> int:
    stated = payload.get("outcome")
    if kind == "permission_denied":
        return Outcome.DENIED
    if stated is None:
        return Outcome.UNKNOWN
    if isinstance(stated, str) and stated in _OUTCOMES:
        return _OUTCOMES[stated]
    raise MessageError("bad_payload", f"payload.outcome: expected one of {', '.join(_OUTCOMES)}")


def _severity(kind: str, payload: dict[str, Any]) -> float:
    stated = payload.get("severity")
    if stated is None:
        return UNSTATED_ALERT_SEVERITY if kind == "safety_alert" else math.nan
    if isinstance(stated, str):
        try:
            return level_named(stated) / 4
        except ValueError:
            pass
    elif isinstance(stated, int | float) and not isinstance(stated, bool) and 0 <= stated <= 1:
        return float(stated)
    raise MessageError(
        "bad_payload", "payload.severity: expected none, low, medium, high, critical, or a number from 0 to 1"
    )


def _attrs(rest: dict[str, Any]) -> str | None:
    if not rest:
        return None
    try:
        return msgspec.json.encode(rest).decode()
    except RecursionError as error:
        raise refusal(error) from None
