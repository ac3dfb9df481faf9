"""Records read together are records read alone, and both are what the slow twin says."""

from __future__ import annotations

import copy
import math
from typing import Any

import msgspec
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from guardian.decode.columns import LATEST, Rejects
from guardian.decode.draft import finish
from guardian.decode.mapfile import parse_map
from guardian.decode.mapping import TEXT_COLUMNS, Map, Message, Path, Template, Text
from guardian.decode.records import Columns
from guardian.decode.scalars import scalar_text
from guardian.decode.shapes import understood
from guardian.decode.times import GOOD, looks_iso, number_ns, objects_ns

MAP = parse_map(
    """
    [[map.ts]]
    field = ["t", "at.t"]
    unit = "iso8601"
    [[map.ts]]
    field = ["t", "ms"]
    unit = "ms"
    [map.kind]
    field = ["{p}/{id}", "k", "deep.k"]
    template = ["text", "deep.text"]
    otherwise = ["who", "{status}!"]
    strip = "x-"
    [map.actor]
    field = ["who", "deep.who", "a.b"]
    none = ["-"]
    [map.target]
    field = ["host", "who"]
    [map.outcome]
    field = "status"
    success = ["ok", "true", "1"]
    [map.severity]
    field = ["level", "k"]
    scale = [0, 10]
    levels = { high = 0.75 }
    [map.value]
    field = ["ms", "deep.n"]
    factor = 0.001
    [map.label]
    field = ["label", "deep.label"]
    benign = ["-"]
    """
)

scalars = st.sampled_from(
    [
        "",
        "-",
        "ok",
        "high",
        "x-a",
        'é"\\',
        1,
        1.0,
        True,
        0,
        -7.5,
        2**70,
        None,
        "2023-11-14T22:00:00Z",
        "1699999200000",
    ]
)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=2),
    st.dictionaries(st.sampled_from(["k", "who", "n", "t", "label", "b", "text"]), scalars, max_size=3),
)
names = [
    "t",
    "at",
    "ms",
    "p",
    "id",
    "k",
    "deep",
    "who",
    "a.b",
    "a",
    "host",
    "status",
    "level",
    "label",
    "more",
    "message",
    "text",
]
records = st.lists(st.dictionaries(st.sampled_from(names), values, max_size=8), max_size=8)
sparse = st.lists(
    st.fixed_dictionaries(
        {"t": st.sampled_from(["2023-11-14T22:00:00Z", "x", 1]), "p": scalars, "id": scalars, "who": scalars}
    ),
    max_size=6,
)


def walk(record: dict[str, Any], path: Path) -> Any:
    found = record.get(path.name)
    if found is None and path.parts:
        found = record
        for part in path.parts:
            found = found.get(part) if isinstance(found, dict) else None
    return found


def first_text(record: dict[str, Any], text: Text) -> tuple[str, tuple[str, ...], bool]:
    for each in text.alternatives:
        entry = each.path if isinstance(each, Message) else each
        if isinstance(entry, Template):
            pieces = [scalar_text(walk(record, path)) for path in entry.paths]
            joined = entry.literals[0] + "".join(
                a + b for a, b in zip(pieces, entry.literals[1:], strict=True)
            )
            found, used = (joined if all(pieces) else ""), tuple(path.name for path in entry.paths)
        else:
            value = walk(record, entry)
            is_list = isinstance(value, list)
            found = scalar_text((value[0] if value else None) if is_list else value)
            used = () if is_list else (entry.name,)
        if found and found not in text.none:
            return found, used, isinstance(each, Message)
    return "", (), False


def drop(record: dict[str, Any], name: str) -> None:
    if name in record:
        del record[name]
    elif "." in name:
        head, _, tail = name.partition(".")
        if isinstance(record.get(head), dict):
            drop(record[head], tail)
            if not record[head]:
                del record[head]


