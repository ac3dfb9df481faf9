"""What a window of motion frames says: frame timing, movement of head and hands, inertial load.

Owns the features and their formulas, over arrays. Does not own where windows are cut (``windows``). A feature is a
summary over seconds; no pose can be read back from it.

Traps that the formulas are built for (all seen in public recordings): rows of zeros where tracking is lost, repeated
and backward times, missing values in some columns only, single samples far past what a head can do.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MIN_INTERVAL_S: Final = 1e-4
"""Frames closer than this share one time: no tracker samples at 10 kHz. They are counted as repeated."""

LATE_AT: Final = 1.5
"""A frame is late when its interval exceeds this many target periods: at least one display slot was missed. Ours."""

MAX_POSITION_M: Final = 1000.0
MAX_ACCELERATION_M_S2: Final = 200.0
"""About 20 g; ours. More than that is a defect of the sensor or of the sender, counted as invalid."""
MAX_TURN_RAD_S: Final = 100.0


class FrameWindow(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Frame timing, seconds (kind ``xr.frame.window``). None where fewer than two distinct times were seen."""

    duration_s: float
    n: int
    target_period_s: float | None
    """The period that the frames aim at: the median interval."""
    interval_p50_s: float | None
    interval_p95_s: float | None
    interval_p99_s: float | None
    interval_max_s: float | None
    late: int
    repeated: int
    backward: int


