"""The scanner says what line by line says: the same batch, octet for octet, the same rejects, for every input."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decode import scanner
from guardian.decode.columns import LATEST, Rejects
from guardian.decode.draft import joined
from guardian.decode.lines import MAX_LINE_BYTES, byte_blocks, line_blocks
from guardian.decode.linewise import decode_lines
from guardian.decode.mapfile import BUILT_IN, builtin_map, parse_map
from guardian.decode.mapping import Map
from guardian.decode.scanner import Scanner

EVERYTHING = parse_map(
    """
    [[map.ts]]
    field = ["t", "at.t"]
    unit = "iso8601"
    [[map.ts]]
    field = ["t", "ms"]
    unit = "ms"
    [[map.ts]]
    field = "s"
    unit = "s"
    [map.source]
    field = ["deep.er.who", "{deep.k}-{deep.n}", "src"]
    [map.kind]
    field = ["{p}/{id}", "k", "deep.k"]
    template = ["text", "deep.text"]
    otherwise = ["who", "{status}!"]
    strip = "x-"
    [map.actor]
    field = ["who", "deep.who", "a.b", "a.b.c"]
    none = ["-", "é", "ok"]
    [map.address]
    const = "10.0.0.1"
    [map.target]
    field = ["host", "who", "list"]
    [map.session]
    template = "<{who}|{host}>"
    [map.outcome]
    field = ["status", "deep.status"]
    success = ["ok", "true", "1"]
    [map.severity]
    field = ["level", "k", "n"]
    scale = [0, 10]
    levels = { high = 0.75 }
    [map.layer]
    field = ["layer", "k"]
    [map.value]
    field = ["n", "ms", "deep.n"]
    factor = 0.001
    [map.trace_id]
    field = ["trace", "deep.trace"]
    none = ["0"]
    [map.span_id]
    field = "span"
    [map.label]
    field = ["label", "deep.label", "deep.er.label"]
    benign = ["-"]
    """
)
MANY = parse_map(
    "[map]\nts = { field = ['t'], unit = 'iso8601' }\nkind = { field = "
    + json.dumps([f"f{number}" for number in range(80)])
    + " }\nvalue = { field = "
    + json.dumps([f"f{number}" for number in range(90, 5, -1)])
    + " }"
)
MAPS = {name: builtin_map(name) for name in BUILT_IN} | {"everything": EVERYTHING, "many": MANY}

KEYS = {
    "everything": [
        "t", "at", "ms", "s", "p", "id", "k", "deep", "deep.k", "er", "deep.er.who", "er.who", "who", "a.b", "a", "b",
        "b.c", "c", "host", "status", "level", "label", "more", "message", "text", "src", "n", "list", "trace", "span",
        "layer", "", "é", "deep.label",
    ],
    "many": [f"f{number}" for number in range(0, 95, 5)] + ["t", "f62", "f63", "f64", "f79"],
}  # fmt: skip
STRINGS = [
    "", "-", "ok", "high", "x-a", "x-", "é", "d\u00eda", "😀", "L3", "4", "0", "12.5", "1e3", " 7", "nan", "0x" + "ab" * 16,
    "ab" * 16, "ab" * 8, "00" * 16, "ab-cd" * 4, "g" * 32, "2023-11-14T22:00:00Z", "2023-11-14", "2023-11-14 22:00:00.5",
    "2023-11-14T22:00:00,123456789+05:30", "2023-02-30T00:00:00Z", "2023-11-14T24:00:00Z", "1999-12-31T23:59:60-0100",
    "1970-01-01T00:00:00Z", "2023-11-14T22:00:00.1234567891Z", "1699999200000", "1699999200", "a" * 600, "true", "null",
]  # fmt: skip
RAW_STRINGS = [
    r'""', r'"a\/b"', r'"\u00e9"', r'"\u00E9\n"', r'"\ud83d\ude00"', r'"\uD83D\uDE00x"', r'"\u0000"', r'"\u001f\u001F"',
    r'"\b\f\n\r\t\"\\"', r'"\u000a\u0022\u005c\u002f"', r'"D\\user"', r'"\u007f"', r'"2023-11-14T22:00:00\u005a"', r'"\u006fk"',
    r'"\ud800"', r'"\udc00"', r'"\ud800\ud800"', r'"\ud800\n"', r'"\u12"', r'"\x41"', r'"\ud83d\u0041"', '"\x7f"', '"\t"',
    '"unended', r'"\"', r'"\u00e9' + "é" * 20 + '"', '"' + "y" * 70 + r'\\"',
]  # fmt: skip
NUMBERS = [
    "0", "-0", "1", "-1", "7", "12", "1699999200000", "1699999200", "1699999200.25", "1699999200123.5", "1700000000.123456",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "12345678901234567890", "1" * 40, "9" * 400,
    "0.0", "-0.0", "0.5", "1.50", "1.0", "0.0001", "0.00012", "0.00001", "5.8e-05", "5.8e-5", "5.8E-07", "1e3", "1E+3", "1e+20",
    "1e-20", "1e400", "-1e-400", "1e00", "123456789012345.0", "1234567890123456.7", "0.1234567890123456789", "0.30000000000000004",
    "00", "01", "-", "+1", "1.", ".5", "1e", "1e+", "0x1", "1_0", "NaN", "Infinity", "-Infinity", "0.000", "1" * 5000,
]  # fmt: skip
SPACES = ["", "", "", "", " ", "  ", "\t", " \r"]


class Hostile:
    """Lines of JSON and of nearly JSON, from a seed."""

    def __init__(self, seed: int, keys: list[str], mapping: Map) -> None:
        self.random = random.Random(seed)
        self.keys = keys
        time = mapping.ts[0]
        stamp = '"2023-11-14T22:00:00Z"' if time.unit == "iso8601" else "1699999200"
        self.stamp = json.dumps(time.alternatives[0].name), stamp + "000" * (time.unit == "ms")
        self.spaced = self.hostile = False

    def line(self) -> bytes:
        chance = self.random.random()
        if chance < 0.02:
            return self.random.choice(
                [b"", b" ", b"\r", b"\x0b", b"{}", b"[]", b"1", b"nul", b"{", b"\xef\xbb\xbf{}"]
            )
        text = self.gap() + self.object(0, chance < 0.9) + self.gap()
        line = text.encode()
        return self.mutated(line) if chance > 0.93 else line

    def gap(self) -> str:
        return self.random.choice(SPACES) if self.spaced else ""

    def object(self, depth: int, stamped: bool = False) -> str:
        choice = self.random
        if not depth:
            self.spaced = choice.random() < 0.4
            self.hostile = choice.random() < 0.3
        keys = choice.sample(self.keys, choice.randrange(min(9, len(self.keys))))
        if self.hostile and keys and choice.random() < 0.1:
            keys.append(choice.choice(keys))
        members = [(json.dumps(key, ensure_ascii=choice.random() < 0.05), self.value(depth)) for key in keys]
        if stamped:
            members.insert(choice.randrange(len(members) + 1), self.stamp)
        pairs = [f"{self.gap()}{key}{self.gap()}:{self.gap()}{value}{self.gap()}" for key, value in members]
        return "{" + ",".join(pairs) + (self.gap() if not pairs else "") + "}"

    def value(self, depth: int) -> str:
        choice = self.random
        kind = choice.randrange(12)
        if kind < 4:
            return json.dumps(choice.choice(STRINGS), ensure_ascii=choice.random() < 0.2)
        if kind == 4:
            return choice.choice(RAW_STRINGS if self.hostile else RAW_STRINGS[:14])
        if kind < 8:
            return choice.choice(NUMBERS if self.hostile else NUMBERS[:16])
        if kind == 8:
            return choice.choice(["true", "false", "null", "null"])
        if kind < 11 and depth < 4:
            return self.object(depth + 1)
        items = [self.value(depth + 1) for _ in range(choice.randrange(3))] if depth < 4 else []
        return "[" + self.gap() + ",".join(self.gap() + item + self.gap() for item in items) + "]"

    def mutated(self, line: bytes) -> bytes:
        choice = self.random
        if not line:
            return line
        at = choice.randrange(len(line))
        what = choice.randrange(5)
        if what == 0:
            return line[:at]
        if what == 1:
            return line[:at] + line[at + 1 :]
        octet = (
            choice.choice(b'"\\{}[]:,0-.e\x00\x1f\x80\xc3\xe2\xed\xf0\xf4\xff u\r')
            if what < 4
            else choice.randrange(256)
        )
        return line[:at] + bytes([octet]).replace(b"\n", b" ") + line[at + (what == 2) :]


def oracle(body: bytes, mapping: Map) -> tuple[pa.RecordBatch, list[str] | None, Rejects]:
    rejects = Rejects()
    return *together(
        [decode_lines(lines, at, mapping, LATEST, rejects) for at, lines in line_blocks([body])]
    ), rejects


def scanned(pieces: list[bytes], mapping: Map) -> tuple[pa.RecordBatch, list[str] | None, Rejects]:
    rejects = Rejects()
    reader = Scanner(mapping, LATEST)
    batches = [batch for block in byte_blocks(pieces) for batch in reader.batches(block, rejects)]
    return *together(batches), rejects


def together(parts: list[tuple[pa.RecordBatch, pa.Array | None]]) -> tuple[pa.RecordBatch, list[str] | None]:
    labels = [label for _, some in parts if some is not None for label in some.to_pylist()]
    return joined([batch for batch, _ in parts]), labels


def differences(pieces: list[bytes], mapping: Map) -> Iterator[tuple[str, Any, Any]]:
    """What the two ways say differently."""
    (one, one_labels, one_rejects), (other, other_labels, other_rejects) = (
        oracle(b"".join(pieces), mapping),
        scanned(pieces, mapping),
    )
    for name in one.schema.names:
        this, that = one.column(name), other.column(name)
        if pa.types.is_floating(this.type):
            if this.to_numpy().tobytes() != that.to_numpy().tobytes() and not np.array_equal(
                this, that, equal_nan=True
            ):
                yield name, this.to_pylist(), that.to_pylist()
        elif not this.equals(that):
            yield name, this, that
    if one_labels != other_labels:
        yield "labels", one_labels, other_labels
    if one_rejects.reasons != other_rejects.reasons:
        yield "reasons", one_rejects.reasons, other_rejects.reasons
    told = [each.decoded(one).rejected for each in (one_rejects, other_rejects)]
    if told[0] != told[1]:
        yield "rejected", *told


def agree(pieces: list[bytes], mapping: Map) -> None:
    found = list(differences(pieces, mapping))
    assert not found, found


def cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[at:end] for at, end in itertools.pairwise(edges)]


@pytest.mark.parametrize("name", MAPS)
def test_hostile_lines(name: str) -> None:
    keys = KEYS.get(name) or sorted(
        {part for key in field_names(MAPS[name]) for part in [key, *key.split(".")]} | {"more", "t"}
    )
    for seed in range(12):
        lines = Hostile(seed, keys, MAPS[name])
        agree([b"\n".join(lines.line() for _ in range(250))], MAPS[name])


def field_names(mapping: Map) -> list[str]:
    plan = scanner.compiled(mapping).plan
    return [
        bytes(plan.text[at : at + size]).decode() for _, at, size, _ in plan.edges.tolist()
    ]  # keys of the tree, dotted ones too


json_texts = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS["everything"]) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
records = st.dictionaries(st.sampled_from(KEYS["everything"]) | st.text(max_size=5), json_texts, max_size=8)


@given(
    some=st.lists(records, max_size=6),
    ascii_only=st.booleans(),
    spaced=st.booleans(),
    places=st.lists(st.integers(0)),
)
def test_any_records(some: list[dict[str, Any]], ascii_only: bool, spaced: bool, places: list[int]) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    for record in some:
        record.setdefault("t", "2023-11-14T22:00:00Z")
    lines = [json.dumps(record, ensure_ascii=ascii_only, separators=separators) for record in some]
    agree(cut("\n".join(lines).encode("utf-8", "surrogatepass"), places), EVERYTHING)


@given(body=st.binary(max_size=120), places=st.lists(st.integers(0), max_size=3))
def test_any_bytes(body: bytes, places: list[int]) -> None:
    agree(cut(body, places), EVERYTHING)


FULL = (
    b'{"t":"2023-11-14T22:00:00.5Z","who":"an\xc3\xa9\\u00e9 \xe2\x82\xac\xf0\x9f\x98\x80","deep":{"k":"x-\\n","n":-1.5e-3,"er":{"who":'
    b'null}},"list":[{"a":[true]},2],"n":"12.5","trace":"0af7651916cd43dd8448eb211c80319c"}'
)


def test_every_truncation_and_every_octet_replaced() -> None:
    agree([b"\n".join(FULL[:end] for end in range(len(FULL) + 1))], EVERYTHING)
    for octet in (0xFF, 0x80, 0xC3, 0xED, 0x00, 0x22, 0x5C, 0x20):
        agree(
            [b"\n".join(FULL[:at] + bytes([octet]) + FULL[at + 1 :] for at in range(len(FULL)))], EVERYTHING
        )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"\r\n \r\n\t",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\n" + FULL,
        b"\xef\xbb\xbf" + FULL + b"\r\n" + FULL + b"\r\n\r\n",
        FULL + b"\n\xef\xbb\xbf" + FULL,
        b"\xef\xbb\xbf\xef\xbb\xbf" + FULL,
        FULL + b" \x0b\n" + FULL,
        b"\x0c\n\x0b \n" + FULL,
        b'{"a":' * 1_000_000,
        b"[" * 1_000_000 + b"\n" + FULL,
        b'{"t":"2023-11-14T22:00:00Z","k":"a","x":' + b"[" * 30 + b"]" * 30 + b"}",
        b'{"t":"2023-11-14T22:00:00Z","k":"a","x":' + b"[" * 900 + b"]" * 900 + b"}",
        b"\n".join([FULL, b" " * (MAX_LINE_BYTES + 1), FULL, b'{"x":"' + b"y" * MAX_LINE_BYTES + b'"}', FULL]),
        b"\xef\xbb\xbf" + b" " * (MAX_LINE_BYTES - 2) + b"\n" + FULL,
        b"{" + b",".join(b'"k%d":%d' % (i, i) for i in range(1000)) + b',"t":"2023-11-14T22:00:00Z","who":"a"}',
        b'{"t":"2023-11-14T22:00:00Z","text":"' + b"\\u0001" * 20_000 + b'"}',
        b'{"t":"2023-11-14T22:00:00Z","k":"' + b"w" * 100_000 + b'","who":"' + b"w" * 100_000 + b'"}',
        b'{"t":"2023-11-14T22:00:00Z","k":"a","deep":{}}\n{"t":"2023-11-14T22:00:00Z","k":"a","deep":{"er":{}}}',
        b'{"t":"2023-11-14T22:00:00Z","who":"a","a.b":null,"a":{"b":"n"}}\n{"t":"2023-11-14T22:00:00Z","k":"a","a":{"b.c":1,"b":{"c":"n"}}}',
    ],
)  # fmt: skip
def test_edges(body: bytes) -> None:
    for mapping in (EVERYTHING, MAPS["otel"]):
        agree([body], mapping)
        agree([body[at : at + 100_000] for at in range(0, len(body), 100_000)], mapping)
        if len(body) < 2000:
            agree([body[at : at + 1] for at in range(len(body))], mapping)


def test_more_lines_and_words_than_one_pass_takes() -> None:
    lines = [
        b'{"t":"2023-11-14T22:00:00Z","k":"k%d","who":"u%d","status":"s%d","level":%d,"n":%d.25}'
        % (i % 7, i, i % 300, i, i)
        for i in range(20_000)
    ]
    agree([b"\n".join(lines)], EVERYTHING)


def test_plain_lines_never_become_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """The point of it all: a log as it is written goes through without msgspec."""

    def refuse(*_: Any) -> None:
        pytest.fail("a plain line was left to msgspec")

    monkeypatch.setattr(scanner, "draft_lines", refuse)
    lines = [
        json.dumps(
            {
                "t": "2023-11-14T22:00:00.5+02:00",
                "k": "login",
                "who": "D\\a",
                "deep": {"n": 1.5e-7},
                "m": "é\n",
            },
            **how,
        )
        for how in ({}, {"separators": (",", ":")}, {"ensure_ascii": False})
    ]
    batch, _, rejects = scanned(["\n".join(lines).encode()], EVERYTHING)
    assert batch.column("actor").to_pylist() == ["D\\a"] * 3
    assert set(batch.column("attrs").to_pylist()) == {'{"m":"é\\n"}'}
    assert batch.column("value").to_pylist() == [1.5e-10] * 3
    assert not rejects.reasons


def test_windows_events_of_the_wild(shared_data: Path) -> None:
    import zipfile

    with zipfile.ZipFile(shared_data / "otrf" / "rdp_interactive_taskmanager_lsass_dump.zip") as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".json") and "__MACOSX" not in each]
        body = archive.read(name)
    agree([body[:4_000_000]], MAPS["windows"])
