"""Records with loosely typed fields to drafted columns: applies a map to the objects of NDJSON lines.

Owns how a field is found in a record, and what of the record is left for ``attrs``. Records with the same keys are
read together, one field at a time, because a log has few shapes: measured on Windows events, 5 us a record instead of
9 us record by record. Wherever a group is not plain (a field in another type, empty, or nested), its rows are read one
by one; ``tests/guardian/decode/test_records.py`` holds both to the same result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from guardian.decode.draft import Draft, Names, by_appearance, drafted, names_ids, objects
from guardian.decode.mapping import Map, Path
from guardian.decode.scalars import number, scalar_text
from guardian.decode.shapes import Shape, Step, readers, shape_of, understood
from guardian.decode.times import MISSING, Int8, Int64, looks_iso, objects_ns

_encode_into: Final = msgspec.json.Encoder().encode_into

GROUP: Final = 256
"""Records that are read together: enough to share the work, few enough to stay in the cache of one core."""

Record = dict[Any, Any]


class Columns:
    """Takes records apart, one list a column."""

    def __init__(self, mapping: Map) -> None:
        self._map = mapping
        self._texts = readers(mapping)
        self._kept = {name: understood(mapping, name) for name in self._texts}
        self._names = {name: _Interned() for name, text in self._texts.items() if text.alternatives}
        self._times: list[Any] = []
        self._choice: list[int] = []
        self._body: list[str | None] = []
        self._value: list[float] = []
        self._lines: list[int] = []
        self._attrs = bytearray()
        self._ends: list[int] = []

    def add(self, records: list[Record], lines: list[int]) -> None:
        """Read some records, best about GROUP of them, and the line of each. The records are used up."""
        count = len(records)
        start = len(self._lines)
        self._lines += lines
        for names in self._names.values():
            names.codes.extend([0] * count)
        self._times += [None] * count
        self._choice += [0] * count
        self._body += [None] * count
        self._value += [math.nan] * count
        groups: dict[tuple[str, ...], list[int]] = {}
        for row, record in enumerate(records):
            keys = tuple(record)
            members = groups.get(keys)
            if members is None:
                groups[keys] = [row]
            else:
                members.append(row)
        for keys, members in groups.items():
            group = [records[row] for row in members]
            self._take(group, [start + row for row in members], shape_of(self._map, keys))
        for record in records:
            _encode_into(record, self._attrs, -1)
            self._ends.append(len(self._attrs))

    def _take(self, group: list[Record], rows: list[int], shape: Shape) -> None:
        """Read the records of one shape into their rows, and take out of them what was used up."""
        whole: list[str] = []  # fields that every record of the group has used up
        single: dict[int, list[str]] = {}  # further ones, by the record's place in the group
        told: dict[int, str] = {}  # the message that stands for the kind, by the record's place in the group
        for name, steps in shape.texts.items():
            none = self._texts[name].none
            if any(step.message for step in steps):
                found = [_first(record, steps, none) for record in group]
                told = {place: text for place, (text, _, message) in enumerate(found) if message}
                texts = ["" if message else text for text, _, message in found]
                for place, (_, names, _) in enumerate(found):
                    single.setdefault(place, []).extend(names)
            else:
                texts = _read(group, steps, none, whole, single, self._kept[name])
            self._names[name].put(rows, texts)
        self._read_body(group, rows, shape.body, whole, single, told)
        self._read_times(group, rows, shape.times, whole, single)
        if shape.value:
            for place, (row, record) in enumerate(zip(rows, group, strict=True)):
                self._value[row], names = _magnitude(record, shape.value)
                single.setdefault(place, []).extend(names)
        if self._map.label is not None:
            whole += [path.name for path in self._map.label.alternatives]
        for field in set(whole):
            if field in shape.keys:
                for record in group:
                    del record[field]
            else:
                for record in group:
                    _remove(record, field)
        for place, used in single.items():
            for field in set(used).difference(whole):
                _remove(group[place], field)

    def _read_body(
        self,
        group: list[Record],
        rows: list[int],
        steps: tuple[Step, ...],
        whole: list[str],
        single: dict[int, list[str]],
        told: dict[int, str],
    ) -> None:
        if told:
            for place, (row, record) in enumerate(zip(rows, group, strict=True)):
                text = told.get(place, "")
                if not text:
                    text, names, _ = _first(record, steps, self._map.body.none)
                    single.setdefault(place, []).extend(names)
                self._body[row] = text or None
        elif steps:
            texts = _read(group, steps, self._map.body.none, whole, single, None)
            _scatter(self._body, rows, [text or None for text in texts])

    def _read_times(
        self,
        group: list[Record],
        rows: list[int],
        times: tuple[tuple[int, bool, Step], ...],
        whole: list[str],
        single: dict[int, list[str]],
    ) -> None:
        if not times:
            return
        choice, iso, step = times[0]
        if iso and (texts := _together(group, step, frozenset())) and {text[4:5] for text in texts} == {"-"}:
            whole += step.names
            _scatter(self._times, rows, texts)
            _scatter(self._choice, rows, [choice] * len(rows))
            return
        for place, (row, record) in enumerate(zip(rows, group, strict=True)):
            for choice, iso, step in times:
                found = _walk(record, step.paths[0])
                if found is None or found == "":
                    continue
                fits = (type(found) is str and looks_iso(found)) == iso
                if fits or self._times[row] is None:  # in the wrong form it counts if nothing better follows
                    self._times[row], self._choice[row] = found, choice
                if fits:
                    single.setdefault(place, []).extend(step.names)
                    break

    def draft(self, latest: int) -> Draft:
        """All that was read, as columns. ``latest`` is the newest usable time, nanoseconds since 1970."""
        ts, verdicts = self._read_ts(latest)
        names = {name: self._interned(name) for name in self._texts}
        return drafted(
            self._map,
            lines=np.array(self._lines, np.int64),
            ts=ts,
            verdicts=verdicts,
            names=names,
            values=np.array(self._value),
            ids=(names_ids(names["trace_id"], 16), names_ids(names["span_id"], 8)),
            body=pa.array(self._body, pa.string()),
            attrs=objects(self._attrs, self._ends),
        )

    def _interned(self, name: str) -> Names:
        texts = self._names.get(name)
        if texts is None:
            return Names(np.zeros(len(self._lines), np.int32), [self._texts[name].const])
        return texts.names()

    def _read_ts(self, latest: int) -> tuple[Int64, Int8]:
        units = [time.unit for time in self._map.ts]
        if len(units) == 1:
            return objects_ns(self._times, units[0], latest)
        choice = np.array(self._choice, np.int8)
        ts = np.zeros(len(choice), np.int64)
        verdicts = np.full(len(choice), MISSING, np.int8)
        for index, unit in enumerate(units):
            rows = np.flatnonzero(choice == index)
            ts[rows], verdicts[rows] = objects_ns([self._times[row] for row in rows], unit, latest)
        return ts, verdicts


class _Interned:
    """A column of repeated text while it is being filled, in any order of rows."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self._table = {"": 0}

    def put(self, rows: list[int], texts: list[str]) -> None:
        """Set the text of some rows."""
        codes, table = self.codes, self._table
        for row, text in zip(rows, texts, strict=True):
            code = table.get(text)
            if code is None:
                code = table[text] = len(table)
            codes[row] = code

    def names(self) -> Names:
        """The column with its values in order of first appearance."""
        return by_appearance(np.array(self.codes, np.int32), pa.array(list(self._table), pa.string()))


