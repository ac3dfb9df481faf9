"""NDJSON line by line through msgspec: what every line means, and how the lines are read that the scanner leaves aside.

Owns the reasons for which a line is no record. ``records`` takes the objects apart. This is the specification of
``scanner``: both give the same batch, octet for octet.

Defined here: of repeated keys the last counts; a lone surrogate or bytes that are not UTF-8 refuse the line; a number
past the range of a float (``1e400``) refuses it; integers are exact up to the 4,300 digits that msgspec reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import pyarrow as pa

from guardian.decode.columns import Rejects
from guardian.decode.draft import Draft, finish
from guardian.decode.lines import MAX_LINE_BYTES
from guardian.decode.mapping import Map
from guardian.decode.records import GROUP, Columns

_decode: Final = msgspec.json.Decoder().decode


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
    return finish(draft_lines(enumerate(lines, first_line), mapping, latest, rejects), rejects)


def draft_lines(
    lines: Iterable[tuple[int, bytes | None]], mapping: Map, latest: int, rejects: Rejects
) -> Draft:
    """The records of numbered lines, as columns that are not yet judged; what is no record is rejected."""
    columns = Columns(mapping)
    records: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, line in lines:
        if line is None:
            rejects.add(number, "line_too_long", f"expected at most {MAX_LINE_BYTES} bytes in a line")
            continue
        try:
            record = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if line and not line.isspace():
                rejects.add(number, *_fault(error))
            continue
        if type(record) is not dict:
            rejects.add(number, "not_an_object", "expected a JSON object")
            continue
        records.append(record)
        numbers.append(number)
        if len(records) == GROUP:
            columns.add(records, numbers)
            records, numbers = [], []
    columns.add(records, numbers)
    return columns.draft(latest)


def _fault(error: Exception) -> tuple[str, str]:
    if isinstance(error, RecursionError):
        return "too_deep", "expected less nesting"
    if isinstance(error, UnicodeDecodeError):
        return "invalid_utf8", "expected UTF-8"
    if isinstance(error, msgspec.ValidationError):
        return "number_out_of_range", str(error)
    return "not_json", str(error)
