"""The texts behind the keys of the state: names of entities and of kinds.

Owns that they stay as bounded as the tables whose keys they name. Does not own the keys (``guardian.features``) nor the
tables (``guardian.state``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

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
            self.entities = self._live_entities(roles)
        if len(self.kinds) > 2 * _used(roles, "kinds") + _SLACK and any(
            state.kinds.meta[EVICTED] for state in roles.values()
        ):
            self.kinds = self._live_kinds(roles)

    def arrays(self, roles: Mapping[str, RoleState]) -> Iterator[tuple[str, NDArray[Any]]]:
        """The names that the state still refers to, for a snapshot."""
        for table, names in (("kind", self._live_kinds(roles)), ("entity", self._live_entities(roles))):
            ordered = sorted(names.items())
            yield f"names/{table}.key", np.array([key for key, _ in ordered], np.uint64)
            texts = msgspec.msgpack.encode([text for _, text in ordered])
            yield f"names/{table}.text", np.frombuffer(texts, np.uint8)

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the names of a snapshot.

        Raises:
            KeyError, ValueError, msgspec.MsgspecError: they are not there, or damaged.
        """
        for table, names in (("kind", self.kinds), ("entity", self.entities)):
            texts = msgspec.msgpack.decode(arrays[f"names/{table}.text"].tobytes(), type=list[str])
            names.update(zip(arrays[f"names/{table}.key"].tolist(), texts, strict=True))

    def _live_entities(self, roles: Mapping[str, RoleState]) -> dict[int, str]:
        alive: set[int] = set()
        for state in roles.values():
            alive.update(keys_of(state.entities).tolist())
        return {key: name for key, name in self.entities.items() if key in alive}

    def _live_kinds(self, roles: Mapping[str, RoleState]) -> dict[int, str]:
        alive = set(_UNNAMED)
        for state in roles.values():
            alive.update(keys_of(state.kinds).tolist())
            alive.update(np.unique(state.active["kind"]).tolist())
            alive.update(np.unique(state.entity["rule_kind"]).tolist())
        return {key: name for key, name in self.kinds.items() if key in alive}


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
