"""What a detection says, free of the library that parsed it: conditions over fields, and rules over conditions.

Owns the vocabulary of the package: plain, immutable values that compare by what they say. Does not own how rules are read
(``guardian.sigma.parse``) nor how they are evaluated (``guardian.sigma.match``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

ANY_TEXT: Final = ""
"""The field of a keyword: every text of an event."""

Comparison = Literal["eq", "lt", "lte", "gt", "gte"]


class Wild(Enum):
    """A wildcard of a pattern."""

    MANY = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class Text:
    """A value of the field is this text, as a whole; letters match in either case unless ``cased``."""

    field: str
    parts: tuple[str | Wild, ...]
    cased: bool = False


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression (RE2) is found in a value of the field."""

    field: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Number:
    """A value of the field that is written as a decimal number compares so with this one."""

    field: str
    comparison: Comparison
    number: float


@dataclass(frozen=True, slots=True)
class Network:
    """A value of the field is an address in this network (CIDR)."""

    field: str
    network: str


@dataclass(frozen=True, slots=True)
class Present:
    """The field has a value that is not null."""

    field: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A value of the field is, begins or ends with, or holds a value of another field; in either case of letters."""

    field: str
    other: str
    starts: bool = False
    ends: bool = False


Atom = Text | Regex | Number | Network | Present | Reference


@dataclass(frozen=True, slots=True)
class Not:
    """The condition does not hold."""

    inner: Condition


@dataclass(frozen=True, slots=True)
class And:
    """All hold; of none, this holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One holds; of none, this does not."""

    parts: tuple[Condition, ...]


Condition = Text | Regex | Number | Network | Present | Reference | Not | And | Or


@dataclass(frozen=True, slots=True)
class About:
    """What a rule tells people."""

    name: str
    """Its title, made unique by its id where two rules of a set have the same one: the kind that reasons name."""
    title: str
    id: str
    file: str
    level: str
    """informational, low, medium, high or critical."""
    tags: tuple[str, ...]
    """ATT&CK tags, as Sigma writes them."""
    reports: bool
    """A rule that only feeds correlations reports nothing itself."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One detection rule: an event matches where the condition holds."""

    about: About
    condition: Condition


@dataclass(frozen=True, slots=True)
class Correlation:
    """Matches of other rules that belong together: the event that completes them matches."""

    about: About
    kind: Literal["event_count", "value_count", "temporal", "temporal_ordered"]
    rules: tuple[int, ...]
    """What it refers to: places among the rules of its set, then among its correlations, each before this one."""
    group_by: tuple[tuple[str, ...], ...]
    """For each of ``rules``, the fields whose values tell groups apart."""
    timespan_ns: int
    at_least: int
    """Events, distinct values or rules."""
    value: str = ""
    """The field that value_count counts values of."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A rule that is not loaded, and what was expected instead."""

    file: str
    title: str
    id: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.title or self.id or '(no title)'}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules that were given; numbers of matches count ``rules`` first, then ``correlations``."""

    rules: tuple[Rule, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    refused: tuple[Refused, ...] = ()

    def abouts(self) -> tuple[About, ...]:
        """What each tells people, in the order of their numbers."""
        return (*(rule.about for rule in self.rules), *(each.about for each in self.correlations))


def fields_of(condition: Condition) -> frozenset[str]:
    """Every field that a condition reads."""
    match condition:
        case And(parts) | Or(parts):
            return frozenset().union(*map(fields_of, parts))
        case Not(inner):
            return fields_of(inner)
        case Reference(field, other):
            return frozenset((field, other))
        case _:
            return frozenset((condition.field,))
