"""What the policy remembers: open findings, who was told of them, what is held back, and groups.

Owns the four tables and how their rows are worked on: read once a decision, changed in memory in the order of the
alerts, written back together in the caller's transaction. Does not own any decision (``exporters.policy``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from exporters.store import metadata

T = TypeVar("T", bound=Struct)

_MOST_VALUES: Final = 1000
"""SQLite takes 32,766 parameters."""


class Finding(Struct):
    """Something that is going on at one entity, from the alert that opened it to its end."""

    role: str
    entity: str
    id: str
    opened_at: int
    last_at: int
    layer: int
    peak: int
    """The highest level of its alerts."""
    scored: bool
    """Its level is the engine's, which knows when it is over."""
    alert: str
    """Its newest alert, as JSON."""


class Told(Struct):
    """What a sink was last told of a finding, and in which group of which route."""

    finding: str
    sink: str
    route: str
    key: str
    at: int
    level: int


class Held(Struct):
    """What a sink was not told of a finding since it was last told."""

    finding: str
    sink: str
    route: str
    count: int
    since: int
    last: str
    """Id of the newest alert that is counted."""
    due_at: int
    """When it is summed up …"""
    silence: str
    """… unless this silence is in force."""
    alert: str
    """The end of the finding as JSON, once that is among what is held; else the finding is open."""


class Group(Struct):
    """Alerts of a route that are told together. Flushes are one wait behind its opening, then an interval apart."""

    route: str
    key: str
    opened_at: int
    members: int
    """Sinks and findings that were told in it and are not over."""
    ends_at: int
    """Its last flush, once it has no members; 0 = it has some."""


def _table(name: str, row: type[Struct], *key: str) -> sa.Table:
    kinds: dict[Any, type[sa.types.TypeEngine[Any]]] = {
        "str": sa.Text,
        "int": sa.BigInteger,
        "bool": sa.Boolean,
    }
    return sa.Table(
        name,
        metadata,
        *(
            sa.Column(column, kinds[row.__annotations__[column]], primary_key=column in key, nullable=False)
            for column in row.__struct_fields__
        ),
    )


findings: Final = _table("findings", Finding, "role", "entity")
told: Final = _table("findings_told", Told, "finding", "sink")
held: Final = _table("findings_held", Held, "finding", "sink")
groups: Final = _table("alert_groups", Group, "route", "key")

_INDICES: Final = (
    sa.Index("findings_entity", findings.c.entity),
    sa.Index("findings_id", findings.c.id),
    sa.Index("findings_held_due", held.c.due_at),
    sa.Index("alert_groups_key", groups.c.key),
)


class Rows(Generic[T]):
    """Rows of one table by the two parts of their key, as they stand in the course of a decision."""

    def __init__(self, table: sa.Table, kind: type[T]) -> None:
        self._table = table
        self._kind = kind
        self._first, self._second = (column.name for column in table.primary_key)
        self._rows: dict[str, dict[str, T]] = {}
        self._changed: dict[tuple[str, str], None] = {}

    def load(self, connection: sa.Connection, where: sa.ColumnElement[bool]) -> None:
        """Read rows; those that are known already stay as they are."""
        for row in connection.execute(sa.select(self._table).where(where)).mappings():
            first, second = row[self._first], row[self._second]
            if (first, second) not in self._changed:
                self._rows.setdefault(first, {}).setdefault(second, self._kind(**row))

    def load_in(self, connection: sa.Connection, column: sa.Column[Any], values: Iterable[str]) -> None:
        """Read the rows in which a column has one of some values."""
        for part in cut(values):
            self.load(connection, column.in_(part))

    def get(self, first: str, second: str) -> T | None:
        """The row of a key."""
        return self._rows.get(first, {}).get(second)

    def under(self, first: str) -> dict[str, T]:
        """The rows whose key begins so, by its rest."""
        return self._rows.get(first, {})

    def all(self) -> list[T]:
        """Every row."""
        return [row for rows in self._rows.values() for row in rows.values()]

    def put(self, row: T) -> T:
        """Keep a row, in the place of any other of its key."""
        first, second = getattr(row, self._first), getattr(row, self._second)
        self._rows.setdefault(first, {})[second] = row
        self._changed[first, second] = None
        return row

    def drop(self, row: T) -> None:
        """Forget a row."""
        first, second = getattr(row, self._first), getattr(row, self._second)
        self._rows.get(first, {}).pop(second, None)
        self._changed[first, second] = None

    def save(self, connection: sa.Connection) -> None:
        """Write what changed."""
        if not self._changed:
            return
        first, second = self._table.c[self._first], self._table.c[self._second]
        gone = self._table.delete().where(first == sa.bindparam("_first"), second == sa.bindparam("_second"))
        connection.execute(gone, [{"_first": one, "_second": other} for one, other in self._changed])
        kept = [row for one, other in self._changed if (row := self.get(one, other)) is not None]
        if kept:
            connection.execute(self._table.insert(), [msgspec.structs.asdict(row) for row in kept])
        self._changed.clear()


def cut(values: Iterable[str]) -> Iterator[list[str]]:
    """Values, each once, as many at once as one statement takes."""
    rest = iter(dict.fromkeys(values))
    while part := list(itertools.islice(rest, _MOST_VALUES)):
        yield part
