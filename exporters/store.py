"""The one database of a Guardian instance, and its one way to write.

Owns the connection, its durability settings, the transaction, and the seal that makes every byte of the file checkable.
Each table is defined by the module that owns its meaning, on the ``metadata`` below, so that an alert, its cursor, a
decision and its ledger entry can share one transaction: together or not at all.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from exporters import seal
from guardian.errors import MachineError

metadata: Final = sa.MetaData()

SETTLE_BYTES: Final = 4 * 2**20
"""Size of the write-ahead log at which it is worth moving into the database file."""


class Store:
    """The database of one instance: SQLite in WAL mode with ``synchronous=FULL``.

    One writer at a time: ``transaction`` blocks until the writer before it has committed. Reads run beside it and
    see the last committed state. Safe to use from several threads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
        self._writer = threading.Lock()
        self.after_commit: Callable[[sa.Connection], None] = lambda _connection: None
        """Called after each commit, before the next writer may begin."""
        sa.event.listen(self._engine, "connect", _configure)

    def create(self) -> None:
        """Make the tables that are not there yet, and seal the file. Import the modules that own them first.

        Raises:
            MachineError: the file cannot be made, or is no database.
        """
        try:
            metadata.create_all(self._engine)
        except sa.exc.DatabaseError as error:
            raise MachineError(f"{self.path}: not usable as a database ({error.orig})") from None
        self.settle()

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
            self.after_commit(connection)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees one committed state for as long as it is open."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                yield connection
            finally:
                connection.exec_driver_sql("ROLLBACK")

    def settle(self, *, at_bytes: int = 0) -> None:
        """Move the write-ahead log into the database file and seal that, once the log holds ``at_bytes``.

        SQLite never does this by itself here, so between two calls the file and its seal stay as they are.
        """
        wal = self.path.with_name(self.path.name + "-wal")
        if at_bytes and (not wal.exists() or wal.stat().st_size < at_bytes):
            return
        with self._writer, sealing(self.path, exclusive=True), self._engine.connect() as connection:
            pending = seal.pending_path(self.path)
            pending.touch()
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            seal.write(self.path)
            pending.unlink()

    def close(self) -> None:
        """Settle and close all connections."""
        self.settle()
        self._engine.dispose()


@contextmanager
def sealing(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Keep the database file and its seal from changing (shared), or be the one who changes them (exclusive)."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


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
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "wal_autocheckpoint=0",  # only ``settle`` changes the database file
        "foreign_keys=ON",
        "secure_delete=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
