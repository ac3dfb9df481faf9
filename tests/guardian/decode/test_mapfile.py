"""Maps: what they may say, what is refused, and golden rows of every built-in one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from guardian.decode import BUILT_IN, conventions, load_map, parse_map
from guardian.decode import mapping as mapping_module
from guardian.decode.columns import LATEST, Rejects
from guardian.decode.linewise import decode_lines, draft_lines
from guardian.decode.mapfile import builtin_map
from guardian.decode.mapping import Message, alternative
from guardian.decode.mapping import Path as Path_
from guardian.errors import MapError


def rows(map_name: str, *records: dict[str, Any]) -> list[dict[str, Any]]:
    lines: list[bytes | None] = [msgspec.json.encode(record) for record in records]
    rejects = Rejects()
    batch, _labels = decode_lines(lines, 1, load_map(map_name), LATEST, rejects)
    assert not rejects.reasons
    stamps = batch.column("ts").cast(pa.int64()).to_pylist()
    return [{**row, "ts": ts} for row, ts in zip(batch.drop_columns(["ts"]).to_pylist(), stamps, strict=True)]


def test_a_structured_log_line_of_tamv() -> None:
    (row,) = rows(
        "tamv",
        {
            "timestamp": "2023-11-14T22:00:00.123456Z",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "span_id": "b7ad6b7169203331",
            "user_id": "ana",
            "session_id": "s-1",
            "module": "economy",
            "pipeline": "payments",
            "action": "transfer",
            "risk_level": "high",
            "duration_ms": 250,
            "status": "denied",
            "layer": "L5",
            "ip": "10.0.0.7",
            "metadata": {"amount": 12},
        },
    )
    assert row == {
        "ts": 1_699_999_200_123_456_000,
        "signal": 0,
        "layer": 5,
        "source": "economy",
        "kind": "transfer",
        "actor": "ana",
        "address": "10.0.0.7",
        "target": "payments",
        "session": "s-1",
        "outcome": 3,
        "severity": 0.75,
        "value": 0.25,
        "trace_id": bytes.fromhex("0af7651916cd43dd8448eb211c80319c"),
        "span_id": bytes.fromhex("b7ad6b7169203331"),
        "body": None,
        "attrs": '{"metadata":{"amount":12}}',
    }


def test_a_sentinel_event_of_tamv_keeps_its_stage_among_the_rest() -> None:
    (row,) = rows(
        "tamv-sentinel",
        {
            "id": "e1",
            "timestamp": 1_699_999_200_001,
            "source": "RADAR",
            "layer": "INGRESS",
            "type": "PORT_SCAN",
            "severity": "CRITICAL",
            "payload": {},
            "metadata": {"userId": "u9", "ip": "203.0.113.9", "ua": "x"},
        },
    )
    assert (row["ts"], row["signal"], row["layer"]) == (1_699_999_200_001_000_000, 4, 3)
    assert (row["source"], row["kind"], row["actor"], row["address"]) == (
        "RADAR",
        "PORT_SCAN",
        "u9",
        "203.0.113.9",
    )
    assert row["severity"] == 1.0
    assert row["attrs"] == '{"id":"e1","layer":"INGRESS","payload":{},"metadata":{"ua":"x"}}'


def test_ecs_nested_or_dotted() -> None:
    nested = {
        "@timestamp": "2023-11-14T22:00:00Z",
        "event": {"action": "login", "outcome": "failure", "duration": 2_000_000_000, "risk_score": 50},
        "user": {"name": "ana"},
        "source": {"ip": "10.1.1.1"},
        "host": {"name": "web-1"},
        "service": {"name": "shop"},
        "message": "hello",
    }
    dotted = {
        "@timestamp": "2023-11-14T22:00:00Z",
        "event.action": "login",
        "event.outcome": "failure",
        "event.duration": 2_000_000_000,
        "event.risk_score": 50,
        "user.name": "ana",
        "source.ip": "10.1.1.1",
        "host.name": "web-1",
        "service.name": "shop",
        "message": "hello",
    }
    one, other = rows("ecs", nested, dotted)
    for row in (one, other):
        assert (row["kind"], row["actor"], row["address"], row["target"]) == (
            "login",
            "ana",
            "10.1.1.1",
            "web-1",
        )
        assert (row["outcome"], row["severity"], row["value"], row["body"]) == (2, 0.5, 2.0, "hello")


def test_windows_and_otel_and_ait() -> None:
    (windows,) = rows(
        "windows",
        {
            "@timestamp": "2023-08-15T09:53:59.757Z",
            "SourceName": "Microsoft-Windows-Security-Auditing",
            "Channel": "Security",
            "EventID": 4625,
            "Hostname": "MKT01",
            "SubjectUserName": "ana",
            "IpAddress": "10.0.0.5",
            "Keywords": "0x8010000000000000",
            "Level": "0",
            "Message": "An account failed to log on.",
        },
    )
    assert (windows["kind"], windows["target"], windows["actor"]) == (
        "Security-Auditing/4625",
        "MKT01",
        "ana",
    )
    assert (windows["address"], windows["outcome"]) == ("10.0.0.5", 2)
    assert (windows["source"], windows["severity"], windows["body"]) == (
        "Security-Auditing",
        0.25,
        "An account failed to log on.",
    )
    assert windows["attrs"] == '{"Channel":"Security"}'
    (sysmon,) = rows(
        "windows",
        {
            "EventTime": "2020-09-22 04:37:45",
            "@timestamp": "2020-09-22T08:37:48.541Z",
            "SourceName": "Microsoft-Windows-Sysmon",
            "EventID": 10,
            "Hostname": "W1",
            "SubjectUserName": "-",
            "SourceUser": "NT AUTHORITY\\SYSTEM",
            "SourceIp": "0.0.0.0",
            "SourceProcessGUID": "{1}",
            "Keywords": -9223372036854775808,
        },
    )
    assert (sysmon["kind"], sysmon["actor"], sysmon["address"], sysmon["session"]) == (
        "Sysmon/10",
        "NT AUTHORITY\\SYSTEM",
        "",
        "{1}",
    )
    assert sysmon["ts"] == 1_600_763_868_541_000_000, "local time without a zone is not believed"
    assert sysmon["outcome"] == 0
    assert '"Keywords":-9223372036854775808' in sysmon["attrs"], "a mask that says nothing stays"
    (beat,) = rows(
        "windows",
        {
            "@timestamp": "2020-09-22T08:37:48.541Z",
            "winlog": {
                "provider_name": "Microsoft-Windows-Security-Auditing",
                "event_id": 4624,
                "computer_name": "W2",
                "keywords": ["Audit Success"],
                "event_data": {"TargetUserName": "ana", "IpAddress": "10.0.0.9", "SubjectLogonId": "0x3e7"},
            },
        },
    )
    assert (
        beat["kind"],
        beat["target"],
        beat["actor"],
        beat["address"],
        beat["session"],
        beat["outcome"],
    ) == (
        "Security-Auditing/4624",
        "W2",
        "ana",
        "10.0.0.9",
        "W2/0x3e7",
        1,
    )
    assert beat["attrs"] == '{"winlog":{"keywords":["Audit Success"]}}', "a list stays, empty objects go"
    (otel,) = rows(
        "otel", {"timestamp": "2023-08-15T09:53:59Z", "event.name": "x", "user.id": 7, "severity_number": 24}
    )
    assert (otel["kind"], otel["actor"], otel["severity"]) == ("x", "7", 1.0)
    assert math.isnan(otel["value"])
    (ait,) = rows(
        "ait-ads", {"time": 1642213952.25, "name": "A", "ip": "1.2.3.4", "host": "mail", "event_label": "-"}
    )
    assert (ait["ts"], ait["signal"], ait["target"]) == (1_642_213_952_250_000_000, 4, "mail")
    assert ait["attrs"] is None, "the label never reaches the engine"


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_maps_are_valid(name: str) -> None:
    assert load_map(name).name == name


def test_all_problems_of_a_map_at_once() -> None:
    text = """
    [map]
    ts = { field = "t", unit = "weeks" }
    kind = { const = "a", field = "b" }
    actor = "user"
    colour = { field = "c" }
    severity = { field = "s", scale = [1, 1] }
    outcome = { field = "o", success = "ok", sucess = ["ok"] }
    value = { field = [] }
    [defaults]
    layer = "L9"
    signal = "smoke"
    speed = 1
    [extra]
    """
    with pytest.raises(MapError) as caught:
        parse_map(text, name="m.toml")
    assert {problem.key for problem in caught.value.problems} == {
        "extra",
        "map.ts.unit",
        "map.kind",
        "map.actor",
        "map.colour",
        "map.severity.scale",
        "map.outcome.success",
        "map.outcome.sucess",
        "map.value.field",
        "defaults.layer",
        "defaults.signal",
        "defaults.speed",
    }
    with pytest.raises(MapError, match=r"map\.ts: expected a table with field and unit, got nothing"):
        parse_map("[map]\nkind = { const = 'x' }", name="m.toml")


def test_a_message_for_a_kind() -> None:
    head = "[map]\nts = { field = 't', unit = 's' }\nkind = "
    kind = parse_map(
        head + "{ field = 'a', template = ['m', 'x.y'], otherwise = '{b} {c}', none = ['-'] }"
    ).texts["kind"]
    assert kind.alternatives == (
        Path_.of("a"), Message(Path_.of("m")), Message(Path_.of("x.y")), alternative("{b} {c}"),
    )  # fmt: skip
    assert kind.none == {"-"}
    assert parse_map(head + "{ template = 'm' }").texts["kind"].alternatives == (Message(Path_.of("m")),)
    assert parse_map(head + "{ template = '{a}' }").texts["kind"].alternatives == (alternative("{a}"),)
    for wrong, told in {
        "{ template = ['m', '{a}'] }": r"map\.kind\.template: expected paths without \{\}",
        "{ template = 3 }": r"map\.kind\.template: expected a dotted path, or a list of them, got 3",
        "{ template = 'm', const = 'x' }": r"map\.kind: expected field or const beside template, got const and template",
        "{ field = 'a', otherwise = 'b' }": r"map\.kind\.otherwise: expected a template that names messages beside it",
        "{ template = 'm', otherwise = [] }": r"map\.kind\.otherwise: expected a dotted path, or a list of them, got \[\]",
        "{ field = 'a', template = '{b}' }": r"map\.kind: expected one of field, template or const, got field and template",
    }.items():
        with pytest.raises(MapError, match=told):
            parse_map(head + wrong)
    with pytest.raises(
        MapError, match=r"map\.actor\.otherwise: expected one of field, template, const, none, strip"
    ):
        parse_map(head + "{ const = 'x' }\nactor = { field = 'a', otherwise = 'b' }")


@pytest.mark.parametrize(
    ("name", "record", "kind", "body"),
    [
        ("otel", {"timestamp": "2023-11-14T22:00:00Z", "event.name": "e", "body": "hi 1", "severity_text": "INFO"}, "e", "hi 1"),
        ("otel", {"timestamp": "2023-11-14T22:00:00Z", "body": "hi 1", "severity_text": "INFO"}, "", "hi 1"),
        ("otel", {"timestamp": "2023-11-14T22:00:00Z", "severity_text": "INFO"}, "INFO", None),
        ("ecs", {"@timestamp": "2023-11-14T22:00:00Z", "message": "hi 1", "log": {"logger": "app"}}, "", "hi 1"),
        ("ecs", {"@timestamp": "2023-11-14T22:00:00Z", "log": {"logger": "app"}}, "app", None),
    ],
)  # fmt: skip
def test_a_record_without_an_event_name_has_its_message(
    name: str, record: dict[str, Any], kind: str, body: str | None
) -> None:
    draft = draft_lines([(1, msgspec.json.encode(record))], load_map(name), LATEST, Rejects())
    assert draft.names["kind"].texts() == [kind]
    assert draft.body.to_pylist() == [body]


def test_an_unknown_map_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(MapError, match=r"tamv-sentinel, or a readable UTF-8 MAP\.toml"):
        load_map("tmav")
    with pytest.raises(MapError, match="No such file"):
        load_map(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(MapError, match="bytes that are not UTF-8"):
        load_map(tmp_path / "latin.toml")
    with pytest.raises(MapError, match="expected TOML"):
        parse_map("[map", name="m.toml")
    for name in ("../windows", "/etc/passwd", ""):
        with pytest.raises(MapError, match="expected one of otel"):
            builtin_map(name)


def test_a_map_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "door.toml"
    file.write_text(
        '[map]\nts = { field = "at", unit = "ms" }\nkind = { template = "door {door}: {what}" }\n'
        'severity = { field = "level", scale = [1, 15] }\noutcome = { field = "code", denied = ["401"] }\n'
        '[defaults]\nlayer = "L5"\nsignal = "xr"\n'
    )
    (row,) = rows(str(file), {"at": 1_699_999_200_000, "door": 3, "what": "opened", "level": 8, "code": 401})
    assert (row["kind"], row["severity"], row["outcome"], row["layer"], row["signal"]) == (
        "door 3: opened",
        0.5,
        3,
        5,
        2,
    )


def test_names_of_the_conventions_land_in_their_columns() -> None:
    mapping = builtin_map("otel")
    for role, names in (
        ("actor", conventions.ACTOR),
        ("address", conventions.ADDRESS + conventions.PEER),
        ("target", conventions.TARGET),
        ("session", conventions.SESSION),
    ):
        listed = [
            path.name for path in mapping.texts[role].alternatives if isinstance(path, mapping_module.Path)
        ]
        assert [name for name in listed if name in names] == list(names)
        assert {f"attributes.{name}" for name in names} <= set(listed)


def test_a_message_without_an_event_name_has_no_kind_yet() -> None:
    said = {"timestamp": "2023-08-15T09:53:59Z", "severity_text": "INFO", "body": "hello"}
    (row,) = rows("otel", said)
    assert (row["kind"], row["body"]) == ("", "hello")
