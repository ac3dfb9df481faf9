"""Half-space trees with River's semantics: how little mass the windows before left where a row falls.

Owns the detector, its trees and its loop. Does not own checks of rows or snapshots (``scoring.detector``).
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from scoring.compilation import F8, I8, U8, array, jit, kernel, types
from scoring.detector import Detector, real, whole

MASS, SINCE = range(2)
"""Places in ``node``: rows of the reference window that passed here, if SINCE is the present epoch, otherwise none."""

LATEST, SCORE, SCORED = range(3)
"""Places in ``leaf``: rows of the present window that ended here; the score of its path, if of the epoch SCORED."""

MAX_LEAVES: Final = 2**22
PADDING: Final = 0.15
SIZE_LIMIT: Final = 0.1

ROWS, EPOCH = range(2)
"""Places in ``clock``: rows of the present window so far, windows that are complete."""


class HalfSpaceTrees(Detector):
    """Half-space trees (Tan, Ting and Liu 2011), as River 0.26 computes them: the same seed gives the same scores.

    Until the first window is full every score is 0. The trees, and the scaler before them, never forget a range: one
    very large value squeezes all others together for good. Scores lie in [0, 1].

    Args:
        features: values in a row.
        n_trees: trees, 1 to 1,000.
        height: levels of splits, 1 to 20; n_trees × 2^height is at most 4,194,304.
        window_size: rows whose mass is the reference for the rows after them, 1 to 1,000,000.
        limits: (low, high) of each feature, within which splits are drawn; (0, 1) where left out.
        scale: put every feature on its running minimum and maximum first, as River's ``MinMaxScaler`` does.
        seed: of the splits.

    Raises:
        ValueError: a parameter is out of range; names it.
    """

    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    offset_tolerance: ClassVar[float] = 0.0

    def __init__(
        self,
        features: int,
        *,
        n_trees: int = 10,
        height: int = 8,
        window_size: int = 250,
        limits: Sequence[Sequence[float]] | None = None,
        scale: bool = True,
        seed: int = 0,
    ) -> None:
        trees = whole("n_trees", n_trees, 1, 1000)
        self._height = whole("height", height, 1, 20)
        if trees << self._height > MAX_LEAVES:
            raise ValueError(
                f"n_trees × 2^height: expected at most {MAX_LEAVES}, got {trees << self._height}"
            )
        self._window = whole("window_size", window_size, 1, 1_000_000)
        if not isinstance(scale, bool):
            raise ValueError(f"scale: expected True or False, got {scale!r}")  # noqa: TRY004  (one error type)
        super().__init__(
            features,
            {
                "n_trees": trees,
                "height": self._height,
                "window_size": self._window,
                "limits": None if limits is None else _checked_limits(limits, features),
                "scale": scale,
                "seed": whole("seed", seed, 0, 2**63 - 1),
            },
        )
        self._scale = int(scale)
        self._threshold, self._feature = _splits(self._parameters, self.features)
        leaves = 1 << self._height
        # Written, not only reserved: else tall trees take a page fault at nearly every new leaf of their first windows.
        self._node = np.full((trees, 2 * leaves, 2), 0, np.int64)
        self._leaf = np.full((trees, leaves, 3), 0, np.int64)
        self._touched = np.zeros((trees, min(leaves, self._window)), np.int32)
        self._touched_count = np.zeros(trees, np.int64)
        self._bounds = np.full((2, self.features), np.inf)
        self._bounds[1] = -np.inf
        self._clock = np.zeros(2, np.int64)
        self._scaled = np.empty((2, self.features))
        self._place = np.empty((2, trees), np.uint64)

    def _state(self) -> Mapping[str, NDArray[Any]]:
        return {
            "threshold": self._threshold,
            "feature": self._feature,
            "node": self._node,
            "leaf": self._leaf,
            "touched": self._touched,
            "touched_count": self._touched_count,
            "bounds": self._bounds,
            "clock": self._clock,
        }

    def _is_sound(self) -> bool:
        latest = self._leaf[:, :, LATEST]
        return bool(
            ((self._feature >= 0) & (self._feature < self.features)).all()
            and (latest >= 0).all()
            and (latest.sum(axis=1) == self._clock[ROWS]).all()
            and ((latest > 0).sum(axis=1) == self._touched_count).all()
            and ((self._touched >= 0) & (self._touched < latest.shape[1])).all()
            and self._clock[EPOCH] >= 0
            and 0 <= self._clock[ROWS] < self._window
        )

    def _score_learn(self, X: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        half_space_trees(
            X,
            self._window,
            self._scale,
            self._threshold,
            self._feature,
            self._node,
            self._leaf,
            self._touched,
            self._touched_count,
            self._bounds,
            self._clock,
            self._scaled,
            self._place,
            self._skipped,
            out,
        )


def _checked_limits(limits: Sequence[Sequence[float]], features: int) -> list[list[float]]:
    if len(limits) != features:
        raise ValueError(
            f"limits: expected one (low, high) for each of {features} features, got {len(limits)}"
        )
    checked = []
    for place, pair in enumerate(limits):
        if len(pair) != 2:
            raise ValueError(f"limits[{place}]: expected (low, high), got {len(pair)} values")
        low, high = (real(f"limits[{place}]", each, -1e300, 1e300) for each in pair)
        if not low < high:
            raise ValueError(f"limits[{place}]: expected low < high, got ({low}, {high})")
        checked.append([low, high])
    return checked


def _splits(parameters: Mapping[str, Any], features: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Thresholds and features of all trees, in heap order with the root at 1, drawn in River's order from the same generator.

    A feature is drawn with the weight of its range, then a threshold uniformly within it, .15 of the range off both
    ends; then the left subtree, then the right one.
    """
    height = parameters["height"]
    chance = random.Random(parameters["seed"]).random  # noqa: S311  (River's generator, so that trees are equal)
    threshold = np.zeros((parameters["n_trees"], 1 << height))
    feature = np.zeros(threshold.shape, np.int64)
    limits = [list(pair) for pair in parameters["limits"] or [[0.0, 1.0]] * features]

    def grow(node: int, depth: int) -> Iterator[tuple[int, float, int]]:
        cumulated = list(accumulate(high - low for low, high in limits))
        on = bisect(cumulated, chance() * cumulated[-1], 0, features - 1)
        low, high = limits[on]
        first, last = low + PADDING * (high - low), high - PADDING * (high - low)
        at = first + (last - first) * chance()
        yield node, at, on
        if depth + 1 < height:
            limits[on] = [low, at]
            yield from grow(2 * node, depth + 1)
            limits[on] = [at, high]
            yield from grow(2 * node + 1, depth + 1)
            limits[on] = [low, high]

    for tree in range(len(threshold)):
        for node, at, on in grow(1, 0):
            threshold[tree, node], feature[tree, node] = at, on
    return threshold.ravel(), feature.ravel()


