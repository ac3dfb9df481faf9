"""Alerts and what is still owed to whom: written with the cursor in one transaction, drained at each sink's pace.

Owns the tables ``alerts``, ``outbox``, ``outbox_tally``, ``cursors`` and ``positions`` and the law that every sink keeps at every
moment: accepted = delivered + pending + parked + dead + suppressed. The law is a constraint of the database: a
transaction that would break it fails. An alert is accepted once, by its id, however often it is added. Does not own
how anything is sent (``exporters.delivery``).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from exporters.alert import Alert
from exporters.store import Store, metadata, newest_first
from guardian.levels import Level, level_named
from guardian.sink_settings import Sink

PENDING, DELIVERED, PARKED, DEAD, SUPPRESSED = STATES = (
    "pending",
    "delivered",
    "parked",
    "dead",
    "suppressed",
)
"""Pending: owed. Parked: owed, and the receiver wants another credential or address. Dead: refused for good."""

OWED: Final = (PENDING, PARKED)

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
    sa.Index("alerts_newest", "created_at", "id"),
)
outbox: Final = sa.Table(
    "outbox",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("sink", sa.Text, nullable=False),
    sa.Column("alert_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_attempt_at", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("last_error", sa.Text, nullable=False, server_default=""),
    sa.UniqueConstraint("sink", "alert_id"),
)
"""One row an alert and sink, in the order in which they were accepted."""

_OWED: Final = outbox.c.state.in_(sa.bindparam("owed", OWED, expanding=True, literal_execute=True))
_HEAD: Final = sa.Index("outbox_owed", outbox.c.sink, outbox.c.seq, sqlite_where=outbox.c.state.in_(OWED))
"""Holds only what is owed, so that finding the next batch costs the same whatever was ever delivered or waits."""

tally: Final = sa.Table(
    "outbox_tally",
    metadata,
    sa.Column("sink", sa.Text, primary_key=True),
    sa.Column("accepted", sa.BigInteger, nullable=False, server_default="0"),
    *(sa.Column(state, sa.BigInteger, nullable=False, server_default="0") for state in STATES),
    sa.CheckConstraint(f"accepted = {' + '.join(STATES)}", name="conservation"),
    *(sa.CheckConstraint(f"{state} >= 0") for state in STATES),
)
"""Rows of each sink by state, kept in the transaction that changes them: counting rows took 1 s for a million."""

cursors: Final = sa.Table(
    "cursors",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

positions: Final = sa.Table(
    "positions",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("position", sa.LargeBinary, nullable=False),
)

_MOST_ERROR: Final = 500
_MOST_IDS: Final = 1000
"""Ids in one statement; SQLite takes 32,766 parameters."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a sink is to be sent next: the oldest alerts still owed to it, and not before when."""

    alerts: list[Alert]
    not_before: int
    """Nanoseconds since 1970; it is that of the oldest, so a receiver that asked for a pause gets one from all."""


