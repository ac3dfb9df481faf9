"""Where a stream of motion frames is cut into windows, and what each window becomes.

Owns the cutting and the two or one messages that a window is told as. Cutting is a pure function of the stream: how
frames were spread over messages does not change a window. The state is a value, so a caller that could not make the
result durable keeps the old one and takes the same frames again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from guardian.errors import MessageError
from xr_telemetry import motion
from xr_telemetry.frames import Frames

MAX_WINDOW_FRAMES: Final = 1024
"""A window is cut early past this many frames (5 s at 200 Hz), so that a headset costs at most 90 KiB."""

MAX_CUTS: Final = 16
"""Windows that the frames of one message may close; a clock that jumps back and forth would close one a frame."""


@dataclass(frozen=True, slots=True)
class Window:
    """What one window of motion came to: ``end_s`` on the device's clock, and ``kind → features``."""

    end_s: float
    features: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Open:
    """The window that is not closed yet. ``carried`` = 1: its first frame is the last of the window before."""

    frames: Frames
    carried: int = 0

    @property
    def empty(self) -> bool:
        """Whether it holds no frame of its own."""
        return len(self.frames) == self.carried


def cut(
    opened: Open | None, frames: Frames, window_s: float, *, max_cuts: int = MAX_CUTS
) -> tuple[Open | None, list[Window]]:
    """Take more frames of one stream: the window that stays open, and those that they closed, in order.

    A window holds the frames between two multiples of ``window_s`` on the device's clock, in order of arrival. A
    frame of an earlier multiple closes it as one of a later does: that clock was set back.

    Raises:
        MessageError: ``bad_frames``: more than ``max_cuts`` windows would close, or the sensor is another one.
    """
    if opened is None:
        opened = Open(frames.rows(0, 0))
    if opened.frames.sensor != frames.sensor:
        raise MessageError("bad_frames", f"expected {opened.frames.sensor} frames, as before in this session")
    pending = opened.frames.then(frames)
    own = pending.t[opened.carried :]
    index = np.floor(own / window_s)
    starts = [opened.carried + int(at) + 1 for at in np.flatnonzero(np.diff(index))]
    pieces = list(_pieces([opened.carried, *starts, len(pending)]))
    if len(pieces) - 1 > max_cuts:
        raise MessageError("bad_frames", f"t: expected to pass at most {max_cuts} windows of {window_s:g} s")
    windows: list[Window] = []
    carried = opened.carried
    for first, last in pieces[:-1]:
        windows.append(_window(Open(pending.rows(first - carried, last), carried)))
        carried = int(
            pending.t[last] >= pending.t[last - 1]
        )  # nothing to carry over a clock that was set back
    first, last = pieces[-1] if pieces else (opened.carried, opened.carried)
    return Open(pending.rows(first - carried, last), carried), windows


def close(opened: Open | None) -> list[Window]:
    """The window that was still open when its stream ended, if it holds a frame."""
    return [] if opened is None or opened.empty else [_window(opened)]


def _pieces(edges: list[int]) -> Iterator[tuple[int, int]]:
    """Runs between edges, none longer than MAX_WINDOW_FRAMES. Only whole ones come before the last."""
    for first, last in itertools.pairwise(edges):
        for at in range(first, last, MAX_WINDOW_FRAMES):
            yield at, min(at + MAX_WINDOW_FRAMES, last)


def _window(opened: Open) -> Window:
    t, values = opened.frames.t, opened.frames.values.astype(np.float64)
    features: dict[str, msgspec.Struct] = {}
    if opened.frames.sensor == "imu":
        features["xr.imu.window"] = motion.inertial_window(t, values, carried=opened.carried)
    else:
        features["xr.frame.window"] = motion.frame_window(t, carried=opened.carried)
        features["xr.pose.window"] = motion.pose_window(t, values, carried=opened.carried)
    return Window(
        end_s=float(np.max(t[opened.carried :])),
        features={kind: _rounded(msgspec.to_builtins(found)) for kind, found in features.items()},
    )


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Nine significant digits: more than the sensors know, and the same text on every machine."""
    return {
        name: float(f"{value:.9g}") if isinstance(value, float) and math.isfinite(value) else value
        for name, value in values.items()
    }