def _read(
    group: list[Record],
    steps: tuple[Step, ...],
    none: frozenset[str],
    whole: list[str],
    single: dict[int, list[str]],
    kept: Callable[[str], bool] | None,
) -> list[str]:
    """One text a record; notes the fields that are used up."""
    texts = _together(group, steps[0], none)
    if texts is not None:
        says_all = {True} if kept is None else {kept(text) for text in set(texts)}
        if says_all == {True}:
            whole += steps[0].names
        if len(says_all) == 1:
            return texts
        found = [(text, steps[0].names) for text in texts]
    else:
        found = [_first(record, steps, none)[:2] for record in group]
    for place, (text, names) in enumerate(found):
        if names and (kept is None or kept(text)):
            single.setdefault(place, []).extend(names)
    return [text for text, _ in found]


def _scatter(column: list[Any], rows: list[int], values: Sequence[Any]) -> None:
    for row, value in zip(rows, values, strict=True):
        column[row] = value


def _together(group: list[Record], step: Step, none: frozenset[str]) -> list[str] | None:
    """The texts of one alternative in all records; None unless it is plainly present in each of them."""
    if not step.plain:
        return None
    parts: list[list[Any]] = []
    for name in step.names:
        found = [record[name] for record in group]
        kinds = set(map(type, found))
        if kinds == {int}:
            found = list(map(str, found))
        elif kinds != {str}:
            return None
        if step.join is not None and "" in found:
            return None
        parts.append(found)
    texts = parts[0] if step.join is None else list(map(step.join, *parts))
    unique = set(texts)
    return texts if "" not in unique and none.isdisjoint(unique) else None


def _first(
    record: Record, steps: tuple[Step, ...], none: frozenset[str]
) -> tuple[str, tuple[str, ...], bool]:
    """The text of the first alternative that is present, the fields that it uses up, and whether it is a message."""
    for step in steps:
        found = [_walk(record, path) for path in step.paths]
        if step.join is None and type(found[0]) is list:
            text = scalar_text(found[0][0]) if found[0] else ""
            names: tuple[str, ...] = ()  # only the first item is read, so the list stays
        else:
            pieces = [scalar_text(piece) for piece in found]
            text = "" if not all(pieces) else pieces[0] if step.join is None else step.join(*pieces)
            names = step.names
        if text and text not in none:
            return text, names, step.message
    return "", (), False


def _magnitude(record: Record, steps: tuple[Step, ...]) -> tuple[float, tuple[str, ...]]:
    for step in steps:
        found = number(_walk(record, step.paths[0]))
        if not math.isnan(found):
            return found, step.names
    return math.nan, ()


def _walk(record: Record, path: Path) -> Any:
    found = record.get(path.name)
    if found is None and path.parts:
        found = record
        for part in path.parts:
            found = found.get(part) if type(found) is dict else None
    return found


def _remove(record: Record, name: str) -> None:
    """Take a field out; of a nested one also the objects that are empty without it."""
    if name in record:
        del record[name]
        return
    head, _, tail = name.partition(".")
    inner = record.get(head)
    if tail and type(inner) is dict:
        _remove(inner, tail)
        if not inner:
            del record[head]
