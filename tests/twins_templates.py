"""The template miner once more, slow and plain: regular expressions for bytes, lists for tables. The specification.

Written from docs/decisions/006 and the papers that the kernels cite, not from the kernels.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

READ, WORDS, WORD, CUT = 4096, 64, 96, 896
LEAF, CROWD, SETTLED = 48, 8, 256

_SPACE = re.compile(rb"[\x00-\x20\x7f]+")
_NAME = rb"[0-9A-Za-z\x80-\xff]"
_LETTER = rb"[A-Za-z\x80-\xff]"
_CHUNK = re.compile(rb"[0-9A-Za-z\x80-\xff._:/\\@%+~#&?-]+")
_PATH = re.compile(rb"/[^/]|~/.|\./.|\.\./|\\\\.|" + _LETTER + rb":[/\\].", re.DOTALL)
_MAIL = re.compile(_NAME + b"@" + _LETTER)
_UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MAC = re.compile(rb"[0-9a-f]{2}([:-])([0-9a-f]{2}\1){4}[0-9a-f]{2}", re.IGNORECASE)
_COLONS = re.compile(rb"[0-9a-f:]+", re.IGNORECASE)
_TIME = re.compile(rb"[0-9][0-9TZ:./+-]*")
_PIECE = re.compile(
    rb"(?P<sign>(?<!" + _NAME + rb")[+-](?=[0-9]))"
    rb"|(?P<number>[0-9]+(?!" + _NAME + rb")(?:\.[0-9]+)*)"
    rb"|(?P<name>" + _NAME + rb"+)"
    rb"|(?P<other>.)",
    re.DOTALL,
)
_HEX = re.compile(rb"0x[0-9a-f]+|[0-9a-f]{6,}", re.IGNORECASE)
_DIGITS = re.compile(rb"[0-9]+")


class TooLongError(Exception):
    """A word has grown past its limit."""


@dataclass
class _Word:
    text: bytes = b""
    mask: bytes = b""
    ended: int = -2

    def put(self, octets: bytes) -> None:
        self.text += octets
        if len(self.text) > WORD:
            raise TooLongError

    def put_mask(self, name: str) -> None:
        mask = b"<" + name.encode() + b">"
        if mask == self.mask and len(self.text) == self.ended + 1 and self.text[-1:] in b",;:/-":
            self.text = self.text[:-1]  # one more item of a list
            return
        self.put(mask)
        self.mask, self.ended = mask, len(self.text)


def words_of(message: bytes) -> list[tuple[bytes, bool]]:
    """The masked words of a message, and whether there is a mask in each."""
    if len(message) > READ:
        stop = READ
        while stop and message[stop] & 0xC0 == 0x80:
            stop -= 1
        message = message[:stop]
    words: list[tuple[bytes, bool]] = []
    for part in _SPACE.split(message):
        if not part:
            continue
        if len(words) == WORDS:
            break
        word = _masked(part)
        if len(b" ".join([text for text, _ in words] + [word[0]])) > CUT:
            break
        if not (words and word == words[-1] and word[1]):
            words.append(word)
    return words


def _masked(part: bytes) -> tuple[bytes, bool]:
    word, at = _Word(), 0
    try:
        while at < len(part):
            found = _CHUNK.match(part, at)
            if found is None:
                word.put(part[at : at + 1])
                at += 1
                continue
            chunk = found.group()
            scheme = chunk.find(b"://", 1)
            if scheme > 0:
                word.put_mask("url")
                at += scheme
                while at < len(part) and part[at] not in b"\"'<>)]}":
                    at += 1
                continue
            _put_chunk(word, chunk)
            at = found.end()
    except TooLongError:
        return b"<*>", True
    return word.text, bool(word.mask)


def _put_chunk(word: _Word, chunk: bytes) -> None:
    core = chunk.rstrip(b".:?-")
    mask = _mask_of(core) if core else ""
    if mask:
        word.put_mask(mask)
    else:
        for found in _PIECE.finditer(core):
            _put_piece(word, found)
    word.put(chunk[len(core) :])


def _mask_of(core: bytes) -> str:
    digits = sum(each in b"0123456789" for each in core)
    hexes = any(each in b"abcdefABCDEF" for each in core)
    colons, dashes, slashes = core.count(b":"), core.count(b"-"), core.count(b"/")
    if _PATH.match(core):
        return "path"
    if _MAIL.search(core):
        return "mail"
    if digits and _UUID.fullmatch(core):
        return "uuid"
    if digits and _MAC.fullmatch(core):
        return "mac"
    if digits and colons >= 2 and _COLONS.fullmatch(core):
        return "time" if colons == 2 and not hexes else "ip"
    dated = digits >= 8 and (dashes >= 2 or slashes == 2)
    if _TIME.fullmatch(core) and core.count(b".") <= 1 and (colons >= 2 or dated):
        return "time"
    if re.search(_LETTER, core) and (slashes >= 2 or core.count(b"\\") >= 2):
        return "path"
    return ""


def _put_piece(word: _Word, found: re.Match[bytes]) -> None:
    piece = found.group()
    if found.lastgroup == "number":
        parts = piece.split(b".")
        word.put_mask("ip" if len(parts) == 4 and all(len(each) <= 3 for each in parts) else "num")
    elif found.lastgroup == "name" and (groups := _DIGITS.findall(piece)):
        if _HEX.fullmatch(piece):
            word.put_mask("hex")
        elif len(groups) > 1:
            word.put_mask("id")
        else:
            before, after = piece.split(groups[0])
            word.put(before)
            word.put_mask("num")
            word.put(after)
    elif found.lastgroup != "sign":
        word.put(piece)


WILD = (b"<*>", True)


@dataclass
class _Template:
    words: list[tuple[bytes, bool]]
    head: tuple[object, ...]
    tail: tuple[object, ...] | None
    born: int
    quiet: int = 0
    settled: bool = False
    uses: int = 0
    waiting: bool = True

    @property
    def text(self) -> bytes:
        return b" ".join(text for text, _ in self.words)


@dataclass
class TemplatesTwin:
    """A bounded set of templates; ``limit`` and ``similarity`` as in the configuration."""

    limit: int = 8192
    similarity: float = 0.8
    slots: list[_Template] = field(default_factory=list)
    queue: deque[int] = field(default_factory=deque)
    hand: int = 0
    born: int = 0
    evicted: int = 0
    other: int = 0

    def name(self, message: bytes) -> str | None:
        """The text of the message's template; None for a blank message."""
        words = words_of(message)
        if not words:
            return None
        head = ("first", len(words), words[0])
        tail = ("last", len(words), words[-1])
        first = [slot for slot, one in enumerate(self.slots) if one.head == head]
        found = self._found(words, first)
        last = [slot for slot, one in enumerate(self.slots) if one.tail == tail]
        if found is None:
            found = self._found(words, last)
        if found is None:
            behind = tail if len(last) < LEAF else None
            once = [slot for slot in first if self.slots[slot].waiting and not self.slots[slot].uses]
            if len(first) < LEAF:
                return self._made(words, head, behind, None).text.decode()
            if once:
                oldest = min(once, key=lambda slot: self.slots[slot].born)
                return self._made(words, head, behind, oldest).text.decode()
            found = self._nearest(words, [slot for slot in first if not self.slots[slot].settled])
        if found is None:
            self.other += 1
            return "<*>"
        self._match(self.slots[found], words)
        return self.slots[found].text.decode()

    def _fits(self, words: list[tuple[bytes, bool]], slot: int) -> int:
        own = self.slots[slot].words
        return sum(mine in (theirs, WILD) for mine, theirs in zip(own, words, strict=True))

    def _nearest(self, words: list[tuple[bytes, bool]], slots: list[int]) -> int | None:
        def closeness(slot: int) -> tuple[int, int, int]:
            one = self.slots[slot]
            same = sum(mine == theirs for mine, theirs in zip(one.words, words, strict=True))
            return self._fits(words, slot), same, -one.born

        return max(slots, key=closeness, default=None)

    def _found(self, words: list[tuple[bytes, bool]], slots: list[int]) -> int | None:
        fitting = [
            slot
            for slot in slots
            if (fits := self._fits(words, slot)) == len(words)
            or (fits >= self.similarity * len(words) and not self.slots[slot].settled)
        ]
        if fitting:
            return self._nearest(words, fitting)
        literal = sum(not varies for _, varies in words)
        crowd = []
        for slot in slots:
            own = self.slots[slot].words
            alike = sum(mine == theirs and not mine[1] for mine, theirs in zip(own, words, strict=True))
            if alike and 2 * alike >= literal:
                crowd.append(slot)
        if len(crowd) < CROWD:
            return None
        return self._nearest(words, [slot for slot in crowd if not self.slots[slot].settled])

    @staticmethod
    def _match(one: _Template, words: list[tuple[bytes, bool]]) -> None:
        one.uses = min(one.uses + 1, 3)
        wider = [mine if mine == theirs else WILD for mine, theirs in zip(one.words, words, strict=True)]
        if wider != one.words:
            one.words, one.quiet = wider, 0
        elif not one.settled:
            one.quiet += 1
            one.settled = one.quiet >= SETTLED

    def _made(
        self,
        words: list[tuple[bytes, bool]],
        head: tuple[object, ...],
        tail: tuple[object, ...] | None,
        place: int | None,
    ) -> _Template:
        made = _Template(words, head, tail, self.born)
        self.born += 1
        if place is not None:
            self.slots[place] = made  # in the queue it stands where the other stood
            self.evicted += 1
            return made
        if len(self.slots) < self.limit:
            place = len(self.slots)
            self.slots.append(made)
        else:
            place = self._freed()
            self.slots[place] = made
            self.evicted += 1
        self.queue.append(place)
        return made

    def _freed(self) -> int:
        while True:
            if len(self.queue) * 10 > self.limit or len(self.queue) == len(self.slots):
                slot = self.queue.popleft()
                one = self.slots[slot]
                one.waiting = False
                if one.uses == 0:
                    return slot
                one.uses = 0
                continue
            slot = self.hand
            self.hand = (slot + 1) % len(self.slots)
            one = self.slots[slot]
            if one.waiting:
                continue
            if one.uses == 0:
                return slot
            one.uses -= 1
