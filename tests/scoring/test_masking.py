"""What is masked in a message: golden lines, a slow twin, and messages made to hurt."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scoring.masking import READ, WORDS, mask_messages, new_masked
from tests.twins_templates import words_of

GOLDEN = [
    ("user alice logged in", "user alice logged in"),
    ("retry 3 of 10 after -2.5 s", "retry <num> of <num> after <num> s"),
    ("took 12ms, 5.3KB sent", "took <num>ms, <num>KB sent"),
    ("link eth0 up on node-129", "link eth<num> up on node-<num>"),
    ("block blk_-1608999687919862906", "block blk_<num>"),
    ("flags=0x1F mask deadbeef01", "flags=<hex> mask <hex>"),
    ("build 3f2a1c and word added", "build <hex> and word added"),
    ("request 9xk2q7 done", "request <id> done"),
    ("from 10.1.2.3 port 22", "from <ip> port <num>"),
    ("from 10.1.2.3:50010.", "from <ip>:<num>."),
    ("net 10.0.0.0/8", "net <ip>/<num>"),
    ("peer fe80::1c2d:3 and [2001:db8::7]:443", "peer <ip> and [<ip>]:<num>"),
    ("std::vector<int> of Dead::Beef", "std::vector<int> of Dead::Beef"),
    ("mac 00:1A:2b:3c:4d:5e or 00-1A-2b-3c-4d-5e", "mac <mac> or <mac>"),
    ("id 54fadb41-2c4e-40cd-baed-9335e4c35a9e", "id <uuid>"),
    ("at 2026-11-24T16:57:47.123Z", "at <time>"),
    ("at 2026-11-24 16:57:47,123", "at <time> <time>,<num>"),
    ("on 2016/09/28", "on <time>"),
    ("open /var/log/syslog: denied", "open <path>: denied"),
    (r"load C:\Windows\System32\ntdll.dll", "load <path>"),
    (r"share \\server\c$ for ACME\bob", r"share <path>$ for ACME\bob"),
    ("cd ~/work ./run ../up a/b/c", "cd <path>"),
    ("and/or HTTP/1.1", "and/or HTTP/<num>"),
    ('GET "https://x.example/a?b=1&c=2" (https://y.example)', 'GET "<url>" (<url>)'),
    ("mail from ana.lopez@example.mx, to <b@c.d>", "mail from <mail>, to <<mail>>"),
    ("ports 1,2,3;4 and 7 8 9", "ports <num> and <num>"),
    ("status: 200 len=1893", "status: <num> len=<num>"),
    ("sesión de José iniciada: 3 años", "sesión de José iniciada: <num> años"),
    ("a:1b c:/d a://", "a:<num>b <path> <url>"),
    ("\x00\tblank\x7f\r\nbytes\x0b", "blank bytes"),
    ("x" * 97, "<*>"),
    ("/" + "x" * 300, "<path>"),
    ("", ""),
    (" \n\t ", ""),
]


def masked(*messages: bytes) -> list[list[tuple[bytes, bool]]]:
    """What the kernel makes of messages, one word a pair: its text and whether there is a mask in it."""
    out = new_masked(len(messages))
    offsets = np.cumsum([0, *map(len, messages)]).astype(np.int32)
    data = np.frombuffer(b"".join(messages), np.uint8)
    mask_messages(np.arange(len(messages), dtype=np.int32), offsets, data, np.uint64(7), out)
    found = []
    for message in range(len(messages)):
        text = out.text[out.begin[message] : out.begin[message + 1]].tobytes()
        first, after = out.first[message], out.first[message + 1]
        ends = [-1, *out.end[first:after].tolist()]
        assert ends[-1] in {-1, len(text)}
        words = [text[start + 1 : stop] for start, stop in pairwise(ends)]
        found.append(list(zip(words, (out.word[first:after] % 2 == 1).tolist(), strict=True)))
    return found


def text_of(words: list[tuple[bytes, bool]]) -> str:
    return b" ".join(word for word, _ in words).decode()


@pytest.mark.parametrize(("message", "expected"), GOLDEN)
def test_golden_lines(message: str, expected: str) -> None:
    assert text_of(masked(message.encode())[0]) == expected
    assert text_of(words_of(message.encode())) == expected


# Parts that masks are made of, so that near misses are common.
PARTS = st.sampled_from(
    [
        *(
            "1",
            "22",
            "2026",
            "007",
            "a",
            "beef",
            "fe80",
            "0x",
            "x",
            "Z",
            "T",
            "user",
            "ñ",
            "é",
            "<num>",
            "<*>",
        ),
        *(
            ":",
            "::",
            "-",
            "--",
            "+",
            ".",
            "..",
            "/",
            "//",
            "\\",
            "@",
            "~",
            "%",
            "?",
            "_",
            ",",
            ";",
            "=",
            "://",
        ),
        *("(", ")", "<", ">", '"', "'", " ", "  ", "\n", "\0", "10.0.0.1", "00:11:22:aa:bb:cc", "12:00:00"),
        *("2026-11-24", "54fadb41-2c4e-40cd-baed-9335e4c35a9e", "http://h/p", "C:\\", "a@b"),
    ]
)


@settings(max_examples=500)
@given(st.lists(PARTS, max_size=30).map("".join))
@example("a:1b")
@example("1,2,3ms,4")
def test_twin(message: str) -> None:
    assert masked(message.encode()) == [words_of(message.encode())]


@given(st.binary(max_size=300))
def test_twin_of_any_bytes(message: bytes) -> None:
    assert masked(message) == [words_of(message)]


@given(st.lists(st.text(max_size=40), max_size=8))
def test_no_message_changes_another_and_text_stays_text(messages: list[str]) -> None:
    whole = masked(*(each.encode() for each in messages))
    assert whole == [masked(each.encode())[0] for each in messages]
    for words in whole:
        text_of(words)


LONG = {
    "one word": b"a" * 2**20,
    "one number": b"7" * 2**20,
    "numbers": b"1 " * 2**19,
    "a list": b"1," * 2**19,
    "words": b"ab " * 2**18,
    "spaces": b" " * 2**20,
    "zeros": bytes(2**20),
    "colons": b":" * 2**20,
    "slashes": b"/" * 2**20,
    "accents": "é".encode() * 2**19,
    "an accent across the limit": b"1," * 2047 + "1é1".encode(),
    "broken characters": b"\x80" * 2**20,
    "noise": random.Random(1).randbytes(2**20),
}


@pytest.mark.parametrize("name", LONG)
def test_long_lines_are_cut(name: str) -> None:
    message = LONG[name]
    words = masked(message)[0]
    assert words == words_of(message)
    assert len(words) <= WORDS
    assert masked(message[: READ + 4] + b"x")[0] == words


def test_what_the_limits_are() -> None:
    words = [f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(70)]
    assert text_of(masked(" ".join(words).encode())[0]) == " ".join(words[:64])
    long = [word * 20 for word in words]
    assert len(masked(" ".join(long).encode())[0]) == 14  # 14 × 81 is past 896 bytes of text
