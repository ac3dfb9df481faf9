"""ECS: every field is read back, categories are those that ECS allows, keywords stay indexable."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings

from exporters.alert import Alert
from exporters.formats import About, ecs
from exporters.formats.addresses import ip_version
from exporters.formats.sentences import description, title
from guardian.decisions.record import iso
from tests.twins_forms import alerts, with_long_names

ABOUT = About("es-MX", "0.1.0", "guardia-1")
IGNORE_ABOVE = 1024
TEXTS = {"message", "reason"}


def test_golden(
    step: str, steps: dict[str, Alert], about: About, golden: Callable[[str, bytes], None]
) -> None:
    golden(f"ecs.{step}.json", ecs.render(steps[step], about))


@given(alert=alerts())
def test_every_field_is_read_back(alert: Alert) -> None:
    raw = ecs.render(alert, ABOUT)
    assert b"\n" not in raw
    told = json.loads(raw)
    event, ours = told["event"], told["tamv"]["guardian"]
    assert (told["@timestamp"], event["created"], event.get("end")) == (
        iso(alert.created_at),
        iso(alert.created_at),
        iso(alert.created_at) if alert.activity == "resolved" else None,
    )
    assert (event["kind"], event["category"], event["type"]) == ("alert", ["intrusion_detection"], ["info"])
    assert (
        event["action"]
        == f"alert-{ {'open': 'opened', 'update': 'updated'}.get(alert.activity, 'resolved') }"
    )
    assert (event["id"], ours["finding"], ours["activity"]) == (alert.id, alert.identity, alert.activity)
    assert (event["risk_score"], told["risk"]["calculated_score"], ours["score"]) == (alert.score,) * 3
    assert (told["message"], event["reason"]) == (title(alert, "es-MX"), description(alert, "es-MX"))
    assert (ours["level_from"], ours["level_to"]) == (alert.level_from.word, alert.level_to.word)
    assert (ours["role"], ours["entity"], ours["event"]) == (alert.role, alert.entity, alert.event)
    assert ours["reasons"] == list(alert.reasons)
    assert (ours["config"], told["rule"]["version"]) == (alert.config, alert.config)
    assert (ours["synthetic"], ours["extrapolated"]) == (alert.synthetic, alert.extrapolated)
    assert ours["suppressed"] == alert.suppressed
    assert ours.get("suppressed_since") == (iso(alert.suppressed_since) if alert.suppressed else None)
    assert ours.get("layer", "L-1") == f"L{alert.layer}"
    assert told["tags"] == [*alert.tags, *(["synthetic"] if alert.synthetic else [])]
    assert told.get("trace", {"id": ""})["id"] == alert.trace_id
    assert entity(told, alert) == alert.entity


def test_severities_rise_with_levels() -> None:
    assert list(ecs.SEVERITY.values()) == sorted(set(ecs.SEVERITY.values()))


def test_tags_of_attack_become_threat_fields(steps: dict[str, Alert]) -> None:
    assert ecs.document(steps["open"], ABOUT)["threat"] == {
        "framework": "MITRE ATT&CK",
        "tactic": {"id": ["TA0006"], "name": ["Credential Access"]},
        "technique": {"id": ["T1110"], "subtechnique": {"id": ["T1110.003"]}},
    }


@given(alert=alerts())
@settings(max_examples=25)
def test_long_names_stay_indexable(alert: Alert) -> None:
    told = ecs.document(with_long_names(alert), ABOUT)
    assert told["event"]["id"] == alert.id
    assert told["tamv"]["guardian"]["finding"] == alert.identity
    assert all(len(each.encode()) <= IGNORE_ABOVE for each in keywords(told))


def test_an_address_with_a_zone_is_no_ip(steps: dict[str, Alert]) -> None:
    """Elastic refuses a whole document for one in a field of type ip."""
    told = ecs.document(dataclasses.replace(steps["open"], role="address", entity="fe80::1%eth0"), ABOUT)
    assert told["source"] == {"address": "fe80::1%eth0", "domain": "fe80::1%eth0"}


def keywords(told: Any) -> list[str]:
    if isinstance(told, dict):
        return [each for key, value in told.items() if key not in TEXTS for each in keywords(value)]
    if isinstance(told, list):
        return [each for value in told for each in keywords(value)]
    return [told] if isinstance(told, str) else []


def entity(told: dict[str, Any], alert: Alert) -> str:
    if alert.role == "actor":
        assert told["related"] == {"user": [alert.entity]}
        return str(told["user"]["name"])
    if alert.role == "session":
        return str(told["tamv"]["guardian"]["entity"])
    side = told["source" if alert.role == "address" else "destination"]
    address = bool(ip_version(alert.entity))
    assert set(side) == {"address", "ip" if address else "domain"}
    assert told["related"] == {"ip" if address else "hosts": [alert.entity]}
    return str(side["address"])
