"""Parsers of the line forms, written from their specifications and not from the code that writes them.

Each takes a whole line apart or raises ``ValueError``; whatever stands where the form has no place for it is refused.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from typing import Any, NamedTuple

from hypothesis import strategies as st

from exporters.alert import Alert
from guardian.levels import Level


class CefLine(NamedTuple):
    """A parsed CEF line."""

    header: tuple[str, ...]
    """Version, vendor, product, product version, class, name, severity."""
    extension: dict[str, str]


def parse_cef(line: str) -> CefLine:
    """ArcSight CEF implementation standard: seven header fields ended by bare pipes, then key=value pairs."""
    header: list[str] = []
    field, at = "", 0
    while len(header) < 7:
        if at >= len(line):
            raise ValueError("the header has too few fields")
        each = line[at]
        if each == "\\":
            if at + 1 >= len(line) or line[at + 1] not in "\\|":
                raise ValueError("a header escapes only pipes and backslashes")
            field, at = field + line[at + 1], at + 2
        elif each == "|":
            header.append(field)
            field, at = "", at + 1
        else:
            field, at = field + each, at + 1
    if not header[0].startswith("CEF:") or "\n" in line or "\r" in line:
        raise ValueError("no CEF line")
    rest = line[at:]
    # A key is a word before a bare equals sign; a value ends before the space that comes before the next key.
    bare, at = [], 0
    while at < len(rest):
        if rest[at] == "=":
            bare.append(at)
        at += 2 if rest[at] == "\\" else 1
    starts = []
    for equals in bare:
        key = re.search(r"(?:^| )([A-Za-z0-9]+)$", rest[:equals])
        if key is None:
            raise ValueError("an equals sign in a value is escaped")
        starts.append((key.start(1), equals, key.group(1)))
    extension: dict[str, str] = {}
    for index, (_, equals, key) in enumerate(starts):
        end = starts[index + 1][0] - 1 if index + 1 < len(starts) else len(rest)
        if key in extension:
            raise ValueError(f"{key} stands there twice")
        extension[key] = _unescaped(rest[equals + 1 : end], {"\\": "\\", "=": "=", "n": "\n", "r": "\r"})
    return CefLine(tuple(header), extension)


class LeefLine(NamedTuple):
    """A parsed LEEF 2.0 line."""

    header: tuple[str, ...]
    """Version, vendor, product, product version, event id."""
    attributes: dict[str, str]


def parse_leef(line: str) -> LeefLine:
    """IBM's LEEF 2.0: six header fields, the sixth of which is the delimiter of the attributes."""
    *header, delimiter, rest = line.split("|", 6)
    if header[0] != "LEEF:2.0" or len(header) != 5 or len(delimiter) != 1 or "\n" in line or "\r" in line:
        raise ValueError("no LEEF 2.0 line")
    attributes: dict[str, str] = {}
    for pair in rest.split(delimiter):
        key, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9]+", key) or key in attributes:
            raise ValueError(f"no attribute: {pair!r}")
        attributes[key] = value
    return LeefLine(tuple(header), attributes)


class SyslogLine(NamedTuple):
    """A parsed RFC 5424 message."""

    priority: int
    timestamp: str
    host: str
    app: str
    process: str
    message_id: str
    data: dict[str, dict[str, str]]
    message: str
    bom: bool


_HEAD = re.compile(
    rb"<(\d{1,3})>1 (-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d))"
    rb" ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) "
)
_ELEMENT = re.compile(rb'\[([!-<>-\\^-~]{1,32})((?: [!#-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*)\]')
_PARAMETER = re.compile(rb' ([!#-<>-\\^-~]{1,32})="((?:[^"\\\]]|\\["\\\]])*)"')


