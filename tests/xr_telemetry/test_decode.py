"""XR messages as events."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.errors import MessageError
from guardian.events import EVENTS, Outcome, Signal, check_events
from xr_telemetry.decode import WINDOWS, check, decode_messages
from xr_telemetry.envelope import INPUT_KINDS, SESSION_TYPES, parse
from xr_telemetry.frames import Frames
from xr_telemetry.windows import close, cut

AT = "2026-01-01T00:00:00.250Z"
NOW = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**9


def line(tag: Any = None, **fields: Any) -> Any:
    message = {"type": "event", "payload": {"kind": "space_join"}, "createdAt": AT} | fields
    return json.dumps({"address": "10.0.0.9", "session": "xr-own", "message": message} | (tag or {})).encode()


def one(tag: Any = None, **fields: Any) -> Any:
    found = decode_messages(line(tag, **fields), received_at=NOW)
    assert found.rejected == ()
    (row,) = check_events(found.batch).to_pylist()
    return row


def test_the_columns_of_an_event() -> None:
    payload = {
        "kind": "object_interact",
        "userId": "ana",
        "value": 2.5,
        "outcome": "failure",
        "object": "door",
    }
    row = one(payload=payload, sessionId="s1", sceneId="plaza")
    assert row["signal"] == Signal.XR
    assert row["layer"] == 4
    assert (row["source"], row["kind"]) == ("xr", "object_interact")
    assert (row["actor"], row["address"], row["target"], row["session"]) == ("ana", "10.0.0.9", "plaza", "s1")
    assert row["outcome"] == Outcome.FAILURE
    assert row["value"] == 2.5
    assert math.isnan(row["severity"])
    assert row["ts"] == datetime(2026, 1, 1, 0, 0, 0, 250_000, UTC)
    assert json.loads(row["attrs"]) == {"object": "door"}
    assert (row["trace_id"], row["span_id"], row["body"]) == (bytes(16), bytes(8), None)


def test_names_of_the_payload_stand_in_for_those_of_the_envelope() -> None:
    row = one(payload={"kind": "space_join", "sessionId": "s2", "spaceId": "agora"})
    assert (row["session"], row["target"]) == ("s2", "agora")


def test_the_connection_is_the_session_of_a_message_that_names_none() -> None:
    assert one()["session"] == "xr-own"


def test_an_authenticated_user_counts_whoever_the_payload_names() -> None:
    row = one({"user": "eva"}, payload={"kind": "space_join", "userId": "ana"})
    assert row["actor"] == "eva"
    assert json.loads(row["attrs"]) == {"claimedUserId": "ana"}


@pytest.mark.parametrize("kind", sorted(INPUT_KINDS))
def test_every_input_kind_is_an_event(kind: str) -> None:
    assert one(payload={"kind": kind})["kind"] == kind
    assert one(type=kind, payload={})["kind"] == kind


@pytest.mark.parametrize("kind", sorted(SESSION_TYPES))
def test_sessions_are_events(kind: str) -> None:
    row = one(type=kind, payload={"kind": "vr"})
    assert row["kind"] == kind
    assert json.loads(row["attrs"]) == {"kind": "vr"}


def test_a_denied_permission_is_denied_whatever_it_says() -> None:
    assert one(payload={"kind": "permission_denied", "outcome": "success"})["outcome"] == Outcome.DENIED


@pytest.mark.parametrize(
    ("stated", "severity"),
    [
        (None, 0.5),
        ("none", 0),
        ("low", 0.25),
        ("medium", 0.5),
        ("high", 0.75),
        ("critical", 1),
        (0.3, 0.3),
        (1, 1),
    ],
)
def test_severity_of_a_safety_alert(stated: Any, severity: float) -> None:
    assert one(payload={"kind": "safety_alert", "severity": stated})["severity"] == severity


def test_a_layer_may_be_stated() -> None:
    assert one(payload={"kind": "space_join", "layer": "L6"})["layer"] == 6


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"severity": "terrible"}, "severity"),
        ({"severity": 1.5}, "severity"),
        ({"severity": True}, "severity"),
        ({"value": "5"}, "value"),
        ({"value": 10**400}, "value"),
        ({"value": True}, "value"),
        ({"layer": "L8"}, "layer"),
        ({"layer": 4}, "layer"),
        ({"outcome": "maybe"}, "outcome"),
        ({"userId": 7}, "userId"),
        ({"userId": "x" * 257}, "userId"),
        ({"sceneId": ["a"]}, "sceneId"),
    ],
)
def test_a_bad_field_is_named(payload: dict[str, Any], field: str) -> None:
    body = line(payload={"kind": "space_join"} | payload)
    found = decode_messages(b"\n" + body + b"\n\n", received_at=NOW)
    assert found.batch.num_rows == 0
    (rejected,) = found.rejected
    assert (rejected.line, rejected.reason) == (2, "bad_payload")
    assert f"payload.{field}" in rejected.detail
    assert found.reasons == {"bad_payload": 1}


@pytest.mark.parametrize("at", ["1985-01-01T00:00:00Z", "2026-01-02T00:00:01Z", "2250-01-01T00:00:00Z"])
def test_a_clock_that_was_never_set_is_rejected(at: str) -> None:
    assert decode_messages(line(createdAt=at), received_at=NOW).reasons == {"bad_time": 1}


def test_where_nobody_knows_the_arrival_the_future_is_taken() -> None:
    late = line(createdAt="2100-01-01T00:00:00Z")
    assert decode_messages(late, received_at=None).batch.num_rows == 1


@pytest.mark.parametrize("kind", ["xr_frames", "authenticate", "error", "event_received", "nonsense"])
def test_what_is_no_event_is_rejected(kind: str) -> None:
    assert decode_messages(line(type=kind, payload={}), received_at=NOW).reasons == {"unknown_kind": 1}


def test_good_lines_beside_bad_ones_are_kept_in_order() -> None:
    body = b"\n".join([line(sessionId="a"), b"{", line(sessionId="b"), b"\xff", b"7"])
    found = decode_messages(body, received_at=NOW)
    assert found.batch.column("session").to_pylist() == ["a", "b"]
    assert [(each.line, each.reason) for each in found.rejected] == [
        (2, "bad_json"),
        (4, "bad_json"),
        (5, "bad_envelope"),
    ]


def test_an_empty_body_is_an_empty_batch() -> None:
    found = decode_messages(b"", received_at=NOW)
    assert found.batch.schema == EVENTS
    assert found.batch.num_rows == 0


def window_payloads() -> Any:
    t = np.arange(20) / 90
    for sensor, columns in (("pose", 21), ("imu", 6)):
        opened, _ = cut(None, Frames(sensor, t, np.ones((20, columns), np.float32)), 5.0)
        (window,) = close(opened)
        yield from window.features.items()


def test_every_window_is_an_event_with_its_main_magnitude_as_value() -> None:
    seen = set()
    for kind, features in window_payloads():
        row = one(payload={"kind": kind, **features})
        main = WINDOWS[kind][1]
        camel = main.split("_")[0] + "".join(part.title() for part in main.split("_")[1:])
        assert row["value"] == features[camel]
        assert json.loads(row["attrs"]) == features
        seen.add(kind)
    assert seen == set(WINDOWS)


def test_a_window_carries_features_only() -> None:
    kind, features = next(window_payloads())
    body = line(payload={"kind": kind, **features, "head": [[0] * 7]})
    assert decode_messages(body, received_at=NOW).reasons == {"bad_payload": 1}


def test_a_window_without_a_magnitude_has_no_value() -> None:
    payload = next(window_payloads())[1] | {"kind": "xr.frame.window", "intervalP95S": None, "value": 3}
    assert math.isnan(one(payload=payload)["value"])


def test_check_refuses_what_decoding_would_reject() -> None:
    check(parse(json.dumps({"type": "space_join", "payload": {}, "createdAt": AT})), received_at=NOW)
    bad = json.dumps({"type": "space_join", "payload": {"severity": 9}, "createdAt": AT})
    with pytest.raises(MessageError):
        check(parse(bad), received_at=NOW)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(["kind", "userId", "sceneId", "severity", "value", "layer", "outcome", "n", "x"])


@given(
    st.lists(
        st.binary(max_size=60)
        | st.tuples(
            st.sampled_from(sorted(WINDOWS) + sorted(INPUT_KINDS)),
            st.dictionaries(fields, json_values, max_size=5),
        ).map(lambda pair: line(payload=pair[1] | {"kind": pair[0]})),
        max_size=5,
    )
)
def test_any_body_is_accounted_for(lines: list[bytes]) -> None:
    body = b"\n".join(lines)
    found = decode_messages(body, received_at=NOW)
    check_events(found.batch)
    told = sum(bool(each.strip()) for each in body.split(b"\n"))
    assert found.batch.num_rows + sum(found.reasons.values()) == told
