"""First pass of the JSON scanner: bytes to a table of members, line by line, by the grammar of RFC 8259.

Owns what a line must look like to be read without Python. A line is taken only if msgspec would take it too, with the
same keys and values; all else (a repeated key, an escape in a key, deep nesting, anything wrong) is RARE: msgspec's.
Knows the map only as the tree of keys that it looks for.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardian.decode import json_layout as on
from guardian.decode.json_layout import Ints, Octets, Words
from guardian.decode.json_numbers import number
from guardian.decode.json_text import FACTOR, HIGHS, ONES, REWRITTEN, hash_of, rewrite, string
from scoring.compilation import I8, inlined, kernel, load_word, named, zeros_below

_FEEDS: Final = np.uint64(0x0A0A0A0A0A0A0A0A)
_WORD_TRUE: Final = np.uint64(0x65757274)
_WORD_NULL: Final = np.uint64(0x6C6C756E)
_WORD_FALSE: Final = np.uint64(0x65736C6166)
_FOUR: Final = np.uint64(0xFFFFFFFF)
_FIVE: Final = np.uint64(0xFFFFFFFFFF)

_PROBES: Final = 24
"""Places that are looked at for a key: hashes that collide on purpose cost a line its speed, nothing else."""

_KEY, _KEY_OR_END, _ITEM, _ITEM_OR_END, _AFTER = range(5)
_LISTED, _PLACE, _OWNER, _SERIAL, _PAIR_DIRT, _VALUE_DIRT = range(6)

POSITION, LINES_BEFORE, LINES, MEMBERS, DOUBTS, DOUBT_OCTETS, EPOCH, MARK = range(8)
"""Places in ``state``: bytes and lines read so far; rows in the tables; what tells the keys of one line from those of
another; the size of a byte order mark at the start."""


class Scratch(NamedTuple):
    """Memory of one line: open objects and lists, and the keys seen."""

    frames: NDArray[np.int64]
    seen: Words
    stamps: NDArray[np.int64]


class Doubts(NamedTuple):
    """Numbers to be compared with what msgspec makes of them: their text, each with a comma, and their lines."""

    text: Octets
    lines: Ints


SCRATCH: Final[Any] = named(Scratch, on.FRAMES, on.WORDS, on.COUNTS)
DOUBTS_TYPE: Final[Any] = named(Doubts, on.OCTETS, on.INTS)


def scratch() -> Scratch:
    """Fresh memory for ``scan_members``."""
    seen = 1024
    return Scratch(np.zeros((on.MAX_DEPTH, 6), np.int64), np.zeros(seen, np.uint64), np.zeros(seen, np.int64))


@inlined
def _edge_hash(node: Any, found: Any) -> Any:
    mixed = (found ^ np.uint64(node + 1)) * FACTOR
    return mixed ^ (mixed >> np.uint64(31))


@inlined
def _child(plan: Any, node: Any, found: Any, octets: Any, at: Any, size: Any) -> Any:
    """The node that a key leads to, −1 = none."""
    mask = plan.slots.shape[0] - 1
    key = _edge_hash(node, found)
    place = np.int64(key & np.uint64(mask))
    while plan.slots[place] != 0:
        edge = plan.slots[place] - 1
        if plan.hashes[edge] == key and plan.edges[edge, 0] == node and plan.edges[edge, 2] == size:
            start = plan.edges[edge, 1]
            same = 0
            while same < size and plan.text[start + same] == octets[at + same]:
                same += 1
            if same == size:
                return np.int64(plan.edges[edge, 3])
        place = (place + 1) & mask
    return np.int64(-1)


@inlined
def _repeated(memory: Any, key: Any, epoch: Any) -> Any:
    """Whether a key was seen in this line and object, or might have been."""
    mask = memory.seen.shape[0] - 1
    place = np.int64((key >> np.uint64(20)) & np.uint64(mask))
    for _ in range(_PROBES):
        if memory.stamps[place] != epoch:
            memory.stamps[place] = epoch
            memory.seen[place] = key
            return False
        if memory.seen[place] == key:
            return True
        place = (place + 1) & mask
    return True


@inlined
def _note_doubt(octets: Any, at: Any, end: Any, line: Any, doubts: Any, state: Any) -> Any:
    """Remember a number to be compared with what msgspec makes of it; its number among those."""
    out = rewrite(octets, at, end, doubts.text, state[DOUBT_OCTETS])
    doubts.text[out] = 44
    state[DOUBT_OCTETS] = out + 1
    doubt = state[DOUBTS]
    doubts.lines[doubt] = line
    state[DOUBTS] = doubt + 1
    return doubt


@inlined
def _record(
    octets: Any, at: Any, plan: Any, memory: Any, members: Any, doubts: Any, line: Any, state: Any
) -> Any:
    """Read the object whose brace stands at ``at`` into the table of members; the place after it, −1 = RARE."""
    frames = memory.frames
    epoch = state[EPOCH]
    count = state[MEMBERS]
    depth, keys, serial, dirt = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    here_listed, here_node, here_owner, here_serial = False, np.int64(0), np.int64(-1), np.int64(0)
    item: Any = False  # the next value is the first item of a list that the map may look into
    expect = _KEY_OR_END
    key_at, key_end, child, key_dirt = np.int64(0), np.int64(0), np.int64(-1), np.int64(0)
    at += 1
    while True:
        c = octets[at]
        while c in on.SPACES:
            at += 1
            dirt += 1
            c = octets[at]
        if expect == _AFTER:
            if c == on.COMMA:
                at += 1
                expect = _ITEM if here_listed else _KEY
                continue
            closing = True
            if c != (on.CLOSE_LIST if here_listed else on.CLOSE):
                return np.int64(-1)
        else:
            closing = (expect == _KEY_OR_END and c == on.CLOSE) or (
                expect == _ITEM_OR_END and c == on.CLOSE_LIST
            )
        if closing:
            at += 1
            if depth == 0:
                state[MEMBERS] = count
                return at
            owner = here_owner
            if owner >= 0:
                members[owner, on.END] = at
                members[owner, on.NEXT] = count
                node = members[owner, on.NODE]
                if expect == _KEY_OR_END and node >= 0 and plan.nodes[node, on.NO_EMPTY]:
                    return np.int64(-1)
                plain = on.PLAIN_PAIR if dirt == frames[depth, _PAIR_DIRT] else 0
                plain |= on.PLAIN_VALUE if dirt == frames[depth, _VALUE_DIRT] else 0
                members[owner, on.FLAGS] = plain
            depth -= 1
            here_listed = frames[depth, _LISTED] != 0
            here_node = frames[depth, _PLACE]
            here_owner = frames[depth, _OWNER]
            here_serial = frames[depth, _SERIAL]
            item = False
            expect = _AFTER
            continue
        if expect <= _KEY_OR_END:
            if c != on.QUOTE:
                return np.int64(-1)
            key_at, key_dirt = at, dirt
            key_end, flags = string(octets, at + 1)
            keys += 1
            if key_end < 0 or flags != 0 or keys > on.MAX_KEYS:
                return np.int64(-1)
            size = key_end - at - 1
            found = hash_of(octets, at + 1, size)
            if _repeated(memory, _edge_hash(here_serial, found), epoch):
                return np.int64(-1)
            child = np.int64(-1)
            if here_node >= 0:
                child = _child(plan, here_node, found, octets, at + 1, size)
                if child >= 0 and plan.nodes[child, on.TRAP]:
                    return np.int64(-1)
            key_end += 1
            at = key_end
            c = octets[at]
            while c in on.SPACES:
                at += 1
                dirt += 1
                c = octets[at]
            if c != on.COLON:
                return np.int64(-1)
            at += 1
            c = octets[at]
            while c in on.SPACES:
                at += 1
                dirt += 1
                c = octets[at]
        start, value_dirt = at, dirt
        noted = here_node >= 0 or item
        if c in (on.OPEN, on.OPEN_LIST):
            if depth + 1 == on.MAX_DEPTH:
                return np.int64(-1)
            frames[depth, _LISTED] = here_listed
            frames[depth, _PLACE] = here_node
            frames[depth, _OWNER] = here_owner
            frames[depth, _SERIAL] = here_serial
            depth += 1
            frames[depth, _PAIR_DIRT] = key_dirt
            frames[depth, _VALUE_DIRT] = value_dirt
            owner = np.int64(-1)
            if here_node >= 0:
                owner = count
                members[count, on.KEY_AT] = key_at
                members[count, on.KEY_END] = key_end
                members[count, on.AT] = start
                members[count, on.TYPE] = on.OBJECT if c == on.OPEN else on.LIST
                members[count, on.NODE] = child
                members[count, on.PARENT] = here_owner
                members[count, on.COUNT] = 0
                if here_owner >= 0:
                    members[here_owner, on.COUNT] += 1
                count += 1
            inside = owner >= 0 and child >= 0
            item = inside and c == on.OPEN_LIST and plan.nodes[child, on.FIELD] >= 0
            here_node = child if inside and c == on.OPEN and plan.nodes[child, on.INNER] else np.int64(-1)
            here_owner = owner
            here_listed = c == on.OPEN_LIST
            serial += 1
            here_serial = serial
            expect = _ITEM_OR_END if here_listed else _KEY_OR_END
            at += 1
            continue
        doubt = np.int64(0)
        if c == on.QUOTE:
            end, flags = string(octets, at + 1)
            if end < 0:
                return np.int64(-1)
            at = end + 1
            kind = on.ESCAPED if flags != 0 else on.STRING
            if flags & REWRITTEN:
                dirt += 1
        elif c == on.MINUS or on.ZERO <= c <= on.NINE:
            end, kind = number(octets, at)
            if end < 0:
                return np.int64(-1)
            at = end
            if kind == on.DOUBTFUL:
                doubt = _note_doubt(octets, start, end, line, doubts, state)
                dirt += 1
        else:
            word = load_word(octets, at)
            if word & _FOUR == _WORD_TRUE:
                kind = on.TRUE
                at += 4
            elif word & _FOUR == _WORD_NULL:
                kind = on.NULL
                at += 4
            elif word & _FIVE == _WORD_FALSE:
                kind = on.FALSE
                at += 5
            else:
                return np.int64(-1)
        if noted:
            members[count, on.KEY_AT] = -1 if item else key_at
            members[count, on.KEY_END] = key_end
            members[count, on.AT] = start
            members[count, on.END] = at
            members[count, on.TYPE] = kind
            members[count, on.NODE] = -1 if item else child
            members[count, on.PARENT] = here_owner
            members[count, on.NEXT] = count + 1
            members[count, on.COUNT] = doubt
            plain = on.PLAIN_PAIR if dirt == key_dirt else 0
            members[count, on.FLAGS] = plain | (on.PLAIN_VALUE if dirt == value_dirt else 0)
            if here_owner >= 0 and not item:
                members[here_owner, on.COUNT] += 1
            count += 1
            item = False
        expect = _AFTER


@kernel(
    on.IN_OCTETS, I8, I8, on.PLAN, SCRATCH, on.TABLE, on.TABLE, DOUBTS_TYPE, on.COUNTS
)  # fmt: skip
def scan_members(
    body: Any,
    size: Any,
    limit: Any,
    plan: Any,
    memory: Any,
    members: Any,
    lines: Any,
    doubts: Any,
    state: Any,
) -> None:
    """Read lines from ``state[POSITION]`` on until the tables might not hold another.

    Shapes: body (size + 16,), PAD after the first size octets; members (m, MEMBER_COLUMNS) with m ≥ 2·MAX_KEYS; lines
        (l, LINE_COLUMNS); doubts at least as long as the body; state (8,).
    Units: places in octets of the body, no matter what it holds; ``limit`` octets in a line.
    Cost: about 1.3 ns an octet where fields are short, 0.55 ns where they are long.
    Source: RFC 8259; strings eight octets at a time as in Lemire and Langdale 2019, Parsing gigabytes of JSON per second.
    Difference: a line that needs care is not read but named RARE.
    """
    at = state[POSITION]
    before = state[LINES_BEFORE]
    row = np.int64(0)  # a bare 0 would compile everything that takes it twice: for 0, and for any number
    while at < size and row < lines.shape[0] and state[MEMBERS] + 2 * on.MAX_KEYS <= members.shape[0]:
        start = at
        if at == 0:
            at += state[MARK]
        while body[at] in on.SPACES:
            at += 1
        first, doubted, octets_doubted = state[MEMBERS], state[DOUBTS], state[DOUBT_OCTETS]
        status = on.RARE
        blank = body[at] == on.FEED
        if body[at] == on.OPEN:
            state[EPOCH] += 1
            end = _record(body, at, plan, memory, members, doubts, row, state)
            if end >= 0:
                while body[end] in on.SPACES:
                    end += 1
                if body[end] == on.FEED:
                    status = on.SCANNED
                    at = end
        while True:
            feed = load_word(body, at) ^ _FEEDS
            marks = (feed - ONES) & ~feed & HIGHS
            if marks != np.uint64(0):
                at += zeros_below(marks) >> 3
                break
            at += 8
        if at - start > limit:
            status = on.TOO_LONG
        if status != on.SCANNED:
            state[MEMBERS], state[DOUBTS], state[DOUBT_OCTETS] = first, doubted, octets_doubted
        if not blank or status == on.TOO_LONG:
            lines[row, on.LINE_AT] = start
            lines[row, on.LINE_END] = at
            lines[row, on.STATUS] = status
            lines[row, on.FIRST] = first
            lines[row, on.LAST] = state[MEMBERS]
            lines[row, on.NUMBER] = before
            row += 1
        before += 1
        at += 1
    state[POSITION] = at
    state[LINES_BEFORE] = before
    state[LINES] = row


@kernel(on.IN_OCTETS, on.TABLE, on.TABLE, on.WORDS)
def hash_edges(text: Any, spans: Any, edges: Any, out: Any) -> None:
    """The hash under which ``scan_members`` looks for each edge of a plan.

    Shapes: text (t + 8,); spans (e, 2) place and size of each key; edges (e, 4); out (e,).
    Units: none; a hash is an identity.
    Cost: about 10 ns an edge, once a map.
    Source: multiplicative hashing with the golden ratio, Knuth, The Art of Computer Programming 3, section 6.4.
    Difference: not keyed, so keys can be made to collide; places that are looked at are bounded instead.
    """
    for row in range(out.shape[0]):
        out[row] = _edge_hash(edges[row, 0], hash_of(text, spans[row, 0], spans[row, 1]))
