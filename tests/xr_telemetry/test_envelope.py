"""Envelopes: what is taken, what is refused and under which word; any bytes at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import MessageError
from xr_telemetry import envelope
from xr_telemetry.envelope import build, moment, nanoseconds, parse, parse_tagged, tag

AT = "2026-01-01T00:00:00.250Z"


def wire(**fields: object) -> str:
    return json.dumps({"type": "space_join", "payload": {}, "createdAt": AT} | fields)


def with_value(value: str) -> str:
    """A message whose payload holds this piece of JSON."""
    return wire(payload={"x": 0}).replace('"x": 0', f'"x": {value}')


@pytest.mark.parametrize("kind", sorted(envelope.INPUT_KINDS | envelope.SESSION_TYPES))
def test_a_kind_may_be_the_type(kind: str) -> None:
    assert parse(wire(type=kind)).kind == kind


@pytest.mark.parametrize("outer", sorted(envelope.EVENT_TYPES))
@pytest.mark.parametrize("kind", sorted(envelope.INPUT_KINDS | envelope.WINDOW_KINDS))
def test_an_event_names_its_kind_in_the_payload(outer: str, kind: str) -> None:
    assert parse(wire(type=outer, payload={"kind": kind})).kind == kind


def test_fields_of_the_envelope() -> None:
    message = parse(wire(sessionId="s", sceneId="plaza", unheard_of=1))
    assert (message.session_id, message.scene_id) == ("s", "plaza")
    assert message.created_at == datetime(2026, 1, 1, 0, 0, 0, 250_000, UTC)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "bad_json"),
        ("{", "bad_json"),
        (b'{"type":"\xff"}', "bad_json"),
        (
            with_value("[" * 30_000 + "]" * 30_000),
            "bad_json",
        ),
        ("[]", "bad_envelope"),
        (wire(payload=None), "bad_envelope"),
        (wire(payload=[]), "bad_envelope"),
        (wire(createdAt="yesterday"), "bad_envelope"),
        (wire(createdAt="2026-01-01T00:00:00"), "bad_envelope"),
        (wire(createdAt=1), "bad_envelope"),
        (wire(sessionId="x" * 257), "bad_envelope"),
        (wire(sceneId=7), "bad_envelope"),
        (json.dumps({"type": "space_join", "payload": {}}), "bad_envelope"),
        (wire(type="guardian_update"), "unknown_type"),
        (wire(type="welcome"), "unknown_type"),
        (wire(type="x" * 65), "bad_envelope"),
        (wire(type="event"), "unknown_kind"),
        (wire(type="event", payload={"kind": ["a"]}), "unknown_kind"),
        (wire(type="event", payload={"kind": "rm -rf"}), "unknown_kind"),
        (wire(createdAt="1969-12-31T23:59:59Z"), "bad_time"),
        (wire(createdAt="2263-01-01T00:00:00Z"), "bad_time"),
        (wire(createdAt="0001-01-01T00:00:00+23:59"), "bad_time"),
        (wire(createdAt="9999-12-31T23:59:59-23:59"), "bad_time"),
    ],
)
def test_what_is_refused_and_under_which_word(raw: str | bytes, reason: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse(raw)
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 500


def test_a_refusal_never_repeats_a_long_value() -> None:
    with pytest.raises(MessageError) as caught:
        parse(wire(type="event", payload={"kind": "s3cret " * 1000}))
    assert len(caught.value.detail) < 500


def test_server_types_are_refused_from_clients_unless_shared() -> None:
    shared = envelope.SERVER_TYPES & envelope.CLIENT_TYPES
    assert shared == envelope.SESSION_TYPES | {"event_received"}


def test_build_leaves_out_what_is_not_stated() -> None:
    frame = json.loads(build("error", {"reason": "x"}, at=moment(0), scene_id="a"))
    assert frame == {
        "type": "error",
        "payload": {"reason": "x"},
        "createdAt": "1970-01-01T00:00:00Z",
        "sceneId": "a",
    }


def test_a_tagged_line_is_one_line_and_comes_back() -> None:
    message = parse(json.dumps(json.loads(wire(payload={"text": "a\nb", "deep": [{"ñ": None}]})), indent=2))
    line = tag(message, address="127.0.0.1", user="ana", session="s")
    assert line.count(b"\n") == 1
    tagged = parse_tagged(line)
    assert (tagged.message, tagged.address, tagged.user, tagged.session) == (message, "127.0.0.1", "ana", "s")


def test_numbers_of_any_length_are_taken_or_refused() -> None:
    message = parse(with_value("9" * 30))
    assert parse_tagged(tag(message, address="", user="", session="")).message == message
    with pytest.raises(MessageError):
        parse(with_value("9" * 5000))


def test_no_depth_gets_in_and_cannot_get_out() -> None:
    taken, refused = 0, set()
    for depth in range(1, 1100):
        raw = with_value("[" * depth + "]" * depth)
        try:
            parse_tagged(tag(parse(raw), address="", user="", session=""))
        except MessageError as error:
            refused.add(error.reason)  # which depth is too deep depends on the caller's stack
        else:
            taken += 1
    assert taken > 50
    assert refused == {"bad_json"}


@given(st.integers(0, 2**63 - 1))
def test_moments_lose_less_than_a_microsecond(ns: int) -> None:
    assert 0 <= ns - nanoseconds(moment(ns)) < 1000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_are_parsed_or_refused(raw: str | bytes) -> None:
    with pytest.raises(MessageError) as caught:  # hypothesis does not stumble upon a whole envelope
        parse(raw)
    assert caught.value.reason in {"bad_json", "bad_envelope"}


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(sorted(envelope.CLIENT_TYPES)) | json_values},
        optional={
            "payload": st.dictionaries(st.text(), json_values, max_size=4) | json_values,
            "createdAt": st.just(AT) | st.datetimes().map(lambda at: at.isoformat() + "Z") | json_values,
            "sessionId": json_values,
            "sceneId": json_values,
        },
    )
)
def test_any_envelope_is_taken_whole_or_refused(fields: dict[str, Any]) -> None:
    try:
        message = parse(json.dumps(fields))
        again = parse_tagged(tag(message, address="a", user="u", session="s")).message
    except MessageError:
        return
    assert (again.type, again.created_at, again.session_id) == (
        message.type,
        message.created_at,
        message.session_id,
    )
    assert again.payload.keys() == message.payload.keys()
