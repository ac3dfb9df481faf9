"""The compiled loops of the engine: hashing, bounded tables, the scoring of a role, standings and explanations.

Owns the loops. Does not own allocation, validation or names: that is
``guardian.state`` and ``guardian.engine``. Arguments come in the order columns, parameters, state, out; a kernel
returns None and writes in place; inputs are read-only.

Kernels are compiled on first use, or all at once by ``compile_all``, and cached on disk (``scoring.compilation``).
"""

from __future__ import annotations

import math
from typing import Any, Final, get_type_hints

import numpy as np

from scoring.compilation import (
    F8,
    I8,
    IN_F8,
    IN_I4,
    IN_U1,
    IN_U8,
    U8,
    array,
    jit,
    kernel,
    named,
    prefetch,
    record,
    types,
)
from scoring.layout import (
    ACTIVE,
    ACTIVE_KINDS,
    AUTH_FAILURE,
    BURST,
    BURST_BINS,
    BURST_KEY,
    CHANNEL_COUNT,
    CONTEXT_PART,
    ENTITY,
    EVICTED,
    FAILED,
    FAILURE,
    FAILURE_KEY,
    FAN_BINS,
    FAN_OUT,
    FAN_OUT_KEY,
    FLOOD_SECONDS,
    HAND,
    HEAD,
    HONEYPOT,
    INJECTION,
    IS_ALERT,
    KIND,
    KIND_PARTS,
    MULTIVARIATE,
    MULTIVARIATE_KEY,
    NOVELTY,
    PAIR,
    PAIRING,
    PARTS_PER_DECADE,
    PEERS,
    PERSISTENCE,
    RARITY,
    RATE,
    REQUEST,
    RULE,
    RULE_PART,
    SEASONAL,
    SEQUENCE,
    SLOT,
    TOTAL_BURST,
    TOTAL_CONTEXT,
    TOTAL_CONTEXT_SECOND,
    TOTAL_ENTITIES,
    TOTAL_EVENTS,
    TOTAL_FAILURES,
    TOTAL_FAN,
    TOTAL_FIRST,
    TOTAL_MINUTES,
    TOTAL_PEER_WINDOWS,
    TOTAL_SINGLE_KINDS,
    TOTAL_STEPS,
    TOTAL_WINDOWS,
    USED,
    VALUE,
    WAITING,
    WITHOUT_CONTEXT,
    Alerts,
    Columns,
    Parameters,
    RoleState,
    Scores,
    Scratch,
    Table,
)

TABLE_TYPE: Final = named(Table, array(types.int32), record(SLOT), array(types.int32), array(I8))
ROLE_TYPE: Final = named(
    RoleState,
    *(TABLE_TYPE for _ in range(5)),
    record(ENTITY),
    record(ACTIVE, 2),
    record(RATE),
    array(types.uint16, 2),
    array(types.uint16, 2),
    array(F8, 2),
    array(F8, 2),
    record(KIND),
    record(PAIR),
    array(types.float32),
    array(F8),
    array(F8),
    array(U8),
)
PARAMETERS_TYPE: Final = named(
    Parameters, *(F8 if hint is float else I8 for hint in get_type_hints(Parameters).values())
)
COLUMNS_TYPE: Final = named(
    Columns,
    IN_F8,
    *(IN_U8 for _ in range(4)),
    *(IN_F8 for _ in range(3)),
    IN_U1,
    array(types.int8, readonly=True),
    IN_U8,
)
SCRATCH_TYPE: Final = named(Scratch, array(F8), array(I8), array(F8), array(F8))
SCORES_TYPE: Final = named(
    Scores,
    array(I8),
    array(types.float32, 2),
    array(F8),
    array(types.int8),
    array(types.uint8),
    array(types.uint8),
)
ALERTS_TYPE: Final = named(
    Alerts,
    *(array(I8) for _ in range(3)),
    array(F8),
    array(F8),
    array(U8, 2),
    array(I8, 2),
    array(F8, 3),
    array(F8, 2),
)


# -- hashing ---------------------------------------------------------------------------------------------------------


@jit
def _rotated(x: Any, bits: Any) -> Any:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@jit
def _sip_round(v0: Any, v1: Any, v2: Any, v3: Any) -> Any:
    v0 = v0 + v1
    v1 = _rotated(v1, 13) ^ v0
    v0 = _rotated(v0, 32)
    v2 = v2 + v3
    v3 = _rotated(v3, 16) ^ v2
    v0 = v0 + v3
    v3 = _rotated(v3, 21) ^ v0
    v2 = v2 + v1
    v1 = _rotated(v1, 17) ^ v2
    v2 = _rotated(v2, 32)
    return v0, v1, v2, v3


@kernel(IN_I4, IN_U1, U8, U8, array(U8))
def hash_strings(offsets: Any, data: Any, key0: Any, key1: Any, out: Any) -> None:
    """SipHash-1-3 of each string; 0 for the empty one, which stands for "none".

    Shapes: offsets (n + 1,) into data, as in an Arrow string array; out (n,).
    Units: none; a hash is an identity, never an order.
    Cost: about 25 ns for a name of 20 bytes.
    Source: Aumasson and Bernstein 2012, SipHash: a fast short-input PRF; 1 and 3 rounds as in CPython's own.
    Difference: the empty string gives 0, and a hash that happens to be 0 becomes 1.
    """
    for i in range(offsets.shape[0] - 1):
        start = np.int64(offsets[i])
        length = np.int64(offsets[i + 1]) - start
        if length == 0:
            out[i] = np.uint64(0)
            continue
        v0 = key0 ^ np.uint64(0x736F6D6570736575)
        v1 = key1 ^ np.uint64(0x646F72616E646F6D)
        v2 = key0 ^ np.uint64(0x6C7967656E657261)
        v3 = key1 ^ np.uint64(0x7465646279746573)
        whole = length - length % 8
        for word in range(0, whole, 8):
            m = np.uint64(0)
            for byte in range(8):
                m |= np.uint64(data[start + word + byte]) << np.uint64(8 * byte)
            v3 ^= m
            v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
            v0 ^= m
        m = np.uint64(length & 0xFF) << np.uint64(56)
        for byte in range(length - whole):
            m |= np.uint64(data[start + whole + byte]) << np.uint64(8 * byte)
        v3 ^= m
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
        v0 ^= m
        v2 ^= np.uint64(0xFF)
        for _ in range(3):
            v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
        h = v0 ^ v1 ^ v2 ^ v3
        out[i] = h if h != np.uint64(0) else np.uint64(1)


# -- bounded tables --------------------------------------------------------------------------------------------------

MOST_USES: Final = 3
TRIAL_SHARE: Final = 10
"""A full table keeps one slot in this many for keys on trial."""


@jit
def _home(key: Any, mask: Any) -> Any:
    """Where a key would like to stand: Fibonacci hashing, so that pair keys made by XOR spread too."""
    return np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask


@jit
def _position(table: Any, key: Any) -> Any:
    """Index position of ``key``, or of the free place where it would go."""
    mask = table.places.shape[0] - 1
    at = _home(key, mask)
    while table.places[at] != 0 and table.slot[table.places[at] - 1]["key"] != key:
        at = (at + 1) & mask
    return at


@jit
def _find(table: Any, key: Any) -> Any:
    """Slot of ``key`` or −1; touches nothing."""
    return np.int64(table.places[_position(table, key)]) - 1


