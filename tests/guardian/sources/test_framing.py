"""RFC 6587: both framings, told apart at each message, however the stream is cut, in bounded memory."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.sources.framing import Framer, frame, mark

LIMIT = 30


def messages(frames: bytes) -> list[bytes]:
    found = []
    while frames:
        head = re.match(rb"(\d+) ", frames)
        assert head is not None
        stop = head.end() + int(head[1])
        assert stop <= len(frames)
        found.append(frames[head.end() : stop])
        frames = frames[stop:]
    return found


def framed(*pieces: bytes, limit: int = LIMIT) -> tuple[list[bytes], int]:
    framer = Framer(limit)
    out = [framer.feed(piece) for piece in pieces]
    out.append(framer.finish())
    assert not framer.unfinished or framer.cut
    return messages(b"".join(out)), framer.cut


@pytest.mark.parametrize(
    ("stream", "expected", "cut"),
    [
        (b"<1>a\n<2>b\n", [b"<1>a", b"<2>b"], 0),
        (b"<1>a\r\n\n\0<2>b", [b"<1>a", b"<2>b"], 0),
        (b"4 <1>a5 <2>\nb", [b"<1>a", b"<2>\nb"], 0),
        (b"4 <1>a\n4 <2>b\n", [b"<1>a", b"<2>b"], 0),
        (b"4 <1>a<2>b\n4 <3>c", [b"<1>a", b"<2>b", b"<3>c"], 0),
        (b"4 <1>a3 abc", [b"<1>a", b"abc"], 0),
        (b"2024 was a year\n", [b"2024 was a year"], 0),
        (b"2024-10-11 x\n", [b"2024-10-11 x"], 0),
        (b"no priority\n", [b"no priority"], 0),
        (b"12", [b"12"], 0),
        (b"9 <1>a", [b"<1>a"], 1),
        (b"0 <1>a\n", [b"0 <1>a"], 0),
        (b"x" * 31 + b"\n<2>b\n", [b"x" * 30, b"<2>b"], 1),
        (b"x" * 99 + b"\n<2>b\n", [b"x" * 30, b"<2>b"], 1),
        (b"x" * 99, [b"x" * 30], 1),
        (b"40 <1>" + b"y" * 37 + b"4 <2>b", [b"<1>" + b"y" * 27, b"<2>b"], 1),
        (b"", [], 0),
    ],
)
def test_framings(stream: bytes, expected: list[bytes], cut: int) -> None:
    assert framed(stream) == (expected, cut)
    assert framed(*(stream[at : at + 1] for at in range(len(stream)))) == (expected, cut)


@settings(max_examples=200)
@given(
    said=st.lists(st.binary(max_size=20).map(lambda text: b"<1>" + text), max_size=8),
    counted=st.booleans(),
    cuts=st.lists(st.integers(0, 200), max_size=6),
)
def test_messages_come_out_as_they_went_in(said: list[bytes], counted: bool, cuts: list[int]) -> None:
    said = said if counted else [re.sub(rb"[\r\n]", b"", text) for text in said]
    stream = b"".join(frame(text) if counted else text + b"\n" for text in said)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert framed(*(stream[a:b] for a, b in pairwise(places))) == (said, 0)


@settings(max_examples=300)
@given(pieces=st.lists(st.one_of(st.binary(max_size=80), st.from_regex(rb"[0-9]{1,3} <[\x00-\xff]{0,40}"))))
def test_any_stream_gives_whole_messages_within_the_limit(pieces: list[bytes]) -> None:
    framer = Framer(LIMIT)
    for piece in pieces:
        assert all(len(text) <= LIMIT for text in messages(framer.feed(piece)))
        assert len(framer._data) <= LIMIT + 11
    assert all(len(text) <= LIMIT + 11 for text in messages(framer.finish()))
    whole, _ = framed(b"".join(pieces))
    assert framed(*pieces)[0] == whole


def test_a_mark_is_one_printable_word() -> None:
    assert mark("fe80::1%eth0") == b"@fe80::1%eth0 "
    assert len(mark("x" * 500)) == 66
