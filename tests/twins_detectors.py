"""Slow twins of the single detectors: written again from the papers with lists and dictionaries, one row at a time.

They are the specification. A twin takes from its detector what chance drew (directions, grids) and nothing else; the
trees it draws itself. ``<Name>Twin(detector).score_learn(row)`` is found by name in ``tests/test_laws.py``.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, ClassVar

REACH = 16.0


class HalfSpaceTreesTwin:
    """Tan, Ting and Liu 2011, figures 2 to 4 (a reference mass r and a latest mass l at every node), as River has it."""

    def __init__(self, detector: Any) -> None:
        given = detector._parameters
        self.window, self.height = given["window_size"], given["height"]
        chance = random.Random(given["seed"])
        box = [tuple(pair) for pair in given["limits"] or [(0.0, 1.0)] * detector.features]
        self.trees = [self._grown(box, self.height, chance) for _ in range(given["n_trees"])]
        self.scaler = [(math.inf, -math.inf)] * detector.features if given["scale"] else None
        self.rows = 0

    def score_learn(self, row: list[float]) -> float:
        score = 0.0
        if self.rows >= self.window:
            most = len(self.trees) * self.window * (2 ** (self.height + 1) - 1)
            score = 1.0 - sum(self._mass_score(tree, self._scaled(row)) for tree in self.trees) / most
        if self.scaler is not None:
            self.scaler = [
                (min(low, x), max(high, x)) for (low, high), x in zip(self.scaler, row, strict=True)
            ]
        for tree in self.trees:
            for node in self._path(tree, self._scaled(row)):
                node.latest += 1
        self.rows += 1
        if self.rows % self.window == 0:
            for tree in self.trees:
                self._pivot(tree)
        return score

    def _scaled(self, row: list[float]) -> list[float]:
        if self.scaler is None:
            return row
        return [
            (x - low) / (high - low) if high != low else 0.0
            for (low, high), x in zip(self.scaler, row, strict=True)
        ]

    def _grown(self, box: list[tuple[float, float]], height: int, chance: random.Random) -> _Node:
        if height == 0:
            return _Node()
        on = chance.choices(range(len(box)), weights=[high - low for low, high in box])[0]
        low, high = box[on]
        at = chance.uniform(low + 0.15 * (high - low), high - 0.15 * (high - low))
        left = self._grown([*box[:on], (low, at), *box[on + 1 :]], height - 1, chance)
        right = self._grown([*box[:on], (at, high), *box[on + 1 :]], height - 1, chance)
        return _Node(on, at, [left, right])

    def _path(self, node: _Node, row: list[float]) -> list[_Node]:
        path = [node]
        while node.children:
            node = node.children[0] if row[node.feature] < node.threshold else node.children[1]
            path.append(node)
        return path

    def _mass_score(self, tree: _Node, row: list[float]) -> float:
        score = 0.0
        for depth, node in enumerate(self._path(tree, row)):
            score += node.reference * 2**depth
            if node.reference < 0.1 * self.window:
                break
        return score

    def _pivot(self, node: _Node) -> None:
        node.reference, node.latest = node.latest, 0
        for child in node.children:
            self._pivot(child)


@dataclass
class _Node:
    feature: int = 0
    threshold: float = 0.0
    children: list[_Node] = field(default_factory=list)
    reference: int = 0
    latest: int = 0


class _Scale:
    """Running mean and deviation of differences from the first row; a step is cut at 16 deviations."""

    def __init__(self, features: int) -> None:
        self.origin: list[float] = []
        self.mean = [0.0] * features
        self.variance = [0.0] * features
        self.rows = 0

    def standardise(self, row: list[float]) -> list[float]:
        if not self.origin:
            self.origin = list(row)
        rate = max(1.0 / (self.rows + 1), 1e-5)
        z = []
        for f, x in enumerate(row):
            step = min(max(x - self.origin[f], -1e150), 1e150) - self.mean[f]
            deviation = math.sqrt(self.variance[f])
            if deviation > 0.0:
                z.append(min(max(step / deviation, -REACH), REACH))
                step = z[f] * deviation
            else:
                z.append(0.0 if step == 0.0 else math.copysign(REACH, step))
            self.mean[f] += rate * step
            self.variance[f] = (1.0 - rate) * (self.variance[f] + rate * step * step)
        self.rows += 1
        return z


class _Seen:
    """Weights of what was seen, each half as heavy after every half-life of rows."""

    def __init__(self, half_life: float) -> None:
        self.fade = 0.5 ** (1.0 / half_life)
        self.weight: dict[Any, float] = defaultdict(float)
        self.total = 0.0

    def see(self, *things: Any) -> None:
        for thing in self.weight:
            self.weight[thing] *= self.fade
        self.total = self.total * self.fade + 1.0
        for thing in things:
            self.weight[thing] += 1.0


def _is_due(rows: int) -> bool:
    return rows in (1, 2, 4, 8, 16, 32, 64, 128) or rows % 256 == 0


class StreamingHistogramTwin:
    """HBOS: minus log of the bin's share; ECOD: minus log of the smaller tail; both as of the last refresh."""

    def __init__(self, detector: Any) -> None:
        self.scale = _Scale(detector.features)
        self.seen = _Seen(detector._parameters["half_life"])
        self.known: dict[tuple[int, int], float] = {}
        self.known_total: float | None = None

    def score_learn(self, row: list[float]) -> float:
        z = self.scale.standardise(row)
        bins = [min(math.floor((each + REACH) * 4), 127) for each in z]
        score = sum(self._surprise(f, b) for f, b in enumerate(bins)) / len(row)
        self.seen.see(*enumerate(bins))
        if _is_due(self.scale.rows):
            self.known, self.known_total = dict(self.seen.weight), self.seen.total
        return score

    def _surprise(self, f: int, b: int) -> float:
        if self.known_total is None:
            return 0.0

        def share(first: int, last: int) -> float:
            return sum(weight for (g, c), weight in self.known.items() if g == f and first <= c <= last)

        density = (share(b - b % 8, b - b % 8 + 7) + 0.05) / (self.known_total + 1)
        tail = (min(share(0, b), share(b, 127)) + 0.5) / (self.known_total + 1)
        return -math.log(density) - math.log(tail)


