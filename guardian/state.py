"""The engine's memory: allocation, bounded growth and snapshots of the arrays that the kernels work on.

Owns how much memory the state may take and how it becomes bytes and back. Does not own the layout
(``scoring.layout``) nor what happens to it (``scoring.kernels``).

A snapshot is one Arrow IPC file with one row an array: its name, dtype, shape and bytes, and the configuration in the
schema's metadata. The same state gives the same bytes, so a snapshot's SHA-256 can stand in the ledger. Never pickle.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from guardian.errors import StateError
from scoring import kernels
from scoring.layout import (
    ACTIVE,
    ACTIVE_KINDS,
    ENTITY,
    EVICTED,
    FLOOD_SECONDS,
    HEAD,
    KIND,
    PAIR,
    RATE,
    RING,
    SLOT,
    TOTAL_CONTEXT,
    TOTAL_CONTEXT_SECOND,
    TOTALS,
    USED,
    WAITING,
    RoleState,
    Table,
)

STATE_VERSION: Final = "guardian-state/4"

_SMALLEST: Final = 1024
_LINE: Final = 64
"""Bytes of a cache line."""

_SEAL: Final = b"guardian-seal:"
_OPEN: Final = b"0" * 64
"""What stands behind _SEAL while the digest of the file is computed; afterwards the digest does."""


def new_table(slots: int) -> Table:
    """An empty table with room for ``slots`` keys before it must grow."""
    return Table(
        places=np.zeros(_index_length(slots), np.int32),
        slot=_zeros(slots, SLOT),
        queue=np.zeros(slots, np.int32),
        meta=np.zeros(5, np.int64),
    )


def keys_of(table: Table) -> NDArray[np.uint64]:
    """The keys of the slots in use."""
    keys: NDArray[np.uint64] = table.slot["key"][: int(table.meta[USED])]
    return keys


def new_role(*, watches_logins: bool, watches_requests: bool, watches_steps: bool) -> RoleState:
    """The empty state of one role; what it does not watch has a single row."""
    totals = np.zeros(TOTALS)
    totals[[TOTAL_CONTEXT, TOTAL_CONTEXT_SECOND]] = -np.inf
    logins = _SMALLEST if watches_logins else 1
    requests = _SMALLEST if watches_requests else 1
    steps = _SMALLEST if watches_steps else 1
    return RoleState(
        entities=new_table(_SMALLEST),
        kinds=new_table(_SMALLEST),
        pairs=new_table(_SMALLEST),
        steps=new_table(steps),
        muted=new_table(1),
        entity=_zeros(_SMALLEST, ENTITY),
        active=_zeros((_SMALLEST, ACTIVE_KINDS), ACTIVE),
        rate=_zeros(requests, RATE),
        seconds=np.zeros((requests, FLOOD_SECONDS), np.uint16),
        requests=np.zeros((requests, FLOOD_SECONDS), np.uint16),
        failures=np.zeros((logins, RING)),
        injections=np.zeros((requests, RING)),
        kind=_zeros(_SMALLEST, KIND),
        pair=_zeros(_SMALLEST, PAIR),
        step=np.zeros(steps, np.float32),
        muted_until=np.zeros(1),
        totals=totals,
        context_key=np.zeros(2, np.uint64),
    )


_ROWS_OF: Final = {
    "entities": ("entity", "active", "rate", "seconds", "requests", "failures", "injections"),
    "kinds": ("kind",),
    "pairs": ("pair",),
    "steps": ("step",),
    "muted": ("muted_until",),
}
"""Which arrays have a row for each slot of which table."""


def with_room(state: RoleState, rows: int, limits: Mapping[str, int]) -> RoleState:
    """The same state with room for ``rows`` new keys in each table that has a limit, as far as that allows.

    Growth is by doubling, so the cost is spread; what a kernel computes never depends on the room there is.
    """
    changes: dict[str, Any] = {}
    for name, limit in limits.items():
        table: Table = getattr(state, name)
        room = len(table.slot)
        needed = min(int(table.meta[USED]) + rows, limit)
        if needed <= room:
            continue
        grown = min(max(2 * room, needed), max(limit, room))
        changes[name] = _grown_table(table, grown)
        for each in _ROWS_OF[name]:
            array = getattr(state, each)
            if len(array) == room:
                changes[each] = _grown(array, grown)
    return state._replace(**changes) if changes else state


def arrays_of(state: RoleState) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every array of a role, by name, cut to the slots in use; the index is left out: it follows from the keys."""
    used = {name: int(getattr(state, name).meta[USED]) for name in _ROWS_OF}
    for name in _ROWS_OF:
        table: Table = getattr(state, name)
        meta = table.meta.copy()
        meta[HEAD] = 0
        yield f"{name}.slot", table.slot[: used[name]]
        yield f"{name}.queue", _unrolled(table)
        yield f"{name}.meta", meta
        for each in _ROWS_OF[name]:
            yield each, getattr(state, each)[: used[name]]
    yield "totals", state.totals
    yield "context_key", state.context_key


