"""Motion frames: the arrays, and the ``xr_frames`` payload that carries them.

Owns the wire form of raw motion and its limits. Raw motion identifies a person within seconds, so it lives here only
as long as a window takes: it is never stored and never sent on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct, field
from numpy.typing import NDArray

from guardian.errors import MessageError
from xr_telemetry.envelope import Name, refusal

Sensor = Literal["pose", "imu"]

COLUMNS: Final[dict[Sensor, int]] = {"pose": 21, "imu": 6}
"""pose: head, left hand, right hand, each px py pz (metres, y up) qx qy qz qw; imu: ax ay az (m/s²) wx wy wz (rad/s)."""

MAX_FRAMES: Final = 512
"""Frames in one message."""

MAX_TIME_S: Final = 1e9
"""A device clock counts seconds from a start of its own; past this it is not one."""

Number = float | None
Pose = tuple[Number, Number, Number, Number, Number, Number, Number]
Inertial = tuple[Number, Number, Number, Number, Number, Number]


@dataclass(frozen=True, slots=True)
class Frames:
    """Consecutive frames of one sensor.

    Shapes: t (n,) float64, seconds on the device's clock, finite; values (n, COLUMNS[sensor]) float32, NaN = missing
    (a device that is absent is NaN throughout; one that lost tracking reports a zero quaternion).
    """

    sensor: Sensor
    t: NDArray[np.float64]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        expected = (self.t.shape[0], COLUMNS[self.sensor])
        if self.t.ndim != 1 or self.values.shape != expected:
            raise MessageError("bad_frames", f"expected {expected} values, got {self.values.shape}")
        if not bool(np.all(np.abs(self.t) <= MAX_TIME_S)):  # NaN fails too
            raise MessageError("bad_frames", f"t: expected finite seconds within ±{MAX_TIME_S:g}")

    def __len__(self) -> int:
        return int(self.t.shape[0])

    def rows(self, first: int, last: int | None = None) -> Frames:
        """Some of the frames."""
        return Frames(self.sensor, self.t[first:last], self.values[first:last])

    def then(self, later: Frames) -> Frames:
        """These frames and those of the same sensor after them."""
        return Frames(
            self.sensor,
            np.concatenate([self.t, later.t]),
            np.concatenate([self.values, later.values]),
        )


class _Payload(Struct, frozen=True, forbid_unknown_fields=True):
    t: Annotated[list[float], Meta(min_length=1, max_length=MAX_FRAMES)]
    head: list[Pose] | None = None
    left: list[Pose] | None = None
    right: list[Pose] | None = None
    imu: list[Inertial] | None = None
    user_id: Name | None = field(name="userId", default=None)


def read(payload: dict[str, Any]) -> Frames:
    """The frames of an ``xr_frames`` payload: ``t`` with ``head`` (and ``left``, ``right``), or ``t`` with ``imu``.

    Raises:
        MessageError: ``bad_frames``: a list is missing, of another length, or holds something else than numbers.
    """
    try:
        body = msgspec.convert(payload, _Payload)
    except msgspec.ValidationError as error:
        raise MessageError("bad_frames", refusal(error).detail.replace("$", "payload", 1)) from None
    n = len(body.t)
    parts = {"head": body.head, "left": body.left, "right": body.right, "imu": body.imu}
    for name, part in parts.items():
        if part is not None and len(part) != n:
            raise MessageError("bad_frames", f"payload.{name}: expected {n} rows as in t, got {len(part)}")
    t = np.array(body.t, np.float64)
    if body.imu is not None:
        if any(part is not None for part in (body.head, body.left, body.right)):
            raise MessageError("bad_frames", "payload: expected head, left and right, or imu, not both")
        return Frames("imu", t, _table(body.imu, n, COLUMNS["imu"]))
    if body.head is None:
        raise MessageError("bad_frames", "payload: expected head or imu")
    devices = [_table(part, n, 7) for part in (body.head, body.left, body.right)]
    return Frames("pose", t, np.concatenate(devices, axis=1))


def payload(frames: Frames) -> dict[str, Any]:
    """The ``xr_frames`` payload of frames; 6 decimals (micrometres, microseconds) are past any tracker's accuracy."""
    values = np.round(frames.values.astype(np.float64), 6)
    body: dict[str, Any] = {"t": np.round(frames.t, 6).tolist()}
    if frames.sensor == "imu":
        return body | {"imu": values.tolist()}
    for index, device in enumerate(("head", "left", "right")):
        part = values[:, 7 * index : 7 * index + 7]
        if device == "head" or not bool(np.isnan(part).all()):
            body[device] = part.tolist()
    return body


def _table(rows: list[Any] | None, n: int, columns: int) -> NDArray[np.float32]:
    if rows is None:
        return np.full((n, columns), np.nan, np.float32)
    with np.errstate(over="ignore"):  # past float32 is infinite, which counts as invalid
        return np.array(rows, np.float64).astype(np.float32)
