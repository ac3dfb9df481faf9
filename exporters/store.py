"""The one database of a Guardian instance, and its one way to write.

Owns the connection, its durability settings, the transaction, and the seal that makes every byte of the file checkable.
Each table is defined by the module that owns its meaning, on the ``metadata`` below, so that an alert, its cursor, a
decision and its ledger entry can share one transaction: together or not at all.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from exporters import schema, seal, wal
from guardian.errors import LedgerError, MachineError

metadata: Final = sa.MetaData()

BUSY_S: Final = 30
"""Seconds that another process is waited for before a transaction gives up."""

EMPTY_BYTES: Final = 4096
"""Size of a database without tables: its first page."""

SETTLE_BYTES: Final = 4 * 2**20
"""Size of the write-ahead log at which it is worth moving into the database file."""


class Store:
    """The database of one instance: SQLite in WAL mode with ``synchronous=FULL``.

    One writer at a time: ``transaction`` blocks until the writer before it has committed. Reads run beside it and
    see the last committed state. Safe to use from several threads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_S})
        self._writer = threading.Lock()
        self.after_commit: Callable[[sa.Connection], None] = lambda _connection: None
        """Called after each commit, before the next writer may begin."""
        sa.event.listen(self._engine, "connect", _configure)

    def create(self) -> None:
        """Make what is not there yet of the tables, and seal the file. Import the modules that own them first.

        Raises:
            MachineError: the file cannot be made, is no database, or a newer release made it.
            LedgerError: what was committed is not all there any more, or the seal is missing or damaged.
        """
        try:
            if not seal.seal_path(self.path).exists():
                self._begin()
            elif not self.path.exists():
                raise LedgerError(self.path.name, "the database is missing")
            self.settle()  # before anything is opened: SQLite would drop what it finds damaged, and say nothing
            atexit.register(self.close)
            with self.transaction() as connection:
                schema.bring_up(connection, metadata)
        except sa.exc.DatabaseError as error:
            raise MachineError(f"{self.path}: not usable as a database ({error.orig})") from None
        except OSError as error:
            raise MachineError(f"{self.path}: cannot be made or written ({error.strerror})") from None
        self.settle()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A connection inside one write transaction; commits on leaving, rolls back on an exception.

        Once this returns, what was written survives a power cut.
        """
        with self._writer, seal.held(self.path, exclusive=False), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
            seal.mark(self.path)
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

        SQLite never does this by itself here, so between two calls the file and its seal stay as they are. With
        ``at_bytes`` it is put off while the files are being copied for a check.

        Raises:
            LedgerError: the log lost something that was committed; nothing was changed.
        """
        log = wal.path_of(self.path)
        if at_bytes and (not log.exists() or log.stat().st_size < at_bytes):
            return
        with self._writer, seal.held(self.path, exclusive=True, wait=not at_bytes) as alone:
            if alone:
                seal.move_log(self.path, self._checkpoint)

    def close(self) -> None:
        """Settle and close all connections. Runs at exit if nobody calls it: SQLite would move the log unsealed."""
        atexit.unregister(self.close)
        try:
            if seal.seal_path(self.path).exists():
                self.settle()
        finally:
            self._engine.dispose()

    def _begin(self) -> None:
        """Make and seal a database without tables; everything after its first page goes through the log."""
        if self.path.exists() and self.path.stat().st_size > EMPTY_BYTES:
            raise LedgerError(seal.seal_path(self.path).name, "the seal of the database is missing")
        with self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA user_version")
        seal.write(self.path)

    def _checkpoint(self) -> tuple[int, int, int]:
        with self._engine.connect() as connection:
            # No writer can go on meanwhile, so a reader who takes his time is not waited for as long as elsewhere.
            connection.exec_driver_sql("PRAGMA busy_timeout=1000")
            try:
                busy, frames, moved = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_S * 1000}")
        return busy, frames, moved


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