class PoseWindow(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Movement, SI units (kind ``xr.pose.window``). None where too few tracked frames were seen."""

    duration_s: float
    n: int
    head_lost: int
    """Frames whose head has a zero quaternion: tracking lost."""
    left_lost: int
    right_lost: int
    invalid: int
    """Frames left out for a value that is missing beside others, infinite or out of bounds."""
    longest_gap_s: float | None
    """Longest time between two frames with a tracked head."""
    path_m: float | None
    left_path_m: float | None
    right_path_m: float | None
    speed_p50: float | None
    speed_p95: float | None
    speed_max: float | None
    left_speed_p95: float | None
    right_speed_p95: float | None
    acceleration_p50: float | None
    acceleration_p95: float | None
    acceleration_max: float | None
    jerk_p50: float | None
    jerk_p95: float | None
    jerk_max: float | None
    yaw_rate_p50: float | None
    yaw_rate_p95: float | None
    yaw_net: float | None
    """Sum of all turns about the vertical, radians, signed: drift shows here."""


class InertialWindow(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Inertial load of the head, SI units (kind ``xr.imu.window``). None where too few samples were seen."""

    duration_s: float
    n: int
    interval_p50_s: float | None
    longest_gap_s: float | None
    repeated: int
    backward: int
    missing: int
    """Samples with at least one missing value."""
    invalid: int
    """Samples past what a head endures: spikes of the sensor."""
    acceleration_p50: float | None
    acceleration_p95: float | None
    acceleration_max: float | None
    jerk_p50: float | None
    jerk_p95: float | None
    jerk_max: float | None
    turn_rate_p50: float | None
    turn_rate_p95: float | None


def advancing(t: Array) -> Mask:
    """Frames whose time lies past every time before it by at least MIN_INTERVAL_S; the first always does.

    >>> advancing(np.array([0.0, 0.1, 0.1, 0.05, 0.2])).tolist()
    [True, True, False, False, True]
    """
    keep = np.ones(t.shape[0], np.bool_)
    keep[1:] = t[1:] - np.maximum.accumulate(t)[:-1] >= MIN_INTERVAL_S
    return keep


def frame_window(t: Array, *, carried: int) -> FrameWindow:
    """Timing of one window.

    Args:
        t: seconds, finite, shape (n + carried,).
        carried: 1 if the first frame belongs to the window before and only opens the first interval, else 0.
    """
    kept = t[advancing(t)]
    interval = np.diff(kept)
    period, p95, p99, longest = _quantiles(interval, 0.5, 0.95, 0.99, 1.0)
    repeated, backward = _standing(t)
    return FrameWindow(
        duration_s=float(kept[-1] - kept[0]),
        n=int(t.shape[0]) - carried,
        target_period_s=period,
        interval_p50_s=period,
        interval_p95_s=p95,
        interval_p99_s=p99,
        interval_max_s=longest,
        late=0 if period is None else int(np.count_nonzero(interval > LATE_AT * period)),
        repeated=repeated,
        backward=backward,
    )


def pose_window(t: Array, poses: Array, *, carried: int) -> PoseWindow:
    """Movement of one window.

    Args:
        t: seconds, finite, shape (n + carried,).
        poses: head, left and right, each px py pz qx qy qz qw; shape (n + carried, 21), metres.
        carried: as in :func:`frame_window`.

    Speed, acceleration and jerk are magnitudes of first, second and third differences over the frames with a tracked
    device, each divided by the time between the middles of what it compares. Yaw is the twist about the vertical (y)
    of the rotation from one frame to the next, in world axes, 2·atan2(y, w) (swing-twist decomposition, Dobrowolski
    2015, section 3): steps are small, so it has no singularity where Euler angles do.
    """
    advances = advancing(t)
    devices = [_Device(poses[:, 7 * index : 7 * index + 7]) for index in range(3)]
    lost = [int(np.count_nonzero(device.lost[carried:])) for device in devices]
    invalid = devices[0].invalid | devices[1].invalid | devices[2].invalid
    kept = [device.tracked & advances for device in devices]
    paths: list[float | None] = []
    speeds: list[Array] = []
    for device, keep in zip(devices, kept, strict=True):
        step = np.linalg.norm(np.diff(device.position[keep], axis=0), axis=1)
        paths.append(float(step.sum()) if step.size else None)
        speeds.append(step / np.diff(t[keep]))
    head_t = t[kept[0]]
    acceleration, jerk = _changes(head_t, devices[0].position[kept[0]])
    yaw = _yaw_steps(devices[0].rotation[kept[0]])
    interval = np.diff(head_t)
    speed = _quantiles(speeds[0], 0.5, 0.95, 1.0)
    accelerated = _quantiles(acceleration, 0.5, 0.95, 1.0)
    jerked = _quantiles(jerk, 0.5, 0.95, 1.0)
    yaw_rate = _quantiles(np.abs(yaw) / interval, 0.5, 0.95)
    moving = t[advances]
    return PoseWindow(
        duration_s=float(moving[-1] - moving[0]),
        n=int(t.shape[0]) - carried,
        head_lost=lost[0],
        left_lost=lost[1],
        right_lost=lost[2],
        invalid=int(np.count_nonzero(invalid[carried:])),
        longest_gap_s=_quantiles(interval, 1.0)[0],
        path_m=paths[0],
        left_path_m=paths[1],
        right_path_m=paths[2],
        speed_p50=speed[0],
        speed_p95=speed[1],
        speed_max=speed[2],
        left_speed_p95=_quantiles(speeds[1], 0.95)[0],
        right_speed_p95=_quantiles(speeds[2], 0.95)[0],
        acceleration_p50=accelerated[0],
        acceleration_p95=accelerated[1],
        acceleration_max=accelerated[2],
        jerk_p50=jerked[0],
        jerk_p95=jerked[1],
        jerk_max=jerked[2],
        yaw_rate_p50=yaw_rate[0],
        yaw_rate_p95=yaw_rate[1],
        yaw_net=float(yaw.sum()) if yaw.size else None,
    )


def inertial_window(t: Array, samples: Array, *, carried: int) -> InertialWindow:
    """Inertial load of one window.

    Args:
        t: seconds, finite, shape (n + carried,).
        samples: ax ay az (m/s²) wx wy wz (rad/s); shape (n + carried, 6), NaN = missing.
        carried: as in :func:`frame_window`.

    Acceleration and turn rate stand on their own: a sample that lacks one still counts for the other.
    """
    advances = advancing(t)
    linear, angular = samples[:, :3], samples[:, 3:]
    size = np.linalg.norm(linear, axis=1)
    turn = np.linalg.norm(angular, axis=1)
    spike: Mask = np.greater(size, MAX_ACCELERATION_M_S2) | np.greater(turn, MAX_TURN_RAD_S)  # NaN is not
    missing: Mask = np.logical_or.reduce(np.isnan(samples), axis=1)
    felt = np.isfinite(size) & ~spike
    jerked = felt & advances
    change = np.linalg.norm(np.diff(linear[jerked], axis=0), axis=1) / np.diff(t[jerked])
    kept = t[advances]
    interval = np.diff(kept)
    own = slice(carried, None)
    load = _quantiles(size[own][felt[own]], 0.5, 0.95, 1.0)
    jerk = _quantiles(change, 0.5, 0.95, 1.0)
    turning = _quantiles(turn[own][(np.isfinite(turn) & ~spike)[own]], 0.5, 0.95)
    period, longest = _quantiles(interval, 0.5, 1.0)
    repeated, backward = _standing(t)
    return InertialWindow(
        duration_s=float(kept[-1] - kept[0]),
        n=int(t.shape[0]) - carried,
        interval_p50_s=period,
        longest_gap_s=longest,
        repeated=repeated,
        backward=backward,
        missing=int(np.count_nonzero(missing[own])),
        invalid=int(np.count_nonzero(spike[own])),
        acceleration_p50=load[0],
        acceleration_p95=load[1],
        acceleration_max=load[2],
        jerk_p50=jerk[0],
        jerk_p95=jerk[1],
        jerk_max=jerk[2],
        turn_rate_p50=turning[0],
        turn_rate_p95=turning[1],
    )


class _Device:
    """One tracked device: which frames are usable, and its position and unit rotation there."""

    def __init__(self, pose: Array) -> None:
        bounded: Mask = np.less_equal(np.abs(pose), MAX_POSITION_M)  # NaN and infinity are not
        usable: Mask = np.logical_and.reduce(bounded, axis=1)
        length = np.linalg.norm(np.where(bounded[:, 3:], pose[:, 3:], 0.0), axis=1)
        self.lost: Mask = usable & (length < 1e-3)
        self.tracked: Mask = usable & ~self.lost
        self.invalid: Mask = ~usable & ~np.logical_and.reduce(np.isnan(pose), axis=1)
        self.position: Array = pose[:, :3]
        self.rotation: Array = pose[:, 3:] / np.where(self.tracked, length, 1.0)[:, None]


def _changes(t: Array, position: Array) -> tuple[Array, Array]:
    """Magnitudes of acceleration (m/s²) and jerk (m/s³)."""
    found: list[Array] = []
    value, at = np.diff(position, axis=0) / np.diff(t)[:, None], (t[1:] + t[:-1]) / 2
    for _ in range(2):
        value, at = np.diff(value, axis=0) / np.diff(at)[:, None], (at[1:] + at[:-1]) / 2
        found.append(np.linalg.norm(value, axis=1))
    return found[0], found[1]


def _yaw_steps(rotation: Array) -> Array:
    """Turn about the vertical from each frame to the next, radians in (−π, π]."""
    x1, y1, z1, w1 = rotation[:-1].T
    x2, y2, z2, w2 = rotation[1:].T
    # next · conjugate(previous): its y and w
    y = -w2 * y1 + y2 * w1 + x2 * z1 - z2 * x1
    w = w2 * w1 + x2 * x1 + y2 * y1 + z2 * z1
    angle = 2.0 * np.arctan2(y, w)
    wrapped: Array = angle - 2.0 * np.pi * np.ceil((angle - np.pi) / (2.0 * np.pi))
    return wrapped


def _standing(t: Array) -> tuple[int, int]:
    """How many frames repeat the newest time before them, and how many lie before it."""
    ahead = t[1:] - np.maximum.accumulate(t)[:-1]
    return (
        int(np.count_nonzero((ahead >= 0.0) & (ahead < MIN_INTERVAL_S))),
        int(np.count_nonzero(ahead < 0.0)),
    )


def _quantiles(values: Array, *shares: float) -> list[float | None]:
    """Quantiles with linear interpolation, None of nothing."""
    if not values.size:
        return [None] * len(shares)
    found: list[float | None] = np.quantile(values, shares).tolist()
    return found
