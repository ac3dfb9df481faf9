"""The layout of the engine's state: flat arrays, one row an entity, a kind, a pair or a step of a session.

Owns shapes, dtypes and the meaning of each field. Does not own the loops over them (``scoring.kernels``) nor their
allocation, growth and snapshots (``guardian.state``).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SLOT: Final = np.dtype([("key", "u8"), ("uses", "u4"), ("waiting", "u4")])
"""One key of a table: how often it was touched since it was last passed over (0…3), and whether it is on trial."""


class Table(NamedTuple):
    """A bounded map from a 64-bit key to a dense slot.

    A new key is on trial, in a queue that keeps a tenth of the slots once the table is full. A key touched again while on
    trial stays; one that was not gives its slot away. So a flood of keys that come once pushes out only each other.
    Source: Yang et al. 2023, FIFO queues are all you need for cache eviction (S3-FIFO), without its ghost queue.
    """

    places: NDArray[np.int32]
    """Open addressing, linear probing: slot + 1, or 0. Length a power of two, at least twice the slots."""
    slot: NDArray[np.void]
    queue: NDArray[np.int32]
    """Slots on trial, oldest first, as a ring."""
    meta: NDArray[np.int64]
    """(5,): slots in use, evictions so far, first of the queue, length of the queue, hand that passes over the rest."""


USED, EVICTED, HEAD, WAITING, HAND = range(5)
"""Places in ``Table.meta``."""

ACTIVE_KINDS: Final = 8
"""Kinds of one entity that count towards its risk at the same time."""

BURST_BINS: Final = 12
FAN_BINS: Final = 6
FLOOD_SECONDS: Final = 60
RING: Final = 8
PEERS: Final = 9
"""Peer groups of kinds: layers L0 to L7, and none."""

NOVELTY, RARITY, BURST, PERSISTENCE, SEASONAL, MULTIVARIATE, RULE = range(7)
FAILURE, FAN_OUT, VALUE, SEQUENCE, PAIRING = range(7, 12)
"""Columns of a surprisal matrix, in the order of SCORES."""

CHANNEL_COUNT: Final = 12

KIND_PARTS: Final = (NOVELTY, RARITY, PERSISTENCE, SEASONAL, VALUE, SEQUENCE, PAIRING)
"""The channels that one kind's surprisal is the sum of, in the order of ``ACTIVE.parts``."""

BURST_KEY, FAILURE_KEY, FAN_OUT_KEY, MULTIVARIATE_KEY = 2, 3, 4, 5
"""Keys that stand for "events of any kind" where the surprise is the entity's: its burst, its failures, its reach."""

CONTEXT_PART: Final = ACTIVE_KINDS
RULE_PART: Final = ACTIVE_KINDS + 1
PARTS: Final = ACTIVE_KINDS + 2
"""Rows of an explanation: one for each active kind, then the context, then the rule."""

WITHOUT_CONTEXT: Final = CHANNEL_COUNT
"""Column of a counterfactual that leaves out the context of other entities; the others leave out their channel."""

IS_ALERT, AUTH_FAILURE, INJECTION, HONEYPOT, REQUEST, FAILED = 1, 2, 4, 8, 16, 32
"""Bits of the ``flags`` column: what ``guardian.features`` saw in an event."""

ENTITY: Final = np.dtype(
    [
        ("first", "f8"),
        ("last", "f8"),
        ("held", "f8"),
        ("held_at", "f8"),
        ("held_rule", "f8"),
        ("events", "i8"),
        ("last_event", "i8"),
        ("rule_kind", "u8"),
        ("rule_event", "i8"),
        ("before", "u8"),
        ("reached", "u8"),
        ("partners", "u8", (2, 2)),
        ("met", "f4", (2,)),
        ("held_context", "f4"),
        ("held_around", "f4"),
        ("window", "i4"),
        ("minute", "i4"),
        ("minute_events", "i4"),
        ("window_events", "i4"),
        ("window_failures", "i4"),
        ("windows", "f4"),
        ("minutes", "f4"),
        ("past_events", "f4"),
        ("past_failures", "f4"),
        ("gate", "f4"),
        ("burst", "f4", (BURST_BINS,)),
        ("fan", "f4", (FAN_BINS,)),
        ("busiest", "i4"),
        ("level", "i1"),
        ("layer", "i1"),
        ("active", "i1"),
    ],
    align=True,
)
"""One entity. Times are seconds since 1970.

``held`` is its highest score, decaying since ``held_at``; ``held_around`` the context it was made with. ``window`` is the
window of its last event, ``windows`` how many it was active in, ``minutes`` the same for minutes. ``partners`` are two
small Bloom filters of whom it met; ``reached`` the bitmap of distinct targets of this window; ``before`` its last kind.
``busiest`` is how many events its busiest minute with telemetry in this window had so far: 0 = there was none, −1 = a
person declared some of it benign, and then its figures say nothing about the rest.
"""

