"""Single JSON values as text and as numbers: one reading for records, tables and OpenTelemetry attributes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from guardian.decode.times import Floats


def scalar_text(value: Any) -> str:
    """The text of a JSON scalar, as JSON writes it; empty for null, objects and lists."""
    if type(value) is str:
        return value
    if value is None or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def number(value: Any) -> float:
    """A finite number, or a text that is one; NaN for anything else."""
    if type(value) not in {float, int, str}:
        return math.nan
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def finite(values: Floats) -> Floats:
    """The values with NaN for infinities."""
    return np.where(np.isfinite(values), values, np.nan)
