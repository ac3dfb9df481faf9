"""Single values: as JSON writes them, and as finite numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decode.scalars import finite, number, scalar_text


def test_scalars_as_json_writes_them() -> None:
    values: list[Any] = ["a", True, False, None, 1, 1.5, 2**70, [], {}]
    texts = ["a", "true", "false", "", "1", "1.5", str(2**70), "", ""]
    assert [scalar_text(value) for value in values] == texts


@given(st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_number_is_its_text(value: float) -> None:
    assert number(value) == number(scalar_text(value)) == value


@pytest.mark.parametrize(
    "value", [None, True, "", "fast", [1], {}, math.inf, "-inf", "nan", 10**400, "1e400"]
)
def test_what_is_no_finite_number(value: Any) -> None:
    assert math.isnan(number(value))


def test_infinities_are_not_stated() -> None:
    assert np.array_equal(finite(np.array([1.0, np.inf, -np.inf])), [1.0, np.nan, np.nan], equal_nan=True)
