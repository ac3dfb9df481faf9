"""Labelled events through the engine, measured: coverage first, then how well its scores rank windows.

Owns what a backtest measures and how it is shown. Does not own scoring (``guardian.engine``) nor reading files
(``guardian.decode``). Labels never reach the engine.
"""

from guardian.backtest.measure import backtest, backtest_files
from guardian.backtest.result import Explanation, Result

__all__ = ["Explanation", "Result", "backtest", "backtest_files"]
