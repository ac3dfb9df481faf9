"""The layout of the engine's state: flat arrays, one row an entity, a kind or a pair.

Owns shapes, dtypes and the meaning of each field. Does not own the loops over them (``scoring.kernels``) nor their
allocation, growth and snapshots (``guardian.state``).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Table(NamedTuple):
    """A bounded map from a 64-bit key to a dense slot; when full, the key untouched for longest gives way."""

    places: NDArray[np.int32]
    """Open addressing, linear probing: slot + 1, or 0. Length a power of two, at least twice the slots."""
    key: NDArray[np.uint64]
    newer: NDArray[np.int32]
    """Towards the most recently touched slot; −1 at the end."""
    older: NDArray[np.int32]
    meta: NDArray[np.int64]
    """(4,): slots in use, newest slot, oldest slot, evictions so far."""


USED, NEWEST, OLDEST, EVICTED = range(4)
"""Places in ``Table.meta``."""

ACTIVE_KINDS: Final = 8
"""Kinds of one entity that count towards its risk at the same time."""

BURST_BINS: Final = 20
FLOOD_SECONDS: Final = 60
RING: Final = 16

NOVELTY, RARITY, BURST, PERSISTENCE, SEASONAL, MULTIVARIATE, RULE = range(7)
"""Columns of a surprisal matrix, in the order of SCORES."""

CHANNEL_COUNT: Final = 7

CONTEXT_PART: Final = ACTIVE_KINDS
RULE_PART: Final = ACTIVE_KINDS + 1
PARTS: Final = ACTIVE_KINDS + 2
"""Rows of an explanation: one for each active kind, then the context, then the rule."""

IS_ALERT, AUTH_FAILURE, INJECTION, HONEYPOT, REQUEST = 1, 2, 4, 8, 16
"""Bits of the ``flags`` column: what ``guardian.features`` saw in an event."""

ANY_KIND: Final = 2
"""The key that stands for "events of any kind": the burst of a whole entity."""

ENTITY: Final = np.dtype(
    [
        ("first", "f8"),
        ("last", "f8"),
        ("events", "i8"),
        ("held", "f8"),
        ("held_at", "f8"),
        ("held_rule", "f8"),
        ("held_context", "f8"),
        ("minute", "i8"),
        ("minute_count", "i8"),
        ("second", "i8"),
        ("second_events", "i8"),
        ("second_requests", "i8"),
        ("rule_kind", "u8"),
        ("rule_event", "i8"),
        ("level", "i4"),
        ("layer", "i4"),
    ]
)
"""One entity. Times are seconds since 1970; ``held`` is its highest score, decaying since ``held_at``."""

ACTIVE: Final = np.dtype(
    [
        ("kind", "u8"),
        ("event", "i8"),
        ("last", "f8"),
        ("at", "f8"),
        ("value", "f8"),
        ("novelty", "f4"),
        ("rarity", "f4"),
        ("burst", "f4"),
        ("persistence", "f4"),
        ("seasonal", "f4"),
    ]
)
"""One recent kind of an entity: its strongest surprisal ``value`` at ``at``, and the channels it was made of."""

KIND: Final = np.dtype([("onsets", "f8")])

PAIR: Final = np.dtype(
    [
        ("onsets", "f8"),
        ("last", "f8"),
        ("occupied", "f8"),
        ("window", "i8"),
    ]
)
"""One kind at one entity: episodes so far, last event, decayed count of the windows in which it was seen."""


class RoleState(NamedTuple):
    """All state of one role; each array has one row a slot of the table that owns it."""

    entities: Table
    kinds: Table
    pairs: Table
    entity: NDArray[np.void]
    active: NDArray[np.void]
    burst: NDArray[np.float32]
    """(entities, BURST_BINS): past minutes by the power of two of their event count."""
    seconds: NDArray[np.uint16]
    """(entities, FLOOD_SECONDS): events of each of the last seconds; one row where the role has no flood rule."""
    requests: NDArray[np.uint16]
    failures: NDArray[np.float64]
    """(entities, RING): times of the last authentication failures; one row where the role has no such rule."""
    injections: NDArray[np.float64]
    kind: NDArray[np.void]
    pair: NDArray[np.void]
    hours: NDArray[np.uint8]
    """(pairs, 24): episodes by the hour of the day (UTC) they began in."""
    totals: NDArray[np.float64]
    """(8,): declared globals of the role, see TOTAL_*."""
    context_key: NDArray[np.uint64]
    """(2,): the entities behind the two highest context values."""


TOTAL_ENTITIES, TOTAL_FIRST, TOTAL_SINGLE_KINDS, TOTAL_CONTEXT, TOTAL_CONTEXT_SECOND = range(5)


class Parameters(NamedTuple):
    """What ``guardian.config`` says, in the units of its names."""

    max_entities: int
    max_kinds: int
    max_pairs: int
    episode_gap_s: float
    window_s: float
    risk_half_life_s: float
    active_s: float
    context_half_life_s: float
    persistence_half_life_s: float
    hold_s: float
    auth_failures: int
    auth_window_s: float
    injections: int
    injection_window_s: float
    flood_events: int
    rate_per_minute: int
    watches_logins: int
    """1 for the role whose authentication failures are counted (actor)."""
    watches_requests: int
    """1 for the role whose injections, floods and request rates are counted (address)."""


class Alerts(NamedTuple):
    """Where the kernel writes the rises of levels; as long as the batch, so it never runs out."""

    raised: NDArray[np.int64]
    """(1,): rises so far."""
    row: NDArray[np.int64]
    """(n,): row of the batch."""
    level_from: NDArray[np.int64]
    at: NDArray[np.float64]
    """(n,): the entity's clock, which never runs backwards; seconds since 1970."""
    kind: NDArray[np.uint64]
    """(n, PARTS): key of the kind behind each part of the explanation, 0 = none."""
    event: NDArray[np.int64]
    parts: NDArray[np.float64]
    """(n, PARTS, CHANNEL_COUNT): points; the whole sums to the score."""
