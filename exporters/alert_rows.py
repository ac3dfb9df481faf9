"""Alerts as rows of the database: the table of all alerts there ever were, each once.

Owns the table ``alerts`` and the way from an alert to its row and back. Does not own what is still owed of them
(``exporters.outbox``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from exporters.alert import Alert
from exporters.store import metadata
from guardian.levels import Level

MOST_IDS: Final = 1000
"""Ids in one statement; SQLite takes 32,766 parameters."""

alerts: Final = sa.Table(
    "alerts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("entity", sa.Text, nullable=False),
    sa.Column("layer", sa.Integer, nullable=False),
    sa.Column("level_from", sa.Integer, nullable=False),
    sa.Column("level_to", sa.Integer, nullable=False),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("event", sa.BigInteger, nullable=False),
    sa.Column("trace_id", sa.Text, nullable=False),
    sa.Column("config", sa.Text, nullable=False),
    sa.Column("synthetic", sa.Boolean, nullable=False),
    sa.Column("extrapolated", sa.Boolean, nullable=False),
    sa.Column("finding", sa.Text, nullable=False, server_default=""),
    sa.Column("activity", sa.Text, nullable=False, server_default="open"),
    sa.Column("tags", sa.Text, nullable=False, server_default="[]"),
    sa.Column("suppressed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("suppressed_since", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("alerts_newest", "created_at", "id"),
)

_COLUMNS: Final = tuple(alerts.c.keys())


def row_of(alert: Alert) -> dict[str, Any]:
    """The row of an alert."""
    row = {name: getattr(alert, name) for name in _COLUMNS}
    return row | {
        "level_from": int(alert.level_from),
        "level_to": int(alert.level_to),
        "reasons": msgspec.json.encode(alert.reasons).decode(),
        "tags": msgspec.json.encode(alert.tags).decode(),
    }


def alert_of(row: Sequence[Any]) -> Alert:
    """The alert of a row of ``alerts``, its columns in the order of the table."""
    values = dict(zip(_COLUMNS, row, strict=True))
    values["reasons"] = tuple(msgspec.json.decode(values["reasons"]))
    values["tags"] = tuple(msgspec.json.decode(values["tags"])) if values["tags"] != "[]" else ()
    values["level_from"], values["level_to"] = Level(values["level_from"]), Level(values["level_to"])
    return Alert(**values)


def known_of(connection: sa.Connection, ids: Iterable[str]) -> set[str]:
    """Which of these ids are in the table."""
    known: set[str] = set()
    for part in cut(ids):
        known.update(connection.execute(sa.select(alerts.c.id).where(alerts.c.id.in_(part))).scalars())
    return known


def cut(ids: Iterable[Any]) -> Iterator[list[Any]]:
    """Ids or numbers, a statement's worth at a time."""
    rest = iter(ids)
    while part := list(itertools.islice(rest, MOST_IDS)):
        yield part
