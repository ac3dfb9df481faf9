"""The bodies of what the synthetic TAMV reports, one constructor a door, all without their time.

Owns the fields and the mark ``synthetic``; ``encode`` puts them on the wire.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final, Literal

from guardian.demo.town import Person

Door = Literal["log", "otlp_log", "span", "xr", "protocol", "isabella", "eoct"]
"""How an item reaches the service: a structured log line, an OTLP log or span, an XR message, or a decision."""

Draft = tuple[float, Door, dict[str, Any]]
"""Seconds into the day, door and body of one thing that happens."""

SIGNALS: Final = ("coercionRisk", "harmRisk", "privacyRisk", "transparencyRisk", "legalRisk")
"""The five signals of an ethical evaluation, as the wire names them."""


def duration_ms(random: Random, seconds: float) -> float:
    """A duration scattered around a typical one, milliseconds."""
    return round(1000.0 * seconds * random.lognormvariate(0.0, 0.35), 1)


def log(service: str, kind: str, layer: str, **fields: Any) -> dict[str, Any]:
    """The body of a structured log line of TAMV, without its time."""
    line: dict[str, Any] = {
        "user_id": "",
        "session_id": "",
        "module": service,
        "pipeline": service,
        "action": kind,
        "layer": layer,
        "risk_level": "low",
        "duration_ms": 0.0,
        "status": "success",
    }
    return line | fields | {"metadata": {"synthetic": True, **fields.get("metadata", {})}}


def protocol_body(protocol: str, action: str, layer: str, purpose: str, **payload: Any) -> dict[str, Any]:
    """The request of one protocol evaluation."""
    return {
        "protocolId": protocol,
        "action": action,
        "layer": layer,
        "purpose": purpose,
        "payload": payload,
        "metadata": {"synthetic": True},
    }


def isabella_body(action: str, verb: str, score: float) -> dict[str, Any]:
    """One decision of Isabella. Prompt and response are invented too, and say so."""
    return {
        "prompt": f"(sintético) petición: {action}",
        "response": f"(sintético) Isabella recomienda: {verb}",
        "verb": verb,
        "ethicsScore": round(min(max(score, 0.0), 1.0), 3),
        "context": {"protocolId": "isabella", "action": action, "layer": "L2"},
    }


def eoct_body(kind: str, subject: str, signals: dict[str, float]) -> dict[str, Any]:
    """The request of one ethical evaluation of a subject."""
    return {"subjectType": kind, "subjectId": subject, "signals": signals, "notes": "synthetic"}


def xr_body(person: Person, kind: str, room: str, **fields: Any) -> dict[str, Any]:
    """The payload of one XR event."""
    return {
        "kind": kind,
        "sessionId": person.headset,
        "userId": person.name,
        "sceneId": room,
        "synthetic": True,
        **fields,
    }
