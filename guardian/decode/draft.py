"""From drafted columns to an EVENTS batch: the last step that every input format shares.

Owns the verdicts of a row (a usable time, a kind), the limit on the length of names, and the promise that a batch's
dictionaries hold exactly its own values, in order of first appearance. Does not know where the columns came from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from guardian.decode.columns import Rejects
from guardian.decode.mapping import TEXT_COLUMNS, Text
from guardian.decode.times import GOOD, MISSING, OUT_OF_RANGE, REASONS, UNREADABLE, Int8, Int64
from guardian.events import EVENTS, LAYERS, TEXT

Floats = np.ndarray[Any, np.dtype[np.float64]]

MAX_NAME: Final = 512
"""Longest name of a source, kind or entity, in characters; a longer one is cut and told apart by its digest."""

_ZERO, _FALSE = pa.scalar(0, pa.int32()), pa.scalar(False)
"""Made once: Arrow looks for an optional module on disk each time it makes a scalar of a Python value, for 0.2 ms."""

_TIME_DETAILS: Final = {
    MISSING: "no field that the map names for ts holds a value",
    UNREADABLE: "the field of ts is not a time in the unit that the map states",
    OUT_OF_RANGE: "the time is before 1990, or too far in the future",
}


@dataclass(slots=True)
class Names:
    """A column of repeated text: an index per row into ``values``. Empty text = none."""

    codes: Any
    """Indices (n,), a list of int or an int32 array."""
    values: list[str] | pa.Array
    """The distinct texts; as an Arrow array where a kernel found them."""

    def array(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """The indices as int32."""
        return np.asarray(self.codes, np.int32)

    def read(self, reader: Callable[[str], float], dtype: Any) -> np.ndarray[Any, Any]:
        """``reader`` of each row's text, called once for each distinct one."""
        values = self.values if isinstance(self.values, list) else self.values.to_pylist()
        table = np.array([reader(text) for text in values], dtype)
        return table[self.array()] if len(table) else np.zeros(len(self.codes), dtype)


@dataclass(slots=True)
class Draft:
    """Columns of n records that have been read but not yet judged."""

    lines: Int64
    ts: Int64
    """Nanoseconds since 1970; 0 where ``verdicts`` is not GOOD."""
    verdicts: Int8
    names: dict[str, Names]
    """One for each of TEXT_COLUMNS."""
    outcome: Int8
    layer: Int8
    severity: Floats
    value: Floats
    trace_id: pa.Array
    span_id: pa.Array
    body: pa.Array
    attrs: pa.Array
    signal: int
    labels: pa.Array | None = None


def finish(draft: Draft, rejects: Rejects) -> tuple[pa.RecordBatch, pa.Array | None]:
    """The EVENTS batch of the rows that have a usable time and a kind, and their labels; the others are rejected.

    A row without a kind is kept if it has a message: the kind is then to be made of that.
    """
    kinds = draft.names["kind"]
    blank = _blank(pa.array(kinds.values, pa.string()))
    unnamed = blank[kinds.array()]
    if blank.any():
        unnamed &= _blank(draft.body)
        values = ["" if none else text for none, text in zip(blank, map(str, kinds.values), strict=True)]
        draft.names["kind"] = Names(kinds.codes, values)
    good = draft.verdicts == GOOD
    for verdict, reason in REASONS.items():
        rejects.add_lines(draft.lines[draft.verdicts == verdict], reason, _TIME_DETAILS[verdict])
    rejects.add_lines(
        draft.lines[good & unnamed],
        "no_kind",
        "no field that the map names for kind holds a value, and there is no message",
    )
    good &= ~unnamed

    count = len(draft.lines)
    columns: dict[str, Any] = {
        "ts": pa.array(draft.ts, pa.int64()).cast(pa.timestamp("ns", tz="UTC")),
        "signal": pa.array(np.full(count, draft.signal, np.int8)),
        "layer": pa.array(draft.layer),
        "outcome": pa.array(draft.outcome),
        "severity": pa.array(draft.severity),
        "value": pa.array(draft.value),
        "trace_id": draft.trace_id,
        "span_id": draft.span_id,
        "body": draft.body,
        "attrs": draft.attrs,
    }
    for name in TEXT_COLUMNS:
        columns[name] = _dictionary(draft.names[name])
    batch = pa.RecordBatch.from_arrays([columns[field.name] for field in EVENTS], schema=EVENTS)
    if good.all():
        return batch, draft.labels
    mask = pa.array(good)
    labels = None if draft.labels is None else draft.labels.filter(mask)
    return tidy(batch.filter(mask)), labels


