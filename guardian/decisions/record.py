"""The records that decisions yield, and the shape in which the API shows them.

Owns fields and JSON names. Times are nanoseconds since 1970 inside and ISO 8601 (UTC, milliseconds) outside.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from guardian.levels import Level
from guardian.units import LayerName

ProtocolId = Literal[
    "fenix", "hoyo-negro", "future", "eoct", "guardian", "isabella", "economy", "xr", "dreamspaces"
]
Phase = Literal["init", "review", "approved", "executed", "archived", "rejected"]
"""``init → review → approved → executed → archived``, or ``rejected``, which is final."""

Outcome = Literal["approved", "review", "rejected"]
RoleName = Literal["actor", "address", "target", "session"]
AcknowledgementAction = Literal["acknowledge", "snooze", "withdraw"]
RiskLevel = Literal["low", "medium", "high", "critical"]


class EoctRecord(Struct, frozen=True, kw_only=True, rename="camel"):
    """One ethical evaluation."""

    id: str
    actor_id: str | None
    subject_type: str
    subject_id: str | None
    score: float
    """``1 − risk`` to 3 decimals, higher = safer: TAMV's stored score."""
    risk: float
    """0…1, higher = riskier."""
    verdict: Outcome
    risk_level: RiskLevel
    reasons: tuple[str, ...]
    contributions: dict[str, float]
    """Per signal; they sum to ``risk``."""
    profile: Literal["guardian", "tamv"]
    notes: str | None
    created_at: int


class Context(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a decision of Isabella is about."""

    protocol_id: ProtocolId
    action: str
    layer: LayerName


class IsabellaRecord(Struct, frozen=True, kw_only=True, rename="camel"):
    """One decision of Isabella. ``prompt`` and ``response`` are personal data."""

    id: str
    actor_id: str
    prompt: str
    response: str
    ethics_score: float | None
    outcome: Outcome
    verb: str
    """As it was given; empty when none was."""
    verb_known: bool
    reasons: tuple[str, ...]
    context: Context
    created_at: int


class Decision(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the constitution says to one command."""

    allowed: bool
    phase: Phase
    reasons: tuple[str, ...]
    severity: RiskLevel


class Command(Struct, frozen=True, kw_only=True, rename="camel"):
    """What was asked of a protocol. ``purpose``, ``payload`` and ``metadata`` may hold personal data."""

    action: str
    layer: LayerName
    purpose: str
    payload: dict[str, Any]
    metadata: dict[str, Any]


class ProtocolEvent(Struct, frozen=True, kw_only=True, rename="camel"):
    """One evaluation of a protocol's command."""

    id: str
    actor_id: str
    protocol_id: ProtocolId
    phase: Phase
    command: Command
    decision: Decision
    created_at: int

    @property
    def outcome(self) -> Literal["approved", "rejected"]:
        """From ``decision.allowed``, never from the phase: the label of ``tamv_protocol_evaluations_total``."""
        return "approved" if self.decision.allowed else "rejected"


class GuardianEvent(Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that the guardian noted, with a threat level."""

    id: str
    protocol_id: ProtocolId | None
    threat_level: Literal["none", "low", "medium", "high", "critical"]
    summary: str
    metadata: dict[str, Any]
    created_at: int


class XrEvent(Struct, frozen=True, kw_only=True, rename="camel"):
    """What headsets are shown of a decision."""

    id: str
    type: Literal["guardian_update"]
    scene_id: str
    payload: dict[str, Any]
    created_at: int


class Acknowledgement(Struct, frozen=True, kw_only=True, rename="camel"):
    """A person's word that one kind of event at one entity is benign, or the withdrawal of such a word.

    ``entity``, ``kind`` and ``reason`` are free text and may hold personal data.
    """

    id: str
    actor_id: str
    role: RoleName
    entity: str
    kind: str
    action: AcknowledgementAction
    until: int | None
    """Event time at which it ends; None = for good, until it is withdrawn."""
    reason: str
    created_at: int


Record = EoctRecord | IsabellaRecord | ProtocolEvent | GuardianEvent | XrEvent | Acknowledgement


def severity_level(word: RiskLevel) -> Level:
    """The threat level of a severity or risk level.

    >>> severity_level("high")
    <Level.HIGH: 3>
    """
    return Level[word.upper()]


def iso(at_ns: int) -> str:
    """ISO 8601 in UTC to the millisecond; ``at_ns`` in nanoseconds since 1970.

    >>> iso(1_767_225_600_123_456_789)
    '2026-01-01T00:00:00.123Z'
    """
    seconds, rest = divmod(at_ns, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_json(record: Record) -> dict[str, Any]:
    """A record as the API shows it, in JSON's own types: camelCase keys, times as text."""
    shown: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record))
    shown["createdAt"] = iso(record.created_at)
    if isinstance(record, Acknowledgement) and record.until is not None:
        shown["until"] = iso(record.until)
    return shown
