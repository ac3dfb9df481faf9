"""Numbers only: detectors, EOCT, risk aggregators and the engine's kernels, as NumPy in, NumPy out.

Imports nothing of Guardian's. A detector is imported when it is first named, since its compiler takes a third of a
second to load; its loop is compiled on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from scoring import eoct, risk

if TYPE_CHECKING:
    from scoring.ensemble import Ensemble
    from scoring.forest import IsolationForest
    from scoring.half_space_trees import HalfSpaceTrees
    from scoring.histogram import StreamingHistogram
    from scoring.loda import Loda
    from scoring.rs_hash import RSHash
    from scoring.sequences import SequenceScorer
    from scoring.series import SeriesScorer
    from scoring.tail import TailCalibrator

__all__ = [
    "Ensemble",
    "HalfSpaceTrees",
    "IsolationForest",
    "Loda",
    "RSHash",
    "SequenceScorer",
    "SeriesScorer",
    "StreamingHistogram",
    "TailCalibrator",
    "eoct",
    "risk",
]

_HOME: Final = {
    "Ensemble": "ensemble",
    "HalfSpaceTrees": "half_space_trees",
    "IsolationForest": "forest",
    "Loda": "loda",
    "RSHash": "rs_hash",
    "SequenceScorer": "sequences",
    "SeriesScorer": "series",
    "StreamingHistogram": "histogram",
    "TailCalibrator": "tail",
}
"""The module of each name that is imported late."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
