"""A map made ready for records with one set of keys: which of its alternatives can be there at all.

Owns the text columns that a map may fill, and when a column says all that its field says. A log has few shapes (the
Windows events of one host about 50), so each is worked out once; one with many or long keys is not remembered, so that
a sender cannot fill the memory with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Final, NamedTuple

from guardian.decode.draft import id_bytes, layer_of
from guardian.decode.mapping import Alternative, Map, Message, Path, Text

_CACHED_KEYS: Final = 128
"""Records with more keys than this are not remembered as a shape, nor those with more text in their keys than …"""
_CACHED_TEXT: Final = 4096


class Step(NamedTuple):
    """One alternative, made ready to be looked up."""

    names: tuple[str, ...]
    """The fields that it uses up."""
    plain: bool
    """All of ``names`` are keys of the record itself."""
    join: Callable[..., str] | None
    """For a template: puts the texts of its fields together."""
    paths: tuple[Path, ...]
    message: bool
    """What it finds is the text of the event, not a name."""


class Shape(NamedTuple):
    """The parts of a map that can apply to records with one set of keys."""

    texts: dict[str, tuple[Step, ...]]
    times: tuple[tuple[int, bool, Step], ...]
    body: tuple[Step, ...]
    value: tuple[Step, ...]
    keys: frozenset[str]


def readers(mapping: Map) -> dict[str, Text]:
    """Every column of text that a map may fill, by name."""
    texts = mapping.texts | {
        "outcome": mapping.outcome.text,
        "severity": mapping.severity.text,
        "layer": mapping.layer,
        "trace_id": mapping.trace_id,
        "span_id": mapping.span_id,
    }
    if mapping.label is not None:
        texts["label"] = Text(alternatives=mapping.label.alternatives)
    return texts


def understood(mapping: Map, name: str) -> Callable[[str], bool] | None:
    """Whether a column says all that its field says, so that the field need not stay in ``attrs``; None = always."""
    tests: dict[str, Callable[[str], bool]] = {
        "outcome": lambda text: mapping.outcome.read(text) != 0,
        "severity": lambda text: not math.isnan(mapping.severity.read(text)),
        "layer": lambda text: layer_of(text, -1) >= 0,
        "trace_id": lambda text: any(id_bytes(text, 16)),
        "span_id": lambda text: any(id_bytes(text, 8)),
    }
    return tests.get(name)


def shape_of(mapping: Map, keys: tuple[str, ...]) -> Shape:
    """The parts of the map that can apply to records with these keys."""
    small = len(keys) <= _CACHED_KEYS and sum(map(len, keys)) <= _CACHED_TEXT
    return _cached(mapping, keys) if small else _shape(mapping, keys)


@lru_cache(maxsize=1024)
def _cached(mapping: Map, keys: tuple[str, ...]) -> Shape:
    return _shape(mapping, keys)


def _shape(mapping: Map, keys: tuple[str, ...]) -> Shape:
    there = frozenset(keys)
    texts = {name: _steps(text.alternatives, there) for name, text in readers(mapping).items()}
    return Shape(
        texts={name: steps for name, steps in texts.items() if steps},
        times=tuple(
            (index, time.unit == "iso8601", step)
            for index, time in enumerate(mapping.ts)
            for step in _steps(time.alternatives, there)
        ),
        body=_steps(mapping.body.alternatives, there),
        value=_steps(mapping.value.alternatives, there),
        keys=frozenset(keys),
    )


def _steps(alternatives: Sequence[Alternative], there: frozenset[str]) -> tuple[Step, ...]:
    """The alternatives that records with the keys ``there`` may hold."""
    steps = []
    for entry in alternatives:
        paths, join = _parts(entry)
        names = tuple(path.name for path in paths)
        if all(path.name in there or (path.parts and path.parts[0] in there) for path in paths):
            steps.append(Step(names, there.issuperset(names), join, paths, isinstance(entry, Message)))
    return tuple(steps)


@cache
def _parts(entry: Alternative) -> tuple[tuple[Path, ...], Callable[..., str] | None]:
    if isinstance(entry, Message):
        return (entry.path,), None
    if isinstance(entry, Path):
        return (entry,), None
    form = "{}".join(literal.replace("{", "{{").replace("}", "}}") for literal in entry.literals)
    return entry.paths, form.format
