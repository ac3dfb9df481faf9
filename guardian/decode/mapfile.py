"""Reads a MAP.toml: a built-in one by name, or a file by path; reports every problem at once by key path.

Owns the keys that a map may have and what each may hold. The meaning of a map is ``mapping``.
"""

from __future__ import annotations

import os
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path as FilePath
from typing import Any, Final, get_args

import msgspec

from guardian.decode.mapping import (
    TEXT_COLUMNS,
    Alternative,
    Label,
    Map,
    Message,
    OutcomeWords,
    Path,
    SeverityScale,
    Template,
    Text,
    Time,
    Unit,
    Value,
    alternative,
)
from guardian.errors import MapError, Problem
from guardian.events import LAYERS, Outcome, Signal

BUILT_IN: Final = ("otel", "ecs", "windows", "ait-ads", "tamv", "tamv-sentinel")
"""Maps that are known by name."""

_TEXT_KEYS: Final = ("field", "template", "const", "none", "strip")
_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "ts": ("field", "unit"),
    **dict.fromkeys((*TEXT_COLUMNS, "body"), _TEXT_KEYS),
    "kind": (*_TEXT_KEYS, "otherwise"),
    **dict.fromkeys(("layer", "trace_id", "span_id"), ("field", "const", "none")),
    "outcome": ("field", "const", "none", "success", "failure", "denied"),
    "severity": ("field", "const", "none", "scale", "levels"),
    "value": ("field", "const", "factor"),
    "label": ("field", "benign"),
}
_REQUIRED: Final = ("ts", "kind")


@cache
def builtin_map(name: str) -> Map:
    """A built-in map.

    Raises:
        MapError: there is none of this name. A path is never read here, so a name from outside is safe.
    """
    if name not in BUILT_IN:
        raise MapError("map", [Problem("map", f"one of {', '.join(BUILT_IN)}", _shown(name))])
    return parse_map(files(__package__).joinpath("maps", f"{name}.toml").read_text("utf-8"), name=name)


def load_map(name_or_path: str | os.PathLike[str]) -> Map:
    """A map by the name of a built-in one, else from the file at that path.

    Raises:
        MapError: neither a built-in name nor a readable MAP.toml, or not usable; every problem is listed.
    """
    name = os.fspath(name_or_path)
    if name in BUILT_IN:
        return builtin_map(name)
    try:
        text = FilePath(name).read_text("utf-8")
    except (OSError, ValueError) as error:
        expected = f"one of {', '.join(BUILT_IN)}, or a readable UTF-8 MAP.toml"
        got = getattr(error, "strerror", None) or "bytes that are not UTF-8"
        raise MapError(name, [Problem("(file)", expected, got)]) from None
    return parse_map(text, name=name)


