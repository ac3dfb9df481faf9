"""Columns read together are records read one by one."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decode.columns import LATEST, Rejects
from guardian.decode.linewise import decode_lines
from guardian.decode.mapfile import builtin_map, parse_map
from guardian.decode.tables import check_columns, decode_columns, flatten
from guardian.errors import InputError

MAP = parse_map(
    """
    [[map.ts]]
    field = ["t"]
    unit = "iso8601"
    [[map.ts]]
    field = ["t", "ms"]
    unit = "ms"
    [map.kind]
    field = ["{p}/{id}", "k"]
    template = ["said", "status"]
    otherwise = "layer"
    strip = "x-"
    [map.actor]
    field = ["who", "k"]
    none = ["-"]
    [map.outcome]
    field = "status"
    success = ["ok"]
    [map.severity]
    field = ["level"]
    scale = [0, 10]
    levels = { high = 0.75 }
    [map.value]
    field = ["n", "ms"]
    [map.layer]
    field = "layer"
    [map.trace_id]
    field = "trace"
    [map.label]
    field = ["label", "second"]
    benign = ["-"]
    """
)

texts = st.sampled_from(
    ["", "-", "ok", "high", "x-a", 'é"\\\n', "5", "2023-11-14T22:00:00Z", "1699999200000", "L3", "ab" * 16]
)
names = [
    "t",
    "said",
    "ms",
    "p",
    "id",
    "k",
    "who",
    "status",
    "level",
    "n",
    "layer",
    "trace",
    "label",
    "second",
    "more",
    "message",
]


def rows_of(batch: pa.RecordBatch, labels: pa.Array | None) -> list[dict[str, Any]]:
    stamps = batch.column("ts").cast(pa.int64()).to_pylist()
    rows = [{**row, "ts": ts} for row, ts in zip(batch.drop_columns(["ts"]).to_pylist(), stamps, strict=True)]
    return [
        {**row, "label": label} for row, label in zip(rows, labels.to_pylist() if labels else [], strict=True)
    ]


@given(
    data=st.data(),
    there=st.sets(st.sampled_from(names), min_size=1),
    count=st.integers(0, 6),
)
def test_a_table_is_its_rows_as_json(data: st.DataObject, there: set[str], count: int) -> None:
    columns: dict[str, list[Any]] = {}
    for name in sorted(there):
        kind = data.draw(
            st.sampled_from([texts, st.integers(-5, 5), st.floats(-9, 9, width=16), st.booleans()])
        )
        columns[name] = data.draw(st.lists(st.none() | kind, min_size=count, max_size=count))
    table_rejects, line_rejects = Rejects(), Rejects()
    arrays = {name: pa.array(values) for name, values in columns.items()}
    table = rows_of(*decode_columns(arrays, np.arange(1, count + 1), MAP, LATEST, table_rejects))
    records = [
        {name: columns[name][i] for name in columns if columns[name][i] is not None} for i in range(count)
    ]
    lines: list[bytes | None] = [msgspec.json.encode(record) for record in records]
    expected = rows_of(*decode_lines(lines, 1, MAP, LATEST, line_rejects))
    assert repr(table) == repr(expected)
    assert dict(table_rejects.reasons) == dict(line_rejects.reasons)


def test_nested_and_odd_columns() -> None:
    batch = pa.RecordBatch.from_pylist(
        [
            {
                "@timestamp": datetime(2023, 11, 14, 22, tzinfo=UTC),
                "event": {"action": "login", "duration": 5},
                "host": {"ip": ["10.0.0.1", "10.0.0.2"], "name": "h"},
                "user": {"name": None, "id": 7},
                "source": {"ip": ["10.9.9.9"]},
                "cost": Decimal("1.50"),
                "seen": datetime(2023, 11, 14, tzinfo=UTC),
                "raw": b"\x00",
                "share": math.inf,
            }
        ]
    )
    rejects = Rejects()
    events, _ = decode_columns(flatten(batch), np.array([1]), builtin_map("ecs"), LATEST, rejects)
    (row,) = events.drop_columns(["ts"]).to_pylist()
    assert (row["kind"], row["actor"], row["target"], row["address"]) == ("login", "7", "h", "10.9.9.9")
    assert row["value"] == 5e-9
    assert row["attrs"] == (
        '{"host.ip":["10.0.0.1","10.0.0.2"],"source.ip":["10.9.9.9"],"cost":"1.50","seen":"2023-11-14T00:00:00Z",'
        '"raw":"AA==","share":null}'
    )


def test_dictionary_columns_are_plain_columns() -> None:
    plain = pa.RecordBatch.from_pydict(
        {"time": [1.6e9, 1.6e9], "name": ["a", None], "ip": ["1", "1"], "s": ["x", "y"]}
    )
    coded = pa.RecordBatch.from_arrays(
        [
            column if name == "time" else column.dictionary_encode()
            for name, column in zip(plain.schema.names, plain.columns, strict=True)
        ],
        names=plain.schema.names,
    )
    results = []
    for batch in (plain, coded):
        rejects = Rejects()
        events, labels = decode_columns(
            flatten(batch), np.array([4, 9]), builtin_map("ait-ads"), LATEST, rejects
        )
        results.append((str(events.drop_columns(["ts"]).to_pylist()), str(labels), dict(rejects.reasons)))
    assert results[0] == results[1]
    assert results[0][2] == {"no_kind": 1}


def test_a_table_without_the_columns_of_its_map() -> None:
    with pytest.raises(InputError, match="t: expected a column time for ts, got name"):
        check_columns(["name"], builtin_map("ait-ads"), "t")
    with pytest.raises(InputError, match="expected a column name for kind, got time"):
        check_columns(["time"], builtin_map("ait-ads"), "t")
    check_columns(["t", "id"], MAP, "t")
