"""An isolation forest fitted offline by scikit-learn, kept as flat arrays and walked by a kernel: the same scores.

Owns fitting (the one import of scikit-learn, when it is asked for), the arrays, the walk and their bytes. Does not own when
a forest is retrained or swapped in: ``digest`` names it for whoever logs that.

Every tree is laid out as a perfect binary tree of the forest's depth: the children of place i stand at 2i + 1 and 2i + 2,
so that a step is one comparison and no pointer; below a leaf that is not at the bottom all ways lead to the same value.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from scoring.compilation import F8, I8, array, kernel, record, types
from scoring.detector import MAX_FEATURES, check_rows, described, real, whole
from scoring.snapshots import opened, packed, refill

Floats = NDArray[np.float64]

BLOCK: Final = 64
"""Rows that walk a tree side by side, so that none waits for another's memory."""

MIN_DEPTH: Final = 3
MAX_DEPTH: Final = 16
EULER_GAMMA: Final = float(np.euler_gamma)
NODE: Final = np.dtype([("threshold", np.float32), ("lane", np.uint32)])
"""One question, x <= threshold; x stands in a block's lanes from feature · BLOCK on."""


@kernel(
    array(F8, 2, readonly=True),
    F8,
    record(NODE, 2),
    array(F8, 2),
    array(types.float32),
    array(types.uint32),
    array(F8),
    array(I8),
    array(F8),
)
def isolation_score(
    rows: Any,
    normal_path: Any,
    nodes: Any,
    paths: Any,
    lanes: Any,
    places: Any,
    walked: Any,
    skipped: Any,
    out: Any,
) -> None:
    """Isolation forest score of each row.

    Shapes: rows (n, features); nodes (trees, 2^depth - 1); paths (trees, 2^depth); lanes (features BLOCK,), places and walked
        (BLOCK,): scratch; skipped (1,); out (n,).
    Units: out in (0, 1], higher = stranger, 0.5 = as deep as a forest of chance; paths and normal_path in edges.
    Cost: about 430 ns a row for 100 trees of 8 levels, on one core.
    Source: Liu, Ting and Zhou 2008, Isolation forest; as scikit-learn computes it.
    Difference: scikit-learn's sign turned; rows are rounded to float32 as there, so thresholds are kept as the largest
        float32 that is not above them; a row with a value that is not finite scores 0 and is counted.
    """
    n, features = rows.shape
    trees, inner = nodes.shape
    two = np.uint32(2)  # unsigned: numba checks signed places for counting from the end
    for start in range(0, n, BLOCK):
        count = min(BLOCK, n - start)
        for r in range(BLOCK):
            walked[r] = 0.0
            for f in range(features):
                lanes[f * BLOCK + r] = np.float32(rows[start + min(r, count - 1), f])
        for tree in range(trees):
            node, path = nodes[tree], paths[tree]
            t0, t1, t2, t3 = (
                node[0]["threshold"],
                node[1]["threshold"],
                node[2]["threshold"],
                node[3]["threshold"],
            )
            t4, t5, t6 = node[4]["threshold"], node[5]["threshold"], node[6]["threshold"]
            x0, x1, x2, x3 = (
                lanes[node[0]["lane"] :],
                lanes[node[1]["lane"] :],
                lanes[node[2]["lane"] :],
                lanes[node[3]["lane"] :],
            )
            x4, x5, x6 = lanes[node[4]["lane"] :], lanes[node[5]["lane"] :], lanes[node[6]["lane"] :]
            # All seven questions of the first three levels, and the answers that count picked by masks: this loop becomes
            # vector instructions (with branches it does not), 2.3 M rows/s in place of 1.65 M.
            for r in range(BLOCK):
                first = np.int32(x0[r] > t0)
                left, right = np.int32(x1[r] > t1), np.int32(x2[r] > t2)
                second = left ^ ((left ^ right) & -first)
                a, b, c, d = (
                    np.int32(x3[r] > t3),
                    np.int32(x4[r] > t4),
                    np.int32(x5[r] > t5),
                    np.int32(x6[r] > t6),
                )
                left, right = a ^ ((a ^ b) & -second), c ^ ((c ^ d) & -second)
                third = left ^ ((left ^ right) & -first)
                places[r] = np.int32(7) + np.int32(4) * first + np.int32(2) * second + third
            level = 15
            while level <= inner:
                for r in range(BLOCK):
                    here = node[places[r]]
                    x = lanes[here["lane"] + np.uint32(r)]
                    places[r] = two * places[r] + two - np.uint32(x <= here["threshold"])
                level = 2 * level + 1
            for r in range(BLOCK):
                walked[r] += path[places[r] - np.uint32(inner)]
        for r in range(count):
            finite = True
            for f in range(features):
                finite = finite and math.isfinite(rows[start + r, f])
            if finite:
                out[start + r] = 2.0 ** (-walked[r] / (trees * normal_path))
            else:
                out[start + r] = 0.0
                skipped[0] += 1


