"""No text that a pattern of the sentinel matches is let go, wherever it stands among others."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guardian.features import SENTINEL
from scoring.seeds import hold_seeds

PATTERNS = [pattern for _, _, pattern in SENTINEL]
plain = st.text(st.sampled_from("ab e/.'<%-_=( \n\u00e9"), max_size=400)


def suspects(texts: pa.Array) -> list[int]:
    _, offsets, data = texts.buffers()
    out = np.full(len(texts), 7, np.uint8)
    starts = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    hold_seeds(starts, np.frombuffer(data or b"", np.uint8), out)
    return out.tolist()


@given(data=st.data(), before=st.lists(plain, max_size=4), after=st.lists(plain, max_size=4), around=plain)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_matches_is_suspect(
    pattern: str, data: st.DataObject, before: list[str], after: list[str], around: str
) -> None:
    flags = re.IGNORECASE if data.draw(st.booleans()) else re.IGNORECASE | re.ASCII
    sign = data.draw(st.from_regex(re.compile(pattern, flags)))
    texts = pa.array([*before, around + sign, *after, sign], pa.string())
    matched = pc.match_substring_regex(texts, f"(?i){pattern}").to_pylist()
    assume(any(matched))
    found = suspects(texts)
    assert all(suspect for suspect, match in zip(found, matched, strict=True) if match)
    skipped = texts.slice(len(before))
    assert all(suspects(skipped)[row] for row in (0, len(after) + 1) if matched[len(before) + row])


@pytest.mark.parametrize(
    "sign",
    [
        "1 UNION ALL SELECT", "' or 1=1", "'%20or+0=", "' \ror+0=", "'\v\n\fand\ta=", "'+and%20x=", "'or'1'like", "%27and%20x=", ";drop table", "; DROP+table", "pg_sleep(1", "BENCHMARK (9",
        "waitfor delay (0", "INFORMATION_SCHEMA.", "<script", "%3C script", "JavaScript:x(", "onerror=a", "onLoad = '",
        'OnMouseOver%3d"', "../../", "..%2f..%5c", "%2e%2e/%2E%2E%2f", "/etc/passwd", "/proc/self/environ", "/.env", "/.git/HEAD",
        "/wp-login.php", "/.aws/credentials", "/id_rsa", "/phpMyAdmin/", "/id_r\u017fa", "ben\u0063hmar\u212a(1", "/etc/\u017fhadow",
    ],
)  # fmt: skip
def test_each_seed(sign: str) -> None:
    for before in range(252, 260):
        texts = pa.array(["x" * before + sign, "y" * 300, "", "z" * 700, "w" * 300, sign], pa.string())
        found = suspects(texts)
        assert (found[0], found[3], found[5]) == (1, 0, 1)


def test_every_gap() -> None:
    """The gaps that patterns allow between words, two at a time, in either case."""
    gaps = ["", *"\t\n\f\r +", "%20"]
    signs = []
    for one, two in itertools.product(gaps, gaps):
        signs += [f"{quote}{one}{two}{word} =" for quote in ("'", "%27") for word in ("or", "and")]
        signs += [
            f"<{one}{two}script",
            f"%3c{one}{two}script",
            f"onload{one}{two}=x",
            f"onerror{one}%3d{two}'",
        ]
        signs += [f"union{one} {two}select", f";{one}{two}drop{two} table", f";drop{one}+{two}table"]
        signs += [f"sleep{one}({two}1", f"waitfor {one}delay{two}(1"]
    texts = [pa.array([sign], pa.string()) for sign in [*signs, *map(str.upper, signs)]]
    matched = [
        any(pc.match_substring_regex(text, f"(?i){pattern}")[0].as_py() for pattern in PATTERNS)
        for text in texts
    ]
    assert sum(matched) > len(texts) // 2
    assert not [text for text, match in zip(texts, matched, strict=True) if match and suspects(text) != [1]]


def test_ordinary_texts_are_let_go() -> None:
    texts = pa.array(
        ["The user's session 7f3b was opened: C:\\Windows\\System32\\svchost.exe (id=4)"] * 3, pa.string()
    )
    assert suspects(texts) == [0, 0, 0]
    assert suspects(pa.array(["", "", "ab"], pa.string())) == [0, 0, 0]
    assert suspects(pa.array([], pa.string())) == []
