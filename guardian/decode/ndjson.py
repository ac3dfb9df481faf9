"""NDJSON to EVENTS: one JSON object a line, strictly, each line on its own.

Owns bodies and streams of lines. ``scanner`` reads the lines, without an object for each; ``linewise`` says what they
mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from guardian.decode.columns import MAX_RECORDS, Decoded, Rejects, latest_for
from guardian.decode.draft import joined
from guardian.decode.lines import byte_blocks, slices
from guardian.decode.mapping import Map
from guardian.decode.scanner import Scanner
from guardian.errors import BodyError


def decode_ndjson(body: bytes, mapping: Map, *, received_at: int | None) -> Decoded:
    """The events of a whole body; ``received_at`` in nanoseconds since 1970, None where nobody knows (files).

    Raises:
        BodyError: 413 more than MAX_RECORDS events.
    """
    rejects = Rejects()
    scanner = Scanner(mapping, latest_for(received_at))
    batches: list[pa.RecordBatch] = []
    count = 0
    for block in byte_blocks(slices(body)):
        for batch, _ in scanner.batches(block, rejects):
            batches.append(batch)
            count += len(batch)
            if count > MAX_RECORDS:
                raise BodyError(
                    413, "too_many_records", f"expected at most {MAX_RECORDS} records in one body"
                )
    return rejects.decoded(joined(batches))


def decode_pieces(
    pieces: Iterable[bytes], mapping: Map, latest: int
) -> Iterator[tuple[Decoded, pa.Array | None]]:
    """The events of a stream and their labels, in batches of at most MAX_BLOCK_LINES; each accounts for its own lines."""
    scanner = Scanner(mapping, latest)
    for block in byte_blocks(pieces):
        rejects = Rejects()
        for batch, labels in scanner.batches(block, rejects):
            yield rejects.decoded(batch), labels
            rejects = Rejects()
