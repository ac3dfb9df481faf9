"""Swapping in a forest: which one, for whom, grown from what; and its record as bytes of the journal.

Owns the record. Does not own growing it (``exporters.retraining``) nor its effect (``guardian.engine``).
"""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from guardian.decisions.record import RoleName
from guardian.errors import BodyError
from scoring.forest import IsolationForest
from scoring.layout import VECTOR_FEATURES

CONTENT_TYPE: Final = "application/vnd.tamv-guardian.model+msgpack"
"""Content type of a swap in the journal. No route takes it: only a forest that was grown here becomes one."""


class ModelSwap(Struct, frozen=True, kw_only=True):
    """One forest, and from where on it judges: its place in the journal. Times in nanoseconds since 1970."""

    role: RoleName
    forest: bytes
    """``scoring.IsolationForest.to_bytes``."""
    rows: int
    """Windows of entities it was grown from."""
    first: int
    last: int
    """Ends of the oldest and of the newest of them, by the clock of the events."""
    created_at: int


@runtime_checkable
class Swapping(Protocol):
    """The part of the engine that a swap reaches."""

    def swap_forest(self, role: str, blob: bytes) -> None:
        """Let a forest judge whole windows of a role from here on."""
        ...


def apply(record: ModelSwap, engine: Swapping) -> None:
    """Tell the engine."""
    engine.swap_forest(record.role, record.forest)


def to_bytes(record: ModelSwap) -> bytes:
    """The record as its body in the journal."""
    return msgspec.msgpack.encode(record)


def from_bytes(body: bytes) -> ModelSwap:
    """The record of a body in the journal; its forest is whole.

    Raises:
        BodyError: the body is none, or its forest is damaged.
    """
    try:
        record = msgspec.msgpack.decode(body, type=ModelSwap)
        features = IsolationForest.from_bytes(record.forest).features
    except (msgspec.MsgspecError, ValueError) as error:
        raise BodyError(400, "not_a_model", f"expected the record of a forest: {error}") from None
    if features != VECTOR_FEATURES:
        raise BodyError(400, "not_a_model", f"expected {VECTOR_FEATURES} features, got {features}")
    return record
