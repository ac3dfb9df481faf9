"""Where decisions are kept: EOCT evaluations, Isabella's decisions, protocol events, acknowledgements, and what they tell.

Owns the six tables, what of a decision goes into the register (MSR and BookPI), and the one transaction that keeps
records and register together or not at all. Does not own what a decision means (``guardian.decisions``) nor the
register itself.

Personal data: prompt, response, purpose, payload, notes, what and why somebody acknowledges, and the names of actors and
subjects stand in these tables only, where they can be erased. The register gets keyed commitments of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from exporters.msr.log import Entry
from exporters.pseudonyms import Pseudonyms
from exporters.register import Register
from exporters.store import Store, metadata, newest_first
from guardian.decisions.isabella import VERBS, explanation
from guardian.decisions.protocols import Evaluation
from guardian.decisions.record import (
    Acknowledgement,
    AcknowledgementAction,
    EoctRecord,
    IsabellaRecord,
    ProtocolEvent,
    Record,
    iso,
)

About = tuple[str, str, str]
"""What an acknowledgement is about: role, entity and kind."""


class _Json(TypeDecorator[Any]):
    """JSON as text, written with sorted keys, so that the same record is the same bytes."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str:  # noqa: ARG002  (SQLAlchemy's signature)
        return msgspec.json.encode(value, order="sorted").decode()

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:  # noqa: ARG002  (same)
        return msgspec.json.decode(value)


def _table(name: str, *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("id", sa.Text, primary_key=True),
        *columns,
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Index(f"{name}_newest", "created_at", "id"),
    )


def _msr_index() -> sa.Column[Any]:
    return sa.Column("msr_index", sa.BigInteger)


