"""Features of motion against movements worked by hand, and against anything."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xr_telemetry.motion import advancing, frame_window, inertial_window, pose_window

RATE = 1 / 90


def still(n: int) -> Any:
    """n frames of a head and two hands that do not move."""
    return np.tile(np.array([0.0, 1.7, 0.0, 0.0, 0.0, 0.0, 1.0] * 3), (n, 1))


def test_even_frames() -> None:
    found = frame_window(np.arange(91) * RATE, carried=0)
    assert found.n == 91
    assert found.target_period_s == pytest.approx(RATE)
    assert found.interval_p99_s == pytest.approx(RATE)
    assert (found.late, found.repeated, found.backward) == (0, 0, 0)
    assert found.duration_s == pytest.approx(1.0)


def test_a_dropped_frame_is_late() -> None:
    t = np.delete(np.arange(91) * RATE, [40, 41])
    found = frame_window(t, carried=0)
    assert found.late == 1
    assert found.interval_max_s == pytest.approx(3 * RATE)


def test_repeated_and_backward_times_are_counted_and_left_out() -> None:
    found = frame_window(np.array([0.0, 0.0, 0.1, 0.1, 0.05, 0.2]), carried=0)
    assert (found.repeated, found.backward) == (2, 1)
    assert found.interval_max_s == pytest.approx(0.1)


def test_a_carried_frame_opens_an_interval_but_is_not_counted() -> None:
    found = frame_window(np.array([0.0, 4.0, 4.1]), carried=1)
    assert found.n == 2
    assert found.interval_max_s == pytest.approx(4.0)


def test_one_frame_has_no_interval() -> None:
    found = frame_window(np.array([3.0]), carried=0)
    assert found.interval_p95_s is None
    assert found.late == 0


def test_a_head_that_walks() -> None:
    poses = still(91)
    t = np.arange(91) * RATE
    poses[:, 0] = 1.5 * t
    found = pose_window(t, poses, carried=0)
    assert found.path_m == pytest.approx(1.5)
    assert found.speed_p50 == pytest.approx(1.5)
    assert found.acceleration_max == pytest.approx(0.0, abs=1e-6)
    assert found.left_path_m == 0.0


def test_constant_acceleration_and_jerk_are_found() -> None:
    t = np.arange(180) * RATE
    poses = still(180)
    poses[:, 2] = 2.0 * t**3 / 6 + 3.0 * t**2 / 2
    found = pose_window(t, poses, carried=0)
    assert found.jerk_p50 == pytest.approx(2.0, rel=1e-3)
    assert found.acceleration_p50 == pytest.approx(3.0 + 2.0 * t[89], rel=0.02)


@pytest.mark.parametrize("turns", [0.5, -0.5, 3.0, -3.0])
def test_yaw_adds_up_over_full_turns(turns: float) -> None:
    n = 181
    t = np.arange(n) * RATE
    half = turns * 2 * math.pi * np.arange(n) / (n - 1) / 2
    poses = still(n)
    poses[:, 4], poses[:, 6] = np.sin(half), np.cos(half)
    poses[::2, 3:7] *= -1  # q and −q are the same rotation
    found = pose_window(t, poses, carried=0)
    assert found.yaw_net == pytest.approx(turns * 2 * math.pi)
    assert found.yaw_rate_p50 == pytest.approx(abs(turns) * math.pi)


def test_pitch_is_no_yaw() -> None:
    n = 91
    half = np.linspace(0, math.pi / 4, n)
    poses = still(n)
    poses[:, 3], poses[:, 6] = np.sin(half), np.cos(half)
    found = pose_window(np.arange(n) * RATE, poses, carried=0)
    assert found.yaw_net == pytest.approx(0.0, abs=1e-9)


def test_zero_quaternions_are_lost_tracking_not_a_jump_to_the_origin() -> None:
    poses = still(91)
    poses[0] = 0.0
    poses[40:50, 7:14] = 0.0
    found = pose_window(np.arange(91) * RATE, poses, carried=0)
    assert (found.head_lost, found.left_lost, found.right_lost) == (1, 11, 1)
    assert found.path_m == 0.0
    assert found.invalid == 0


def test_the_longest_gap_is_that_of_the_tracked_head() -> None:
    poses = still(91)
    poses[20:30, :7] = 0.0
    found = pose_window(np.arange(91) * RATE, poses, carried=0)
    assert found.longest_gap_s == pytest.approx(11 * RATE)


def test_an_absent_hand_is_neither_lost_nor_invalid() -> None:
    poses = still(10)
    poses[:, 7:] = np.nan
    found = pose_window(np.arange(10) * RATE, poses, carried=0)
    assert (found.left_lost, found.right_lost, found.invalid) == (0, 0, 0)
    assert found.left_path_m is None
    assert found.path_m == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_a_spike_is_counted_and_left_out(bad: float) -> None:
    poses = still(10)
    poses[5, 1] = bad
    found = pose_window(np.arange(10) * RATE, poses, carried=0)
    assert found.invalid == 1
    assert found.path_m == 0.0


def test_nothing_tracked_says_nothing() -> None:
    found = pose_window(np.arange(5.0), np.zeros((5, 21)), carried=0)
    assert found.head_lost == 5
    assert found.speed_p95 is None
    assert found.yaw_net is None


def test_inertial_load() -> None:
    t = np.arange(20) * 0.5
    samples = np.zeros((20, 6))
    samples[:, 1] = 3.0
    samples[:, 4] = 0.5
    samples[7, 0] = 648.0  # a spike of the sensor
    samples[9, 4:] = np.nan
    samples[11] = np.nan
    found = inertial_window(t, samples, carried=0)
    assert (found.invalid, found.missing) == (1, 2)
    assert found.acceleration_max == pytest.approx(3.0)
    assert found.turn_rate_p95 == pytest.approx(0.5)
    assert found.jerk_max == pytest.approx(0.0)


def test_a_carried_sample_is_not_felt_twice() -> None:
    samples = np.array([[9.0, 0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0, 0]])
    found = inertial_window(np.arange(3) * 0.5, samples, carried=1)
    assert found.n == 2
    assert found.acceleration_max == 1.0
    assert found.jerk_max == pytest.approx(16.0)


any_float = st.floats(allow_nan=True, allow_infinity=True, width=32)
any_times = st.lists(
    st.sampled_from([0.0, 1e-5, 0.011, 0.5, -1.0, 1e9, -1e9]) | st.floats(-1e9, 1e9), min_size=1, max_size=24
)


@given(st.data(), any_times, st.sampled_from([0, 1]))
def test_any_motion_gives_finite_features_in_range(data: Any, times: list[float], carried: int) -> None:
    t = np.array(times)
    carried = min(carried, len(t) - 1)
    poses = data.draw(
        hnp.arrays(np.float32, (len(t), 21), elements=any_float | st.floats(-2, 2, width=32) | st.just(0.0))
    ).astype(np.float64)
    imu = poses[:, :6]
    for found in (
        frame_window(t, carried=carried),
        pose_window(t, poses, carried=carried),
        inertial_window(t, imu, carried=carried),
    ):
        values = msgspec.structs.asdict(found)
        assert values["n"] == len(t) - carried
        for name, value in values.items():
            assert value is None or math.isfinite(value), name
            assert name == "yaw_net" or value is None or value >= 0, name
        for stem in ("speed", "acceleration", "jerk"):
            if values.get(f"{stem}_p50") is not None:
                assert values[f"{stem}_p50"] <= values[f"{stem}_p95"] <= values[f"{stem}_max"]


@given(any_times)
def test_advancing_times_rise(times: list[float]) -> None:
    kept = np.array(times)[advancing(np.array(times))]
    assert kept[0] == times[0]
    assert np.all(np.diff(kept) > 0)
