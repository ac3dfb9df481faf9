from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.backtest.labelled import labelled
from guardian.errors import InputError, SchemaError
from guardian.events import EVENTS, check_events

SMALLEST = pl.DataFrame({"ts": pl.Series([2, 1], dtype=pl.Datetime("ns", "UTC")), "kind": ["b", "a"]})


def read(events: Any, labels: Any = None) -> Any:
    return labelled(events, ["-"] * len(events) if labels is None else labels, allowed_lateness_s=60.0)


def test_two_columns_are_enough_and_come_back_as_events_in_time_order():
    got = read(SMALLEST, ["late", ""])
    assert got.events.schema.equals(EVENTS)
    assert got.events.column("kind").to_pylist() == ["a", "b"]
    assert got.labels.to_pylist() == ["", "late"]
    assert got.ts.tolist() == [1, 2]
    (batch,) = got.events.to_batches()
    assert check_events(batch).column("layer").to_pylist() == [-1, -1]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["", "-", " - ", None, "Benign", "NORMAL", "0", "False", "dirb"], [""] * 8 + ["dirb"]),
        ([True, False, None], ["attack", "", ""]),
        ([0, 1, 2, None], ["", "attack", "2", ""]),
        (np.array([0.0, 1.0, np.nan]), ["", "attack", ""]),
        (pl.Series(["-", "x"], dtype=pl.Categorical), ["", "x"]),
        (pa.chunked_array([["-"], ["x"]]), ["", "x"]),
        ([None, None], ["", ""]),
    ],
)
def test_ways_to_say_benign(labels: Any, words: list[str]):
    events = pl.DataFrame(
        {
            "ts": pl.Series(range(len(words)), dtype=pl.Datetime("ns")),
            "kind": ["k"] * len(words),
        }
    )
    assert read(events, labels).labels.to_pylist() == words


def test_polars_and_pyarrow_give_the_same():
    frame = SMALLEST.with_columns(label=pl.lit("x"), target=pl.lit("t"), severity=pl.Series([None, 0.5]))
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    forms = [frame, frame.lazy(), table, table.combine_chunks().to_batches()[0]]
    results = [labelled(form, "label", allowed_lateness_s=60.0).events for form in forms]
    assert all(result.equals(results[0]) for result in results[1:]) or np.isnan(
        results[0]["severity"][1].as_py()
    )
    assert [result.drop_columns(["severity", "value"]) for result in results] == [
        results[0].drop_columns(["severity", "value"])
    ] * 4


def test_events_as_the_decoders_make_them(events: Any):
    batch = events([{"ts": 5, "kind": "a", "actor": "ana"}, {"ts": 4, "kind": "b"}])
    assert read(batch).events.column("actor").to_pylist() == ["", "ana"]


def test_what_has_no_time_or_kind_is_left_out_and_counted():
    frame = pl.DataFrame(
        {
            "ts": pl.Series([None, 1, 2, None], dtype=pl.Datetime("us")),
            "kind": ["a", "", "b", None],
            "label": ["x", "y", "z", ""],
        }
    )
    got = labelled(frame, "label", allowed_lateness_s=60.0)
    assert (got.read, len(got.events)) == (4, 1)
    assert got.rejected == {"no_time": 2, "no_kind": 1}
    assert got.labels.to_pylist() == ["z"]


def test_late_events_are_counted_in_the_order_given():
    seconds = [0, 100, 41, 39, 200]
    frame = pl.DataFrame(
        {"ts": pl.Series([s * 10**9 for s in seconds], dtype=pl.Datetime("ns")), "kind": ["k"] * 5}
    )
    assert read(frame).late == 1


@given(st.lists(st.integers(0, 5), max_size=30))
def test_the_sort_is_stable(times: list[int]):
    frame = pl.DataFrame(
        {
            "ts": pl.Series(times, dtype=pl.Datetime("ns")),
            "kind": pl.Series(["k"] * len(times), dtype=pl.String),
            "value": pl.Series(range(len(times)), dtype=pl.Float64),
        }
    )
    got = read(frame).events.column("value").to_pylist()
    assert got == sorted(range(len(times)), key=lambda row: times[row])


@pytest.mark.parametrize(
    ("events", "labels", "place"),
    [
        ({"ts": [1]}, [""], "events"),
        (SMALLEST, "nowhere", "labels"),
        (SMALLEST, ["-"], "labels"),
        (SMALLEST, 7, "labels"),
        (SMALLEST, pa.array([[1], [2]]), "labels"),
    ],
)
def test_what_does_not_fit_is_named(events: Any, labels: Any, place: str):
    with pytest.raises(InputError) as caught:
        labelled(events, labels, allowed_lateness_s=60.0)
    assert caught.value.place == place


@pytest.mark.parametrize(
    ("frame", "column"),
    [
        (SMALLEST.drop("ts"), "ts"),
        (SMALLEST.drop("kind"), "kind"),
        (SMALLEST.with_columns(ts=pl.lit(1.5)), "ts"),
        (SMALLEST.with_columns(ts=pl.lit("2026-01-01")), "ts"),
        (SMALLEST.with_columns(layer=pl.lit("L5")), "layer"),
        (SMALLEST.with_columns(layer=pl.lit(999)), "layer"),
        (SMALLEST.with_columns(severity=pl.lit("high")), "severity"),
        (SMALLEST.with_columns(actor=pl.Series([[1], [2]])), "actor"),
    ],
)
def test_a_column_of_another_type_is_named(frame: pl.DataFrame, column: str):
    with pytest.raises(SchemaError) as caught:
        read(frame)
    assert caught.value.column == column
