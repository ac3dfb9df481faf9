"""Compiles a map to the flat tables that the JSON scanner reads.

Owns the tree of keys, and which records a map reads in ways that the scanner leaves to msgspec.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as _field
from functools import lru_cache
from typing import Final

import numpy as np

from guardian.decode import json_layout as on
from guardian.decode.json_layout import Ints, Plan
from guardian.decode.json_members import hash_edges
from guardian.decode.mapping import NANOSECONDS, Alternative, Map, Message, Path, Template, Text
from guardian.decode.shapes import readers

_ROLES: Final = {
    "outcome": on.WORD,
    "layer": on.WORD,
    "severity": on.NUMBER_WORD,
    "trace_id": on.TRACE_ID,
    "span_id": on.SPAN_ID,
}


@dataclass(frozen=True)
class Compiled:
    """The tables of a map, and the names of the rows of ``plan.columns`` (without the body's, the last)."""

    plan: Plan
    columns: tuple[str, ...]
    fields: int


@lru_cache(maxsize=64)
def compiled(mapping: Map) -> Compiled:
    """The tables of a map, worked out once while it is in use."""
    return _Compiler(mapping).compiled()


@dataclass
class _Compiler:
    mapping: Map
    text: bytearray = _field(default_factory=bytearray)
    fields: dict[str, int] = _field(default_factory=dict)
    edges: dict[tuple[int, bytes], int] = _field(default_factory=dict)
    nodes: list[list[int]] = _field(default_factory=lambda: [[-1, 0, 0, 0, 1]])
    steps: list[list[int]] = _field(default_factory=list)
    parts: list[list[int]] = _field(default_factory=list)
    none: list[list[int]] = _field(default_factory=list)
    uses: dict[int, list[list[int]]] = _field(default_factory=dict)

    def compiled(self) -> Compiled:
        mapping = self.mapping
        texts = {name: text for name, text in readers(mapping).items() if text.alternatives}
        order = sorted(
            texts, key=lambda name: name not in _ROLES
        )  # words first: they may ask for another turn
        columns = [self.column(_ROLES.get(name, on.NAME), texts[name]) for name in order]
        columns.append(self.column(on.NAME, mapping.body))
        for row, column in enumerate(columns):
            for number, step in enumerate(self.steps[column[on.STEPS_AT] : column[on.STEPS_END]]):
                for part in self.parts[step[on.PARTS_AT] : step[on.PARTS_END]]:
                    self.use(part[0], row, number)
        times = [
            [self.field(path), NANOSECONDS.get(time.unit, 0)]
            for time in mapping.ts
            for path in time.alternatives
        ]
        values = [self.field(path) for path in mapping.value.alternatives]
        labels = mapping.label.alternatives if mapping.label is not None else ()
        plan_labels = [self.field(path, empties=False) for path in labels]
        for number, (stamp, _) in enumerate(times):
            self.use(stamp, len(columns), number)
        for number, value in enumerate(values):
            self.use(value, len(columns) + 1, number)
        uses = [self.uses.get(number, []) for number in range(len(self.fields))]
        keys = list(self.edges)
        spans = _table([self.span(key) for _, key in keys], 2)
        edges = _table(
            [
                [node, *span, self.edges[node, key]]
                for (node, key), span in zip(keys, spans.tolist(), strict=True)
            ],
            4,
        )
        text = np.frombuffer(bytes(self.text) + bytes(16), np.uint8).copy()
        hashes = np.zeros(len(keys), np.uint64)
        hash_edges(text, spans, edges, hashes)
        plan = Plan(
            text=text,
            edges=edges,
            hashes=hashes,
            slots=_slots(hashes),
            nodes=_table(self.nodes, 5),
            columns=_table(columns, 5),
            steps=_table(self.steps, 6),
            parts=_table(self.parts, 3),
            none=_table(self.none, 2),
            times=_table(times, 2),
            values=np.array(values, np.int32),
            labels=np.array(plan_labels, np.int32),
            uses=_table([use for each in uses for use in each], 2),
            uses_at=np.cumsum([0, *map(len, uses)], dtype=np.int32),
        )
        return Compiled(plan, tuple(order), len(self.fields))

    def column(self, role: int, text: Text) -> list[int]:
        steps = len(self.steps)
        for entry in text.alternatives:
            self.steps.append(self.step(entry))
        none = len(self.none)
        self.none += [self.span(word.encode()) for word in sorted(text.none)]
        return [role, steps, len(self.steps), none, len(self.none)]

    def step(self, entry: Alternative) -> list[int]:
        first = len(self.parts)
        if isinstance(entry, Template):
            for path, literal in zip(entry.paths, entry.literals[1:], strict=True):
                self.parts.append([self.field(path), *self.span(literal.encode())])
            return [first, len(self.parts), 1, 0, *self.span(entry.literals[0].encode())]
        path = entry.path if isinstance(entry, Message) else entry
        self.parts.append([self.field(path), 0, 0])
        return [first, len(self.parts), 0, int(isinstance(entry, Message)), 0, 0]

    def field(self, path: Path, *, empties: bool = True) -> int:
        """The number of a field; its keys are in the tree. ``empties``: an empty object on its way means nothing."""
        number = self.fields.setdefault(path.name, len(self.fields))
        self.nodes[self.edge(0, path.name)][:2] = [number, 1]
        node = 0
        for depth, part in enumerate(path.parts):
            if node:
                self.nodes[node][on.INNER] = 1
                if not empties:
                    self.nodes[node][on.NO_EMPTY] = 1
                rest = ".".join(path.parts[depth:])
                if (
                    depth < len(path.parts) - 1
                ):  # what is taken out would be this key, not the one that was read
                    self.nodes[self.edge(node, rest)][on.TRAP] = 1
            node = self.edge(node, part)
        if path.parts:
            self.nodes[node][:2] = [number, 0]
        return number

    def use(self, number: int, row: int, alternative: int) -> None:
        self.uses.setdefault(number, []).append([row, min(alternative, on.MOST_ASKED)])

    def edge(self, node: int, key: str) -> int:
        place = (node, key.encode())
        if place not in self.edges:
            self.edges[place] = len(self.nodes)
            self.nodes.append([-1, 0, 0, 0, 0])
        return self.edges[place]

    def span(self, octets: bytes) -> list[int]:
        at = len(self.text)
        self.text += octets
        return [at, len(octets)]


def _table(rows: list[list[int]], width: int) -> Ints:
    return np.array(rows, np.int32).reshape(len(rows), width)


def _slots(hashes: on.Words) -> Ints:
    """Open addressing with at most a quarter of the places taken."""
    size = 16
    while size < 4 * len(hashes):
        size *= 2
    slots = np.zeros(size, np.int32)
    for number, found in enumerate(hashes.tolist(), 1):
        place = found % size
        while slots[place]:
            place = (place + 1) % size
        slots[place] = number
    return slots
