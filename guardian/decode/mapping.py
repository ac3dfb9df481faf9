"""A map: how any flat record becomes an event.

Owns the compiled form of a MAP.toml. Reading and checking the file is ``mapfile``; applying it is ``ndjson`` (record
by record) and ``tables`` (column by column), which agree on this meaning:

* a **path** names a field: first as it stands (``"host.name"`` may be one key), else step by step into objects;
* the first path that is **present** counts: not null, not empty, none of the column's ``none`` words, not an object;
* numbers and truth values are read as the text that JSON writes for them; of a list, its first item counts;
* what became part of a column is taken out of the record, everything else goes to ``attrs``: also an outcome,
  severity, layer or id that is written in no known way, and a list.
* fields named under ``label`` never go anywhere but into the labels;
* a kind may be said by a **message**: then it stays empty and the text is the body, of which the engine makes a kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from guardian.events import Outcome, Signal

Unit = Literal["s", "ms", "us", "ns", "iso8601"]

NANOSECONDS: Final[dict[str, int]] = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}

TEXT_COLUMNS: Final = ("source", "kind", "actor", "address", "target", "session")
"""The columns of EVENTS that hold names, in their order there."""

DEFAULT_BODY: Final = ("message", "Message", "msg")
"""Where the message text is looked for when a map does not say."""

_HOLE: Final = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Path:
    """One field of a record. ``parts`` are the steps when the name itself is no key; empty if it has no dot."""

    name: str
    parts: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str) -> Path:
        """The path that a dotted name stands for."""
        parts = tuple(name.split("."))
        return cls(name, parts if len(parts) > 1 else ())


@dataclass(frozen=True)
class Template:
    """Several fields joined by fixed text: ``literals[0] + paths[0] + literals[1] + …``; all must be present."""

    literals: tuple[str, ...]
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Message:
    """A field with free text for ``kind``: where it counts, the kind stays empty and the text becomes the body."""

    path: Path


Alternative = Path | Template | Message


def alternative(text: str) -> Path | Template:
    """What one entry of ``field`` means: a dotted path, or a template if it has ``{…}``.

    >>> alternative("{SourceName}/{EventID}").literals
    ('', '/', '')
    """
    pieces = _HOLE.split(text)
    if len(pieces) == 1:
        return Path.of(text)
    return Template(tuple(pieces[::2]), tuple(Path.of(name) for name in pieces[1::2]))


@dataclass(frozen=True)
class Text:
    """Where a name comes from: the first alternative that is present, or ``const``."""

    alternatives: tuple[Alternative, ...] = ()
    const: str = ""
    none: frozenset[str] = frozenset()
    strip: str = ""
    """A prefix that is taken off."""


@dataclass(frozen=True)
class Time:
    """One place where the event time may stand, and its unit."""

    alternatives: tuple[Path, ...]
    unit: Unit


@dataclass(frozen=True)
class OutcomeWords:
    """How an outcome is read. Words not listed are ``unknown``; case does not matter."""

    text: Text = Text()
    words: dict[str, int] = field(default_factory=dict)

    def read(self, text: str) -> int:
        """The outcome (int8 of EVENTS) that a text stands for."""
        return self.words.get(text.lower(), Outcome.UNKNOWN)


@dataclass(frozen=True)
class SeverityScale:
    """How a severity is read: a listed word, else a number on a linear scale; anything else is not stated."""

    text: Text = Text()
    levels: dict[str, float] = field(default_factory=dict)
    low: float = 0.0
    high: float = 1.0

    def read(self, text: str) -> float:
        """The severity 0…1 that a text stands for, NaN = not stated.

        >>> SeverityScale(low=1, high=15).read("8")
        0.5
        """
        level = self.levels.get(text.lower())
        if level is not None:
            return level
        try:
            number = (float(text) - self.low) / (self.high - self.low)
        except ValueError:
            return float("nan")
        return min(max(number, 0.0), 1.0) if number == number else number  # noqa: PLR0124  (NaN stays NaN)


@dataclass(frozen=True)
class Value:
    """Where the magnitude comes from; ``factor`` brings it to base units."""

    alternatives: tuple[Path, ...] = ()
    factor: float = 1.0
    const: float = float("nan")


@dataclass(frozen=True)
class Label:
    """Backtests only: the attack that a record belongs to. ``benign`` words mean none."""

    alternatives: tuple[Path, ...]
    benign: frozenset[str]


@dataclass(frozen=True, eq=False)
class Map:
    """A checked map. ``texts`` has an entry for each of TEXT_COLUMNS."""

    name: str
    ts: tuple[Time, ...]
    texts: dict[str, Text]
    outcome: OutcomeWords = OutcomeWords()
    severity: SeverityScale = SeverityScale()
    value: Value = Value()
    body: Text = Text(alternatives=tuple(Path.of(name) for name in DEFAULT_BODY))
    layer: Text = Text()
    trace_id: Text = Text()
    span_id: Text = Text()
    label: Label | None = None
    default_layer: int = -1
    signal: Signal = Signal.LOG