class Outbox:
    """The alerts of one instance, and one queue a sink, first in, first out."""

    def __init__(self, store: Store, sinks: Sequence[Sink]) -> None:
        self._store = store
        self._minimum = {sink.name: level_named(sink.minimum_level) for sink in sinks}

    def add(self, connection: sa.Connection, batch: Iterable[Alert]) -> list[Alert]:
        """Accept alerts in the caller's transaction; returns those that were not known yet.

        Each is owed to every sink whose minimum level it reaches, and counted as suppressed at the others. A sink
        that is configured later is owed what is accepted from then on.
        """
        offered = {alert.id: alert for alert in batch}
        known: set[str] = set()
        for ids in _cut(offered):
            known.update(connection.execute(sa.select(alerts.c.id).where(alerts.c.id.in_(ids))).scalars())
        fresh = [alert for alert in offered.values() if alert.id not in known]
        if not fresh:
            return []
        connection.execute(alerts.insert(), [_row(alert) for alert in fresh])
        for sink, minimum in self._minimum.items():
            owed = [alert.level_to >= minimum for alert in fresh]
            connection.execute(
                outbox.insert(),
                [
                    {"sink": sink, "alert_id": alert.id, "state": PENDING if due else SUPPRESSED}
                    for alert, due in zip(fresh, owed, strict=True)
                ],
            )
            pending = sum(owed)
            moved = {"accepted": len(fresh), PENDING: pending, SUPPRESSED: len(fresh) - pending}
            connection.execute(
                insert(tally)
                .values(sink=sink, **moved)
                .on_conflict_do_update(
                    index_elements=["sink"],
                    set_={name: tally.c[name] + count for name, count in moved.items()},
                )
            )
        return fresh

    def head(self, sink: str, *, limit: int) -> Head:
        """The oldest alerts that are owed to a sink, at most ``limit``."""
        query = (
            sa.select(outbox.c.next_attempt_at, alerts)
            .join(alerts, outbox.c.alert_id == alerts.c.id)
            .where(outbox.c.sink == sink, _OWED)
            .order_by(outbox.c.seq)
            .limit(limit)
        )
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
        return Head([_alert(row[1:]) for row in rows], rows[0][0] if rows else 0)

    def mark(
        self, sink: str, alert_ids: Sequence[str], state: str, *, next_attempt_at: int = 0, error: str = ""
    ) -> None:
        """Say what became of an attempt; durable once this returns.

        What is delivered or dead stays so: only rows that are still owed change.
        """
        moved = dict.fromkeys(STATES, 0)
        with self._store.transaction() as connection:
            for ids in _cut(alert_ids):
                rows = (outbox.c.sink == sink, outbox.c.alert_id.in_(ids), _OWED)
                before = sa.select(outbox.c.state, sa.func.count()).where(*rows).group_by(outbox.c.state)
                for old, count in connection.execute(before).all():
                    moved[old] -= count
                    moved[state] += count
                connection.execute(
                    outbox.update()
                    .where(*rows)
                    .values(
                        state=state,
                        attempts=outbox.c.attempts + 1,
                        next_attempt_at=next_attempt_at,
                        last_error=error[:_MOST_ERROR],
                    )
                )
            connection.execute(
                tally.update()
                .where(tally.c.sink == sink)
                .values({name: tally.c[name] + change for name, change in moved.items()})
            )

    def counts(self) -> dict[str, dict[str, int]]:
        """Alerts per sink and state; the states of a sink sum to what it accepted since it was configured."""
        counts = {sink: dict.fromkeys(STATES, 0) for sink in self._minimum}
        with self._store.reading() as connection:
            for row in connection.execute(sa.select(tally)).mappings():
                counts[row["sink"]] = {state: row[state] for state in STATES}
        return counts

    def page(self, *, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """Alerts as the API shows them, newest first, and how many there are."""
        with self._store.reading() as connection:
            rows, total = newest_first(connection, alerts, limit=limit, offset=offset)
        return [_alert(tuple(row.values())).to_json() for row in rows], total


def set_cursor(connection: sa.Connection, name: str, value: int) -> None:
    """Store how far something has come, in the caller's transaction."""
    statement = insert(cursors).values(name=name, value=value)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def get_cursor(connection: sa.Connection, name: str) -> int:
    """How far something has come; 0 at the beginning."""
    value: int | None = connection.execute(sa.select(cursors.c.value).where(cursors.c.name == name)).scalar()
    return value or 0


def set_positions(connection: sa.Connection, found: Mapping[str, bytes]) -> None:
    """Store where each source goes on, in the caller's transaction."""
    for source, position in found.items():
        statement = insert(positions).values(source=source, position=position)
        connection.execute(
            statement.on_conflict_do_update(index_elements=["source"], set_={"position": position})
        )


def get_positions(connection: sa.Connection) -> dict[str, bytes]:
    """Where each source goes on."""
    return {row.source: row.position for row in connection.execute(sa.select(positions))}


def now_ns() -> int:
    """The wall clock, in nanoseconds since 1970."""
    return time.time_ns()


def _cut(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while part := list(itertools.islice(rest, _MOST_IDS)):
        yield part


def _row(alert: Alert) -> dict[str, Any]:
    row = {column.name: getattr(alert, column.name) for column in alerts.c}
    return row | {
        "level_from": int(alert.level_from),
        "level_to": int(alert.level_to),
        "reasons": msgspec.json.encode(alert.reasons).decode(),
    }


def _alert(row: Sequence[Any]) -> Alert:
    """The alert of a row of ``alerts``, its columns in the order of the table."""
    values = dict(zip(alerts.c.keys(), row, strict=True))
    values["reasons"] = tuple(msgspec.json.decode(values["reasons"]))
    values["level_from"], values["level_to"] = Level(values["level_from"]), Level(values["level_to"])
    return Alert(**values)
