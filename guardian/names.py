"""The texts behind the keys of the state: names of entities and of kinds.

Owns that they stay as bounded as the tables whose keys they name. Does not own the keys (``guardian.features``) nor the
tables (``guardian.state``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from guardian.state import keys_of
from guardian.view import ALL_KINDS
from scoring.layout import BURST_KEY, EVICTED, FAILURE_KEY, FAN_OUT_KEY, MULTIVARIATE_KEY, USED, RoleState

_UNNAMED: Final = dict.fromkeys((BURST_KEY, FAILURE_KEY, FAN_OUT_KEY, MULTIVARIATE_KEY), ALL_KINDS)
_SLACK: Final = 4096
"""Names that may wait to be forgotten, beyond twice those in use."""


class Names:
    """Key → text, for the entities and the kinds of all roles."""

    def __init__(self) -> None:
        self.entities: dict[int, str] = {}
        self.kinds: dict[int, str] = dict(_UNNAMED)

    def forget_unused(self, roles: Mapping[str, RoleState]) -> None:
        """Keep the names as bounded as the tables: swept when twice as many as needed."""
        if len(self.entities) > 2 * _used(roles, "entities") + _SLACK:
            self.entities = Referred("entity", self.entities, _entity_keys(roles)).live()
        if len(self.kinds) > 2 * _used(roles, "kinds") + _SLACK and any(
            state.kinds.meta[EVICTED] for state in roles.values()
        ):
            self.kinds = Referred("kind", self.kinds, _kind_keys(roles)).live()

    def referred(self, roles: Mapping[str, RoleState]) -> tuple[Referred, ...]:
        """The names that the state still refers to, for a snapshot."""
        return (
            Referred("kind", self.kinds.copy(), _kind_keys(roles)),
            Referred("entity", self.entities.copy(), _entity_keys(roles)),
        )

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the names of a snapshot.

        Raises:
            KeyError, ValueError, msgspec.MsgspecError: they are not there, or damaged.
        """
        for table, names in (("kind", self.kinds), ("entity", self.entities)):
            texts = msgspec.msgpack.decode(arrays[f"names/{table}.text"].tobytes(), type=list[str])
            names.update(zip(arrays[f"names/{table}.key"].tolist(), texts, strict=True))


class Referred(NamedTuple):
    """A copy of names, and the keys of those that are referred to."""

    table: str
    names: dict[int, str]
    keys: NDArray[np.uint64]

    def live(self) -> dict[int, str]:
        """Those that are referred to, by key."""
        return {key: self.names[key] for key in np.unique(self.keys).tolist() if key in self.names}

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Them as arrays, in the order of their keys."""
        live = self.live()
        yield f"names/{self.table}.key", np.fromiter(live, np.uint64, len(live))
        yield f"names/{self.table}.text", np.frombuffer(msgspec.msgpack.encode(list(live.values())), np.uint8)


def learn(
    names: dict[int, str],
    keys: NDArray[np.uint64],
    column: pa.DictionaryArray,
    start: int,
    new: NDArray[np.uint8],
) -> None:
    """Note the texts of the keys that a kernel met for the first time; row 0 of ``keys`` is row ``start`` of ``column``."""
    rows = np.flatnonzero(new)
    if len(rows):
        texts = column.take(pa.array(rows + start)).to_pylist()
        names.update(zip(keys[rows].tolist(), texts, strict=True))


def _used(roles: Mapping[str, RoleState], table: str) -> int:
    return sum(int(getattr(state, table).meta[USED]) for state in roles.values())


def _entity_keys(roles: Mapping[str, RoleState]) -> NDArray[np.uint64]:
    return np.concatenate([keys_of(state.entities) for state in roles.values()])


def _kind_keys(roles: Mapping[str, RoleState]) -> NDArray[np.uint64]:
    keys = [np.array(list(_UNNAMED), np.uint64)]
    for state in roles.values():
        keys += [keys_of(state.kinds), state.active["kind"].reshape(-1), state.entity["rule_kind"]]
    return np.unique(np.concatenate(keys))
