"""The three tables that everything passes through: EVENTS in, SCORES and ALERTS out.

Owns the columns, their types and their meaning, and the small closed vocabularies (signals, outcomes, roles,
channels). A change here is a new version, a line in the changelog and a reader for the old one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import pyarrow as pa

from guardian.errors import SchemaError

EVENTS_VERSION: Final = "events/1"

TEXT: Final = pa.dictionary(pa.int32(), pa.string())
"""Repeated text: names of services, kinds and entities."""

ROLES: Final = ("actor", "address", "target", "session")
"""The four ways in which an event can concern somebody or something. Each role keeps its own state."""


class Signal(IntEnum):
    """What sort of report an event is (column ``signal``)."""

    LOG = 0
    SPAN = 1
    XR = 2
    DECISION = 3
    ALERT = 4


class Outcome(IntEnum):
    """How what happened ended (column ``outcome``)."""

    UNKNOWN = 0
    SUCCESS = 1
    FAILURE = 2
    DENIED = 3


CHANNELS: Final = (
    "novelty",
    "rarity",
    "burst",
    "persistence",
    "seasonal",
    "multivariate",
    "rule",
    "failure",
    "fan_out",
    "value",
    "sequence",
    "pairing",
)
"""The channels of SCORES, in order. Each is a surprisal: −log10 of a rate. ``seasonal`` alone can be negative: at an
hour at which the kind is usual it speaks for the event. ``rule`` is a level, 0…4."""

CONTEXT: Final = "context"
"""The one contribution of an alert that is not a channel: an incident that spreads from other entities."""

LAYERS: Final = tuple(f"L{number}" for number in range(8))

EVENTS: Final = pa.schema(
    [
        pa.field("ts", pa.timestamp("ns", tz="UTC"), nullable=False),
        pa.field("signal", pa.int8(), nullable=False),
        pa.field("layer", pa.int8(), nullable=False),
        pa.field("source", TEXT, nullable=False),
        pa.field("kind", TEXT, nullable=False),
        *(pa.field(role, TEXT, nullable=False) for role in ROLES),
        pa.field("outcome", pa.int8(), nullable=False),
        pa.field("severity", pa.float64(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("trace_id", pa.binary(16), nullable=False),
        pa.field("span_id", pa.binary(8), nullable=False),
        pa.field("body", pa.string()),
        pa.field("attrs", pa.string()),
    ],
    metadata={"version": EVENTS_VERSION},
)
"""One row an event. Hot columns are never null; an empty string is no entity; NaN is not stated.

An empty ``kind`` means "named by the template of its body" (``guardian.templates``): the engine names it, in the order of
the events. Without a body either, the event keeps the empty kind, a kind like any other.
"""

SCORES: Final = pa.schema(
    [
        pa.field("event", pa.int64(), nullable=False),
        pa.field("ts", pa.timestamp("ns", tz="UTC"), nullable=False),
        pa.field("role", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("entity", TEXT, nullable=False),
        *(pa.field(channel, pa.float32(), nullable=False) for channel in CHANNELS),
        pa.field("risk", pa.float64(), nullable=False),
        pa.field("level", pa.int8(), nullable=False),
    ],
    metadata={"version": "scores/2"},
)
"""One row for each event and each role in which it names an entity, in the order of the events, then of ROLES.

``event`` counts from 0 over everything that the engine was ever fed; ``risk`` is the guardian score, 0…100. Where the end
of a window raises an entity's score, because of what happened around it since its own events, one row more says so: at
the last nanosecond of the window, for the entity's last event, without surprisals of its own.
"""

REASON: Final = pa.struct(
    [
        pa.field("channel", pa.string(), nullable=False),
        pa.field("contribution", pa.float64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("event", pa.int64(), nullable=False),
        pa.field("without", pa.float64(), nullable=False),
    ]
)
"""One part of a score: how many points, from which channel and kind, one event that shows it (−1 = none), and the
score that would stand without the channel."""

ALERTS: Final = pa.schema(
    [
        pa.field("alert_id", pa.binary(16), nullable=False),
        pa.field("ts", pa.timestamp("ns", tz="UTC"), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("entity", pa.string(), nullable=False),
        pa.field("layer", pa.int8(), nullable=False),
        pa.field("level_from", pa.int8(), nullable=False),
        pa.field("level_to", pa.int8(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("extrapolated", pa.bool_(), nullable=False),
        pa.field("reasons", pa.list_(REASON), nullable=False),
        pa.field("event", pa.int64(), nullable=False),
        pa.field("trace_id", pa.binary(16), nullable=False),
        pa.field("config", pa.string(), nullable=False),
    ],
    metadata={"version": "alerts/2"},
)
"""One row each time an entity's level rises. The contributions of ``reasons`` sum to ``score``.

``extrapolated``: behaviour alone gave a score above what the data behind the calibration could confirm.
"""


def check_events(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same batch, once it is certain that it has the columns of EVENTS and no nulls where none may be.

    Columns may come in any order; further columns are left out.

    Raises:
        SchemaError: a column is missing, has another type, or holds nulls.
    """
    columns: list[Any] = []
    for field in EVENTS:
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            raise SchemaError(field.name, str(field.type), "no such column")
        column = batch.column(index)
        if column.type != field.type:
            raise SchemaError(field.name, str(field.type), str(column.type))
        if not field.nullable and column.null_count:
            raise SchemaError(field.name, "no nulls", f"{column.null_count} nulls")
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=EVENTS)
