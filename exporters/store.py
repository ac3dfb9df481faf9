"""The one database of a Guardian instance, and its one way to write.

Owns the connection, its durability settings and the transaction. Each table is defined by the module that owns its
meaning, on the ``metadata`` below, so that an alert, its cursor, a decision and its ledger entry can share one
transaction: together or not at all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

metadata: Final = sa.MetaData()


class Store:
    """The database of one instance: SQLite in WAL mode with ``synchronous=FULL``.

    One writer at a time: ``transaction`` blocks until the writer before it has committed. Reads run beside it and
    see the last committed state. Safe to use from several threads.
    """

    def __init__(self, path: str | Path) -> None:
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
        self._writer = threading.Lock()
        sa.event.listen(self._engine, "connect", _configure)

    def create(self) -> None:
        """Make the tables that are not there yet. Import the modules that own them first."""
        metadata.create_all(self._engine)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A connection inside one write transaction; commits on leaving, rolls back on an exception.

        Once this returns, what was written survives a power cut.
        """
        with self._writer, self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees one committed state for as long as it is open."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                yield connection
            finally:
                connection.exec_driver_sql("ROLLBACK")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def newest_first(
    connection: sa.Connection, table: sa.Table, *, limit: int, offset: int
) -> tuple[list[dict[str, Any]], int]:
    """One page of a table that has ``created_at`` and ``id``: newest first, id as tie-break; and the total."""
    total = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    query = (
        sa.select(table).order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit).offset(offset)
    )
    return [dict(row._mapping) for row in connection.execute(query)], total  # noqa: SLF001  (SQLAlchemy's public way)


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; sqlite3's implicit one would be DEFERRED
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