def tidy(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same batch with dictionaries that hold exactly its own values, in order of first appearance."""
    columns = [
        column.cast(pa.string()).dictionary_encode() if column.type == TEXT else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def empty() -> pa.RecordBatch:
    """An EVENTS batch without rows."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in EVENTS], schema=EVENTS)


def joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of EVENTS as one; dictionaries are merged in order of first appearance."""
    if len(batches) == 1:
        return batches[0]
    if not any(map(len, batches)):
        return empty()
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    return table.to_batches()[0]


def _blank(texts: pa.Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which texts are null, empty or nothing but white space."""
    there = pc.and_not(pc.greater(pc.binary_length(texts), _ZERO), pc.utf8_is_space(texts))
    absent: np.ndarray[Any, np.dtype[np.bool_]] = ~pc.fill_null(there, _FALSE).to_numpy(zero_copy_only=False)
    return absent


def _dictionary(names: Names) -> pa.DictionaryArray:
    codes = names.array()
    values = names.values
    if not isinstance(values, list):
        if len(values) == 0 or pc.max(pc.binary_length(values)).as_py() <= MAX_NAME:
            return pa.DictionaryArray.from_arrays(pa.array(codes), values)
        values = values.to_pylist()
    if any(len(text) > MAX_NAME for text in values):
        values = [shorten(text) for text in values]
    array = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(values, pa.string()))
    if len(set(values)) < len(values):
        array = array.cast(pa.string()).dictionary_encode()
    return array


def shorten(text: str) -> str:
    """A name of at most MAX_NAME characters: a longer one is cut and ends in a digest of the whole.

    So a sender cannot make the engine remember megabytes per entity, and two long names stay two.
    """
    if len(text) <= MAX_NAME:
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{text[: MAX_NAME - 17]}~{digest}"


def stripped(names: Names, text: Text) -> Names:
    """The names without the prefix that the map takes off."""
    if not text.strip:
        return names
    return Names(names.codes, [value.removeprefix(text.strip) or value for value in names.values])


def layer_of(text: str, default: int) -> int:
    """The layer that ``L3`` or ``3`` names; ``default`` for anything else.

    >>> layer_of("L3", -1), layer_of("7", -1), layer_of("edge", -1)
    (3, 7, -1)
    """
    name = text if text.startswith("L") else f"L{text}"
    return LAYERS.index(name) if name in LAYERS else default


def id_bytes(text: str, size: int) -> bytes:
    """A trace or span id from hex (also ``0x…`` or with hyphens); zeros when it is none.

    >>> id_bytes("0x00000000000000ff", 8).hex()
    '00000000000000ff'
    """
    digits = text.removeprefix("0x").replace("-", "")
    try:
        found = bytes.fromhex(digits) if len(digits) == 2 * size else b""
    except ValueError:
        found = b""
    return found if len(found) == size else bytes(size)


def id_column(ids: Sequence[bytes], size: int) -> pa.Array:
    """Ids of one size as a fixed-size binary array."""
    return pa.Array.from_buffers(pa.binary(size), len(ids), [None, pa.py_buffer(b"".join(ids))])


def names_ids(names: Names, size: int) -> pa.Array:
    """Ids written as text, as a fixed-size binary array."""
    if not any(names.values):
        return id_column([bytes(size)] * len(names.codes), size)
    table = [id_bytes(text, size) for text in names.values]
    return id_column([table[code] for code in names.codes], size)


def objects(data: bytes | bytearray, ends: list[int]) -> pa.Array:
    """JSON objects that stand one after the other in ``data``, as texts; ``ends[i]`` is where i ends; null for ``{}``."""
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    there = np.diff(offsets) > len("{}")
    validity = None if there.all() else pa.array(there).buffers()[1]
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(ends), buffers)
