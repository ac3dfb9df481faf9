"""The loops of the ensemble: score a row against frozen tables, then learn an older one.

Owns the loops. Does not own the arrays they run on (``scoring.ensemble_layout``), checks of rows or snapshots. Tables of
logarithms are frozen between refreshes that depend on counts of rows alone: no row costs the logarithm of a count, and
no cut of the stream changes a bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scoring import ensemble_layout as at
from scoring.compilation import F8, I8, array, jit, kernel


@jit
def _standardise(columns: Any, values: Any) -> None:
    """A row on the frozen scale: VALUE is clipped at REACH, NEARBY at NEAR, JOINT also centred for whitening."""
    for f in range(columns.shape[1]):
        z = (values[f] - columns[at.MIDDLE, f]) * columns[at.RECIPROCAL, f]
        columns[at.VALUE, f] = min(max(z, -at.REACH), at.REACH - 1e-9)
        columns[at.NEARBY, f] = min(max(z, -at.NEAR), at.NEAR)
        columns[at.JOINT, f] = columns[at.NEARBY, f] - columns[at.WHITE_MEAN, f]


@jit
def _bin(value: Any) -> Any:
    """Place of a clipped value in a histogram; unsigned, which spares numba's check for negative indices."""
    return np.uint64((value + at.REACH) * at.BINS_PER_DEVIATION)


@jit
def _whiten_row(columns: Any, whitening: Any) -> Any:
    """WHITENED_VALUE = each block of the row at JOINT, whitened and clipped; gives the sum of squares before clipping."""
    features, width = whitening.shape
    squares = 0.0
    for start in range(0, features, width):
        stop = min(start + width, features)
        for f in range(start, stop):
            value = 0.0
            for g in range(start, stop):
                value += whitening[f, g - start] * columns[at.JOINT, g]
            squares += value * value
            columns[at.WHITENED_VALUE, f] = min(max(value, -at.REACH), at.REACH - 1e-9)
    return squares


@jit
def _loneliness(nearby: Any, centres: Any, balls: Any) -> Any:
    """Mean over the sets of the loneliness of the smallest ball that covers the row at NEARBY, 1 where none does.

    The balls of a set stand from large to small, so the last one that covers is the smallest: 128 lanes and no search.
    """
    radius, lonely, distance, found = balls[0], balls[1], balls[2], balls[3]
    distance[:] = 0.0
    for f in range(nearby.shape[0]):
        z = np.float32(nearby[f])
        centre = centres[f]
        for k in range(at.LANES):
            gap = centre[k] - z
            distance[k] += gap * gap
    found[:] = 1.0
    for j in range(0, at.LANES, at.SETS):
        for t in range(at.SETS):
            own, before = lonely[j + t], found[t]  # loaded before the choice, or the loop would branch
            found[t] = own if distance[j + t] <= radius[j + t] else before
    total = 0.0
    for t in range(at.SETS):
        total += np.float64(found[t])
    return total / at.SETS


@jit
def _view(table: Any, values: Any, part: Any) -> None:
    """Four parts: the mean surprise of the broad bins, of the fine bins and of the tails, and the highest of a broad bin."""
    features = values.shape[0]
    broad, fine, tails, extreme = 0.0, 0.0, 0.0, 0.0
    for f in range(features):
        b = _bin(values[f])
        broad += table[f, b, at.BROAD]
        fine += table[f, b, at.FINE]
        tails += table[f, b, at.TAILS]
        extreme = max(extreme, table[f, b, at.BROAD])
    part[at.BROAD], part[at.FINE] = broad / features, fine / features
    part[at.TAILS], part[at.EXTREME] = tails / features, extreme


@jit
def _channels(parts: Any) -> Any:
    """The parts on their common scale: what single features say, what they say together, and how far the neighbours are."""
    marginal, whitened, z = 0.0, 0.0, 0.0
    for k in range(at.PARTS):
        z = (parts[at.PART_VALUE, k] - parts[at.PART_MIDDLE, k]) * parts[at.PART_RECIPROCAL, k]
        if k < at.WHITE:
            marginal += z
        elif k < at.LONELY:
            whitened += z
    return marginal, whitened, z  # the last part is the loneliness


