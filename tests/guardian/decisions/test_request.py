import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decisions import eoct, isabella, protocols
from guardian.decisions.record import ProtocolId
from guardian.decisions.request import BODY
from guardian.errors import Problem, RequestError

READERS = [eoct.request, isabella.request, protocols.request]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KEYS = [
    "subjectType", "subjectId", "signals", "notes", "prompt", "response", "ethicsScore", "verb", "decision",
    "context", "stages", "protocolId", "action", "payload", "layer", "purpose", "metadata",
]  # fmt: skip


def keys(error: RequestError) -> list[str]:
    return [problem.key for problem in error.problems]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nul",
        b"\xff\xfe",
        b'{"a":1e999}',
        b'{"a":NaN}',
        b'"\\ud800"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[]",
        b"null",
        b'"text"',
    ],
)
def test_a_body_that_is_no_object_is_one_problem(read: Any, body: bytes):
    with pytest.raises(RequestError) as caught:
        read(body)
    assert keys(caught.value) == [BODY]


def test_every_problem_is_named_at_once_by_its_key_path():
    body = {"subjectType": "two words", "signals": {"harmRisk": "much", "harm": 1}, "subjectId": "x" * 257}
    with pytest.raises(RequestError) as caught:
        eoct.request(body)
    assert sorted(keys(caught.value)) == ["signals.harm", "signals.harmRisk", "subjectId", "subjectType"]
    assert "signals.harmRisk: expected a number, got text of 4 characters" in str(caught.value)
    assert "signals.harm: expected one of coercionRisk, harmRisk" in str(caught.value)


def test_what_is_missing_is_named():
    with pytest.raises(RequestError) as caught:
        protocols.request(b"{}")
    assert keys(caught.value) == ["protocolId", "action", "layer"]
    with pytest.raises(RequestError) as caught:
        isabella.request(b'{"stages": {"ethics": {}}}')
    assert keys(caught.value) == [
        "prompt",
        "response",
        "stages.normalize",
        "stages.classify",
        "stages.ethics.score",
        "stages.security",
        "stages.governance",
    ]


def test_expectations_are_in_words():
    with pytest.raises(RequestError) as caught:
        protocols.request({"protocolId": "fenics", "action": "a", "layer": "L8", "payload": [], "purpose": 5})
    assert str(caught.value).splitlines() == [
        f"protocolId: expected one of {', '.join(get_args(ProtocolId))}, got text of 6 characters",
        "action: expected text of 2 to 128 characters, got text of 1 characters",
        "layer: expected one of L0, L1, L2, L3, L4, L5, L6, L7, got text of 2 characters",
        "purpose: expected text of at most 2000 characters, got the number 5",
        "payload: expected an object, got a list of 0",
    ]


def test_what_was_sent_is_never_repeated():
    secret = "marker-7f3a"
    with pytest.raises(RequestError) as caught:
        isabella.request(
            {"prompt": [secret], "response": {secret: secret}, "ethicsScore": secret, "context": secret}
        )
    assert len(caught.value.problems) == 4
    assert secret not in str(caught.value)


def test_null_is_the_same_as_absent_where_a_field_may_be_absent():
    assert eoct.request(
        {"subjectType": "user", "signals": {"harmRisk": None}, "subjectId": None, "notes": None}
    )
    with pytest.raises(RequestError):
        eoct.request({"subjectType": "user", "signals": None})


def test_unknown_keys_are_ignored_outside_signals_and_stages():
    assert isabella.request({"prompt": "p", "response": "r", "verb": "allow", "session": "s"}).verb == "allow"


def test_a_newline_does_not_slip_past_the_pattern():
    with pytest.raises(RequestError):
        eoct.request({"subjectType": "user\n", "signals": {}})


def problems(read: Any, body: bytes) -> list[Problem]:
    try:
        read(body)
    except RequestError as error:
        return error.problems
    return []


@pytest.mark.parametrize("read", READERS)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(read: Any, body: bytes):
    told = [problem.key for problem in problems(read, body)]
    assert told
    assert told == [BODY] or body.strip().startswith(b"{"), "a JSON object is told by its keys"


@pytest.mark.parametrize("read", READERS)
@given(tree=st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_object_is_read_or_refused_with_key_paths(read: Any, tree: dict[str, Any]):
    body = json.dumps(tree).encode()
    found = problems(read, body)
    assert all(problem.key and problem.expected and problem.got for problem in found)
    assert found == problems(read, body)
