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
from guardian.decode.mapping import TEXT_COLUMNS, Map, Text
from guardian.decode.scalars import finite
from guardian.decode.times import GOOD, MISSING, OUT_OF_RANGE, REASONS, UNREADABLE, Floats, Int8, Int64
from guardian.events import EVENTS, LAYERS, TEXT

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
    values: Any
    """A list of texts, or a string array of distinct ones."""

    def texts(self) -> list[str]:
        """The values as Python has them."""
        return self.values if isinstance(self.values, list) else self.values.to_pylist()

    def array(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """The indices as int32."""
        return np.asarray(self.codes, np.int32)

    def read(self, reader: Callable[[str], float], dtype: Any) -> np.ndarray[Any, Any]:
        """``reader`` of each row's text, called once for each distinct one."""
        table = np.array([reader(text) for text in self.texts()], dtype)
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
        values = ["" if none else text for none, text in zip(blank, kinds.texts(), strict=True)]
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


def drafted(
    mapping: Map,
    *,
    lines: Int64,
    ts: Int64,
    verdicts: Int8,
    names: dict[str, Names],
    values: Floats,
    ids: tuple[pa.Array, pa.Array],
    body: pa.Array,
    attrs: pa.Array,
) -> Draft:
    """A draft from what the fields of the records say: ``names`` and ``values`` as they are written there."""
    default = mapping.default_layer
    value = mapping.value
    labels = None
    if mapping.label is not None:
        benign, label = mapping.label.benign, names["label"]
        texts = pa.array(["" if text in benign else text for text in label.texts()], pa.string())
        labels = texts.take(pa.array(label.array()))
    return Draft(
        lines=lines,
        ts=ts,
        verdicts=verdicts,
        names={name: stripped(names[name], mapping.texts[name]) for name in TEXT_COLUMNS},
        outcome=names["outcome"].read(mapping.outcome.read, np.int8),
        layer=names["layer"].read(lambda text: layer_of(text, default), np.int8),
        severity=names["severity"].read(mapping.severity.read, np.float64),
        value=finite(values * value.factor if value.alternatives else np.full(len(lines), value.const)),
        trace_id=ids[0],
        span_id=ids[1],
        body=body,
        attrs=attrs,
        signal=mapping.signal,
        labels=labels,
    )


def merged(one: Draft, other: Draft) -> Draft:
    """Two drafts by the same map as one, by line; names in order of first appearance, without those that no row has."""
    lines = np.concatenate([one.lines, other.lines])
    order = np.argsort(lines, kind="stable")
    take = pa.array(order)

    def rows(first: Any, second: Any) -> Any:
        return np.concatenate([first, second])[order]

    def texts(first: pa.Array, second: pa.Array) -> pa.Array:
        return pa.concat_arrays([first, second]).take(take)

    assert (one.labels is None) == (other.labels is None)
    return Draft(
        lines=lines[order],
        ts=rows(one.ts, other.ts),
        verdicts=rows(one.verdicts, other.verdicts),
        names={name: _united(one.names[name], other.names[name], order) for name in TEXT_COLUMNS},
        outcome=rows(one.outcome, other.outcome),
        layer=rows(one.layer, other.layer),
        severity=rows(one.severity, other.severity),
        value=rows(one.value, other.value),
        trace_id=texts(one.trace_id, other.trace_id),
        span_id=texts(one.span_id, other.span_id),
        body=texts(one.body, other.body),
        attrs=texts(one.attrs, other.attrs),
        signal=one.signal,
        labels=None if one.labels is None else texts(one.labels, other.labels),
    )


def _united(one: Names, other: Names, order: Int64) -> Names:
    (known, known_codes), (more, more_codes) = _distinct(one), _distinct(other)
    places = pc.index_in(more, value_set=known)
    new = places.is_null()
    values = pa.concat_arrays([known, more.filter(new)])
    fresh = np.cumsum(new) - 1 + len(known)
    places = np.where(new, fresh, pc.fill_null(places, 0)).astype(np.int32)
    codes = np.concatenate([known_codes, places[more_codes]])[order]
    return by_appearance(codes, values)


def _distinct(names: Names) -> tuple[pa.Array, np.ndarray[Any, np.dtype[np.int32]]]:
    if isinstance(names.values, pa.Array):
        return names.values, names.array()
    encoded = pa.array(names.values, pa.string()).dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy()[names.array()]


def by_appearance(codes: np.ndarray[Any, np.dtype[np.int32]], values: pa.Array) -> Names:
    """Names of distinct values, put in order of first appearance, without those that no row has."""
    first = np.full(len(values), len(codes))
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(codes))]
    places = np.zeros(len(values), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return Names(places[codes], values.take(pa.array(order)))


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
    longest = pc.max(pc.binary_length(names.values)).as_py() if isinstance(names.values, pa.Array) else None
    if longest is not None and longest <= MAX_NAME:
        return pa.DictionaryArray.from_arrays(pa.array(codes), names.values)
    values = names.texts()
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
    return Names(names.codes, [value.removeprefix(text.strip) or value for value in names.texts()])


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


def id_column(ids: Sequence[bytes] | np.ndarray[Any, np.dtype[np.uint8]], size: int) -> pa.Array:
    """Ids of one size, or a matrix of their octets, as a fixed-size binary array."""
    octets = ids if isinstance(ids, np.ndarray) else b"".join(ids)
    return pa.Array.from_buffers(pa.binary(size), len(ids), [None, pa.py_buffer(octets)])


def names_ids(names: Names, size: int) -> pa.Array:
    """Ids written as text, as a fixed-size binary array."""
    if not any(names.texts()):
        return id_column([bytes(size)] * len(names.codes), size)
    table = [id_bytes(text, size) for text in names.texts()]
    return id_column([table[code] for code in names.codes], size)


def objects(data: Any, ends: Any, *, empty: int = len("{}")) -> pa.Array:
    """JSON objects that stand one after the other in ``data``, as texts; ``ends[i]`` is where i ends; null for ``{}``.

    ``empty`` is the most octets that a text has that means nothing.
    """
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    there = np.diff(offsets) > empty
    validity = None if there.all() else pa.array(there).buffers()[1]
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(ends), buffers)