def parse_map(text: str, *, name: str = "MAP.toml") -> Map:
    r"""The map that a TOML text describes; ``name`` is what errors call it.

    Raises:
        MapError: the text is not TOML or does not describe an event; every problem is listed.

    >>> parse_map("[map]\nts = { field = 'time', unit = 'h' }\nvalue = { field = 'n', facto = 2 }", name="m")
    Traceback (most recent call last):
    ...
    guardian.errors.MapError: m: map.ts.unit: expected one of s, ms, us, ns, iso8601, got "h"
    m: map.value.facto: expected one of field, const, factor, got an unknown key
    m: map.kind: expected a table with field, template or const, got nothing
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MapError(name, [Problem("(file)", "TOML", str(error))]) from None
    reader = _Reader()
    result = reader.map(tree, name)
    if reader.problems:
        raise MapError(name, reader.problems)
    assert result is not None  # no problems, so every part could be built
    return result


class _Reader:
    """Walks the TOML tree and notes every problem; a part with a problem becomes its empty form."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def problem(self, key: str, expected: str, got: Any) -> None:
        self.problems.append(Problem(key, expected, "nothing" if got is None else _shown(got)))

    def unknown(self, key: str, known: tuple[str, ...]) -> None:
        self.problems.append(Problem(key, f"one of {', '.join(known)}", "an unknown key"))

    def map(self, tree: dict[str, Any], name: str) -> Map | None:
        for key in tree:
            if key not in {"map", "defaults"}:
                self.unknown(key, ("map", "defaults"))
        columns = self.table(tree.get("map"), "map")
        defaults = self.table(tree.get("defaults", {}), "defaults")
        before = len(self.problems)
        parts: dict[str, Any] = {}
        texts = dict.fromkeys(TEXT_COLUMNS, Text())
        for key, value in columns.items():
            here = f"map.{key}"
            if key not in _KEYS:
                self.unknown(here, tuple(_KEYS))
            elif key == "ts":
                parts["ts"] = self.times(value, here)
            else:
                table = self.table(value, here)
                for inner in table:
                    if inner not in _KEYS[key]:
                        self.unknown(f"{here}.{inner}", _KEYS[key])
                if key == "kind":
                    texts[key] = self.kind(table, here)
                elif key in TEXT_COLUMNS:
                    texts[key] = self.text(table, here)
                else:
                    parts[key] = getattr(self, key)(table, here)
        for key in _REQUIRED:
            if key not in columns:
                what = "field and unit" if key == "ts" else "field, template or const"
                self.problem(f"map.{key}", f"a table with {what}", None)
        parts |= self.defaults(defaults)
        return None if len(self.problems) > before else Map(name=name, texts=texts, **parts)

    def defaults(self, table: dict[str, Any]) -> dict[str, Any]:
        signals = {signal.name.lower(): signal for signal in Signal}
        parts: dict[str, Any] = {}
        for key, value in table.items():
            if key == "layer":
                if value in LAYERS:
                    parts["default_layer"] = LAYERS.index(value)
                else:
                    self.problem("defaults.layer", "L0 to L7", value)
            elif key == "signal":
                if isinstance(value, str) and value in signals:
                    parts["signal"] = signals[value]
                else:
                    self.problem("defaults.signal", f"one of {', '.join(signals)}", value)
            else:
                self.unknown(f"defaults.{key}", ("layer", "signal"))
        return parts

    def table(self, value: Any, key: str) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self.problem(key, f"a table [{key}]", value)
        return {}

    def times(self, value: Any, key: str) -> tuple[Time, ...]:
        times = []
        entries = value if isinstance(value, list) else [value]
        for index, entry in enumerate(entries):
            here = f"{key}[{index}]" if isinstance(value, list) else key
            table = self.table(entry, here)
            for inner in table:
                if inner not in _KEYS["ts"]:
                    self.unknown(f"{here}.{inner}", _KEYS["ts"])
            unit: Any = table.get("unit")
            if unit not in get_args(Unit):
                self.problem(f"{here}.unit", f"one of {', '.join(get_args(Unit))}", unit)
            times.append(Time(self.paths(table, here), unit))
        if not times:
            self.problem(key, "at least one table with field and unit", value)
        return tuple(times)

    def alternatives(
        self, table: dict[str, Any], key: str, name: str = "field"
    ) -> tuple[Path | Template, ...]:
        value = table.get(name)
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or not all(isinstance(x, str) and x for x in names):
            self.problem(f"{key}.{name}", "a dotted path, or a list of them", value)
            return ()
        return tuple(alternative(name) for name in names)

    def template(self, table: dict[str, Any], key: str) -> tuple[Path | Template, ...]:
        text = table.get("template")
        if text is None:
            return ()
        made = alternative(text) if isinstance(text, str) else None
        if isinstance(made, Template):
            return (made,)
        self.problem(f"{key}.template", 'a text with fields, such as "{channel}/{id}"', text)
        return ()

    def paths(self, table: dict[str, Any], key: str, name: str = "field") -> tuple[Path, ...]:
        found = self.alternatives(table, key, name)
        if any(isinstance(entry, Template) for entry in found):
            self.problem(f"{key}.{name}", "paths without {}", table[name])
        return tuple(entry for entry in found if isinstance(entry, Path))

    def words(self, table: dict[str, Any], key: str, name: str) -> list[str]:
        value = table.get(name, [])
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return value
        self.problem(f"{key}.{name}", "a list of texts", value)
        return []

    def one_of(self, table: dict[str, Any], key: str) -> bool:
        origins = [origin for origin in ("field", "template", "const") if origin in table]
        if len(origins) != 1:
            got = " and ".join(origins) or "none of them"
            self.problems.append(Problem(key, "one of field, template or const", got))
        return len(origins) == 1

    def number(self, table: dict[str, Any], key: str, name: str, default: float) -> float:
        value = table.get(name, default)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        self.problem(f"{key}.{name}", "a number", value)
        return default

    def text(self, table: dict[str, Any], key: str) -> Text:
        if not self.one_of(table, key):
            return Text()
        found = self.alternatives(table, key) if "field" in table else self.template(table, key)
        return self.made(table, key, found)

    def made(self, table: dict[str, Any], key: str, alternatives: tuple[Alternative, ...]) -> Text:
        none = frozenset(self.words(table, key, "none"))
        for name in ("const", "strip"):
            if not isinstance(table.get(name, ""), str):
                self.problem(f"{key}.{name}", "a text", table[name])
                return Text()
        return Text(alternatives, table.get("const", ""), none, table.get("strip", ""))

    def kind(self, table: dict[str, Any], key: str) -> Text:
        """As ``text``, but a template without fields in braces names messages: they count after ``field``."""
        origin = table.get("template")
        if origin is None or (isinstance(origin, str) and isinstance(alternative(origin), Template)):
            if "otherwise" in table:
                self.problem(f"{key}.otherwise", "a template that names messages beside it", None)
            return self.text(table, key)
        if "const" in table:
            self.problems.append(Problem(key, "field or const beside template", "const and template"))
        messages = tuple(Message(path) for path in self.paths(table, key, "template"))
        before = self.alternatives(table, key) if "field" in table else ()
        after = self.alternatives(table, key, "otherwise") if "otherwise" in table else ()
        return self.made(table, key, (*before, *messages, *after))

    body = layer = trace_id = span_id = text

    def outcome(self, table: dict[str, Any], key: str) -> OutcomeWords:
        words: dict[str, int] = {}
        for outcome in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.DENIED):
            name = outcome.name.lower()
            listed = self.words(table, key, name)
            words |= dict.fromkeys((word.lower() for word in listed), int(outcome))
            if "const" in table:
                words[name] = int(outcome)
        return OutcomeWords(self.text(table, key), words)

    def severity(self, table: dict[str, Any], key: str) -> SeverityScale:
        if "const" in table:
            table = table | {"const": str(self.number(table, key, "const", 0.0))}
        scale = table.get("scale", [0.0, 1.0])
        if (
            not isinstance(scale, list)
            or len(scale) != 2
            or not all(map(_is_number, scale))
            or scale[0] == scale[1]
        ):
            self.problem(f"{key}.scale", "two different numbers [lowest, highest]", scale)
            scale = [0.0, 1.0]
        levels = table.get("levels", {})
        if not isinstance(levels, dict) or not all(_is_number(x) and 0 <= x <= 1 for x in levels.values()):
            self.problem(f"{key}.levels", "a table of word = number from 0 to 1", levels)
            levels = {}
        lowered = {word.lower(): float(level) for word, level in levels.items()}
        return SeverityScale(self.text(table, key), lowered, float(scale[0]), float(scale[1]))

    def value(self, table: dict[str, Any], key: str) -> Value:
        if not self.one_of(table, key):
            return Value()
        factor = self.number(table, key, "factor", 1.0)
        if "const" in table:
            return Value(const=self.number(table, key, "const", 0.0) * factor)
        return Value(self.paths(table, key), factor)

    def label(self, table: dict[str, Any], key: str) -> Label:
        return Label(self.paths(table, key), frozenset(self.words(table, key, "benign")))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, UnicodeDecodeError):
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