def parse_syslog(raw: bytes) -> SyslogLine:
    """RFC 5424, section 6, as its grammar has it."""
    head = _HEAD.match(raw)
    if head is None:
        raise ValueError("no header")
    at, data = head.end(), {}
    while element := _ELEMENT.match(raw, at):
        name = element.group(1).decode()
        if name in data:
            raise ValueError("an SD-ID stands there twice")
        data[name] = {
            key.decode(): _unescaped(value.decode(), {"\\": "\\", '"': '"', "]": "]"})
            for key, value in _PARAMETER.findall(element.group(2))
        }
        at = element.end()
    if not data or raw[at : at + 1] not in {b" ", b""}:
        raise ValueError("no structured data, or something behind it")
    message = raw[at + 1 :]
    bom = message.startswith(b"\xef\xbb\xbf")
    stamp, host, app, process, message_id = (each.decode() for each in head.groups()[1:])
    return SyslogLine(
        int(head.group(1)),
        stamp,
        host,
        app,
        process,
        message_id,
        data,
        message.removeprefix(b"\xef\xbb\xbf").decode(),
        bom,
    )


def _unescaped(value: str, escapes: dict[str, str]) -> str:
    told, at = "", 0
    while at < len(value):
        if value[at] == "\\":
            if value[at + 1 : at + 2] not in escapes:
                raise ValueError("an escape that the form does not have")
            told, at = told + escapes[value[at + 1]], at + 2
        else:
            told, at = told + value[at], at + 1
    return told


def shown(text: str, keep: str = "") -> str:
    """What may reach a line: no control character and no line separator, each one replaced by one character."""
    told = ""
    for each in text:
        if each in keep or (unicodedata.category(each) != "Cc" and each not in "\u2028\u2029"):
            told += each
        elif each in "\u2028\u2029":
            told += "␤"
        elif ord(each) < 0x20:
            told += chr(0x2400 + ord(each))
        else:
            told += "␡" if each == "\x7f" else "\ufffd"
    return told


HOSTILE = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.text(st.sampled_from('|=\\^]["\n\r\t\x00\x1b\x85\u2028\u202e \u00a6aZ0%<>&{}`ñ🜁'), max_size=40)
    | st.sampled_from(
        [
            "a|b=c\\|d",
            "x cs1=forged act=resolved",
            '"] [evil@1 x="',
            "\r\n<34>1 - - - - - -",
            "a^sev=1^b",
            "\\",
            "\\=",
        ]
    )
)
"""Names that an attacker would choose."""


@st.composite
def alerts(draw: st.DrawFn, names: st.SearchStrategy[str] = HOSTILE) -> Alert:
    """Any alert that could be sent."""
    hexes = st.integers(0, 2**128 - 1).map("{:032x}".format)
    reason = st.fixed_dictionaries(
        {
            "channel": st.sampled_from(["rule", "novelty", "context", "fan_out"]),
            "contribution": st.floats(-50, 100),
            "kind": names,
            "event": st.integers(-1, 2**53),
            "without": st.floats(0, 100),
        }
    )
    activity = draw(st.sampled_from(["open", "update", "resolved"]))
    return Alert(
        id=draw(hexes),
        created_at=draw(st.integers(10**18, 2 * 10**18)),
        role=draw(st.sampled_from(["actor", "address", "target", "session"])),
        entity=draw(names | st.ip_addresses().map(str)),
        layer=draw(st.integers(-1, 7)),
        level_from=draw(st.sampled_from(list(Level))),
        level_to=Level.NONE if activity == "resolved" else draw(st.sampled_from(list(Level))),
        score=draw(st.floats(0, 100)),
        reasons=tuple(draw(st.lists(reason, max_size=6))),
        event=draw(st.integers(0, 2**53)),
        trace_id=draw(st.just("") | hexes),
        config=draw(hexes),
        synthetic=draw(st.booleans()),
        extrapolated=draw(st.booleans()),
        finding="" if activity == "open" else draw(hexes),
        activity=activity,
        tags=tuple(
            draw(
                st.lists(
                    st.sampled_from(["attack.t1110", "attack.t1110.003", "attack.impact", "x"]) | names,
                    max_size=4,
                )
            )
        ),
        suppressed=(suppressed := draw(st.integers(0, 10**6))),
        suppressed_since=draw(st.integers(10**18, 2 * 10**18)) if suppressed else 0,
    )


def with_long_names(alert: Alert) -> Alert:
    """The same with names of 100 kB, of characters that every form has to escape or replace."""
    name = 'Ж|=\\"]^\n\x00' * 9_000
    reasons: tuple[dict[str, Any], ...] = tuple({**reason, "kind": name} for reason in alert.reasons)
    return dataclasses.replace(alert, entity=name, reasons=reasons, tags=(*alert.tags, name))