@jit
def _forget(table: Any, key: Any) -> None:
    """Take a key out of the index, moving back those that it had pushed on (no tombstones)."""
    mask = table.places.shape[0] - 1
    hole = _position(table, key)
    at = (hole + 1) & mask
    while table.places[at] != 0:
        home = _home(table.slot[table.places[at] - 1]["key"], mask)
        if ((at - home) & mask) >= ((at - hole) & mask):
            table.places[hole] = table.places[at]
            hole = at
        at = (at + 1) & mask
    table.places[hole] = 0


@jit
def _evicted(table: Any, limit: Any) -> Any:
    """A slot to reuse: the oldest key on trial that never came again, else the first unused one under the hand."""
    meta = table.meta
    room = table.queue.shape[0]
    while True:
        if meta[WAITING] * TRIAL_SHARE > limit or meta[WAITING] == meta[USED]:
            slot = np.int64(table.queue[meta[HEAD]])
            meta[HEAD] = (meta[HEAD] + 1) % room
            meta[WAITING] -= 1
            table.slot[slot]["waiting"] = 0
            if table.slot[slot]["uses"] == 0:
                return slot
            table.slot[slot]["uses"] = 0
        else:
            slot = meta[HAND]
            meta[HAND] = (slot + 1) % meta[USED]
            if table.slot[slot]["waiting"] != 0:
                continue
            if table.slot[slot]["uses"] == 0:
                return slot
            table.slot[slot]["uses"] -= 1


@jit
def _touch(table: Any, key: Any, limit: Any) -> Any:
    """Slot of ``key``, and whether it is new there (0 known, 1 new, 2 new in the place of an evicted key).

    Whoever grows tables keeps at least one free slot below ``limit``.
    """
    at = _position(table, key)
    if table.places[at] != 0:
        slot = np.int64(table.places[at] - 1)
        if table.slot[slot]["uses"] < MOST_USES:
            table.slot[slot]["uses"] += 1
        return slot, 0
    meta = table.meta
    state = 1
    if meta[USED] < limit:
        slot = meta[USED]
        meta[USED] += 1
    else:
        slot = _evicted(table, limit)
        _forget(table, table.slot[slot]["key"])
        meta[EVICTED] += 1
        state = 2
        at = _position(table, key)
    table.slot[slot]["key"] = key
    table.slot[slot]["uses"] = 0
    table.slot[slot]["waiting"] = 1
    table.places[at] = slot + 1
    table.queue[(meta[HEAD] + meta[WAITING]) % table.queue.shape[0]] = slot
    meta[WAITING] += 1
    return slot, state


@kernel(TABLE_TYPE)
def rebuild_index(table: Any) -> None:
    """Fill the (zeroed) index of a table from its keys, after growth or restoring.

    Shapes: as in Table.
    Units: none.
    Cost: about 20 ns a key.
    Source: Knuth, The Art of Computer Programming 3, section 6.4, algorithm L.
    Difference: none.
    """
    for slot in range(table.meta[USED]):
        table.places[_position(table, table.slot[slot]["key"])] = slot + 1


# -- entity risk -----------------------------------------------------------------------------------------------------

CONTEXT_CAP: Final = 6.0
POINTS_PER_LEVEL: Final = 20.0
USUAL_OCCUPANCY: Final = 0.1
"""Share of the windows of a day in which an alert may stand before its standing counts against it."""

LEAST_BURST: Final = 16
LEAST_FAN: Final = 4
LEAST_FAILURES: Final = 3
LEAST_VALUES: Final = 20.0
LEAST_FOLLOWED: Final = 50.0
PRIOR_WINDOWS: Final = 10.0
"""How many windows of everybody an entity's own history is mixed with."""

PRIOR_PEERS: Final = 50.0
PRIOR_STEPS: Final = 2.0
ORDINARY: Final = 1.0
"""Decades that an ordinary value or partner reaches; what exceeds them is added to the surprisal of its kind."""

MOST_SURPRISAL: Final = 6.0
LEAST_SPREAD: Final = 0.05
LN10: Final = math.log(10.0)
LOG10_E: Final = 1.0 / LN10


@jit
def _decades(rate: Any) -> Any:
    """log10, by the natural logarithm: 7 ns where log10 takes 23."""
    return math.log(rate) * LOG10_E


@jit
def _decayed(value: Any, seconds: Any, half_life: Any) -> Any:
    return value * 2.0 ** (-max(seconds, 0.0) / half_life)


@jit
def _interpolated(x: Any, xs: Any, ys: Any) -> Any:
    """Straight lines between knots, flat before the first, the last slope continued after the last; in 0…100."""
    last = xs.shape[0] - 1
    if x <= xs[0]:
        return min(max(ys[0], 0.0), 100.0)
    at = 1
    while at < last and x > xs[at]:
        at += 1
    slope = (ys[at] - ys[at - 1]) / (xs[at] - xs[at - 1])
    return min(max(ys[at - 1] + slope * (x - xs[at - 1]), 0.0), 100.0)


@jit
def _level(score: Any) -> Any:
    return min(max(int(score / POINTS_PER_LEVEL), 0), 4)


@jit
def _standing(entity: Any, at: Any, half_life: Any, hold: Any) -> Any:
    """Score and level of an entity at a later time: the score decays, the level waits ``hold`` before it falls.

    The moment at which the decaying score left the band of the level is known in closed form, so no event is needed
    for a level to fall, and looking twice changes nothing.
    """
    if entity["held"] <= 0.0:
        return 0.0, 0
    score = _decayed(entity["held"], at - entity["held_at"], half_life)
    level = int(entity["level"])
    if level > 0 and _level(score) < level:
        edge = POINTS_PER_LEVEL * level
        left = entity["held_at"]
        if entity["held"] > edge:
            left += half_life * math.log2(entity["held"] / edge)
        if at - left >= hold:
            level = _level(score)
    return score, level


@jit
def _channel(key: Any, part: Any) -> Any:
    """The channel of one part of an active kind."""
    if key == np.uint64(BURST_KEY):
        return BURST
    if key == np.uint64(FAILURE_KEY):
        return FAILURE
    if key == np.uint64(FAN_OUT_KEY):
        return FAN_OUT
    if key == np.uint64(MULTIVARIATE_KEY):
        return MULTIVARIATE
    return KIND_PARTS[part]


@jit
def _left(source: Any, skipped: Any) -> Any:
    """Surprisal of an active kind without one channel (−1 = with all)."""
    left = np.float64(source["value"])
    if skipped >= 0:
        for part in range(len(KIND_PARTS)):
            if _channel(source["kind"], part) == skipped:
                left -= source["parts"][part] / PARTS_PER_DECADE
    return max(left, 0.0)


@jit
def _ranked(active: Any, count: Any, at: Any, skipped: Any, parameters: Any, weight: Any, order: Any) -> Any:
    """Risk of the recent kinds of one entity: their excess over the floor, strongest first, the j-th divided by j^power.

    Kinds that came within one second of a stronger one are the same happening told twice and count once. ``order``
    receives the kinds that count, ``weight`` what each adds; returns how many, the sum, and the highest surprisal.
    """
    found = 0
    top = 0.0
    for j in range(count):
        if at - active[j]["last"] > parameters.active_s:
            continue
        surprisal = _left(active[j], skipped)
        if surprisal <= parameters.floor:
            continue
        top = max(top, surprisal)
        excess = (
            _decayed(
                surprisal,
                at - active[j]["last"] + np.float64(active[j]["since"]),
                parameters.risk_half_life_s,
            )
            - parameters.floor
        )
        if excess <= 0.0:
            continue
        place = found
        while place > 0 and weight[place - 1] < excess:
            weight[place] = weight[place - 1]
            order[place] = order[place - 1]
            place -= 1
        weight[place] = excess
        order[place] = j
        found += 1
    kept = 0
    total = 0.0
    for j in range(found):
        told = False
        for m in range(kept):
            if abs(active[order[j]]["last"] - active[order[m]]["last"]) <= 1.0:
                told = True
                break
        if told:
            continue
        weight[kept] = weight[j]
        if kept > 0:
            weight[kept] /= (kept + 1.0) ** parameters.rank_power
        order[kept] = order[j]
        total += weight[kept]
        kept += 1
    return kept, total, top