def twin(record: dict[str, Any], mapping: Map) -> dict[str, Any] | None:
    """One record through a map, as plainly as it can be said; None = rejected."""
    rest = copy.deepcopy(record)
    used: list[str] = [path.name for path in mapping.label.alternatives] if mapping.label else []
    ts, verdict, seen = 0, 1, False
    for time in mapping.ts:
        for path in time.alternatives:
            value = walk(record, path)
            if value is None or value == "" or verdict == GOOD or seen:
                continue
            fits = (isinstance(value, str) and looks_iso(value)) == (time.unit == "iso8601")
            if not fits:
                verdict = 2
                continue
            if time.unit == "iso8601":
                ns, verdicts = objects_ns([value], "iso8601", LATEST)
                ts, verdict = int(ns[0]), int(verdicts[0])
            else:
                ts, verdict = number_ns(value, time.unit, LATEST)
            used.append(path.name)
            seen = True
            break
        if seen:
            break
    row: dict[str, Any] = {"ts": ts}
    told = ""
    for name in TEXT_COLUMNS:
        row[name], names_used, message = first_text(record, mapping.texts[name])
        if message:
            told, row[name] = row[name], ""
        row[name] = row[name].removeprefix(mapping.texts[name].strip) or row[name]
        used += names_used
    for name, text in (("outcome", mapping.outcome.text), ("severity", mapping.severity.text)):
        found, names_used, _ = first_text(record, text)
        row[name] = int(mapping.outcome.read(found)) if name == "outcome" else mapping.severity.read(found)
        says_all = understood(mapping, name)
        if found and says_all is not None and says_all(found):
            used += names_used
    row["value"] = math.nan
    for path in mapping.value.alternatives:
        value = walk(record, path)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except ValueError:
                continue
            row["value"] = number * mapping.value.factor
            used.append(path.name)
            break
    body, names_used, _ = (told, (), False) if told else first_text(record, mapping.body)
    row["body"] = body or None
    used += names_used
    for name in set(used):
        drop(rest, name)
    row["attrs"] = msgspec.json.encode(rest).decode() if rest else None
    row["kind"] = row["kind"] if row["kind"].strip() else ""
    return row if verdict == GOOD and (row["kind"] or body.strip()) else None


def read(some: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str] | None, dict[str, int]]:
    columns = Columns(MAP)
    columns.add(copy.deepcopy(some), list(range(1, len(some) + 1)))
    rejects = Rejects()
    batch, labels = finish(columns.draft(LATEST), rejects)
    stamps = batch.column("ts").cast(pa.int64()).to_pylist()
    rows = [{**row, "ts": ts} for row, ts in zip(batch.drop_columns(["ts"]).to_pylist(), stamps, strict=True)]
    return rows, None if labels is None else labels.to_pylist(), dict(rejects.reasons)


@given(st.one_of(records, sparse))
def test_together_is_alone_is_the_twin(some: list[dict[str, Any]]) -> None:
    rows, labels, reasons = read(some)
    expected = [row for row in (twin(record, MAP) for record in some) if row is not None]
    assert repr([{name: row[name] for name in expected[0]} for row in rows] if expected else rows) == repr(
        expected
    )
    assert sum(reasons.values()) == len(some) - len(rows)
    alone = [row for record in some for row in read([record])[0]]
    assert repr(alone) == repr(rows)
    assert labels is not None
    assert labels == [label for record in some for label in (read([record])[1] or [])]


def test_a_message_stands_for_a_kind() -> None:
    stamp = {"t": "2023-11-14T22:00:00Z"}
    rows, _, _ = read(
        [
            stamp | {"k": "named", "text": "hello", "message": "m"},
            stamp | {"text": "hello 1", "message": "m", "who": "ana"},
            stamp | {"deep": {"text": "hello 2"}},
            stamp | {"who": "ana", "message": "m"},
            stamp | {"text": "", "status": "ok"},
        ]
    )
    assert [(row["kind"], row["body"], row["attrs"]) for row in rows] == [
        ("named", "m", '{"text":"hello"}'),
        ("", "hello 1", '{"message":"m"}'),
        ("", "hello 2", None),
        ("ana", "m", None),
        ("ok!", None, '{"text":""}'),
    ]


def test_labels_reach_nothing_else() -> None:
    record = {"t": "2023-11-14T22:00:00Z", "k": "a", "label": "scan", "deep": {"label": "second"}}
    rows, labels, _ = read([record, {**record, "label": "-"}])
    assert labels == ["scan", ""]
    assert [row["attrs"] for row in rows] == [None, None]


def test_a_shape_of_many_keys_is_not_remembered() -> None:
    wide = {f"k{i}": i for i in range(1000)} | {"t": "2023-11-14T22:00:00Z", "k": "a"}
    rows, _, _ = read([wide, dict(wide)])
    assert [row["kind"] for row in rows] == ["a", "a"]
    assert '"k999":999' in rows[0]["attrs"]
