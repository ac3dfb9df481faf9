"""The loops of sessions: bounded tables of kinds, transitions and count vectors, and the probabilities they give.

Owns the state's layout and the loops; an entry of a table stands in one bucket of WAYS places, where the one untouched
longest makes room. Does not own checks, allocation or the public class: that is ``scoring.sequences``.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.compilation import F8, I8, U8, array, jit, kernel, record

Whole = NDArray[np.int64]
Floats = NDArray[np.float64]

WAYS: Final = 8
"""Places of a bucket: a key stands in one of them or nowhere, and the one untouched longest makes room."""

LENGTHS: Final = 256
LENGTHS_PER_DOUBLING: Final = 4
START: Final = np.uint64(0xA0761D6478BD642F)
END: Final = np.uint64(0xE7037ED1A0B428DB)

CLOCK, SYMBOLS, DISTINCT, SESSIONS, EVICTED_KINDS, EVICTED_STEPS, EVICTED_COUNTS = range(7)
TOTALS: Final = 7


KIND: Final = np.dtype(
    [
        ("key", np.uint64),  # 0 = a free place
        ("last", np.int64),  # clock of the last touch
        ("seen", np.int64),  # as a symbol
        ("left", np.int64),  # as the context of a transition
        ("followers", np.int64),  # distinct kinds that came next
        ("context", np.uint64),  # what the keys of transitions from here begin with; new at each birth
    ]
)
STEP: Final = np.dtype(
    [
        ("key", np.uint64),
        ("last", np.int64),
        ("seen", np.int64),
        ("owner", np.int64),  # place of the context
        ("context", np.uint64),  # that of the owner then
    ]
)
COUNTS: Final = np.dtype([("key", np.uint64), ("last", np.int64), ("seen", np.int64)])


class SequenceState(NamedTuple):
    """Three tables of buckets of WAYS places, lengths of sessions, totals."""

    kinds: NDArray[np.void]
    steps: NDArray[np.void]
    counts: NDArray[np.void]
    lengths: Whole
    totals: Whole


_TABLES: Final = (record(KIND), record(STEP), record(COUNTS))
_I8S: Final = array(I8)
_IN_I8: Final = array(I8, readonly=True)


@jit
def _mixed(x: Any) -> Any:
    """Finaliser of SplitMix64 (Steele, Lea and Flood 2014); never 0, which marks a free place."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return x if x != np.uint64(0) else np.uint64(1)


@jit
def _kind_key(kind: Any, seed: Any) -> Any:
    return _mixed((np.uint64(kind) ^ seed) + np.uint64(0x9E3779B97F4A7C15))


