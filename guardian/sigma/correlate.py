"""Matches that belong together: counts, distinct values and orders of rules within a time span, by group.

Owns the state of correlation rules and its bounds. A group remembers no more than its rule needs to decide (as many times or
values as its threshold, one time a rule), a rule no more than ``MOST_GROUPS`` groups: the one whose last match is oldest is
forgotten first, and counted. Time is event time; within a group it never runs backwards, as an entity's does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from guardian.errors import StateError
from guardian.sigma.rule import Correlation

MOST_GROUPS: Final = 20_000

Key = tuple[str, ...]
Matched = tuple[int, int, int]
"""Row, time in nanoseconds, number of what matched."""


class Group(msgspec.Struct, array_like=True):
    """What one group of one rule remembers."""

    newest: int
    """Latest event time, nanoseconds."""
    times: list[int]
    """event_count: of the last matches, oldest first. temporal: of the last match of each rule (−2^63 = none).
    temporal_ordered: for each rule, the latest beginning of a chain that ends with it."""
    values: list[str]
    """value_count: the distinct values, the one seen last at the end, beside their ``times``."""


_NEVER: Final = -(2**63)


class Correlator:
    """The correlation rules of a set and what they remember."""

    def __init__(self, correlations: Sequence[Correlation], first: int) -> None:
        """``first`` is the number of the first correlation: how many rules there are before."""
        self._rules = tuple(correlations)
        self._first = first
        self._groups: list[dict[Key, Group]] = [{} for _ in correlations]
        self._listeners: dict[int, list[tuple[int, int]]] = {}
        for number, rule in enumerate(correlations):
            for place, source in enumerate(rule.rules):
                self._listeners.setdefault(source, []).append((number, place))
        self.forgotten = 0
        """Groups forgotten so far because there were too many."""

    @property
    def listened(self) -> NDArray[np.int64]:
        """Numbers of the rules whose matches matter here."""
        return np.array(sorted(each for each in self._listeners if each < self._first), np.int64)

    def fields(self) -> frozenset[str]:
        """Fields that are read to tell groups and values apart."""
        named = {name for rule in self._rules for names in rule.group_by for name in names}
        return frozenset(named | {rule.value for rule in self._rules if rule.value})

    def completed(
        self, matched: Sequence[Matched], values: Mapping[str, Mapping[int, str]]
    ) -> list[tuple[int, int]]:
        """Rows that complete a correlation, and which.

        Args:
            matched: matches of the rules in ``listened``, in the order of rows, then of numbers.
            values: for each of ``fields``, its value in each of those rows that has one.
        """
        found: list[tuple[int, int]] = []
        for row, at, source in matched:
            waiting = [source]
            done: set[int] = set()
            while waiting:
                for number, place in self._listeners.get(waiting.pop(0), ()):
                    if self._note(number, place, row, at, values):
                        told = self._first + number
                        if told not in done:
                            done.add(told)
                            found.append((row, told))
                            waiting.append(told)
        return sorted(set(found))

    def _note(
        self, number: int, place: int, row: int, at: int, values: Mapping[str, Mapping[int, str]]
    ) -> bool:
        """Remember a match in its group; whether the group is complete with it."""
        rule = self._rules[number]
        key = tuple(values[name].get(row, "") for name in rule.group_by[place])
        if "" in key:
            return False
        value = values[rule.value].get(row) if rule.value else None
        if rule.kind == "value_count" and value is None:
            return False
        groups = self._groups[number]
        group = groups.pop(key, None)
        if group is None:
            group = Group(at, [_NEVER] * (0 if rule.kind.endswith("_count") else len(rule.rules)), [])
            if len(groups) >= MOST_GROUPS:
                del groups[next(iter(groups))]
                self.forgotten += 1
        groups[key] = group  # at the end: dicts keep the order in which keys were put in
        group.newest = now = max(group.newest, at)
        oldest = now - rule.timespan_ns
        if rule.kind == "event_count":
            group.times.append(now)
            del group.times[: -rule.at_least]
            return len(group.times) == rule.at_least and group.times[0] >= oldest
        if rule.kind == "value_count":
            if value in group.values:
                known = group.values.index(value)
                del group.values[known], group.times[known]
            group.values.append(str(value))
            group.times.append(now)
            del group.values[: -rule.at_least], group.times[: -rule.at_least]
            return len(group.times) == rule.at_least and group.times[0] >= oldest
        if rule.kind == "temporal":
            group.times[place] = now
            return sum(time >= oldest for time in group.times) >= rule.at_least
        begun = now if place == 0 else group.times[place - 1]
        if begun < oldest:
            return False
        group.times[place] = max(group.times[place], begun)
        return place == len(rule.rules) - 1

    def snapshot(self) -> bytes:
        """What is remembered; equal states give equal bytes."""
        told = [list(groups.items()) for groups in self._groups]
        return msgspec.msgpack.encode((self.forgotten, told))

    def restore(self, blob: bytes) -> None:
        """Take what another one of the same rules remembered.

        Raises:
            StateError: the bytes say something else.
        """
        try:
            self.forgotten, told = msgspec.msgpack.decode(
                blob, type=tuple[int, list[list[tuple[Key, Group]]]]
            )
        except msgspec.MsgspecError as error:
            raise StateError(f"damaged snapshot: {error}") from None
        if len(told) != len(self._rules) or not all(map(_sound, self._rules, told)):
            raise StateError("damaged snapshot: its correlations are not those of its rules")
        self._groups = [dict(groups) for groups in told]


def _sound(rule: Correlation, groups: list[Any]) -> bool:
    for key, group in groups:
        if len(key) != len(rule.group_by[0]):
            return False
        if rule.kind.endswith("_count"):
            if not 1 <= len(group.times) <= rule.at_least:
                return False
        elif len(group.times) != len(rule.rules):
            return False
        if len(group.values) != (len(group.times) if rule.kind == "value_count" else 0):
            return False
    return len(groups) <= MOST_GROUPS