@jit
def _share(
    active: Any, kept: Any, weight: Any, order: Any, points: Any, kind: Any, event: Any, out: Any
) -> None:
    """Share ``points`` among the kinds that count, and within each among the channels of its surprisal."""
    total = 0.0
    for j in range(kept):
        total += weight[j]
    for j in range(kept):
        source = active[order[j]]
        whole = 0.0
        for part in range(len(KIND_PARTS)):
            whole += source["parts"][part]
        share = points * weight[j] / total / whole
        for part in range(len(KIND_PARTS)):
            out[j, _channel(source["kind"], part)] += source["parts"][part] * share
        kind[j] = source["kind"]
        event[j] = source["event"]


@jit
def _gate(surprisal: Any, floor: Any) -> Any:
    return min(max(surprisal - floor, 0.0), 1.0)


@jit
def _counterfactuals(
    active: Any, count: Any, at: Any, own: Any, top: Any, around: Any, behaved: Any, ruled: Any,
    parameters: Any, risk_knots: Any, score_knots: Any, weight: Any, order: Any, out: Any,
) -> None:  # fmt: skip
    """The score that would stand without each channel, and without the context.

    ``behaved`` is the score that behaviour gave with everything; the risk behind it is scaled as the risk of the recent
    kinds changes when a channel is taken out of them.
    """
    whole = _gate(top, parameters.floor) * (own + around)
    risk = _inverse(behaved, risk_knots, score_knots)
    for channel in range(CHANNEL_COUNT):
        if channel == RULE:
            out[channel] = behaved
            continue
        left = behaved
        if whole > 0.0:
            _kept, own_left, top_left = _ranked(active, count, at, channel, parameters, weight, order)
            if own_left != own or top_left != top:
                share = _gate(top_left, parameters.floor) * (own_left + around) / whole
                left = min(_interpolated(risk * min(share, 1.0), risk_knots, score_knots), behaved)
        out[channel] = max(left, ruled)
    left = behaved
    if whole > 0.0 and around > 0.0:
        left = min(_interpolated(risk * own / (own + around), risk_knots, score_knots), behaved)
    out[WITHOUT_CONTEXT] = max(left, ruled)


@jit
def _inverse(score: Any, xs: Any, ys: Any) -> Any:
    """The risk behind a score: ``_interpolated`` read backwards."""
    last = xs.shape[0] - 1
    if score <= ys[0]:
        return xs[0]
    at = 1
    while at < last and score > ys[at]:
        at += 1
    return xs[at - 1] + (score - ys[at - 1]) * (xs[at] - xs[at - 1]) / (ys[at] - ys[at - 1])


@jit
def _remember(
    active: Any, count: Any, kind: Any, event: Any, at: Any, parameters: Any, value: Any, parts: Any
) -> Any:
    """Keep a kind among the recent ones of its entity; the weakest gives way. Its strongest moment is what counts.

    Returns how many kinds there are now.
    """
    place = -1
    weakest = np.inf
    for j in range(count):
        if active[j]["kind"] == kind:
            place = j
            break
        strength = -1.0
        if at - active[j]["last"] <= parameters.active_s:
            strength = _decayed(
                np.float64(active[j]["value"]),
                at - active[j]["last"] + np.float64(active[j]["since"]),
                parameters.risk_half_life_s,
            )
        if strength < weakest:
            weakest = strength
            place = j
    if place < 0 or active[place]["kind"] != kind:
        if value <= parameters.floor:
            return count  # adds nothing now; it is remembered when it does
        if count < ACTIVE_KINDS:
            place = count
            count += 1
        elif weakest > value:
            return count
        active[place]["kind"] = kind
        active[place]["value"] = np.float32(0.0)
        active[place]["since"] = np.float32(0.0)
        active[place]["last"] = at
    chosen = active[place]
    since = at - chosen["last"] + np.float64(chosen["since"])
    if value >= _decayed(np.float64(chosen["value"]), since, parameters.risk_half_life_s):
        chosen["event"] = event
        chosen["value"] = value
        for part in range(len(KIND_PARTS)):
            chosen["parts"][part] = np.int16(round(parts[part] * PARTS_PER_DECADE))
        since = 0.0
    chosen["since"] = since
    chosen["last"] = at
    return count


@jit
def _nth_within(ring: Any, at: Any, count: Any, window: Any) -> Any:
    """Push a time; whether the last ``count`` pushed ones lie within ``window`` seconds. Newest first."""
    for j in range(ring.shape[0] - 1, 0, -1):
        ring[j] = ring[j - 1]
    ring[0] = at
    return at - ring[count - 1] <= window


@jit
def _in_last_minute(ring: Any, second: Any, before: Any, total: Any, add: Any) -> Any:
    """Count of the last 60 whole seconds, kept as one bucket a second; ``before`` is the second counted last."""
    passed = second - before
    if passed >= FLOOD_SECONDS:
        ring[:] = 0
        total = np.int64(0)
    else:
        for step in range(1, passed + 1):
            at = (before + step) % FLOOD_SECONDS
            total -= np.int64(ring[at])
            ring[at] = 0
    if add > 0 and ring[second % FLOOD_SECONDS] < 65535:
        ring[second % FLOOD_SECONDS] += 1
        total += 1
    return total


@jit
def _rule_level(points: Any) -> Any:
    """TAMV's sentinel: the sum of rule scores to a level."""
    if points >= 50.0:
        return 4
    if points >= 30.0:
        return 3
    if points >= 15.0:
        return 2
    return 1 if points > 0.0 else 0


@jit
def _power(count: Any, most: Any) -> Any:
    """The power of two that a count reaches, at most ``most``."""
    power = 0
    while count > 1 and power < most:
        count //= 2
        power += 1
    return power


@jit
def _ones(bits: Any) -> Any:
    """How many bits are set."""
    count = 0
    while bits != np.uint64(0):
        bits &= bits - np.uint64(1)
        count += 1
    return count


@jit
def _distinct(bitmap: Any) -> Any:
    """How many different things set the bits of a 64-bit map (Whang et al. 1990, linear counting)."""
    ones = _ones(bitmap)
    if ones >= 64:
        return 266  # 64 · ln 64
    return np.int64(round(-64.0 * math.log(1.0 - ones / 64.0)))


@jit
def _rarer(past: Any, size: Any, bins: Any, times: Any, totals: Any, first: Any, all_times: Any) -> Any:
    """Decades of how seldom an entity, mixed with everybody, reached a size: −log10 of the share of its times."""
    own = everybody = 0.0
    for each in range(size, bins):
        own += np.float64(past[each])
        everybody += totals[first + each]
    usual = (everybody + 0.5) / (all_times + PRIOR_WINDOWS)
    return min(max(-_decades((own + PRIOR_WINDOWS * usual) / (times + PRIOR_WINDOWS)), 0.0), MOST_SURPRISAL)


