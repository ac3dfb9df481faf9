"""Syslog in expressions, written from RFC 5424, RFC 3164 and RFC 6587: what the loops must say, one message at a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

NAMES = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
ISO = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?:(Z)|([+-])(\d\d)(:?)(\d\d))?"
)
OLD = re.compile(
    rb"(%b) (?: (?=\d)|)(\d\d?) (?:(\d{4}) )?(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?" % b"|".join(NAMES)
)
HEADER = re.compile(rb"([1-9]\d{0,2}) (-|\S+?) ([!-~]{1,255}) ([!-~]{1,255}) ([!-~]{1,255}) ([!-~]{1,255}) ")
NAME = rb'[!-~]*?(?<![=\]"])'
DATA = re.compile(
    rb'(?:-|(?:\[(?:(?![=\]"])[!-~])+(?: (?:(?![=\]"])[!-~])+="(?:\\.|[^"\\])*")*\])+)(?= |\Z)', re.DOTALL
)
TAG = re.compile(rb"([0-9A-Za-z_./%@#+()-]{1,63})(?:(:)|\[([!-\\^-~]{0,127})\](:?))(?: |\Z)")
ADDRESS = re.compile(rb"[0-9A-Fa-f.:]{1,46}")


def seconds(*parts: int) -> int | None:
    year, month, day, hour, minute, second = parts
    try:
        when = datetime(year, month, day, hour, minute, tzinfo=UTC)
    except ValueError:
        return None
    if second > 60 or year < 1970:
        return None
    return int((when - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)) + second


def fraction(digits: bytes | None) -> int:
    return int((digits or b"0").ljust(9, b"0"))


def iso(data: bytes, at: int) -> tuple[int, int, bool] | None:
    """(stop, ns, local)."""
    found = ISO.match(data, at)
    if found is None:
        return None
    when = seconds(*(int(part) for part in found.groups()[:6]))
    if when is None:
        return None
    stop, local = found.end(), not (found[8] or found[9])
    if found[9]:
        if int(found[10]) > 23 or int(found[12]) > 59:
            return None
        offset = int(found[10]) * 3600 + int(found[12]) * 60
        when += offset if found[9] == b"-" else -offset
    elif local and data[stop : stop + 1] in {b"+", b"-"} and len(data) >= stop + 5:
        return None  # it begins like a zone and is none
    return stop, when * 10**9 + fraction(found[7]) if 0 <= when <= 7_258_118_400 else 0, local


def old(data: bytes, at: int, received: int) -> tuple[int, int, bool] | None:
    found = OLD.match(data, at)
    if found is None:
        return None
    month = NAMES.index(found[1]) + 1
    clock = [int(found[part]) for part in (4, 5, 6)]
    year = datetime.fromtimestamp(received // 10**9, UTC).year
    years = [int(found[3])] if found[3] and int(found[3]) else [year - 1, year, year + 1]
    times = [when for each in years if (when := seconds(each, month, int(found[2]), *clock)) is not None]
    if not times:
        return None
    best = min(times, key=lambda when: abs(when - received // 10**9))
    return found.end(), best * 10**9 + fraction(found[7]) if best <= 7_258_118_400 else 0, True


def any_time(data: bytes, at: int, received: int) -> tuple[int, int, bool] | None:
    if data[at : at + 1] in {b"*", b"."}:
        at += 1
    return iso(data, at) if data[at : at + 1].isdigit() else old(data, at, received)


def address(text: bytes) -> bytes | None:
    found = ADDRESS.match(text)
    if found is None:
        return None
    chars = found[0]
    four = re.match(rb"[0-9A-Fa-f]*(?:\.[0-9A-Fa-f]*){3}(?=:)", chars)
    if four:
        chars = four[0]
    while chars and (chars.endswith(b".") or (chars.endswith(b":") and chars.count(b":") < 2)):
        chars = chars[:-1]
    if text[len(chars) : len(chars) + 1].isalnum():
        return None
    return chars if len(chars) >= 2 and (chars.count(b".") == 3 or chars.count(b":") >= 2) else None


def word(text: bytes) -> bytes:
    return re.match(rb"[^\x00-\x20(,;]*", text)[0]  # type: ignore[index]  # it matches nothing at least


def who(message: bytes) -> dict[str, Any]:
    actor, place, outcome = None, None, 0
    froms = [found.start() for found in re.finditer(rb"(?= from )", message)]
    places = [at for at in froms if address(message[at + 6 :])]
    if message.startswith((b"Failed ", b"Accepted ", b"Invalid user ")):
        place = address(message[places[-1] + 6 :]) if places else None
        if message.startswith(b"Invalid user "):
            begin = 13
        else:
            found = message.find(b" for ")
            begin = found + 5 if found >= 0 else -1
            if begin >= 0 and message.startswith(b"invalid user ", begin):
                begin += 13
        if begin >= 0:
            actor = message[begin : max(begin, places[-1])] if places else word(message[begin:])
    else:
        rhost = message.find(b"rhost=")
        if rhost >= 0:
            place = word(message[rhost + 6 :])
            place = place if 0 < len(place) <= 255 else None
        elif places:
            place = address(message[places[0] + 6 :])
        at = message.find(b" user=")
        begin = at + 6 if at >= 0 else -1
        for phrase in (b"for user ", b"by user ", b"from user ", b"authenticating user ", b"invalid user "):
            if begin < 0 and phrase in message:
                begin = message.find(phrase) + len(phrase)
        if begin >= 0:
            actor = word(message[begin:])
            rest = message[begin + len(actor) :]
            if place is None and rest[:1] == b" ":
                place = address(rest[1:])
    if message.startswith(b"Accepted "):
        outcome = 1
    elif message.startswith((b"Failed ", b"Invalid user ")) or b"authentication failure" in message:
        outcome = 2
    elif b"session opened for user " in message:
        outcome = 1
    return {
        "actor": actor if actor and len(actor) <= 255 else b"",
        "address": place or b"",
        "outcome": outcome,
    }


def message_of(data: bytes, received: int, *, text: bool = False) -> dict[str, Any]:
    """The fields of one message without CR, LF, NUL at its end. ``ts`` is as if UTC where ``local``."""
    out: dict[str, Any] = dict.fromkeys(
        ("host", "app", "proc", "msgid", "data", "time", "actor", "address"), b""
    )
    out |= {"ts": received, "local": False, "priority": -1, "outcome": 0}
    if text:
        when = any_time(data, 0, received)
        if when is not None and (when[0] == len(data) or data[when[0]] <= 32 or data[when[0]] in b":]"):
            out["ts"], out["local"], out["time"] = when[1], when[2], data[: when[0]]
            data = re.sub(rb"\A[\x00-\x20:]*", b"", data[when[0] :])
        return out | {"message": data}
    at = 0
    pri = re.match(rb"<(\d{1,3})>", data)
    if pri and int(pri[1]) <= 191:
        out["priority"], at = int(pri[1]), pri.end()
    if out["priority"] < 0 or not new_form(data, at, out):
        old_form(data, at, received, out)
    out["message"] = out["message"].removeprefix(b"\xef\xbb\xbf")
    tags = {b"sshd", b"sshd-session", b"sudo", b"su", b"login", b"systemd-logind"}
    if out["priority"] >> 3 in {4, 10, 13} if out["priority"] >= 0 else out["app"] in tags:
        out |= who(out["message"])
    return out


def new_form(data: bytes, at: int, out: dict[str, Any]) -> bool:
    head = HEADER.match(data, at)
    if head is None:
        return False
    when = None
    if head[2] != b"-":
        when = iso(data, head.start(2))
        if when is None or when[0] != head.end(2) or head[2][10:11] != b"T":
            return False
        out["ts"], out["local"], out["time"] = when[1], when[2], head[2]
    for group, name in enumerate(("host", "app", "proc", "msgid"), 3):
        out[name] = b"" if head[group] == b"-" else head[group]
    rest = data[head.end() :]
    found = DATA.match(rest)
    if found is None:
        out["message"] = rest
    else:
        out["data"] = b"" if found[0] == b"-" else found[0]
        out["message"] = rest[found.end() + 1 :]
    return True


def old_form(data: bytes, at: int, received: int, out: dict[str, Any]) -> None:
    when = any_time(data, at, received)
    hosted = True
    rest = data[at:]
    if when is not None:
        after = when[0]
        if data[after : after + 1] == b":":
            hosted, after = False, after + 1
        if data[after : after + 1] == b" ":
            out["ts"], out["local"], out["time"] = when[1], when[2], data[at : when[0]]
            rest = data[after:].lstrip(b" ")
            host = re.match(rb"([!-~]{1,255}) ", rest)
            if hosted and host and not host[1].endswith(b":") and b"[" not in host[1]:
                out["host"] = host[1]
                rest = rest[host.end() :]
    tag = TAG.match(rest)
    if tag and (tag[2] or tag[3] is not None):
        out["app"], out["proc"] = tag[1], tag[3] or b""
        rest = rest[tag.end() :]
    out["message"] = rest