VECTOR_FEATURES: Final = 4
"""What an entity did in a window: log1p of its events, share of failures, log1p of whom it reached and of ``busiest``."""

PARTS_PER_DECADE: Final = 1000.0

ACTIVE: Final = np.dtype(
    [
        ("kind", "u8"),
        ("event", "i8"),
        ("last", "f8"),
        ("since", "f4"),
        ("value", "f4"),
        ("parts", "i2", (len(KIND_PARTS),)),
    ],
    align=True,
)
"""One recent kind of an entity: its strongest surprisal ``value``, ``since`` seconds before its ``last`` event, and the
channels it was made of, in thousandths of a decade."""

KIND: Final = np.dtype([("onsets", "f8"), ("followed", "f8"), ("peers", "f4", (PEERS,))], align=True)
"""One kind of a role: episodes everywhere, times that another kind followed it in a session, episodes per layer."""

PAIR: Final = np.dtype(
    [
        ("last", "f8"),
        ("window", "i8"),
        ("onsets", "f4"),
        ("occupied", "f4"),
        ("values", "f4"),
        ("value_mean", "f4"),
        ("value_spread", "f4"),
        ("hours", "u1", (24,)),
    ],
    align=True,
)
"""One kind at one entity: its last event, episodes so far, decayed count of the windows in which it was seen, the mean
and mean absolute deviation of its values (decades), and its episodes by the hour of the day (UTC) they began in."""

RATE: Final = np.dtype([("second", "i8"), ("events", "i4"), ("requests", "i4")])
"""One address: the second counted last, and what the rings below sum to."""


class RoleState(NamedTuple):
    """All state of one role; each array has one row a slot of the table that owns it."""

    entities: Table
    kinds: Table
    pairs: Table
    steps: Table
    """(kind, next kind) within a session; in use only in the role whose sessions are watched."""
    muted: Table
    """(entity, kind) that a person declared benign; as short as the configuration says."""
    entity: NDArray[np.void]
    active: NDArray[np.void]
    rate: NDArray[np.void]
    """One row where the role has no flood rule."""
    seconds: NDArray[np.uint16]
    """(entities, FLOOD_SECONDS): events of each of the last seconds; one row where the role has no flood rule."""
    requests: NDArray[np.uint16]
    failures: NDArray[np.float64]
    """(entities, RING): times of the last authentication failures; one row where the role has no such rule."""
    injections: NDArray[np.float64]
    kind: NDArray[np.void]
    pair: NDArray[np.void]
    step: NDArray[np.float32]
    """(steps,): how often."""
    muted_until: NDArray[np.float64]
    totals: NDArray[np.float64]
    """(TOTALS,): declared globals of the role, see TOTAL_*."""
    context_key: NDArray[np.uint64]
    """(2,): the entities behind the two highest context values."""


TOTAL_ENTITIES, TOTAL_FIRST, TOTAL_SINGLE_KINDS, TOTAL_CONTEXT, TOTAL_CONTEXT_SECOND = range(5)
TOTAL_WINDOWS, TOTAL_MINUTES, TOTAL_EVENTS, TOTAL_FAILURES, TOTAL_STEPS = range(5, 10)
TOTAL_PEER_WINDOWS: Final = 10
TOTAL_BURST: Final = TOTAL_PEER_WINDOWS + PEERS
TOTAL_FAN: Final = TOTAL_BURST + BURST_BINS
TOTALS: Final = TOTAL_FAN + FAN_BINS
"""Windows and minutes in which any entity was active, events and failures, per layer and by size."""


