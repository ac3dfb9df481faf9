"""Snapshots: the same bytes for the same arrays, and nothing taken from damaged or foreign ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.snapshots import MAGIC, opened, packed, refill

ARRAYS = {"a": np.arange(3.0), "b": np.array([[1, 2]], np.int64)}
BLOB = packed("Thing", {"size": 3}, ARRAYS)


def test_what_was_packed_comes_back() -> None:
    empty = {name: np.zeros_like(array) for name, array in ARRAYS.items()}
    header, body = opened(BLOB, "Thing")
    refill(empty, header, body)
    assert header["size"] == 3
    assert all((empty[name] == ARRAYS[name]).all() for name in ARRAYS)
    assert packed("Thing", {"size": 3}, empty) == BLOB


def test_byte_order_of_the_machine_does_not_matter() -> None:
    foreign = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in ARRAYS.items()}
    assert packed("Thing", {"size": 3}, foreign) == BLOB


def test_other_names_and_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a Other, got a Thing"):
        opened(BLOB, "Other")
    header, body = opened(BLOB, "Thing")
    with pytest.raises(ValueError, match="got others"):
        refill({"a": np.zeros(4), "b": ARRAYS["b"].copy()}, header, body)
    with pytest.raises(ValueError, match="expected bytes, got str"):
        opened("text", "Thing")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="begin with"):
        opened(b"pickle", "Thing")


@given(at=st.integers(0, len(BLOB) - 1), change=st.integers(1, 255))
def test_any_changed_byte_is_noticed(at: int, change: int) -> None:
    damaged = BLOB[:at] + bytes([BLOB[at] ^ change]) + BLOB[at + 1 :]
    with pytest.raises(ValueError, match="snapshot"):
        opened(damaged, "Thing")


@given(length=st.integers(0, len(BLOB) - 1))
def test_any_cut_is_noticed(length: int) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        opened(BLOB[:length], "Thing")


@given(tail=st.binary(max_size=60))
def test_anything_behind_the_magic_is_refused(tail: bytes) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        opened(MAGIC + tail, "Thing")
