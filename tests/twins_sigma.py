"""Slow twin of guardian.sigma: rules as YAML reads them, one event at a time, from the text of the Sigma specification 2.1.

Shares no code with the product and nothing with pySigma but the grammar it describes. An event is its row as a dictionary.
"""

from __future__ import annotations

import base64
import fnmatch
import ipaddress
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

Event = dict[str, Any]
DASHES = "-/–—―"


def lower(text: str) -> str:
    """Each character in lower case by itself."""
    return "".join(low if len(low := each.lower()) == 1 else each for each in text)


def written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def scalars(value: Any) -> Iterator[str]:
    """Texts of a member: itself, or each item of a list; an object is none."""
    if isinstance(value, list):
        for each in value:
            yield from scalars(each)
    elif value is not None and not isinstance(value, dict):
        yield written(value)


def everything(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from everything(each)
    elif isinstance(value, list):
        for each in value:
            yield from everything(each)
    elif value is not None:
        yield written(value)


def at_place(record: Any, place: str) -> list[str]:
    """Values of the members whose keys joined by dots are the place."""
    found: list[str] = []
    if isinstance(record, dict):
        for key, value in record.items():
            if key == place:
                found += scalars(value)
            elif place.startswith(f"{key}."):
                found += at_place(value, place[len(key) + 1 :])
    return found


COLUMNS = ("kind", "source", "actor", "address", "target", "session", "body")


def values_of(event: Event, field: str) -> list[str]:
    """What a field holds in an event: for the few fields that the tests use, as guardian.sigma.fields documents it."""
    record = json.loads(event["attrs"]) if event.get("attrs") else {}
    if field == "":
        return [*everything(record), *(event[name] for name in COLUMNS if event.get(name))]
    if field in COLUMNS:
        return [event[field]] if event.get(field) else []
    if field in ("severity", "value"):
        number = event.get(field)
        return [] if number is None or number != number else [f"{number:g}"]  # noqa: PLR0124  (NaN)
    for place in (field, f"event_data.{field}", f"winlog.event_data.{field}", f"Event.EventData.{field}"):
        if found := at_place(record, place):
            return found
    if field == "User" and event.get("actor"):
        return [event["actor"]]
    if field == "EventID":
        number = re.search(r"(?:^|/)([0-9]+)$", event.get("kind", ""))
        return [number[1]] if number else []
    return []


def tokens(pattern: str) -> list[str]:
    r"""A pattern's characters; wildcards as "*" and "?", others with a backslash before them: \*, \?, \\ are plain."""
    out, at = [], 0
    while at < len(pattern):
        if pattern[at] == "\\" and pattern[at + 1 : at + 2] in ("*", "?", "\\"):
            out.append("\\" + pattern[at + 1])
            at += 2
            continue
        out.append(pattern[at] if pattern[at] in "*?" else "\\" + pattern[at])
        at += 1
    return out


def fits(pattern: list[str], text: str, *, cased: bool) -> bool:
    """Wildcards by a table, character by character."""
    if not cased:
        pattern = [each if each in ("*", "?") else "\\" + lower(each[1:]) for each in pattern]
        text = lower(text)
    reach = {0}
    for each in pattern:
        if each == "*":
            reach = set(range(min(reach), len(text) + 1)) if reach else set()
        elif each == "?":
            reach = {at + 1 for at in reach if at < len(text)}
        else:
            reach = {at + 1 for at in reach if at < len(text) and text[at] == each[1:]}
    return len(text) in reach


def number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text) else None


def expanded(value: Any, modifiers: list[str]) -> list[Any]:
    """The values that one stands for after the transforming modifiers."""
    values = [value]
    for modifier in modifiers:
        if modifier == "windash":
            made: list[str] = []
            for each in values:
                parts = re.split(r"(\B[-/]\b)", each)
                choices = [DASHES if place % 2 else [part] for place, part in enumerate(parts)]
                made += ["".join(chosen) for chosen in itertools.product(*choices)]
            values = made
        elif modifier in ("wide", "utf16le"):
            values = [each.encode("utf-16le").decode() for each in values]
        elif modifier == "base64":
            values = [base64.b64encode(each.encode()).decode() for each in values]
        elif modifier == "base64offset":
            values = [
                base64.b64encode(b" " * offset + each.encode()).decode()[
                    (0, 2, 3)[offset] : (None, -3, -2)[(len(each.encode()) + offset) % 3]
                ]
                for each in values
                for offset in range(3)
            ]
    return values


