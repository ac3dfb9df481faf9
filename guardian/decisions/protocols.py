"""A command to a protocol → the constitution's answer, and the records that belong together.

Owns the rules, their severities, and how one evaluation is told to EOCT, Isabella, the guardian and XR. Rules and
record shapes are TAMV's; the highest severity counts (TAMV's main branch lowers it by mistake). The signals that
a broken rule gives to EOCT are ours.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field

from guardian.config import Eoct
from guardian.decisions import eoct
from guardian.decisions.record import (
    Command,
    Context,
    Decision,
    EoctRecord,
    GuardianEvent,
    IsabellaRecord,
    ProtocolEvent,
    ProtocolId,
    RiskLevel,
    XrEvent,
    as_json,
    iso,
    severity_level,
)
from guardian.decisions.request import decode
from guardian.errors import Problem, RequestError
from guardian.levels import COLOUR, MOOD
from guardian.texts import Language, text
from guardian.units import LayerName

PURPOSE_LENGTH: Final = 3
SEVERITY: Final[dict[str, RiskLevel]] = {
    "purpose_required": "medium",
    "do_not_override_doctrine": "critical",
    "do_no_harm_violation": "critical",
    "coercion_not_allowed": "high",
}
"""The rules by the reason they give, and how severe breaking each one is."""

SIGNAL: Final = {
    "purpose_required": "transparency_risk",
    "do_not_override_doctrine": "legal_risk",
    "do_no_harm_violation": "harm_risk",
    "coercion_not_allowed": "coercion_risk",
}
"""The EOCT signal that a broken rule sets to 1, so that the EOCT record tells the same facts in its own terms."""

MAX_FREE_BYTES: Final = 64 * 1024
MAX_NESTING: Final = 32

Free = Annotated[dict[str, Any], Meta(description="an object")]


class ProtocolRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of ``POST /api/v1/protocols/execute``.

    A purpose that is missing or too short is a broken rule, not a bad request: it is evaluated, rejected and kept.
    """

    protocol_id: ProtocolId
    action: Annotated[str, Meta(min_length=2, max_length=128, description="text of 2 to 128 characters")]
    layer: LayerName
    purpose: Annotated[str, Meta(max_length=2000, description="text of at most 2000 characters")] = ""
    payload: Free = field(default_factory=dict)
    metadata: Free = field(default_factory=dict)


class Evaluation(Struct, frozen=True, kw_only=True):
    """One evaluation: records that are kept together or not at all."""

    event: ProtocolEvent
    guardian: GuardianEvent
    eoct: EoctRecord
    isabella: IsabellaRecord
    xr: XrEvent

    def answer(self) -> dict[str, Any]:
        """What the API answers."""
        return {
            "event": as_json(self.event),
            "guardianEventId": self.guardian.id,
            "xrSceneId": self.xr.scene_id,
        }


def request(body: bytes | dict[str, Any]) -> ProtocolRequest:
    """Read a request.

    Raises:
        RequestError: it is not usable; every problem is listed by its key path.
    """
    read = decode(ProtocolRequest, body)
    problems = [
        problem
        for key, value in (("payload", read.payload), ("metadata", read.metadata))
        if (problem := _too_much(key, value))
    ]
    if problems:
        raise RequestError(problems)
    return read


def decision(request: ProtocolRequest) -> Decision:
    """What the constitution says. Any broken rule rejects; the severity is the highest of the reasons."""
    broken = {
        "purpose_required": len(request.purpose.strip()) < PURPOSE_LENGTH,
        "do_not_override_doctrine": request.layer == "L0" and request.payload.get("override") is True,
        "do_no_harm_violation": request.payload.get("harm_intent") is True,
        "coercion_not_allowed": request.payload.get("coercive") is True,
    }
    reasons = tuple(reason for reason, hit in broken.items() if hit)
    severities: list[RiskLevel] = [SEVERITY[reason] for reason in reasons]
    return Decision(
        allowed=not reasons,
        phase="rejected" if reasons else "approved",
        reasons=reasons,
        severity=max(severities, key=severity_level, default="low"),
    )


