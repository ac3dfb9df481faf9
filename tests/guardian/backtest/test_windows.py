import math
from collections import defaultdict
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.backtest.windows import SCORERS, entity_rows, window_frame
from guardian.events import CHANNELS, SCORES
from scoring import risk

Row = dict[str, Any]


def frame_of(rows: list[Row]) -> pl.DataFrame:
    schema = {
        "event": pl.Int64,
        "ts": pl.Int64,
        "entity": pl.String,
        "risk": pl.Float64,
        "level": pl.Int8,
        "novelty": pl.Float64,
        "label": pl.String,
        "severity": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema)


def naive(rows: list[Row], width: int, warm_until: int) -> list[Row]:
    """The definition of a window, one event after the other."""
    groups: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[math.floor(row["ts"] / width) * width, row["entity"]].append(row)
    result = []
    for (start, entity), members in sorted(groups.items()):
        best = members[0]
        points, severities, labels = [], [], []
        for member in members:
            if member["risk"] > best["risk"]:
                best = member
            points.append(100 * min(max(member["novelty"] / (20 * math.log10(2)), 0), 1))
            severities.append(50 if math.isnan(member["severity"]) else 100 * member["severity"])
            if member["label"] and member["label"] not in labels:
                labels.append(member["label"])
        result.append(
            {
                "start": start,
                "entity": entity,
                "events": len(members),
                "guardian": best["risk"],
                "level": max(member["level"] for member in members),
                "peak_event": best["event"],
                "labels": labels,
                "positive": bool(labels),
                "warm_up": start < warm_until,
                "count": len(members),
                "elastic": risk.elastic_zeta(points),
                "splunk": sum(severities),
                "secops": max(points) + 0.2 * (sum(points) - max(points)),
            }
        )
    return result


rows_strategy = st.lists(
    st.fixed_dictionaries(
        {
            "ts": st.integers(-50, 200),
            "entity": st.sampled_from(["a", "b", ""]),
            "risk": st.sampled_from([0.0, 20.0, 99.5]),
            "level": st.integers(0, 4),
            "novelty": st.floats(-1, 9),
            "label": st.sampled_from(["", "", "x", "y"]),
            "severity": st.sampled_from([math.nan, 0.0, 0.7]),
        }
    ),
    max_size=40,
).map(lambda rows: [{"event": number, **row} for number, row in enumerate(rows)])


@given(rows_strategy, st.sampled_from([1, 7, 60]), st.integers(-60, 210))
def test_windows_are_what_the_definition_says(rows: list[Row], width: int, warm_until: int):
    got = window_frame(frame_of(rows), width, warm_until).to_dicts()
    expected = naive(rows, width, warm_until)
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert set(mine) == set(theirs)
        for key, value in theirs.items():
            assert mine[key] == (pytest.approx(value, abs=1e-9) if key in SCORERS else value), key


def test_windows_tumble_from_1970_and_hold_their_start_but_not_their_end():
    rows = [
        {
            "event": n,
            "ts": ts,
            "entity": "a",
            "risk": 1.0,
            "level": 0,
            "novelty": 0.0,
            "label": "",
            "severity": 0.5,
        }
        for n, ts in enumerate((-1, 0, 9, 10))
    ]
    assert window_frame(frame_of(rows), 10, 0).select("start", "events", "warm_up").rows() == [
        (-10, 1, True),
        (0, 2, False),
        (10, 1, False),
    ]


def test_rows_of_one_role_even_when_a_name_is_used_in_several():
    scores = pa.Table.from_pylist(
        [
            {
                "event": event,
                "ts": event,
                "role": role,
                "entity": name,
                **dict.fromkeys(CHANNELS, 1.0),
                "risk": at,
                "level": 2,
            }
            for event, role, name, at in (
                (0, "actor", "ana", 1.0),
                (0, "target", "ana", 2.0),
                (2, "target", "web", 3.0),
            )
        ],
        schema=SCORES,
    )
    # as the engine does it: one dictionary, a name once per role
    entity = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int32()), pa.array(["ana", "ana", "web"]))
    scores = scores.set_column(3, "entity", pa.chunked_array([entity]))
    rows = entity_rows(scores, pa.array(["x", "y", ""]), pa.array([0.1, 0.2, 0.3]).to_numpy(), "target")
    assert rows.to_dicts() == [
        {
            "event": 0,
            "ts": 0,
            "entity": "ana",
            "risk": 2.0,
            "level": 2,
            "novelty": 2.0,
            "label": "x",
            "severity": 0.1,
        },
        {
            "event": 2,
            "ts": 2,
            "entity": "web",
            "risk": 3.0,
            "level": 2,
            "novelty": 2.0,
            "label": "",
            "severity": 0.3,
        },
    ]
