"""Parquet to events, row group by row group, without a Python object per row.

Owns the two readings of a Parquet file: through a map, or as EVENTS when it already has those columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from guardian.decode.columns import EARLIEST, Decoded, Rejects
from guardian.decode.draft import tidy
from guardian.decode.mapping import Map
from guardian.decode.tables import check_columns, decode_columns, flatten
from guardian.errors import InputError, SchemaError
from guardian.events import EVENTS, check_events


def decode_parquet(
    stream: IO[bytes], mapping: Map | None, latest: int, batch_size: int, place: str
) -> Iterator[tuple[Decoded, pa.Array | None]]:
    """The events of a Parquet file in batches of at most ``batch_size`` rows, in stored order.

    Without a map the file must have the columns of EVENTS.

    Raises:
        InputError: not Parquet, damaged, or without the columns that are needed.
    """
    try:
        with parquet.ParquetFile(stream) as file:
            names = file.schema_arrow.names
            as_events = mapping is None or set(EVENTS.names) <= set(names)
            if mapping is not None and not as_events:
                check_columns(_paths(file.schema_arrow), mapping, place)
            line = 1
            for batch in file.iter_batches(batch_size=batch_size):
                lines = np.arange(line, line + len(batch), dtype=np.int64)
                line += len(batch)
                rejects = Rejects()
                if as_events or mapping is None:
                    yield rejects.decoded(_events(batch, lines, latest, rejects)), None
                else:
                    events, labels = decode_columns(flatten(batch), lines, mapping, latest, rejects)
                    yield rejects.decoded(events), labels
    except SchemaError as error:
        raise InputError(place, f"expected the columns of EVENTS, or a map: {error}") from None
    except pa.ArrowException as error:
        raise InputError(place, f"expected Parquet: {str(error).partition(chr(10))[0]}") from None


def _events(batch: pa.RecordBatch, lines: np.ndarray, latest: int, rejects: Rejects) -> pa.RecordBatch:
    columns = [
        column.cast(EVENTS.field(name).type) if name in EVENTS.names else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    events = check_events(pa.RecordBatch.from_arrays(columns, names=batch.schema.names))
    ts = events.column("ts").cast(pa.int64())
    good = pc.and_(pc.greater_equal(ts, EARLIEST), pc.less_equal(ts, latest))
    bad = lines[~good.to_numpy(zero_copy_only=False)]
    rejects.add_lines(bad, "time_out_of_range", "the time is before 1990, or too far in the future")
    return tidy(events.filter(good) if len(bad) else events)


def _paths(schema: pa.Schema) -> list[str]:
    """Names of the columns, struct columns by the dotted paths of their fields."""
    table = schema.empty_table()
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return list(table.column_names)