@jit
def _met(partners: Any, partner: Any) -> Any:
    """Whether a partner was met before, as far as a Bloom filter of 128 bits can tell; from now on it was."""
    first = partner & np.uint64(127)
    second = (partner >> np.uint64(7)) & np.uint64(127)
    known = True
    for bit in (first, second):
        word = np.int64(bit >> np.uint64(6))
        mask = np.uint64(1) << (bit & np.uint64(63))
        if partners[word] & mask == np.uint64(0):
            known = False
            partners[word] |= mask
    return known


@jit
def _spread(state: Any, key: Any, value: Any) -> None:
    """Keep the two highest context values of different entities, in logarithmic forward-decayed units."""
    totals = state.totals
    if state.context_key[0] == key:
        totals[TOTAL_CONTEXT] = max(totals[TOTAL_CONTEXT], value)
    elif value > totals[TOTAL_CONTEXT]:
        totals[TOTAL_CONTEXT_SECOND] = totals[TOTAL_CONTEXT]
        state.context_key[1] = state.context_key[0]
        totals[TOTAL_CONTEXT] = value
        state.context_key[0] = key
    elif state.context_key[1] == key:
        totals[TOTAL_CONTEXT_SECOND] = max(totals[TOTAL_CONTEXT_SECOND], value)
    elif value > totals[TOTAL_CONTEXT_SECOND]:
        totals[TOTAL_CONTEXT_SECOND] = value
        state.context_key[1] = key


@jit
def _around(state: Any, key: Any, at: Any, parameters: Any) -> Any:
    """What the riskiest other entity adds: the incident that spreads.

    The highest of n risks grows by log10(n) decades without any incident (Bonferroni), so that much is taken off.
    """
    totals = state.totals
    other = totals[TOTAL_CONTEXT] if state.context_key[0] != key else totals[TOTAL_CONTEXT_SECOND]
    if other == -np.inf:
        return 0.0
    risk = 2.0 ** min(other - at / parameters.context_half_life_s, 10.0)
    excess = risk - _decades(max(totals[TOTAL_ENTITIES], 1.0))
    return min(CONTEXT_CAP, parameters.context_share * max(excess, 0.0))


@jit
def _reset_entity(state: Any, slot: Any, at: Any, parameters: Any) -> None:
    entity = state.entity[slot]
    entity["first"] = at
    entity["last"] = at
    entity["held"] = 0.0
    entity["held_at"] = at
    entity["held_rule"] = 0.0
    entity["held_context"] = 0.0
    entity["held_around"] = 0.0
    entity["events"] = 0
    entity["window"] = np.int32(-(2**31))
    entity["last_event"] = -1
    entity["minute"] = np.int32(-(2**31))
    entity["rule_kind"] = 0
    entity["rule_event"] = -1
    entity["before"] = 0
    entity["reached"] = 0
    for each in range(2):
        entity["partners"][each, 0] = 0
        entity["partners"][each, 1] = 0
        entity["met"][each] = 0.0
    entity["minute_events"] = 0
    entity["window_events"] = 0
    entity["window_failures"] = 0
    entity["busiest"] = 0
    entity["windows"] = 0.0
    entity["minutes"] = 0.0
    entity["past_events"] = 0.0
    entity["past_failures"] = 0.0
    entity["gate"] = 0.0
    for each in range(BURST_BINS):
        entity["burst"][each] = 0.0
    for each in range(FAN_BINS):
        entity["fan"][each] = 0.0
    entity["level"] = 0
    entity["layer"] = -1
    entity["active"] = 0
    if parameters.watches_logins:
        state.failures[slot, :] = -np.inf
    if parameters.watches_requests:
        state.rate[slot]["second"] = np.int64(math.floor(at))
        state.rate[slot]["events"] = 0
        state.rate[slot]["requests"] = 0
        state.seconds[slot, :] = 0
        state.requests[slot, :] = 0
        state.injections[slot, :] = -np.inf


