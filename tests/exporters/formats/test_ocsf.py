"""OCSF findings: what the schema demands, what never enters, and one golden finding."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from py_ocsf_models.events.findings.detection_finding import DetectionFinding

from exporters.ocsf import detection_finding
from exporters.outbox import Alert
from guardian.levels import Level

ALERT = Alert(
    id="ab" * 16,
    created_at=1_700_000_000_123_456_789,
    role="actor",
    entity="ana",
    layer=5,
    level_from=Level.LOW,
    level_to=Level.CRITICAL,
    score=81.5,
    reasons=(
        {"channel": "rule", "contribution": 80.0, "kind": "login", "event": 7},
        {"channel": "context", "contribution": 1.5, "kind": "", "event": -1},
    ),
    event=7,
    trace_id="",
    config="c0ffee",
    synthetic=True,
)


def test_a_golden_finding() -> None:
    found = detection_finding(ALERT, language="es-MX", version="0.1.0")
    assert found["class_uid"] == 2004
    assert found["type_uid"] == 200401
    assert (found["time"], found["severity_id"], found["risk_level_id"], found["risk_score"]) == (
        1_700_000_000_123,
        5,
        4,
        82,
    )
    assert found["metadata"] == {
        "version": "1.8.0",
        "uid": "ab" * 16,
        "log_name": "guardian.alerts",
        "product": {"name": "TAMV Guardian", "vendor_name": "TAMV", "version": "0.1.0"},
    }
    assert found["finding_info"]["title"] == "Nivel crítico en un usuario (82 de 100)"
    assert found["finding_info"]["desc"] == "Por qué subió: rule 80 (login); context 2"
    assert found["unmapped"]["tamv"]["synthetic"] is True
    assert (
        detection_finding(ALERT, language="en", version="0.1.0")["message"]
        == "Level critical at a user (82 of 100)"
    )


@given(
    role=st.sampled_from(["actor", "address", "target", "session"]),
    entity=st.text(min_size=1, max_size=30),
    level=st.sampled_from(list(Level)[1:]),
    score=st.floats(0, 100),
    at=st.integers(10**18, 2 * 10**18),
)
def test_every_finding_satisfies_the_schema(
    role: str, entity: str, level: Level, score: float, at: int
) -> None:
    """py-ocsf-models knows OCSF 1.5; what 1.8 requires beyond it is asserted by hand."""
    alert = Alert("00" * 16, at, role, entity, -1, Level.NONE, level, score, (), 0, "", "c", synthetic=False)
    found = detection_finding(alert, language="en", version="1")
    assert json.loads(json.dumps(found)) == found
    DetectionFinding.model_validate(found)
    for required in (
        "activity_id",
        "category_uid",
        "class_uid",
        "type_uid",
        "time",
        "severity_id",
        "metadata",
        "finding_info",
    ):
        assert required in found
    assert found["type_uid"] == found["class_uid"] * 100 + found["activity_id"]
    assert 0 <= found["severity_id"] <= 6
    assert 0 <= found["risk_level_id"] <= 4
    assert found["finding_info"]["uid"] == found["metadata"]["uid"] == alert.id
    (observable,) = found["observables"]
    assert at_path(found, observable["name"]) == observable["value"] == entity


def at_path(found: Any, path: str) -> Any:
    """The value at an OCSF attribute path, first element of each list."""
    for part in path.split("."):
        found = found[part.removesuffix("[]")]
        if part.endswith("[]"):
            found = found[0]
    return found


@pytest.mark.parametrize(
    ("address", "key", "type_id"),
    [("203.0.113.9", "ip", 2), ("2001:db8::1", "ip", 2), ("gateway-7", "hostname", 1)],
)
def test_an_address_is_an_ip_or_a_host_name(address: str, key: str, type_id: int) -> None:
    alert = dataclasses.replace(ALERT, role="address", entity=address)
    found = detection_finding(alert, language="en", version="1")
    assert found["evidences"][0]["src_endpoint"] == {key: address}
    assert found["observables"][0]["type_id"] == type_id


def test_a_score_beyond_the_data_says_so() -> None:
    plain = detection_finding(ALERT, language="en", version="1")
    beyond = detection_finding(dataclasses.replace(ALERT, extrapolated=True), language="en", version="1")
    assert "can confirm" in beyond["finding_info"]["desc"]
    assert "can confirm" not in plain["finding_info"]["desc"]
    assert (plain["unmapped"]["tamv"]["extrapolated"], beyond["unmapped"]["tamv"]["extrapolated"]) == (
        False,
        True,
    )
