"""Threat levels: the five words, their score bands, and what each one recommends.

Owns the meaning of a guardian score (0…100). Does not own how a score is computed (``scoring``) nor when a level
may fall (the hold time lives in the engine's kernel, because it is state).

Origin: words and recommended actions are TAMV's; bands, the yellow of *medium* and ``intensity`` are ours.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Level(IntEnum):
    """A threat level, as stored in SCORES and ALERTS (int8)."""

    NONE = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def word(self) -> str:
        """The word that TAMV uses on the wire: ``none``, ``low``, ``medium``, ``high``, ``critical``."""
        return self.name.lower()


BAND_EDGES: Final = (20.0, 40.0, 60.0, 80.0)
"""Lowest score of low, medium, high and critical. A score of 60 is high; 59.99 is medium."""

POINTS_PER_DECADE: Final = 20.0
"""score = 20 · (−log10 of the expected benign exceedances per entity-day)."""

RECOMMENDED_ACTION: Final[dict[Level, tuple[str, ...]]] = {
    Level.NONE: ("log",),
    Level.LOW: ("alert",),
    Level.MEDIUM: ("notify",),
    Level.HIGH: ("block",),
    Level.CRITICAL: ("isolate", "notify"),
}
"""What the engine recommends. Blocking and isolating wait for a human, unless a named playbook is automatic."""

NEEDS_APPROVAL: Final = frozenset({"block", "isolate"})

COLOUR: Final[dict[Level, str]] = {
    Level.NONE: "#34c759",
    Level.LOW: "#34c759",
    Level.MEDIUM: "#ffcc00",
    Level.HIGH: "#ff9500",
    Level.CRITICAL: "#ff3b30",
}

LIGHT: Final[dict[Level, str]] = {
    Level.NONE: "day",
    Level.LOW: "day",
    Level.MEDIUM: "day",
    Level.HIGH: "dusk",
    Level.CRITICAL: "alarm",
}

MOOD: Final[dict[Level, str]] = {
    Level.NONE: "calm",
    Level.LOW: "calm",
    Level.MEDIUM: "calm",
    Level.HIGH: "alert",
    Level.CRITICAL: "critical",
}


def level_of(score: float) -> Level:
    """The band that a guardian score falls into.

    >>> level_of(19.99), level_of(20.0), level_of(100.0)
    (<Level.NONE: 0>, <Level.LOW: 1>, <Level.CRITICAL: 4>)
    """
    return Level(sum(score >= edge for edge in BAND_EDGES))


def level_named(word: str) -> Level:
    """The level of a word on the wire.

    Raises:
        ValueError: the word is none of the five.
    """
    try:
        return Level[word.upper()]
    except KeyError:
        known = ", ".join(level.word for level in Level)
        raise ValueError(f"expected one of {known}, got {word!r}") from None
