"""What a backtest is given → EVENTS in event time, and one label an event.

Owns the tolerance of a backtest's input (columns in any order, polars or pyarrow, missing columns, nulls), the
counting of what is left out, and the stable sort by time. Labels leave here apart from the events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from guardian.errors import InputError, SchemaError
from guardian.events import EVENTS

BENIGN: Final = ("", "-", "benign", "normal", "0", "false")
"""Label texts that mean "no attack", in any case. Null, NaN, 0 and false mean it too."""

ATTACK: Final = "attack"
"""The label of an attack that was only given as true or 1."""

_DEFAULTS: Final[dict[str, Any]] = {
    "signal": 0,
    "layer": -1,
    "outcome": 0,
    "severity": float("nan"),
    "value": float("nan"),
    "trace_id": bytes(16),
    "span_id": bytes(8),
    "body": None,
    "attrs": None,
}
_NEEDED: Final = ("ts", "kind")


@dataclass(frozen=True, slots=True)
class Labelled:
    """Events in time order, their labels beside them (empty = benign), and what became of the rest."""

    events: pa.Table
    labels: pa.Array
    read: int
    rejected: dict[str, int]
    late: int
    """Events that came later than the allowed lateness; sorting has put them where they belong."""

    @property
    def ts(self) -> NDArray[np.int64]:
        """Event times, nanoseconds since 1970, rising."""
        times: NDArray[np.int64] = self.events.column("ts").cast(pa.int64()).to_numpy()
        return times


def labelled(events: Any, labels: Any, *, allowed_lateness_s: float) -> Labelled:
    """Events and labels of a polars or pyarrow table.

    Args:
        events: polars ``DataFrame`` or pyarrow ``Table`` or ``RecordBatch`` with columns of EVENTS. Only ``ts`` and
            ``kind`` must be there; other columns and nulls get the value that means "not stated".
        labels: the name of a column, or one label an event: text, true/false or whole numbers.
        allowed_lateness_s: what counts as late, in seconds.

    Raises:
        InputError: neither polars nor pyarrow, or labels that do not fit.
        SchemaError: a column that is needed is missing, or one cannot be read as its type.
    """
    table = _table(events)
    texts = _labels(table, labels)
    ts = _column(table, "ts")
    kind = _column(table, "kind")
    timeless, kindless = _where(pc.is_null(ts)), _where(pc.equal(kind.cast(pa.string()), ""))
    keep = ~(timeless | kindless)
    rejected = {"no_time": int(timeless.sum()), "no_kind": int((kindless & ~timeless).sum())}
    kept = pa.Table.from_arrays(
        [_column(table, field.name).filter(pa.array(keep)) for field in EVENTS],
        schema=pa.schema([field.with_nullable(True) for field in EVENTS], metadata=EVENTS.metadata),
    )
    times = kept.column("ts").cast(pa.int64()).to_numpy()
    order = np.argsort(times, kind="stable")
    return Labelled(
        events=kept.take(pa.array(order)).cast(EVENTS).combine_chunks(),
        labels=texts.filter(pa.array(keep)).take(pa.array(order)),
        read=len(table),
        rejected={reason: count for reason, count in rejected.items() if count},
        late=_late(times, allowed_lateness_s),
    )


def _table(events: Any) -> pa.Table:
    if isinstance(events, pl.LazyFrame):
        events = events.collect()
    if isinstance(events, pl.DataFrame):
        return events.to_arrow(compat_level=pl.CompatLevel.oldest())
    if isinstance(events, pa.RecordBatch):
        return pa.Table.from_batches([events])
    if isinstance(events, pa.Table):
        return events
    raise InputError("events", f"expected a polars or pyarrow table, got {type(events).__name__}")


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    field = EVENTS.field(name)
    if name not in table.column_names:
        if name in _NEEDED:
            raise SchemaError(name, str(field.type), "no such column")
        return _filled(pa.nulls(len(table), _plain(field.type)), name).cast(field.type)
    column = table.column(name)
    try:
        if name == "ts":
            return _utc(column).cast(field.type)
        return _filled(column.cast(_plain(field.type)), name).cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise SchemaError(name, str(field.type), str(column.type)) from None


def _plain(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_dictionary(kind) else kind


def _utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        return column.cast(pa.timestamp(column.type.unit, tz="UTC"))
    if not pa.types.is_timestamp(column.type):
        raise SchemaError("ts", str(EVENTS.field("ts").type), str(column.type))
    return column


def _filled(column: Any, name: str) -> pa.ChunkedArray:
    default = _DEFAULTS.get(name, "")
    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    return chunked if default is None else chunked.fill_null(pa.scalar(default, chunked.type))


def _labels(table: pa.Table, labels: Any) -> pa.Array:
    if isinstance(labels, str):
        if labels not in table.column_names:
            raise InputError("labels", f"no column {labels!r}; the table has {', '.join(table.column_names)}")
        given = table.column(labels)
    elif isinstance(labels, pl.Series):
        given = labels.to_arrow(compat_level=pl.CompatLevel.oldest())
    elif isinstance(labels, pa.Array | pa.ChunkedArray):
        given = labels
    elif isinstance(labels, np.ndarray | Sequence):
        given = pa.array(labels)
    else:
        raise InputError(
            "labels", f"expected a column name or one label an event, got {type(labels).__name__}"
        )
    if len(given) != len(table):
        raise InputError("labels", f"expected one label for each of {len(table)} events, got {len(given)}")
    return _as_text(given.combine_chunks() if isinstance(given, pa.ChunkedArray) else given)


def _as_text(labels: pa.Array) -> pa.Array:
    """Label texts with every way to say "benign" as the empty text, and a bare true or 1 as ``attack``."""
    kind = labels.type
    if pa.types.is_dictionary(kind):
        labels = labels.cast(kind.value_type)
        kind = labels.type
    if pa.types.is_null(kind):
        labels = labels.cast(pa.string())
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        number = labels.cast(pa.float64())
        word = pc.if_else(pc.equal(number, 1.0), ATTACK, labels.cast(pa.string()))
        labels = pc.if_else(pc.fill_null(pc.or_(pc.equal(number, 0.0), pc.is_nan(number)), True), "", word)
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise InputError("labels", f"expected text, true/false or whole numbers, got {kind}")
    words = pc.fill_null(labels.cast(pa.string()), "")
    benign = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(words)), pa.array(BENIGN))
    return pc.if_else(benign, "", words)


def _where(mask: Any) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = mask.to_numpy().astype(np.bool_)
    return found


def _late(times: NDArray[np.int64], allowed_lateness_s: float) -> int:
    if not len(times):
        return 0
    behind = np.maximum.accumulate(times) - times
    return int(np.count_nonzero(behind > allowed_lateness_s * 1e9))
