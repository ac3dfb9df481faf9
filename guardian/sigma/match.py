"""Batches of events against a set of rules: which rule matches which event.

Owns the order of the work, and what is decided outside the loops: regular expressions (RE2, so that no text of an attacker
costs more than its length), numbers, networks and comparisons of two fields, each once for a distinct value. Stateless.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from guardian.sigma.fields import Fields, Values, picks
from guardian.sigma.match_kernels import PAD, find_atoms, run_rules
from guardian.sigma.program import Program, lowered
from guardian.sigma.rule import Network, Number

CHUNK: Final = 8192
"""Rows whose values are looked at together: enough for texts to repeat, few enough for memory."""

_LONG_S: Final = "ſ".encode()
_NUMBER: Final = r"^-?[0-9]{1,300}(?:\.[0-9]{1,300})?(?:[eE][+-]?[0-9]{1,3})?$"


class Matcher:
    """One program, ready to run."""

    def __init__(self, program: Program, hash_seed: int = 0) -> None:
        self.program = program
        self.fields = Fields(program.fields, hash_seed)
        self._regexes = dict(program.regexes)

    def matches(self, values: Values) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Rows and rules that match, in the order of the rows, then of the rules."""
        hit_at, hit = self._hits(values)
        at, value = values.at, values.value
        if self.program.references:
            at, value, hit_at, hit = self._compared(values, hit_at, hit)
        code = self.program.code
        room = len(code.entry) + 65_536
        holds, ran = np.full(len(self.program.atoms), -1, np.int64), np.full(len(code.entry), -1, np.int64)
        fired = np.empty(len(self.program.atoms), np.int32)
        state = np.zeros(2, np.int64)
        rows, rules = np.empty(room, np.int64), np.empty(room, np.int32)
        found: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []
        while state[0] < len(at) - 1:
            run_rules(at, value, hit_at, hit, code, holds, ran, fired, state, rows, rules)
            count = int(state[1])
            found.append((rows[:count].copy(), rules[:count].copy()))
        row = np.concatenate([np.zeros(0, np.int64), *(each for each, _ in found)])
        rule = np.concatenate([np.zeros(0, np.int32), *(each for _, each in found)])
        order = np.lexsort((rule, row))
        return row[order], rule[order]

    def _hits(self, values: Values) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The atoms that hold on each value, as places in a flat list, and that list."""
        count = len(values.field)
        own_at, own = _padded(values.texts)
        low_at, low = _padded(lowered(values.texts))
        atoms = len(self.program.atoms)
        tried = np.full(atoms, -1, np.int32)
        state = np.zeros(2, np.int64)
        hit_at = np.zeros(count + 1, np.int64)
        hit = np.empty(atoms + 262_144, np.int32)
        parts: list[NDArray[np.int32]] = []
        sizes = np.zeros(count, np.int64)
        while state[0] < count:
            first = int(state[0])
            find_atoms(
                values.field, low_at, low, own_at, own, self.program.patterns, tried, state, hit_at, hit
            )
            last = int(state[0])
            parts.append(hit[: int(hit_at[last])].copy())
            sizes[first:last] = np.diff(hit_at[first : last + 1])
        whole = np.concatenate([np.zeros(0, np.int32), *parts])
        owner = np.repeat(np.arange(count), sizes)
        owner, whole = self._with_long_s(values, owner, whole)
        keep = self._searched(values, owner, whole)
        more = [*self._numbers(values), *self._networks(values)]
        if keep is None and not more:  # then nothing was added either
            return np.concatenate([[0], np.cumsum(sizes)]), whole
        if keep is not None:
            owner, whole = owner[keep], whole[keep]
        owner = np.concatenate([owner, *(rows for rows, _ in more)])
        whole = np.concatenate([whole, *(np.full(len(rows), atom, np.int32) for rows, atom in more)])
        order = np.argsort(owner, kind="stable")
        sizes = np.bincount(owner, minlength=count)
        return np.concatenate([[0], np.cumsum(sizes)]), whole[order]

    def _with_long_s(
        self, values: Values, owner: NDArray[np.int64], hit: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """RE2 takes ſ for a case of s, which the search for literals in lower case does not: such texts are all searched."""
        _, _, data = values.texts.buffers()
        if not self._regexes or data is None or not (np.frombuffer(data, np.uint8) == _LONG_S[0]).any():
            return owner, hit
        odd = np.flatnonzero(pc.match_substring(values.texts, "ſ").to_numpy(zero_copy_only=False))
        for atom in self._regexes if len(odd) else ():
            rows = odd[values.field[odd] == self.fields.number[self.program.atoms[atom].field]]
            rows = np.setdiff1d(rows, owner[hit == atom])
            owner = np.concatenate([owner, rows])
            hit = np.concatenate([hit, np.full(len(rows), atom, np.int32)])
        return owner, hit

    def _searched(
        self, values: Values, owner: NDArray[np.int64], hit: NDArray[np.int32]
    ) -> NDArray[np.bool_] | None:
        """Which hits stay: those of regular expressions only where RE2 finds them."""
        if not self._regexes:
            return None
        regex = np.zeros(len(self.program.atoms), np.bool_)
        regex[list(self._regexes)] = True
        doubted = np.flatnonzero(regex[hit])
        if not len(doubted):
            return None
        keep = np.ones(len(hit), np.bool_)
        doubted = doubted[np.argsort(hit[doubted], kind="stable")]
        starts = np.flatnonzero(np.diff(hit[doubted], prepend=-1))
        for part in np.split(doubted, starts[1:]):
            texts = values.texts.take(picks(owner[part]))
            found = pc.match_substring_regex(texts, self._regexes[int(hit[part[0]])])
            keep[part] = found.to_numpy(zero_copy_only=False)
        return keep

    def _numbers(self, values: Values) -> list[tuple[NDArray[np.int64], int]]:
        asked: dict[int, list[tuple[int, Number]]] = {}
        for atom, each in self.program.numbers:
            asked.setdefault(self.fields.number[each.field], []).append((atom, each))
        found: list[tuple[NDArray[np.int64], int]] = []
        for field, atoms in asked.items():
            rows = np.flatnonzero(values.field == field)
            texts = values.texts.take(picks(rows))
            decimal = pc.match_substring_regex(texts, _NUMBER).to_numpy(zero_copy_only=False)
            texts, rows = texts.take(picks(np.flatnonzero(decimal))), rows[decimal]
            numbers = pc.cast(texts, pa.float64()).to_numpy()
            for atom, each in atoms:
                found.append((rows[_COMPARE[each.comparison](numbers, each.number)], atom))
        return found

    def _networks(self, values: Values) -> list[tuple[NDArray[np.int64], int]]:
        asked: dict[int, list[tuple[int, Network]]] = {}
        for atom, each in self.program.networks:
            asked.setdefault(self.fields.number[each.field], []).append((atom, each))
        found: list[tuple[NDArray[np.int64], int]] = []
        for field, atoms in asked.items():
            rows = np.flatnonzero(values.field == field)
            addresses = [_address(text) for text in values.texts.take(picks(rows)).to_pylist()]
            for atom, each in atoms:
                network = ipaddress.ip_network(each.network)
                inside = [address is not None and address in network for address in addresses]
                found.append((rows[np.array(inside, np.bool_)], atom))
        return found

    def _compared(
        self, values: Values, hit_at: NDArray[np.int64], hit: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
        """The same with one more value for each comparison of two fields, in the rows in which it holds."""
        owner = np.repeat(np.arange(len(values.at) - 1), np.diff(values.at))
        field = values.field[values.value]
        owners, numbers = [owner], [values.value]
        atoms: list[int] = []
        for atom, each in self.program.references:
            ours, theirs = (
                np.flatnonzero(field == self.fields.number[name]) for name in (each.field, each.other)
            )
            pairs = _joined(owner[ours], values.value[ours], owner[theirs], values.value[theirs])
            distinct, which = np.unique(pairs[:, 1:], axis=0, return_inverse=True)
            texts, others = _lower_texts(values, distinct[:, 0]), _lower_texts(values, distinct[:, 1])
            related = [
                _related(text, other, each.starts, each.ends)
                for text, other in zip(texts, others, strict=True)
            ]
            rows = np.unique(pairs[np.array(related, np.bool_)[which.reshape(-1)], 0])
            owners.append(rows)
            numbers.append(np.full(len(rows), len(values.field) + len(atoms), np.int32))
            atoms.append(atom)
        owner, value = np.concatenate(owners), np.concatenate(numbers)
        order = np.argsort(owner, kind="stable")
        at = np.zeros(len(values.at), np.int64)
        np.cumsum(np.bincount(owner, minlength=len(values.at) - 1), out=at[1:])
        return (
            at,
            value[order].astype(np.int32),
            np.concatenate([hit_at, hit_at[-1] + 1 + np.arange(len(atoms))]),
            np.concatenate([hit, np.array(atoms, np.int32)]),
        )


_COMPARE: Final[dict[str, Any]] = {
    "eq": np.equal,
    "lt": np.less,
    "lte": np.less_equal,
    "gt": np.greater,
    "gte": np.greater_equal,
}


def _joined(
    ours: NDArray[np.int64], our_values: NDArray[Any], theirs: NDArray[np.int64], their_values: NDArray[Any]
) -> NDArray[np.int64]:
    """(pairs, 3): row, and a value of each of two fields in it; both come in the order of rows."""
    first = np.searchsorted(theirs, ours, "left")
    count = np.searchsorted(theirs, ours, "right") - first
    begin = np.cumsum(count) - count
    within = np.arange(int(count.sum())) - np.repeat(begin, count)
    return np.column_stack(
        [np.repeat(ours, count), np.repeat(our_values, count), their_values[np.repeat(first, count) + within]]
    ).astype(np.int64)


def _lower_texts(values: Values, numbers: NDArray[np.int64]) -> list[str]:
    texts: list[str] = lowered(values.texts.take(picks(numbers))).to_pylist()
    return texts


def _related(text: str, other: str, starts: bool, ends: bool) -> bool:  # noqa: FBT001  (as the atom says)
    if starts and ends:
        return other in text
    if starts:
        return text.startswith(other)
    return text.endswith(other) if ends else text == other


def _address(text: str) -> Any:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _padded(texts: pa.StringArray) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Offsets and octets, with room to read eight at once past the last."""
    _, offsets, data = texts.buffers()
    if not len(texts):
        return np.zeros(1, np.int32), np.zeros(PAD, np.uint8)
    starts = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    size = int(starts[-1])
    octets = np.zeros(size + PAD, np.uint8)
    if data is not None:
        octets[:size] = np.frombuffer(data, np.uint8)[:size]
    return starts, octets
