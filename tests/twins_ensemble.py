"""Slow twins of the ensemble and of the tail calibrator: written again from the formulas, one row at a time.

They are the specification. They fade what was seen where the kernels let the weight of what is new grow, keep rows in
lists, and take eigenvectors from LAPACK; nothing is taken from the detector but its seed.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from statistics import median
from typing import Any

import numpy as np

FADE = 2.0 ** (-1.0 / 100_000)


class EnsembleTwin:
    """docs/explanation/detectors.md, "The ensemble", in its order."""

    def __init__(self, detector: Any) -> None:
        self.features = detector.features
        seed = detector._parameters["seed"]
        self.word = (seed * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) % 2**64 >> 32 or 1
        blocks = -(-self.features // 32)
        width = -(-self.features // blocks)
        self.blocks = [range(s, min(s + width, self.features)) for s in range(0, self.features, width)]
        self.rows: list[tuple[list[float], list[float], float, bool]] = []
        self.seen = self.learnt = self.refused = self.weighed = 0
        self.fine = [[0.0] * 128 for _ in range(self.features)]
        self.white = [[0.0] * 128 for _ in range(self.features)]
        self.gate = [0.0] * 512
        self.mean, self.variance = [0.0] * self.features, [0.0] * self.features
        self.joint_mean = np.zeros(self.features)
        self.covariance = np.zeros((self.features, self.features))
        self.sets: list[list[list[np.float32]]] = [[] for _ in range(16)]
        self.balls: list[list[tuple[np.float32, np.float32]]] = [[] for _ in range(16)]
        self.part_mean, self.part_variance = [0.0] * 9, [0.0] * 9
        self.part_scale: list[tuple[float, float]] = []
        self.tokens, self.share, self.suspect_above = 16.0, 0.0, math.inf

    def score_learn(self, row: list[float]) -> float:
        if self.seen == 0:
            self.origin = row
        u = [x - o for x, o in zip(row, self.origin, strict=True)]
        self.seen += 1
        if self.seen <= 32:
            self.rows.append((u, [], 0.0, False))
            if self.seen == 32:
                self._begin()
            return 0.0
        parts = self._parts(u)
        score = 0.0
        if self.part_scale:
            z = [(p - m) / s for p, (m, s) in zip(parts, self.part_scale, strict=True)]
            score = sum(z[:4]) + sum(z[4:8]) + z[8]
        self.rows.append((u, parts, score, score > self.suspect_above))
        lag = min(4096, self.seen * 4 // 5, max(self.seen - 256, 0))
        if self.learnt + self.refused < self.seen - lag:
            self._learn(*self.rows[self.learnt + self.refused])
        return score

    def _begin(self) -> None:
        for f in range(self.features):
            values = sorted(u[f] for u, *_ in self.rows)
            spread = (values[28] - values[3]) / 2.5631 or values[31] - values[0]
            self.mean[f], self.variance[f] = median(values), spread**2
        self.whitening = np.zeros((self.features, self.features))
        self.white_mean = np.zeros(self.features)
        self._freeze()
        for u, *_ in self.rows:
            self.learnt += 1
            self._count(u, 1.0)
            self._learn_joint(u, 1.0 / self.learnt)
        self._whiten()
        for u, *_ in self.rows:
            self._count_white(u)
        self._freeze()
        self.next_whitening, self.next_freeze = 64, 48

    def _learn(self, u: list[float], parts: list[float], score: float, suspect: bool) -> None:
        self.tokens = min(self.tokens + 3e-4, 16.0)
        self.share += 1e-3 * (suspect - self.share)
        if suspect and self.share <= 0.05:
            if self.tokens < 1.0:
                self.refused += 1
                return
            self.tokens -= 1.0
        self.learnt += 1
        self.weighed += 1
        rate = max(1.0 / self.learnt, 1e-5)
        for f, x in enumerate(u):
            d, reach = x - self.mean[f], 16.0 * math.sqrt(self.variance[f])
            d = max(-reach, min(d, reach)) if reach else d
            self.mean[f] += rate * d
            self.variance[f] = (1.0 - rate) * (self.variance[f] + rate * d * d)
        self._count(u, FADE)
        self._count_white(u, FADE)
        self._learn_joint(u, rate)
        rate = max(1.0 / self.weighed, 1e-5)
        for k, part in enumerate(parts):
            d = part - self.part_mean[k]
            self.part_mean[k] += rate * d
            self.part_variance[k] = (1.0 - rate) * (self.part_variance[k] + rate * d * d)
        if not suspect or self.share <= 0.05:
            b = max(0, min(int((score + 16.0) * 2.0), 511))
            self.gate[b] += min(self.learnt / 16_384.0, 1.0)
        self.gate = [FADE * m for m in self.gate]
        if self.learnt == self.next_whitening:
            self._whiten()
            self.next_whitening += min(self.learnt, 32_768)
        if self.learnt >= self.next_freeze:
            self.next_freeze += min(self.learnt // 8, 256)
            self._freeze()

    # -- one scale -----------------------------------------------------------------------------------------------

    def _z(self, u: list[float], reach: float) -> list[float]:
        z = [(x - m) / s for x, (m, s) in zip(u, self.scale, strict=True)]
        return [max(-reach, min(each, reach)) for each in z]

    def _whitened(self, u: list[float]) -> Any:
        return self.whitening @ (np.array(self._z(u, 6.0)) - self.white_mean)

    @staticmethod
    def _bin(value: float) -> int:
        return int((max(-16.0, min(value, 16.0 - 1e-9)) + 16.0) * 4.0)

    def _parts(self, u: list[float]) -> list[float]:
        white = self._whitened(u)
        distance = math.log(float(white @ white) / self.features + 0.05)
        broad, fine, _, extreme = self._view(self.white_tables, white)
        return [
            *self._view(self.tables, self._z(u, 16.0)),
            *(broad, fine, distance, extreme),
            self._loneliness(u),
        ]

    def _view(self, tables: Any, values: Any) -> list[float]:
        """Mean surprise of broad bin, fine bin and tail over the features; the highest of a broad bin."""
        found = [
            [table[self._bin(value)] for table in own] for own, value in zip(tables, values, strict=True)
        ]
        means = [sum(column) / self.features for column in zip(*found, strict=True)]
        return [*means, max(each[0] for each in found)]

    # -- marginals -----------------------------------------------------------------------------------------------

    def _count(self, u: list[float], fade: float) -> None:
        for f, z in enumerate(self._z(u, 16.0)):
            self.fine[f][self._bin(z)] += 1.0
            self.fine[f] = [fade * m for m in self.fine[f]]

    def _count_white(self, u: list[float], fade: float = 1.0) -> None:
        for f, value in enumerate(self._whitened(u)):
            self.white[f][self._bin(value)] += 1.0
            self.white[f] = [fade * m for m in self.white[f]]

    def _freeze(self) -> None:
        """What rows are scored against until the next time: scale, surprise of each bin, scale of the parts, gate."""
        self.scale = [(m, max(math.sqrt(v), 1e-18)) for m, v in zip(self.mean, self.variance, strict=True)]
        self.tables = self._surprises(self.fine)
        self.white_tables = self._surprises(self.white)
        if self.weighed >= 16:
            self.part_scale = [
                (m, math.sqrt(v + 0.01 + 4.0 / self.weighed))
                for m, v in zip(self.part_mean, self.part_variance, strict=True)
            ]
        if self.learnt >= 1024:
            allowed = 3e-4 * sum(self.gate)
            start = min(b for b in range(513) if sum(self.gate[b:]) <= allowed)
            self.suspect_above = start / 2.0 - 16.0

    @staticmethod
    def _surprises(masses: list[list[float]]) -> list[tuple[list[float], list[float], list[float]]]:
        total = math.log(sum(masses[0]) + 1.0)
        tables = []
        for m in masses:
            broad = [sum(m[b // 8 * 8 : b // 8 * 8 + 8]) for b in range(128)]
            fine = [m[b // 2 * 2] + m[b // 2 * 2 + 1] for b in range(128)]
            tails = [min(sum(m[: b + 1]), sum(m[b:])) for b in range(128)]
            surprises = ([total - math.log(s + 0.05) for s in shares] for shares in (broad, fine, tails))
            tables.append(tuple(surprises))
        return tables

    # -- joint ---------------------------------------------------------------------------------------------------

    def _learn_joint(self, u: list[float], rate: float) -> None:
        z = np.array(self._z(u, 6.0))
        d = z - self.joint_mean
        self.joint_mean = self.joint_mean + rate * d
        self.covariance = (1.0 - rate) * (self.covariance + rate * np.outer(d, d))
        self._sample([np.float32(each) for each in z])

    def _whiten(self) -> None:
        self.white_mean = self.joint_mean.copy()
        self.whitening = np.zeros((self.features, self.features))
        for block in self.blocks:
            own = np.ix_(block, block)
            values, vectors = np.linalg.eigh(self.covariance[own] + 0.01 * np.eye(len(block)))
            self.whitening[own] = (vectors / np.sqrt(np.maximum(values, 0.01))) @ vectors.T

    def _sample(self, z: list[np.float32]) -> None:
        filled = sum(map(len, self.sets))
        place = filled
        if filled == 128:
            self.word ^= (self.word << 13) & 0xFFFFFFFF
            self.word ^= self.word >> 17
            self.word ^= (self.word << 5) & 0xFFFFFFFF
            place = int(self.word / 2**32 * min(self.learnt, 100_000 / math.log(2.0)))
        if place >= 128:
            return
        members = self.sets[place % 16]
        members[place // 16 : place // 16 + 1] = [z]
        self._measure(place % 16)

    def _measure(self, t: int) -> None:
        members = self.sets[t]
        around = []
        for a, one in enumerate(members):
            others = [(distance(one, other), b) for b, other in enumerate(members) if b != a]
            around.append(min(others, default=(np.float32(-1.0), a)))
        balls = []
        for radius, nearest in around:
            ratio = (float(around[nearest][0]) + 1e-9) / (float(radius) + 1e-9)
            balls.append((radius, np.float32(1.0 - math.sqrt(ratio))))
        order = sorted(range(len(members)), key=lambda a: -balls[a][0])
        self.sets[t] = [members[a] for a in order]
        self.balls[t] = [balls[a] for a in order]

    def _loneliness(self, u: list[float]) -> float:
        z = [np.float32(each) for each in self._z(u, 6.0)]
        found = 0.0
        for members, balls in zip(self.sets, self.balls, strict=True):
            covering = [ball for one, ball in zip(members, balls, strict=True) if distance(z, one) <= ball[0]]
            found += float(covering[-1][1]) if covering else 1.0
        return found / 16.0


def distance(a: list[np.float32], b: list[np.float32]) -> np.float32:
    total = np.float32(0.0)
    for x, y in zip(a, b, strict=True):
        total += (x - y) * (x - y)
    return total


class TailTwin:
    """The idea behind the calibrator, without its grid: the share of all scores kept that are at least this high.

    Equal to it only up to the width of a bin and only below the Pareto tail; that is what the grid may cost.
    """

    def __init__(self) -> None:
        self.scores: list[float] = []

    def p_value_learn(self, score: float) -> float:
        above = len(self.scores) - bisect_right(self.scores, score)
        p = (above + 0.5) / (len(self.scores) + 0.5)
        self.scores.insert(bisect_right(self.scores, score), score)
        return p
