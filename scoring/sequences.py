"""Strangeness of sessions of kinds: counts never seen before, joined by the rarest step from one kind to the next.

Owns the memory of count vectors, kinds, transitions and lengths (bounded tables, the longest untouched forgotten) and
the loops over them. Does not own what a kind or a session is: kinds are whole numbers, a session a run of them.

A session whose counts (how often each kind, in any order) were seen before scores 0. Any other scores its rarest
transition, from its start through every kind to its end, or its length where that is rarer. Each alone is not enough:
counts alone call every new mixture of harmless repetitions strange, transitions alone every rare order of known counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from scoring.detector import described, whole
from scoring.snapshots import opened, packed, refill
from scoring.transitions import (
    COUNTS,
    EVICTED_COUNTS,
    EVICTED_KINDS,
    EVICTED_STEPS,
    KIND,
    LENGTHS,
    SESSIONS,
    STEP,
    TOTALS,
    WAYS,
    Floats,
    SequenceState,
    Whole,
    session_surprisal,
)


class Explained(NamedTuple):
    """Why sessions score what they score; arrays of one entry a session."""

    transition: Floats
    """Surprisal of the rarest transition, in decades."""
    at: Whole
    """The event that it leads to, as an index into kinds; the session's end offset for "it ended there"."""
    length: Floats
    """Surprisal of the length, in decades."""
    seen: Whole
    """How many learnt sessions had the same counts."""


