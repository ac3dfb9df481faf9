"""Numbers only: EOCT, risk aggregators and the engine's kernels, as NumPy in, NumPy out. Imports nothing of Guardian's."""

from scoring import eoct, risk
from scoring.forest import IsolationForest
from scoring.sequences import SequenceScorer
from scoring.series import SeriesScorer

__all__ = ["IsolationForest", "SequenceScorer", "SeriesScorer", "eoct", "risk"]
