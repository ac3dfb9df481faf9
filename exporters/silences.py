"""Silences: which alerts nobody is to be told of, kept with who said so, why and until when.

Owns the table, which alerts a silence is about, and that adding, ending and expiring stand in the register (MSR), each
in one transaction with the row. Does not own what happens to a silenced alert (``exporters.policy``).

Personal data: entity, kind, reason and owner stand in this table only; the register gets keyed commitments of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

import msgspec
import sqlalchemy as sa

from exporters.alert import Alert
from exporters.msr.log import Entry
from exporters.store import Store, metadata, newest_first
from guardian.decisions.record import iso
from guardian.decisions.silence import Silence
from guardian.errors import Problem, RequestError
from guardian.levels import Level, level_named

MOST: Final = 1000
"""Silences that are not over, at once: each alert is held against all of them."""

ADDED, ENDED, EXPIRED = "guardian.silence_added", "guardian.silence_ended", "guardian.silence_expired"
"""What they are called in the register."""

silences: Final = sa.Table(
    "silences",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("role", sa.Text),
    sa.Column("entity", sa.Text),
    sa.Column("layer", sa.Text),
    sa.Column("channel", sa.Text),
    sa.Column("kind", sa.Text),
    sa.Column("level_at_most", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("starts_at", sa.BigInteger, nullable=False),
    sa.Column("ends_at", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("ended_by", sa.Text),
    sa.Column("over", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("msr_index", sa.BigInteger, nullable=False),
    sa.Index("silences_newest", "created_at", "id"),
)
"""``ended_by`` is who ended it early. ``over`` = its end stands in the register; ``msr_index`` is that of its beginning."""

_SILENCE: Final = tuple(silences.c[name] for name in Silence.__struct_fields__)
_NOT_OVER: Final = silences.c.over.is_(sa.false())
_OPEN: Final = sa.Index("silences_not_over", silences.c.ends_at, sqlite_where=_NOT_OVER)


class Registering(Protocol):
    """The part of ``exporters.register.Register`` that is needed here."""

    def write(self, connection: sa.Connection, entries: Sequence[Entry]) -> list[int]:
        """Register entries in the caller's transaction; returns their indices."""
        ...


class Committing(Protocol):
    """The part of ``exporters.pseudonyms.Pseudonyms`` that is needed here."""

    def of(self, text: str) -> str:
        """The keyed commitment of a text."""
        ...


