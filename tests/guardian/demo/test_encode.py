"""The wire forms: every field that is needed, nothing that the service would reject, the time where it belongs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decode import Decoded
from guardian.demo import Item, encode

LOG_FIELDS = {
    "timestamp": str,
    "user_id": str,
    "session_id": str,
    "module": str,
    "pipeline": str,
    "action": str,
    "risk_level": str,
    "duration_ms": float,
    "status": str,
    "metadata": dict,
    "layer": str,
}


def _through(items: list[Item], door: str) -> list[Item]:
    return [item for item in items if item.door == door]


def test_log_lines_carry_every_field_of_the_map_and_say_synthetic(today: list[Item], start: float):
    lines = encode.ndjson(start, _through(today, "log")).splitlines()
    assert len(lines) == len(_through(today, "log"))
    for line in map(json.loads, lines):
        for name, kind in LOG_FIELDS.items():
            assert isinstance(line[name], kind), name
        assert line["metadata"]["synthetic"] is True
        assert line["risk_level"] in {"low", "medium", "high", "critical"}
        assert line["layer"] in {f"L{number}" for number in range(8)}
        assert line["status"] in {"success", "error", "failure", "denied"}


def test_times_are_those_of_the_items(today: list[Item], start: float):
    item = _through(today, "log")[100]
    line = json.loads(encode.ndjson(start, [item]))
    assert datetime.fromisoformat(line["timestamp"]).timestamp() == pytest.approx(start + item.at, abs=1e-6)


def test_otlp_logs_and_spans_group_by_service_and_lose_none(today: list[Item], start: float):
    logs, spans = _through(today, "otlp_log")[:500], _through(today, "span")[:500]
    sent_logs = json.loads(encode.otlp_logs(start, logs))["resourceLogs"]
    sent_spans = json.loads(encode.otlp_spans(start, spans))["resourceSpans"]
    assert sum(len(group["scopeLogs"][0]["logRecords"]) for group in sent_logs) == 500
    assert sum(len(group["scopeSpans"][0]["spans"]) for group in sent_spans) == 500
    for group in (*sent_logs, *sent_spans):
        attributes = {entry["key"]: entry["value"] for entry in group["resource"]["attributes"]}
        assert attributes["tamv.synthetic"] == {"boolValue": True}
        assert set(attributes) == {"service.name", "tamv.layer", "tamv.synthetic"}
    span = sent_spans[0]["scopeSpans"][0]["spans"][0]
    assert len(span["traceId"]) == 32
    assert len(span["spanId"]) == 16
    assert 0 < int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])


def test_a_span_never_ends_after_its_item(today: list[Item], start: float):
    item = _through(today, "span")[0]
    span = json.loads(encode.otlp_spans(start, [item]))["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert int(span["endTimeUnixNano"]) <= round((start + item.at) * 1e9) + 1000


def test_xr_messages_are_envelopes(today: list[Item], start: float):
    message = json.loads(encode.envelope(start, _through(today, "xr")[0]))
    assert set(message) == {"type", "payload", "createdAt", "sessionId", "sceneId"}
    assert message["type"] == "event_received"
    assert message["payload"]["synthetic"] is True
    assert message["payload"]["kind"]


def test_decisions_satisfy_their_routes(today: list[Item], start: float):
    route, body = encode.request(start, _through(today, "protocol")[0])
    assert route == "/api/v1/protocols/execute"
    assert {"protocolId", "action", "layer", "purpose", "payload", "metadata"} == set(json.loads(body))
    route, body = encode.request(start, _through(today, "isabella")[0])
    assert route == "/api/v1/isabella/decisions"
    assert 0.0 <= json.loads(body)["ethicsScore"] <= 1.0
    route, body = encode.request(start, _through(today, "eoct")[0])
    assert route == "/api/v1/eoct/evaluate"
    assert len(json.loads(body)["signals"]) == 5


def test_the_service_decodes_all_of_it_and_rejects_nothing(
    today: list[Item], start: float, decode: Callable[[float, Sequence[Item]], list[Decoded]]
):
    decoded = decode(start, today)
    assert sum(each.batch.num_rows for each in decoded) == len(today)
    assert not any(each.rejected for each in decoded)
    for each in decoded[:3]:
        assert min(each.batch.column("layer").to_pylist()) >= 1
        assert "" not in set(each.batch.column("target").to_pylist())
        assert "" not in set(each.batch.column("kind").to_pylist())


@given(st.floats(0.0, 86_399.0), st.floats(0.0, 4e9))
def test_both_clocks_of_the_wire_agree(at: float, start_s: float):
    item = Item(at, 0, "span", {"service": "s", "layer": "L1", "name": "n", "target": "t", "duration_ms": 1.0, "ok": True, "trace": "1", "span": "1"})  # fmt: skip
    span = json.loads(encode.otlp_spans(start_s, [item]))["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    iso = datetime.fromisoformat(encode.instant(start_s, item)).timestamp()
    assert int(span["endTimeUnixNano"]) / 1e9 == pytest.approx(iso, abs=2e-6)
