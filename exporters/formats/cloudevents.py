"""An alert as a CloudEvent 1.0 in structured JSON, whose data is the OCSF finding.

The finding rather than the JSON of our own API: it is a published schema that ``dataschema`` can name, it carries the
sentences, and whoever reads OCSF elsewhere reads the same here. ``id`` is the alert's, ``subject`` what it tells
about; the two extensions let a receiver route without opening the data.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec

from exporters.alert import Activity, Alert
from exporters.formats import ocsf
from exporters.formats.about import SERVICE, About
from exporters.formats.otlp import SEVERITY
from guardian.decisions.record import iso

TYPE: Final[dict[Activity, str]] = {
    "open": "org.tamv.guardian.alert.opened",
    "update": "org.tamv.guardian.alert.updated",
    "resolved": "org.tamv.guardian.alert.resolved",
}
SCHEMA: Final = f"https://schema.ocsf.io/schema/{ocsf.NEWEST}/classes/detection_finding"


def render(alert: Alert, about: About) -> bytes:
    """The event as one JSON object (``application/cloudevents+json``)."""
    return msgspec.json.encode(event(alert, about))


def event(alert: Alert, about: About) -> dict[str, Any]:
    """The event as a dictionary."""
    number, text = SEVERITY[alert.level_to]
    return {
        "specversion": "1.0",
        "id": alert.id,
        "source": f"urn:{SERVICE}:{quote(about.host, safe='')}",
        "type": TYPE[alert.activity],
        "subject": alert.identity,
        "time": iso(alert.created_at),
        "severitynumber": number,
        "severitytext": text,
        "dataschema": SCHEMA,
        "datacontenttype": "application/json",
        "data": ocsf.detection_finding(alert, about),
    }
