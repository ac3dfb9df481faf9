"""The frame of a snapshot against forgers, and constructor parameters; what holds for each detector is in test_laws."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring import HalfSpaceTrees, Loda, RSHash, StreamingHistogram
from scoring.detector import Detector, real, whole
from scoring.snapshots import MAGIC


def fed(kind: Callable[..., Detector]) -> Detector:
    detector = kind(3)
    detector.score_learn(np.random.default_rng(0).standard_normal((300, 3)))
    return detector


def sealed(header: bytes, body: bytes) -> bytes:
    blob = MAGIC + len(header).to_bytes(4, "little") + header + body
    return blob + hashlib.sha256(blob).digest()


def opened(blob: bytes) -> tuple[dict[str, Any], bytes]:
    start = len(MAGIC) + 4
    length = int.from_bytes(blob[len(MAGIC) : start], "little")
    return json.loads(blob[start : start + length]), blob[start + length : -32]


@given(header=st.binary(max_size=60), body=st.binary(max_size=60))
def test_any_header_with_a_right_digest_is_refused_cleanly(header: bytes, body: bytes) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        StreamingHistogram.restore(sealed(header, body))


@pytest.mark.parametrize(
    "change",
    [
        {"features": 4},
        {"features": 10**9},
        {"features": "3"},
        {"parameters": {"half_life": 0}},
        {"parameters": {"half_life": None}},
        {"parameters": {"unknown": 1}},
        {"parameters": [1]},
        {"arrays": []},
        {"arrays": None},
        {"detector": "Loda"},
    ],
)
def test_a_header_that_contradicts_its_arrays_is_refused(change: dict[str, Any]) -> None:
    header, body = opened(fed(StreamingHistogram).snapshot())
    assert StreamingHistogram.restore(sealed(json.dumps(header).encode(), body)).skipped == 0
    with pytest.raises(ValueError, match=r"snapshot|features|half_life"):
        StreamingHistogram.restore(sealed(json.dumps({**header, **change}).encode(), body))


def test_a_header_nested_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="snapshot"):
        Loda.restore(sealed(b"[" * 100_000, b""))


def test_other_things_than_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected bytes, got str"):
        Loda.restore("text")  # type: ignore[arg-type]  # what the test is about


@pytest.mark.parametrize(
    ("kind", "array", "value"),
    [
        (HalfSpaceTrees, "_feature", 3),
        (HalfSpaceTrees, "_feature", -1),
        (HalfSpaceTrees, "_touched", 10**6),
        (HalfSpaceTrees, "_touched_count", 10**6),
        (HalfSpaceTrees, "_leaf", -1),
        (HalfSpaceTrees, "_clock", 10**6),
        (HalfSpaceTrees, "_clock", -1),
        (StreamingHistogram, "_moments", np.nan),
        (Loda, "_moments", np.inf),
        (Loda, "_chosen", 3),
        (Loda, "_chosen", -1),
        (Loda, "_direction", 1e308),
        (Loda, "_direction", np.nan),
        (RSHash, "_moments", np.nan),
        (RSHash, "_chosen", 3),
        (RSHash, "_dimensions", 100),
        (RSHash, "_density", np.nan),
        (RSHash, "_shift", np.inf),
    ],
)
def test_arrays_that_would_lead_a_loop_astray_are_refused(
    kind: Callable[..., Detector], array: str, value: float
) -> None:
    detector = fed(kind)
    getattr(detector, array).flat[0] = value
    with pytest.raises(ValueError, match="contradict each other"):
        type(detector).restore(detector.snapshot())


@pytest.mark.parametrize("wrong", [0, 11, 1.0, "5", None, True, np.float64(5)])
def test_whole_numbers_are_checked(wrong: Any) -> None:
    with pytest.raises(ValueError, match="size: expected a whole number from 1 to 10, got"):
        whole("size", wrong, 1, 10)


def test_numbers_of_numpy_are_taken() -> None:
    assert type(whole("size", np.int32(5), 1, 10)) is int
    assert type(real("rate", np.float32(0.5), 0, 1)) is float
    assert StreamingHistogram(np.int64(2)).snapshot() == StreamingHistogram(2).snapshot()


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan, np.inf, "0", None, False])
def test_numbers_are_checked(wrong: Any) -> None:
    with pytest.raises(ValueError, match="rate: expected a number from 0 to 1, got"):
        real("rate", wrong, 0, 1)
