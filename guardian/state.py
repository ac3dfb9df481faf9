"""The engine's memory: allocation and bounded growth of the arrays that the kernels work on.

Owns how much memory the state may take, and which of it is kept in a snapshot. Does not own the layout
(``scoring.layout``), what happens to it (``scoring.kernels``) nor a snapshot's bytes (``guardian.frozen``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
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

_SMALLEST: Final = 1024
_LINE: Final = 64
"""Bytes of a cache line."""


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
