"""Tables with columns (CSV, Parquet) to events, without leaving Arrow."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from guardian.decode.columns import Decoded, Rejects, texts
from guardian.decode.mapping import Map
from guardian.events import EVENTS, check_events


def holds_events(schema: pa.Schema) -> bool:
    """Whether a table has the columns of EVENTS already, so that no map is needed."""
    return all(name in schema.names for name in EVENTS.names)


def decode_events(batch: pa.RecordBatch) -> Decoded:
    """A batch that has the columns of EVENTS.

    Raises:
        SchemaError: a column cannot be what EVENTS says.
    """
    columns = [
        column.cast(EVENTS.field(name).type) if name in EVENTS.names else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return Decoded(check_events(pa.RecordBatch.from_arrays(columns, names=batch.schema.names)))


def decode_table(batch: pa.RecordBatch, mapping: Map, *, first_line: int) -> tuple[Decoded, pa.Array | None]:
    """The rows of a table through a map, and their labels when the map has some; line 1 is the first row."""
    rejects = Rejects()
    lines = np.arange(first_line, first_line + len(batch))
    paths = mapping.paths
    fields = {name: batch.column(name) for name in batch.schema.names if name in paths}
    rest = [name for name in batch.schema.names if name not in paths]
    events, labels = mapping.apply(fields, lines, _attrs(batch, rest), received_at=None, rejects=rejects)
    return rejects.decoded(events), labels


def _attrs(batch: pa.RecordBatch, names: list[str]) -> pa.Array | None:
    """The columns nobody mapped as one JSON object a row; each distinct text is written once."""
    if not names:
        return None
    parts: list[pa.Array] = []
    for name in names:
        column = batch.column(name)
        kind = column.type
        if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            value = pc.fill_null(column.cast(pa.string()), "null")
        else:
            words = texts(column).dictionary_encode()
            written = [msgspec.json.encode(word).decode() for word in words.dictionary.to_pylist()]
            value = pa.array(written, pa.string()).take(words.indices)
        parts.append(pc.binary_join_element_wise(msgspec.json.encode(name).decode(), value, ":"))
    joined = pc.binary_join_element_wise(*parts, ",")
    return pc.binary_join_element_wise("{", joined, "}", "")