class Silences:
    """The silences of one instance."""

    def __init__(self, store: Store, register: Registering, pseudonyms: Committing) -> None:
        self._store = store
        self._register = register
        self._pseudonyms = pseudonyms

    def add(self, silence: Silence) -> dict[str, Any]:
        """Keep a silence and register it, durably; as the API shows it.

        Raises:
            RequestError: there are too many already.
        """
        with self._store.transaction() as connection:
            count = sa.select(sa.func.count()).select_from(silences).where(_NOT_OVER)
            if connection.execute(count).scalar_one() >= MOST:
                problem = Problem("(body)", f"at most {MOST} silences that are not over", "one more")
                raise RequestError([problem])
            (index,) = self._register.write(connection, [self._begun(silence)])
            row = msgspec.structs.asdict(silence) | {"msr_index": index}
            connection.execute(silences.insert().values(**row))
        return _shown(row | {"ended_by": None}, silence.created_at)

    def end(self, silence_id: str, *, actor_id: str, now: int) -> dict[str, Any] | None:
        """End one that is not over and register that, durably; as the API shows it. None = there is none."""
        with self._store.transaction() as connection:
            found = silences.c.id == silence_id
            query = sa.select(silences).where(found, _NOT_OVER, silences.c.ends_at > now)
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                return None
            entry = Entry(self._pseudonyms.of(actor_id), ENDED, {"silenceId": silence_id}, now)
            self._register.write(connection, [entry])
            changed: dict[str, Any] = {"ends_at": now, "ended_by": actor_id, "over": True}
            connection.execute(silences.update().where(found).values(**changed))
        return _shown(dict(row) | changed, now)

    def expire(self, connection: sa.Connection, now: int) -> int:
        """Register those that have come to their end, in the caller's transaction; how many there were."""
        ended = connection.execute(
            sa.select(silences.c.id, silences.c.ends_at)
            .where(_NOT_OVER, silences.c.ends_at <= now)
            .order_by(silences.c.ends_at, silences.c.id)
        ).all()
        if ended:
            entries = [
                Entry("", EXPIRED, {"silenceId": row.id, "endsAt": iso(row.ends_at)}, now) for row in ended
            ]
            self._register.write(connection, entries)
            over = silences.update().where(_NOT_OVER, silences.c.ends_at <= now).values(over=True)
            connection.execute(over)
        return len(ended)

    def between(self, connection: sa.Connection, first: int, last: int) -> list[Silence]:
        """Those in force at some time from ``first`` to ``last``, both counted in; oldest first."""
        query = (
            sa.select(*_SILENCE)
            .where(silences.c.ends_at > first, silences.c.starts_at <= last)
            .order_by(silences.c.created_at, silences.c.id)
        )
        return [Silence(**row) for row in connection.execute(query).mappings()]

    def page(self, *, now: int, active: bool, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """One page as the API shows it, newest first; ``active`` = only those in force; and how many there are."""
        with self._store.reading() as connection:
            if not active:
                rows, total = newest_first(connection, silences, limit=limit, offset=offset)
            else:
                found = (_NOT_OVER, silences.c.starts_at <= now, silences.c.ends_at > now)
                count = sa.select(sa.func.count()).select_from(silences).where(*found)
                total = connection.execute(count).scalar_one()
                query = sa.select(silences).where(*found).limit(limit).offset(offset)
                query = query.order_by(silences.c.created_at.desc(), silences.c.id.desc())
                rows = [dict(row) for row in connection.execute(query).mappings()]
        return [_shown(row, now) for row in rows], total

    def _begun(self, silence: Silence) -> Entry:
        of = self._pseudonyms.of
        payload = {
            "silenceId": silence.id,
            "role": silence.role,
            "entity": of(silence.entity or ""),
            "layer": silence.layer,
            "channel": silence.channel,
            "kind": of(silence.kind or ""),  # a badly mapped one may hold a name
            "levelAtMost": silence.level_at_most,
            "reasonCommitment": of(silence.reason),
            "startsAt": iso(silence.starts_at),
            "endsAt": iso(silence.ends_at),
        }
        return Entry(of(silence.owner), ADDED, payload, silence.created_at)


def silenced_by(known: Sequence[Silence], alert: Alert, level: Level, at: int) -> str | None:
    """Id of the first silence that is about an alert of a level at a time; None = there is none.

    An entity with ``*`` in its name is met by its own name too.
    """
    for each in known:
        if each.starts_at <= at < each.ends_at and _is_about(each, alert, level):
            return each.id
    return None


def _is_about(silence: Silence, alert: Alert, level: Level) -> bool:
    return (
        silence.role in (None, alert.role)
        and (silence.layer is None or silence.layer == f"L{alert.layer}")
        and level <= level_named(silence.level_at_most)
        and (
            silence.entity in (None, alert.entity)
            or fnmatchcase(alert.entity, silence.entity.replace("[", "[[]"))
        )
        and _has(alert, "channel", silence.channel)
        and _has(alert, "kind", silence.kind)
    )


def _has(alert: Alert, key: str, value: str | None) -> bool:
    return value is None or any(reason.get(key) == value for reason in alert.reasons)


def _shown(row: dict[str, Any], now: int) -> dict[str, Any]:
    if row["ended_by"] is not None:
        state = "ended"
    elif row["starts_at"] > now:
        state = "pending"
    else:
        state = "active" if row["ends_at"] > now else "expired"
    return {
        "id": row["id"],
        **{name: row[name] for name in ("role", "entity", "layer", "channel", "kind")},
        "levelAtMost": row["level_at_most"],
        "owner": row["owner"],
        "reason": row["reason"],
        "startsAt": iso(row["starts_at"]),
        "endsAt": iso(row["ends_at"]),
        "createdAt": iso(row["created_at"]),
        "state": state,
        "endedBy": row["ended_by"],
        "msrIndex": row["msr_index"],
    }