EOCT_EVALUATIONS: Final = _table(
    "eoct_evaluations",
    sa.Column("actor_id", sa.Text),
    sa.Column("subject_type", sa.Text, nullable=False),
    sa.Column("subject_id", sa.Text),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("risk", sa.Float, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("risk_level", sa.Text, nullable=False),
    sa.Column("reasons", _Json, nullable=False),
    sa.Column("contributions", _Json, nullable=False),
    sa.Column("profile", sa.Text, nullable=False),
    sa.Column("notes", sa.Text),
    _msr_index(),
)
"""``msr_index`` is null for what the register does not hold by itself: approved/low, or part of a protocol evaluation."""

ISABELLA_DECISIONS: Final = _table(
    "isabella_decisions",
    sa.Column("actor_id", sa.Text, nullable=False),
    sa.Column("prompt", sa.Text, nullable=False),
    sa.Column("response", sa.Text, nullable=False),
    sa.Column("ethics_score", sa.Float),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("verb_known", sa.Boolean, nullable=False),
    sa.Column("reasons", _Json, nullable=False),
    sa.Column("context", _Json, nullable=False),
    _msr_index(),
)

PROTOCOL_EVENTS: Final = _table(
    "protocol_events",
    sa.Column("actor_id", sa.Text, nullable=False),
    sa.Column("protocol_id", sa.Text, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("command", _Json, nullable=False),
    sa.Column("decision", _Json, nullable=False),
    _msr_index(),
)

GUARDIAN_EVENTS: Final = _table(
    "guardian_events",
    sa.Column("protocol_id", sa.Text),
    sa.Column("threat_level", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("metadata", _Json, nullable=False),
)

XR_EVENTS: Final = _table(
    "xr_events",
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("scene_id", sa.Text, nullable=False),
    sa.Column("payload", _Json, nullable=False),
)

ACKNOWLEDGEMENTS: Final = _table(
    "acknowledgements",
    sa.Column("actor_id", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("entity", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("until", sa.BigInteger),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("replaced_by", sa.Text),
    _msr_index(),
)
"""``replaced_by`` is the id of the next one about the same role, entity and kind; null for the newest."""

_NEWEST: Final = ACKNOWLEDGEMENTS.c.replaced_by.is_(None)
_ABOUT: Final = tuple(ACKNOWLEDGEMENTS.c[name] for name in ("role", "entity", "kind"))
_ABOUT_NEWEST: Final = sa.Index("acknowledgements_about", *_ABOUT, sqlite_where=_NEWEST)

_ACKNOWLEDGED: Final[dict[AcknowledgementAction, str]] = {
    "acknowledge": "guardian.acknowledged",
    "snooze": "guardian.snoozed",
    "withdraw": "guardian.withdrawn",
}
"""What each is called in the register."""


class Records:
    """The kept decisions of one instance.

    Each ``save_…`` is one transaction: when it returns, all of its records and register entries are durable; when it
    raises, none exists. An id that is there already is refused by the database (``sqlalchemy.exc.IntegrityError``).
    """

    def __init__(self, store: Store, register: Register, pseudonyms: Pseudonyms) -> None:
        self._store = store
        self._register = register
        self._pseudonyms = pseudonyms

    def save_protocol(self, evaluation: Evaluation) -> int:
        """Keep one evaluation: event, guardian event, EOCT and Isabella record, XR event, and one register entry.

        Returns:
            The index of its register entry.
        """
        with self._store.transaction() as connection:
            (index,) = self._register.write(connection, [self._told(evaluation.event)])
            _insert(connection, PROTOCOL_EVENTS, evaluation.event, msr_index=index)
            _insert(connection, EOCT_EVALUATIONS, evaluation.eoct, msr_index=None)
            _insert(connection, ISABELLA_DECISIONS, evaluation.isabella, msr_index=None)
            _insert(connection, GUARDIAN_EVENTS, evaluation.guardian)
            _insert(connection, XR_EVENTS, evaluation.xr)
        return index

    def save_eoct(self, record: EoctRecord) -> int | None:
        """Keep one ethical evaluation; any verdict other than approved/low also goes into the register.

        Returns:
            The index of its register entry, or None.
        """
        with self._store.transaction() as connection:
            index = None
            if (record.verdict, record.risk_level) != ("approved", "low"):
                (index,) = self._register.write(connection, [self._told(record)])
            _insert(connection, EOCT_EVALUATIONS, record, msr_index=index)
        return index

    def save_isabella(self, record: IsabellaRecord) -> int:
        """Keep one decision of Isabella, and its register entry.

        Returns:
            The index of its register entry.
        """
        with self._store.transaction() as connection:
            (index,) = self._register.write(connection, [self._told(record)])
            _insert(connection, ISABELLA_DECISIONS, record, msr_index=index)
        return index

    def save_acknowledgements(
        self, connection: sa.Connection, records: Sequence[Acknowledgement]
    ) -> list[int]:
        """Keep acknowledgements in their order, and their register entries, in the caller's transaction.

        Returns:
            The index of each one's register entry.
        """
        indices = self._register.write(connection, [self._told(record) for record in records])
        for record, index in zip(records, indices, strict=True):
            about = [column == getattr(record, column.name) for column in _ABOUT]
            connection.execute(ACKNOWLEDGEMENTS.update().where(*about, _NEWEST).values(replaced_by=record.id))
            _insert(connection, ACKNOWLEDGEMENTS, record, msr_index=index)
        return indices

    def is_acknowledged(self, about: About) -> bool:
        """Whether the newest word about a role, entity and kind is not a withdrawal; its end may have passed."""
        found = (column == value for column, value in zip(_ABOUT, about, strict=True))
        with self._store.reading() as connection:
            action = connection.execute(sa.select(ACKNOWLEDGEMENTS.c.action).where(*found, _NEWEST)).scalar()
        return action not in (None, "withdraw")

    def acknowledgements(
        self, in_force: Collection[About], *, active: bool, limit: int, offset: int
    ) -> dict[str, Any]:
        """One page of acknowledgements as ``page`` gives it, each with whether it is active.

        Args:
            in_force: what the engine keeps quiet now; a set.
            active: only those that are the reason for it.
            limit: most of them.
            offset: how many are passed over.
        """
        table = ACKNOWLEDGEMENTS
        with self._store.reading() as connection:
            if active:
                found = connection.execute(
                    sa.select(table.c.id, *_ABOUT)
                    .where(_NEWEST, table.c.action != "withdraw")
                    .order_by(table.c.created_at.desc(), table.c.id.desc())
                )
                ids = [row.id for row in found if (row.role, row.entity, row.kind) in in_force]
                query = sa.select(table).where(table.c.id.in_(ids[offset : offset + limit]))
                query = query.order_by(table.c.created_at.desc(), table.c.id.desc())
                rows = [dict(row) for row in connection.execute(query).mappings()]
                total = len(ids)
            else:
                rows, total = newest_first(connection, table, limit=limit, offset=offset)
        return {
            "items": [
                _shown(table, row) | {"active": _is_active(row) and _about(row) in in_force} for row in rows
            ],
            "total": total,
        }

    def page(self, table: sa.Table, *, limit: int, offset: int) -> dict[str, Any]:
        """One page of one of the tables of this module as ``{"items": […], "total": n}``, newest first."""
        with self._store.reading() as connection:
            rows, total = newest_first(connection, table, limit=limit, offset=offset)
        return {"items": [_shown(table, row) for row in rows], "total": total}

    def _told(self, record: ProtocolEvent | EoctRecord | IsabellaRecord | Acknowledgement) -> Entry:
        if isinstance(record, Acknowledgement):
            action, payload = _ACKNOWLEDGED[record.action], self._acknowledgement(record)
        elif isinstance(record, ProtocolEvent):
            action, payload = "protocol.evaluated", self._protocol(record)
        elif isinstance(record, EoctRecord):
            action, payload = "eoct.evaluated", self._eoct(record)
        else:
            action, payload = "isabella.decided", self._isabella(record)
        actor = self._pseudonyms.of(record.actor_id) if record.actor_id else ""
        return Entry(actor_id=actor, action=action, payload=payload, created_at=record.created_at)

    def _protocol(self, event: ProtocolEvent) -> dict[str, Any]:
        return {
            "eventId": event.id,
            "protocolId": event.protocol_id,
            "action": event.command.action,
            "layer": event.command.layer,
            "allowed": event.decision.allowed,
            "phase": event.phase,
            "reasons": list(event.decision.reasons),
            "severity": event.decision.severity,
            "purposeDigest": self._pseudonyms.of(event.command.purpose),
        }

    def _eoct(self, record: EoctRecord) -> dict[str, Any]:
        return {
            "evaluationId": record.id,
            "subjectType": record.subject_type,
            "subject": self._pseudonyms.of(record.subject_id) if record.subject_id else None,
            "score": record.score,
            "risk": record.risk,
            "verdict": record.verdict,
            "riskLevel": record.risk_level,
            "reasons": list(record.reasons),
            "contributions": record.contributions,
        }

    def _isabella(self, record: IsabellaRecord) -> dict[str, Any]:
        verb = record.verb.strip().lower()
        return {
            "decisionId": record.id,
            "protocolId": record.context.protocol_id,
            "action": record.context.action,
            "layer": record.context.layer,
            "outcome": record.outcome,
            "verb": verb if verb in VERBS else "unknown",  # an unknown one is free text
            "ethicsScore": record.ethics_score,
            "promptCommitment": self._pseudonyms.of(record.prompt),
            "responseCommitment": self._pseudonyms.of(record.response),
        }

    def _acknowledgement(self, record: Acknowledgement) -> dict[str, Any]:
        payload = {
            "acknowledgementId": record.id,
            "role": record.role,
            "entity": self._pseudonyms.of(record.entity),
            "kind": self._pseudonyms.of(record.kind),  # a badly mapped one may hold a name
            "reasonCommitment": self._pseudonyms.of(record.reason),
        }
        if record.action != "withdraw":
            payload["until"] = "withdrawn" if record.until is None else iso(record.until)
        return payload


def _insert(connection: sa.Connection, table: sa.Table, record: Record, **more: Any) -> None:
    connection.execute(table.insert().values(**msgspec.structs.asdict(record), **more))


def _shown(table: sa.Table, row: dict[str, Any]) -> dict[str, Any]:
    shown = {_camel(name): value for name, value in row.items()}
    shown["createdAt"] = iso(row["created_at"])
    if row.get("until") is not None:
        shown["until"] = iso(row["until"])
    if table is ISABELLA_DECISIONS:
        shown["explanation"] = explanation(row["outcome"], tuple(row["reasons"]))
    return shown


def _about(row: Mapping[str, Any]) -> About:
    return row["role"], row["entity"], row["kind"]


def _is_active(row: Mapping[str, Any]) -> bool:
    """Whether it can be the reason for what is in force: none came after it, and it is no withdrawal."""
    return row["replaced_by"] is None and row["action"] != "withdraw"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