def holds(event: Event, field: str, modifiers: list[str], value: Any) -> bool:
    """Whether one value of a detection item matches."""
    texts = values_of(event, field)
    if "exists" in modifiers:
        return bool(texts) == value
    if value is None:
        return not texts
    if "fieldref" in modifiers:
        others = [lower(each) for each in values_of(event, value)]
        ours = [lower(each) for each in texts]
        if "contains" in modifiers:
            return any(other in one for one in ours for other in others)
        if "startswith" in modifiers:
            return any(one.startswith(other) for one in ours for other in others)
        if "endswith" in modifiers:
            return any(one.endswith(other) for one in ours for other in others)
        return any(one == other for one in ours for other in others)
    if "cidr" in modifiers:
        network = ipaddress.ip_network(value)
        for text in texts:
            try:
                if ipaddress.ip_address(text) in network:
                    return True
            except ValueError:
                continue
        return False
    if "re" in modifiers:
        flags = re.ASCII
        for letter, flag in (("i", re.IGNORECASE), ("m", re.MULTILINE), ("s", re.DOTALL)):
            flags |= flag if letter in modifiers else 0
        return any(re.search(str(value), text, flags) for text in texts)
    for modifier in ("lt", "lte", "gt", "gte"):
        if modifier in modifiers:
            known = [each for each in map(number, texts) if each is not None]
            return any(
                {"lt": one < value, "lte": one <= value, "gt": one > value, "gte": one >= value}[modifier]
                for one in known
            )
    if isinstance(value, bool):
        return any(lower(text) == written(value) for text in texts)
    if isinstance(value, (int, float)):
        if field == "":
            return any(str(value) in text for text in texts)
        return any(number(text) == value for text in texts)
    for each in expanded(value, modifiers):
        pattern = tokens(each)
        if field == "" or "contains" in modifiers or "endswith" in modifiers:
            pattern = ["*", *pattern]
        if field == "" or "contains" in modifiers or "startswith" in modifiers:
            pattern = [*pattern, "*"]
        if any(fits(pattern, text, cased="cased" in modifiers) for text in texts):
            return True
    return False


def item(event: Event, key: str, value: Any) -> bool:
    field, *modifiers = key.split("|")
    listed = value if isinstance(value, list) else [value]
    if not listed:
        return not values_of(event, field)
    combine = all if "all" in modifiers else any
    found = combine(holds(event, field, modifiers, each) for each in listed)
    return not found if "neq" in modifiers else found


def selected(event: Event, selection: Any) -> bool:
    """A map: all items; a list: any of its entries; a plain value: a keyword."""
    if isinstance(selection, dict):
        return all(item(event, key, value) for key, value in selection.items())
    if isinstance(selection, list):
        return any(selected(event, each) for each in selection)
    return item(event, "", selection)


def matches(detection: dict[str, Any], event: Event) -> bool:
    """Whether a rule's ``detection`` (without its log source) matches an event."""
    words = re.findall(r"[()]|[^\s()]+", detection["condition"])
    place = 0

    def names(pattern: str) -> list[str]:
        known = [name for name in detection if name != "condition" and not name.startswith("_")]
        return known if pattern == "them" else fnmatch.filter(known, pattern)

    def primary() -> bool:
        nonlocal place
        word = words[place]
        place += 1
        if word == "(":
            found = either()
            place += 1
            return found
        if word == "not":
            return not primary()
        if word in ("1", "any", "all") and words[place : place + 1] == ["of"]:
            chosen = [selected(event, detection[name]) for name in names(words[place + 1])]
            place += 2
            return all(chosen) if word == "all" else any(chosen)
        return selected(event, detection[word])

    def both() -> bool:
        nonlocal place
        found = primary()
        while words[place : place + 1] == ["and"]:
            place += 1
            found = primary() and found
        return found

    def either() -> bool:
        nonlocal place
        found = both()
        while words[place : place + 1] == ["or"]:
            place += 1
            found = both() or found
        return found

    return either()
