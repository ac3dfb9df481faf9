"""A state that was taken out of its engine, and its bytes: the snapshot.

Owns the format. Taking a state out is one copy of its arrays; making bytes of it takes ten times as long and any thread.
Does not own what a state holds (``guardian.engine``) nor where its bytes are kept (``guardian.snapshots``).

A snapshot is one Arrow IPC file with one batch an array: its name, dtype, shape and bytes, and the configuration in the
schema's metadata. The same state gives the same bytes, so a snapshot's SHA-256 can stand in the ledger. Never pickle.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from guardian.errors import StateError
from guardian.names import Referred

STATE_VERSION: Final = "guardian-state/4"

_SEAL: Final = b"guardian-seal:"
_OPEN: Final = b"0" * 64
"""What stands behind _SEAL while the digest of the file is computed; afterwards the digest does."""

_FOOTER: Final = 2**20
"""Where the last seal is looked for first."""

_ROW: Final = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("dtype", pa.string(), nullable=False),
        pa.field("shape", pa.list_(pa.int64()), nullable=False),
        pa.field("data", pa.large_binary(), nullable=False),
    ]
)


class Frozen(NamedTuple):
    """A state as it was: what its engine is fed afterwards does not change it."""

    arrays: Mapping[str, NDArray[Any]]
    names: tuple[Referred, ...]
    metadata: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """A snapshot: the same arrays, names and metadata give the same bytes."""
        told = {
            "version": STATE_VERSION,
            "seal": (_SEAL + _OPEN).decode(),
            **dict(sorted(self.metadata.items())),
        }
        schema = _ROW.with_metadata(told)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, schema) as writer:
            for name, array in chain(self.arrays.items(), *(each.arrays() for each in self.names)):
                writer.write_batch(_batch(name, array, schema))
        data = memoryview(sink.getvalue())
        places = _seals(data)
        digest = hashlib.sha256()
        for part in _with_seals(data, places, _OPEN):
            digest.update(part)
        return b"".join(_with_seals(data, places, digest.hexdigest().encode()))


def copied(array: NDArray[Any]) -> NDArray[Any]:
    """A copy byte for byte: NumPy's own leaves what it finds in the gaps between the fields of a row."""
    octets = array.reshape(-1).view(np.uint8).copy()
    same: NDArray[Any] = octets.view(array.dtype).reshape(array.shape)
    return same


def from_bytes(blob: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The arrays (read-only views) and the metadata of a snapshot.

    Raises:
        StateError: the bytes are no snapshot, or one of another version.
    """
    if not _is_whole(memoryview(blob)):
        # Looked at before Arrow does: it ends the whole process on some damaged files.
        raise StateError("not a snapshot, or a damaged one: its bytes are not those that were saved")
    try:
        table = pa.ipc.open_file(pa.BufferReader(blob)).read_all()
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StateError(f"not a snapshot: {error}") from None
    if metadata.get("version") != STATE_VERSION:
        raise StateError(
            f"expected a snapshot of {STATE_VERSION}, got {metadata.get('version', 'no version')}"
        )
    arrays: dict[str, NDArray[Any]] = {}
    try:
        for name, dtype, shape, data in zip(*(table.column(i) for i in range(4)), strict=True):
            kind = np.lib.format.descr_to_dtype(ast.literal_eval(dtype.as_py()))
            arrays[name.as_py()] = np.frombuffer(data.as_buffer(), kind).reshape(shape.as_py())
    except (ValueError, SyntaxError, TypeError) as error:
        raise StateError(f"damaged snapshot: {error}") from None
    return arrays, metadata


def _batch(name: str, array: NDArray[Any], schema: pa.Schema) -> pa.RecordBatch:
    """One row whose data is the array itself, not a copy."""
    octets = array.reshape(-1).view(np.uint8)
    data = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), 1, [None, pa.py_buffer(np.array([0, len(octets)], np.int64)), pa.py_buffer(octets)]
    )
    dtype = repr(np.lib.format.dtype_to_descr(array.dtype))
    return pa.RecordBatch.from_arrays(
        [pa.array([name]), pa.array([dtype]), pa.array([list(array.shape)], pa.list_(pa.int64())), data],
        schema=schema,
    )


def _seals(data: memoryview) -> tuple[int, ...]:
    """Where a digest belongs: in the schema, which comes first, and in the footer; a name may look like either."""
    pattern = re.compile(re.escape(_SEAL))
    first = pattern.search(data)
    if first is None:
        return ()
    start = max(len(data) - _FOOTER, 0)
    last = max((found.end() for found in pattern.finditer(data[start:])), default=0)
    return tuple(sorted({first.end(), start + last} if last else {first.end()}))


def _with_seals(data: memoryview, places: tuple[int, ...], value: bytes) -> Iterator[bytes | memoryview]:
    """The parts of the same file with another value in its seals."""
    at = 0
    for place in places:
        yield data[at:place]
        yield value
        at = place + len(value)
    yield data[at:]


def _is_whole(data: memoryview) -> bool:
    places = _seals(data)
    claimed = {bytes(data[place : place + len(_OPEN)]) for place in places}
    digest = hashlib.sha256()
    for part in _with_seals(data, places, _OPEN):
        digest.update(part)
    return claimed == {digest.hexdigest().encode()}
