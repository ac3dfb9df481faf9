"""Tables to EVENTS, column by column: one record batch of a CSV or Parquet file at a time.

Owns the columnar reading of a map; ``ndjson`` reads the same meaning record by record. Struct columns are flattened
first, so that ``a.b`` is a column. ``attrs`` leaves out nulls, which is all that differs from NDJSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from guardian.decode.columns import Rejects
from guardian.decode.draft import Draft, Names, finish, layer_of, names_ids, stripped
from guardian.decode.mapping import TEXT_COLUMNS, Alternative, Map, Message, Path, Template, Text
from guardian.decode.scalars import finite, number, scalar_text
from guardian.decode.shapes import readers, understood
from guardian.decode.times import MISSING, UNREADABLE, Int8, Int64, column_ns
from guardian.errors import InputError

_LOOKS_ISO = r"(?s)^.{4}-"
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def check_columns(names: Iterable[str], mapping: Map, place: str) -> None:
    """Refuse a table that cannot hold a single event.

    Raises:
        InputError: no column that the map names for ``ts``, or none for ``kind``.
    """
    there = set(names)
    kind = mapping.texts["kind"]
    wanted = {"ts": [path for time in mapping.ts for path in time.alternatives]}
    if kind.alternatives:
        wanted["kind"] = [path for entry in kind.alternatives for path in _paths(entry)]
    for column, paths in wanted.items():
        if not any(path.name in there for path in paths):
            expected = " or ".join(path.name for path in paths)
            raise InputError(
                place, f"expected a column {expected} for {column}, got {', '.join(sorted(there)[:20])}"
            )


def flatten(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Columns by name; fields of struct columns by their dotted path."""
    table = pa.Table.from_batches([batch])
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return {
        name: _plain(column.chunk(0) if column.num_chunks == 1 else column.combine_chunks())
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def decode_columns(
    columns: dict[str, pa.Array], lines: Int64, mapping: Map, latest: int, rejects: Rejects
) -> tuple[pa.RecordBatch, pa.Array | None]:
    """The EVENTS batch and the labels of some rows.

    Args:
        columns: arrays of the same length, by name.
        lines: number of each row in its file, from 1.
        mapping: what the columns mean.
        latest: newest usable time, nanoseconds since 1970.
        rejects: takes an entry for every row that is no event.
    """
    reader = _Reader(columns, len(lines))
    ts, verdicts = reader.times(mapping, latest)
    texts = readers(mapping)
    names = {name: reader.names(text, understood(mapping, name)) for name, text in texts.items()}
    body = reader.body(mapping.body)
    value = reader.value(mapping)
    labels = None
    if mapping.label is not None:
        benign, label = mapping.label.benign, names["label"]
        words = pa.array(["" if text in benign else text for text in label.values], pa.string())
        labels = words.take(pa.array(label.array()))
        for path in mapping.label.alternatives:
            reader.taken[path.name] = np.ones(len(lines), np.bool_)
    default = mapping.default_layer
    draft = Draft(
        lines=lines,
        ts=ts,
        verdicts=verdicts,
        names={name: stripped(names[name], texts[name]) for name in TEXT_COLUMNS},
        outcome=names["outcome"].read(mapping.outcome.read, np.int8),
        layer=names["layer"].read(lambda text: layer_of(text, default), np.int8),
        severity=names["severity"].read(mapping.severity.read, np.float64),
        value=value,
        trace_id=names_ids(names["trace_id"], 16),
        span_id=names_ids(names["span_id"], 8),
        body=_without(body, frozenset()),
        attrs=reader.attrs(),
        signal=mapping.signal,
        labels=labels,
    )
    return finish(draft, rejects)


class _Reader:
    """Reads parts of a map off the columns and remembers which cells were used up."""

    def __init__(self, columns: dict[str, pa.Array], count: int) -> None:
        self._columns = columns
        self._count = count
        self._as_text: dict[str, pa.Array] = {}
        self.taken: dict[str, Mask] = {}
        self._messages: pa.Array | None = None

    def text(
        self,
        text: Text,
        kept: Callable[[str], bool] | None = None,
        rows: Mask | None = None,
    ) -> pa.Array:
        """The first alternative that is present in each row (of ``rows`` only), without nulls.

        ``kept`` says of a text whether its cell is used up by it; None = always. A message is set aside for the body.
        """
        if not text.alternatives:
            return pa.repeat(pa.scalar(text.const, pa.string()), self._count)
        found = pa.nulls(self._count, pa.string())
        for entry in text.alternatives:
            candidate = self._candidate(entry)
            if candidate is None:
                continue
            candidate = _without(candidate, text.none)
            if rows is not None:
                candidate = pc.if_else(pa.array(rows), candidate, pa.scalar(None, pa.string()))
            new = pc.and_(pc.is_null(found), pc.is_valid(candidate)).to_numpy(zero_copy_only=False)
            if kept is not None:
                new = new & _names(pc.fill_null(candidate, "")).read(kept, np.bool_)
            for path in _paths(entry):
                if not _is_list(self._columns[path.name]):
                    self._take(path.name, new)
            if isinstance(entry, Message):
                told = pc.if_else(pa.array(new), candidate, pa.scalar(None, pa.string()))
                self._messages = told if self._messages is None else pc.coalesce(self._messages, told)
                candidate = pc.if_else(pa.array(new), pa.scalar("", pa.string()), candidate)
            found = candidate if found.null_count == self._count else pc.coalesce(found, candidate)
            if not found.null_count:
                break
        return pc.fill_null(found, "")

    def body(self, text: Text) -> pa.Array:
        """The messages that stand for a kind, else what ``text`` says. To be asked once the kinds are known."""
        if self._messages is None:
            return self.text(text)
        rest = pc.is_null(self._messages).to_numpy(zero_copy_only=False)
        return pc.coalesce(self._messages, self.text(text, rows=rest))

    def names(self, text: Text, kept: Callable[[str], bool] | None) -> Names:
        """``text`` as an index per row into its distinct values."""
        if not text.alternatives:
            return Names(np.zeros(self._count, np.int32), [text.const])
        return _names(self.text(text, kept))

    def _take(self, name: str, rows: Mask) -> None:
        before = self.taken.get(name)
        self.taken[name] = rows if before is None else before | rows

    def times(self, mapping: Map, latest: int) -> tuple[Int64, Int8]:
        """Event times; an alternative in the wrong form for its unit counts only if no other is there."""
        ts = np.zeros(self._count, np.int64)
        verdicts = np.full(self._count, MISSING, np.int8)
        chosen = np.zeros(self._count, np.bool_)
        for time in mapping.ts:
            for path in time.alternatives:
                column = self._columns.get(path.name)
                if column is None or chosen.all():
                    continue
                read, verdict = column_ns(column, time.unit, latest)
                fits = (verdict != MISSING) & ~chosen & _fits(column, iso=time.unit == "iso8601")
                ts[fits], verdicts[fits] = read[fits], verdict[fits]
                chosen |= fits
                self._take(path.name, fits)
                unfit = (verdict != MISSING) & ~chosen
                verdicts[unfit] = UNREADABLE
        return ts, verdicts

    def value(self, mapping: Map) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Magnitudes in base units, NaN = none."""
        if not mapping.value.alternatives:
            return np.full(self._count, mapping.value.const)
        values = np.full(self._count, np.nan)
        for path in mapping.value.alternatives:
            column = self._columns.get(path.name)
            if column is None:
                continue
            if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
                numbers = pc.cast(column, pa.float64(), safe=False)
                numbers = finite(pc.fill_null(numbers, np.nan).to_numpy(zero_copy_only=False))
            else:
                numbers = np.array([number(x) for x in column.to_pylist()], np.float64)
            new = np.isnan(values) & ~np.isnan(numbers)
            values[new] = numbers[new]
            self._take(path.name, new)
        return finite(values * mapping.value.factor)

    def attrs(self) -> pa.Array:
        """The cells that were not used up, one JSON object a row."""
        pieces = []
        for name, column in self._columns.items():
            taken = self.taken.get(name)
            if taken is not None and taken.all():
                continue
            rest = (
                column if taken is None else pc.if_else(pa.array(taken), pa.scalar(None, column.type), column)
            )
            pieces.append(_members(name, rest))
        if not pieces:
            return pa.nulls(self._count, pa.string())
        # "{" comes first because "skip" loses the rows in which all pieces are null (seen with pyarrow 26).
        opened = pa.repeat(pa.scalar("{", pa.string()), self._count)
        joined = pc.binary_join_element_wise(opened, *pieces, ",", null_handling="skip")
        joined = pc.replace_substring(joined, "{,", "{", max_replacements=1)
        return pc.binary_join_element_wise(_without(joined, frozenset("{")), "}", "")

    def _candidate(self, entry: Alternative) -> pa.Array | None:
        paths = _paths(entry)
        if any(path.name not in self._columns for path in paths):
            return None
        if not isinstance(entry, Template):
            return self._texts(paths[0].name)
        parts: list[Any] = [entry.literals[0]]
        for path, literal in zip(paths, entry.literals[1:], strict=True):
            parts += [self._texts(path.name), literal]
        return pc.binary_join_element_wise(*parts, "", null_handling="emit_null")

    def _texts(self, name: str) -> pa.Array:
        """A column as text, null where it holds nothing."""
        if name not in self._as_text:
            self._as_text[name] = _without(_texts(self._columns[name]), frozenset())
        return self._as_text[name]


def _names(texts: pa.Array) -> Names:
    encoded = texts.dictionary_encode()
    return Names(encoded.indices.to_numpy(), encoded.dictionary.to_pylist())


def _is_list(column: pa.Array) -> bool:
    return bool(pa.types.is_list(column.type) or pa.types.is_large_list(column.type))


def _paths(entry: Alternative) -> tuple[Path, ...]:
    if isinstance(entry, Message):
        return (entry.path,)
    return entry.paths if isinstance(entry, Template) else (entry,)


def _without(texts: pa.Array, none: frozenset[str]) -> pa.Array:
    """Null for empty texts and for the words that mean none."""
    mask = pc.is_in(texts, pa.array(["", *sorted(none)], pa.string()))
    return pc.if_else(mask, pa.scalar(None, pa.string()), texts) if pc.any(mask).as_py() else texts


def _texts(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
        return column.cast(pa.string())
    if _is_list(column):
        return pa.array([scalar_text(x[0]) if x else None for x in column.to_pylist()], pa.string())
    encoded = column.dictionary_encode()
    table = pa.array([_cell_text(x) for x in encoded.dictionary.to_pylist()], pa.string())
    return table.take(encoded.indices)


def _cell_text(value: Any) -> str:
    if isinstance(value, str | bool | int | float):
        return scalar_text(value)
    return str(msgspec.to_builtins(value))  # dates as ISO 8601, decimals as digits, bytes as base64


def _fits(column: pa.Array, *, iso: bool) -> Any:
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return True
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        looks = pc.match_substring_regex(column, _LOOKS_ISO)
        return pc.fill_null(looks, False).to_numpy(zero_copy_only=False) == iso
    return not iso


def _members(name: str, column: pa.Array) -> pa.Array:
    """``"name":value`` for each row, null where the cell is null; every distinct value is encoded once."""
    head = msgspec.json.encode(name).decode() + ":"
    if pa.types.is_nested(column.type):
        cells = column.to_pylist()
        return pa.array([None if x is None else head + _json(x) for x in cells], pa.string())
    encoded = column.dictionary_encode()
    table = pa.array([head + _json(x) for x in encoded.dictionary.to_pylist()], pa.string())
    return table.take(encoded.indices)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
