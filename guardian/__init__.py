"""An open engine that watches a whole ecosystem, says how threatened it is, and can prove every word of it."""

from guardian.backtest import backtest
from guardian.config import Config, load
from guardian.decode import read
from guardian.engine import Engine
from guardian.verdict import Verdict

__all__ = ["Config", "Engine", "Verdict", "backtest", "load", "read"]
