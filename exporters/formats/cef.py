r"""An alert as one line of ArcSight's Common Event Format, ``CEF:0``.

Two escapes, as its specification has them: in the header ``\`` before a pipe and a backslash; in the extension before
an equals sign and a backslash, and a line end as ``\n`` or ``\r``. Other control characters become visible ones.
Pipes and quotes may stand in an extension, but Tenzir, measured, refuses the whole line for the one and reads what is
between two of the other as one value, so that a name could hide what comes after it. They become ``¦`` and ``”``
there. Values keep to the sizes of ArcSight's dictionary; ids stand first and are never cut.
"""

from __future__ import annotations

from typing import Final

from exporters.alert import Alert
from exporters.formats import sentences
from exporters.formats.about import PRODUCT, VENDOR, About
from exporters.formats.addresses import ip_version
from exporters.formats.limits import bounded, cut, cut_name, visible
from guardian.levels import Level

CLASS: Final = "entity-risk"
"""The device event class: the same for all steps of a life cycle, whose step is ``act``."""
SEVERITY: Final = {Level.NONE: 0, Level.LOW: 3, Level.MEDIUM: 5, Level.HIGH: 8, Level.CRITICAL: 10}
"""0–3 is what CEF calls low, 4–6 medium, 7–8 high, 9–10 very high."""

_NAME_BYTES: Final = 1023
_MESSAGE_BYTES: Final = 1023
_CUSTOM_BYTES: Final = 1024
_HEADER_BYTES: Final = 512
_LOOKALIKES: Final = str.maketrans({"|": "¦", '"': "”"})

_HEADER: Final = str.maketrans({"\\": r"\\", "|": r"\|"})
_VALUE: Final = str.maketrans({"\\": r"\\", "=": r"\=", "\n": r"\n", "\r": r"\r"})


def render(alert: Alert, about: About) -> bytes:
    """The line, without a newline at its end."""
    alert = bounded(alert)
    head = (VENDOR, PRODUCT, about.version, CLASS, sentences.title(alert, about.language))
    header = "|".join(cut(visible(each), _HEADER_BYTES).translate(_HEADER) for each in head)
    extension = " ".join(f"{key}={value}" for key, value in _extension(alert, about) if value)
    return f"CEF:0|{header}|{SEVERITY[alert.level_to]}|{extension}".encode()


def _extension(alert: Alert, about: About) -> list[tuple[str, str]]:
    """Keys of the dictionary in the order in which they stand; those with an empty value are left out."""
    told = sentences.description(alert, about.language)
    since = str(alert.suppressed_since // 10**6) if alert.suppressed_since else ""
    marks = " ".join(word for word in ("synthetic", "extrapolated") if getattr(alert, word))
    return [
        ("externalId", _value(alert.id)),
        *_custom("cs1", "finding", _value(alert.identity)),
        ("act", alert.activity),
        ("rt", str(alert.created_at // 10**6)),
        ("cat", _value(alert.role)),
        *_concerned(alert),
        *_custom("cfp1", "score", f"{alert.score:.2f}"),
        *_custom("cs2", "level", alert.level_to.word),
        *_custom("flexString1", "levelFrom", alert.level_from.word),
        *_custom("cn1", "suppressed", str(alert.suppressed)),
        ("start", since),
        *_custom("flexString2", "marks", marks),
        ("deviceFacility", f"L{alert.layer}" if alert.layer >= 0 else ""),
        ("dvchost", _value(about.host)),
        *_custom("cs3", "attack", cut(_shown(",".join(alert.tags)), _CUSTOM_BYTES).translate(_VALUE)),
        *_custom("cs4", "trace", _value(alert.trace_id)),
        *_custom("cs5", "config", _value(alert.config)),
        # The last: a receiver that takes less than the whole line loses of this first.
        ("msg", cut(_shown(told), _MESSAGE_BYTES).translate(_VALUE)),
    ]


def _custom(key: str, label: str, value: str) -> tuple[tuple[str, str], ...]:
    """A key of the dictionary that has no meaning until a label gives it one."""
    return ((key, value), (f"{key}Label", label)) if value else ()


def _concerned(alert: Alert) -> tuple[tuple[str, str], ...]:
    name = cut_name(_shown(alert.entity), _NAME_BYTES).translate(_VALUE)
    if alert.role == "actor":
        return (("suser", name),)
    if alert.role == "session":
        return _custom("cs6", "session", name)
    if alert.role != "address":
        return (("destinationServiceName", name),)
    version = ip_version(alert.entity)
    if version == 4:
        return (("src", name),)
    return _custom("c6a2", "Source IPv6 Address", name) if version else (("shost", name),)


def _shown(text: str) -> str:
    """A text of others as an extension may hold it, before its escapes, which count to no size."""
    return visible(text, keep_line_ends=True).translate(_LOOKALIKES)


def _value(text: str) -> str:
    return _shown(text).translate(_VALUE)
