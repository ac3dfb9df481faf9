"""Parquet: through a map, or as EVENTS."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from guardian.decode.columns import LATEST, batch_of, encoded
from guardian.decode.mapfile import builtin_map
from guardian.decode.parquetfile import decode_parquet
from guardian.errors import InputError
from guardian.events import EVENTS


def stored(table: pa.Table) -> BytesIO:
    out = BytesIO()
    parquet.write_table(table, out, row_group_size=3)
    out.seek(0)
    return out


def decode(table: pa.Table, map_name: str | None = "ait-ads", batch_size: int = 4) -> list[Any]:
    mapping = None if map_name is None else builtin_map(map_name)
    return list(decode_parquet(stored(table), mapping, LATEST, batch_size, "f.parquet"))


def test_rows_come_as_stored_and_keep_their_numbers() -> None:
    table = pa.table(
        {
            "time": [1.7e9, 1.6e9, None, 1.65e9, 5.0],
            "name": list("abcde"),
            "event_label": ["-", "x", "-", "-", "-"],
        }
    )
    parts = decode(table)
    assert [kind for part, _ in parts for kind in part.batch.column("kind").to_pylist()] == ["a", "b", "d"]
    assert [label for _, labels in parts for label in labels.to_pylist()] == ["", "x", ""]
    assert [(each.line, each.reason) for part, _ in parts for each in part.rejected] == [
        (3, "no_time"),
        (5, "time_out_of_range"),
    ]
    assert all(len(part.batch) <= 4 for part, _ in parts)


def test_events_pass_through_with_exact_dictionaries() -> None:
    times = [
        datetime(2023, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2023, 1, 2, tzinfo=UTC),
    ]
    kinds = encoded(pa.array(["a", "b", "c"]))
    batch = batch_of(3, {"ts": pa.array(times, EVENTS.field("ts").type), "kind": kinds})
    for map_name in (None, "ait-ads"):
        ((part, labels),) = decode(
            pa.Table.from_batches([batch]).append_column("more", pa.array([1, 2, 3])), map_name
        )
        assert part.batch.schema == EVENTS
        assert part.batch.column("kind").dictionary.to_pylist() == ["a", "c"]
        assert [(each.line, each.reason) for each in part.rejected] == [(2, "time_out_of_range")]
        assert labels is None


def test_tables_that_cannot_be_events() -> None:
    with pytest.raises(InputError, match="the columns of EVENTS, or a map: column ts"):
        decode(pa.table({"name": ["a"]}), None)
    with pytest.raises(InputError, match="a column time for ts"):
        decode(pa.table({"name": ["a"]}))
    with pytest.raises(InputError, match="expected Parquet"):
        list(decode_parquet(BytesIO(b"PAR1 no"), builtin_map("ecs"), LATEST, 4, "f.parquet"))


def test_a_map_may_name_fields_of_structs() -> None:
    table = pa.table({"@timestamp": [datetime(2023, 1, 1, tzinfo=UTC)], "event": [{"action": "login"}]})
    ((part, _),) = decode(table, "ecs")
    assert part.batch.column("kind").to_pylist() == ["login"]
    assert decode(table.slice(0, 0), "ecs") == [] or len(decode(table.slice(0, 0), "ecs")[0][0].batch) == 0
