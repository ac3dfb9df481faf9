"""Where decisions are kept: EOCT evaluations, Isabella's decisions, protocol events, and what they tell others.

Owns the five tables, what of a decision goes into the register (MSR and BookPI), and the one transaction that keeps
records and register together or not at all. Does not own what a decision means (``guardian.decisions``) nor the
register itself.

Personal data: prompt, response, purpose, payload, notes and the names of actors and subjects stand in these tables
only, where they can be erased. The register gets keyed commitments of them.
"""

from __future__ import annotations

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
from guardian.decisions.record import EoctRecord, IsabellaRecord, ProtocolEvent, Record, iso


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

    def page(self, table: sa.Table, *, limit: int, offset: int) -> dict[str, Any]:
        """One page of one of the tables of this module as ``{"items": […], "total": n}``, newest first."""
        with self._store.reading() as connection:
            rows, total = newest_first(connection, table, limit=limit, offset=offset)
        return {"items": [_shown(table, row) for row in rows], "total": total}

    def _told(self, record: ProtocolEvent | EoctRecord | IsabellaRecord) -> Entry:
        if isinstance(record, ProtocolEvent):
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


def _insert(connection: sa.Connection, table: sa.Table, record: Record, **more: Any) -> None:
    connection.execute(table.insert().values(**msgspec.structs.asdict(record), **more))


def _shown(table: sa.Table, row: dict[str, Any]) -> dict[str, Any]:
    shown = {_camel(name): value for name, value in row.items()}
    shown["createdAt"] = iso(row["created_at"])
    if table is ISABELLA_DECISIONS:
        shown["explanation"] = explanation(row["outcome"], tuple(row["reasons"]))
    return shown


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
