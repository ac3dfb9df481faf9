"""How long a text may be, and what of it may reach a line.

Owns cutting and the characters that would end a line or hide text in one. Does not own a form's own escapes.
Names come from events, so an attacker chooses them: whatever its length, a name becomes a bounded one, and what
identifies an alert (its ids) is never cut.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

from exporters.alert import Alert

NAME_BYTES: Final = 1024
"""Of an entity's name. Elastic leaves keywords past 1,024 characters unindexed, ArcSight takes 1,023."""
KIND_BYTES: Final = 256
"""Of the kind in a reason, and of a tag."""

_MARK: Final = "…"
_DIGEST: Final = 16
_WIDEST: Final = 4
"""Bytes of one character in UTF-8, at most."""

_PICTURES: Final = (
    {code: 0x2400 + code for code in range(0x20)}
    | {0x7F: 0x2421, 0x2028: 0x2424, 0x2029: 0x2424}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
)
_BUT_LINE_ENDS: Final = {code: other for code, other in _PICTURES.items() if chr(code) not in "\n\r"}


def cut(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` bytes of UTF-8; what was cut is marked.

    >>> cut("mañana", 6)
    'ma…'
    """
    if len(text) * _WIDEST <= limit or len(raw := text.encode()) <= limit:
        return text
    return raw[: limit - len(_MARK.encode())].decode(errors="ignore") + _MARK


def cut_name(name: str, limit: int) -> str:
    """As ``cut``, and two names stay two: a digest of the whole stands at the end.

    >>> cut_name("a" * 100, 24)
    'aaaaa…2816597888e4a0d3'
    """
    if len(name) * _WIDEST <= limit or len(raw := name.encode()) <= limit:
        return name
    return cut(name, limit - _DIGEST) + hashlib.sha256(raw).hexdigest()[:_DIGEST]


def visible(text: str, *, keep_line_ends: bool = False) -> str:
    r"""For a line: each control character as the picture that Unicode has of it, each line end as one too.

    C1 controls, which have no picture, become U+FFFD. ``keep_line_ends`` leaves those to a form that can escape them.

    >>> visible("a\nb\x1b[0m")
    'a␊b␛[0m'
    """
    if text.isprintable():
        return text
    return text.translate(_BUT_LINE_ENDS if keep_line_ends else _PICTURES)


def bounded(alert: Alert) -> Alert:
    """The alert with names that any receiver takes. Nearly all alerts are their own answer."""
    kinds = [reason["kind"] for reason in alert.reasons]
    if len(alert.entity) * _WIDEST <= NAME_BYTES and all(
        len(word) * _WIDEST <= KIND_BYTES for word in (*kinds, *alert.tags)
    ):
        return alert
    return replace(
        alert,
        entity=cut_name(alert.entity, NAME_BYTES),
        reasons=tuple({**reason, "kind": cut_name(reason["kind"], KIND_BYTES)} for reason in alert.reasons),
        tags=tuple(cut_name(tag, KIND_BYTES) for tag in alert.tags),
    )
