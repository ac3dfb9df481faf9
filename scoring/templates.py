"""The loops that name log messages: find or make the template of their masked words.

Owns the tables of templates and what bounds them. Does not own the words (``scoring.masking``), the column of messages
nor the memory that the tables take (``guardian.templates``).

A template is a row of words; a word that differed while it was on trial has become ``<*>``. Templates are looked for by
the number of their words and the first of them, then by the number and the last. docs/decisions/006 says why a template
that was matched often enough never changes its text again.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.compilation import F8, I8, U8, array, jit, kernel, named, record, types
from scoring.masking import MASKED_TYPE, WILD

LEAF: Final = 48
"""Templates with the same number of words and the same first word, at most."""
CROWD: Final = 8
"""Half-alike neighbours from which on a message joins one of them rather than becoming another."""
SETTLED: Final = 256
"""Matches in a row without a change after which a template is never changed again."""
_ANY: Final = np.frombuffer(b"<*>", np.uint8)
MOST_USES: Final = 3
TRIAL_SHARE: Final = 10
"""A full table keeps one slot in this many for templates on trial."""

TEMPLATE: Final = np.dtype(
    [
        ("head", "u8"),
        ("tail", "u8"),
        ("born", "i8"),
        ("quiet", "i4"),
        ("next_head", "i4"),
        ("next_tail", "i4"),
        ("words", "i4"),
        ("octets", "i4"),
        ("uses", "u4"),
        ("linked", "u4"),
        ("waiting", "u2"),
        ("settled", "u2"),
    ],
    align=True,
)
"""One template. ``head`` and ``tail`` are the keys of its two leaves, ``linked`` whether it stands in the second;
``born`` counts templates, ``quiet`` matches since its text last changed; ``uses`` and ``waiting`` as in
``scoring.layout.SLOT``. ``next_head`` and ``next_tail`` are slots + 1. Without gaps: what NumPy copies into them is left
to chance, and equal states must give equal bytes."""


class Templates(NamedTuple):
    """All templates; each array has one row a slot, but for the indices and ``meta``."""

    heads: NDArray[np.int32]
    """First slot + 1 of the chain of each bucket; length a power of two."""
    tails: NDArray[np.int32]
    template: NDArray[np.void]
    word: NDArray[np.uint64]
    """(slots, WORDS): hashes."""
    end: NDArray[np.int32]
    """(slots, WORDS): where each word ends in the text."""
    text: NDArray[np.uint8]
    """(slots, TEXT): words, one space between them."""
    queue: NDArray[np.int32]
    """Slots on trial, oldest first, as a ring."""
    meta: NDArray[np.int64]
    """(7,): slots in use, evicted so far, first of the queue, length of the queue, hand, born so far, named ``<*>``."""


USED, EVICTED, HEAD, WAITING, HAND, BORN, OTHER = range(7)
"""Places in ``Templates.meta``."""


class Room(NamedTuple):
    """What a call works in."""

    spare: NDArray[np.uint8]
    """(TEXT,)"""
    told: NDArray[np.int32]
    """(slots + 1,): number under which the text of a slot was told, −1 = not yet; the last is for ``<*>``."""


class Named(NamedTuple):
    """Where the names of messages are written."""

    kind: NDArray[np.int32]
    """(n,): number of the text; −1 for a blank message."""
    template: NDArray[np.int64]
    """(n,): ``born`` of the template, −1 for none."""
    told: NDArray[np.int64]
    """(2,): texts told so far, and bytes of ``text`` filled by this call."""
    length: NDArray[np.int32]
    """(n,): bytes of each text told by this call."""
    text: NDArray[np.uint8]
    """(n × TEXT,)"""


TEMPLATES_TYPE: Final = named(
    Templates,
    array(types.int32),
    array(types.int32),
    record(TEMPLATE),
    array(U8, 2),
    array(types.int32, 2),
    array(types.uint8, 2),
    array(types.int32),
    array(I8),
)
ROOM_TYPE: Final = named(Room, array(types.uint8), array(types.int32))
NAMED_TYPE: Final = named(
    Named, array(types.int32), array(I8), array(I8), array(types.int32), array(types.uint8)
)


@jit
def _leaf(words: Any, word: Any, which: Any) -> Any:
    """Key of a leaf: the number of words, and the first or the last of them."""
    h = (word ^ np.uint64(2 * words + which)) * np.uint64(0x9E3779B97F4A7C15)
    return h ^ (h >> np.uint64(32))


@jit
def _bucket(key: Any, index: Any) -> Any:
    return np.int64(key & np.uint64(index.shape[0] - 1))


@jit
def _link(state: Any, slot: Any) -> None:
    """Enter a template into its leaves."""
    made = state.template[slot]
    at = _bucket(made["head"], state.heads)
    made["next_head"] = state.heads[at]
    state.heads[at] = slot + 1
    if made["linked"]:
        at = _bucket(made["tail"], state.tails)
        made["next_tail"] = state.tails[at]
        state.tails[at] = slot + 1


@jit
def _unlink(state: Any, slot: Any) -> None:
    """Take a template out of its leaves."""
    gone = state.template[slot]
    at = _bucket(gone["head"], state.heads)
    each = state.heads[at]
    if each == slot + 1:
        state.heads[at] = gone["next_head"]
    else:
        while state.template[each - 1]["next_head"] != slot + 1:
            each = state.template[each - 1]["next_head"]
        state.template[each - 1]["next_head"] = gone["next_head"]
    if gone["linked"]:
        at = _bucket(gone["tail"], state.tails)
        each = state.tails[at]
        if each == slot + 1:
            state.tails[at] = gone["next_tail"]
        else:
            while state.template[each - 1]["next_tail"] != slot + 1:
                each = state.template[each - 1]["next_tail"]
            state.template[each - 1]["next_tail"] = gone["next_tail"]


@jit
def _evicted(state: Any, limit: Any) -> Any:
    """A slot to reuse: the oldest template on trial that never came again, else the first unused one under the hand."""
    meta, room = state.meta, state.queue.shape[0]
    while True:
        if meta[WAITING] * TRIAL_SHARE > limit or meta[WAITING] == meta[USED]:
            slot = np.int64(state.queue[meta[HEAD]])
            meta[HEAD] = (meta[HEAD] + 1) % room
            meta[WAITING] -= 1
            state.template[slot]["waiting"] = 0
            if state.template[slot]["uses"] == 0:
                return slot
            state.template[slot]["uses"] = 0
        else:
            slot = meta[HAND]
            meta[HAND] = (slot + 1) % meta[USED]
            if state.template[slot]["waiting"]:
                continue
            if state.template[slot]["uses"] == 0:
                return slot
            state.template[slot]["uses"] -= 1


@jit
def _better(template: Any, slot: Any, fits: Any, same: Any, best: Any, best_fits: Any, best_same: Any) -> Any:
    """Whether one template suits a message better than the best so far: more words fit, more are the same, it is older."""
    if best < 0 or fits != best_fits:
        return best < 0 or fits > best_fits
    if same != best_same:
        return same > best_same
    return template[slot]["born"] < template[best]["born"]


@jit
def _sought(
    state: Any, masked: Any, first: Any, words: Any, literal: Any, key: Any, tail: Any, similarity: Any
) -> Any:
    """Look through a leaf.

    Gives the slot to use (−1 = none), how many templates stand in the leaf, the one on trial there that never came again
    and is oldest (−1 = none), and the one nearest to the message that may still change (−1 = none).
    """
    template = state.template
    best, best_fits, best_same = -1, 0, 0
    near, near_fits, near_same = -1, 0, 0
    widest, widest_fits, widest_same = -1, 0, 0
    spare, members, crowd = -1, 0, 0
    slot: Any = np.int64((state.tails if tail else state.heads)[_bucket(key, state.heads)]) - 1
    while slot >= 0:
        one = template[slot]
        if (one["tail"] if tail else one["head"]) == key:
            members += 1
            fits, same, alike = 0, 0, 0
            for k in range(words):
                w = state.word[slot, k]
                if w == masked.word[first + k]:
                    fits, same = fits + 1, same + 1
                    alike += 1 if w & np.uint64(1) == np.uint64(0) else 0
                elif w == np.uint64(WILD):
                    fits += 1
            open_ = one["settled"] == 0
            if (fits == words or (open_ and fits >= similarity * words)) and _better(
                template, slot, fits, same, best, best_fits, best_same
            ):
                best, best_fits, best_same = slot, fits, same
            if open_ and _better(template, slot, fits, same, widest, widest_fits, widest_same):
                widest, widest_fits, widest_same = slot, fits, same
            if alike > 0 and 2 * alike >= literal:
                crowd += 1
                if open_ and _better(template, slot, fits, same, near, near_fits, near_same):
                    near, near_fits, near_same = slot, fits, same
            if one["waiting"] and one["uses"] == 0 and (spare < 0 or one["born"] < template[spare]["born"]):
                spare = slot
        slot = np.int64(one["next_tail"] if tail else one["next_head"]) - 1
    if best < 0 and crowd >= CROWD:
        best = near
    return best, members, spare, widest


@jit
def _matched(state: Any, room: Any, masked: Any, first: Any, words: Any, slot: Any) -> None:
    """Count a match, and widen the template where it differs from the message."""
    one = state.template[slot]
    differs = False
    for k in range(words):
        differs |= state.word[slot, k] != masked.word[first + k] and state.word[slot, k] != np.uint64(WILD)
    if one["uses"] < MOST_USES:
        one["uses"] += 1
    if not differs:
        if not one["settled"]:
            one["quiet"] += 1
            one["settled"] = one["quiet"] >= SETTLED
        return
    one["quiet"] = 0
    room.told[slot] = -1
    start, at = 0, 0
    for k in range(words):
        stop = state.end[slot, k]
        if k:
            room.spare[at] = 32
            at += 1
        if state.word[slot, k] != masked.word[first + k] and state.word[slot, k] != np.uint64(WILD):
            state.word[slot, k] = WILD
            for byte in range(3):
                room.spare[at + byte] = _ANY[byte]
            at += 3
        else:
            for byte in range(start, stop):
                room.spare[at] = state.text[slot, byte]
                at += 1
        start = stop + 1
        state.end[slot, k] = at
    for byte in range(at):
        state.text[slot, byte] = room.spare[byte]
    one["octets"] = at


@jit
def _made(
    state: Any,
    masked: Any,
    first: Any,
    begin: Any,
    words: Any,
    head: Any,
    tail: Any,
    limit: Any,
    spare: Any,
    linked: Any,
) -> Any:
    """Make the template of a message, in the place of ``spare`` if there is one; its slot."""
    meta = state.meta
    if spare >= 0:
        slot = spare  # its place in the queue comes with it
        _unlink(state, slot)
        meta[EVICTED] += 1
    else:
        if meta[USED] < limit:
            slot = meta[USED]
            meta[USED] += 1
        else:
            slot = _evicted(state, limit)
            _unlink(state, slot)
            meta[EVICTED] += 1
        state.queue[(meta[HEAD] + meta[WAITING]) % state.queue.shape[0]] = slot
        meta[WAITING] += 1
    one = state.template[slot]
    one["head"], one["tail"], one["linked"] = head, tail, linked
    one["born"], one["quiet"], one["uses"], one["waiting"], one["settled"] = meta[BORN], 0, 0, 1, 0
    one["words"], one["octets"] = words, masked.end[first + words - 1]
    meta[BORN] += 1
    for k in range(words):
        state.word[slot, k] = masked.word[first + k]
        state.end[slot, k] = masked.end[first + k]
    for k in range(one["octets"]):
        state.text[slot, k] = masked.text[begin + k]
    _link(state, slot)
    return slot


@jit
def _placed(
    state: Any, room: Any, masked: Any, first: Any, begin: Any, words: Any, limit: Any, similarity: Any
) -> Any:
    """Slot of the template of a message, −1 if its leaf is full of others that nobody may change."""
    literal = 0
    for k in range(words):
        literal += 1 if masked.word[first + k] & np.uint64(1) == np.uint64(0) else 0
    head = _leaf(words, masked.word[first], 0)
    slot, members, spare, widest = _sought(state, masked, first, words, literal, head, False, similarity)
    if slot < 0:
        tail, behind = _leaf(words, masked.word[first + words - 1], 1), 0
        slot, behind, _, _ = _sought(state, masked, first, words, literal, tail, True, similarity)
        if slot < 0 and (members < LEAF or spare >= 0):
            place = spare if members >= LEAF else -1
            slot = _made(state, masked, first, begin, words, head, tail, limit, place, behind < LEAF)
            room.told[slot] = -1
            return slot
        if slot < 0:
            slot = widest
    if slot >= 0:
        _matched(state, room, masked, first, words, slot)
    return slot


@kernel(MASKED_TYPE, I8, I8, F8, TEMPLATES_TYPE, ROOM_TYPE, NAMED_TYPE)
def name_messages(
    masked: Any, messages: Any, limit: Any, similarity: Any, state: Any, room: Any, out: Any
) -> None:
    """Name masked messages by the templates of their words.

    Shapes: as in Masked and Named, for so many messages.
    Units: limit in templates, and as much room as there are messages below it; similarity is the share of words that
        must fit, 0…1.
    Cost: about 150 ns for a message of a known template.
    Source: He et al. 2017, Drain: an online log parsing approach with fixed depth tree, section III.
    Difference: two leaves of depth 1 (first word, last word) for a tree; words that became ``<*>`` count as fitting; a
        template that was matched SETTLED times in a row is never widened; among CROWD neighbours that are half alike
        the threshold does not hold; leaves and table are bounded, by the rules of S3-FIFO.
    """
    out.told[1] = 0
    texts = 0
    for i in range(messages):
        first = masked.first[i]
        words = masked.first[i + 1] - first
        if words == 0:
            out.kind[i] = -1
            out.template[i] = -1
            continue
        slot = _placed(state, room, masked, first, masked.begin[i], words, limit, similarity)
        out.template[i] = state.template[slot]["born"] if slot >= 0 else -1
        told = slot if slot >= 0 else room.told.shape[0] - 1
        state.meta[OTHER] += 1 if slot < 0 else 0
        if room.told[told] < 0:
            at = out.told[1]
            octets = np.int64(state.template[slot]["octets"]) if slot >= 0 else 3
            for k in range(octets):
                out.text[at + k] = state.text[slot, k] if slot >= 0 else _ANY[k]
            room.told[told] = out.told[0]
            out.length[texts] = octets
            texts += 1
            out.told[0] += 1
            out.told[1] += octets
        out.kind[i] = room.told[told]


@kernel(TEMPLATES_TYPE)
def rebuild_leaves(state: Any) -> None:
    """Fill the (zeroed) indices from the templates, after growth or restoring.

    Shapes: as in Templates.
    Units: none.
    Cost: about 20 ns a template.
    Source: Knuth, The Art of Computer Programming 3, section 6.4, algorithm C.
    Difference: none.
    """
    for slot in range(state.meta[USED]):
        _link(state, slot)
