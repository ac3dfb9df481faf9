"""Raw motion on the wire."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from guardian.errors import MessageError
from xr_telemetry import frames
from xr_telemetry.frames import COLUMNS, MAX_FRAMES, Frames, payload, read

HEAD = [0.0, 1.7, 0.0, 0.0, 0.0, 0.0, 1.0]


def test_hands_may_be_absent() -> None:
    found = read({"t": [0, 0.1], "head": [HEAD, HEAD]})
    assert found.sensor == "pose"
    assert found.values.shape == (2, 21)
    assert np.isnan(found.values[:, 7:]).all()


def test_null_is_a_missing_value() -> None:
    found = read({"t": [0.5], "imu": [[1, None, 2, 0, 0, 0]]})
    assert found.sensor == "imu"
    assert np.isnan(found.values[0, 1])
    assert found.values[0, 2] == 2


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "t"),
        ({"t": []}, "length >= 1"),
        ({"t": [0.0] * (MAX_FRAMES + 1)}, f"length <= {MAX_FRAMES}"),
        ({"t": [None], "head": [HEAD]}, r"payload\.t"),
        ({"t": ["1"], "head": [HEAD]}, r"payload\.t"),
        ({"t": [1e10], "head": [HEAD]}, "finite seconds"),
        ({"t": [0.0]}, "head or imu"),
        ({"t": [0.0], "left": [HEAD]}, "head or imu"),
        ({"t": [0.0, 1.0], "head": [HEAD]}, "expected 2 rows"),
        ({"t": [0.0], "head": [HEAD[:6]]}, r"payload\.head"),
        ({"t": [0.0], "head": [HEAD], "imu": [[0] * 6]}, "not both"),
        ({"t": [0.0], "head": [HEAD], "gaze": [HEAD]}, "gaze"),
        ({"t": [0.0], "head": [HEAD], "userId": 7}, "userId"),
    ],
)
def test_what_is_no_frames_payload_says_where(body: Any, word: str) -> None:
    with pytest.raises(MessageError, match=word) as caught:
        read(body)
    assert caught.value.reason == "bad_frames"


def test_numbers_past_float32_become_infinite_not_an_error() -> None:
    found = read({"t": [0.0], "head": [[1e300, *HEAD[1:]]]})
    assert np.isinf(found.values[0, 0])


@pytest.mark.parametrize("t", [[np.nan], [np.inf], [-np.inf], [1.1e9]])
def test_frames_without_a_usable_time_cannot_be_made(t: Any) -> None:
    with pytest.raises(MessageError):
        Frames("imu", np.array(t), np.zeros((1, 6), np.float32))


def test_frames_of_another_shape_cannot_be_made() -> None:
    with pytest.raises(MessageError):
        Frames("pose", np.zeros(2), np.zeros((2, 6), np.float32))


@given(st.data(), st.sampled_from(["pose", "imu"]), st.integers(1, 20))
def test_the_wire_carries_six_decimals(data: Any, sensor: Any, n: int) -> None:
    # Within ±1000 (metres, m/s²) six decimals are below the spacing that float32 has there.
    numbers = st.floats(-1000, 1000, width=32) | st.just(np.nan)
    values = data.draw(hnp.arrays(np.float32, (n, COLUMNS[sensor]), elements=numbers))
    sent = Frames(sensor, np.arange(n) / 90, np.round(values.astype(np.float64), 6).astype(np.float32))
    heard = read(frames_as_json(payload(sent)))
    np.testing.assert_array_equal(heard.values, sent.values)
    np.testing.assert_allclose(heard.t, sent.t, atol=5e-7)


def frames_as_json(body: Any) -> Any:
    import msgspec

    return msgspec.json.decode(msgspec.json.encode(body))


def test_rows_and_then_are_inverse() -> None:
    whole = Frames("imu", np.arange(5.0), np.arange(30, dtype=np.float32).reshape(5, 6))
    again = whole.rows(0, 2).then(whole.rows(2))
    np.testing.assert_array_equal(again.values, whole.values)
    assert len(again) == 5
    assert frames.COLUMNS["imu"] == 6
