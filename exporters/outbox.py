"""Alerts and what is still owed to whom: written with the cursor in one transaction, drained at each sink's pace.

Owns the tables ``alerts``, ``outbox`` and ``cursors`` and the law that every sink keeps at every moment:
accepted = delivered + pending + parked + dead + suppressed. An alert is accepted once, by its id, however often it is
added. Does not own how anything is sent (``exporters.delivery``).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from exporters.store import Store, metadata, newest_first
from guardian.config import Sink
from guardian.decisions.record import iso
from guardian.levels import RECOMMENDED_ACTION, Level, level_named

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
    sa.Index("alerts_newest", "created_at", "id"),
)
outbox: Final = sa.Table(
    "outbox",
    metadata,
    sa.Column("sink", sa.Text, primary_key=True),
    sa.Column("alert_id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_attempt_at", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("last_error", sa.Text, nullable=False, server_default=""),
    sa.Index("outbox_due", "sink", "state", "next_attempt_at"),
    sqlite_with_rowid=False,
)
cursors: Final = sa.Table(
    "cursors",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

PENDING, DELIVERED, PARKED, DEAD, SUPPRESSED = STATES = (
    "pending",
    "delivered",
    "parked",
    "dead",
    "suppressed",
)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as it is stored and sent. Times in nanoseconds since 1970."""

    id: str
    created_at: int
    role: str
    entity: str
    layer: int
    level_from: Level
    level_to: Level
    score: float
    reasons: tuple[Mapping[str, Any], ...]
    event: int
    trace_id: str
    config: str
    synthetic: bool

    def to_json(self) -> dict[str, Any]:
        """The alert as the API shows it."""
        return {
            "id": self.id,
            "createdAt": iso(self.created_at),
            "role": self.role,
            "entity": self.entity,
            "layer": f"L{self.layer}" if self.layer >= 0 else None,
            "levelFrom": self.level_from.word,
            "levelTo": self.level_to.word,
            "score": self.score,
            "reasons": list(self.reasons),
            "recommendedAction": list(RECOMMENDED_ACTION[self.level_to]),
            "event": self.event,
            "traceId": self.trace_id,
            "config": self.config,
            "synthetic": self.synthetic,
        }


def alerts_from(batch: pa.RecordBatch, *, synthetic: bool) -> list[Alert]:
    """The rows of an ALERTS batch."""
    stamps = batch.column("ts").cast(pa.int64()).to_pylist()
    rows = batch.drop_columns(["ts"]).to_pylist()
    return [
        Alert(
            id=row["alert_id"].hex(),
            created_at=at,
            role=row["role"],
            entity=row["entity"],
            layer=row["layer"],
            level_from=Level(row["level_from"]),
            level_to=Level(row["level_to"]),
            score=row["score"],
            reasons=tuple(row["reasons"]),
            event=row["event"],
            trace_id=row["trace_id"].hex() if any(row["trace_id"]) else "",
            config=row["config"],
            synthetic=synthetic,
        )
        for at, row in zip(stamps, rows, strict=True)
    ]


class Outbox:
    """The alerts of one instance, and one queue a sink."""

    def __init__(self, store: Store, sinks: Sequence[Sink]) -> None:
        self._store = store
        self._minimum = {sink.name: level_named(sink.minimum_level) for sink in sinks}

    def add(self, connection: sa.Connection, batch: Iterable[Alert]) -> list[Alert]:
        """Accept alerts in the caller's transaction; returns those that were not known yet.

        Each is owed to every sink whose minimum level it reaches, and counted as suppressed at the others.
        """
        fresh = []
        for alert in batch:
            row = {
                "id": alert.id,
                "created_at": alert.created_at,
                "role": alert.role,
                "entity": alert.entity,
                "layer": alert.layer,
                "level_from": int(alert.level_from),
                "level_to": int(alert.level_to),
                "score": alert.score,
                "reasons": msgspec.json.encode(alert.reasons).decode(),
                "event": alert.event,
                "trace_id": alert.trace_id,
                "config": alert.config,
                "synthetic": alert.synthetic,
            }
            if connection.execute(insert(alerts).values(row).on_conflict_do_nothing()).rowcount:
                fresh.append(alert)
        owed = [
            {
                "sink": sink,
                "alert_id": alert.id,
                "state": PENDING if alert.level_to >= minimum else SUPPRESSED,
            }
            for alert in fresh
            for sink, minimum in self._minimum.items()
        ]
        if owed:
            connection.execute(outbox.insert(), owed)
        return fresh

    def due(self, sink: str, *, limit: int, now_ns: int) -> list[Alert]:
        """The alerts that a sink should be sent now, oldest first."""
        query = (
            sa.select(alerts)
            .join(outbox, outbox.c.alert_id == alerts.c.id)
            .where(
                outbox.c.sink == sink,
                outbox.c.state.in_((PENDING, PARKED)),
                outbox.c.next_attempt_at <= now_ns,
            )
            .order_by(alerts.c.created_at, alerts.c.id)
            .limit(limit)
        )
        with self._store.reading() as connection:
            return [_alert(row) for row in connection.execute(query)]

    def mark(
        self, sink: str, alert_ids: Sequence[str], state: str, *, next_attempt_at: int = 0, error: str = ""
    ) -> None:
        """Say what became of an attempt; durable once this returns."""
        with self._store.transaction() as connection:
            connection.execute(
                outbox.update()
                .where(outbox.c.sink == sink, outbox.c.alert_id.in_(alert_ids))
                .values(
                    state=state,
                    attempts=outbox.c.attempts + 1,
                    next_attempt_at=next_attempt_at,
                    last_error=error[:500],
                )
            )

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows per sink and state; the states of a sink sum to the alerts accepted since the sink was configured."""
        query = sa.select(outbox.c.sink, outbox.c.state, sa.func.count()).group_by(
            outbox.c.sink, outbox.c.state
        )
        counts = {sink: dict.fromkeys(STATES, 0) for sink in self._minimum}
        with self._store.reading() as connection:
            for sink, state, count in connection.execute(query):
                counts.setdefault(sink, dict.fromkeys(STATES, 0))[state] = count
        return counts

    def page(self, *, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """Alerts as the API shows them, newest first, and how many there are."""
        with self._store.reading() as connection:
            rows, total = newest_first(connection, alerts, limit=limit, offset=offset)
        return [_alert(row).to_json() for row in rows], total


def set_cursor(connection: sa.Connection, name: str, value: int) -> None:
    """Store how far something has come, in the caller's transaction."""
    statement = insert(cursors).values(name=name, value=value)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def get_cursor(connection: sa.Connection, name: str) -> int:
    """How far something has come; 0 at the beginning."""
    value: int | None = connection.execute(sa.select(cursors.c.value).where(cursors.c.name == name)).scalar()
    return value or 0


def now_ns() -> int:
    """The wall clock, in nanoseconds since 1970."""
    return time.time_ns()


def _alert(row: Any) -> Alert:
    values = dict(row) if isinstance(row, dict) else dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public way)
    values["reasons"] = tuple(msgspec.json.decode(values["reasons"]))
    values["level_from"], values["level_to"] = Level(values["level_from"]), Level(values["level_to"])
    return Alert(**values)
