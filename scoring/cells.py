"""The loops of the detectors that count: decayed histograms of features, of projections, and of grid cells.

Owns their loops and the scaling that they share. Does not own the detectors themselves, which are
``scoring.histogram``, ``scoring.loda`` and ``scoring.rs_hash``. They stand in one file because a loop and what it calls
must: numba's cache does not notice an edit elsewhere.

Decay is forward: an increment grows by 2^(1/half-life) a row and everything is divided by it when it nears overflow,
so that a row touches only its own cells (Cormode, Shkapenyuk, Srivastava and Xu 2009, Forward decay).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from scoring.compilation import F8, I8, U8, array, jit, kernel

REACH: Final = 16.0
"""Standard deviations beyond which every value is alike, in counts and in the scaler."""

SLOWEST_RATE: Final = 1e-5
LARGEST_STEP: Final = 1e150
"""Differences are cut there, so that their squares stay finite."""

ORIGIN, MEAN, VARIANCE = range(3)
"""Rows of ``moments``; the mean is that of the differences from the origin, the first row."""

WEIGHT, TOTAL = range(2)
"""Places in ``mass``: the weight of the next row, the weights of all rows so far with decay."""

FINE_BINS: Final = 128
COARSE_EVERY: Final = 8
WIDE_BINS: Final = 32
REFRESH: Final = 256
HEAVY: Final = 1e200
PRIOR: Final = 0.05
MATRIX: Final = array(F8, 2)


@jit
def _standardise(X: Any, i: Any, moments: Any, rows: Any, z: Any) -> Any:
    """Standardise row i by the rows before it, then learn it; False, and nothing learnt, if a value is not finite.

    Differences from the first row are exact where the values are, so a constant added to all of them changes nothing.
    A step is cut at REACH deviations: one absurd value widens the scale by a factor, not to its own size.
    """
    features = X.shape[1]
    finite = True
    for f in range(features):
        finite &= np.isfinite(X[i, f])
    if not finite:
        return False
    if rows == 0:
        for f in range(features):
            moments[ORIGIN, f] = X[i, f]
    rate = max(1.0 / (rows + 1.0), SLOWEST_RATE)
    for f in range(features):
        step = min(max(X[i, f] - moments[ORIGIN, f], -LARGEST_STEP), LARGEST_STEP) - moments[MEAN, f]
        deviation = np.sqrt(moments[VARIANCE, f])
        if deviation > 0.0:
            z[f] = min(max(step / deviation, -REACH), REACH)
            step = z[f] * deviation
        else:
            z[f] = REACH * np.sign(step)
        moments[MEAN, f] += rate * step
        moments[VARIANCE, f] = (1.0 - rate) * (moments[VARIANCE, f] + rate * step * step)
    return True


@jit
def _pass_time(mass: Any, growth: Any, cells: Any) -> None:
    """Count one row, and let all those before it fade a little."""
    mass[TOTAL] += mass[WEIGHT]
    mass[WEIGHT] *= growth
    if mass[WEIGHT] > HEAVY:
        for c in range(cells.shape[0]):
            cells[c] /= mass[WEIGHT]
        mass[TOTAL] /= mass[WEIGHT]
        mass[WEIGHT] = 1.0


@jit
def _is_due(rows: Any) -> Any:
    """Whether tables are computed anew after this many rows: every 256, at first whenever they have doubled."""
    return rows % REFRESH == 0 or (rows < REFRESH and rows & (rows - 1) == 0)


@kernel(
    array(F8, 2, readonly=True),
    F8,
    array(F8, 2),
    array(F8),
    array(F8),
    array(F8),
    array(I8),
    array(F8),
    array(I8),
    array(F8),
)
def histogram_tails(
    X: Any,
    growth: Any,
    moments: Any,
    counts: Any,
    surprise: Any,
    mass: Any,
    rows: Any,
    z: Any,
    skipped: Any,
    out: Any,
) -> None:
    """How rare each feature's value is, by the density of its bin and by the smaller tail, averaged over features.

    Shapes: X (n, F); moments (3, F); counts, surprise (F × 128,); mass (2,); rows, skipped (1,); z (F,); out (n,).
    Units: out in nats, at least 0, higher = rarer; growth is the factor of one row's weight to that of the row before.
    Cost: about 15 ns a feature.
    Source: Goldstein and Dengel 2012, Histogram-based outlier score (HBOS): the sum of log inverse densities;
    Li et al. 2022, ECOD, equation 5: the smaller tail of each feature.
    Difference: bins of fixed width on a running standardisation (two deviations for densities, a quarter of one for
    tails), decayed; densities and tails are added; logarithms are taken once in 256 rows, at first at every doubling,
    so a burst counts against itself only afterwards. Rows with a value that is not finite score 0 and change nothing.
    """
    features = X.shape[1]
    for i in range(X.shape[0]):
        out[i] = 0.0
        if not _standardise(X, i, moments, rows[0], z):
            skipped[0] += 1
            continue
        score = 0.0
        for f in range(features):
            cell = np.uint64(f * FINE_BINS + np.int64(min((z[f] + REACH) * 4.0, FINE_BINS - 0.5)))
            score += surprise[cell]
            counts[cell] += mass[WEIGHT]
        out[i] = score / features
        rows[0] += 1
        _pass_time(mass, growth, counts)
        if _is_due(rows[0]):
            now = mass[WEIGHT] / growth
            total = mass[TOTAL] / now
            for f in range(features):
                whole = 0.0
                for b in range(f * FINE_BINS, (f + 1) * FINE_BINS):
                    whole += counts[b] / now
                left = 0.0
                for start in range(f * FINE_BINS, (f + 1) * FINE_BINS, COARSE_EVERY):
                    coarse = 0.0
                    for b in range(start, start + COARSE_EVERY):
                        coarse += counts[b] / now
                    density = (coarse + PRIOR) / (total + 1.0)
                    for b in range(start, start + COARSE_EVERY):
                        here = counts[b] / now
                        left += here
                        tail = (max(min(left, whole - left + here), 0.0) + 0.5) / (whole + 1.0)
                        surprise[b] = max(-np.log(density * tail), 0.0)


@kernel(
    array(F8, 2, readonly=True),
    F8,
    array(I8, 2),
    array(F8, 2),
    array(F8, 2),
    array(F8),
    array(F8),
    array(F8),
    array(I8),
    array(F8),
    array(F8),
    array(I8),
    array(F8),
)
def projected_histograms(
    X: Any,
    growth: Any,
    chosen: Any,
    direction: Any,
    moments: Any,
    counts: Any,
    surprise: Any,
    mass: Any,
    rows: Any,
    z: Any,
    projected: Any,
    skipped: Any,
    out: Any,
) -> None:
    """How rare a row is along random sparse directions, on average.

    Shapes: X (n, F); chosen, direction (J, K); moments (3, F); counts, surprise (K × 32,); mass (2,); rows, skipped
    (1,); z (F,); projected (K,); out (n,).
    Units: out in nats, at least 0, higher = rarer; growth is the factor of one row's weight to that of the row before.
    Cost: about 5 ns a projection, 15 ns a feature.
    Source: Pevny 2016, Loda: lightweight on-line detector of anomalies, equation 2.
    Difference: features are standardised first, so that no unit outweighs another, and directions have length one;
    bins of one deviation, decayed; logarithms are taken once in 256 rows, at first at every doubling. Rows with a value
    that is not finite score 0 and change nothing.
    """
    projections = projected.shape[0]
    for i in range(X.shape[0]):
        out[i] = 0.0
        if not _standardise(X, i, moments, rows[0], z):
            skipped[0] += 1
            continue
        for p in range(projections):
            projected[p] = 0.0
        for j in range(chosen.shape[0]):
            for p in range(projections):
                projected[p] += direction[j, p] * z[np.uint64(chosen[j, p])]
        score = 0.0
        weight = mass[WEIGHT]
        for p in range(projections):
            cell = np.uint64(p * WIDE_BINS + np.int64(min(max(projected[p] + REACH, 0.0), WIDE_BINS - 0.5)))
            score += surprise[cell]
            counts[cell] += weight
        out[i] = score / projections
        rows[0] += 1
        _pass_time(mass, growth, counts)
        if _is_due(rows[0]):
            now = mass[WEIGHT] / growth
            for b in range(counts.shape[0]):
                density = (counts[b] / now + PRIOR) / (mass[TOTAL] / now + 1.0)
                surprise[b] = max(-np.log(density), 0.0)


@jit
def _mixed(h: Any) -> Any:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit reaches every other."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@kernel(
    array(F8, 2, readonly=True),
    F8,
    array(I8),
    array(I8, 2),
    array(U8, 2),
    array(F8, 2),
    array(F8),
    array(F8, 2),
    array(F8),
    array(F8),
    array(I8),
    array(F8),
    array(I8),
    array(F8),
)
def grid_cells(
    X: Any,
    growth: Any,
    dimensions: Any,
    chosen: Any,
    multiplier: Any,
    shift: Any,
    density: Any,
    moments: Any,
    counts: Any,
    mass: Any,
    rows: Any,
    z: Any,
    skipped: Any,
    out: Any,
) -> None:
    """How few rows lie in the same cell of random grids over random features, on average.

    Shapes: X (n, F); dimensions, density (M,); chosen, multiplier, shift (M, D); moments (3, F); counts (M × 2 W,), W
    a power of two; mass (2,); rows, skipped (1,); z (F,); out (n,).
    Units: out in bits, at least 0, higher = rarer; density in cells to a standard deviation, shift in cells.
    Cost: about 15 ns a grid.
    Source: Sathe and Aggarwal 2016, Subspace outlier detection in linear time with randomized hashing (RS-Hash),
    algorithm 1 and section 4.
    Difference: a running standardisation takes the place of the minimum and maximum; counts decay forward and live in
    two rows of cells (count-min, conservative update: Estan and Varghese 2002) rather than in dated cells; the score
    is turned round: log of rows seen minus log of rows in the cell. Rows with a value that is not finite score 0 and
    change nothing.
    """
    grids = dimensions.shape[0]
    cells = counts.shape[0] // (2 * grids)
    mask = np.uint64(cells - 1)
    for i in range(X.shape[0]):
        out[i] = 0.0
        if not _standardise(X, i, moments, rows[0], z):
            skipped[0] += 1
            continue
        weight = mass[WEIGHT]
        logs = 0.0
        product = 1.0
        for g in range(grids):
            address = np.uint64(0)
            for d in range(dimensions[g]):
                place = np.floor(z[np.uint64(chosen[g, d])] * density[g] + shift[g, d])
                address = address + np.uint64(np.int64(place)) * multiplier[g, d]
            h = _mixed(address)
            first = np.uint64(2 * g * cells) + (h & mask)
            second = np.uint64((2 * g + 1) * cells) + ((h >> np.uint64(32)) & mask)
            count = min(counts[first], counts[second])
            counts[first] = max(counts[first], count + weight)
            counts[second] = max(counts[second], count + weight)
            product *= 1.0 + count / weight
            if product > HEAVY:
                logs += np.log2(product)
                product = 1.0
        logs += np.log2(product)
        out[i] = max(np.log2(1.0 + mass[TOTAL] / weight) - logs / grids, 0.0)
        rows[0] += 1
        _pass_time(mass, growth, counts)
