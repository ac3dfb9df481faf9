"""Where windows are cut; how frames were spread over messages changes nothing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import MessageError
from xr_telemetry.frames import Frames
from xr_telemetry.windows import MAX_CUTS, MAX_WINDOW_FRAMES, close, cut

WINDOW_S = 5.0


def imu(times: list[float]) -> Any:
    t = np.array(times, np.float64)
    rng = np.random.default_rng(7)
    return Frames("imu", t, rng.normal(size=(t.size, 6)).astype(np.float32))


def all_windows(frames: Any, edges: Any = ()) -> Any:
    opened, found = None, []
    edges = sorted({0, len(frames), *edges})
    for first, last in itertools.pairwise(edges):
        opened, closed = cut(opened, frames.rows(first, last), WINDOW_S, max_cuts=10**6)
        found += closed
    return found + close(opened)


def counts(windows: Any) -> Any:
    return [window.features["xr.imu.window"]["n"] for window in windows]


def test_windows_are_multiples_of_their_length_on_the_device_clock() -> None:
    found = all_windows(imu(np.arange(0, 12, 0.5)))
    assert counts(found) == [10, 10, 4]
    assert [window.end_s for window in found] == [4.5, 9.5, 11.5]


def test_an_interval_across_an_edge_is_seen() -> None:
    found = all_windows(imu([4.0, 4.5, 8.0, 8.5]))
    assert found[1].features["xr.imu.window"]["longestGapS"] == 3.5
    assert counts(found) == [2, 2]


def test_a_clock_that_is_set_back_starts_anew() -> None:
    found = all_windows(imu([100.0, 100.5, 0.0, 0.5, 1.0]))
    assert counts(found) == [2, 3]
    assert found[1].features["xr.imu.window"]["backward"] == 0
    assert found[1].features["xr.imu.window"]["longestGapS"] == 0.5


def test_a_window_of_poses_says_two_things() -> None:
    t = np.arange(3) * 0.01
    frames = Frames("pose", t, np.zeros((3, 21), np.float32))
    opened, closed = cut(None, frames, WINDOW_S)
    assert closed == []
    (window,) = close(opened)
    assert sorted(window.features) == ["xr.frame.window", "xr.pose.window"]
    assert not any(isinstance(value, list) for each in window.features.values() for value in each.values())


def test_a_window_holds_a_bounded_number_of_frames() -> None:
    frames = imu(np.zeros(3 * MAX_WINDOW_FRAMES + 1))
    opened = None
    for first in range(0, len(frames), 500):
        opened, _ = cut(opened, frames.rows(first, first + 500), WINDOW_S)
        assert len(opened.frames) <= MAX_WINDOW_FRAMES + 1
    assert counts(all_windows(frames)) == [MAX_WINDOW_FRAMES] * 3 + [1]


def test_a_clock_that_jumps_back_and_forth_is_refused() -> None:
    with pytest.raises(MessageError, match=f"at most {MAX_CUTS}"):
        cut(None, imu([0.0, 100.0] * MAX_CUTS), WINDOW_S)


def test_another_sensor_in_the_same_stream_is_refused() -> None:
    opened, _ = cut(None, imu([0.0]), WINDOW_S)
    with pytest.raises(MessageError, match="imu"):
        cut(opened, Frames("pose", np.zeros(1), np.zeros((1, 21), np.float32)), WINDOW_S)


def test_nothing_open_closes_to_nothing() -> None:
    assert close(None) == []
    opened, closed = cut(None, imu([]), WINDOW_S)
    assert (close(opened), closed) == ([], [])


def test_taking_frames_leaves_the_old_state_as_it_was() -> None:
    opened, _ = cut(None, imu([0.0, 0.5]), WINDOW_S)
    first = cut(opened, imu([1.0, 6.0]), WINDOW_S)[1]
    assert cut(opened, imu([1.0, 6.0]), WINDOW_S)[1] == first


@given(
    st.lists(st.sampled_from([0.0, 0.011, 0.5, 2.0, 7.0, -3.0]), min_size=1, max_size=60),
    st.sets(st.integers(0, 60), max_size=8),
)
def test_how_frames_are_spread_over_messages_changes_nothing(steps: list[float], edges: Any) -> None:
    frames = imu(np.cumsum(steps))
    edges = {edge for edge in edges if edge < len(frames)}
    whole = all_windows(frames)
    assert all_windows(frames, edges) == whole
    assert sum(counts(whole)) == len(frames)