@jit
def _descend(threshold: Any, feature: Any, height: Any, z: Any, at: Any) -> None:
    """Heap place of the leaf where a row ends, in every tree; all trees one level at a time, so that no tree waits.

    Indices are unsigned: numba then leaves out its check for negative ones. A tree by tree walk took twice as long.
    """
    for t in range(at.shape[0]):
        at[t] = np.uint64(1)
    for _ in range(height):
        for t in range(at.shape[0]):
            split = (np.uint64(t) << np.uint64(height)) + at[t]
            below = z[np.uint64(feature[split])] < threshold[split]
            at[t] = at[t] + at[t] + np.uint64(not below)


@jit
def _path_score(nodes: Any, height: Any, leaf: Any, epoch: Any, limit: Any) -> Any:
    """Sum of mass × 2^depth from the root down to the first node with little mass; exact, in whole numbers."""
    score = 0
    for depth in range(height + 1):
        place = leaf >> np.uint64(height - depth)
        mass = nodes[place, MASS] if nodes[place, SINCE] == epoch else 0
        score += mass << depth
        if mass < limit:
            break
    return score


@jit
def _pivot(node: Any, leaf: Any, touched: Any, touched_count: Any, epoch: Any) -> None:
    """Make the present window the reference; only paths that were walked are written."""
    leaves = leaf.shape[1]
    for t in range(node.shape[0]):
        for k in range(touched_count[t]):
            place = leaves + touched[t, k]
            rows = leaf[t, touched[t, k], LATEST]
            leaf[t, touched[t, k], LATEST] = 0
            while place > 0:
                if node[t, place, SINCE] != epoch:
                    node[t, place, SINCE] = epoch
                    node[t, place, MASS] = 0
                node[t, place, MASS] += rows
                place >>= 1
        touched_count[t] = 0


