"""NDJSON to EVENTS: one JSON object a line, strictly, each line on its own.

Owns the reasons for which a line is no record. Each line is decoded by msgspec, mapped fields are taken out of the
object into columns, and what remains is written back as ``attrs``: measured on 1.8 kB Windows events (one core),
msgspec to objects 2.4 us a line, with the mapped fields taken out and the rest encoded 3.9 us; ``polars.read_ndjson``
with an explicit schema of the 25 fields in question 4.4 us, without ``attrs`` and without verdicts for single lines.

Defined here: of repeated keys the last counts; a lone surrogate or bytes that are not UTF-8 refuse the line; a
number past the range of a float (``1e400``) refuses it; integers of any size up to 4,300 digits are read exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from guardian.decode.draft import (
    Draft,
    Floats,
    Names,
    finish,
    layer_of,
    names_ids,
    strings,
    stripped,
)
from guardian.decode.lines import MAX_LINE_BYTES
from guardian.decode.mapping import TEXT_COLUMNS, Alternative, Map, Path, Template, Text
from guardian.decode.result import Rejects
from guardian.decode.times import MISSING, Int8, Int64, looks_iso, objects_ns

_decode: Final = msgspec.json.Decoder().decode
_encode_into: Final = msgspec.json.Encoder().encode_into

_MAX_SHAPES: Final = 1024
"""Sets of keys for which the applicable part of a map is remembered; it is only a cache."""

Step = tuple[str | None, Callable[[dict[str, Any]], Any] | None, tuple[str, ...]]
"""A key to look up (None = no key), what to try when the record has none, and the fields that it uses up."""


def decode_lines(
    lines: list[bytes | None], first_line: int, mapping: Map, latest: int, rejects: Rejects
) -> tuple[pa.RecordBatch, pa.Array | None]:
    """The EVENTS batch and the labels of some lines.

    Args:
        lines: lines without their line feed; None = a line longer than MAX_LINE_BYTES. Blank lines are skipped.
        first_line: number of the first one, from 1.
        mapping: what the fields mean.
        latest: newest usable time, nanoseconds since 1970.
        rejects: takes an entry for every line that is no event.
    """
    table = _Columns(mapping)
    for number, line in enumerate(lines, first_line):
        if line is None:
            rejects.add(number, "line_too_long", f"expected at most {MAX_LINE_BYTES} bytes in a line")
            continue
        if not line or line.isspace():
            continue
        try:
            record = _decode(line)
        except RecursionError:
            rejects.add(number, "too_deep", "expected less nesting")
            continue
        except UnicodeDecodeError:
            rejects.add(number, "invalid_utf8", "expected UTF-8")
            continue
        except msgspec.ValidationError as error:
            rejects.add(number, "number_out_of_range", str(error))
            continue
        except msgspec.DecodeError as error:
            rejects.add(number, "not_json", str(error))
            continue
        if type(record) is not dict:
            rejects.add(number, "not_an_object", "expected a JSON object")
            continue
        table.add(number, record)
    return finish(table.draft(latest), rejects)


class _Shape(NamedTuple):
    """The parts of a map that can apply to records with one set of keys."""

    times: list[tuple[int, bool, Step]]
    texts: list[tuple[list[Step], frozenset[str], dict[str, int], Callable[[int], None]]]
    body: list[Step]
    value: list[Step]


class _Columns:
    """Takes records apart, one list a column."""

    def __init__(self, mapping: Map) -> None:
        self._map = mapping
        texts = mapping.texts | {
            "outcome": mapping.outcome.text,
            "severity": mapping.severity.text,
            "layer": mapping.layer,
            "trace_id": mapping.trace_id,
            "span_id": mapping.span_id,
        }
        if mapping.label is not None:
            texts["label"] = Text(alternatives=mapping.label.alternatives)
        self._texts = texts
        self._tables: dict[str, dict[str, int]] = {name: {} for name in texts}
        self._codes: dict[str, list[int]] = {name: [] for name in texts}
        self._label_names = tuple(path.name for path in mapping.label.alternatives) if mapping.label else ()
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        self.lines: list[int] = []
        self._times: list[Any] = []
        self._time_choice: list[int] = []
        self._body: list[str] = []
        self._value: list[float] = []
        self._attrs = bytearray()
        self._attr_ends: list[int] = []

    def _shape(self, keys: tuple[str, ...]) -> _Shape:
        """What of the map can apply to records with these keys. Windows events have about 100 sorts of keys."""
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        there = set(keys)
        mapping = self._map
        shape = self._shapes[keys] = _Shape(
            times=[
                (index, time.unit == "iso8601", step)
                for index, time in enumerate(mapping.ts)
                for step in _steps(time.alternatives, there)
            ],
            texts=[
                (
                    _steps(text.alternatives, there, used_up=name in TEXT_COLUMNS),
                    text.none,
                    self._tables[name],
                    self._codes[name].append,
                )
                for name, text in self._texts.items()
                if text.alternatives
            ],
            body=_steps(mapping.body.alternatives, there),
            value=_steps(mapping.value.alternatives, there),
        )
        return shape

    def add(self, line: int, record: dict[Any, Any]) -> None:
        keys = tuple(record)
        shape = self._shapes.get(keys) or self._shape(keys)
        get = record.get
        used: list[str] = []
        self.lines.append(line)
        time, choice = None, 0
        for index, iso, (name, deeper, names) in shape.times:
            found = get(name)
            if found is None and deeper is not None:
                found = deeper(record)
            if found is None or found == "":
                continue
            if (type(found) is str and looks_iso(found)) == iso:
                time, choice = found, index
                used.extend(names)
                break
            if time is None:  # stands in the wrong form for its unit; it counts if nothing better follows
                time, choice = found, index
        self._times.append(time)
        self._time_choice.append(choice)
        for steps, none, table, append in shape.texts:
            for name, deeper, names in steps:
                found = get(name)
                if found is None:
                    if deeper is None:
                        continue
                    found = deeper(record)
                    if found is None:
                        continue
                if type(found) is list:  # only its first item is read, so the list stays in attrs
                    text = scalar_text(found[0]) if found else ""
                    if text and text not in none:
                        break
                    continue
                text = found if type(found) is str else scalar_text(found)
                if text and text not in none:
                    used.extend(names)
                    break
            else:
                text = ""
            code = table.get(text)
            if code is None:
                code = table[text] = len(table)
            append(code)
        body = ""
        for name, deeper, names in shape.body:
            found = get(name)
            if found is None and deeper is not None:
                found = deeper(record)
            if body := found if type(found) is str else scalar_text(found):
                used.extend(names)
                break
        self._body.append(body)
        magnitude = math.nan
        for name, deeper, names in shape.value:
            found = get(name)
            if found is None and deeper is not None:
                found = deeper(record)
            magnitude = number(found)
            if magnitude == magnitude:  # noqa: PLR0124  (not NaN)
                used.extend(names)
                break
        self._value.append(magnitude)
        used.extend(self._label_names)
        for name in used:
            if record.pop(name, used) is used:
                _remove(record, name)
        _encode_into(record, self._attrs, -1)
        self._attr_ends.append(len(self._attrs))

    def draft(self, latest: int) -> Draft:
        mapping, count = self._map, len(self.lines)
        ts, verdicts = self._read_times(latest)
        names = {name: self._names(name) for name in self._texts}
        value = np.array(self._value, np.float64)
        value = (
            value * mapping.value.factor
            if mapping.value.alternatives
            else np.full(count, mapping.value.const)
        )
        labels = None
        if mapping.label is not None:
            benign = mapping.label.benign
            label = names["label"]
            texts = pa.array(["" if text in benign else text for text in label.values], pa.string())
            labels = texts.take(pa.array(label.array()))
        default = mapping.default_layer
        return Draft(
            lines=np.array(self.lines, np.int64),
            ts=ts,
            verdicts=verdicts,
            names={name: stripped(names[name], mapping.texts[name]) for name in TEXT_COLUMNS},
            outcome=names["outcome"].read(mapping.outcome.read, np.int8),
            layer=names["layer"].read(lambda text: layer_of(text, default), np.int8),
            severity=names["severity"].read(mapping.severity.read, np.float64),
            value=finite(value),
            trace_id=names_ids(names["trace_id"], 16),
            span_id=names_ids(names["span_id"], 8),
            body=pa.array(self._body, pa.string()),
            attrs=strings(self._attrs, self._attr_ends),
            signal=mapping.signal,
            labels=labels,
        )

    def _names(self, name: str) -> Names:
        if self._texts[name].alternatives:
            return Names(self._codes[name], list(self._tables[name]))
        return Names(np.zeros(len(self.lines), np.int32), [self._texts[name].const])

    def _read_times(self, latest: int) -> tuple[Int64, Int8]:
        units = [time.unit for time in self._map.ts]
        if len(units) == 1:
            return objects_ns(self._times, units[0], latest)
        choice = np.array(self._time_choice, np.int8)
        ts = np.zeros(len(choice), np.int64)
        verdicts = np.full(len(choice), MISSING, np.int8)
        for index, unit in enumerate(units):
            rows = np.flatnonzero(choice == index)
            ts[rows], verdicts[rows] = objects_ns([self._times[row] for row in rows], unit, latest)
        return ts, verdicts


def scalar_text(value: Any) -> str:
    """The text of a JSON scalar, as JSON writes it; empty for null, objects and lists."""
    if type(value) is str:
        return value
    if value is None or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def number(value: Any) -> float:
    """A finite number, or a text that is one; NaN for anything else."""
    if type(value) not in {float, int, str}:
        return math.nan
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def finite(values: Floats) -> Floats:
    """The values with NaN for infinities."""
    return np.where(np.isfinite(values), values, np.nan)


def _steps(alternatives: Sequence[Alternative], there: set[str], *, used_up: bool = True) -> list[Step]:
    """The alternatives that records with the keys ``there`` may hold."""
    steps = []
    for entry in alternatives:
        paths = entry.paths if isinstance(entry, Template) else (entry,)
        if all(path.name in there or (path.parts and path.parts[0] in there) for path in paths):
            name, deeper, names = _step(entry)
            steps.append((name, deeper, names if used_up else ()))
    return steps


@cache
def _step(entry: Alternative) -> Step:
    if isinstance(entry, Path):
        return entry.name, _walk(entry) if entry.parts else None, (entry.name,)
    steps = tuple(map(_step, entry.paths))
    literals = entry.literals

    def join(record: dict[Any, Any]) -> str | None:
        get = record.get
        text = literals[0]
        for (name, deeper, _), literal in zip(steps, literals[1:], strict=True):
            found = get(name)
            if found is None and deeper is not None:
                found = deeper(record)
            piece = found if type(found) is str else scalar_text(found)
            if not piece:
                return None
            text += piece + literal
        return text

    return None, join, tuple(path.name for path in entry.paths)


def _walk(path: Path) -> Callable[[dict[str, Any]], Any]:
    first, *rest = path.parts

    def walk(record: dict[str, Any]) -> Any:
        found = record.get(first)
        for part in rest:
            if type(found) is not dict:
                return None
            found = found.get(part)
        return found

    return walk


def _remove(record: dict[str, Any], name: str) -> None:
    """Take a nested field out, and the objects that are empty without it."""
    head, _, tail = name.partition(".")
    inner = record.get(head)
    if tail and isinstance(inner, dict):
        if inner.pop(tail, inner) is inner:
            _remove(inner, tail)
        if not inner:
            del record[head]
