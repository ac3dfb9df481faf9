"""The lake: what entities did in past windows, as Parquet files in the data folder, without their names.

Owns the files, their bounds and reading them back. Does not own the vectors (``scoring.kernels``) nor what is grown from them
(``exporters.retraining``). Nothing else depends on a file here: one that is lost or damaged only means fewer rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from numpy.typing import NDArray

from exporters.seal import replace_durably
from guardian.verdict import Window

FEATURES: Final = ("events", "failures", "reached", "busiest")
"""Columns of a vector, see ``scoring.layout.VECTOR_FEATURES``."""

MOST_ROWS: Final = 4096
"""Kept of one role and window, evenly spaced; a tree is grown from a few hundred."""
MOST_FILES: Final = 1000
MOST_BYTES: Final = 128 * 2**20

_SCHEMA: Final = pa.schema(
    [
        ("role", pa.dictionary(pa.int8(), pa.string())),
        ("window", pa.timestamp("ns", tz="UTC")),
        *((name, pa.float32()) for name in FEATURES),
    ]
)


class Sample(NamedTuple):
    """Rows of one role, oldest first, and the ends of the first and the last window; nanoseconds since 1970."""

    rows: NDArray[np.float64]
    first: int
    last: int


class Lake:
    """Window vectors of one instance. One thread adds, another may read."""

    def __init__(self, folder: Path, *, most_files: int = MOST_FILES, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._most_files = most_files
        self._most_bytes = most_bytes
        self._log = structlog.get_logger("guardian.lake")

    def add(self, seq: int, windows: Sequence[Window]) -> None:
        """Keep the windows that ended in record ``seq`` of the journal: playing it again changes nothing.

        The oldest files give way. What cannot be written is said in the log and not kept.
        """
        if not windows:
            return
        path = self._folder / f"{seq:020d}.parquet"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                replace_durably(path, _packed(windows))
                self._make_room()
        except OSError as error:
            self._log.warning("windows not kept", file=path.name, reason=error.strerror)

    def newest(self, role: str, *, most: int) -> Sample | None:
        """The newest rows of a role, or None when there are none; a file that cannot be read is said and passed over."""
        parts: list[NDArray[np.float64]] = []
        times: list[NDArray[np.int64]] = []
        found = 0
        for path in sorted(self._folder.glob("*.parquet"), reverse=True):
            try:
                table = pq.read_table(path, filters=[("role", "=", role)], schema=_SCHEMA)
                columns = [table.column(name).to_numpy().astype(np.float64) for name in FEATURES]
            except (OSError, pa.ArrowException) as error:
                self._log.warning("windows passed over", file=path.name, reason=str(error))
                continue
            parts.append(np.column_stack(columns))
            times.append(table.column("window").cast(pa.int64()).to_numpy())
            found += len(table)
            if found >= most:
                break
        if not found:
            return None
        rows = np.ascontiguousarray(np.concatenate(parts[::-1])[-most:])
        window = np.concatenate(times[::-1])[-most:]
        return Sample(rows, int(window[0]), int(window[-1]))

    def _make_room(self) -> None:
        paths = sorted(self._folder.glob("*.parquet"), reverse=True)
        octets = np.cumsum([path.stat().st_size for path in paths])
        for number, path in enumerate(paths):
            if number >= self._most_files or (number and octets[number] > self._most_bytes):
                path.unlink()


def _packed(windows: Sequence[Window]) -> bytes:
    pieces = []
    for each in windows:
        rows = each.vectors[:: -(-len(each.vectors) // MOST_ROWS)].astype(np.float32)
        columns = [
            pa.array([each.role] * len(rows)).dictionary_encode().cast(_SCHEMA.field("role").type),
            pa.array(np.full(len(rows), each.ts_ns)).cast(_SCHEMA.field("window").type),
            *(pa.array(column) for column in rows.T.copy()),
        ]
        pieces.append(pa.Table.from_arrays(columns, schema=_SCHEMA))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(pieces).unify_dictionaries(), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data
