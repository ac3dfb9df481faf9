"""Slow twins of sequences, series and the forest: what their kernels compute, written again from the formulas.

They are the specification. Nothing here looks at the kernels' code or layout; where the two differ, one is wrong.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

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


class SeriesTwin:
    """One metric under the hour's density: histogram, exponential kernel, shrinkage; averages in a decayed sample."""

    def __init__(self, half_life: float, rest: float) -> None:
        self.half_life, self.rest = half_life, rest
        self.bins: list[tuple[int, int]] = []
        self.averages: list[float] = []
        self.average = self.mean = self.variance = 0.0
        self.count = 0
        self.peak, self.peak_at = 0.0, -math.inf

    def density(self, at: int, hour: int | None) -> float:
        near = [0.25 * math.exp(-abs(at - other) * 0.25 / 0.5) / (2 * 0.5) for other, _ in self._of(hour)]
        if hour is None:
            centre = 0.25 * math.exp(-abs(at) * 0.25 / 0.5) / (2 * 0.5)
            return (sum(near) + centre) / (len(near) + 1)
        return (sum(near) + 3 * self.density(at, None)) / (len(near) + 3)

    def score_learn(self, now: float, x: float) -> float:
        if not (math.isfinite(x) and math.isfinite(now)):
            return 0.0
        if not self.count:
            self.mean = x
        deviation = math.sqrt(self.variance)
        if x == self.mean:
            at = 0
        elif deviation == 0:
            at = 31 if x > self.mean else -31
        else:
            at = min(max(math.floor((x - self.mean) / (deviation * 0.25) + 0.5), -31), 31)
        hour = math.floor((now - 86400 * math.floor(now / 86400)) / 3600)
        surprisal = -math.log(self.density(at, hour))
        self.average += max(1 / (self.count + 1), 0.25) * (surprisal - self.average)
        score = 0.0
        if self.count >= 30:
            weights = [2 ** (-(age + 1) / self.half_life) for age in reversed(range(len(self.averages)))]
            level = min(math.floor(self.average * 16), 511)
            higher = sum(
                weight
                * (1.0 if other > level else (1 - min(self.average * 16 - level, 1)) * (other == level))
                for weight, other in zip(weights, self.averages, strict=True)
            )
            # The newest average weighs 1, not what half a life has left of it.
            newest = 2 ** (1 / self.half_life)
            p = (newest * higher + math.exp(-self.average)) / (newest * sum(weights) + 1)
            found = -math.log10(p)
            if found > self.peak or now - self.peak_at > self.rest:
                self.peak, self.peak_at = found, now
                score = max(found, 0.0)
            self.averages.append(level)
        self.bins.append((at, hour))
        step = x - self.mean
        if self.count > 50 and deviation > 0:
            step = min(max(step, -4 * deviation), 4 * deviation)
        rate = max(1 / (self.count + 1), 1e-5)
        self.mean += rate * step
        self.variance = (1 - rate) * (self.variance + rate * step * step)
        self.count += 1
        return score

    def _of(self, hour: int | None) -> list[tuple[int, int]]:
        return [each for each in self.bins if hour is None or each[1] == hour]


def isolation_score(forest: Any, row: Sequence[float]) -> float:
    """Liu, Ting and Zhou 2008, algorithm 3 and equation 2, over the trees of a fitted scikit-learn forest."""

    def chance(rows: int) -> float:
        if rows <= 1:
            return 0.0
        if rows == 2:
            return 1.0
        return 2 * (math.log(rows - 1) + 0.5772156649015329) - 2 * (rows - 1) / rows

    total = 0.0
    for member, columns in zip(forest.estimators_, forest.estimators_features_, strict=True):
        tree, node = member.tree_, 0
        while tree.children_left[node] >= 0:
            x = float(np.float32(row[columns[tree.feature[node]]]))
            node = (tree.children_left if x <= tree.threshold[node] else tree.children_right)[node]
            total += 1
        total += chance(int(tree.n_node_samples[node]))
    return float(2 ** (-total / len(forest.estimators_) / chance(int(forest.max_samples_))))
