"""Blocks of JSON lines to EVENTS without an object for each line or value.

Owns the memory of the scanner and the way between its two passes (``json_members``, ``json_rows``) and Python, which
sees distinct names and words, numbers that are written in unusual ways, and the lines that are left to ``linewise``.
Memory is a fixed multiple of the block's size.

Measured on one shared core, events a second with names and attrs, all in one interleaved run: 14 fields in 357 octets
540k (``linewise`` 125k, ``orjson.loads`` alone 1,270k, ``polars.read_ndjson`` of the mapped fields alone, by an explicit
schema, without attrs and without a verdict for each line, 720k to 930k); Windows events of 2.1 kB 265k (95k, 435k, 290k).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from guardian.decode import json_layout as on
from guardian.decode import json_members as first
from guardian.decode import json_names as table
from guardian.decode import json_rows as second
from guardian.decode.columns import Rejects
from guardian.decode.draft import Draft, Names, drafted, finish, id_column, merged, names_ids, objects
from guardian.decode.json_plan import compiled
from guardian.decode.lines import MAX_BLOCK_LINES, MAX_LINE_BYTES, Block, unmarked
from guardian.decode.linewise import draft_lines
from guardian.decode.mapping import Map
from guardian.decode.shapes import readers, understood

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode

_LINES: Final = 1024
"""Lines between the passes: their members stay in the cache of one core."""
_MEMBERS: Final = 16_384
_ASKED: Final = 64
"""Words whose meaning is asked for in one batch; lines with further ones go to msgspec."""
_SPARE: Final = 4096


class Scanner:
    """Reads blocks of lines by one map. ``latest`` is the newest usable time, nanoseconds since 1970."""

    def __init__(self, mapping: Map, latest: int) -> None:
        self._map = mapping
        self._latest = latest
        self._compiled = compiled(mapping)
        plan, columns = self._compiled.plan, self._compiled.columns
        self._means = {
            index: means
            for index, name in enumerate(columns)
            if (means := understood(mapping, name)) is not None
        }
        fields = self._compiled.fields
        self._fields = second.Fields(
            np.full(fields, -1, np.int32),
            np.full(fields, -1, np.int32),
            np.zeros(len(plan.parts) + 2, np.int32),
            np.zeros(on.MAX_DEPTH, np.int64),
            np.zeros(len(columns) + 3, np.uint64),
        )
        self._keys = first.scratch()
        self._members = np.zeros((0, on.MEMBER_COLUMNS), np.int32)
        self._lines = np.zeros((0, on.LINE_COLUMNS), np.int32)
        self._doubts = first.Doubts(np.zeros(0, np.uint8), np.zeros(0, np.int32))

    def batches(self, block: Block, rejects: Rejects) -> Iterator[tuple[pa.RecordBatch, pa.Array | None]]:
        """The EVENTS batches of a block and their labels; ``rejects`` takes an entry for every line that is no event."""
        if block.octets is None:
            yield finish(draft_lines([(block.first_line, None)], self._map, self._latest, rejects), rejects)
            return
        self._reserve(block)
        body = np.frombuffer(block.octets, np.uint8)
        state = np.zeros(8, np.int64)
        state[first.MARK] = len(block.octets) - len(unmarked(block.octets, block.first_line))
        while state[first.POSITION] < block.size:
            yield finish(self._draft(block, body, state, rejects), rejects)

    def _reserve(self, block: Block) -> None:
        lines = min(_LINES, block.lines)
        members = min(_MEMBERS, block.size // 4) + 2 * on.MAX_KEYS
        if len(self._lines) < lines:
            self._lines = np.zeros((lines, on.LINE_COLUMNS), np.int32)
        if len(self._members) < members:
            self._members = np.zeros((members, on.MEMBER_COLUMNS), np.int32)
        if len(self._doubts.text) < block.size + 16:
            self._doubts = first.Doubts(
                np.zeros(block.size + 16, np.uint8), np.zeros(block.size // 2, np.int32)
            )

    def _draft(self, block: Block, body: Any, state: NDArray[np.int64], rejects: Rejects) -> Draft:
        """The next records of a block, at most MAX_BLOCK_LINES."""
        assert block.octets is not None
        size = block.size - int(state[first.POSITION])
        most = min(MAX_BLOCK_LINES, block.lines)
        names, rows, progress = _fresh(len(self._compiled.columns), most, size)
        aside: list[tuple[int, bytes | None]] = []
        asked = known = 0
        done = 0
        while state[first.POSITION] < block.size and done < most:
            state[[first.MEMBERS, first.DOUBTS, first.DOUBT_OCTETS]] = 0
            lines = self._lines[: most - done]
            first.scan_members(
                body, block.size, MAX_LINE_BYTES, self._compiled.plan, self._keys, self._members, lines,
                self._doubts, state,
            )  # fmt: skip
            count = int(state[first.LINES])
            done += count
            doubted = self._settle(state)
            progress[table.LINE] = 0
            while progress[table.LINE] < count:
                progress[table.ASKING] = asked < _ASKED
                second.read_rows(
                    body, count, self._latest, self._compiled.plan, self._members, lines, doubted, self._fields,
                    names, rows, progress,
                )  # fmt: skip
                asked += 1
                known = self._explain(names, known, int(progress[table.NAMES]))
            aside += _aside(block, lines[:count][lines[:count, on.STATUS] != on.SCANNED])
        draft = self._drafted(block.first_line, names, rows, progress)
        if not aside:
            return draft
        return merged(draft, draft_lines(aside, self._map, self._latest, rejects))

    def _settle(self, state: NDArray[np.int64]) -> NDArray[np.float64]:
        """The doubtful numbers as msgspec reads them; a line with one that it writes in another way is RARE."""
        count = int(state[first.DOUBTS])
        if not count:
            return np.zeros(0)
        text = self._doubts.text[: state[first.DOUBT_OCTETS] - 1].tobytes()
        whole = b"[%b]" % text
        try:
            numbers = _decode(whole)
            if _encode(numbers) == whole:
                return np.array(numbers, np.float64)
        except msgspec.DecodeError:
            pass  # one of them is out of range
        found = np.zeros(count)
        for doubt, (line, each) in enumerate(zip(self._doubts.lines[:count], text.split(b","), strict=True)):
            try:
                number = _decode(each)
                found[doubt] = number
            except msgspec.DecodeError:
                number = None
            if _encode(number) != each:
                self._lines[line, on.STATUS] = on.RARE
        return found

    def _explain(self, names: table.Names, known: int, count: int) -> int:
        """Say of the words that came last whether they mean something."""
        words = np.flatnonzero(names.entries[known:count, table.COLUMN] < len(self._means)) + known
        for entry in words.tolist():
            column, place, size = names.entries[entry, : table.CODE].tolist()
            text = names.arena[place : place + size].tobytes().decode()
            names.entries[entry, table.MEANS] = self._means[column](text)
        return count

    def _drafted(
        self, first_line: int, names: table.Names, rows: second.Rows, progress: NDArray[np.int64]
    ) -> Draft:
        count = int(progress[table.ROW])
        texts = _texts(names, len(self._compiled.columns), int(progress[table.NAMES]))
        columns = {
            name: Names(rows.codes[index, :count], texts[index])
            for index, name in enumerate(self._compiled.columns)
        }
        for name, text in readers(self._map).items():
            if name not in columns:
                columns[name] = Names(np.zeros(count, np.int32), [text.const])
        ids = rows.ids[: 24 * count].reshape(count, 24)
        trace, span = (
            id_column(np.ascontiguousarray(ids[:, part]), size)
            if name in self._compiled.columns
            else names_ids(columns[name], size)
            for name, part, size in (("trace_id", slice(16), 16), ("span_id", slice(16, 24), 8))
        )
        body_ends, attrs_ends = rows.body_ends[:count], rows.attrs_ends[:count]
        return drafted(
            self._map,
            lines=rows.numbers[:count] + first_line,
            ts=rows.ts[:count],
            verdicts=np.zeros(count, np.int8),
            names=columns,
            values=rows.value[:count],
            ids=(trace, span),
            body=objects(rows.body[: progress[table.BODY]], body_ends, empty=0),
            attrs=objects(rows.attrs[: progress[table.ATTRS]], attrs_ends),
        )


def _aside(block: Block, lines: on.Ints) -> Iterator[tuple[int, bytes | None]]:
    """The lines that are left to ``linewise``, with their numbers."""
    assert block.octets is not None
    for at, end, status, _, _, before in lines.tolist():
        number = block.first_line + before
        line = None if status == on.TOO_LONG else block.octets[at:end]
        yield number, line if line is None or at else unmarked(line, number)


def _fresh(columns: int, lines: int, size: int) -> tuple[table.Names, second.Rows, NDArray[np.int64]]:
    """Empty tables for the records of some octets."""
    places = 1 << (8 * lines + 255).bit_length()
    names = table.Names(
        hashes=np.zeros(places, np.uint64),
        places=np.zeros(places, np.int32),
        entries=np.empty((places // 2, 5), np.int32),
        counts=np.zeros(columns, np.int32),
        arena=np.empty(size + _SPARE, np.uint8),
    )
    rows = second.Rows(
        numbers=np.empty(lines, np.int64),
        ts=np.empty(lines, np.int64),
        value=np.empty(lines),
        codes=np.empty((columns, lines), np.int32),
        ids=np.zeros(24 * lines, np.uint8),
        body=np.empty(size + _SPARE, np.uint8),
        body_ends=np.empty(lines, np.int32),
        attrs=np.empty(size + _SPARE, np.uint8),
        attrs_ends=np.empty(lines, np.int32),
    )
    return names, rows, np.zeros(7, np.int64)


def _texts(names: table.Names, columns: int, count: int) -> list[pa.Array]:
    """The distinct texts of each column, in order of first appearance."""
    entries = names.entries[:count]
    offsets = np.zeros(count + 1, np.int32)
    offsets[1:] = entries[:, table.PLACE] + entries[:, table.SIZE]
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(names.arena[: offsets[-1]])]
    texts = pa.Array.from_buffers(pa.string(), count, buffers)
    owner = entries[:, table.COLUMN]
    return [texts.take(pa.array(np.flatnonzero(owner == column))) for column in range(columns)]