@jit
def _first_scale(columns: Any, held: Any) -> None:
    """Median and outer deciles of the rows of the grace period, so that one wild row among them does not set the scale."""
    for f in range(columns.shape[1]):
        ordered = np.sort(held[: at.GRACE, f])
        spread = (ordered[28] - ordered[3]) / 2.5631
        if not spread > 0.0:
            spread = ordered[at.GRACE - 1] - ordered[0]
        columns[at.MEAN, f] = 0.5 * (ordered[15] + ordered[16])
        columns[at.VARIANCE, f] = spread * spread


@jit
def _follow_scale(columns: Any, values: Any, rate: Any) -> None:
    """Exponentially weighted mean and variance; no row moves them by more than REACH standard deviations."""
    for f in range(columns.shape[1]):
        d = values[f] - columns[at.MEAN, f]
        reach = at.REACH * math.sqrt(columns[at.VARIANCE, f])
        if reach > 0.0:
            d = min(max(d, -reach), reach)
        columns[at.MEAN, f] += rate * d
        columns[at.VARIANCE, f] = (1.0 - rate) * (columns[at.VARIANCE, f] + rate * d * d)


@jit
def _learn_bins(mass: Any, values: Any, weight: Any) -> None:
    for f in range(values.shape[0]):
        mass[f, _bin(values[f])] += weight


@jit
def _learn_covariance(columns: Any, covariance: Any, rate: Any) -> None:
    """Exponentially weighted covariance within each block; overwrites JOINT."""
    features, width = covariance.shape
    for f in range(features):
        columns[at.JOINT, f] = columns[at.NEARBY, f] - columns[at.JOINT_MEAN, f]
        columns[at.JOINT_MEAN, f] += rate * columns[at.JOINT, f]
    for start in range(0, features, width):
        for f in range(start, min(start + width, features)):
            for g in range(start, f + 1):
                product = rate * columns[at.JOINT, f] * columns[at.JOINT, g]
                covariance[f, g - start] = (1.0 - rate) * (covariance[f, g - start] + product)