@jit
def _open_window(entity: Any, window: Any, peer: Any, parameters: Any, totals: Any) -> None:
    """The entity's first event in a window: put the one before into its history."""
    if entity["windows"] > 0.0:
        passed = (window - entity["window"]) * parameters.window_s
        fade = 2.0 ** (-passed / parameters.persistence_half_life_s)
        entity["past_events"] = (np.float64(entity["past_events"]) + entity["window_events"]) * fade
        entity["past_failures"] = (np.float64(entity["past_failures"]) + entity["window_failures"]) * fade
        distinct = _distinct(entity["reached"])
        if distinct >= LEAST_FAN:
            size = _power(distinct // LEAST_FAN, FAN_BINS - 1)
            entity["fan"][size] += np.float32(1.0)
            totals[TOTAL_FAN + size] += 1.0
    entity["window"] = window
    entity["windows"] += np.float32(1.0)
    entity["window_events"] = 0
    entity["window_failures"] = 0
    entity["busiest"] = 0
    entity["reached"] = 0
    entity["gate"] = 0.0
    totals[TOTAL_WINDOWS] += 1.0
    totals[TOTAL_PEER_WINDOWS + peer] += 1.0


@jit
def _open_minute(entity: Any, minute: Any, totals: Any) -> None:
    if entity["minute_events"] >= LEAST_BURST:
        size = _power(np.int64(entity["minute_events"]) // LEAST_BURST, BURST_BINS - 1)
        entity["burst"][size] += np.float32(1.0)
        totals[TOTAL_BURST + size] += 1.0
    entity["minute"] = minute
    entity["minute_events"] = 0
    entity["minutes"] += np.float32(1.0)
    totals[TOTAL_MINUTES] += 1.0


@jit
def _value_surprise(pair: Any, value: Any) -> Any:
    """Decades of how far a value lies from those of its kind at its entity, on a logarithmic scale; then learnt.

    A Laplace tail: with mean absolute deviation b, P(|x − mean| > t) = exp(−t / b). Steps of learning are clipped at four
    deviations, so that one value cannot move the scale by more.
    """
    x = _decades(max(abs(value), 1e-12))
    known = np.float64(pair["values"])
    if known == 0.0:
        pair["value_mean"] = x
        pair["value_spread"] = 0.0
        pair["values"] = 1.0
        return 0.0
    spread = max(np.float64(pair["value_spread"]), LEAST_SPREAD)
    away: Any = x - np.float64(pair["value_mean"])
    surprise = 0.0
    if known >= LEAST_VALUES:
        surprise = min(max(abs(away) / spread / LN10 - ORDINARY, 0.0), MOST_SURPRISAL)
        away = min(max(away, -4.0 * spread), 4.0 * spread)
    rate = max(1.0 / (known + 1.0), 0.01)
    pair["value_mean"] = np.float64(pair["value_mean"]) + rate * away
    pair["value_spread"] = np.float64(pair["value_spread"]) + rate * (
        abs(away) - np.float64(pair["value_spread"])
    )
    if known < 1000.0:
        pair["values"] = known + 1.0
    return surprise


@jit
def _rise(
    entity: Any, active: Any, at: Any, own: Any, top: Any, around: Any, context: Any, scored: Any, behaved: Any,
    ruled: Any, row: Any, stands: Any, parameters: Any, risk_knots: Any, score_knots: Any,
    weight: Any, order: Any, kept: Any, alerts: Any,
) -> None:  # fmt: skip
    """Write the rise of a level, and why."""
    each = alerts.raised[0]
    alerts.raised[0] += 1
    alerts.row[each] = row
    alerts.level_from[each] = stands
    alerts.score[each] = scored
    alerts.at[each] = at
    alerts.parts[each, :, :] = 0.0
    alerts.kind[each, :] = 0
    alerts.event[each, :] = -1
    _share(
        active,
        kept,
        weight,
        order,
        behaved - context,
        alerts.kind[each],
        alerts.event[each],
        alerts.parts[each],
    )
    alerts.parts[each, CONTEXT_PART, 0] = context
    alerts.parts[each, RULE_PART, RULE] = scored - behaved
    if scored > behaved:
        alerts.kind[each, RULE_PART] = entity["rule_kind"]
        alerts.event[each, RULE_PART] = entity["rule_event"]
    _counterfactuals(
        active, np.int64(entity["active"]), at, own, top, around, behaved, ruled,
        parameters, risk_knots, score_knots, weight, order, alerts.without[each],
    )  # fmt: skip


@kernel(
    COLUMNS_TYPE, I8, PARAMETERS_TYPE, IN_F8, IN_F8, ROLE_TYPE, SCRATCH_TYPE, SCORES_TYPE, ALERTS_TYPE
)  # fmt: skip
def score_role(
    columns: Any, first_event: Any, parameters: Any, risk_knots: Any, score_knots: Any,
    state: Any, scratch: Any, out: Any, alerts: Any,
) -> None:  # fmt: skip
    """Score the events of one role in order, learning from each: what they say about an entity, and its level.

    Shapes: as in Columns, Scores and Alerts. ``first_event`` is the running number of row 0.
    Units: ts in seconds since 1970; surprisal in decades (−log10 of a rate); score in points, 0…100.
    Cost: about 0.5 µs an event and role on one core while the state fits the caches.
    Source: rates by Laplace and Good–Turing smoothing (Good 1953), failures by Chernoff's bound for a binomial count,
    values by a Laplace tail; rules and their levels are TAMV's sentinel; the composition (episodes, excess over a floor,
    rank-discounted sum, context of other entities) is ours.
    Difference: an entity's clock never runs backwards, so a late event is scored as if it came now; key 0 is nobody.
    """
    weight, order, parts, lonely = scratch
    totals = state.totals
    rows = columns.ts.shape[0]
    for i in range(rows):
        _look_ahead(columns, i, rows, state)
        key = columns.key[i]
        if key == 0:
            continue
        kind_key = columns.kind[i]
        flags = columns.flags[i]
        is_alert = (flags & IS_ALERT) != 0
        running = first_event + i
        place = out.place[i]
        peer: Any = np.int64(columns.layer[i])
        if peer < 0 or peer >= PEERS - 1:
            peer = PEERS - 1

        slot, fresh = _touch(state.entities, key, parameters.max_entities)
        entity = state.entity[slot]
        active = state.active[slot]
        if fresh != 0:
            if fresh == 2:
                totals[TOTAL_ENTITIES] -= 1.0
                totals[TOTAL_FIRST] -= entity["first"]
            _reset_entity(state, slot, columns.ts[i], parameters)
            totals[TOTAL_ENTITIES] += 1.0
            totals[TOTAL_FIRST] += columns.ts[i]
            out.new_entity[i] = 1
        now = max(columns.ts[i], entity["last"])

        kind, fresh = _touch(state.kinds, kind_key, parameters.max_kinds)
        common = state.kind[kind]
        if fresh != 0:
            if common["onsets"] == 1.0:
                totals[TOTAL_SINGLE_KINDS] -= 1.0
            common["onsets"] = 0.0
            common["followed"] = 0.0
            for each in range(PEERS):
                common["peers"][each] = 0.0
            out.new_kind[i] = 1
        pair_key = _pair_key(key, kind_key)
        at, fresh = _touch(state.pairs, pair_key, parameters.max_pairs)
        pair = state.pair[at]
        window = np.int64(math.floor(now / parameters.window_s))
        if fresh != 0:
            pair["last"] = -np.inf
            pair["window"] = window
            pair["onsets"] = 0.0
            pair["occupied"] = 0.0
            pair["values"] = 0.0
            for each in range(24):
                pair["hours"][each] = 0
        muted = False
        if state.muted.meta[USED] > 0:
            quiet = _find(state.muted, pair_key)
            muted = quiet >= 0 and now < state.muted_until[quiet]

        if window != entity["window"]:
            _open_window(entity, window, peer, parameters, totals)
        minute = np.int64(math.floor(now / 60.0))
        if minute != entity["minute"]:
            _open_minute(entity, minute, totals)
        entity["minute_events"] += 1
        entity["window_events"] += 1
        entity["busiest"] = _busiest(entity, is_alert, muted)
        totals[TOTAL_EVENTS] += 1.0
        failed = (flags & FAILED) != 0 and not is_alert
        if failed:
            entity["window_failures"] += 1
            totals[TOTAL_FAILURES] += 1.0
        lived = math.floor((now - entity["first"]) / parameters.window_s) + 1.0

        # How rare this is for the entity, and for everybody. An alert of another tool is an event in itself, so its
        # episodes are counted over all windows that passed; telemetry over those in which there was any.
        onsets = np.float64(pair["onsets"])
        seen = common["onsets"]
        if seen == 0.0:
            seen = totals[TOTAL_SINGLE_KINDS] + 1.0  # Good–Turing: the mass of kinds never seen
        if is_alert:
            novelty = -0.5 * _decades((onsets + 0.5) / (lived + PRIOR_WINDOWS))
            everybody = (totals[TOTAL_ENTITIES] * now - totals[TOTAL_FIRST]) / parameters.window_s + totals[
                TOTAL_ENTITIES
            ]
            rarity = -0.5 * _decades(seen / max(1.0, everybody))
        else:
            novelty = -0.5 * _decades((onsets + 0.5) / (np.float64(entity["windows"]) + PRIOR_WINDOWS))
            usual = min(seen / max(1.0, totals[TOTAL_WINDOWS]), 1.0)
            among = totals[TOTAL_PEER_WINDOWS + peer] + PRIOR_PEERS
            rarity = -0.5 * _decades((np.float64(common["peers"][peer]) + PRIOR_PEERS * usual) / among)
        novelty = max(novelty, 0.0)
        rarity = max(rarity, 0.0)

        # The hour of the day, once there is something to compare with; a usual hour speaks for the event.
        hour = np.int64(math.floor(now / 3600.0)) % 24
        seasonal = 0.0
        if onsets >= 2.0:
            near = (
                np.float64(pair["hours"][hour])
                + 0.5 * np.float64(pair["hours"][(hour + 23) % 24])
                + 0.5 * np.float64(pair["hours"][(hour + 1) % 24])
            )
            seasonal = -_decades((near + 1.0) / (onsets / 12.0 + 1.0))

        # An alert of another tool that hardly ever stops is worse than one that comes and goes.
        passed = window - pair["window"]
        if passed > 0:
            pair["occupied"] = _decayed(
                np.float64(pair["occupied"]), passed * parameters.window_s, parameters.persistence_half_life_s
            )
        persistence = 0.0
        if is_alert:
            half_life = parameters.persistence_half_life_s
            elapsed = (
                (1.0 - 2.0 ** (-(now - entity["first"]) / half_life))
                * half_life
                / (math.log(2.0) * parameters.window_s)
            )
            share = min(np.float64(pair["occupied"]) / (elapsed + 12.0), 0.999)
            if share > USUAL_OCCUPANCY:
                persistence = _decades(share / (1.0 - share) * (1.0 - USUAL_OCCUPANCY) / USUAL_OCCUPANCY)

        # The size of what happened, who took part, and what came before it in the session.
        valued = 0.0
        if math.isfinite(columns.value[i]):
            valued = _value_surprise(pair, columns.value[i])
        pairing = 0.0
        if not is_alert:
            for which in range(2):
                partner = columns.reaches[i] if which == 0 else columns.meets[i]
                if partner != 0 and not _met(entity["partners"][which], partner):
                    rate = (np.float64(entity["met"][which]) + 1.0) / (np.float64(entity["windows"]) + 2.0)
                    pairing = max(pairing, -_decades(min(rate, 1.0)) - ORDINARY)
                    entity["met"][which] += np.float32(1.0)
        sequence = 0.0
        if parameters.watches_steps:
            sequence = _step_surprise(state, entity, kind_key, kind, parameters)

        # What a whole entity does: more events than usual, more failures, more targets. Not for alerts of other tools:
        # many of them are one happening told many times (burst cost .05 of average precision on three of three attack
        # scenarios).
        burst = 0.0
        failure = 0.0
        fan_out = 0.0
        if not is_alert:
            if entity["minute_events"] >= LEAST_BURST:
                size = _power(np.int64(entity["minute_events"]) // LEAST_BURST, BURST_BINS - 1)
                burst = _rarer(
                    entity["burst"], size, BURST_BINS, np.float64(entity["minutes"]),
                    totals, TOTAL_BURST, totals[TOTAL_MINUTES],
                )  # fmt: skip
            if failed and entity["window_failures"] >= LEAST_FAILURES:
                failure = _failure_surprise(entity, totals)
            reached = columns.reaches[i]
            if reached != 0:
                entity["reached"] |= np.uint64(1) << ((reached >> np.uint64(14)) & np.uint64(63))
                distinct = _distinct(entity["reached"])
                if distinct >= LEAST_FAN:
                    size = _power(distinct // LEAST_FAN, FAN_BINS - 1)
                    fan_out = _rarer(
                        entity["fan"], size, FAN_BINS, np.float64(entity["windows"]),
                        totals, TOTAL_FAN, totals[TOTAL_WINDOWS],
                    )  # fmt: skip

        # Rules: TAMV's scores and correlations.
        pointed = columns.points[i]
        if not muted:
            pointed = max(pointed, columns.judged[i])
        rule = 0
        if parameters.watches_logins and flags & AUTH_FAILURE:
            ring = state.failures[slot]
            if _nth_within(ring, now, parameters.auth_failures, parameters.auth_window_s):
                rule = 3
        if parameters.watches_requests:
            second = np.int64(math.floor(now))
            rate_of = state.rate[slot]
            rate_of["events"] = _in_last_minute(
                state.seconds[slot], second, rate_of["second"], np.int64(rate_of["events"]), 1
            )
            asked = 1 if flags & REQUEST else 0
            rate_of["requests"] = _in_last_minute(
                state.requests[slot], second, rate_of["second"], np.int64(rate_of["requests"]), asked
            )
            rate_of["second"] = second
            if asked == 1 and rate_of["requests"] > parameters.rate_per_minute:
                pointed += 20.0
            if rate_of["events"] > parameters.flood_events:
                rule = 4
            if flags & INJECTION:
                ring = state.injections[slot]
                if _nth_within(ring, now, parameters.injections, parameters.injection_window_s):
                    rule = 4
        if flags & HONEYPOT:
            rule = max(rule, 3)
        rule = max(rule, _rule_level(pointed))
        ruled = POINTS_PER_LEVEL * rule

        # The entity's risk: its recent kinds together, and what goes on around it.
        surprisal = novelty + rarity + persistence + seasonal + valued + sequence + pairing
        behaved = 0.0
        context = 0.0
        own = 0.0
        around = 0.0
        top = 0.0
        kept = 0
        if not muted:
            parts[0] = novelty
            parts[1] = rarity
            parts[2] = persistence
            parts[3] = seasonal
            parts[4] = valued
            parts[5] = sequence
            parts[6] = pairing
            count = np.int64(entity["active"])
            count = _remember(active, count, kind_key, running, now, parameters, surprisal, parts)
            if burst > parameters.floor:
                lonely[0] = burst
                count = _remember(
                    active, count, np.uint64(BURST_KEY), running, now, parameters, burst, lonely
                )
            if failure > parameters.floor:
                lonely[0] = failure
                count = _remember(
                    active, count, np.uint64(FAILURE_KEY), running, now, parameters, failure, lonely
                )
            if fan_out > parameters.floor:
                lonely[0] = fan_out
                count = _remember(
                    active, count, np.uint64(FAN_OUT_KEY), running, now, parameters, fan_out, lonely
                )
            entity["active"] = count
            gate = _gate(max(surprisal, burst, failure, fan_out), parameters.floor)
            if count > 0:
                kept, own, top = _ranked(active, count, now, -1, parameters, weight, order)
                if gate > 0.0:
                    around = _around(state, key, now, parameters)
                    behaved = _interpolated(gate * (own + around), risk_knots, score_knots)
                    context = behaved * around / (own + around) if own + around > 0.0 else 0.0
                if own > 0.0:
                    _spread(state, key, math.log2(own) + now / parameters.context_half_life_s)
            entity["gate"] = max(np.float64(entity["gate"]), gate)
        scored = max(behaved, ruled)

        out.surprisal[NOVELTY, place] = novelty
        out.surprisal[RARITY, place] = rarity
        out.surprisal[BURST, place] = burst
        out.surprisal[PERSISTENCE, place] = persistence
        out.surprisal[SEASONAL, place] = seasonal
        out.surprisal[RULE, place] = rule
        out.surprisal[FAILURE, place] = failure
        out.surprisal[FAN_OUT, place] = fan_out
        out.surprisal[VALUE, place] = valued
        out.surprisal[SEQUENCE, place] = sequence
        out.surprisal[PAIRING, place] = pairing
        out.score[place] = scored

        # Its level: up at once, down only after the hold time.
        reached_level = _level(scored)
        held, stands = _standing(entity, now, parameters.risk_half_life_s, parameters.hold_s)
        if scored >= held:
            entity["held"] = scored
            entity["held_at"] = now
            entity["held_rule"] = scored - behaved
            entity["held_context"] = context
            entity["held_around"] = around
            if scored > behaved:
                by_rule = _rule_level(columns.points[i]) == rule
                entity["rule_kind"] = columns.rule[i] if by_rule else kind_key
                entity["rule_event"] = running
        elif stands != entity["level"]:
            _sink(entity, held, now)
        entity["level"] = max(reached_level, stands)
        out.level[place] = entity["level"]
        entity["last"] = now
        entity["last_event"] = running
        entity["events"] += 1
        if columns.layer[i] >= 0:  # an event that states no layer does not take its entity out of one
            entity["layer"] = columns.layer[i]
        if reached_level > stands:
            _rise(
                entity, active, now, own, top, around, context, scored, behaved, ruled, i, stands,
                parameters, risk_knots, score_knots, weight, order, kept, alerts,
            )  # fmt: skip

        # Learn.
        if fresh != 0 or now - pair["last"] > parameters.episode_gap_s or (passed > 0 and not is_alert):
            pair["onsets"] += np.float32(1.0)
            common["onsets"] += 1.0
            common["peers"][peer] += np.float32(1.0)
            if common["onsets"] == 1.0:
                totals[TOTAL_SINGLE_KINDS] += 1.0
            elif common["onsets"] == 2.0:
                totals[TOTAL_SINGLE_KINDS] -= 1.0
            if pair["hours"][hour] == 255:
                for each in range(24):
                    pair["hours"][each] //= 2
            pair["hours"][hour] += 1
        if fresh != 0 or passed > 0:
            pair["occupied"] += np.float32(1.0)
            pair["window"] = window
        pair["last"] = now


@jit
def _pair_key(key: Any, kind: Any) -> Any:
    return key ^ (_rotated(kind, 32) * np.uint64(0x9E3779B97F4A7C15))


AHEAD_INDEX: Final = 24
AHEAD_ROWS: Final = 8
"""How many events ahead the index, the key and the rows are asked for; measured, the figures are not sharp."""

ENTITY_LINES: Final = ENTITY.itemsize // 64


@jit
def _likely(table: Any, key: Any) -> Any:
    """The slot that a key most likely has: the first place of its probe, unchecked."""
    return np.int64(table.places[_home(key, table.places.shape[0] - 1)]) - 1


@jit
def _look_ahead(columns: Any, i: Any, rows: Any, state: Any) -> None:
    """Ask memory for what the events after this one will touch, while this one is worked on."""
    if i + AHEAD_INDEX < rows and columns.key[i + AHEAD_INDEX] != 0:
        key = columns.key[i + AHEAD_INDEX]
        pair = _pair_key(key, columns.kind[i + AHEAD_INDEX])
        prefetch(state.entities.places, _home(key, state.entities.places.shape[0] - 1), 0)
        prefetch(state.pairs.places, _home(pair, state.pairs.places.shape[0] - 1), 0)
    if i + AHEAD_ROWS < rows and columns.key[i + AHEAD_ROWS] != 0:
        key = columns.key[i + AHEAD_ROWS]
        slot = _likely(state.entities, key)
        if slot >= 0:
            prefetch(state.entities.slot, slot, 0)
            for line in range(ENTITY_LINES):
                prefetch(state.entity, slot, line)
            prefetch(state.active, slot, 0)
        slot = _likely(state.pairs, _pair_key(key, columns.kind[i + AHEAD_ROWS]))
        if slot >= 0:
            prefetch(state.pairs.slot, slot, 0)
            prefetch(state.pair, slot, 0)


@jit
def _busiest(entity: Any, is_alert: Any, muted: Any) -> Any:
    """What ``busiest`` becomes by one more event of the minute that is open."""
    if is_alert or entity["busiest"] < 0:
        return entity["busiest"]
    return np.int32(-1) if muted else max(entity["busiest"], entity["minute_events"])


@jit
def _failure_surprise(entity: Any, totals: Any) -> Any:
    """Decades of how unlikely so many failures in this window are at the entity's own rate, mixed with everybody's.

    Chernoff's bound for a binomial count, halved: failures come in runs, so they are not independent.
    """
    usual = (totals[TOTAL_FAILURES] + 1.0) / (totals[TOTAL_EVENTS] + 20.0)
    expected = (np.float64(entity["past_failures"]) + PRIOR_WINDOWS * usual) / (
        np.float64(entity["past_events"]) + PRIOR_WINDOWS
    )
    count = np.float64(entity["window_events"])
    share = np.float64(entity["window_failures"]) / count
    if share <= expected:
        return 0.0
    bound = share * _decades(share / expected)
    if share < 1.0:
        bound += (1.0 - share) * _decades((1.0 - share) / (1.0 - expected))
    return min(0.5 * count * bound, MOST_SURPRISAL)


@jit
def _step_surprise(state: Any, entity: Any, kind_key: Any, kind: Any, parameters: Any) -> Any:
    """Decades of how much seldomer this kind follows the one before it in a session than it comes at all; then learnt.

    A bigram rate with back-off to the rate of the kind itself (Jelinek and Mercer 1980), compared with that rate: how
    rare the kind is, rarity says already. Never more than a Poisson count so far below its expectation allows.
    """
    before = entity["before"]
    entity["before"] = kind_key
    if before == 0:
        return 0.0
    earlier = _find(state.kinds, before)
    if earlier < 0:
        return 0.0
    totals = state.totals
    step, fresh = _touch(state.steps, _pair_key(before, kind_key), parameters.max_steps)
    if fresh != 0:
        state.step[step] = 0.0
    count = np.float64(state.step[step])
    followed = state.kind[earlier]["followed"]
    surprise = 0.0
    if followed >= LEAST_FOLLOWED:
        usual = min((state.kind[kind]["followed"] + 0.5) / (totals[TOTAL_STEPS] + 1.0), 1.0)
        expected = followed * usual
        if count + 1.0 < expected:
            rate = (count + PRIOR_STEPS * usual) / (followed + PRIOR_STEPS)
            below = expected - count
            if count > 0.0:
                below += count * math.log(count / expected)
            surprise = min(_decades(usual / rate), below / LN10) - ORDINARY
            surprise = min(max(surprise, 0.0), MOST_SURPRISAL)
    state.step[step] += np.float32(1.0)
    state.kind[earlier]["followed"] = followed + 1.0
    totals[TOTAL_STEPS] += 1.0
    return surprise


@jit
def _sink(entity: Any, held: Any, at: Any) -> None:
    """The level has fallen; from here on it is the band of the decaying score."""
    entity["held_rule"] *= held / entity["held"]
    entity["held_context"] *= held / entity["held"]
    entity["held"] = held
    entity["held_at"] = at


@kernel(I8, ROLE_TYPE, array(I8), array(I8), array(F8, 2))
def window_vectors(window: Any, state: Any, count: Any, slots: Any, vectors: Any) -> None:
    """What each entity did in the window that ends, for those of which there was telemetry; changes nothing.

    Shapes: count (1,); slots (entities in use,), vectors (entities in use, VECTOR_FEATURES), filled up to count; slots rise.
    Units: window in windows since 1970; features as in VECTOR_FEATURES.
    Cost: about 2 ns an entity, and 0.1 µs for one that is told.
    Source: ours.
    Difference: alerts of other tools count among the events of an entity that also has telemetry, and alone they tell
    nothing; nor does an entity of which a person has declared telemetry of this window benign.
    """
    for slot in range(state.entities.meta[USED]):
        entity = state.entity[slot]
        if entity["window"] != window or entity["busiest"] <= 0:
            continue
        at = count[0]
        events = np.float64(entity["window_events"])
        slots[at] = slot
        vectors[at, 0] = math.log1p(events)
        vectors[at, 1] = np.float64(entity["window_failures"]) / events
        vectors[at, 2] = math.log1p(np.float64(_distinct(entity["reached"])))
        vectors[at, 3] = math.log1p(np.float64(entity["busiest"]))
        count[0] = at + 1


@jit
def _surprise_at_end(
    state: Any, slot: Any, surprise: Any, at: Any, parameters: Any, weight: Any, order: Any, lonely: Any
) -> None:
    """Remember what an entity did in a window among its recent kinds, and let others know of its risk."""
    entity = state.entity[slot]
    active = state.active[slot]
    lonely[0] = surprise
    count = _remember(
        active, np.int64(entity["active"]), np.uint64(MULTIVARIATE_KEY), entity["last_event"], at, parameters,
        surprise, lonely,
    )  # fmt: skip
    entity["active"] = count
    entity["gate"] = max(np.float64(entity["gate"]), _gate(surprise, parameters.floor))
    _kept, own, _top = _ranked(active, count, at, -1, parameters, weight, order)
    if own > 0.0:
        _spread(state, state.entities.slot[slot]["key"], math.log2(own) + at / parameters.context_half_life_s)


@kernel(
    array(I8, readonly=True),
    IN_F8,
    I8,
    PARAMETERS_TYPE,
    IN_F8,
    IN_F8,
    ROLE_TYPE,
    SCRATCH_TYPE,
    array(I8),
    array(I8),
    array(F8),
    array(F8),
    array(types.int8),
    ALERTS_TYPE,
)
def settle_window(
    strange: Any, surprisal: Any, window: Any, parameters: Any, risk_knots: Any, score_knots: Any, state: Any, scratch: Any,
    count: Any, slots: Any, surprise: Any, score: Any, level: Any, alerts: Any,
) -> None:  # fmt: skip
    """Judge every entity of a window again at its end, by what it did in all of it and what has happened around it.

    Shapes: strange, surprisal (m,), rising slots of the window and how surprising each was, above the floor; count (1,);
    slots, surprise, score, level (entities in use,), filled up to count; alerts as long.
    Units: window in windows since 1970; surprisal in decades; score in points.
    Cost: about 2 ns an entity, and 0.2 µs for one that was active in the window; nothing while nothing is strange or spreads.
    Source: ours; the context is worth .02 of average precision over three attack scenarios, all of it where the first alert
    of an incident comes minutes before the incident does.
    Difference: an entity is told only when its score rises by it, or it is itself strange.
    """
    weight, order, _parts, lonely = scratch
    at = (window + 1.0) * parameters.window_s
    for each in range(strange.shape[0]):
        _surprise_at_end(state, strange[each], surprisal[each], at, parameters, weight, order, lonely)
    if strange.shape[0] == 0 and _around(state, np.uint64(0), at, parameters) <= 0.0:
        return  # nothing around anybody
    each = 0
    for slot in range(state.entities.meta[USED]):
        surprised = 0.0
        if each < strange.shape[0] and strange[each] == slot:
            surprised = surprisal[each]
            each += 1
        entity = state.entity[slot]
        if entity["window"] != window or entity["gate"] <= 0.0:
            continue
        around = _around(state, state.entities.slot[slot]["key"], at, parameters)
        if around <= 0.0 and surprised <= 0.0:
            continue
        active = state.active[slot]
        kept, own, top = _ranked(active, np.int64(entity["active"]), at, -1, parameters, weight, order)
        behaved = _interpolated(np.float64(entity["gate"]) * (own + around), risk_knots, score_knots)
        held, stands = _standing(entity, at, parameters.risk_half_life_s, parameters.hold_s)
        rises = behaved > held
        if not rises and surprised <= 0.0:
            continue
        reached = max(_level(behaved), stands)
        slots[count[0]] = slot
        surprise[count[0]] = surprised
        score[count[0]] = behaved
        level[count[0]] = reached
        count[0] += 1
        if not rises:
            continue
        context = behaved * around / (own + around)
        entity["held"] = behaved
        entity["held_at"] = at
        entity["held_rule"] = 0.0
        entity["held_context"] = context
        entity["held_around"] = around
        entity["level"] = reached
        if reached > stands:
            _rise(
                entity, active, at, own, top, around, context, behaved, behaved, 0.0, slot, stands,
                parameters, risk_knots, score_knots, weight, order, kept, alerts,
            )  # fmt: skip


@kernel(U8, U8, F8, I8, ROLE_TYPE)
def mute(key: Any, kind: Any, until: Any, limit: Any, state: Any) -> None:
    """Let a kind at an entity add nothing to its risk until a time; with one that has passed, let it count again.

    Shapes: none.
    Units: until in seconds since 1970, +inf for good.
    Cost: about 0.1 µs.
    Source: ours.
    Difference: the kind is taken out of the recent ones at once; what stands decays as always.
    """
    slot, _fresh = _touch(state.muted, _pair_key(key, kind), limit)
    state.muted_until[slot] = until
    owner = _find(state.entities, key)
    if owner < 0:
        return
    entity = state.entity[owner]
    active = state.active[owner]
    count = np.int64(entity["active"])
    for j in range(count):
        if active[j]["kind"] == kind:
            active[j] = active[count - 1]
            entity["active"] = count - 1
            break


@kernel(F8, PARAMETERS_TYPE, ROLE_TYPE, array(F8), array(types.int8))
def standings(at: Any, parameters: Any, state: Any, score: Any, level: Any) -> None:
    """Score and level of every entity of a role at one moment; changes nothing.

    Shapes: score, level (entities in use,).
    Units: at in seconds since 1970; score in points.
    Cost: about 10 ns an entity.
    Source: exponential decay with the half-life of the configuration; hold time as in DOMAIN.md.
    Difference: none.
    """
    for slot in range(score.shape[0]):
        entity = state.entity[slot]
        score[slot], level[slot] = _standing(entity, at, parameters.risk_half_life_s, parameters.hold_s)


@kernel(
    array(I8, readonly=True), F8, PARAMETERS_TYPE, IN_F8, IN_F8, ROLE_TYPE, SCRATCH_TYPE,
    array(U8, 2), array(I8, 2), array(F8, 3), array(F8, 2),
)  # fmt: skip
def explain_entities(
    slots: Any, at: Any, parameters: Any, risk_knots: Any, score_knots: Any, state: Any, scratch: Any,
    kind: Any, event: Any, parts: Any, without: Any,
) -> None:  # fmt: skip
    """Why these entities stand where they stand at one moment; each explanation sums to the score of ``standings``.

    Shapes: slots (m,); kind, event (m, PARTS); parts (m, PARTS, CHANNEL_COUNT), zeroed by the caller; without
    (m, CHANNEL_COUNT + 1).
    Units: at in seconds since 1970; parts and without in points.
    Cost: about 2 µs an entity.
    Source: proportional attribution; the score is a sum over kinds, and a kind's surprisal a sum over channels.
    Difference: when the kinds behind a score are no longer recent, what is left of it is put under the context.
    """
    weight, order, _parts, _lonely = scratch
    for m in range(slots.shape[0]):
        entity = state.entity[slots[m]]
        active = state.active[slots[m]]
        count = np.int64(entity["active"])
        score, _level_now = _standing(entity, at, parameters.risk_half_life_s, parameters.hold_s)
        fade = score / entity["held"] if entity["held"] > 0.0 else 0.0
        rule = entity["held_rule"] * fade
        context = entity["held_context"] * fade
        around = entity["held_around"]
        kept, own, top = _ranked(active, count, entity["held_at"], -1, parameters, weight, order)
        if own > 0.0:
            _share(active, kept, weight, order, score - rule - context, kind[m], event[m], parts[m])
        else:
            context = score - rule
        parts[m, CONTEXT_PART, 0] = context
        parts[m, RULE_PART, RULE] = rule
        kind[m, RULE_PART] = entity["rule_kind"] if rule > 0.0 else np.uint64(0)
        event[m, RULE_PART] = entity["rule_event"] if rule > 0.0 else -1
        event[m, CONTEXT_PART] = -1
        _counterfactuals(
            active, count, entity["held_at"], own, top, around, score - rule, score if rule > 0.0 else 0.0,
            parameters, risk_knots, score_knots, weight, order, without[m],
        )  # fmt: skip
