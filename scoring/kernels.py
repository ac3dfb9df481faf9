"""The compiled loops of the engine: hashing, bounded tables, the scoring of a role, standings and explanations.

Owns the loops. Does not own allocation, validation or names: that is
``guardian.state`` and ``guardian.engine``. Arguments come in the order columns, parameters, state, out; a kernel
returns None and writes in place; inputs are read-only.

Kernels are compiled on first use, or all at once by ``compile_all``, and cached on disk (``scoring.compilation``). They
live in one file because numba's cache does not notice an edit in another one.
"""

from __future__ import annotations

import math
from typing import Any, Final, get_type_hints

import numpy as np

from scoring.compilation import F8, I8, IN_F8, IN_I4, IN_U1, IN_U8, U8, array, jit, kernel, record, types
from scoring.layout import (
    ACTIVE,
    ACTIVE_KINDS,
    ANY_KIND,
    AUTH_FAILURE,
    BURST,
    BURST_BINS,
    CONTEXT_PART,
    ENTITY,
    EVICTED,
    FLOOD_SECONDS,
    HONEYPOT,
    INJECTION,
    IS_ALERT,
    KIND,
    NEWEST,
    NOVELTY,
    OLDEST,
    PAIR,
    PERSISTENCE,
    RARITY,
    REQUEST,
    RULE,
    RULE_PART,
    SEASONAL,
    TOTAL_CONTEXT,
    TOTAL_CONTEXT_SECOND,
    TOTAL_ENTITIES,
    TOTAL_FIRST,
    TOTAL_SINGLE_KINDS,
    USED,
    Alerts,
    Parameters,
    RoleState,
    Table,
)