def role_from(arrays: Mapping[str, NDArray[Any]], empty: RoleState) -> RoleState:
    """The role that ``arrays_of`` took apart.

    Raises:
        StateError: an array is missing or has another shape or dtype than this version's layout.
    """
    values: dict[str, Any] = {"totals": _copied(arrays, "totals", empty.totals)}
    values["context_key"] = _copied(arrays, "context_key", empty.context_key)
    for name, owned in _ROWS_OF.items():
        meta = _copied(arrays, f"{name}.meta", np.zeros(5, np.int64))
        # twice what is in use, so that the first events after a start need not grow it; zeros that nobody wrote cost nothing
        room = max(len(getattr(empty, name).slot), 2 * int(meta[USED]))
        table = new_table(room)._replace(meta=meta)
        for column in ("slot", "queue"):
            target = getattr(table, column)
            source = _checked(arrays, f"{name}.{column}", target)
            target[: len(source)] = source
        kernels.rebuild_index(table)
        values[name] = table
        for each in owned:
            pattern = getattr(empty, each)
            source = _checked(arrays, each, pattern)
            target = np.zeros(
                (room if len(pattern) == len(getattr(empty, name).slot) else 1, *pattern.shape[1:]),
                pattern.dtype,
            )
            target[: len(source)] = source
            values[each] = target
    return RoleState(**values)


def evictions(state: RoleState) -> dict[str, int]:
    """How many keys each table of a role has forgotten because it was full."""
    return {name: int(getattr(state, name).meta[EVICTED]) for name in _ROWS_OF}


_ROW: Final = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("dtype", pa.string(), nullable=False),
        pa.field("shape", pa.list_(pa.int64()), nullable=False),
        pa.field("data", pa.large_binary(), nullable=False),
    ]
)


def to_bytes(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """A snapshot: the same arrays and metadata give the same bytes."""
    rows = {
        "name": list(arrays),
        "dtype": [np.lib.format.dtype_to_descr(array.dtype).__repr__() for array in arrays.values()],
        "shape": [list(array.shape) for array in arrays.values()],
        "data": [array.tobytes() for array in arrays.values()],
    }
    told = {"version": STATE_VERSION, "seal": (_SEAL + _OPEN).decode(), **dict(sorted(metadata.items()))}
    schema = _ROW.with_metadata(told)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_pydict(rows, schema=schema))
    data: bytes = sink.getvalue().to_pybytes()
    return _sealed(data, hashlib.sha256(data).hexdigest().encode())


def from_bytes(blob: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The arrays (read-only views) and the metadata of a snapshot.

    Raises:
        StateError: the bytes are no snapshot, or one of another version.
    """
    if not _is_whole(blob):
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


def _sealed(data: bytes, value: bytes) -> bytes:
    """The same file with another value in its seal: once in the schema, which comes first, once in the footer."""
    out = bytearray(data)
    for at in {data.find(_SEAL), data.rfind(_SEAL)}:
        out[at + len(_SEAL) : at + len(_SEAL) + len(value)] = value
    return bytes(out)


def _is_whole(blob: bytes) -> bool:
    at = blob.find(_SEAL) + len(_SEAL)
    claimed = blob[at : at + len(_OPEN)]
    return (
        at >= len(_SEAL)
        and len(claimed) == len(_OPEN)
        and hashlib.sha256(_sealed(blob, _OPEN)).hexdigest().encode() == claimed
        and _sealed(blob, claimed) == blob
    )


def _zeros(shape: int | tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros that begin at a cache line, so that a row of 64 bytes is one line and not two."""
    kind = np.dtype(dtype)
    octets = int(np.prod(shape)) * kind.itemsize
    room = np.zeros(octets + _LINE, np.uint8)
    start = -room.ctypes.data % _LINE
    lined: NDArray[Any] = room[start : start + octets].view(kind).reshape(shape)
    return lined


def _index_length(slots: int) -> int:
    return 1 << max(11, (2 * slots - 1).bit_length())


def _grown(array: NDArray[Any], rows: int) -> NDArray[Any]:
    grown = _zeros((rows, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _grown_table(table: Table, slots: int) -> Table:
    grown = new_table(slots)._replace(meta=table.meta)
    grown.slot[: len(table.slot)] = table.slot
    waiting = _unrolled(table)
    grown.queue[: len(waiting)] = waiting
    grown.meta[HEAD] = 0
    kernels.rebuild_index(grown)
    return grown


def _unrolled(table: Table) -> NDArray[np.int32]:
    """The keys on trial, oldest first."""
    ring: NDArray[np.int32] = np.roll(table.queue, -int(table.meta[HEAD]))
    return ring[: int(table.meta[WAITING])]


def _checked(arrays: Mapping[str, NDArray[Any]], name: str, pattern: NDArray[Any]) -> NDArray[Any]:
    array = arrays.get(name)
    if array is None:
        raise StateError(f"damaged snapshot: no array {name}")
    if array.dtype != pattern.dtype or array.shape[1:] != pattern.shape[1:]:
        raise StateError(
            f"damaged snapshot: array {name} is {array.dtype} {array.shape}, expected rows of {pattern.dtype}"
        )
    return array


def _copied(arrays: Mapping[str, NDArray[Any]], name: str, pattern: NDArray[Any]) -> NDArray[Any]:
    return _checked(arrays, name, pattern).copy()
