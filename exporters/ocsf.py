"""An alert as an OCSF 1.8 Detection Finding (class 2004). A pure function; nothing of an event's body enters it."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from exporters.alert import Alert
from guardian import texts
from guardian.levels import RECOMMENDED_ACTION, Level

VERSION: Final = "1.8.0"
CLASS_UID: Final = 2004
CREATE: Final = 1

_SEVERITY: Final = {
    Level.NONE: (1, "Informational"),
    Level.LOW: (2, "Low"),
    Level.MEDIUM: (3, "Medium"),
    Level.HIGH: (4, "High"),
    Level.CRITICAL: (5, "Critical"),
}
_RISK_LEVEL: Final = {
    Level.NONE: (0, "Info"),
    Level.LOW: (1, "Low"),
    Level.MEDIUM: (2, "Medium"),
    Level.HIGH: (3, "High"),
    Level.CRITICAL: (4, "Critical"),
}


def detection_finding(alert: Alert, *, language: texts.Language, version: str) -> dict[str, Any]:
    """The finding; the same alert gives the same finding, and its id is the same in every attempt.

    Args:
        alert: what rose, how far and why.
        language: of the title and the description.
        version: of Guardian, for ``metadata.product``.
    """
    severity_id, severity = _SEVERITY[alert.level_to]
    risk_level_id, risk_level = _RISK_LEVEL[alert.level_to]
    word = texts.text(f"levels.{alert.level_to.word}", language)
    role = texts.text(f"alerts.{alert.role}", language)
    place, evidence, (path, type_id, type_name) = _concerned(alert)
    finding: dict[str, Any] = {
        "activity_id": CREATE,
        "activity_name": "Create",
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": CLASS_UID,
        "class_name": "Detection Finding",
        "type_uid": CLASS_UID * 100 + CREATE,
        "type_name": "Detection Finding: Create",
        "time": alert.created_at // 10**6,
        "severity_id": severity_id,
        "severity": severity,
        "status_id": 1,
        "status": "New",
        "is_alert": True,
        "risk_score": round(alert.score),
        "risk_level_id": risk_level_id,
        "risk_level": risk_level,
        "message": texts.text("alerts.title", language, level=word, role=role, score=f"{alert.score:.0f}"),
        "metadata": {
            "version": VERSION,
            "uid": alert.id,
            "log_name": "guardian.alerts",
            "product": {"name": "TAMV Guardian", "vendor_name": "TAMV", "version": version},
        },
        "finding_info": {
            "uid": alert.id,
            "title": texts.text("alerts.title", language, level=word, role=role, score=f"{alert.score:.0f}"),
            "desc": _description(alert, language),
            "created_time": alert.created_at // 10**6,
            "analytic": {
                "type_id": 2,
                "type": "Behavioral",
                "name": "guardian entity risk",
                "uid": alert.config,
            },
        },
        "observables": [{"name": path, "type_id": type_id, "type": type_name, "value": alert.entity}],
        "evidences": [{**evidence, "data": {"reasons": list(alert.reasons), "event": alert.event}}],
        **place,
        "unmapped": {
            "tamv": {
                "role": alert.role,
                "entity": alert.entity,
                "layer": f"L{alert.layer}" if alert.layer >= 0 else None,
                "levelFrom": alert.level_from.word,
                "levelTo": alert.level_to.word,
                "score": alert.score,
                "recommendedAction": list(RECOMMENDED_ACTION[alert.level_to]),
                "traceId": alert.trace_id or None,
                "config": alert.config,
                "synthetic": alert.synthetic,
                "extrapolated": alert.extrapolated,
            }
        },
    }
    return finding


def _description(alert: Alert, language: texts.Language) -> str:
    said = texts.text("alerts.description", language, reasons=_told(alert))
    return f"{said}. {texts.text('alerts.extrapolated', language)}" if alert.extrapolated else said


def _concerned(alert: Alert) -> tuple[dict[str, Any], dict[str, Any], tuple[str, int, str]]:
    """Where the entity stands in a finding: top-level attributes, attributes of the evidence, and the observable.

    An observable names the path at which its value really stands.
    """
    name = alert.entity
    if alert.role == "target":
        return {"resources": [{"name": name}]}, {}, ("resources[].name", 99, "Other")
    if alert.role == "session":
        return {}, {"actor": {"session": {"uid": name}}}, ("evidences[].actor.session.uid", 99, "Other")
    if alert.role == "actor":
        return {}, {"actor": {"user": {"name": name}}}, ("evidences[].actor.user.name", 4, "User Name")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return {}, {"src_endpoint": {"hostname": name}}, ("evidences[].src_endpoint.hostname", 1, "Hostname")
    return {}, {"src_endpoint": {"ip": name}}, ("evidences[].src_endpoint.ip", 2, "IP Address")


def _told(alert: Alert) -> str:
    return "; ".join(
        f"{reason['channel']} {reason['contribution']:.0f}"
        + (f" ({reason['kind']})" if reason["kind"] else "")
        for reason in alert.reasons[:5]
    )
