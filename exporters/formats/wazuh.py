"""An alert as one flat JSON object a line, for Wazuh's logcollector (``log_format`` json).

``alerts/wazuh/`` holds the decoder and the rules that read it; keys that Wazuh knows keep its names (``srcip``,
``srcuser``). Flat, because rules name fields and Wazuh has no arrays of objects. ``integration`` stands first: rules
tell our lines by it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from exporters.alert import Alert
from exporters.formats import sentences
from exporters.formats.about import SERVICE, About
from exporters.formats.addresses import ip_version
from exporters.formats.attack import attack
from exporters.formats.limits import bounded
from guardian.decisions.record import iso
from guardian.levels import RECOMMENDED_ACTION

_ENTITY: Final = {"actor": "srcuser", "session": "session"}


def render(alert: Alert, about: About) -> bytes:
    """The line, without a newline at its end."""
    return msgspec.json.encode(line(alert, about))


def line(alert: Alert, about: About) -> dict[str, Any]:
    """The object as a dictionary; absent values are left out."""
    alert = bounded(alert)
    known = attack(alert.tags)
    told: dict[str, Any] = {
        "integration": SERVICE,
        "alert_id": alert.id,
        "finding": alert.identity,
        "activity": alert.activity,
        "timestamp": iso(alert.created_at),
        "title": sentences.title(alert, about.language),
        "description": sentences.description(alert, about.language),
        "level": alert.level_to.word,
        "level_from": alert.level_from.word,
        "score": alert.score,
        "role": alert.role,
        "entity": alert.entity,
        _key(alert): alert.entity,
        "recommended_action": ", ".join(RECOMMENDED_ACTION[alert.level_to]),
        "event": alert.event,
        "config": alert.config,
        "synthetic": alert.synthetic,
        "extrapolated": alert.extrapolated,
        "suppressed": alert.suppressed,
        "guardian_host": about.host,
        "guardian_version": about.version,
    }
    absent: dict[str, Any] = {
        "suppressed_since": iso(alert.suppressed_since) if alert.suppressed_since else "",
        "layer": f"L{alert.layer}" if alert.layer >= 0 else "",
        "trace": alert.trace_id,
        "tags": ", ".join(alert.tags),
        "mitre_tactics": ", ".join(uid for uid, _ in known.tactics),
        "mitre_techniques": ", ".join(known.techniques),
        "reasons": "; ".join(
            f"{reason['channel']} {reason['contribution']:.2f} {reason['kind']}".rstrip()
            for reason in alert.reasons
        ),
    }
    return told | {key: value for key, value in absent.items() if value}


def _key(alert: Alert) -> str:
    """The key by which Wazuh knows such an entity."""
    if alert.role == "address":
        return "srcip" if ip_version(alert.entity) else "srchost"
    return _ENTITY.get(alert.role, "resource")
