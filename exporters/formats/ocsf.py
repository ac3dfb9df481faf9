"""An alert as an OCSF Detection Finding (class 2004), of version 1.8 and down to 1.5.

A pure function; nothing of an event's body enters it. What it uses has stood in the schema since 1.5, so an older
version differs in what it says its version is; the official schemas of all four are what the tests hold it to.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from exporters.alert import Activity, Alert
from exporters.formats import sentences
from exporters.formats.about import PRODUCT, VENDOR, About
from exporters.formats.addresses import ip_version
from exporters.formats.attack import attack
from exporters.formats.limits import bounded
from guardian.levels import RECOMMENDED_ACTION, Level

Version = Literal["1.8.0", "1.7.0", "1.6.0", "1.5.0"]
NEWEST: Final = "1.8.0"
CLASS_UID: Final = 2004

_ACTIVITY: Final[dict[Activity, tuple[int, str, int, str]]] = {
    "open": (1, "Create", 1, "New"),
    "update": (2, "Update", 2, "In Progress"),
    "resolved": (3, "Close", 4, "Resolved"),
}
SEVERITY: Final = {
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


def render(alert: Alert, about: About, *, version: Version = NEWEST) -> bytes:
    """The finding as one JSON object."""
    return msgspec.json.encode(detection_finding(alert, about, version=version))


def detection_finding(alert: Alert, about: About, *, version: Version = NEWEST) -> dict[str, Any]:
    """The finding; the same alert gives the same one.

    ``finding_info.uid`` is the same from the opening to the end, ``metadata.uid`` is that of this alert and the same
    in every attempt.
    """
    alert = bounded(alert)
    activity_id, activity, status_id, status = _ACTIVITY[alert.activity]
    severity_id, severity = SEVERITY[alert.level_to]
    risk_level_id, risk_level = _RISK_LEVEL[alert.level_to]
    title = sentences.title(alert, about.language)
    place, evidence, (path, type_id, type_name) = _concerned(alert)
    finding: dict[str, Any] = {
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": CLASS_UID,
        "class_name": "Detection Finding",
        "type_uid": CLASS_UID * 100 + activity_id,
        "type_name": f"Detection Finding: {activity}",
        "time": alert.created_at // 10**6,
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "is_alert": True,
        "risk_score": round(alert.score),
        "risk_level_id": risk_level_id,
        "risk_level": risk_level,
        "message": title,
        "metadata": {
            "version": version,
            "uid": alert.id,
            "log_name": "guardian.alerts",
            "product": {"name": PRODUCT, "vendor_name": VENDOR, "version": about.version},
        },
        "finding_info": _finding_info(alert, title, about),
        "observables": [{"name": path, "type_id": type_id, "type": type_name, "value": alert.entity}],
        "evidences": [{**evidence, "data": {"reasons": list(alert.reasons), "event": alert.event}}],
        **place,
        **_suppressed(alert),
        "unmapped": {"tamv": _ours(alert)},
    }
    return finding


def _finding_info(alert: Alert, title: str, about: About) -> dict[str, Any]:
    at = "created_time" if alert.activity == "open" else "modified_time"
    info: dict[str, Any] = {
        "uid": alert.identity,
        "title": title,
        "desc": sentences.description(alert, about.language),
        at: alert.created_at // 10**6,
        "analytic": {"type_id": 2, "type": "Behavioral", "name": "guardian entity risk", "uid": alert.config},
    }
    known = attack(alert.tags)
    attacks: list[dict[str, Any]] = [{"tactic": {"uid": uid, "name": name}} for uid, name in known.tactics]
    for each in known.techniques:
        technique, _, part = each.partition(".")
        attacks.append({"technique": {"uid": technique}} | ({"sub_technique": {"uid": each}} if part else {}))
    return info | ({"attacks": attacks} if attacks else {})


def _suppressed(alert: Alert) -> dict[str, Any]:
    """``count`` is of the group: this alert and those that it stands for."""
    if not alert.suppressed:
        return {}
    since = {"start_time": alert.suppressed_since // 10**6} if alert.suppressed_since else {}
    return {"count": alert.suppressed + 1, **since, "end_time": alert.created_at // 10**6}


def _ours(alert: Alert) -> dict[str, Any]:
    """What OCSF has no place for."""
    return {
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
        "activity": alert.activity,
        "tags": list(alert.tags),
        "suppressed": alert.suppressed,
    }


def _concerned(alert: Alert) -> tuple[dict[str, Any], dict[str, Any], tuple[str, int, str]]:
    """Where the entity stands in a finding: top-level attributes, attributes of the evidence, and the observable.

    An observable names the path at which its value really stands.
    """
    name = alert.entity
    if alert.role == "session":
        return {}, {"actor": {"session": {"uid": name}}}, ("evidences[].actor.session.uid", 99, "Other")
    if alert.role == "actor":
        return {}, {"actor": {"user": {"name": name}}}, ("evidences[].actor.user.name", 4, "User Name")
    if alert.role != "address":
        return {"resources": [{"name": name}]}, {}, ("resources[].name", 38, "Resource Details Object: name")
    if ip_version(name):
        return {}, {"src_endpoint": {"ip": name}}, ("evidences[].src_endpoint.ip", 2, "IP Address")
    return {}, {"src_endpoint": {"hostname": name}}, ("evidences[].src_endpoint.hostname", 1, "Hostname")