@kernel(
    array(F8, 2, readonly=True),
    I8,
    I8,
    array(F8),
    array(I8),
    array(I8, 3),
    array(I8, 3),
    array(types.int32, 2),
    array(I8),
    array(F8, 2),
    array(I8),
    array(F8, 2),
    array(U8, 2),
    array(I8),
    array(F8),
)
def half_space_trees(
    X: Any,
    window: Any,
    scale: Any,
    threshold: Any,
    feature: Any,
    node: Any,
    leaf: Any,
    touched: Any,
    touched_count: Any,
    bounds: Any,
    clock: Any,
    scaled: Any,
    place: Any,
    skipped: Any,
    out: Any,
) -> None:
    """One minus the share of the greatest mass score that a row's paths reach.

    Shapes: X (n, F); threshold, feature (T × L,); node (T, 2 L, 2); leaf (T, L, 3); touched (T, min(L, window));
    touched_count (T,); bounds, scaled (2, F); place (2, T); clock (2,); skipped (1,); out (n,). L = 2^height.
    Units: out in [0, 1], higher = stranger; window in rows; scale 0 or 1.
    Cost: 10 trees of height 8: about 150 ns a row at 3 features.
    Source: Tan, Ting and Liu 2011, Fast anomaly detection for streaming data, algorithms 1 to 3; River 0.26 for the
    padding, the size limit, the orientation of the score and the scaler.
    Difference: none in the outcome. Masses of a window are kept at its leaves and carried up when it ends; a node is
    valid for one epoch, so nothing is cleared; the score of a leaf is computed once a window. Rows with a value that
    is not finite score 0 and change nothing.
    """
    trees, leaves = leaf.shape[0], leaf.shape[1]
    features = X.shape[1]
    height = 0
    while (1 << height) < leaves:
        height += 1
    limit = SIZE_LIMIT * window
    greatest = float(trees * window * (2 * leaves - 1))
    low, high = bounds[0], bounds[1]
    scored, learnt = scaled[0], scaled[1]
    at, then = place[0], place[1]
    rows, epoch = clock[ROWS], clock[EPOCH]
    for i in range(X.shape[0]):
        out[i] = 0.0
        finite = True
        moved = False
        for f in range(features):
            x = X[i, f]
            finite &= np.isfinite(x)
            moved |= (x < low[f]) | (x > high[f])
        if not finite:
            skipped[0] += 1
            continue
        for f in range(features):
            width = high[f] - low[f]
            scored[f] = (X[i, f] - low[f]) / width if width != 0.0 else 0.0
        if scale == 0:
            for f in range(features):
                scored[f] = X[i, f]
        _descend(threshold, feature, height, scored, at)
        if epoch > 0:
            total = 0
            for t in range(trees):
                end = at[t] - np.uint64(leaves)
                if leaf[t, end, SCORED] != epoch:
                    leaf[t, end, SCORED] = epoch
                    leaf[t, end, SCORE] = _path_score(node[t], height, at[t], epoch, limit)
                total += leaf[t, end, SCORE]
            out[i] = 1.0 - total / greatest
        if moved and scale != 0:
            for f in range(features):
                low[f] = min(low[f], X[i, f])
                high[f] = max(high[f], X[i, f])
                width = high[f] - low[f]
                learnt[f] = (X[i, f] - low[f]) / width if width != 0.0 else 0.0
            _descend(threshold, feature, height, learnt, then)
        else:
            for t in range(trees):
                then[t] = at[t]
        for t in range(trees):
            end = then[t] - np.uint64(leaves)
            if leaf[t, end, LATEST] == 0:
                touched[t, touched_count[t]] = end
                touched_count[t] += 1
            leaf[t, end, LATEST] += 1
        rows += 1
        if rows == window:
            rows = 0
            epoch += 1
            _pivot(node, leaf, touched, touched_count, epoch)
    clock[ROWS], clock[EPOCH] = rows, epoch
