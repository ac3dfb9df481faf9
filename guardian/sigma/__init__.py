"""Detection rules in Sigma's format, evaluated on EVENTS in batches.

``parse`` reads texts into rules, ``program`` compiles them, ``fields`` finds their fields in EVENTS, ``match`` says which
rule matches which event, ``correlate`` which matches belong together; ``detector`` is all of it for the engine.
"""

from guardian.sigma.detector import Detector, RuleChannel, Ruled, tags_of, texts_of

__all__ = ["Detector", "RuleChannel", "Ruled", "tags_of", "texts_of"]
