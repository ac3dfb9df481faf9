"""What is looked for: a gram of every pattern and literals of every expression, so that nothing that matches is missed."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.sigma.match_kernels import gram_key, text_key
from guardian.sigma.program import _gram_key, _text_key, lowered, required


@pytest.mark.parametrize(
    ("pattern", "literals"),
    [
        ("abc", (b"abc",)),
        ("(?i)ABC.*d", (b"abc",)),
        ("a|bc", (b"a", b"bc")),
        ("(foo|bar)baz?", (b"bar", b"foo")),
        ("(abc)?x", (b"x",)),
        ("(abc){2}", (b"abc",)),
        ("[a-z]+", ()),
        (r"\d{4}-\d", (b"-",)),
        ("[[:alpha:]]+x", ()),
        (r"\pL", ()),
        ("ñandú", ()),
        ("", ()),
    ],
)
def test_literals_of_expressions(pattern: str, literals: tuple[bytes, ...]) -> None:
    assert required(pattern) == literals


@given(st.from_regex(r"(ab|c|[xy]{1,2}|d+|(e|fg)?){1,5}", fullmatch=True), st.text("abcdefgxy", max_size=20))
def test_a_text_that_matches_holds_a_literal(pattern: str, text: str) -> None:
    literals = required(pattern)
    if literals and re.search(pattern, text):
        assert any(literal.decode() in text for literal in literals)


@given(st.binary(min_size=1, max_size=20), st.integers(0, 400))
def test_keys_are_those_of_the_kernels(octets: bytes, field: int) -> None:
    data = np.frombuffer(octets + bytes(8), np.uint8).copy()
    assert int(text_key(data, 0, len(octets), field)) == _text_key(octets, field)
    gram = octets[:4]
    word = np.uint64(int.from_bytes(gram, "little"))
    assert int(gram_key(word, len(gram), field)) == _gram_key(gram, field)


def test_lower_case_is_a_matter_of_single_characters() -> None:
    every = "".join(chr(code) for code in range(1, 0x1F000) if not 0xD800 <= code < 0xE000)
    ours = lowered(pa.array([every]))[0].as_py()
    theirs = "".join(low if len(low := each.lower()) == 1 else each for each in every)
    differ = {each for each, one, other in zip(every, ours, theirs, strict=True) if one != other}
    # İ has a lower case of two characters; the others are younger than the table that Python or Arrow has.
    assert {each for each in differ if ord(each) < 0x1C80} <= {"İ"}, differ
