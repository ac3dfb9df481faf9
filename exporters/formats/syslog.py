r"""An alert as one syslog message of RFC 5424, with structured data; CEF and LEEF travel as its MSG.

Facility 10 (security/authorization), because messages name entities; severity by level. Ids stand first in the
structured data, so a receiver that takes less than the whole (RFC 5424 obliges it to 480 bytes) still has them. A
message keeps to the 8,192 bytes that RFC 5425 asks receivers to take. Framing belongs to the sinks.

Our own MSG begins with the BOM that RFC 5424 asks of UTF-8. CEF and LEEF go without: their parsers look for ``CEF:``
and ``LEEF:`` at the beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from exporters.alert import Activity, Alert
from exporters.formats import cef, leef, sentences
from exporters.formats.about import PRODUCT, SERVICE, About
from exporters.formats.limits import bounded, cut, cut_name, visible
from guardian.decisions.record import iso
from guardian.levels import Level
from guardian.sink_settings import LineForm

FACILITY: Final = 10
SEVERITY: Final = {Level.NONE: 6, Level.LOW: 5, Level.MEDIUM: 4, Level.HIGH: 3, Level.CRITICAL: 2}
"""RFC 5424, table 2: informational, notice, warning, error, critical."""
DOCUMENTATION: Final = 32473
"""The private enterprise number that RFC 5612 sets aside for documentation."""

_MESSAGE_ID: Final[dict[Activity, str]] = {"open": "OPEN", "update": "UPDATE", "resolved": "RESOLVED"}
_BOM: Final = b"\xef\xbb\xbf"
_NAME_BYTES: Final = 1024
_TAGS_BYTES: Final = 512
_TEXT_BYTES: Final = 2048
_HOST: Final = 255
_PARAM: Final = str.maketrans({"\\": r"\\", '"': r"\"", "]": r"\]"})
_LINES: Final[dict[LineForm, Callable[[Alert, About], bytes]]] = {"cef": cef.render, "leef": leef.render}


def render(
    alert: Alert, about: About, *, form: LineForm = "rfc5424", enterprise: int = DOCUMENTATION
) -> bytes:
    """The whole message, without framing and without a newline in it.

    Args:
        alert: what is told.
        about: who tells it.
        form: of its MSG; with CEF or LEEF the structured data hold the ids alone, for the rest stands there.
        enterprise: private enterprise number of the structured data.
    """
    head = (
        f"<{FACILITY * 8 + SEVERITY[alert.level_to]}>1 {iso(alert.created_at)} {_printable(about.host)}"
        f" {SERVICE} - {_MESSAGE_ID[alert.activity]} "
    )
    line = _LINES.get(form)
    if line is not None:
        return f"{head}{_structured(f'alert@{enterprise}', _ids(alert))} ".encode() + line(alert, about)
    alert = bounded(alert)
    data = (
        _structured(f"alert@{enterprise}", _ids(alert) | _facts(alert))
        + _structured("origin", {"software": cut(PRODUCT, 48), "swVersion": cut(visible(about.version), 32)})
        + _structured("meta", {"language": about.language})
    )
    text = f"{sentences.title(alert, about.language)}. {sentences.description(alert, about.language)}"
    return f"{head}{data} ".encode() + _BOM + cut(visible(text), _TEXT_BYTES).encode()


def _ids(alert: Alert) -> dict[str, str]:
    return {"id": alert.id, "finding": alert.identity, "activity": alert.activity}


def _facts(alert: Alert) -> dict[str, str]:
    return {
        "level": alert.level_to.word,
        "levelFrom": alert.level_from.word,
        "score": f"{alert.score:.2f}",
        "suppressed": str(alert.suppressed),
        "suppressedSince": iso(alert.suppressed_since) if alert.suppressed_since else "",
        "role": alert.role,
        "entity": cut_name(visible(alert.entity), _NAME_BYTES),
        "layer": f"L{alert.layer}" if alert.layer >= 0 else "",
        "synthetic": "true" if alert.synthetic else "",
        "extrapolated": "true" if alert.extrapolated else "",
        "tags": cut(visible(",".join(alert.tags)), _TAGS_BYTES),
        "trace": alert.trace_id,
        "config": alert.config,
    }


def _structured(name: str, values: dict[str, str]) -> str:
    """One element; parameters without a value are left out."""
    told = "".join(f' {key}="{value.translate(_PARAM)}"' for key, value in values.items() if value)
    return f"[{name}{told}]"


def _printable(host: str) -> str:
    """A HOSTNAME: printable ASCII without spaces; what is not becomes a hyphen."""
    told = "".join(each if "!" <= each <= "~" else "-" for each in host[:_HOST])
    return told or "-"
