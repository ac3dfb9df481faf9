"""The canonical form of entries, decided fast and slowly; rows that do not fit each other."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from exporters.msr import audit, merkle
from exporters.msr.log import Entry
from exporters.msr.note import Verifier
from exporters.register import Register
from exporters.store import Store

numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@given(value=values)
@example({"\ue000": 1, "\U0001f600": 2})
@example([1e21, 1e-7, -0.0, 5e-324, 9007199254740991, 0.1, 100.0])
@example('\x00\x1f\x7f\u2028"\\/')
def test_what_rfc8785_writes_is_canonical(value: Any) -> None:
    assert audit._is_canonical_json(rfc8785.dumps(value))


@given(value=values)
def test_what_is_written_otherwise_is_canonical_only_when_it_is_the_same(value: Any) -> None:
    canonical = rfc8785.dumps(value)
    for other in (
        msgspec.json.encode(value),
        msgspec.json.encode(value, order="sorted"),
        msgspec.json.format(canonical, indent=1),
        canonical + b" ",
        json.dumps(json.loads(canonical), separators=(", ", ":"), ensure_ascii=False).encode(),
    ):
        assert audit._is_canonical_json(other) == (other == canonical)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"nul", b"\xff", b"1.0", b"1e5", b"-0", b"01", b"[1,2,]", b'{"b":1,"a":2}', b'{"a":1,"a":1}',
        b'"\\u0041"', b'"\\/"', b"9007199254740993", b"1" * 400, b"1e999", b"NaN", b"[" * 100_000,
        '{"\U0001f600":1,"\ue000":2}'.encode("utf-16-le"), '{"\ue000":2,"\U0001f600":1}'.encode(),
    ],
)  # fmt: skip
def test_what_is_not_canonical(data: bytes) -> None:
    assert not audit._is_canonical_json(data)


@given(payload=st.dictionaries(text, values, max_size=4), actor=text, action=text)
def test_every_entry_that_can_be_written_passes(payload: dict[str, Any], actor: str, action: str) -> None:
    assert audit.is_canonical(Entry(actor, action, payload, 10**18).canonical())


def test_entries_that_were_not_written_here() -> None:
    entry = Entry("a", "b", {"n": 1.5}, 10**18).canonical()
    assert audit.is_canonical(entry)
    for old, new in (
        (b'"payload":{"n":1.5}', b'"payload":{"n":1.50}'),
        (b'"payload":{"n":1.5}', b'"payload":{"n":2.5}'),  # the hash is that of another content
        (b'"action":"b",', b""),
        (b"{", b'{"a":1,'),
        (b'"actorId":"a"', b'"actorId": "a"'),
    ):
        assert old in entry
        assert not audit.is_canonical(entry.replace(old, new, 1))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("audit")
    store = Store(folder / "guardian.db")
    store.create()
    register = Register(store, folder, "example.org/msr")
    for size in (1, 2, 10):
        with store.transaction() as connection:
            register.write(connection, [Entry("", "a.b", {"n": n, "x": math.pi}, n) for n in range(size)])
    store.close()
    return (folder / "guardian.db").read_bytes() + (folder / "msr.vkey").read_bytes()


@pytest.fixture
def tables(database: bytes, tmp_path: Path) -> Iterator[tuple[sqlite3.Connection, Verifier]]:
    data, vkey = database[: len(database) // 4096 * 4096], database[len(database) // 4096 * 4096 :]
    (tmp_path / "x.db").write_bytes(data)
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as connection:
        yield connection, Verifier.parse(vkey.decode())


@pytest.mark.parametrize(
    ("sql", "reports"),
    [
        ("SELECT 1", []),
        ("DELETE FROM msr_nodes WHERE level = 2 AND number = 1", ["node_missing 2/1"]),
        ("DELETE FROM msr_nodes WHERE level = 3", ["node_missing 3/0"]),
        ("UPDATE msr_nodes SET hash = zeroblob(32) WHERE level = 1 AND number = 3", ["node_differs 1/3"]),
        ("INSERT INTO msr_nodes VALUES (1, 6, zeroblob(32))", ["node_extra 1/6"]),
        ("INSERT INTO msr_nodes VALUES (9, 0, zeroblob(32))", ["node_extra 9/0"]),
        ("INSERT INTO msr_nodes VALUES (0, 0, zeroblob(32))", ["node_extra 0/0"]),
        ("INSERT INTO msr_nodes VALUES (1, -1, zeroblob(32))", ["node_differs 1/-1"]),
        ("INSERT INTO msr_checkpoints VALUES (0, '')", ["checkpoint_place 0"]),
        ("INSERT INTO msr_checkpoints VALUES (5, '')", ["checkpoint_signature 5"]),
        ("INSERT INTO msr_checkpoints VALUES (99, '')", ["checkpoint_ahead 99"]),
        ("DELETE FROM msr_checkpoints WHERE size = 13", ["checkpoint_missing 13"]),
        (
            "UPDATE msr_checkpoints SET note = (SELECT note FROM msr_checkpoints WHERE size = 1) WHERE size = 3",
            ["checkpoint_root 3"],
        ),
        ('UPDATE msr_entries SET leaf = zeroblob(32) WHERE "index" = 4', ["entry_leaf 4"]),
        ('DELETE FROM msr_entries WHERE "index" = 4', ["entry_missing 4"]),
        ("UPDATE bookpi_entries SET msr_index = -1 WHERE msr_index = 2", ["bookpi -1"]),
    ],
)
def test_what_does_not_fit_is_reported_where_it_stands(
    tables: tuple[sqlite3.Connection, Verifier], sql: str, reports: list[str]
) -> None:
    connection, verifier = tables
    connection.execute(sql)
    found = []

    def report(key: str, **values: Any) -> None:
        place = values.get("index", values.get("size"))
        found.append(f"{key} {place if place is not None else '{level}/{number}'.format(**values)}")

    tree = audit.audit(connection, verifier, report)
    if "INSERT INTO msr_nodes VALUES (1, -1" in sql:
        # What comes after an extra row is compared one place off, until the rows run out.
        assert found[0] == reports[0]
    else:
        assert found == reports
    assert tree.size in {4, 13}


def test_an_entry_that_was_rewritten_with_its_leaf_breaks_the_tree(
    tables: tuple[sqlite3.Connection, Verifier],
) -> None:
    connection, verifier = tables
    entry = Entry("", "a.b", {"n": 0, "x": 3.0}, 0).canonical()
    connection.execute(
        'UPDATE msr_entries SET entry = ?, leaf = ? WHERE "index" = 4', (entry, merkle.leaf_hash(entry))
    )
    found = []
    audit.audit(connection, verifier, lambda key, **values: found.append((key, values)))
    assert [key for key, _values in found] == ["node_differs"] * 3 + ["checkpoint_root"]
    assert found[0][1] == {"level": 1, "number": 2}
