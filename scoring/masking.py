"""The loop that reads log messages: which words there are, and what in them varies from one message to the next.

Owns the masks and how much of a message is looked at. Does not own the templates that the words make
(``scoring.templates``), nor the column of messages (``guardian.templates``).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.compilation import I8, IN_I4, IN_U1, U8, array, jit, kernel, named, types

READ: Final = 4096
"""Bytes of a message that are looked at."""
WORDS: Final = 64
"""Words of a message that are looked at."""
WORD: Final = 96
"""Bytes of a masked word; a longer one is ``<*>``."""
TEXT: Final = 1024
"""Bytes of the text of a template."""
CUT: Final = TEXT - 2 * WORDS
"""Bytes of a masked message that are looked at: room is left for each word to become ``<*>``."""

MASKS: Final = (
    "<*>",
    "<num>",
    "<hex>",
    "<id>",
    "<ip>",
    "<mac>",
    "<uuid>",
    "<time>",
    "<path>",
    "<url>",
    "<mail>",
)
ANY, NUM, HEX, ID, IP, MAC, UUID, TIME, PATH, URL, MAIL = range(len(MASKS))
NO_MASK: Final = -1
WILD: Final = 1
"""The word that stands for any; like the hash of each word with a mask in it, it is odd."""

_MASK_WIDTH: Final = 8
_MASK_TEXT: Final = np.frombuffer(
    b"".join(mask.encode().ljust(_MASK_WIDTH, b"\0") for mask in MASKS), np.uint8
)
_MASK_LENGTH: Final = np.array([len(mask) for mask in MASKS], np.int64)

SEPARATOR, SPACE, JOINER, DIGIT, HEX_LETTER, LETTER = range(6)
"""Classes of bytes; a joiner may stand within an address, a path or a time, all from DIGIT on within a name."""

_TOO_LONG: Final = 1 << 30


def _classes() -> NDArray[np.uint8]:
    found = np.full(256, SEPARATOR, np.uint8)
    found[:33] = SPACE
    found[127] = SPACE
    found[list(b"._:-/\\@%+~#&?")] = JOINER
    found[list(b"0123456789")] = DIGIT
    found[list(b"ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ")] = LETTER
    found[128:] = LETTER  # of any other script
    found[list(b"abcdefABCDEF")] = HEX_LETTER
    return found


_CLASS: Final = _classes()

LISTS, CLOSES, SENTENCE, VARIES, TIMELY = 1, 2, 4, 8, 16
"""What else a byte may do: stand between items of a list, end an address that began with ``scheme://``, end a sentence,
tell that a word must be looked at, stand in a time."""


def _marks() -> NDArray[np.uint8]:
    found = np.zeros(256, np.uint8)
    for mark, octets in (
        (LISTS, b",;:/-"),
        (CLOSES, b"\"'<>)]}"),
        (SENTENCE, b".:?-"),
        (VARIES, b"0123456789@/\\"),
        (TIMELY, b"TZ:-./+"),
    ):
        found[list(octets)] |= mark
    return found


_MARK: Final = _marks()


class Masked(NamedTuple):
    """Messages as masked words; ``new_masked`` makes room for them."""

    first: NDArray[np.int64]
    """(n + 1,): where the words of each message begin in ``word`` and ``end``; a blank one has none."""
    begin: NDArray[np.int64]
    """(n + 1,): where the text of each message begins."""
    word: NDArray[np.uint64]
    """(n × WORDS,): hashes, odd where there is a mask in the word; WILD where nothing else is."""
    end: NDArray[np.int32]
    """(n × WORDS,): where each word ends, from the beginning of its message's text."""
    text: NDArray[np.uint8]
    """(n × TEXT,): words, one space between them."""
    note: NDArray[np.int64]
    """(2,): scratch: the last mask written within a word, and where it ended."""


MASKED_TYPE: Final = named(
    Masked, array(I8), array(I8), array(U8), array(types.int32), array(types.uint8), array(I8)
)


def new_masked(messages: int) -> Masked:
    """Room for so many messages."""
    return Masked(
        first=np.zeros(messages + 1, np.int64),
        begin=np.zeros(messages + 1, np.int64),
        word=np.zeros(messages * WORDS, np.uint64),
        end=np.zeros(messages * WORDS, np.int32),
        text=np.zeros(messages * TEXT, np.uint8),
        note=np.zeros(2, np.int64),
    )


@jit
def _put(text: Any, at: Any, stop: Any, byte: Any) -> Any:
    """Write one byte of a word; past ``stop`` the word is too long, whatever follows."""
    if at >= stop:
        return _TOO_LONG
    text[at] = byte
    return at + 1