class Parameters(NamedTuple):
    """What ``guardian.config`` says, in the units of its names."""

    max_entities: int
    max_kinds: int
    max_pairs: int
    max_steps: int
    episode_gap_s: float
    window_s: float
    risk_half_life_s: float
    active_s: float
    context_half_life_s: float
    persistence_half_life_s: float
    hold_s: float
    floor: float
    rank_power: float
    context_share: float
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
    watches_steps: int
    """1 for the role whose order of kinds is learnt (session)."""


class Columns(NamedTuple):
    """A batch as the kernel of a role reads it; every array (n,), read-only."""

    ts: NDArray[np.float64]
    """Seconds since 1970."""
    key: NDArray[np.uint64]
    kind: NDArray[np.uint64]
    reaches: NDArray[np.uint64]
    """Whom the entity reached: the target of an actor, address or session; the address of a target. 0 = nobody."""
    meets: NDArray[np.uint64]
    """Its other partner: the address of an actor or session, the actor of an address or target."""
    value: NDArray[np.float64]
    points: NDArray[np.float64]
    judged: NDArray[np.float64]
    """The part of ``points`` that another tool's verdict gave; an acknowledgement silences it."""
    flags: NDArray[np.uint8]
    layer: NDArray[np.int8]
    rule: NDArray[np.uint64]
    """What a level that ``points`` alone give is named after: a detection rule, or else the kind."""

    def part(self, start: int, stop: int) -> Columns:
        """Some rows of it, without copying."""
        return Columns(*(column[start:stop] for column in self))  # type: ignore[arg-type]  # a field keeps its dtype


class Scratch(NamedTuple):
    """Room that a kernel works in; what it holds between calls means nothing."""

    weight: NDArray[np.float64]
    """(ACTIVE_KINDS,): what each recent kind adds."""
    order: NDArray[np.int64]
    parts: NDArray[np.float64]
    """(KIND_PARTS,): the channels of a kind."""
    lonely: NDArray[np.float64]
    """(KIND_PARTS,): the one channel of a surprise that is the entity's; all but the first stay 0."""


def new_scratch() -> Scratch:
    """Room for one kernel call at a time."""
    return Scratch(
        weight=np.zeros(ACTIVE_KINDS),
        order=np.zeros(ACTIVE_KINDS, np.int64),
        parts=np.zeros(len(KIND_PARTS)),
        lonely=np.zeros(len(KIND_PARTS)),
    )


class Scores(NamedTuple):
    """Where the kernel of a role writes."""

    place: NDArray[np.int64]
    """(n,): row of the output that belongs to a row of the batch; −1 where it names nobody."""
    surprisal: NDArray[np.float32]
    """(CHANNEL_COUNT, rows)"""
    score: NDArray[np.float64]
    level: NDArray[np.int8]
    new_entity: NDArray[np.uint8]
    """(n,): 1 where a name was not known before."""
    new_kind: NDArray[np.uint8]


class Alerts(NamedTuple):
    """Where the kernels write the rises of levels; as long as the batch, so it never runs out."""

    raised: NDArray[np.int64]
    """(1,): rises so far."""
    row: NDArray[np.int64]
    """(n,): row of the batch, or slot of the entity where a window was settled."""
    level_from: NDArray[np.int64]
    score: NDArray[np.float64]
    at: NDArray[np.float64]
    """(n,): the entity's clock, which never runs backwards; seconds since 1970."""
    kind: NDArray[np.uint64]
    """(n, PARTS): key of the kind behind each part of the explanation, 0 = none."""
    event: NDArray[np.int64]
    parts: NDArray[np.float64]
    """(n, PARTS, CHANNEL_COUNT): points; the whole sums to the score."""
    without: NDArray[np.float64]
    """(n, CHANNEL_COUNT + 1): the score that would stand without each channel, and last without the context."""
