"""Sigma rules as part of the ``rule`` channel: batches of events in, points and the rule behind them out.

Owns the order of matching and correlating and which rule of an event is named. Does not own what points come to: that is
the kernel's, as for TAMV's own rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from guardian.config import Config
from guardian.errors import RulesError, StateError
from guardian.sigma.correlate import Correlator
from guardian.sigma.fields import Values, picks
from guardian.sigma.match import CHUNK, Matcher
from guardian.sigma.parse import POINTS, parse
from guardian.sigma.program import Program, compiled
from guardian.sigma.rule import RuleSet
from scoring.compilation import compile_all

KERNELS: Final = ("guardian.sigma.field_kernels", "guardian.sigma.match_kernels")
"""Modules of loops, compiled (or loaded) only where there are rules."""

_PREFIX: Final = "sigma/"


@dataclass(frozen=True, slots=True)
class Detected:
    """What the rules say of a batch; both have one element an event."""

    points: NDArray[np.float64]
    rule: NDArray[np.int64]
    """The strongest rule that matched (of equals the first of the set), −1 = none that gives points."""


@dataclass(frozen=True, slots=True)
class Ruled:
    """The same for the kernels: rules by the keys of their names."""

    points: NDArray[np.float64]
    """In the sentinel's points; 0 = nothing."""
    key: NDArray[np.uint64]


class Detector:
    """The rules of a configuration, and what their correlations remember."""

    def __init__(self, config: Config) -> None:
        """Read and compile the rules.

        Raises:
            RulesError: some cannot be loaded; all are listed.
        """
        compile_all(*KERNELS)
        self._texts = config.sigma.rules
        self.rules, program = _loaded(tuple(sorted(self._texts.items())), config.sigma.exclude)
        abouts = self.rules.abouts()
        self.names = tuple(about.name for about in abouts)
        self._points = np.array([POINTS[about.level] * about.reports for about in abouts])
        self._matcher = Matcher(program, config.engine.hash_seed)
        self._correlator = Correlator(self.rules.correlations, len(self.rules.rules))
        self._listened = self._correlator.listened

    def detected(self, batch: pa.RecordBatch) -> Detected:
        """Match a batch (as ``check_events`` returns it, with its kinds) in the order of its events."""
        points, best = np.zeros(len(batch)), np.full(len(batch), -1, np.int64)
        for found, numbers in self.matches(batch):
            given = self._points[numbers]
            order = np.lexsort((numbers, -given, found))
            first = order[np.flatnonzero(np.diff(found[order], prepend=-1))]
            first = first[given[first] > 0.0]
            points[found[first]] = given[first]
            best[found[first]] = numbers[first]
        return Detected(points, best)

    def matches(self, batch: pa.RecordBatch) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Rows and numbers of all that matches, in parts; correlations are told at the event that completes them."""
        ts = batch.column("ts").cast(pa.int64()).to_numpy()
        for start in range(0, len(batch), CHUNK):
            values = self._matcher.fields.values(batch.slice(start, CHUNK))
            row, rule = self._matcher.matches(values)
            number = rule.astype(np.int64)
            heard = np.isin(number, self._listened)
            if heard.any():
                rows = row[heard]
                at = ts[start + rows]
                matched = list(zip(rows.tolist(), at.tolist(), number[heard].tolist(), strict=True))
                told = self._correlator.completed(matched, self._values(values, np.unique(rows)))
                row = np.concatenate([row, np.array([each for each, _ in told], np.int64)])
                number = np.concatenate([number, np.array([each for _, each in told], np.int64)])
                order = np.lexsort((number, row))
                row, number = row[order], number[order]
            yield row + start, number

    def _values(self, values: Values, rows: NDArray[np.int64]) -> dict[str, dict[int, str]]:
        """For each field that correlations read, its first value in each of some rows that has one."""
        owner = np.repeat(np.arange(len(values.at) - 1), np.diff(values.at))
        asked = np.zeros(len(values.at) - 1, np.bool_)
        asked[rows] = True
        field = values.field[values.value]
        found: dict[str, dict[int, str]] = {}
        for name in self._correlator.fields():
            places = np.flatnonzero((field == self._matcher.fields.number[name]) & asked[owner])[::-1]
            texts = values.texts.take(picks(values.value[places])).to_pylist()
            found[name] = dict(zip(owner[places].tolist(), texts, strict=True))
        return found

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """The rules and what their correlations remember, for a snapshot; nothing where there are no rules."""
        if self._texts:
            texts = msgspec.msgpack.encode(dict(sorted(self._texts.items())))
            yield f"{_PREFIX}rules", np.frombuffer(texts, np.uint8)
            yield f"{_PREFIX}groups", np.frombuffer(self._correlator.snapshot(), np.uint8)

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on with what the correlations of a snapshot remember, if its rules are these.

        Raises:
            StateError: the snapshot is damaged.
        """
        if f"{_PREFIX}rules" in arrays and texts_of(arrays) == self._texts:
            try:
                self._correlator.restore(arrays[f"{_PREFIX}groups"].tobytes())
            except KeyError:
                raise StateError(f"damaged snapshot: no array {_PREFIX}groups") from None


class RuleChannel(Detector):
    """A detector whose rules have keys, as kinds have."""

    def __init__(self, config: Config, hash_names: Callable[[pa.Array], NDArray[np.uint64]]) -> None:
        """As the detector."""
        super().__init__(config)
        self._keys = np.append(hash_names(pa.array(self.names, pa.string())), np.uint64(0))

    def __call__(self, batch: pa.RecordBatch, kinds: dict[int, str]) -> Ruled:
        """Match a batch; the names of the rules that reasons may name are added to those of ``kinds``."""
        found = self.detected(batch)
        for number in np.unique(found.rule[found.rule >= 0]).tolist():
            kinds[int(self._keys[number])] = self.names[number]
        return Ruled(found.points, self._keys[found.rule])


def texts_of(arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """The rules of a snapshot, by file.

    Raises:
        StateError: the snapshot has none, or they are damaged.
    """
    try:
        return msgspec.msgpack.decode(arrays[f"{_PREFIX}rules"].tobytes(), type=dict[str, str])
    except (KeyError, msgspec.MsgspecError):
        raise StateError(f"damaged snapshot: no rules in {_PREFIX}rules") from None


def tags_of(config: Config) -> dict[str, tuple[str, ...]]:
    """ATT&CK tags by the name of the rule, which is the kind of the reasons that it gives."""
    if not config.sigma.rules:
        return {}
    rules, _ = _loaded(tuple(sorted(config.sigma.rules.items())), config.sigma.exclude)
    return {about.name: about.tags for about in rules.abouts()}


@lru_cache(maxsize=4)
def _loaded(texts: tuple[tuple[str, str], ...], exclude: tuple[str, ...]) -> tuple[RuleSet, Program]:
    """The rules of some texts: parsing takes 4 ms a rule, and a service asks for the same ones several times."""
    rules = parse(dict(texts), exclude=exclude)
    if rules.refused:
        raise RulesError([str(each) for each in rules.refused])
    first = len(rules.rules)
    return rules, compiled(rules, Correlator(rules.correlations, first).fields())
