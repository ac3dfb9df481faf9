"""MAP.toml: how any flat record becomes an event.

Owns the language of maps (INTERFACE.md), its checks, and applying a map to a table of fields. ``field`` is a dotted
path, or a list of them of which the first that is present counts; ``template`` joins several fields into one text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from guardian.decode import columns as convert
from guardian.errors import MapError, Problem
from guardian.events import LAYERS, ROLES, Outcome, Signal

_TEXT: Final = ("source", "kind", *ROLES, "body")
_OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "ts": ("unit",),
    **dict.fromkeys(_TEXT, ()),
    "outcome": ("success", "failure", "denied"),
    "severity": ("scale", "levels"),
    "value": ("factor",),
    "label": ("benign",),
    "layer": (),
    "signal": (),
    "trace_id": (),
    "span_id": (),
}
_UNITS: Final = (*convert.UNITS, "iso8601")
_PLACE: Final = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Column:
    """Where one column of EVENTS comes from."""

    fields: tuple[str, ...] = ()
    const: str | None = None
    template: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every field of the record that this column reads."""
        return self.fields or tuple(_PLACE.findall(self.template or ""))


@dataclass(frozen=True)
class Map:
    """A checked map."""

    name: str
    columns: Mapping[str, Column]
    signal: int = int(Signal.LOG)
    layer: int = -1

    @property
    def paths(self) -> tuple[str, ...]:
        """Every field that the map reads, each once; all others go to ``attrs``."""
        return tuple(dict.fromkeys(path for column in self.columns.values() for path in column.paths))

    def apply(
        self,
        fields: Mapping[str, pa.Array],
        lines: NDArray[np.int64],
        attrs: pa.Array | None,
        *,
        received_at: int | None,
        rejects: convert.Rejects,
    ) -> tuple[pa.RecordBatch, pa.Array | None]:
        """EVENTS from fields, and the labels when the map has some; rows without a usable time or kind are rejected.

        ``fields`` holds an array for each path that is present at all; ``lines`` numbers the rows for errors.
        """
        rows = len(lines)
        unit = self.columns["ts"].options.get("unit", "iso8601")
        ts = convert.times(self._array("ts", fields, rows), unit)
        kind = convert.texts(self._array("kind", fields, rows))
        has_kind = pc.not_equal(pc.utf8_trim_whitespace(kind), "").to_numpy(zero_copy_only=False)
        good = convert.in_range(ts, received_at) & has_kind
        for row in np.flatnonzero(~good).tolist():
            reason, detail = self._why(int(ts[row]), bool(has_kind[row]), unit)
            rejects.add(int(lines[row]), reason, detail)
        made: dict[str, pa.Array] = {
            "ts": pa.array(ts).cast(pa.timestamp("ns", tz="UTC")),
            "kind": convert.encoded(kind),
            "signal": self._signal(fields, rows),
            "layer": self._layer(fields, rows),
        }
        for name in _TEXT:
            if name in self.columns and name not in made:
                array = self._array(name, fields, rows)
                made[name] = convert.texts(array) if name == "body" else convert.encoded(array)
        if "outcome" in self.columns:
            made["outcome"] = self._outcome(fields, rows)
        if "severity" in self.columns:
            made["severity"] = pa.array(self._severity(fields, rows))
        if "value" in self.columns:
            factor = self.columns["value"].options.get("factor", 1.0)
            made["value"] = pa.array(convert.numbers(self._array("value", fields, rows)) * factor)
        for name, size in (("trace_id", 16), ("span_id", 8)):
            if name in self.columns:
                made[name] = convert.identifiers(self._array(name, fields, rows), size)
        if attrs is not None:
            made["attrs"] = attrs
        labels = self._labels(fields, rows) if "label" in self.columns else None
        batch = convert.batch_of(rows, made)
        if good.all():
            return batch, labels
        kept = pa.array(good)
        return batch.filter(kept), None if labels is None else labels.filter(kept)

    def _array(self, name: str, fields: Mapping[str, pa.Array], rows: int) -> pa.Array:
        column = self.columns.get(name)
        if column is None:
            return pa.nulls(rows, pa.string())
        if column.const is not None:
            return pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(rows, np.int32)), pa.array([column.const])
            )
        if column.template is not None:
            literals = _PLACE.split(column.template)
            parts = [
                pa.scalar(part)
                if place % 2 == 0
                else convert.texts(fields.get(part, pa.nulls(rows, pa.string())))
                for place, part in enumerate(literals)
            ]
            joined = pc.binary_join_element_wise(*parts, "")
            # A template none of whose fields is there says nothing.
            there = [pc.not_equal(part, "") for place, part in enumerate(parts) if place % 2]
            return pc.if_else(_any(there), joined, pa.scalar(None, pa.string()))
        present = [fields[path] for path in column.fields if path in fields]
        if not present:
            return pa.nulls(rows, pa.string())
        if len(present) == 1:
            return present[0]
        plain = [convert.texts(array) for array in present]
        filled = [pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array) for array in plain]
        return pc.coalesce(*filled)

    def _why(self, ts: int, has_kind: bool, unit: str) -> tuple[str, str]:  # noqa: FBT001  (a fact, not a switch)
        wanted = ", ".join(self.columns["ts"].paths) or "ts"
        if ts == convert.NO_TIME:
            return "no_time", f"expected a time in {wanted}"
        if ts == convert.UNREADABLE:
            return "time_unreadable", f"expected {unit} in {wanted}"
        if not has_kind:
            return "no_kind", f"expected a text in {', '.join(self.columns['kind'].paths) or 'kind'}"
        return "time_out_of_range", f"expected a time from 1990 to a day after its arrival in {wanted}"

    def _signal(self, fields: Mapping[str, pa.Array], rows: int) -> pa.Array:
        if "signal" not in self.columns:
            return pa.array(np.full(rows, self.signal, np.int8))
        return _vocabulary(
            self._array("signal", fields, rows),
            {each.name.lower(): int(each) for each in Signal},
            self.signal,
        )

    def _layer(self, fields: Mapping[str, pa.Array], rows: int) -> pa.Array:
        if "layer" not in self.columns:
            return pa.array(np.full(rows, self.layer, np.int8))
        known = {layer.lower(): number for number, layer in enumerate(LAYERS)}
        return _vocabulary(self._array("layer", fields, rows), known, self.layer)

    def _outcome(self, fields: Mapping[str, pa.Array], rows: int) -> pa.Array:
        known = {
            word.lower(): int(Outcome[name.upper()])
            for name, words in self.columns["outcome"].options.items()
            for word in words
        }
        return _vocabulary(self._array("outcome", fields, rows), known, int(Outcome.UNKNOWN))

    def _severity(self, fields: Mapping[str, pa.Array], rows: int) -> NDArray[np.float64]:
        options = self.columns["severity"].options
        array = self._array("severity", fields, rows)
        if "levels" in options:
            known = {word.lower(): float(number) for word, number in options["levels"].items()}
            words = convert.encoded(pc.utf8_lower(convert.texts(array)))
            numbers = np.array([known.get(word, np.nan) for word in words.dictionary.to_pylist()] or [np.nan])
            looked_up: NDArray[np.float64] = numbers[words.indices.to_numpy()]
            return looked_up
        low, high = options.get("scale", (0.0, 1.0))
        scaled: NDArray[np.float64] = np.clip((convert.numbers(array) - low) / (high - low), 0.0, 1.0)
        return scaled

    def _labels(self, fields: Mapping[str, pa.Array], rows: int) -> pa.Array:
        plain = convert.texts(self._array("label", fields, rows))
        benign = pa.array(self.columns["label"].options.get("benign", ["-"]), pa.string())
        return pc.if_else(pc.is_in(plain, value_set=benign), "", plain)


