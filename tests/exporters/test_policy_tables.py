"""Rows as they stand in the course of a decision."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from exporters.policy_tables import Rows, Told, cut, told


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://")
    with engine.begin() as made:
        told.create(made)
        yield made
    engine.dispose()


def row(finding: str = "f", sink: str = "s", at: int = 1) -> Told:
    return Told(finding, sink, "r", "", at, 3)


def test_what_is_put_is_there_and_written_only_when_saved(connection: sa.Connection):
    rows = Rows(told, Told)
    rows.put(row())
    rows.put(row("g"))
    rows.put(row(at=2))
    assert rows.get("f", "s") == row(at=2)
    assert list(rows.under("f")) == ["s"]
    assert connection.execute(sa.select(told)).all() == []
    rows.save(connection)
    rows.save(connection)
    assert sorted(map(tuple, connection.execute(sa.select(told)))) == [
        ("f", "s", "r", "", 2, 3),
        ("g", "s", "r", "", 1, 3),
    ]


def test_what_changed_is_not_read_again(connection: sa.Connection):
    rows = Rows(told, Told)
    for each in (row("f"), row("g"), row("h")):
        rows.put(each)
    rows.save(connection)
    rows = Rows(told, Told)
    rows.load_in(connection, told.c.finding, ["f", "g", "g"])
    assert rows.get("h", "s") is None
    rows.drop(row("f"))
    rows.put(row("g", at=9))
    rows.load(connection, told.c.sink == "s")
    assert {each.finding: each.at for each in rows.all()} == {"g": 9, "h": 1}
    rows.save(connection)
    assert len(connection.execute(sa.select(told)).all()) == 2


@given(st.lists(st.text(max_size=2), max_size=3000))
def test_values_are_cut_into_parts_each_once(values: list[str]):
    parts = list(cut(values))
    assert [each for part in parts for each in part] == list(dict.fromkeys(values))
    assert all(0 < len(part) <= 1000 for part in parts)
