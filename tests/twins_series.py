"""Slow twins of sequences, series and the forest: what their kernels compute, written again from the formulas.

They are the specification. Nothing here looks at the kernels' code or layout; where the two differ, one is wrong.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

START, END = "start", "end"


class SequenceTwin:
    """Sessions under Witten and Bell's interpolated bigram, gated by count vectors seen before; tables without bounds."""

    def __init__(self) -> None:
        self.sessions = 0
        self.counts: Counter[frozenset[tuple[Hashable, int]]] = Counter()
        self.lengths: Counter[int] = Counter()
        self.symbols: Counter[Hashable] = Counter()
        self.next: dict[Hashable, Counter[Hashable]] = defaultdict(Counter)

    def probability(self, before: Hashable, kind: Hashable) -> float:
        total, distinct = sum(self.symbols.values()), len(self.symbols)
        if not total:
            return 1.0
        alone = (self.symbols[kind] + distinct * (1 / (distinct + 1))) / (total + distinct)
        after = self.next[before]
        if not after:
            return alone
        return (after[kind] + len(after) * alone) / (sum(after.values()) + len(after))

    def learn_step(self, before: Hashable, kind: Hashable) -> None:
        self.symbols[kind] += 1
        self.next[before][kind] += 1

    def steps(self, session: Sequence[Hashable]) -> list[tuple[Hashable, Hashable]]:
        return list(zip([START, *session], [*session, END], strict=True))

    def transition(self, session: Sequence[Hashable]) -> float:
        return -math.log10(min(self.probability(*step) for step in self.steps(session)))

    def length(self, session: Sequence[Hashable]) -> float:
        mine = self._bin(session)
        shorter = sum(n for size, n in self.lengths.items() if size <= mine)
        longer = sum(n for size, n in self.lengths.items() if size >= mine)
        return -math.log10((min(shorter, longer) + 1) / (self.sessions + 1))

    def score(self, session: Sequence[Hashable], support: int = 1) -> float:
        if self.counts[frozenset(Counter(session).items())] >= support:
            return 0.0
        return max(self.transition(session), self.length(session))

    def learn(self, session: Sequence[Hashable]) -> None:
        self.counts[frozenset(Counter(session).items())] += 1
        for step in self.steps(session):
            self.learn_step(*step)
        self.lengths[self._bin(session)] += 1
        self.sessions += 1

    def _bin(self, session: Sequence[Hashable]) -> int:
        return math.floor(math.log2(1 + len(session)) * 4)