class SequenceScorer:
    """Scores sessions of kinds: 0 if their counts are known, else the surprisal of the rarest step or of the length.

    Learn ordinary sessions by ``learn`` and look at others by ``score``, or stream by ``score_learn``. Memory is fixed at
    construction: 48 bytes a kind, 40 a transition, 24 a count vector (4.4 MiB by default); where a table is full, what was
    untouched longest is forgotten and counted in ``evicted``. Whoever knows ``seed`` and may choose the numbers of kinds
    can forge counts.

    >>> import numpy as np
    >>> scorer = SequenceScorer()
    >>> scorer.learn(np.array([1, 2, 3] * 50), np.arange(0, 151, 3))
    >>> scorer.score(np.array([3, 1, 2, 3, 2, 2]), np.array([0, 3, 6])).round(2)
    array([0.  , 2.31])
    """

    def __init__(
        self,
        *,
        kinds: int = 4096,
        transitions: int = 65_536,
        sessions: int = 65_536,
        support: int = 1,
        seed: int = 0,
    ) -> None:
        """Make empty tables.

        Args:
            kinds: how many distinct kinds are remembered at most, a power of two from 8.
            transitions: how many distinct pairs of neighbouring kinds, likewise.
            sessions: how many distinct count vectors, likewise.
            support: how many learnt sessions make their counts known.
            seed: mixed into every hash.

        Raises:
            ValueError: a number is out of its bounds; names it.
        """
        sizes = {"kinds": kinds, "transitions": transitions, "sessions": sessions}
        for name, size in sizes.items():
            if whole(name, size, WAYS, 2**28) & (size - 1):
                raise ValueError(f"{name}: expected a power of two, got {size}")
        self._parameters = {
            **sizes,
            "support": whole("support", support, 1, 2**31),
            "seed": whole("seed", seed, 0, 2**63 - 1),
        }
        self._seed = np.uint64(seed)
        self._state = _empty(kinds, transitions, sessions)

    @property
    def sessions(self) -> int:
        """Sessions learnt."""
        return int(self._state.totals[SESSIONS])

    @property
    def evicted(self) -> dict[str, int]:
        """Kinds, transitions and count vectors that were forgotten because a table was full."""
        totals = self._state.totals
        return {
            "kinds": int(totals[EVICTED_KINDS]),
            "transitions": int(totals[EVICTED_STEPS]),
            "sessions": int(totals[EVICTED_COUNTS]),
        }

    def learn(self, kinds: Whole, offsets: Whole) -> None:
        """Learn sessions: the i-th is ``kinds[offsets[i]:offsets[i + 1]]``.

        Raises:
            ValueError: not int64 in one dimension, or offsets do not lead from 0 to ``len(kinds)`` without a step back.
        """
        self._run(kinds, offsets, score=False, learn=True)

    def score(self, kinds: Whole, offsets: Whole) -> Floats:
        """Strangeness (n,) of sessions in decades, 0 and more; nothing is learnt. Errors as ``learn``."""
        return self._run(kinds, offsets, score=True, learn=False)

    def score_learn(self, kinds: Whole, offsets: Whole) -> Floats:
        """Score each session, then learn it, in order: the same bits in one call or many. Errors as ``learn``."""
        return self._run(kinds, offsets, score=True, learn=True)

    def explain(self, kinds: Whole, offsets: Whole) -> Explained:
        """What ``score`` is made of. Errors as ``learn``."""
        _check(kinds, offsets)
        n = len(offsets) - 1
        parts, where = np.empty((n, 3)), np.empty(n, np.int64)
        self._kernel(kinds, offsets, (1, 0, 1), parts, where, np.empty(n))
        return Explained(parts[:, 0].copy(), where, parts[:, 1].copy(), parts[:, 2].astype(np.int64))

    def _run(self, kinds: Whole, offsets: Whole, *, score: bool, learn: bool) -> Floats:
        _check(kinds, offsets)
        out = np.empty(len(offsets) - 1 if score else 0)
        nothing = np.empty((0, 3)), np.empty(0, np.int64)
        self._kernel(kinds, offsets, (int(score), int(learn), 0), *nothing, out)
        return out

    def _kernel(
        self,
        ids: Whole,
        offsets: Whole,
        asked: tuple[int, int, int],
        parts: Floats,
        where: Whole,
        out: Floats,
    ) -> None:
        support = self._parameters["support"]
        session_surprisal(ids, offsets, self._seed, support, *asked, *self._state, parts, where, out)

    def snapshot(self) -> bytes:
        """Parameters and state; the same state gives the same bytes on any machine."""
        return packed(type(self).__name__, {"parameters": self._parameters}, self._arrays())

    @classmethod
    def restore(cls, blob: bytes) -> Self:
        """The scorer as it was; it goes on bit for bit.

        Raises:
            ValueError: the bytes are damaged, of another version, or of something else.
        """
        header, body = opened(blob, cls.__name__)
        try:
            made = cls(**header["parameters"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"snapshot: expected the parameters of a {cls.__name__}: {error}") from None
        refill(made._arrays(), header, body)
        owner = made._state.steps["owner"]
        if np.any(owner < 0) or np.any(owner >= len(made._state.kinds)):  # a digest proves no origin
            raise ValueError(f"snapshot: the arrays of this {cls.__name__} contradict each other")
        return made

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        return self._state._asdict()


def _empty(kinds: int, transitions: int, sessions: int) -> SequenceState:
    def table(size: int, entry: np.dtype[np.void]) -> NDArray[np.void]:
        made = np.zeros(size, entry)
        made["last"] = -1
        return made

    return SequenceState(
        kinds=table(kinds, KIND),
        steps=table(transitions, STEP),
        counts=table(sessions, COUNTS),
        lengths=np.zeros(LENGTHS, np.int64),
        totals=np.zeros(TOTALS, np.int64),
    )


def _check(kinds: Whole, offsets: Whole) -> None:
    for name, given in (("kinds", kinds), ("offsets", offsets)):
        if (
            not isinstance(given, np.ndarray)
            or given.dtype != np.int64
            or given.ndim != 1
            or not given.flags.c_contiguous
        ):
            raise ValueError(f"{name}: expected int64 of shape (n,), got {described(given)}")
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(kinds) or np.any(np.diff(offsets) < 0):
        raise ValueError(f"offsets: expected to lead from 0 to {len(kinds)} without a step back")
