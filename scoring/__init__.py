"""Numbers only: EOCT, risk aggregators and the engine's kernels, as NumPy in, NumPy out. Imports nothing of Guardian's."""

from scoring import eoct, risk
from scoring.ensemble import Ensemble
from scoring.tail import TailCalibrator

__all__ = ["Ensemble", "TailCalibrator", "eoct", "risk"]