class LodaTwin:
    """Pevny 2016, equation 2: the mean of minus log densities of sparse random projections."""

    def __init__(self, detector: Any) -> None:
        pairs = zip(detector._chosen.T.tolist(), detector._direction.T.tolist(), strict=True)
        self.directions = [list(zip(features, weights, strict=True)) for features, weights in pairs]
        self.scale = _Scale(detector.features)
        self.seen = _Seen(detector._parameters["half_life"])
        self.known: dict[tuple[int, int], float] = {}
        self.known_total: float | None = None

    def score_learn(self, row: list[float]) -> float:
        z = self.scale.standardise(row)
        bins = []
        for direction in self.directions:
            projected = sum(weight * z[f] for f, weight in direction)
            bins.append(min(max(math.floor(projected + REACH), 0), 31))
        score = 0.0
        if self.known_total is not None:
            for place in enumerate(bins):
                score -= math.log((self.known.get(place, 0.0) + 0.05) / (self.known_total + 1))
        self.seen.see(*enumerate(bins))
        if _is_due(self.scale.rows):
            self.known, self.known_total = dict(self.seen.weight), self.seen.total
        return score / len(bins)


class RSHashTwin:
    """Sathe and Aggarwal 2016: log of the rows in the same cell of each grid, here with exact cells and turned round."""

    parameters: ClassVar = {"grids": 8, "cells": 2**18}
    """So many cells that two of a few hundred rows hardly ever share one by chance: the twin has no collisions."""

    def __init__(self, detector: Any) -> None:
        self.grids = [
            [(f, detector._shift[g, d], detector._density[g]) for d, f in enumerate(chosen[:depth])]
            for g, (chosen, depth) in enumerate(
                zip(detector._chosen.tolist(), detector._dimensions.tolist(), strict=True)
            )
        ]
        self.scale = _Scale(detector.features)
        self.seen = _Seen(detector._parameters["half_life"])

    def score_learn(self, row: list[float]) -> float:
        z = self.scale.standardise(row)
        cells = [
            (g, *(math.floor(z[f] * density + shift) for f, shift, density in grid))
            for g, grid in enumerate(self.grids)
        ]
        # What was seen until now is one row older when this one arrives.
        fade = self.seen.fade
        logs = sum(math.log2(1 + self.seen.weight.get(cell, 0.0) * fade) for cell in cells)
        score = math.log2(1 + self.seen.total * fade) - logs / len(cells)
        self.seen.see(*cells)
        return max(score, 0.0)