@jit
def _learn_ball(nearby: Any, centres: Any, balls: Any, clock: Any) -> None:
    """Let the row take a place in one of the sets, so that together they hold a sample with an exponential memory."""
    place = clock[at.FILLED]
    if place < at.LANES:
        clock[at.FILLED] = place + 1
    else:
        word = clock[at.RANDOM]  # xorshift (Marsaglia 2003), 32 bits
        word ^= (word << 13) & 0xFFFFFFFF
        word ^= word >> 17
        word ^= (word << 5) & 0xFFFFFFFF
        clock[at.RANDOM] = word
        place = np.int64(word * 2.0**-32 * min(clock[at.LEARNT], at.MEMORY))
    if place < at.LANES:
        for f in range(nearby.shape[0]):
            centres[f, place] = np.float32(nearby[f])
        _measure_set(centres, balls, place % at.SETS, -(-clock[at.FILLED] // at.SETS))


@jit
def _measure_set(centres: Any, balls: Any, t: Any, members: Any) -> None:
    """Radius (squared distance to the nearest other centre) and loneliness of each ball of a set, from large to small.

    A place that was never filled has radius −1 and covers nothing.
    """
    radius, lonely, features = balls[0], balls[1], centres.shape[0]
    nearest = np.empty(at.BALLS, np.int64)
    for a in range(members):
        radius[a * at.SETS + t] = np.float32(-1.0)
        nearest[a] = a
        for b in range(members):
            distance = np.float32(0.0)
            for f in range(features):
                gap = centres[f, a * at.SETS + t] - centres[f, b * at.SETS + t]
                distance += gap * gap
            if b != a and (nearest[a] == a or distance < radius[a * at.SETS + t]):
                radius[a * at.SETS + t] = distance
                nearest[a] = b
    for a in range(members):
        own, other = np.float64(radius[a * at.SETS + t]), np.float64(radius[nearest[a] * at.SETS + t])
        lonely[a * at.SETS + t] = np.float32(1.0 - math.sqrt((other + 1e-9) / (own + 1e-9)))
    for a in range(1, members):
        for b in range(a * at.SETS + t, t, -at.SETS):
            before = b - at.SETS
            if radius[b] <= radius[before]:
                break
            radius[b], radius[before] = radius[before], radius[b]
            lonely[b], lonely[before] = lonely[before], lonely[b]
            for f in range(features):
                centre = centres[f]
                centre[b], centre[before] = centre[before], centre[b]


@jit
def _surprise(mass: Any, over: Any, nothing: Any) -> Any:
    return over - math.log(mass + at.EMPTY) if mass > 0.0 else nothing


@jit
def _tabulate(mass: Any, unit: Any, table: Any) -> None:
    """Freeze the surprise of every bin: of the broad one it lies in, of the fine one, and of the tail beyond it."""
    over = math.log(mass[0].sum() * unit + 1.0)
    nothing = over - math.log(at.EMPTY)
    for f in range(mass.shape[0]):
        right = 0.0
        for b in range(at.BINS - 1, -1, -1):
            right += mass[f, b]
            table[f, b, at.TAILS] = right
        left = 0.0
        for start in range(0, at.BINS, at.BROAD_BINS):
            broad = _surprise(mass[f, start : start + at.BROAD_BINS].sum() * unit, over, nothing)
            for b in range(start, start + at.BROAD_BINS):
                left += mass[f, b]
                table[f, b, at.BROAD] = broad
                table[f, b, at.FINE] = _surprise((mass[f, b] + mass[f, b ^ 1]) * unit, over, nothing)
                table[f, b, at.TAILS] = _surprise(min(left, table[f, b, at.TAILS]) * unit, over, nothing)


@jit
def _refresh_tables(state: Any) -> None:
    """Freeze the scale of the features and the tables."""
    columns, pace = state.columns, state.pace
    if pace[at.MASS_WEIGHT] > 1e200:
        state.mass[:] /= pace[at.MASS_WEIGHT]
        state.white_mass[:] /= pace[at.MASS_WEIGHT]
        state.gate_mass[:] /= pace[at.MASS_WEIGHT]
        pace[at.MASS_WEIGHT] = 1.0
    for f in range(columns.shape[1]):
        columns[at.MIDDLE, f] = columns[at.MEAN, f]
        columns[at.RECIPROCAL, f] = 1.0 / max(math.sqrt(columns[at.VARIANCE, f]), 1.0 / at.UNVARIED)
    _tabulate(state.mass, 1.0 / pace[at.MASS_WEIGHT], state.table)
    _tabulate(state.white_mass, 1.0 / pace[at.MASS_WEIGHT], state.white_table)


@jit
def _solve_whitening(columns: Any, covariance: Any, whitening: Any) -> None:
    """(covariance + RIDGE)^−½ of each block, by Jacobi's rotations."""
    features, width = covariance.shape
    for start in range(0, features, width):
        size = min(width, features - start)
        a = np.empty((size, size))
        v = np.eye(size)
        for i in range(size):
            columns[at.WHITE_MEAN, start + i] = columns[at.JOINT_MEAN, start + i]
            for j in range(i + 1):
                a[i, j] = covariance[start + i, j]
                a[j, i] = a[i, j]
            a[i, i] += at.RIDGE
        for _ in range(12):
            rest = 0.0
            for p in range(size - 1):
                for q in range(p + 1, size):
                    rest += a[p, q] * a[p, q]
                    _rotate(a, v, p, q, size)
            if rest < 1e-18:
                break
        for i in range(size):
            for j in range(size):
                total = 0.0
                for k in range(size):
                    total += v[i, k] * v[j, k] / math.sqrt(max(a[k, k], at.RIDGE))
                whitening[start + i, j] = total


@jit
def _rotate(a: Any, v: Any, p: Any, q: Any, size: Any) -> None:
    """One Jacobi rotation that makes a[p, q] zero; the rotations gather in v."""
    if abs(a[p, q]) < 1e-14:
        return
    theta = (a[q, q] - a[p, p]) / (2.0 * a[p, q])
    t = 1.0 / (abs(theta) + math.sqrt(theta * theta + 1.0))
    if theta < 0.0:
        t = -t
    c = 1.0 / math.sqrt(t * t + 1.0)
    s = t * c
    for k in range(size):
        a[k, p], a[k, q] = c * a[k, p] - s * a[k, q], s * a[k, p] + c * a[k, q]
        v[k, p], v[k, q] = c * v[k, p] - s * v[k, q], s * v[k, p] + c * v[k, q]
    for k in range(size):
        a[p, k], a[q, k] = c * a[p, k] - s * a[q, k], s * a[p, k] + c * a[q, k]


@jit
def _follow_parts(parts: Any, values: Any, rate: Any) -> None:
    """Mean and variance of each part, of rows that were learnt."""
    for k in range(at.PARTS):
        d = values[k] - parts[at.PART_MEAN, k]
        parts[at.PART_MEAN, k] += rate * d
        parts[at.PART_VARIANCE, k] = (1.0 - rate) * (parts[at.PART_VARIANCE, k] + rate * d * d)


@jit
def _freeze_parts(state: Any) -> None:
    """Freeze the scale of the parts, and the score from which on a row is suspect."""
    parts = state.parts
    if state.clock[at.WEIGHED] >= at.UNSCORED:
        for k in range(at.PARTS):
            parts[at.PART_MIDDLE, k] = parts[at.PART_MEAN, k]
            variance = parts[at.PART_VARIANCE, k] + at.VARIANCE_FLOOR + at.PRIOR / state.clock[at.WEIGHED]
            parts[at.PART_RECIPROCAL, k] = 1.0 / math.sqrt(variance)
    if state.clock[at.LEARNT] >= at.TRUSTED:
        allowed = at.SUSPECT * state.gate_mass.sum()
        above, start = 0.0, at.GATE_BINS
        while start > 0 and above + state.gate_mass[start - 1] <= allowed:
            start -= 1
            above += state.gate_mass[start]
        state.pace[at.SUSPECT_ABOVE] = at.GATE_LOWEST + at.GATE_WIDTH * start


@jit
def _admitted(pace: Any, suspect: Any) -> Any:
    """Whether a row may be learnt: suspects cost a token, unless so many are that the stream itself has changed."""
    pace[at.TOKENS] = min(pace[at.TOKENS] + at.SUSPECT, at.MAX_TOKENS)
    pace[at.SHARE] += at.SHARE_RATE * (suspect - pace[at.SHARE])
    free = suspect == 0.0 or pace[at.SHARE] > at.OPEN_ABOVE
    if free or pace[at.TOKENS] < 1.0:
        return free
    pace[at.TOKENS] -= 1.0
    return True


@jit
def _learn(state: Any, held: Any) -> None:
    """Learn a row that has waited."""
    columns, clock, pace, features = state.columns, state.clock, state.pace, state.columns.shape[1]
    suspect = held[features + at.PARTS + 1]
    if not _admitted(pace, suspect):
        clock[at.REFUSED] += 1
        return
    clock[at.LEARNT] += 1
    clock[at.WEIGHED] += 1
    rate = max(1.0 / clock[at.LEARNT], at.SLOWEST)
    _follow_scale(columns, held, rate)
    _standardise(columns, held)
    _learn_bins(state.mass, columns[at.VALUE], pace[at.MASS_WEIGHT])
    _whiten_row(columns, state.whitening)
    _learn_bins(state.white_mass, columns[at.WHITENED_VALUE], pace[at.MASS_WEIGHT])
    _learn_covariance(columns, state.covariance, rate)
    _learn_ball(columns[at.NEARBY], state.centres, state.balls, clock)
    _follow_parts(state.parts, held[features:], max(1.0 / clock[at.WEIGHED], at.SLOWEST))
    if suspect == 0.0 or pace[at.SHARE] <= at.OPEN_ABOVE:  # what came through the open gate does not move it
        step = (held[features + at.PARTS] - at.GATE_LOWEST) / at.GATE_WIDTH
        ripe = min(clock[at.LEARNT] / at.RIPE, 1.0)  # the scores of the first rows say little
        gate_bin = np.uint64(min(max(step, 0.0), at.GATE_BINS - 1.0))
        state.gate_mass[gate_bin] += ripe * pace[at.MASS_WEIGHT]
    pace[at.MASS_WEIGHT] *= at.GROWTH
    if clock[at.LEARNT] == clock[at.NEXT_WHITENING]:
        _solve_whitening(columns, state.covariance, state.whitening)
        clock[at.NEXT_WHITENING] += min(clock[at.LEARNT], at.WHITENING_EVERY)
    if clock[at.LEARNT] >= clock[at.NEXT_TABLES]:
        clock[at.NEXT_TABLES] += min(clock[at.LEARNT] // 8, at.REFRESH)
        _refresh_tables(state)
        _freeze_parts(state)


@jit
def _begin(state: Any) -> None:
    """Learn the rows of the grace period, on the scale that they give together."""
    columns, clock = state.columns, state.clock
    _first_scale(columns, state.held)
    _refresh_tables(state)
    for i in range(at.GRACE):
        clock[at.LEARNT] += 1
        _standardise(columns, state.held[i])
        _learn_bins(state.mass, columns[at.VALUE], 1.0)
        _learn_covariance(columns, state.covariance, 1.0 / clock[at.LEARNT])
        _learn_ball(columns[at.NEARBY], state.centres, state.balls, clock)
    _solve_whitening(columns, state.covariance, state.whitening)
    for i in range(at.GRACE):
        _standardise(columns, state.held[i])
        _whiten_row(columns, state.whitening)
        _learn_bins(state.white_mass, columns[at.WHITENED_VALUE], 1.0)
    _refresh_tables(state)
    clock[at.NEXT_WHITENING] = 2 * at.GRACE
    clock[at.NEXT_TABLES] = at.GRACE + at.UNSCORED


@kernel(array(F8, 2, readonly=True), at.STATE_TYPE, array(I8), array(F8, 2), array(F8), array(F8))
def score_ensemble(X: Any, state: Any, skipped: Any, channels: Any, judged: Any, score: Any) -> None:
    """Score each row, then learn the row that has waited long enough.

    Shapes: X (n, features); score (n,); channels (n, 3), which sum to the score, or (0, 3); judged (n,), the score once
    more, or NaN for a row that has none.
    Units: score and channels in standard deviations of the parts among rows that were learnt; 0 is ordinary.
    Cost: 0.5 µs a row of 3 features, 0.8 µs of 10.
    Source: Goldstein and Dengel 2012 (histograms); Li et al. 2022, ECOD (tails); Kessy, Lewin and Strimmer 2018 (ZCA);
    Bandaragoda et al. 2018, iNNE (loneliness); Finch 2009 (moments). The composition is ours.
    Difference: one pass with exponential memory, learnt late and through a gate. A row with a value that is not finite
    scores 0 and changes nothing but the count of such rows.
    """
    features = X.shape[1]
    columns, parts, clock = state.columns, state.parts, state.clock
    explained = channels.shape[0] > 0
    for i in range(X.shape[0]):
        score[i] = 0.0
        judged[i] = np.nan
        if explained:
            channels[i, :] = 0.0
        void = 0.0
        for f in range(features):
            void += X[i, f] - X[i, f]  # NaN where the value is not finite
        if void != 0.0:
            skipped[0] += 1
            continue
        seen = clock[at.SEEN]
        held = state.held[seen % at.HELD]
        for f in range(features):
            if seen == 0:
                columns[at.ORIGIN, f] = X[i, f]
            held[f] = min(max(X[i, f] - columns[at.ORIGIN, f], -at.FARTHEST), at.FARTHEST)
        seen += 1
        clock[at.SEEN] = seen
        if seen == at.GRACE:
            _begin(state)
        if seen <= at.GRACE:
            continue
        _standardise(columns, held)
        part = parts[at.PART_VALUE]
        _view(state.table, columns[at.VALUE], part)
        squares = _whiten_row(columns, state.whitening)
        _view(state.white_table, columns[at.WHITENED_VALUE], part[at.WHITE :])
        part[at.DISTANCE] = math.log(
            squares / features + at.EMPTY
        )  # instead of the tails of the whitened values
        part[at.LONELY] = _loneliness(columns[at.NEARBY], state.centres, state.balls)
        marginal, whitened, neighbour = _channels(parts)
        score[i] = marginal + whitened + neighbour
        if parts[at.PART_RECIPROCAL, 0] > 0.0:
            judged[i] = score[i]
        if explained:
            channels[i, 0], channels[i, 1], channels[i, 2] = marginal, whitened, neighbour
        for k in range(at.PARTS):
            held[features + k] = part[k]
        held[features + at.PARTS] = score[i]
        held[features + at.PARTS + 1] = 1.0 if score[i] > state.pace[at.SUSPECT_ABOVE] else 0.0
        waiting = min(at.LAG, 4 * seen // 5, max(seen - at.PROMPT, 0))
        taken = clock[at.LEARNT] + clock[at.REFUSED]
        if taken < seen - waiting:
            _learn(state, state.held[taken % at.HELD])
