"""Which rule matches which event: by the specification, by a slow twin, and by pySigma's SQLite backend."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sigma.match import Matcher
from guardian.sigma.parse import parse
from guardian.sigma.program import compiled

sys.path.insert(0, str(Path(__file__).parents[2]))
import twins_sigma

ROOT = Path(__file__).parents[3]


def rule_text(detection: dict[str, Any], **more: Any) -> str:
    told = {
        "title": "A rule",
        "level": "high",
        "logsource": {"product": "any"},
        "detection": detection,
        **more,
    }
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True)


def matched(detections: list[dict[str, Any]], batch: pa.RecordBatch, seed: int = 0) -> set[tuple[int, int]]:
    texts = {f"{at:04}.yml": rule_text(each, title=f"Rule {at}") for at, each in enumerate(detections)}
    rules = parse(texts)
    assert [str(each) for each in rules.refused] == []
    matcher = Matcher(compiled(rules), seed)
    row, rule = matcher.matches(matcher.fields.values(batch))
    numbers = [int(each.about.name.split()[1]) for each in rules.rules]
    return {(at, numbers[number]) for at, number in zip(row.tolist(), rule.tolist(), strict=True)}


def one(events: Any, selection: Any, condition: str = "s", **row: Any) -> bool:
    attrs = row.pop("attrs", {})
    batch = events([{"ts": 1, "attrs": json.dumps(attrs), **row}])
    return bool(matched([{"s": selection, "condition": condition}], batch))


@pytest.mark.parametrize(
    ("selection", "attrs", "expected"),
    [
        ({"A": "value"}, {"A": "VALUE"}, True),
        ({"A": "value"}, {"A": "values"}, False),
        ({"A": "ÑANDÚ"}, {"A": "ñandú"}, True),
        ({"A": "a*c"}, {"A": "abbbc"}, True),
        ({"A": "a?c"}, {"A": "añc"}, True),
        ({"A": "a?c"}, {"A": "ac"}, False),
        ({"A": r"a\*c"}, {"A": "a*c"}, True),
        ({"A": r"a\*c"}, {"A": "abc"}, False),
        ({"A": r"C:\Windows\\*"}, {"A": r"c:\windows\cmd.exe"}, True),
        ({"A": r"\\?"}, {"A": "\\x"}, True),
        ({"A": ["x", "y"]}, {"A": "y"}, True),
        ({"A|contains": "b"}, {"A": "abc"}, True),
        ({"A|contains|all": ["a", "c"]}, {"A": "abc"}, True),
        ({"A|contains|all": ["a", "d"]}, {"A": "abc"}, False),
        ({"A|startswith": "ab"}, {"A": "ABC"}, True),
        ({"A|endswith": "bc"}, {"A": "ABC"}, True),
        ({"A|endswith": "ab"}, {"A": "ABC"}, False),
        ({"A|cased": "abc"}, {"A": "ABC"}, False),
        ({"A|contains|cased": "Bc"}, {"A": "aBc"}, True),
        ({"A|re": "^a.c$"}, {"A": "abc"}, True),
        ({"A|re": "^A"}, {"A": "abc"}, False),
        ({"A|re|i": "^A"}, {"A": "abc"}, True),
        ({"A|cidr": "10.0.0.0/9"}, {"A": "10.127.1.1"}, True),
        ({"A|cidr": "10.0.0.0/9"}, {"A": "10.128.1.1"}, False),
        ({"A|cidr": "2001:db8::/33"}, {"A": "2001:db8:1::1"}, True),
        ({"A|cidr": "10.0.0.0/8"}, {"A": "10.x"}, False),
        ({"A|base64": "secret"}, {"A": "c2VjcmV0"}, True),
        ({"A|base64offset|contains": "secret"}, {"A": "YSBzZWNyZXQ="}, True),
        ({"A|windash|contains": " -f"}, {"A": "x /f"}, True),
        ({"A|windash|contains": " -f"}, {"A": "x –f"}, True),
        ({"A|exists": True}, {"A": ""}, True),
        ({"A|exists": True}, {"A": None}, False),
        ({"A|exists": False}, {"B": 1}, True),
        ({"A": None}, {}, True),
        ({"A": None}, {"A": None}, True),
        ({"A": None}, {"A": "x"}, False),
        ({"A": ""}, {"A": ""}, True),
        ({"A": ""}, {}, False),
        ({"A": "*"}, {"A": ""}, True),
        ({"A": "?*"}, {"A": ""}, False),
        ({"A": 5}, {"A": 5}, True),
        ({"A": 5}, {"A": "5"}, True),
        ({"A": "5"}, {"A": 5}, True),
        ({"A": 5}, {"A": 5.0}, True),
        ({"A": 5}, {"A": 55}, False),
        ({"A|lt": 5}, {"A": 4.5}, True),
        ({"A|lte": 5}, {"A": 5}, True),
        ({"A|gt": 5}, {"A": "text"}, False),
        ({"A|gte": -5}, {"A": -5}, True),
        ({"A|neq": "x"}, {"A": "y"}, True),
        ({"A|neq": "x"}, {"A": "x"}, False),
        ({"A": True}, {"A": True}, True),
        ({"A": True}, {"A": False}, False),
        ({"A|fieldref": "B"}, {"A": "x", "B": "X"}, True),
        ({"A|fieldref": "B"}, {"A": "x", "B": "y"}, False),
        ({"A|fieldref": "B"}, {"A": "x"}, False),
        ({"A|fieldref|endswith": "B"}, {"A": "xy", "B": "y"}, True),
        ({"a.b": "x"}, {"a": {"b": "x"}}, True),
        ({"a.b": "x"}, {"a.b": "x"}, True),
        ({"A": "y"}, {"A": ["x", "y"]}, True),
        ({"A": "x"}, {"A": [{"A": "x"}]}, False),
        ({"Image|endswith": "cmd.exe"}, {"winlog": {"event_data": {"Image": "c:\\cmd.exe"}}}, True),
        ({"Image": "a"}, {"Image": "a", "NewProcessName": "b"}, True),
        ({"Image": "b"}, {"Image": "a", "NewProcessName": "b"}, False),
        (["needle"], {"deep": [{"x": "a NEEDLE b"}]}, True),
        (["needle"], {"needle": "x"}, False),
        (["a*b"], {"x": "zaxxbz"}, True),
        ({"A": "x", "B": "y"}, {"A": "x", "B": "y"}, True),
        ({"A": "x", "B": "y"}, {"A": "x"}, False),
        ([{"A": "x"}, {"B": "y"}], {"B": "y"}, True),
    ],
)
def test_values_and_modifiers(events: Any, selection: Any, attrs: dict[str, Any], expected: bool) -> None:
    assert one(events, selection, attrs=attrs) is expected
    event = {"attrs": json.dumps(attrs)}
    if not any("Image" in key for key in attrs):
        assert twins_sigma.matches({"s": selection, "condition": "s"}, event) is expected


def test_expressions_fold_letters_beyond_ascii(events: Any) -> None:
    assert one(events, {"A|re|i": "es"}, attrs={"A": "eſ"})
    assert not one(events, {"A|re|i": "ez"}, attrs={"A": "eſ"})


def test_columns_are_fields(events: Any) -> None:
    row = {"source": "identity", "kind": "Sysmon/11", "actor": "ana", "address": "10.0.0.1", "outcome": 3}
    assert one(events, {"source": "Identity", "actor": "ana", "outcome": "denied"}, **row)
    assert one(events, {"EventID": 11, "User": "ana", "IpAddress|cidr": "10.0.0.0/8"}, **row)
    assert one(events, {"EventID": 12}, attrs={"EventID": 12}, **row)
    assert not one(events, {"EventID": 11}, attrs={"EventID": 12}, **row)
    assert one(events, {"severity|gte": 0.5, "value": 3}, severity=0.75, value=3.0)
    assert not one(events, {"severity|lt": 2}, **row)
    assert one(events, {"target": None}, **row)
    assert one(events, {"layer": "L5"}, layer=5)
    assert one(events, {"layer": None})
    assert one(events, ["rejected login"], body="A Rejected Login of ana")


def test_conditions(events: Any) -> None:
    batch = events([{"ts": 1, "attrs": json.dumps({"A": "x", "B": "y"})}])
    detection = {"sel_a": {"A": "x"}, "sel_b": {"B": "z"}, "other": {"C": "w"}}
    for condition, expected in {
        "sel_a and not sel_b": True,
        "1 of sel_*": True,
        "all of sel_*": False,
        "1 of them": True,
        "not 1 of other": True,
        "not (sel_a or sel_b)": False,
        "sel_b or other or sel_a": True,
        "not all of them": True,
    }.items():
        assert bool(matched([{**detection, "condition": condition}], batch)) is expected, condition


@pytest.mark.parametrize(
    "attrs",
    ["", "x", "{", '{"A":', '{"A":"x"', '{"A":"x"]', "[1]", '{"A" "x"}', "{]", '{"A":}', '{"A":"\\u12'],
)
def test_what_is_no_object_has_no_members(events: Any, attrs: str) -> None:
    assert not matched([{"s": {"A|exists": True}, "condition": "s"}], events([{"ts": 1, "attrs": attrs}]))


@given(st.binary(max_size=80), st.integers(0, 3))
@settings(max_examples=300)
def test_any_bytes_are_read_without_harm(events: Any, noise: bytes, cut: int) -> None:
    text = '{"A":"x","B":[' + noise.decode("utf-8", "replace")
    batch = events([{"ts": 1, "attrs": text[cut:]}, {"ts": 2, "attrs": '{"A":"x"}'}])
    assert (1, 0) in matched([{"s": {"A": "x"}, "condition": "s"}], batch)


def test_deep_and_escaped_members_are_found(events: Any) -> None:
    deep = json.loads("[" * 200 + "]" * 200)
    assert one(events, {"Z": 'a"\\\n\té😀'}, attrs={"deep": deep, "Z": 'a"\\\n\té😀'})


# -- random rules and events ------------------------------------------------------------------------------------------

WORDS = (
    "cmd",
    "CMD.exe",
    "\\Temp\\",
    "-enc",
    "a",
    "",
    "ñ",
    "Ñandú",
    "10.1.2.3",
    "7",
    "x*y",
    "a?",
    "\\\\srv",
    "'quote",
    "%like_",
    "5.0",
)
FIELDS = ("A", "B", "User", "kind", "a.b")


def random_detection(draw: random.Random) -> dict[str, Any]:
    def value() -> Any:
        return draw.choice([*WORDS, *WORDS, 7, 5, None, True])

    def text() -> str:
        return draw.choice(["*", "", ""]) + draw.choice(WORDS) + draw.choice(["*", "?", "", ""])

    def entry() -> tuple[str, Any]:
        field, kind = draw.choice(FIELDS), draw.randrange(11)
        if kind < 3:
            return field, [value() for _ in range(draw.randrange(1, 4))]
        if kind < 6:
            modifier = draw.choice(
                [
                    "contains",
                    "startswith",
                    "endswith",
                    "contains|all",
                    "cased",
                    "contains|cased",
                    "windash|contains",
                ]
            )
            return f"{field}|{modifier}", [text() for _ in range(draw.randrange(1, 3))]
        if kind == 6:
            return f"{field}|re", draw.choice(["^c.d", "[a-z]{3}", "(cmd|temp)", r"\\", "x.*y", r"\d+", "^$"])
        if kind == 7:
            return f"{field}|{draw.choice(['lt', 'lte', 'gt', 'gte'])}", draw.choice([5, 7, -1, 4.5])
        if kind == 8:
            return f"{field}|exists", draw.choice([True, False])
        if kind == 9:
            return f"{field}|cidr", draw.choice(["10.0.0.0/8", "10.1.2.3/32", "10.0.0.0/15"])
        return f"{field}|fieldref", draw.choice(["A", "B"])

    def selection() -> Any:
        made = dict(entry() for _ in range(draw.randrange(1, 4)))
        return [made, dict([entry()])] if draw.random() < 0.2 else made

    detection: dict[str, Any] = {f"s{at}": selection() for at in range(draw.randrange(1, 4))}
    terms = [draw.choice(["", "", "not "]) + name for name in detection]
    condition = terms[0]
    for term in terms[1:]:
        condition = f"{draw.choice(['', 'not '])}({condition} {draw.choice(['and', 'or'])} {term})"
    if draw.random() < 0.3:
        condition = draw.choice(["1 of s*", "all of them", "not 1 of them"])
    return {**detection, "condition": condition}


def random_rows(draw: random.Random, count: int, *, lists: bool = True) -> list[dict[str, Any]]:
    def value() -> Any:
        chosen = draw.choice(
            [*WORDS, "CMD.EXE", "xzzy", "ab", "c:\\temp\\cmd.exe", 7, 5, 4.5, -1, 10.25, None, True, False]
        )
        return [chosen, draw.choice(WORDS)] if lists and draw.random() < 0.1 else chosen

    rows = []
    for _ in range(count):
        record: dict[str, Any] = {
            name: value() for name in ("A", "B", "User", "noise") if draw.random() < 0.7
        }
        if draw.random() < 0.5:
            record["a"] = {"b": value(), "c": {"b": value()}}
        row = {"ts": 1, "attrs": json.dumps(record, ensure_ascii=draw.random() < 0.5)}
        row |= {"kind": draw.choice(["cmd", "", "Sysmon/7", "ñ"]), "actor": draw.choice(["", "ana", "CMD"])}
        rows.append(row)
    return rows


@given(st.integers(0, 2**32))
@settings(max_examples=25)
def test_as_the_slow_twin(events: Any, seed: int) -> None:
    draw = random.Random(seed)
    detections = [random_detection(draw) for _ in range(40)]
    rows = random_rows(draw, 60)
    found = matched(detections, events(rows), seed)
    expected = {
        (at, number)
        for at, row in enumerate(rows)
        for number, detection in enumerate(detections)
        if twins_sigma.matches(detection, row)
    }
    wrong = sorted(found ^ expected)[:1]
    assert not wrong, (detections[wrong[0][1]], rows[wrong[0][0]], wrong[0] in found)


def test_a_batch_matches_as_its_rows_do(events: Any) -> None:
    draw = random.Random(5)
    detections = [random_detection(draw) for _ in range(40)]
    batch = events(random_rows(draw, 200))
    whole = matched(detections, batch)
    parts = {
        (at + start, rule)
        for start, stop in ((0, 70), (70, 71), (71, 200))
        for at, rule in matched(detections, batch.slice(start, stop - start))
    }
    assert parts == whole
    assert len({at for at, _ in whole}) > 10