@jit
def _found(table: Any, key: Any) -> Any:
    """Place of ``key``, or -1."""
    first = WAYS * (np.int64(key >> np.uint64(20)) & (table.shape[0] // WAYS - 1))
    for at in range(first, first + WAYS):
        if table[at]["key"] == key:
            return at
    return -1


@jit
def _oldest(table: Any, key: Any) -> Any:
    """The place of its bucket that a new ``key`` takes: free, or untouched longest."""
    first = WAYS * (np.int64(key >> np.uint64(20)) & (table.shape[0] // WAYS - 1))
    at = first
    for other in range(first + 1, first + WAYS):
        if table[other]["last"] < table[at]["last"]:
            at = other
    return at


@jit
def _probability(at: Any, context: Any, key: Any, kinds: Any, steps: Any, totals: Any) -> Any:
    """Of ``key``, which stands at ``at``, after the kind at ``context`` (-1 = unknown): Witten and Bell's interpolation."""
    if totals[SYMBOLS] == 0:
        return 1.0
    distinct = np.float64(totals[DISTINCT])
    seen = np.float64(kinds[at]["seen"]) if at >= 0 else 0.0
    alone = (seen + distinct / (distinct + 1.0)) / (np.float64(totals[SYMBOLS]) + distinct)
    if context < 0 or kinds[context]["left"] == 0:
        return alone
    step = _found(steps, _mixed(kinds[context]["context"] + key))
    together = np.float64(steps[step]["seen"]) if step >= 0 else 0.0
    followers = np.float64(kinds[context]["followers"])
    return (together + followers * alone) / (np.float64(kinds[context]["left"]) + followers)


@jit
def _kind_place(key: Any, kinds: Any, totals: Any) -> Any:
    """Where a kind stands, made if it is new."""
    at = _found(kinds, key)
    if at < 0:
        at = _oldest(kinds, key)
        if kinds[at]["key"] != np.uint64(0):
            totals[EVICTED_KINDS] += 1
            totals[SYMBOLS] -= kinds[at]["seen"]
            if kinds[at]["seen"] > 0:
                totals[DISTINCT] -= 1
        kinds[at]["key"] = key
        kinds[at]["seen"] = 0
        kinds[at]["left"] = 0
        kinds[at]["followers"] = 0
        # Transitions of a forgotten kind are never found again: their keys begin with the context of an older birth.
        kinds[at]["context"] = _mixed(
            key ^ (np.uint64(totals[EVICTED_KINDS]) * np.uint64(0x9E3779B97F4A7C15))
        )
    kinds[at]["last"] = totals[CLOCK]
    return at


@jit
def _learn_step(context: Any, key: Any, kinds: Any, steps: Any, totals: Any) -> Any:
    """Count ``key`` after the kind at ``context``; returns where ``key`` stands."""
    context_key = kinds[context]["key"]
    at = _kind_place(key, kinds, totals)
    if kinds[at]["seen"] == 0:
        totals[DISTINCT] += 1
    kinds[at]["seen"] += 1
    totals[SYMBOLS] += 1
    if kinds[context]["key"] != context_key:  # a full bucket forgot the context to make room for its follower
        return at
    together = _mixed(kinds[context]["context"] + key)
    step = _found(steps, together)
    if step < 0:
        step = _oldest(steps, together)
        if steps[step]["key"] != np.uint64(0):
            totals[EVICTED_STEPS] += 1
            owner = steps[step]["owner"]
            if kinds[owner]["context"] == steps[step]["context"]:
                kinds[owner]["left"] -= steps[step]["seen"]
                kinds[owner]["followers"] -= 1
        steps[step]["key"] = together
        steps[step]["seen"] = 0
        steps[step]["owner"] = context
        steps[step]["context"] = kinds[context]["context"]
        kinds[context]["followers"] += 1
    steps[step]["seen"] += 1
    steps[step]["last"] = totals[CLOCK]
    kinds[context]["left"] += 1
    kinds[context]["last"] = totals[CLOCK]
    return at


@jit
def _length_bin(length: Any) -> Any:
    return min(int(math.log2(1.0 + length) * LENGTHS_PER_DOUBLING), LENGTHS - 1)


@jit
def _counts_key(ids: Any, start: Any, stop: Any, seed: Any) -> Any:
    """One number for how often each kind occurs: a sum, so that order does not matter."""
    total = np.uint64(0)
    for i in range(start, stop):
        total += _kind_key(ids[i], seed)
    return _mixed(total)


@jit
def _length_probability(size: Any, lengths: Any, sessions: Any) -> Any:
    """Of a length at least as far out as this one, on the rarer side; one imagined session is as long."""
    below = above = 0
    for length in range(LENGTHS):
        if length <= size:
            below += lengths[length]
        if length >= size:
            above += lengths[length]
    return (min(below, above) + 1.0) / (sessions + 1.0)


@jit
def _rarest(ids: Any, start: Any, stop: Any, seed: Any, kinds: Any, steps: Any, totals: Any) -> Any:
    """The lowest probability of a transition of a session, and the event it leads to (``stop`` = the end)."""
    lowest, where = 1.0, start
    context = _found(kinds, START)
    for i in range(start, stop + 1):
        key = _kind_key(ids[i], seed) if i < stop else END
        at = _found(kinds, key)
        probability = _probability(at, context, key, kinds, steps, totals)
        if probability < lowest:
            lowest, where = probability, i
        context = at
    return lowest, where


@kernel(_IN_I8, _IN_I8, U8, I8, I8, I8, I8, *_TABLES, _I8S, _I8S, array(F8, 2), _I8S, array(F8))
def session_surprisal(
    ids: Any,
    offsets: Any,
    seed: Any,
    support: Any,
    score: Any,
    learn: Any,
    explain: Any,
    kinds: Any,
    steps: Any,
    counts: Any,
    lengths: Any,
    totals: Any,
    parts: Any,
    where: Any,
    out: Any,
) -> None:
    """Strangeness of each session under all sessions learnt before it.

    Shapes: ids (events,); offsets (n + 1,) into ids; kinds, steps, counts: tables, powers of two of at least WAYS;
        lengths (LENGTHS,), totals (TOTALS,); out (n,) unless score is 0; parts (n, 3) and where (n,) unless explain is 0.
    Units: decades (-log10 of a probability); parts = transition, length, times that the counts were learnt; where = the
        event that the rarest transition leads to, offsets[i + 1] for the end.
    Cost: an event about 1 ns if the counts are known, else 30 ns; learning 23 ns (one core, tables in cache).
    Source: Witten and Bell 1991, The zero-frequency problem, method C, interpolated over bigram, unigram and one unseen
        kind; count vectors as the baseline that deep models of logs must beat: Landauer et al. 2024, A critical review of
        common log data sets.
    Difference: a count vector is kept as one 64-bit sum of hashes (two differ with odds of 2^-64 to be taken for one);
        what a full bucket forgets leaves the totals too, but for the number of sessions.
    """
    for i in range(offsets.shape[0] - 1):
        start, stop = offsets[i], offsets[i + 1]
        key = _counts_key(ids, start, stop, seed)
        known = _found(counts, key)
        size = _length_bin(stop - start)
        if score:
            seen = counts[known]["seen"] if known >= 0 else 0
            out[i] = 0.0
            if seen < support or explain:
                lowest, at = _rarest(ids, start, stop, seed, kinds, steps, totals)
                transition = -math.log10(lowest)
                length = -math.log10(_length_probability(size, lengths, totals[SESSIONS]))
                if seen < support:
                    out[i] = max(transition, length)
                if explain:
                    parts[i, 0], parts[i, 1], parts[i, 2], where[i] = transition, length, seen, at
        if learn:
            totals[CLOCK] += 1
            if known < 0:
                known = _oldest(counts, key)
                if counts[known]["key"] != np.uint64(0):
                    totals[EVICTED_COUNTS] += 1
                counts[known]["key"] = key
                counts[known]["seen"] = 0
            counts[known]["seen"] += 1
            counts[known]["last"] = totals[CLOCK]
            context = _kind_place(START, kinds, totals)
            for j in range(start, stop):
                context = _learn_step(context, _kind_key(ids[j], seed), kinds, steps, totals)
            _learn_step(context, END, kinds, steps, totals)
            lengths[size] += 1
            totals[SESSIONS] += 1
