"""How alerts leave a sink's queue unsent: handed to its fallback, or grown older than its retention.

Owns the two moves, each one transaction that keeps the counts of both sinks exact. Does not own when they happen
(``exporters.delivery``).
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from exporters.alert_rows import cut
from exporters.outbox import (
    ABOUT_ITSELF,
    DEAD,
    EXPIRED,
    HANDED_OVER,
    OWED,
    PENDING,
    SUPPRESSED,
    Mark,
    Outbox,
    count,
    outbox,
)

MOST: Final = 10_000
"""Rows that one transaction moves, so that other writers wait no longer than about a second."""

_c: Final = outbox.c


def hand_over(box: Outbox, sink: str, fallback: str, *, now: int) -> int:
    """Let the fallback owe what a sink is owed and could have been sent by now; returns how many rows moved.

    The sink counts them as suppressed, with the reason that they were handed over. The fallback accepts them, unless it
    was to have them anyway; what routes had kept from it, it owes now. A heartbeat stays: it is about its sink.
    """
    moved = 0
    while True:
        with box.store.transaction() as connection:
            part = _hand_part(connection, sink, fallback, now)
        moved += part
        if part < MOST:
            return moved


def _hand_part(connection: sa.Connection, sink: str, fallback: str, now: int) -> int:
    tried_or_due = sa.or_(_c.next_attempt_at <= now, _c.attempts > 0)
    query = (
        sa.select(_c.seq, _c.alert_id, _c.state)
        .where(_c.sink == sink, _c.state.in_(OWED), ~_c.heartbeat, tried_or_due)
        .order_by(_c.seq)
        .limit(MOST)
    )
    rows = connection.execute(query).all()
    if not rows:
        return 0
    there: dict[str, Any] = {}
    for ids in cut(row.alert_id for row in rows):
        known = sa.select(_c.alert_id, _c.seq, _c.state, _c.reason)
        known = known.where(_c.sink == fallback, _c.alert_id.in_(ids))
        there.update({row.alert_id: row for row in connection.execute(known)})
    woken = [row.seq for row in there.values() if row.state == SUPPRESSED and row.reason != ABOUT_ITSELF]
    fresh = [row.alert_id for row in rows if row.alert_id not in there]
    if fresh:
        new = {"sink": fallback, "state": PENDING, "accepted_at": now, "changed_at": now}
        connection.execute(outbox.insert(), [new | {"alert_id": id_} for id_ in fresh])
    _set(connection, woken, state=PENDING, reason="", accepted_at=now, changed_at=now, next_attempt_at=0)
    count(connection, fallback, {PENDING: len(fresh) + len(woken), SUPPRESSED: -len(woken)})
    _set(connection, [row.seq for row in rows], state=SUPPRESSED, reason=HANDED_OVER, changed_at=now)
    gone = {state: -sum(row.state == state for row in rows) for state in OWED}
    count(connection, sink, gone | {SUPPRESSED: len(rows)})
    return len(rows)


def expire(box: Outbox, sink: str, *, before: int, said: str, now: int) -> int:
    """Make dead letters of what a sink has been owed since before a time; returns of how many.

    Args:
        box: where they wait.
        sink: whose they are.
        before: nanoseconds since 1970.
        said: what the receiver answered last.
        now: nanoseconds since 1970.
    """
    query = sa.select(_c.seq).where(_c.sink == sink, _c.state.in_(OWED), _c.accepted_at < before)
    with box.store.reading() as connection:
        seqs = list(connection.execute(query.limit(MOST)).scalars())
    if seqs:
        box.mark(sink, [Mark(seqs, DEAD, said=said, reason=EXPIRED)], at=now)
    return len(seqs)


def _set(connection: sa.Connection, seqs: list[int], **values: Any) -> None:
    for part in cut(seqs):
        connection.execute(outbox.update().where(_c.seq.in_(part)).values(values))
