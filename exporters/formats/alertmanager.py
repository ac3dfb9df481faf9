"""An alert as one object of Alertmanager's API v2.

Labels are its identity there: those of an opening, of each change and of the end must be equal, so they say what the
alert is about and nothing that changes (no id, no level, no score). What changes stands in the annotations, of which
Alertmanager keeps the newest. An alert that is over says when (``endsAt``); one that is not leaves that to the
receiver's ``resolve_timeout``, within which the sink sends it again.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec

from exporters.alert import Alert
from exporters.formats import sentences
from exporters.formats.about import SERVICE, About
from exporters.formats.limits import NAME_BYTES, bounded
from guardian.decisions.record import iso
from guardian.levels import RECOMMENDED_ACTION

NAME: Final = "GuardianEntityRisk"


def render(alert: Alert, about: About) -> bytes:
    """The object; the sink puts many of them into one array."""
    return msgspec.json.encode(posted(alert, about))


def posted(alert: Alert, about: About) -> dict[str, Any]:
    """The object as a dictionary. Annotations in Spanish, and in English with ``_en``, as those of our rules."""
    alert = bounded(alert)
    at = iso(alert.created_at)
    labels = {"alertname": NAME, "service": SERVICE, "role": alert.role, "entity": alert.entity}
    if alert.synthetic:
        labels["synthetic"] = "true"
    annotations = {
        "summary": sentences.title(alert, "es-MX"),
        "summary_en": sentences.title(alert, "en"),
        "description": sentences.description(alert, "es-MX"),
        "description_en": sentences.description(alert, "en"),
        "level": alert.level_to.word,
        "level_from": alert.level_from.word,
        "score": f"{alert.score:.2f}",
        "activity": alert.activity,
        "alert": alert.id,
        "finding": alert.identity,
        "recommended_action": ", ".join(RECOMMENDED_ACTION[alert.level_to]),
        "config": alert.config,
    }
    if alert.layer >= 0:
        annotations["layer"] = f"L{alert.layer}"
    if alert.suppressed:
        annotations["suppressed"] = str(alert.suppressed)
    if alert.tags:
        annotations["tags"] = ", ".join(alert.tags)
    if alert.trace_id:
        annotations["trace"] = alert.trace_id
    # Of an alert that is over, Alertmanager keeps the beginning that it knows.
    times = {"endsAt": at} if alert.activity == "resolved" else {"startsAt": at}
    return {"labels": labels, "annotations": annotations, **times, "generatorURL": _address(alert, about)}


def _address(alert: Alert, about: About) -> str:
    """What our API shows of the entity; of a name that was cut, the list of alerts."""
    if len(alert.entity.encode()) >= NAME_BYTES:
        return f"{about.address}/api/v1/alerts"
    return f"{about.address}/api/v1/entities/{quote(alert.role, safe='')}/{quote(alert.entity, safe='')}"
