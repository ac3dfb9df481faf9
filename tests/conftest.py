"""Fixtures that several test modules share: where public data lies, and small batches of events."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings

from guardian.events import EVENTS, ROLES

# No test asserts a time, and the first call of a kernel compiles it.
settings.register_profile("guardian", deadline=None)
settings.load_profile("guardian")

ROOT = Path(__file__).parent.parent

MakeEvents = Callable[..., pa.RecordBatch]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets that is kept outside the project."""
    folder = Path(os.environ.get("GUARDIAN_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"public data sets are not here: no folder {folder}")
    return folder


def make_events(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """EVENTS from short dictionaries; ``ts`` in seconds since 1970, everything else as its column or left out."""

    def texts(name: str) -> pa.Array:
        return pa.array([row.get(name, "") for row in rows], pa.string()).dictionary_encode()

    def numbers(name: str, default: float, kind: pa.DataType) -> pa.Array:
        return pa.array([row.get(name, default) for row in rows], kind)

    columns = {
        "ts": pa.array([int(row["ts"] * 1e9) for row in rows], pa.int64()).cast(EVENTS.field("ts").type),
        "signal": numbers("signal", 0, pa.int8()),
        "layer": numbers("layer", -1, pa.int8()),
        "source": texts("source"),
        "kind": texts("kind"),
        **{role: texts(role) for role in ROLES},
        "outcome": numbers("outcome", 0, pa.int8()),
        "severity": numbers("severity", np.nan, pa.float64()),
        "value": numbers("value", np.nan, pa.float64()),
        "trace_id": pa.array([row.get("trace_id", bytes(16)) for row in rows], pa.binary(16)),
        "span_id": pa.array([bytes(8)] * len(rows), pa.binary(8)),
        "body": pa.array([row.get("body") for row in rows], pa.string()),
        "attrs": pa.array([row.get("attrs") for row in rows], pa.string()),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in EVENTS.names], schema=EVENTS)


@pytest.fixture(scope="session")
def events() -> MakeEvents:
    """``make_events`` for tests that cannot import from here."""
    return make_events
