"""An alert as one line of QRadar's Log Event Extended Format, ``LEEF:2.0``.

LEEF has no escapes, so what would end a value is replaced by something that looks like it: the delimiter ``^`` by
``ˆ``, control characters by their pictures, and quotes by curly ones, for Tenzir, measured, takes them for ones around
a value and passes over the delimiters between them. The delimiter is a printable one because syslog relays rewrite
tabs and other control characters. With its syslog header a line keeps to the 4,096 bytes that QRadar takes by default.
"""

from __future__ import annotations

from typing import Final

from exporters.alert import Alert
from exporters.formats import sentences
from exporters.formats.about import PRODUCT, VENDOR, About
from exporters.formats.addresses import ip_version
from exporters.formats.limits import bounded, cut, cut_name, visible
from guardian.decisions.record import iso
from guardian.levels import Level

SEVERITY: Final = {Level.NONE: 1, Level.LOW: 3, Level.MEDIUM: 5, Level.HIGH: 8, Level.CRITICAL: 10}
"""LEEF counts from 1 to 10."""

_NAME_BYTES: Final = 512
_MESSAGE_BYTES: Final = 1024
_TAGS_BYTES: Final = 512
_TIME_FORMAT: Final = "yyyy-MM-dd HH:mm:ss.SSSZ"
_DELIMITER: Final = "^"
_LOOKALIKES: Final = str.maketrans({_DELIMITER: "ˆ", '"': "”", "'": "’"})


def render(alert: Alert, about: About) -> bytes:
    """The line, without a newline at its end."""
    alert = bounded(alert)
    version = cut(visible(about.version).replace("|", "/"), 64)
    attributes = _DELIMITER.join(f"{key}={value}" for key, value in _attributes(alert, about) if value)
    return f"LEEF:2.0|{VENDOR}|{PRODUCT}|{version}|entity-risk-{alert.activity}|{_DELIMITER}|{attributes}".encode()


def _attributes(alert: Alert, about: About) -> list[tuple[str, str]]:
    """Predefined keys where LEEF has one; those with an empty value are left out."""
    return [
        ("externalId", _shown(alert.id)),
        ("finding", _shown(alert.identity)),
        ("activity", alert.activity),
        ("cat", alert.level_to.word),
        ("sev", str(SEVERITY[alert.level_to])),
        ("devTime", iso(alert.created_at).replace("T", " ").replace("Z", "+0000")),
        ("devTimeFormat", _TIME_FORMAT),
        ("role", _shown(alert.role)),
        (_key(alert), cut_name(_shown(alert.entity), _NAME_BYTES)),
        ("levelFrom", alert.level_from.word),
        ("score", f"{alert.score:.2f}"),
        ("suppressed", str(alert.suppressed)),
        ("suppressedSince", iso(alert.suppressed_since) if alert.suppressed_since else ""),
        ("layer", f"L{alert.layer}" if alert.layer >= 0 else ""),
        ("synthetic", "true" if alert.synthetic else ""),
        ("extrapolated", "true" if alert.extrapolated else ""),
        ("attack", cut(_shown(",".join(alert.tags)), _TAGS_BYTES)),
        ("trace", _shown(alert.trace_id)),
        ("config", _shown(alert.config)),
        ("identHostName", cut(_shown(about.host), 255)),
        ("name", _shown(sentences.title(alert, about.language))),
        ("msg", cut(_shown(sentences.description(alert, about.language)), _MESSAGE_BYTES)),
    ]


def _shown(text: str) -> str:
    """A text of others as a value may hold it; to be cut after this, for what replaces a character may be longer."""
    return visible(text).translate(_LOOKALIKES)


def _key(alert: Alert) -> str:
    """The key that the entity stands under."""
    if alert.role == "address":
        return "src" if ip_version(alert.entity) else "srcHost"
    return {"actor": "usrName", "session": "session"}.get(alert.role, "resource")
