"""Where the value of a field stands in EVENTS, and that equal texts are kept once."""

from __future__ import annotations

import json
from typing import Any

from guardian.sigma.fields import Fields, path_hash, places_of
from guardian.sigma.rule import ANY_TEXT


def held(fields: Fields, batch: Any) -> list[dict[str, list[str]]]:
    """What each row has, by field."""
    values = fields.values(batch)
    texts = values.texts.to_pylist()
    found: list[dict[str, list[str]]] = []
    for row in range(len(batch)):
        one: dict[str, list[str]] = {}
        for number in values.value[values.at[row] : values.at[row + 1]].tolist():
            one.setdefault(fields.names[values.field[number]], []).append(texts[number])
        found.append(one)
    return found


def test_members_win_over_the_columns_they_became(events: Any) -> None:
    batch = events(
        [
            {
                "ts": 1,
                "kind": "Sysmon/1",
                "actor": "ana",
                "source": "Sysmon",
                "attrs": json.dumps({"User": "luis"}),
            },
            {"ts": 2, "kind": "GET /a", "actor": "ana"},
        ]
    )
    first, second = held(Fields(["User", "EventID", "Provider_Name", "Image"]), batch)
    assert first == {
        "User": ["luis"],
        "EventID": ["1"],
        "Provider_Name": ["Sysmon", "Microsoft-Windows-Sysmon"],
    }
    assert second == {"User": ["ana"]}


def test_places_by_rank(events: Any) -> None:
    record = {"event_data": {"Image": "inner"}, "NewProcessName": "other"}
    batch = events(
        [{"ts": 1, "attrs": json.dumps(record)}, {"ts": 2, "attrs": json.dumps({**record, "Image": "own"})}]
    )
    assert held(Fields(["Image", "NewProcessName"]), batch) == [
        {"Image": ["inner"], "NewProcessName": ["other"]},
        {"Image": ["own"], "NewProcessName": ["other"]},
    ]
    assert places_of("Image")[4] == "NewProcessName"
    assert path_hash("a.b") != path_hash("a") != path_hash("b")


def test_equal_texts_are_kept_once(events: Any) -> None:
    batch = events([{"ts": at, "attrs": json.dumps({"A": "x" * 20, "B": "x" * 20})} for at in range(50)])
    values = Fields(["A", "B"]).values(batch)
    assert values.texts.to_pylist() == ["x" * 20] * 2
    assert len(values.value) == 100


def test_a_slice_has_the_values_of_its_rows(events: Any) -> None:
    batch = events([{"ts": at, "kind": f"k{at}", "attrs": json.dumps({"A": at})} for at in range(20)])
    fields = Fields(["A", "kind"])
    assert held(fields, batch.slice(7, 5)) == held(fields, batch)[7:12]
    assert held(fields, batch.slice(3, 0)) == []


def test_every_text_is_a_keyword(events: Any) -> None:
    batch = events(
        [{"ts": 1, "kind": "k", "body": "b", "attrs": json.dumps({"x": [{"y": 1}, "z"], "n": None})}]
    )
    (found,) = held(Fields([ANY_TEXT]), batch)
    assert sorted(found[ANY_TEXT]) == ["1", "b", "k", "z"]


def test_numbers_are_written_as_numbers(events: Any) -> None:
    batch = events([{"ts": 1, "value": 3.0, "severity": 0.25}, {"ts": 2, "value": float("inf")}, {"ts": 3}])
    assert held(Fields(["value", "severity"]), batch) == [
        {"severity": ["0.25"], "value": ["3"]},
        {"value": ["inf"]},
        {},
    ]
