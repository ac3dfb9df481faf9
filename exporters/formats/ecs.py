"""An alert as a document of the Elastic Common Schema, version 9.

``event.kind`` is ``alert``: one that was raised outside Elastic (``signal`` is what its own engine writes). What ECS
has no field for stands under ``tamv.guardian``. ``event.id`` is the alert's own id, which is also that of the
document; ``tamv.guardian.finding`` is what stays the same from the opening to the end.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from exporters.alert import Activity, Alert
from exporters.formats import sentences
from exporters.formats.about import PRODUCT, VENDOR, About
from exporters.formats.addresses import ip_version
from exporters.formats.attack import Attack, attack
from exporters.formats.limits import bounded
from guardian.decisions.record import iso
from guardian.levels import RECOMMENDED_ACTION, Level

ECS_VERSION: Final = "9.0.0"
"""The oldest that has all fields used here with the meaning they have here."""

_ACTION: Final[dict[Activity, str]] = {
    "open": "alert-opened",
    "update": "alert-updated",
    "resolved": "alert-resolved",
}
SEVERITY: Final = {Level.NONE: 0, Level.LOW: 21, Level.MEDIUM: 47, Level.HIGH: 73, Level.CRITICAL: 99}
"""The numbers that Elastic's own detection engine gives its four severities."""
_RISK_LEVEL: Final = {
    Level.NONE: "Unknown",
    Level.LOW: "Low",
    Level.MEDIUM: "Moderate",
    Level.HIGH: "High",
    Level.CRITICAL: "Critical",
}


def render(alert: Alert, about: About) -> bytes:
    """The document, without a newline in it."""
    return msgspec.json.encode(document(alert, about))


def document(alert: Alert, about: About) -> dict[str, Any]:
    """The document as a dictionary, nested as ECS writes it."""
    alert = bounded(alert)
    title = sentences.title(alert, about.language)
    at = iso(alert.created_at)
    event: dict[str, Any] = {
        "kind": "alert",
        "category": ["intrusion_detection"],
        "type": ["info"],
        "action": _ACTION[alert.activity],
        "id": alert.id,
        "dataset": "guardian.alerts",
        "module": "guardian",
        "provider": PRODUCT,
        "created": at,
        "severity": SEVERITY[alert.level_to],
        "risk_score": alert.score,
        "reason": sentences.description(alert, about.language),
    }
    if alert.activity == "resolved":
        event["end"] = at
    return {
        "@timestamp": at,
        "ecs": {"version": ECS_VERSION},
        "message": title,
        "event": event,
        "observer": {
            "vendor": VENDOR,
            "product": PRODUCT,
            "type": "ueba",
            "version": about.version,
            "hostname": about.host,
        },
        "rule": {
            "id": "guardian-entity-risk",
            "name": "guardian entity risk",
            "ruleset": "guardian",
            "version": alert.config,
        },
        "risk": {"calculated_score": alert.score, "calculated_level": _RISK_LEVEL[alert.level_to]},
        "tags": [*alert.tags, *(["synthetic"] if alert.synthetic else [])],
        **_concerned(alert),
        **_threat(attack(alert.tags)),
        **({"trace": {"id": alert.trace_id}} if alert.trace_id else {}),
        "tamv": {"guardian": _ours(alert)},
    }


def _threat(known: Attack) -> dict[str, Any]:
    if not (known.tactics or known.techniques):
        return {}
    threat: dict[str, Any] = {"framework": "MITRE ATT&CK"}
    if known.tactics:
        threat["tactic"] = {
            "id": [uid for uid, _ in known.tactics],
            "name": [name for _, name in known.tactics],
        }
    if known.techniques:
        whole = list(dict.fromkeys(each.partition(".")[0] for each in known.techniques))
        parts = [each for each in known.techniques if "." in each]
        threat["technique"] = {"id": whole} | ({"subtechnique": {"id": parts}} if parts else {})
    return {"threat": threat}


def _concerned(alert: Alert) -> dict[str, Any]:
    """The entity in the field of its role, and once more under ``related``, where a search for it starts."""
    name = alert.entity
    if alert.role == "actor":
        return {"user": {"name": name}, "related": {"user": [name]}}
    if alert.role not in {"address", "target"}:
        return {}  # ECS has no field for a web session; it stands under tamv.guardian
    side = "source" if alert.role == "address" else "destination"
    if ip_version(name):
        return {side: {"address": name, "ip": name}, "related": {"ip": [name]}}
    return {side: {"address": name, "domain": name}, "related": {"hosts": [name]}}


def _ours(alert: Alert) -> dict[str, Any]:
    """What ECS has no place for. Absent values are left out: a null would stop nothing, and index nothing."""
    told: dict[str, Any] = {
        "finding": alert.identity,
        "activity": alert.activity,
        "role": alert.role,
        "entity": alert.entity,
        "level_from": alert.level_from.word,
        "level_to": alert.level_to.word,
        "score": alert.score,
        "recommended_action": list(RECOMMENDED_ACTION[alert.level_to]),
        "reasons": list(alert.reasons),
        "event": alert.event,
        "config": alert.config,
        "synthetic": alert.synthetic,
        "extrapolated": alert.extrapolated,
        "suppressed": alert.suppressed,
    }
    if alert.layer >= 0:
        told["layer"] = f"L{alert.layer}"
    if alert.suppressed_since:
        told["suppressed_since"] = iso(alert.suppressed_since)
    return told