@jit
def _put_mask(text: Any, at: Any, stop: Any, note: Any, mask: Any) -> Any:
    """Write a mask; one more of the same after a single separator is a list, and a list is written as one."""
    if note[0] == mask and at == note[1] + 1 and _MARK[text[note[1]]] & LISTS:
        return note[1]
    for k in range(_MASK_LENGTH[mask]):
        at = _put(text, at, stop, _MASK_TEXT[mask * _MASK_WIDTH + k])
    note[0], note[1] = mask, at
    return at


@jit
def _is_hex(data: Any, start: Any, stop: Any) -> Any:
    found = True
    for k in range(start, stop):
        found &= DIGIT <= _CLASS[data[k]] <= HEX_LETTER
    return found


@jit
def _prefix(data: Any, start: Any, stop: Any) -> Any:
    """Bytes before the hex digits of a name that could be a hex number: 0x, or none where there are six digits or more."""
    if stop - start > 2 and data[start] == 48 and (data[start + 1] | 32) == 120:
        return 2
    return 0 if stop - start >= 6 else -1


@jit
def _pieces(data: Any, start: Any, stop: Any, text: Any, at: Any, limit: Any, note: Any) -> Any:
    """Mask the names with digits in them, one by one: ``eth0`` is ``eth<num>``, ``5ms`` is ``<num>ms``."""
    i = start
    while i < stop:
        byte = data[i]
        if _CLASS[byte] < DIGIT:
            signs = byte in (43, 45) and i + 1 < stop and _CLASS[data[i + 1]] == DIGIT
            if not (signs and (i == start or _CLASS[data[i - 1]] < DIGIT)):
                at = _put(text, at, limit, byte)
            i += 1
            continue
        j, digits, groups = i, 0, 0
        while j < stop and _CLASS[data[j]] >= DIGIT:
            if _CLASS[data[j]] == DIGIT:
                digits += 1
                if j == i or _CLASS[data[j - 1]] != DIGIT:
                    groups += 1
            j += 1
        if digits == 0:
            for k in range(i, j):
                at = _put(text, at, limit, data[k])
        elif digits == j - i:
            parts, longest, since = 1, digits, 0
            while j + 1 < stop and data[j] == 46 and _CLASS[data[j + 1]] == DIGIT:
                parts, since = parts + 1, j + 1
                j += 1
                while j < stop and _CLASS[data[j]] == DIGIT:
                    j += 1
                longest = max(longest, j - since)
            at = _put_mask(text, at, limit, note, IP if parts == 4 and longest <= 3 else NUM)
        elif _prefix(data, i, j) >= 0 and _is_hex(data, i + _prefix(data, i, j), j):
            at = _put_mask(text, at, limit, note, HEX)
        elif groups > 1:
            at = _put_mask(text, at, limit, note, ID)
        else:
            for k in range(i, j):
                if _CLASS[data[k]] != DIGIT:
                    at = _put(text, at, limit, data[k])
                elif k == i or _CLASS[data[k - 1]] != DIGIT:
                    at = _put_mask(text, at, limit, note, NUM)
        i = j
    return at


@jit
def _begins_path(data: Any, start: Any, stop: Any) -> Any:
    r"""/a, ~/a, ./a, ../a, \\a, C:\a or C:/a."""
    length, first = stop - start, data[start]
    if first == 47:
        return length > 1 and data[start + 1] != 47
    if length < 3:
        return False
    second, third = data[start + 1], data[start + 2]
    if first == 92:
        return second == 92
    if first == 46 and second == 46:
        return third == 47
    if second == 47:
        return first in (46, 126)
    return _CLASS[first] >= HEX_LETTER and length > 3 and second == 58 and third in (47, 92)


@jit
def _apart(data: Any, start: Any, stop: Any, step: Any, byte: Any) -> Any:
    """How often a byte stands at every so-manieth place."""
    found = 0
    for k in range(start, stop, step):
        found += 1 if data[k] == byte else 0
    return found


@jit
def _whole(data: Any, start: Any, stop: Any) -> Any:
    """The mask of a chunk that as a whole is an address, a time, an id or a path; NO_MASK of any other."""
    if _begins_path(data, start, stop):
        return PATH
    length, digits, letters, hexes, timely = stop - start, 0, 0, 0, 0
    colons, dashes, dots, slashes, backslashes = 0, 0, 0, 0, 0
    for k in range(start, stop):
        byte, c = data[k], _CLASS[data[k]]
        timely += 1 if _MARK[byte] & TIMELY else 0
        if c == DIGIT:
            digits += 1
        elif c >= HEX_LETTER:
            letters += 1
            hexes += 1 if c == HEX_LETTER else 0
        elif byte == 58:
            colons += 1
        elif byte == 45:
            dashes += 1
        elif byte == 46:
            dots += 1
        elif byte == 47:
            slashes += 1
        elif byte == 92:
            backslashes += 1
        elif (
            byte == 64
            and start < k < stop - 1
            and _CLASS[data[k - 1]] >= DIGIT
            and _CLASS[data[k + 1]] >= HEX_LETTER
        ):
            return MAIL
    if digits > 0:
        if length == 36 and digits + hexes == 32 and _apart(data, start + 8, start + 24, 5, 45) == 4:
            return UUID
        separator = 58 if colons == 5 else 45
        if length == 17 and digits + hexes == 12 and _apart(data, start + 2, stop, 3, separator) == 5:
            return MAC
        if colons >= 2 and digits + hexes + colons == length:
            return TIME if hexes == 0 and colons == 2 else IP
        timely += digits if _CLASS[data[start]] == DIGIT and dots <= 1 else 0
        if timely == length and (colons >= 2 or (digits >= 8 and (dashes >= 2 or slashes == 2))):
            return TIME
    if letters > 0 and (slashes >= 2 or backslashes >= 2):
        return PATH
    return NO_MASK