def evaluate(
    request: ProtocolRequest,
    *,
    event_id: str,
    actor_id: str,
    now: int,
    settings: Eoct,
    language: Language = "es-MX",
) -> Evaluation:
    """Evaluate a command; ``now`` in nanoseconds since 1970.

    ``event_id`` is a UUID; the ids of the other records are derived from it (UUID version 5), so evaluating again
    with the same id gives the same records.

    Raises:
        ValueError: ``event_id`` is not a UUID.
    """
    says = decision(request)
    event = ProtocolEvent(
        id=event_id,
        actor_id=actor_id,
        protocol_id=request.protocol_id,
        phase=says.phase,
        command=Command(
            action=request.action,
            layer=request.layer,
            purpose=request.purpose,
            payload=request.payload,
            metadata=request.metadata,
        ),
        decision=says,
        created_at=now,
    )
    summary = _summary(event, language)
    ethics = eoct.evaluate(
        eoct.EoctRequest(
            subject_type="protocol",
            subject_id=request.protocol_id,
            signals=eoct.Signals(**{SIGNAL[reason]: 1.0 for reason in says.reasons}),
        ),
        record_id=_derived(event_id, "eoct"),
        actor_id=actor_id,
        now=now,
        settings=settings,
    )
    return Evaluation(
        event=event,
        guardian=GuardianEvent(
            id=_derived(event_id, "guardian"),
            protocol_id=request.protocol_id,
            threat_level=says.severity,
            summary=summary,
            metadata={"eventId": event_id, "layer": request.layer, "reasons": list(says.reasons)},
            created_at=now,
        ),
        eoct=ethics,
        isabella=IsabellaRecord(
            id=_derived(event_id, "isabella"),
            actor_id=actor_id,
            prompt=request.purpose,
            response=summary,
            ethics_score=ethics.score,
            outcome=event.outcome,
            verb="approve" if says.allowed else "deny",
            verb_known=True,
            reasons=says.reasons or ("constitution_kept",),
            context=Context(protocol_id=request.protocol_id, action=request.action, layer=request.layer),
            created_at=now,
        ),
        xr=_xr(event),
    )


def _summary(event: ProtocolEvent, language: Language) -> str:
    sentences = (text(f"decisions.{reason}", language) for reason in event.decision.reasons)
    why = "; ".join(sentence[:1].lower() + sentence[1:].rstrip(".") for sentence in sentences)
    return text(f"decisions.protocol_{event.outcome}", language, protocol=event.protocol_id, reasons=why)


def _xr(event: ProtocolEvent) -> XrEvent:
    scene = f"guardian-{event.protocol_id}"
    level = severity_level(event.decision.severity)
    overlay = {
        "kind": "decision",
        "protocolId": event.protocol_id,
        "outcome": event.outcome,
        "level": level.word,
        "colour": COLOUR[level],
        "reasons": list(event.decision.reasons),
    }
    return XrEvent(
        id=_derived(event.id, "xr"),
        type="guardian_update",
        scene_id=scene,
        payload={
            "sceneId": scene,
            "mood": MOOD[level],
            "overlays": [overlay],
            "updatedAt": iso(event.created_at),
        },
        created_at=event.created_at,
    )


def _derived(event_id: str, name: str) -> str:
    return str(uuid.uuid5(uuid.UUID(event_id), name))


def _too_much(key: str, value: dict[str, Any]) -> Problem | None:
    size = len(msgspec.json.encode(value))
    if size > MAX_FREE_BYTES:
        return Problem(key, f"at most {MAX_FREE_BYTES} bytes of JSON", f"{size}")
    level: list[Any] = [value]
    for _ in range(MAX_NESTING):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return None
    return Problem(key, f"at most {MAX_NESTING} levels of nesting", "more")