def load_map(name: str | Path) -> Map:
    """A built-in map by its name, or the map of a file.

    Raises:
        MapError: there is no such map, or it says something unusable; every problem is listed.
    """
    text = str(name)
    if text in BUILT_IN:
        return _built_in(text)
    path = Path(name)
    if path.suffix != ".toml":
        raise MapError(text, [Problem("(map)", f"one of {', '.join(BUILT_IN)}, or a .toml file", repr(text))])
    try:
        return parse_map(path.read_text(encoding="utf-8"), name=text)
    except (OSError, UnicodeDecodeError) as error:
        raise MapError(text, [Problem("(file)", "a readable UTF-8 file", str(error))]) from None


def parse_map(text: str, *, name: str) -> Map:
    """The map that a TOML text describes; ``name`` is what errors call it.

    Raises:
        MapError: the text is not TOML or says something unusable; every problem is listed.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MapError(name, [Problem("(file)", "TOML", str(error))]) from None
    problems: list[Problem] = []
    problems.extend(
        Problem(key, "one of map, defaults", "an unknown table")
        for key in tree
        if key not in ("map", "defaults")
    )
    table = tree.get("map", {})
    if not isinstance(table, dict):
        raise MapError(name, [Problem("map", "a table [map]", repr(table))])
    made = {
        key: _column(key, value, problems)
        for key, value in table.items()
        if _known(f"map.{key}", key, problems)
    }
    problems.extend(
        Problem(f"map.{key}", "a field or a const", "nothing") for key in ("ts", "kind") if key not in made
    )
    defaults = tree.get("defaults", {})
    signal = str(defaults.get("signal", "log"))
    layer = str(defaults.get("layer", ""))
    signals = {each.name.lower(): int(each) for each in Signal}
    if signal not in signals:
        problems.append(Problem("defaults.signal", f"one of {', '.join(signals)}", repr(signal)))
    if layer and layer not in LAYERS:
        problems.append(Problem("defaults.layer", f"one of {', '.join(LAYERS)}", repr(layer)))
    problems.extend(
        Problem(f"defaults.{key}", "one of signal, layer", "an unknown key")
        for key in defaults
        if key not in ("signal", "layer")
    )
    if problems:
        raise MapError(name, problems)
    return Map(name, made, signals[signal], LAYERS.index(layer) if layer else -1)


BUILT_IN: Final = ("otel", "ecs", "windows", "ait-ads", "tamv", "tamv-sentinel")


def _built_in(name: str) -> Map:
    text = files("guardian.decode").joinpath("maps", f"{name}.toml").read_text(encoding="utf-8")
    return parse_map(text, name=name)


def _known(key: str, name: str, problems: list[Problem]) -> bool:
    if name not in _OPTIONS:
        problems.append(Problem(key, f"one of {', '.join(_OPTIONS)}", "an unknown column"))
        return False
    return True


def _column(name: str, value: Any, problems: list[Problem]) -> Column:
    key = f"map.{name}"
    if not isinstance(value, dict):
        problems.append(Problem(key, 'a table such as { field = "name" }', repr(value)))
        return Column()
    origins = [origin for origin in ("field", "const", "template") if origin in value]
    if len(origins) != 1:
        problems.append(Problem(key, "one of field, const or template", ", ".join(origins) or "none of them"))
    options = {
        option: given for option, given in value.items() if option not in ("field", "const", "template")
    }
    for option in options:
        if option not in _OPTIONS[name]:
            allowed = ", ".join(("field", "const", "template", *_OPTIONS[name]))
            problems.append(Problem(f"{key}.{option}", f"one of {allowed}", "an unknown option"))
    problems.extend(_wrong_options(key, options))
    wanted = value.get("field", ())
    fields = (wanted,) if isinstance(wanted, str) else tuple(wanted) if isinstance(wanted, list) else ()
    if "field" in value and (not fields or not all(isinstance(each, str) and each for each in fields)):
        problems.append(Problem(f"{key}.field", "a dotted path, or a list of them", repr(wanted)))
    template = value.get("template")
    if template is not None and not (isinstance(template, str) and _PLACE.search(template)):
        problems.append(
            Problem(f"{key}.template", 'a text with fields, such as "{channel}/{id}"', repr(template))
        )
        template = None
    const = value.get("const")
    return Column(fields, None if const is None else str(const), template, options)


def _wrong_options(key: str, options: Mapping[str, Any]) -> list[Problem]:
    problems: list[Problem] = []
    for option, given in options.items():
        expected = ""
        if option == "unit" and given not in _UNITS:
            expected = f"one of {', '.join(_UNITS)}"
        elif option in ("success", "failure", "denied", "benign") and not (
            isinstance(given, list) and all(isinstance(each, str) for each in given)
        ):
            expected = "a list of texts"
        elif option == "scale" and not (
            isinstance(given, list)
            and len(given) == 2
            and all(isinstance(each, int | float) for each in given)
            and given[0] != given[1]
        ):
            expected = "two different numbers, [lowest, highest]"
        elif option == "levels" and not (
            isinstance(given, dict)
            and all(isinstance(each, int | float) and 0 <= each <= 1 for each in given.values())
        ):
            expected = "a table from word to a number from 0 to 1"
        elif option == "factor" and not isinstance(given, int | float):
            expected = "a number"
        if expected:
            problems.append(Problem(f"{key}.{option}", expected, repr(given)))
    return problems


def _vocabulary(array: pa.Array, known: Mapping[str, int], otherwise: int) -> pa.Array:
    words = convert.encoded(pc.utf8_lower(convert.texts(array)))
    numbers = np.array(
        [known.get(word, otherwise) for word in words.dictionary.to_pylist()] or [otherwise], np.int8
    )
    return pa.array(numbers[words.indices.to_numpy()])


def _any(conditions: list[pa.Array]) -> pa.Array:
    whole = conditions[0]
    for each in conditions[1:]:
        whole = pc.or_(whole, each)
    return whole
