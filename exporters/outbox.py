"""Alerts and what is still owed to whom: written with the cursor in one transaction, drained at each sink's pace.

Owns the tables ``outbox``, ``outbox_tally``, ``cursors`` and ``positions`` and the law that every sink keeps at every
moment: accepted = delivered + pending + parked + dead + suppressed. The law is a constraint of the database: a
transaction that would break it fails. An alert is accepted once, by its id, however often it is added. Does not own
how anything is sent (``exporters.delivery``), which sinks an alert is owed to beyond a minimum level
(``exporters.policy``), nor how rows leave a queue unsent (``exporters.handover``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from exporters import own_alerts
from exporters.alert import Alert, Decision
from exporters.alert_rows import alert_of, alerts, known_of, row_of
from exporters.breaker import Standing, keep_standing, standing_of
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
"""Pending: owed. Parked: owed, and the receiver wants another credential or address. Dead: not sent any more, and kept
for a person to look at. Suppressed: never to be sent to this sink."""

OWED: Final = (PENDING, PARKED)

REFUSED, UNRENDERED, EXPIRED = "refused", "not_rendered", "expired"
"""Why a row is dead: the receiver will never take it, it has no form, or it waited longer than the sink's retention."""
POLICY, ABOUT_ITSELF, HANDED_OVER, DROPPED = "policy", "about_itself", "handed_over", "dropped"
"""Why a row is suppressed: routes and levels, it tells about this very sink, the fallback took over, a person said so."""

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
    sa.Column("accepted_at", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("changed_at", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("history", sa.Text, nullable=False, server_default="[]"),
    sa.Column("heartbeat", sa.Boolean, nullable=False, server_default="0"),
    sa.Column("body", sa.LargeBinary),
    sa.Column("edited", sa.Boolean, nullable=False, server_default="0"),
    sa.UniqueConstraint("sink", "alert_id"),
)
"""One row an alert and sink, in the order in which they were accepted. ``body`` is what a receiver refused, or with
``edited`` what a person put in its place; ``history`` what happened to it that was no delivery, the first and the last
times. A heartbeat has no row in ``alerts``."""

_OWED: Final = outbox.c.state.in_(sa.bindparam("owed", OWED, expanding=True, literal_execute=True))
_HEAD: Final = sa.Index(
    "outbox_owed",
    outbox.c.sink,
    outbox.c.seq,
    outbox.c.next_attempt_at,
    sqlite_where=outbox.c.state.in_(OWED),
)
"""Holds only what is owed, so that finding the next batch costs the same whatever was ever delivered or waits."""
_DEAD: Final = sa.Index("outbox_dead", outbox.c.sink, outbox.c.seq, sqlite_where=outbox.c.state == DEAD)

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

LONGEST_PUT_OFF_NS: Final = 86_400 * 10**9
"""A row that may be sent only later than this is due: the wall clock was set back."""

_MOST_ERROR: Final = 500

# The unary plus keeps SQLite from walking all that is owed to find a few rows by their number.
_BEFORE: Final = sa.text(
    """SELECT state, count(*) FROM outbox
    WHERE seq IN (SELECT value FROM json_each(:seqs)) AND +sink = :sink AND +state IN ('pending', 'parked')
    GROUP BY state"""
)
_DELIVERED: Final = sa.text(
    """UPDATE outbox SET state = 'delivered', attempts = attempts + 1, last_error = '', reason = '', body = NULL,
      changed_at = :at
    WHERE seq IN (SELECT value FROM json_each(:seqs)) AND +sink = :sink AND +state IN ('pending', 'parked')"""
)
_KEPT: Final = sa.text(
    """UPDATE outbox SET state = :state, attempts = attempts + :tried, last_error = :said, reason = :reason,
      next_attempt_at = :not_before, changed_at = :at, body = coalesce(:body, body), history = json_insert(
        CASE WHEN json_array_length(history) >= 10 THEN json_remove(history, '$[1]') ELSE history END,
        '$[#]', json_object('at', :at, 'state', :state, 'said', :said)
      )
    WHERE seq IN (SELECT value FROM json_each(:seqs)) AND +sink = :sink AND +state IN ('pending', 'parked')"""
)
"""The history keeps its first entry and the last nine."""


class Policy(Protocol):
    """Which sinks an alert is owed to, and what else is to be told. Its own memory is in the same database."""

    def decide(self, connection: sa.Connection, fresh: list[Alert]) -> list[Decision]:
        """What becomes of alerts that were not known before, in the caller's transaction."""
        ...

    def due(self, connection: sa.Connection, now: int) -> list[Decision]:
        """Alerts that the policy itself raises by now, about what was held back."""
        ...

    def resolve(
        self, connection: sa.Connection, still_open: Callable[[str, str], Level], *, now: int
    ) -> list[Decision]:
        """The ends of findings whose entity has no level any more."""
        ...


class Levels:
    """Each alert is owed at once to every sink whose minimum level it reaches, and suppressed at the others."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._minimum = {sink.name: level_named(sink.minimum_level) for sink in sinks}

    def decide(self, connection: sa.Connection, fresh: list[Alert]) -> list[Decision]:  # noqa: ARG002  (Policy's)
        """See ``Policy``. The end of a finding is told to whom its opening was."""
        decided = []
        for alert in fresh:
            level = max(alert.level_from, alert.level_to) if alert.activity == "resolved" else alert.level_to
            owed = {sink: 0 for sink, minimum in self._minimum.items() if level >= minimum}
            decided.append(Decision(alert, owed, frozenset(self._minimum.keys() - owed)))
        return decided

    def due(self, connection: sa.Connection, now: int) -> list[Decision]:  # noqa: ARG002  (Policy's)
        """Nothing."""
        return []

    def resolve(
        self,
        connection: sa.Connection,  # noqa: ARG002  (Policy's)
        still_open: Callable[[str, str], Level],  # noqa: ARG002
        *,
        now: int,  # noqa: ARG002
    ) -> list[Decision]:
        """Nothing: it remembers no findings."""
        return []


class Item(NamedTuple):
    """One alert that is owed to a sink."""

    seq: int
    alert: Alert
    accepted_at: int
    heartbeat: bool
    body: bytes | None
    """What a person put in the place of its form."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a sink is to be sent next: the oldest items that are due; and when the next one is, if none is now."""

    items: list[Item]
    later: int = 0
    """Nanoseconds since 1970; 0 = nothing is owed at all."""


class Mark(NamedTuple):
    """What became of rows that were tried together."""

    seqs: Sequence[int]
    state: str
    said: str = ""
    """By the receiver."""
    reason: str = ""
    not_before: int = 0
    body: bytes | None = None
    """What was refused."""


class Outbox:
    """The alerts of one instance, and one queue a sink, first in, first out."""

    def __init__(
        self,
        store: Store,
        sinks: Sequence[Sink],
        policy: Policy | None = None,
        *,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.store = store
        self._sinks = [sink.name for sink in sinks]
        self._policy = policy or Levels(sinks)
        self._clock = clock

    def add(self, connection: sa.Connection, batch: Iterable[Alert]) -> list[Alert]:
        """Accept alerts in the caller's transaction; returns those that were not known yet, as the policy tells them.

        A sink that is configured later is owed what is accepted from then on.
        """
        offered = {alert.id: alert for alert in batch}
        known = known_of(connection, offered)
        fresh = [alert for alert in offered.values() if alert.id not in known]
        return self._accept(connection, self._policy.decide(connection, fresh)) if fresh else []

    def raise_due(self, now: int, standing: Callable[[str, str], Level]) -> list[Alert]:
        """Accept what is to be told because time passed; to be called every second or so.

        ``standing`` gives the level of an entity as it stands, by role and name: a finding whose entity has none is over.
        """
        with self.store.transaction() as connection:
            found = self._policy.due(connection, now) + self._policy.resolve(connection, standing, now=now)
            decided = {each.alert.id: each for each in found}
            known = known_of(connection, decided)
            return self._accept(connection, [each for id_, each in decided.items() if id_ not in known])

    def _accept(self, connection: sa.Connection, decided: Sequence[Decision], about: str = "") -> list[Alert]:
        """Store alerts and what is owed; the sink that they are about is not told about itself."""
        if not decided:
            return []
        now = self._clock()
        connection.execute(alerts.insert(), [row_of(each.alert) for each in decided])
        for sink in self._sinks:
            rows: list[dict[str, Any]] = []
            for each in decided:
                row = {"sink": sink, "alert_id": each.alert.id, "accepted_at": now, "changed_at": now}
                if sink in each.owed and sink != about:
                    rows.append(row | {"state": PENDING, "reason": "", "next_attempt_at": each.owed[sink]})
                elif sink in each.suppressed or sink in each.owed:
                    reason = POLICY if sink != about else ABOUT_ITSELF
                    rows.append(row | {"state": SUPPRESSED, "reason": reason, "next_attempt_at": 0})
            if rows:
                connection.execute(outbox.insert(), rows)
                pending = sum(row["state"] == PENDING for row in rows)
                count(connection, sink, {PENDING: pending, SUPPRESSED: len(rows) - pending})
        return [each.alert for each in decided]

    def beat(self, sink: str, at: int, standing: Standing) -> bool:
        """Owe a sink a heartbeat, unless one is owed still; the one before leaves the table and the counts."""
        with self.store.transaction() as connection:
            beats = (outbox.c.sink == sink, outbox.c.heartbeat)
            found = connection.execute(sa.select(outbox.c.seq, outbox.c.state).where(*beats)).all()
            keep_standing(connection, sink, standing)
            if any(row.state in OWED for row in found):
                return False
            moved = {PENDING: 1}
            for row in found:
                moved[row.state] = moved.get(row.state, 0) - 1
            connection.execute(outbox.delete().where(*beats))
            beat = own_alerts.heartbeat(sink, at)
            new = {"sink": sink, "alert_id": beat.id, "state": PENDING, "heartbeat": True}
            connection.execute(outbox.insert(), new | {"accepted_at": at, "changed_at": at})
            count(connection, sink, moved)
        return True

    def head(self, sink: str, *, limit: int, now: int) -> Head:
        """The oldest items that are owed to a sink and due, at most ``limit``."""
        at = outbox.c.next_attempt_at
        owed = (outbox.c.sink == sink, _OWED)
        query = (
            sa.select(
                outbox.c.seq,
                outbox.c.accepted_at,
                outbox.c.heartbeat,
                outbox.c.body,
                outbox.c.alert_id,
                alerts,
            )
            .join(alerts, outbox.c.alert_id == alerts.c.id, isouter=True)
            .where(*owed, sa.or_(at <= now, at > now + LONGEST_PUT_OFF_NS))
            .order_by(outbox.c.seq)
            .limit(limit)
        )
        with self.store.reading() as connection:
            rows = connection.execute(query).all()
            if rows:
                return Head([_item(sink, row) for row in rows])
            return Head([], connection.execute(sa.select(sa.func.min(at)).where(*owed)).scalar() or 0)

    def mark(
        self,
        sink: str,
        marks: Sequence[Mark],
        *,
        at: int,
        standing: Standing | None = None,
        tell: Alert | None = None,
    ) -> None:
        """Say what became of an attempt, and how the sink stands after it; durable once this returns.

        What is delivered, dead or suppressed stays so: only rows that are still owed change. ``tell`` is an alert
        about this very sink, for the others.
        """
        moved = dict.fromkeys(STATES, 0)
        with self.store.transaction() as connection:
            for mark in marks:
                rows = {"sink": sink, "seqs": msgspec.json.encode(mark.seqs).decode()}
                for old, number in connection.execute(_BEFORE, rows).all():
                    moved[old] -= number
                    moved[mark.state] += number
                if mark.state == DELIVERED:
                    connection.execute(_DELIVERED, rows | {"at": at})
                    continue
                told = {"state": mark.state, "said": mark.said[:_MOST_ERROR], "reason": mark.reason}
                connection.execute(
                    _KEPT,
                    rows
                    | told
                    | {
                        "tried": mark.reason != EXPIRED,
                        "not_before": mark.not_before,
                        "body": mark.body,
                        "at": at,
                    },
                )
            count(connection, sink, moved)
            if standing is not None:
                keep_standing(connection, sink, standing)
            if tell is not None and not known_of(connection, [tell.id]):
                self._accept(connection, self._policy.decide(connection, [tell]), about=sink)

    def standing(self, sink: str) -> Standing:
        """How a sink stood when that last changed."""
        with self.store.reading() as connection:
            return standing_of(connection, sink)

    def counts(self) -> dict[str, dict[str, int]]:
        """Alerts per sink and state; the states of a sink sum to what it accepted since it was configured."""
        counts = {sink: dict.fromkeys(STATES, 0) for sink in self._sinks}
        with self.store.reading() as connection:
            for row in connection.execute(sa.select(tally)).mappings():
                counts[row["sink"]] = {state: row[state] for state in STATES}
        return counts

    def oldest(self) -> dict[str, int]:
        """When the head of each queue was accepted, nanoseconds since 1970; a sink that is owed nothing is left out."""
        found = {}
        with self.store.reading() as connection:
            for sink in self._sinks:
                query = sa.select(outbox.c.accepted_at).where(outbox.c.sink == sink, _OWED)
                at = connection.execute(query.order_by(outbox.c.seq).limit(1)).scalar()
                if at is not None:
                    found[sink] = at
        return found

    def page(self, *, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """Alerts as the API shows them, newest first, and how many there are."""
        with self.store.reading() as connection:
            rows, total = newest_first(connection, alerts, limit=limit, offset=offset)
        return [alert_of(tuple(row.values())).to_json() for row in rows], total


def count(connection: sa.Connection, sink: str, moved: Mapping[str, int]) -> None:
    """Add to the counts of a sink, in the transaction that changes its rows; what is new to it counts as accepted."""
    changes = {state: change for state, change in moved.items() if change}
    if not changes:
        return
    changes["accepted"] = sum(changes.values())
    sums = {name: tally.c[name] + change for name, change in changes.items()}
    # Not an upsert: SQLite checks the constraints of the row to be inserted, which may hold less than nothing.
    if not connection.execute(tally.update().where(tally.c.sink == sink).values(sums)).rowcount:
        connection.execute(tally.insert().values(sink=sink, **changes))


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


def _item(sink: str, row: Sequence[Any]) -> Item:
    seq, accepted_at, heartbeat, body, _id, *alert = row
    made = own_alerts.heartbeat(sink, accepted_at) if heartbeat else alert_of(alert)
    return Item(seq, made, accepted_at, bool(heartbeat), body)