@jit
def _masked(data: Any, start: Any, stop: Any, text: Any, at: Any, note: Any) -> Any:
    """Write a word, masked, to ``text``; where it ends there, more than WORD bytes on if it is too long."""
    limit = at + WORD
    note[0] = NO_MASK
    i = start
    while i < stop and at <= limit:
        if _CLASS[data[i]] == SEPARATOR:
            at = _put(text, at, limit, data[i])
            i += 1
            continue
        j, url = i, False
        while j < stop and _CLASS[data[j]] >= JOINER:
            if data[j] == 58 and j > i and j + 2 < stop and data[j + 1] == 47 and data[j + 2] == 47:
                url = True
                break
            j += 1
        if url:
            while j < stop and not _MARK[data[j]] & CLOSES:
                j += 1
            at = _put_mask(text, at, limit, note, URL)
            i = j
            continue
        last = j
        while last > i and _MARK[data[last - 1]] & SENTENCE:
            last -= 1
        if last > i:
            mask = _whole(data, i, last)
            if mask == NO_MASK:
                at = _pieces(data, i, last, text, at, limit, note)
            else:
                at = _put_mask(text, at, limit, note, mask)
        for k in range(last, j):
            at = _put(text, at, limit, data[k])
        i = j
    return at


@jit
def _hashed(text: Any, start: Any, stop: Any, seed: Any) -> Any:
    """Hash of a word, keyed; its lowest bit is for the caller."""
    h = seed
    for k in range(start, stop):
        h = (h ^ np.uint64(text[k])) * np.uint64(0x100000001B3)
    h ^= h >> np.uint64(32)
    h *= np.uint64(0x9E3779B97F4A7C15)
    h ^= h >> np.uint64(29)
    return h & ~np.uint64(1)


@kernel(IN_I4, IN_I4, IN_U1, U8, MASKED_TYPE)
def mask_messages(row: Any, offset: Any, data: Any, seed: Any, out: Any) -> None:
    """Split messages into words and mask what varies in them.

    Shapes: row (n,) indices into offset (rows + 1,) into data, as in an Arrow string array; out for n messages.
    Units: seed keys the hashes of words.
    Cost: about 6 ns a byte.
    Source: Zhu et al. 2019, Tools and benchmarks for automated log parsing, section III (masks before parsing).
    Difference: a classifier of bytes for regular expressions, the same masks for every kind of log; a list of the same
        mask is written once; what is past READ, WORDS or CUT is not looked at, and a word past WORD is ``<*>``.
    """
    text, note = out.text, out.note
    out.first[0] = out.begin[0] = 0
    for message in range(row.shape[0]):
        i, stop = np.int64(offset[row[message]]), np.int64(offset[row[message] + 1])
        if stop - i > READ:
            stop = i + READ
            while stop > i and (data[stop] & 0xC0) == 0x80:  # within a character
                stop -= 1
        first, origin = out.first[message], out.begin[message]
        words, at = 0, origin
        while words < WORDS:
            while i < stop and _CLASS[data[i]] == SPACE:
                i += 1
            if i >= stop:
                break
            begin = at + 1 if words else at
            j, varies = i, 0
            while j < stop and _CLASS[data[j]] != SPACE:
                varies |= _MARK[data[j]] & VARIES
                j += 1
            note[0], end = NO_MASK, begin
            if varies:
                end = _masked(data, i, j, text, begin, note)
            elif j - i <= WORD:
                for k in range(i, j):
                    text[end] = data[k]
                    end += 1
            if end > begin + WORD or end == begin:
                end = _put_mask(text, begin, begin + WORD, note, ANY)
            if end - origin > CUT:
                break
            if note[0] == ANY:
                h = np.uint64(WILD)
            else:
                h = _hashed(text, begin, end, seed) | np.uint64(note[0] != NO_MASK)
            i = j
            if words and h == out.word[first + words - 1] and h & np.uint64(1):
                continue  # a list, with spaces between
            if words:
                text[at] = 32
            out.word[first + words], out.end[first + words] = h, end - origin
            words, at = words + 1, end
        out.first[message + 1], out.begin[message + 1] = first + words, at
