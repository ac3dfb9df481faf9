"""A set of rules as flat tables: every atom once, what to look for in texts, and the code of each rule.

Owns the choice of what is looked for: of every pattern the gram that is rarest among all patterns, of every rule the atoms
one of which must hold for it to match. Neither choice changes a match, only how soon a rule is left alone.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from guardian.sigma.match_kernels import (
    ACCEPT,
    BEGINS,
    CASED,
    CONTAINS,
    ENDS,
    MANY,
    MAYBE,
    ONE,
    REJECT,
    WHOLE,
    Code,
    Patterns,
)
from guardian.sigma.rule import (
    And,
    Atom,
    Condition,
    Network,
    Not,
    Number,
    Or,
    Present,
    Reference,
    Regex,
    RuleSet,
    Text,
    Wild,
    fields_of,
)

_GRAM: Final = 4
_OFTEN: Final = b" etaoinsrhldcumfpgwybvk0123456789\\.:/-_,=\"'()xjqz"
"""Octets of logs, most frequent first."""
_USUAL: Final = (
    rb"c:\windows\system32\ c:\program files (x86)\ \device\harddiskvolume \registry\machine\software\microsoft\currentversion"
    rb" nt authority\system .exe .dll .sys http://www. https:// content-type: application/json user name process service"
    rb" localhost 127.0.0.1 0000 00000000-0000-0000 0x0 error info warning request response message powershell command user"
)
"""What logs are full of: a gram of it is looked for only where nothing better is."""
_USUAL_PAIRS: Final = frozenset(_USUAL[at : at + 2] for at in range(len(_USUAL) - 1))
_FACTOR: Final = 0x9E3779B97F4A7C15
_WORD: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Program:
    """Everything that matching needs."""

    fields: tuple[str, ...]
    """In the order of their numbers."""
    atoms: tuple[Atom, ...]
    patterns: Patterns
    code: Code
    regexes: tuple[tuple[int, str], ...]
    """Atoms that a hit leaves to RE2."""
    numbers: tuple[tuple[int, Number], ...]
    networks: tuple[tuple[int, Network], ...]
    references: tuple[tuple[int, Reference], ...]


def compiled(rules: RuleSet, more: Iterable[str] = ()) -> Program:
    """The program of a set of rules; ``more`` are fields that somebody else reads."""
    conditions = [rule.condition for rule in rules.rules]
    names = frozenset(more).union(*map(fields_of, conditions))
    fields = tuple(sorted(names))
    number = {name: place for place, name in enumerate(fields)}
    atoms = list(dict.fromkeys(itertools.chain.from_iterable(map(_atoms, conditions))))
    place = {atom: at for at, atom in enumerate(atoms)}
    code = _code(conditions, place)

    def of(kind: type) -> tuple[Any, ...]:
        return tuple((at, atom) for at, atom in enumerate(atoms) if isinstance(atom, kind))

    return Program(
        fields=fields,
        atoms=tuple(atoms),
        patterns=_patterns(atoms, number),
        code=code,
        regexes=tuple((at, atom.pattern) for at, atom in of(Regex)),
        numbers=of(Number),
        networks=of(Network),
        references=of(Reference),
    )


def lowered(texts: pa.StringArray) -> pa.StringArray:
    """Texts in lower case, each character by itself: what "in either case" means here."""
    return pc.utf8_lower(texts)


def _atoms(condition: Condition) -> Iterator[Atom]:
    match condition:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _atoms(part)
        case Not(inner):
            yield from _atoms(inner)
        case _:
            yield condition


# -- what to look for ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sought:
    """How one atom is found in texts: pattern, literals one of which must be there (each with its place, −1 = unknown)."""

    how: int
    text: bytes
    literals: tuple[bytes, ...]


def _patterns(atoms: list[Atom], number: dict[str, int]) -> Patterns:
    folded = _folded(atoms)
    sought = [_sought(atom, folded) for atom in atoms]
    common = Counter(
        gram
        for each in sought
        if each is not None
        for gram in {gram for literal in each.literals for gram in _grams(literal)}
    )
    always: list[list[int]] = [[] for _ in number]
    lengths = np.zeros(len(number), np.uint8)
    buckets: dict[int, list[tuple[int, int]]] = {}
    beginnings: dict[int, set[bytes]] = {}
    for at, (atom, each) in enumerate(zip(atoms, sought, strict=True)):
        if each is None:
            continue
        field = number[atom.field]
        if each.how == WHOLE and MANY not in each.text and ONE not in each.text:
            lengths[field] |= 1
            buckets.setdefault(_text_key(each.text, field), []).append((at, -1))
        elif not each.literals:
            always[field].append(at)
        else:
            for literal in each.literals:
                gram = min(_grams(literal), key=lambda gram: (_usual(gram), common[gram], gram))
                lengths[field] |= 1 << len(gram)
                beginnings.setdefault(field, set()).add(gram[:2])
                buckets.setdefault(_gram_key(gram, field), []).append((at, literal.index(gram)))
    texts = [each.text if each is not None else b"" for each in sought]
    pairs, pairs_at = _pairs(beginnings, len(number))
    key, bucket = _table(list(buckets))
    flat = [pair for pairs in buckets.values() for pair in pairs]
    return Patterns(
        lengths=lengths,
        pairs=pairs,
        pairs_at=pairs_at,
        key=key,
        bucket=bucket,
        at=_ends(map(len, buckets.values())),
        atom=np.array([atom for atom, _ in flat], np.int32),
        offset=np.array([offset for _, offset in flat], np.int32),
        how=np.array([each.how if each is not None else MAYBE for each in sought], np.int8),
        text=np.frombuffer(b"".join(texts) or b"\0", np.uint8).copy(),
        text_at=_ends(map(len, texts)),
        always_at=_ends(map(len, always)),
        always=np.array([at for each in always for at in each], np.int32),
    )


def _sought(atom: Atom, folded: dict[str, str]) -> _Sought | None:
    """None = not decided by looking for text."""
    match atom:
        case Present():
            return _Sought(WHOLE, bytes([MANY]), ())
        case Regex(_, pattern):
            return _Sought(MAYBE, b"", required(pattern))
        case Text(_, parts, cased):
            literals = [folded[part].encode() for part in parts if isinstance(part, str) and part]
            longest = max(literals, key=len, default=b"")
            text = b"".join(
                (part if cased else folded[part]).encode()
                if isinstance(part, str)
                else bytes([MANY if part is Wild.MANY else ONE])
                for part in parts
            )
            if cased:
                return _Sought(CASED, text, (longest,)) if longest else _decided(atom)
            return _plain_pattern(parts, longest, text)
        case _:
            return None


def _decided(atom: Text) -> _Sought:
    """A pattern of wildcards alone."""
    text = bytes(MANY if part is Wild.MANY else ONE for part in atom.parts)
    return _Sought(WHOLE, text, ())


def _plain_pattern(parts: tuple[str | Wild, ...], literal: bytes, pattern: bytes) -> _Sought:
    if len(parts) == 3 and parts[0] is parts[2] is Wild.MANY and literal:
        return _Sought(CONTAINS, literal, (literal,))
    if len(parts) == 2 and parts[1] is Wild.MANY and literal:
        return _Sought(BEGINS, literal, (literal,))
    if len(parts) == 2 and parts[0] is Wild.MANY and literal:
        return _Sought(ENDS, literal, (literal,))
    return _Sought(WHOLE, pattern, (literal,) if literal else ())


def _folded(atoms: list[Atom]) -> dict[str, str]:
    """Every literal of every text in lower case."""
    texts = sorted(
        {part for atom in atoms if isinstance(atom, Text) for part in atom.parts if isinstance(part, str)}
    )
    return dict(zip(texts, lowered(pa.array(texts, pa.string())).to_pylist(), strict=True))


def _usual(gram: bytes) -> float:
    """How often a gram is met in texts, in a measure of its own; the pair it begins with is looked at first."""
    score = -sum(_OFTEN.find(octet) % 64 for octet in gram[:2]) - 0.5 * sum(
        _OFTEN.find(octet) % 64 for octet in gram[2:]
    )
    return score + 60.0 * (gram[:2] in _USUAL_PAIRS) + 60.0 * (gram in _USUAL) - 8.0 * len(gram)


def _grams(literal: bytes) -> list[bytes]:
    size = min(_GRAM, len(literal))
    return [literal[at : at + size] for at in range(len(literal) - size + 1)]


def required(pattern: str) -> tuple[bytes, ...]:
    """Texts in lower case one of which stands in whatever a regular expression matches; none = unknown.

    >>> required("(?i)foo(bar|baz)+.*x")
    (b'foo',)
    """
    # The parser of Python's own expressions; where it reads one in another way than RE2 would, it finds the same literals,
    # and what it cannot read has none.
    from re import _parser as parser  # type: ignore[attr-defined]

    if "[:" in pattern:  # a class of POSIX, which Python reads as letters
        return ()
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return ()
    found = _needed(tree)
    if found is None or any(not text.isascii() for text in found):
        return ()
    # Letters whose other case is not ASCII (K, ſ) fold into ASCII ones: those are looked for in lower case too.
    return tuple(sorted({text.lower().encode() for text in found}))


def _needed(tree: Any) -> tuple[str, ...] | None:
    best: tuple[str, ...] | None = None
    run = ""
    for operator, argument in [*tree, (None, None)]:
        name = str(operator)
        if name == "LITERAL":
            run += chr(argument)
            continue
        options: list[tuple[str, ...] | None] = [(run,)] if run else []
        run = ""
        if name == "SUBPATTERN":
            options.append(_needed(argument[3]))
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and argument[0] >= 1:
            options.append(_needed(argument[2]))
        elif name == "BRANCH":
            each = [_needed(branch) for branch in argument[1]]
            options.append(None if None in each else tuple(text for one in each for text in one or ()))
        for option in options:
            if option and (best is None or _worth(option) > _worth(best)):
                best = option
    return best


def _worth(texts: tuple[str, ...]) -> float:
    """How rarely one of them is found: the shortest decides, and many are found more often than few."""
    return min(map(len, texts)) - 0.1 * len(texts)


def _gram_key(gram: bytes, field: int) -> int:
    word = int.from_bytes(gram, "little")
    found = ((word ^ ((field + 1) << 40) ^ (len(gram) << 36)) * _FACTOR) & _WORD
    return (found ^ (found >> 31)) | 1


def _text_key(text: bytes, field: int) -> int:
    found = ((field + 1) * _FACTOR & _WORD) ^ len(text)
    whole = len(text) - len(text) % 8
    for at in range(0, whole, 8):
        found = (found ^ int.from_bytes(text[at : at + 8], "little")) * _FACTOR & _WORD
        found ^= found >> 32
    for octet in text[whole:]:
        found = (found ^ octet) * _FACTOR & _WORD
        found ^= found >> 29
    return found | 1


def _table(keys: list[int]) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    size = 1 << max(4, (4 * len(keys)).bit_length())
    places, bucket = np.zeros(size, np.uint64), np.zeros(size, np.int32)
    for number, key in enumerate(keys):
        at = (key >> 24) & (size - 1)
        while places[at]:
            at = (at + 1) & (size - 1)
        places[at], bucket[at] = key, number
    return places, bucket


def _pairs(beginnings: dict[int, set[bytes]], fields: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """A bit for each two octets (lowest first) that a gram of a field begins with, 8 KB a field."""
    table = np.zeros((len(beginnings), 256, 256), np.bool_)
    places = np.zeros(fields, np.int64)
    for number, (field, pairs) in enumerate(sorted(beginnings.items())):
        places[field] = number * 1024
        for pair in pairs:
            if len(pair) == 1:
                table[number, :, pair[0]] = True
            else:
                table[number, pair[1], pair[0]] = True
    bits = np.packbits(table.reshape(-1), bitorder="little").view(np.uint64)
    return np.concatenate([bits, np.zeros(1, np.uint64)]), places


def _ends(sizes: Iterable[int]) -> NDArray[np.int32]:
    return np.cumsum([0, *sizes], dtype=np.int32)


# -- the code of rules -----------------------------------------------------------------------------------------------


def _code(conditions: list[Condition], place: dict[Atom, int]) -> Code:
    steps: list[tuple[int, int, int]] = []
    entry = [_emitted(condition, ACCEPT, REJECT, place, steps) for condition in conditions]
    triggers: list[list[int]] = [[] for _ in place]
    every: list[int] = []
    for rule, condition in enumerate(conditions):
        needed = _triggers(condition, holds=True)
        if needed is None:
            every.append(rule)
        else:
            for atom in needed:
                triggers[place[atom]].append(rule)
    columns = np.array(steps, np.int32).reshape(-1, 3)
    return Code(
        atom=columns[:, 0].copy(),
        then=columns[:, 1].copy(),
        otherwise=columns[:, 2].copy(),
        entry=np.array(entry, np.int32),
        trigger_at=_ends(map(len, triggers)),
        trigger=np.array([rule for each in triggers for rule in each], np.int32),
        every=np.array(every, np.int64),
    )


def _emitted(
    condition: Condition, then: int, otherwise: int, place: dict[Atom, int], steps: list[tuple[int, int, int]]
) -> int:
    """Write the code of a condition, its end first; where it begins."""
    match condition:
        case Not(inner):
            return _emitted(inner, otherwise, then, place, steps)
        case And(parts):
            for part in reversed(parts):
                then = _emitted(part, then, otherwise, place, steps)
            return then
        case Or(parts):
            for part in reversed(parts):
                otherwise = _emitted(part, then, otherwise, place, steps)
            return otherwise
        case _:
            steps.append((place[condition], then, otherwise))
            return len(steps) - 1


def _triggers(condition: Condition, *, holds: bool) -> frozenset[Atom] | None:
    """Atoms one of which must hold for the condition to hold (or, with ``holds`` false, to fail); None = there are none."""
    match condition:
        case Not(inner):
            return _triggers(inner, holds=not holds)
        case And(parts) | Or(parts):
            each = [_triggers(part, holds=holds) for part in parts]
            if isinstance(condition, And) == holds:
                known = [found for found in each if found is not None]
                return min(known, key=_frequency, default=None)
            return (
                None if None in each else frozenset().union(*(found for found in each if found is not None))
            )
        case _:
            return frozenset((condition,)) if holds else None


def _frequency(atoms: frozenset[Atom]) -> tuple[float, int]:
    return sum(map(_share, atoms)), len(atoms)


def _share(atom: Atom) -> float:
    """A guess at the share of events in which an atom holds."""
    match atom:
        case Text(field, parts, _):
            size = sum(len(part) for part in parts if isinstance(part, str))
            if field in ("kind", "Channel", "EventID", "source", "Provider_Name"):
                return 0.05
            return max(0.5 / (1 + size) ** 2, 1e-4) if size else 0.5
        case Regex():
            return 0.02
        case Number(field, "eq", _):
            return 0.05
        case Present():
            return 0.5
        case _:
            return 0.2