TABLE_TYPE: Final = types.NamedTuple(
    [array(types.int32), array(U8), array(types.int32), array(types.int32), array(I8)], Table
)
ROLE_TYPE: Final = types.NamedTuple(
    [
        *(TABLE_TYPE for _ in range(3)),
        record(ENTITY),
        record(ACTIVE, 2),
        array(types.float32, 2),
        array(types.uint16, 2),
        array(types.uint16, 2),
        array(F8, 2),
        array(F8, 2),
        record(KIND),
        record(PAIR),
        array(types.uint8, 2),
        array(F8),
        array(U8),
    ],
    RoleState,
)
PARAMETERS_TYPE: Final = types.NamedTuple(
    [F8 if hint is float else I8 for hint in get_type_hints(Parameters).values()], Parameters
)
ALERTS_TYPE: Final = types.NamedTuple(
    [*(array(I8) for _ in range(3)), array(F8), array(U8, 2), array(I8, 2), array(F8, 3)], Alerts
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


@jit
def _home(key: Any, mask: Any) -> Any:
    """Where a key would like to stand: Fibonacci hashing, so that pair keys made by XOR spread too."""
    return np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask


@jit
def _position(table: Any, key: Any) -> Any:
    """Index position of ``key``, or of the free place where it would go."""
    mask = table.places.shape[0] - 1
    at = _home(key, mask)
    while table.places[at] != 0 and table.key[table.places[at] - 1] != key:
        at = (at + 1) & mask
    return at


@jit
def _unlink(table: Any, slot: Any) -> None:
    newer, older = table.newer[slot], table.older[slot]
    if newer >= 0:
        table.older[newer] = older
    else:
        table.meta[NEWEST] = older
    if older >= 0:
        table.newer[older] = newer
    else:
        table.meta[OLDEST] = newer


@jit
def _link_newest(table: Any, slot: Any) -> None:
    before = table.meta[NEWEST]
    table.newer[slot] = -1
    table.older[slot] = before
    if before >= 0:
        table.newer[before] = slot
    else:
        table.meta[OLDEST] = slot
    table.meta[NEWEST] = slot


@jit
def _forget(table: Any, key: Any) -> None:
    """Take a key out of the index, moving back those that it had pushed on (no tombstones)."""
    mask = table.places.shape[0] - 1
    hole = _position(table, key)
    at = (hole + 1) & mask
    while table.places[at] != 0:
        home = _home(table.key[table.places[at] - 1], mask)
        if ((at - home) & mask) >= ((at - hole) & mask):
            table.places[hole] = table.places[at]
            hole = at
        at = (at + 1) & mask
    table.places[hole] = 0


@jit
def _touch(table: Any, key: Any, limit: Any) -> Any:
    """Slot of ``key``, and whether it is new there (0 known, 1 new, 2 new in the place of an evicted key).

    Whoever grows tables keeps at least one free slot below ``limit``.
    """
    at = _position(table, key)
    if table.places[at] != 0:
        slot = np.int64(table.places[at] - 1)
        if table.meta[NEWEST] != slot:
            _unlink(table, slot)
            _link_newest(table, slot)
        return slot, 0
    state = 1
    if table.meta[USED] < limit:
        slot = table.meta[USED]
        table.meta[USED] += 1
    else:
        slot = table.meta[OLDEST]
        _unlink(table, slot)
        _forget(table, table.key[slot])
        table.meta[EVICTED] += 1
        state = 2
        at = _position(table, key)
    table.key[slot] = key
    table.places[at] = slot + 1
    _link_newest(table, slot)
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
        table.places[_position(table, table.key[slot])] = slot + 1


# -- entity risk -----------------------------------------------------------------------------------------------------

FLOOR: Final = 1.25
"""Surprisal (decades) that ordinary behaviour reaches; only what exceeds it counts. Section 7a of the design notes."""

RANK_POWER: Final = 0.75
CONTEXT_SHARE: Final = 0.5
CONTEXT_CAP: Final = 4.0
POINTS_PER_LEVEL: Final = 20.0


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
    return min(max(int(score // POINTS_PER_LEVEL), 0), 4)


@jit
def _standing(entity: Any, at: Any, half_life: Any, hold: Any) -> Any:
    """Score and level of an entity at a later time: the score decays, the level waits ``hold`` before it falls.

    The moment at which the decaying score left the band of the level is known in closed form, so no event is needed
    for a level to fall, and looking twice changes nothing.
    """
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
def _ranked(active: Any, at: Any, parameters: Any, weight: Any, order: Any) -> Any:
    """Risk of the recent kinds of one entity: their excess over FLOOR, strongest first, the j-th divided by j^0.75.

    Kinds that came within one second of a stronger one are the same happening told twice and count once. ``order``
    receives the kinds that count, ``weight`` what each adds; returns how many, and the sum.
    """
    found = 0
    for j in range(ACTIVE_KINDS):
        if active[j]["kind"] == 0 or at - active[j]["last"] > parameters.active_s:
            continue
        excess = _decayed(active[j]["value"], at - active[j]["at"], parameters.risk_half_life_s) - FLOOR
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
        weight[kept] = weight[j] / (kept + 1.0) ** RANK_POWER
        order[kept] = order[j]
        total += weight[kept]
        kept += 1
    return kept, total


@jit
def _explain(
    active: Any, kept: Any, weight: Any, order: Any, points: Any, kind: Any, event: Any, out: Any
) -> None:
    """Share ``points`` among the kinds that count, and within each among the channels of its surprisal."""
    total = 0.0
    for j in range(kept):
        total += weight[j]
    for j in range(kept):
        source = active[order[j]]
        parts = (
            np.float64(source["novelty"]),
            np.float64(source["rarity"]),
            np.float64(source["burst"]),
            np.float64(source["persistence"]),
            np.float64(source["seasonal"]),
        )
        whole = parts[0] + parts[1] + parts[2] + parts[3] + parts[4]
        share = points * weight[j] / total / whole
        for channel in range(5):
            out[j, channel] = parts[channel] * share
        kind[j] = source["kind"]
        event[j] = source["event"]


@jit
def _remember(
    active: Any, kind: Any, event: Any, at: Any, parameters: Any,
    novelty: Any, rarity: Any, burst: Any, persistence: Any, seasonal: Any,
) -> None:  # fmt: skip
    """Keep a kind among the recent ones of its entity; the weakest gives way. Its strongest moment is what counts."""
    value = novelty + rarity + burst + persistence + seasonal
    place = -1
    weakest = np.inf
    for j in range(ACTIVE_KINDS):
        if active[j]["kind"] == kind:
            place = j
            break
        strength = -1.0
        if active[j]["kind"] != 0 and at - active[j]["last"] <= parameters.active_s:
            strength = _decayed(active[j]["value"], at - active[j]["at"], parameters.risk_half_life_s)
        if strength < weakest:
            weakest = strength
            place = j
    chosen = active[place]
    if chosen["kind"] != kind:
        if weakest > value:
            return
        chosen["value"] = 0.0
        chosen["at"] = at
    if value >= _decayed(chosen["value"], at - chosen["at"], parameters.risk_half_life_s):
        chosen["kind"] = kind
        chosen["event"] = event
        chosen["at"] = at
        chosen["value"] = value
        chosen["novelty"] = novelty
        chosen["rarity"] = rarity
        chosen["burst"] = burst
        chosen["persistence"] = persistence
        chosen["seasonal"] = seasonal
    chosen["last"] = at


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


@kernel(
    IN_F8, IN_U8, IN_U8, IN_F8, IN_U1, array(types.int8, readonly=True), I8,
    PARAMETERS_TYPE, IN_F8, IN_F8, ROLE_TYPE,
    array(types.uint8), array(types.uint8), array(types.float32, 2), array(F8), array(types.int8), ALERTS_TYPE,
)  # fmt: skip
def score_role(
    ts: Any, key: Any, kind_key: Any, points: Any, flags: Any, layer: Any, first_event: Any,
    parameters: Any, risk_knots: Any, score_knots: Any, state: Any,
    new_entity: Any, new_kind: Any, surprisal: Any, score: Any, level: Any, alerts: Any,
) -> None:  # fmt: skip
    """Score each event for the entity that it names in one role, then learn from it.

    Shapes: ts, key, kind_key, points, flags, layer, score, level (n,); surprisal (n, CHANNEL_COUNT); new_* (n,), 1
    where a name was not known before. ``first_event`` is the running number of row 0.
    Units: ts in seconds since 1970; surprisal in decades (−log10 of a rate); score in points, 0…100.
    Cost: about 1 µs an event and role on one core.
    Source: rates by Laplace and Good–Turing smoothing (Good 1953); rules and their levels are TAMV's sentinel; the
    composition (episodes, excess over a floor, rank-discounted sum, context of other entities) is ours.
    Difference: an entity's clock never runs backwards, so a late event is scored as if it came now; key 0 is nobody.
    """
    weight = np.empty(ACTIVE_KINDS, np.float64)
    order = np.empty(ACTIVE_KINDS, np.int64)
    totals = state.totals
    for i in range(ts.shape[0]):
        if key[i] == 0:
            continue
        slot, fresh = _touch(state.entities, key[i], parameters.max_entities)
        entity = state.entity[slot]
        active = state.active[slot]
        if fresh != 0:
            if fresh == 2:
                totals[TOTAL_ENTITIES] -= 1.0
                totals[TOTAL_FIRST] -= entity["first"]
            _reset_entity(state, slot, ts[i], parameters)
            totals[TOTAL_ENTITIES] += 1.0
            totals[TOTAL_FIRST] += ts[i]
            new_entity[i] = 1
        now = max(ts[i], entity["last"])

        kind, fresh = _touch(state.kinds, kind_key[i], parameters.max_kinds)
        if fresh != 0:
            if state.kind[kind]["onsets"] == 1.0:
                totals[TOTAL_SINGLE_KINDS] -= 1.0
            state.kind[kind]["onsets"] = 0.0
            new_kind[i] = 1
        pair_key = key[i] ^ (_rotated(kind_key[i], 32) * np.uint64(0x9E3779B97F4A7C15))
        at, fresh = _touch(state.pairs, pair_key, parameters.max_pairs)
        pair = state.pair[at]
        window = np.int64(math.floor(now / parameters.window_s))
        if fresh != 0:
            pair["onsets"] = 0.0
            pair["last"] = -np.inf
            pair["occupied"] = 0.0
            pair["window"] = window
            state.hours[at, :] = 0

        # How rare this is for the entity, and for everybody: episodes over five-minute windows.
        onsets = pair["onsets"]
        lived = math.floor((now - entity["first"]) / parameters.window_s) + 1.0
        novelty = max(0.0, -0.5 * math.log10((onsets + 0.5) / (lived + 10.0)))
        everybody = max(
            1.0,
            (totals[TOTAL_ENTITIES] * now - totals[TOTAL_FIRST]) / parameters.window_s
            + totals[TOTAL_ENTITIES],
        )
        seen = state.kind[kind]["onsets"]
        if seen == 0.0:
            seen = totals[TOTAL_SINGLE_KINDS] + 1.0  # Good–Turing: the mass of kinds never seen
        rarity = max(0.0, -0.5 * math.log10(seen / everybody))

        # The hour of the day, once there is something to compare with.
        hour = np.int64(math.floor(now / 3600.0)) % 24
        seasonal = 0.0
        if onsets >= 2.0:
            near = (
                state.hours[at, hour]
                + 0.5 * state.hours[at, (hour + 23) % 24]
                + 0.5 * state.hours[at, (hour + 1) % 24]
            )
            seasonal = max(0.0, -math.log10((near + 1.0) / (onsets / 12.0 + 1.0)))

        # An alert of another tool that hardly ever stops is worse than one that comes and goes.
        passed = window - pair["window"]
        if passed > 0:
            pair["occupied"] = _decayed(
                pair["occupied"], passed * parameters.window_s, parameters.persistence_half_life_s
            )
        persistence = 0.0
        if flags[i] & IS_ALERT:
            half_life = parameters.persistence_half_life_s
            elapsed = (
                (1.0 - 2.0 ** (-(now - entity["first"]) / half_life))
                * half_life
                / (math.log(2.0) * parameters.window_s)
            )
            share = min(pair["occupied"] / (elapsed + 12.0), 0.999)
            if share > 0.5:
                persistence = math.log10(share / (1.0 - share))

        # More events in this minute than in the minutes before it. Not for alerts of other tools: many of them are one
        # happening told many times (counting them cost .05 of average precision on three of three attack scenarios).
        burst = 0.0
        minute = np.int64(math.floor(now / 60.0))
        if minute > entity["minute"]:
            if entity["minute_count"] > 0:
                state.burst[slot, _power(entity["minute_count"])] += np.float32(1.0)
            entity["minute"] = minute
            entity["minute_count"] = 0
        entity["minute_count"] += 1
        if entity["minute_count"] >= 16 and not flags[i] & IS_ALERT:
            busier = 0.0
            for size in range(_power(entity["minute_count"]), BURST_BINS):
                busier += state.burst[slot, size]
            minutes = (now - entity["first"]) / 60.0 + 1.0
            burst = max(0.0, -math.log10((busier + 0.5) / (minutes + 10.0)))

        # Rules: TAMV's scores and correlations.
        pointed = points[i]
        rule = 0
        if parameters.watches_logins and flags[i] & AUTH_FAILURE:
            ring = state.failures[slot]
            if _nth_within(ring, now, parameters.auth_failures, parameters.auth_window_s):
                rule = 3
        if parameters.watches_requests:
            second = np.int64(math.floor(now))
            entity["second_events"] = _in_last_minute(
                state.seconds[slot], second, entity["second"], entity["second_events"], 1
            )
            asked = 1 if flags[i] & REQUEST else 0
            entity["second_requests"] = _in_last_minute(
                state.requests[slot], second, entity["second"], entity["second_requests"], asked
            )
            entity["second"] = second
            if asked == 1 and entity["second_requests"] > parameters.rate_per_minute:
                pointed += 20.0
            if entity["second_events"] > parameters.flood_events:
                rule = 4
            if flags[i] & INJECTION:
                ring = state.injections[slot]
                if _nth_within(ring, now, parameters.injections, parameters.injection_window_s):
                    rule = 4
        if flags[i] & HONEYPOT:
            rule = max(rule, 3)
        rule = max(rule, _rule_level(pointed))

        # The entity's risk: its recent kinds together, and what goes on around it.
        running = first_event + i
        _remember(active, kind_key[i], running, now, parameters, novelty, rarity, 0.0, persistence, seasonal)
        if burst > FLOOR:
            _remember(active, np.uint64(ANY_KIND), running, now, parameters, 0.0, 0.0, burst, 0.0, 0.0)
        kept, own = _ranked(active, now, parameters, weight, order)
        around = 0.0
        other = TOTAL_CONTEXT if state.context_key[0] != key[i] else TOTAL_CONTEXT_SECOND
        unit = now / parameters.context_half_life_s
        if totals[other] > -np.inf:
            around = min(CONTEXT_CAP, CONTEXT_SHARE * 2.0 ** min(totals[other] - unit, 10.0))
        if own > 0.0:
            _spread(state, key[i], math.log2(own) + unit)
        gate = min(max(max(novelty + rarity + persistence + seasonal, burst) - FLOOR, 0.0), 1.0)
        behaved = _interpolated(gate * (own + around), risk_knots, score_knots)
        ruled = POINTS_PER_LEVEL * rule
        scored = max(behaved, ruled)
        context = behaved * around / (own + around) if own + around > 0.0 else 0.0

        surprisal[i, NOVELTY] = novelty
        surprisal[i, RARITY] = rarity
        surprisal[i, BURST] = burst
        surprisal[i, PERSISTENCE] = persistence
        surprisal[i, SEASONAL] = seasonal
        surprisal[i, RULE] = rule
        score[i] = scored

        # Its level: up at once, down only after the hold time.
        held, stands = _standing(entity, now, parameters.risk_half_life_s, parameters.hold_s)
        reached = _level(scored)
        if scored >= held:
            entity["held"] = scored
            entity["held_at"] = now
            entity["held_rule"] = scored - behaved
            entity["held_context"] = context
            if scored > behaved:
                entity["rule_kind"] = kind_key[i]
                entity["rule_event"] = running
        elif stands != entity["level"]:
            # The level has fallen; from here on it is the band of the decaying score.
            entity["held_rule"] *= held / entity["held"]
            entity["held_context"] *= held / entity["held"]
            entity["held"] = held
            entity["held_at"] = now
        entity["level"] = max(reached, stands)
        level[i] = entity["level"]
        entity["last"] = now
        entity["events"] += 1
        if layer[i] >= 0:  # an event that states no layer does not take its entity out of one
            entity["layer"] = layer[i]
        if reached > stands:
            row = alerts.raised[0]
            alerts.raised[0] += 1
            alerts.row[row] = i
            alerts.level_from[row] = stands
            alerts.at[row] = now
            alerts.parts[row, :, :] = 0.0
            alerts.kind[row, :] = 0
            alerts.event[row, :] = -1
            _explain(
                active, kept, weight, order, behaved - context,
                alerts.kind[row], alerts.event[row], alerts.parts[row],
            )  # fmt: skip
            alerts.parts[row, CONTEXT_PART, 0] = context
            alerts.parts[row, RULE_PART, RULE] = scored - behaved
            if scored > behaved:
                alerts.kind[row, RULE_PART] = kind_key[i]
                alerts.event[row, RULE_PART] = running

        # Learn.
        if (
            fresh != 0
            or now - pair["last"] > parameters.episode_gap_s
            or (passed > 0 and not flags[i] & IS_ALERT)
        ):
            pair["onsets"] += 1.0
            state.kind[kind]["onsets"] += 1.0
            if state.kind[kind]["onsets"] == 1.0:
                totals[TOTAL_SINGLE_KINDS] += 1.0
            elif state.kind[kind]["onsets"] == 2.0:
                totals[TOTAL_SINGLE_KINDS] -= 1.0
            if state.hours[at, hour] == 255:
                for each in range(24):
                    state.hours[at, each] //= 2
            state.hours[at, hour] += 1
        if fresh != 0 or passed > 0:
            pair["occupied"] += 1.0
            pair["window"] = window
        pair["last"] = now


@jit
def _power(count: Any) -> Any:
    """The power of two that a count reaches, within the bins of the burst histogram."""
    power = 0
    while count > 1 and power < BURST_BINS - 1:
        count //= 2
        power += 1
    return power


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
def _reset_entity(state: Any, slot: Any, at: Any, parameters: Any) -> None:
    entity = state.entity[slot]
    entity["first"] = at
    entity["last"] = at
    entity["events"] = 0
    entity["held"] = 0.0
    entity["held_at"] = at
    entity["held_rule"] = 0.0
    entity["held_context"] = 0.0
    entity["minute"] = np.int64(math.floor(at / 60.0))
    entity["minute_count"] = 0
    entity["second"] = np.int64(math.floor(at))
    entity["second_events"] = 0
    entity["second_requests"] = 0
    entity["rule_kind"] = 0
    entity["rule_event"] = -1
    entity["level"] = 0
    entity["layer"] = -1
    state.burst[slot, :] = 0.0
    for j in range(ACTIVE_KINDS):
        state.active[slot, j]["kind"] = 0
        state.active[slot, j]["last"] = -np.inf
        state.active[slot, j]["value"] = 0.0
    if parameters.watches_logins:
        state.failures[slot, :] = -np.inf
    if parameters.watches_requests:
        state.seconds[slot, :] = 0
        state.requests[slot, :] = 0
        state.injections[slot, :] = -np.inf


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


@kernel(array(I8, readonly=True), F8, PARAMETERS_TYPE, ROLE_TYPE, array(U8, 2), array(I8, 2), array(F8, 3))
def explain_entities(
    slots: Any, at: Any, parameters: Any, state: Any, kind: Any, event: Any, parts: Any
) -> None:
    """Why these entities stand where they stand at one moment; each explanation sums to the score of ``standings``.

    Shapes: slots (m,); kind, event (m, PARTS); parts (m, PARTS, CHANNEL_COUNT), zeroed by the caller.
    Units: at in seconds since 1970; parts in points.
    Cost: about 1 µs an entity.
    Source: proportional attribution; the score is a sum over kinds, and a kind's surprisal a sum over channels.
    Difference: when the kinds behind a score are no longer recent, what is left of it is put under the context.
    """
    weight = np.empty(ACTIVE_KINDS, np.float64)
    order = np.empty(ACTIVE_KINDS, np.int64)
    for m in range(slots.shape[0]):
        entity = state.entity[slots[m]]
        active = state.active[slots[m]]
        score, _level_now = _standing(entity, at, parameters.risk_half_life_s, parameters.hold_s)
        fade = score / entity["held"] if entity["held"] > 0.0 else 0.0
        rule = entity["held_rule"] * fade
        context = entity["held_context"] * fade
        kept, own = _ranked(active, entity["held_at"], parameters, weight, order)
        if own > 0.0:
            _explain(active, kept, weight, order, score - rule - context, kind[m], event[m], parts[m])
        else:
            context = score - rule
        parts[m, CONTEXT_PART, 0] = context
        parts[m, RULE_PART, RULE] = rule
        kind[m, RULE_PART] = entity["rule_kind"] if rule > 0.0 else np.uint64(0)
        event[m, RULE_PART] = entity["rule_event"] if rule > 0.0 else -1
        event[m, CONTEXT_PART] = -1
