"""The tables of a database, also of one that an older release made.

Owns the number that a database carries (``PRAGMA user_version``) and what each release added to tables that were there
before. Does not own the tables (each stands where its meaning is). Steps only add: a release never takes away what an
older one wrote, and all steps are one transaction, so a crash leaves the database as it was.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from guardian.errors import MachineError

STEPS: Final[tuple[tuple[tuple[str, str], ...], ...]] = (
    # To 1: alerts have a life cycle; what is owed is timed, tells why, and may be a heartbeat or carry a corrected body.
    (
        ("alerts", "ALTER TABLE alerts ADD COLUMN finding TEXT DEFAULT '' NOT NULL"),
        ("alerts", "ALTER TABLE alerts ADD COLUMN activity TEXT DEFAULT 'open' NOT NULL"),
        ("alerts", "ALTER TABLE alerts ADD COLUMN tags TEXT DEFAULT '[]' NOT NULL"),
        ("alerts", "ALTER TABLE alerts ADD COLUMN suppressed BIGINT DEFAULT '0' NOT NULL"),
        ("alerts", "ALTER TABLE alerts ADD COLUMN suppressed_since BIGINT DEFAULT '0' NOT NULL"),
        ("outbox", "ALTER TABLE outbox ADD COLUMN accepted_at BIGINT DEFAULT '0' NOT NULL"),
        ("outbox", "ALTER TABLE outbox ADD COLUMN changed_at BIGINT DEFAULT '0' NOT NULL"),
        ("outbox", "ALTER TABLE outbox ADD COLUMN reason TEXT DEFAULT '' NOT NULL"),
        ("outbox", "ALTER TABLE outbox ADD COLUMN history TEXT DEFAULT '[]' NOT NULL"),
        ("outbox", "ALTER TABLE outbox ADD COLUMN heartbeat BOOLEAN DEFAULT '0' NOT NULL"),
        ("outbox", "ALTER TABLE outbox ADD COLUMN body BLOB"),
        ("outbox", "ALTER TABLE outbox ADD COLUMN edited BOOLEAN DEFAULT '0' NOT NULL"),
        # Nobody knows when these were accepted; how long they may wait counts from now on.
        (
            "outbox",
            """UPDATE outbox SET accepted_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000000000
            WHERE state IN ('pending', 'parked')""",
        ),
        ("outbox", "UPDATE outbox SET reason = 'refused' WHERE state = 'dead'"),
        ("outbox", "DROP INDEX outbox_owed"),
        (
            "outbox",
            "CREATE INDEX outbox_owed ON outbox (sink, seq, next_attempt_at) WHERE state IN ('pending', 'parked')",
        ),
        ("outbox", "CREATE INDEX outbox_dead ON outbox (sink, seq) WHERE state = 'dead'"),
    ),
)
"""Step n leads from version n to n + 1: pairs of a table and a statement, passed over when that table is not there."""

VERSION: Final = len(STEPS)


def bring_up(connection: sa.Connection, metadata: sa.MetaData) -> None:
    """Give a database the tables of this release, in the caller's transaction.

    Raises:
        MachineError: a newer release made it.
    """
    version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > VERSION:
        raise MachineError(
            f"the database has version {version} and this release knows {VERSION}; start the newer release"
        )
    there = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
    for step in STEPS[version:]:
        for table, statement in step:
            if table in there:
                connection.exec_driver_sql(statement)
    metadata.create_all(connection)
    if version != VERSION:
        connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
