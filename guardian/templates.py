"""Kinds for events that name none: the column of messages in, a column of kinds out.

Owns the memory that the templates take, their bounded growth and their part of a snapshot, and which rows are named.
Does not own what a template is (``scoring.templates``) nor what is masked in a message (``scoring.masking``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from guardian.config import Config
from guardian.errors import StateError
from guardian.events import TEXT as NAMES
from scoring.masking import TEXT, WORDS, mask_messages, new_masked
from scoring.templates import (
    BORN,
    EVICTED,
    HAND,
    HEAD,
    TEMPLATE,
    USED,
    WAITING,
    Named,
    Room,
    Templates,
    name_messages,
    rebuild_leaves,
)

CHUNK: Final = 256
"""Messages masked and named at once: their words stay in cache."""

_SMALLEST: Final = 2 * CHUNK
_PREFIX: Final = "templates/"
_ROWS: Final = ("template", "word", "end", "text")
_SEED: Final = 0x5441_4D56_544D_504C  # "TAMVTMPL": keeps seed 0 from being all zero


class Miner:
    """The templates of all messages so far, and the one way to add to them."""

    def __init__(self, config: Config) -> None:
        self._limit = config.templates.max_templates
        self._similarity = config.templates.similarity
        self._seed = np.uint64(config.engine.hash_seed ^ _SEED)
        self._state = _empty(_SMALLEST)
        self._spare = np.zeros(TEXT, np.uint8)
        self._masked = new_masked(CHUNK)
        self._length = np.zeros(CHUNK, np.int32)
        self._text = np.zeros(CHUNK * TEXT, np.uint8)

    @property
    def evicted(self) -> int:
        """Templates forgotten so far because there was no room."""
        return int(self._state.meta[EVICTED])

    def named(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch (as ``check_events`` returns it) with a kind for each row that had none and says something.

        Rows that name a kind stay as they are; so does the empty kind of a row whose body is null or blank.
        """
        at = batch.schema.get_field_index("kind")
        kinds = batch.column(at)
        rows = _unnamed(kinds, batch.column("body"))
        if not len(rows):
            return batch
        told, _, texts = self.mine(batch.column("body"), rows)
        indices = kinds.indices.to_numpy().copy()
        known = len(kinds.dictionary)
        indices[rows] = np.where(told < 0, indices[rows], told + known)
        texts = pa.concat_arrays([kinds.dictionary, texts])
        columns = batch.columns
        columns[at] = pa.DictionaryArray.from_arrays(pa.array(indices, NAMES.index_type), texts)
        return pa.RecordBatch.from_arrays(columns, schema=batch.schema)

    def mine(
        self, messages: pa.StringArray, rows: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], pa.StringArray]:
        """Name some messages, none of them null, in the order of ``rows``, and learn from them.

        Returns the text of each as a place in the last of the three (−1 = a blank message), its template (numbered as
        they came up; −1 = none), and the texts.
        """
        _, offsets, data = messages.buffers()
        starts = np.frombuffer(offsets, np.int32)[messages.offset : messages.offset + len(messages) + 1]
        octets = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        kind, template = np.empty(len(rows), np.int32), np.empty(len(rows), np.int64)
        told = np.full(len(self._state.template) + 1, -1, np.int32)
        count = np.zeros(2, np.int64)
        lengths: list[NDArray[np.int32]] = []
        texts: list[bytes] = []
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            told = self._with_room(told)
            before = int(count[0])
            mask_messages(part, starts, octets, self._seed, self._masked)
            name_messages(
                self._masked,
                len(part),
                self._limit,
                self._similarity,
                self._state,
                Room(spare=self._spare, told=told),
                Named(
                    kind=kind[start : start + CHUNK],
                    template=template[start : start + CHUNK],
                    told=count,
                    length=self._length,
                    text=self._text,
                ),
            )
            lengths.append(self._length[: int(count[0]) - before].copy())
            texts.append(self._text[: int(count[1])].tobytes())
        return kind, template, _strings(lengths, b"".join(texts))

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """The state for a snapshot, cut to the slots in use; the indices are left out: they follow from the templates."""
        state = self._state
        used = int(state.meta[USED])
        meta = state.meta.copy()
        meta[HEAD] = 0
        template = state.template[:used].copy()
        template["next_head"] = template["next_tail"] = 0
        yield f"{_PREFIX}template", template
        ring = np.roll(state.queue, -int(state.meta[HEAD]))
        yield f"{_PREFIX}queue", ring[: int(meta[WAITING])]
        yield f"{_PREFIX}meta", meta
        words, octets = template["words"], template["octets"]
        yield f"{_PREFIX}word", state.word[:used][_filled(words, WORDS)]
        yield f"{_PREFIX}end", state.end[:used][_filled(words, WORDS)]
        yield f"{_PREFIX}text", state.text[:used][_filled(octets, TEXT)]

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the templates of a snapshot.

        Raises:
            StateError: an array is missing or is not of this version's layout.
        """
        own: dict[str, NDArray[Any]] = {}
        pattern = _empty(1)
        for name in (*_ROWS, "queue", "meta"):
            array, kind = arrays.get(f"{_PREFIX}{name}"), getattr(pattern, name).dtype
            if array is None or array.dtype != kind or array.ndim != 1:
                raise StateError(f"damaged snapshot: no array {_PREFIX}{name} of {kind}")
            own[name] = array
        template, queue, meta = own["template"], own["queue"], own["meta"]
        used = len(template)
        words, octets = template["words"], template["octets"]
        if (
            len(meta) != len(pattern.meta)
            or [used, len(queue), 0] != meta[[USED, WAITING, HEAD]].tolist()
            or not _within(words, 1, WORDS)
            or not _within(octets, 1, TEXT)
            or not _within(queue, 0, used - 1)
            or not _within(meta[[HAND]], 0, max(used - 1, 0))
            or not _within(own["end"], 1, TEXT)
            or template["waiting"].sum() != len(queue)
            or not _within(template["waiting"][queue], 1, 1)
            or [len(own["word"]), len(own["end"]), len(own["text"])]
            != [words.sum(), words.sum(), octets.sum()]
        ):
            raise StateError(f"damaged snapshot: {_PREFIX}template and what belongs to it do not agree")
        state = _empty(max(_SMALLEST, 2 * used))
        state.template[:used] = template
        state.queue[: len(queue)] = queue
        state.meta[:] = meta
        state.word[:used][_filled(words, WORDS)] = own["word"]
        state.end[:used][_filled(words, WORDS)] = own["end"]
        state.text[:used][_filled(octets, TEXT)] = own["text"]
        rebuild_leaves(state)
        self._state = state

    def _with_room(self, told: NDArray[np.int32]) -> NDArray[np.int32]:
        """Make room for a chunk of new templates, as far as the limit allows; growth is by doubling."""
        state = self._state
        room = len(state.template)
        needed = min(int(state.meta[USED]) + CHUNK, self._limit)
        if needed <= room:
            return told
        grown = _empty(min(max(2 * room, needed), max(self._limit, room)))
        for name in _ROWS:
            getattr(grown, name)[:room] = getattr(state, name)
        waiting = int(state.meta[WAITING])
        grown.queue[:waiting] = np.roll(state.queue, -int(state.meta[HEAD]))[:waiting]
        grown.meta[:] = state.meta
        grown.meta[HEAD] = 0
        rebuild_leaves(grown)
        self._state = grown
        wider = np.full(len(grown.template) + 1, -1, np.int32)
        wider[:room] = told[:room]
        wider[-1] = told[-1]
        return wider


def _empty(slots: int) -> Templates:
    buckets = 1 << max(10, (2 * slots - 1).bit_length())
    return Templates(
        heads=np.zeros(buckets, np.int32),
        tails=np.zeros(buckets, np.int32),
        template=np.zeros(slots, TEMPLATE),
        word=np.zeros((slots, WORDS), np.uint64),
        end=np.zeros((slots, WORDS), np.int32),
        text=np.zeros((slots, TEXT), np.uint8),
        queue=np.zeros(slots, np.int32),
        meta=np.zeros(BORN + 2, np.int64),
    )


def _filled(lengths: NDArray[np.int32], width: int) -> NDArray[np.bool_]:
    """Which cells of rows of such lengths are in use."""
    cells: NDArray[np.bool_] = np.arange(width) < lengths[:, None]
    return cells


def _within(values: NDArray[np.int32], low: int, high: int) -> bool:
    return bool(((values >= low) & (values <= high)).all())


def _strings(lengths: list[NDArray[np.int32]], text: bytes) -> pa.StringArray:
    ends = np.concatenate([np.zeros(1, np.int32), *lengths]).cumsum(dtype=np.int32)
    return pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(text))


def _unnamed(kinds: pa.DictionaryArray, bodies: pa.StringArray) -> NDArray[np.int32]:
    """Rows without a kind and with a body."""
    names = kinds.dictionary
    if not len(names):
        return np.zeros(0, np.int32)
    offsets = np.frombuffer(names.buffers()[1], np.int32)[names.offset : names.offset + len(names) + 1]
    empty = offsets[1:] == offsets[:-1]
    if not empty.any():
        return np.zeros(0, np.int32)
    found = empty[kinds.indices.to_numpy()]
    if bodies.null_count:
        found &= bodies.is_valid().to_numpy(zero_copy_only=False)
    rows: NDArray[np.int32] = np.flatnonzero(found).astype(np.int32)
    return rows