class IsolationForest:
    """A fitted forest: scores rows, learns nothing. ``fit`` makes one, ``from_bytes`` brings one back.

    >>> import numpy as np
    >>> rows = np.random.default_rng(0).normal(size=(500, 2))
    >>> forest = IsolationForest.fit(rows, seed=1)
    >>> forest.score(np.array([[0.0, 0.0], [6.0, -6.0]])).round(1)
    array([0.4, 0.8])
    """

    def __init__(self, features: int, *, trees: int, depth: int, sample: int) -> None:
        """An empty forest of this shape; use ``fit``.

        Args:
            features: columns of the rows it scores.
            trees: how many trees.
            depth: edges from a root to the lowest row of places, no fewer than to the deepest leaf.
            sample: rows that each tree was grown from.

        Raises:
            ValueError: a number is out of its bounds; names it.
        """
        self.features = whole("features", features, 1, MAX_FEATURES)
        self.trees = whole("trees", trees, 1, 10_000)
        self.depth = whole("depth", depth, MIN_DEPTH, MAX_DEPTH)
        self.sample = whole("sample", sample, 2, 2**MAX_DEPTH)
        self._nodes = np.zeros((trees, 2**depth - 1), NODE)
        self._paths = np.zeros((trees, 2**depth))
        self._skipped = np.zeros(1, np.int64)
        self._scratch = np.empty(features * BLOCK, np.float32), np.empty(BLOCK, np.uint32), np.empty(BLOCK)

    @classmethod
    def fit(
        cls, X: Floats, *, trees: int = 100, sample: int = 256, max_features: float = 1.0, seed: int = 0
    ) -> Self:
        """Grow a forest by scikit-learn; the same rows and seed give the same forest.

        Args:
            X: (n, features) float64 in C order, at least 2 rows, finite and within what float32 can hold.
            trees: how many trees.
            sample: rows each tree is grown from, at most; n if there are fewer.
            max_features: share of the columns that each tree sees, above 0 to 1.
            seed: of every random choice.

        Raises:
            ValueError: X or a parameter is not as said.
            ModuleNotFoundError: scikit-learn is not installed.
        """
        if not isinstance(X, np.ndarray) or X.ndim != 2:
            raise ValueError(f"X: expected float64 of shape (n, features) in C order, got {described(X)}")
        check_rows(X, X.shape[1])
        whole("features", X.shape[1], 1, MAX_FEATURES)
        if len(X) < 2:
            raise ValueError(f"X: expected at least 2 rows, got {len(X)}")
        if not np.all(np.abs(X) <= np.finfo(np.float32).max):
            raise ValueError("X: expected finite values that float32 can hold")
        whole("sample", sample, 2, 2**MAX_DEPTH)
        from sklearn import ensemble

        fitted = ensemble.IsolationForest(
            n_estimators=whole("trees", trees, 1, 10_000),
            max_samples=min(sample, len(X)),
            max_features=real("max_features", max_features, 1e-9, 1.0),
            random_state=whole("seed", seed, 0, 2**32 - 1),
        ).fit(X)
        return cls.from_sklearn(fitted)

    @classmethod
    def from_sklearn(cls, fitted: Any) -> Self:
        """The flat form of a fitted ``sklearn.ensemble.IsolationForest``.

        Raises:
            ValueError: it is not fitted, or a tree is deeper than MAX_DEPTH.
        """
        if not hasattr(fitted, "estimators_"):
            raise ValueError("forest: expected a fitted sklearn.ensemble.IsolationForest")
        grown = [each.tree_ for each in fitted.estimators_]
        deepest = max(MIN_DEPTH, *(int(tree.max_depth) for tree in grown))
        if deepest > MAX_DEPTH:
            raise ValueError(f"forest: expected trees of at most {MAX_DEPTH} levels, got {deepest}")
        made = cls(
            int(fitted.n_features_in_), trees=len(grown), depth=deepest, sample=int(fitted.max_samples_)
        )
        for number, (tree, columns) in enumerate(zip(grown, fitted.estimators_features_, strict=True)):
            made._lay_out(number, tree, np.asarray(columns))
        return made

    def _lay_out(self, number: int, tree: Any, columns: NDArray[np.int64]) -> None:
        waiting = [(0, 0, 0)]
        while waiting:
            node, place, level = waiting.pop()
            left = int(tree.children_left[node])
            if left < 0:
                bottom = self.depth - level
                first = ((place + 1) << bottom) - 2**self.depth
                path = level + _average_path(int(tree.n_node_samples[node]))
                self._paths[number, first : first + 2**bottom] = path
                continue
            self._nodes[number, place] = (
                _not_above(float(tree.threshold[node])),
                BLOCK * columns[tree.feature[node]],
            )
            waiting += [
                (left, 2 * place + 1, level + 1),
                (int(tree.children_right[node]), 2 * place + 2, level + 1),
            ]

    @property
    def skipped(self) -> int:
        """Rows so far that held a value that is not finite."""
        return int(self._skipped[0])

    @property
    def digest(self) -> str:
        """SHA-256 of ``to_bytes``, in hexadecimal: the name of exactly this forest."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def score(self, X: Floats) -> Floats:
        """Score rows: (n,) in (0, 1], higher = stranger; 0 for a row with a value that is not finite.

        Equal to ``-score_samples(X)`` of the scikit-learn forest it was made from, within 1e-12.

        Raises:
            ValueError: X is not float64 of shape (n, features) in C order.
        """
        check_rows(X, self.features)
        out = np.empty(len(X))
        normal = _average_path(self.sample)
        isolation_score(X, normal, self._nodes, self._paths, *self._scratch, self._skipped, out)
        return out

    def to_bytes(self) -> bytes:
        """The forest as bytes: the same forest, the same bytes, on any machine; nothing runs when they are read."""
        about = {"features": self.features, "trees": self.trees, "depth": self.depth, "sample": self.sample}
        return packed(type(self).__name__, {"parameters": about}, self._arrays())

    @classmethod
    def from_bytes(cls, blob: bytes) -> Self:
        """The forest that ``to_bytes`` gave.

        Raises:
            ValueError: the bytes are damaged, of another version, of something else, or lead out of the forest.
        """
        header, body = opened(blob, cls.__name__)
        try:
            made = cls(**header["parameters"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"snapshot: expected the parameters of a {cls.__name__}: {error}") from None
        refill(made._arrays(), header, body)
        if np.any(made._nodes["lane"] % BLOCK) or np.any(made._nodes["lane"] >= made.features * BLOCK):
            raise ValueError(f"snapshot: expected columns below {made.features}")
        return made

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        return {"nodes": self._nodes, "paths": self._paths}


def _average_path(rows: int) -> float:
    """Edges to a leaf, on average, of a tree grown by chance from this many rows (Liu, Ting and Zhou 2008, equation 1)."""
    if rows <= 1:
        return 0.0
    if rows == 2:
        return 1.0
    return 2.0 * (math.log(rows - 1.0) + EULER_GAMMA) - 2.0 * (rows - 1.0) / rows


def _not_above(threshold: float) -> np.float32:
    """The largest float32 that is not above: comparing a float32 with either gives the same."""
    rounded = np.float32(threshold)
    return rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-np.inf))
