import uuid
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.config import Eoct
from guardian.decisions import protocols
from guardian.decisions.isabella import explanation
from guardian.decisions.record import ProtocolId, severity_level
from guardian.errors import RequestError

EVENT_ID = "0190a5f0-0000-7000-8000-000000000001"


def evaluated(language: Any = "es-MX", **more: Any) -> protocols.Evaluation:
    body = {"protocolId": "fenix", "action": "renacer", "layer": "L2", "purpose": "restaurar", **more}
    return protocols.evaluate(
        protocols.request(body), event_id=EVENT_ID, actor_id="ana", now=0, settings=Eoct(), language=language
    )


def test_nothing_broken_is_allowed():
    says = evaluated().event.decision
    assert (says.allowed, says.phase, says.reasons, says.severity) == (True, "approved", (), "low")


@pytest.mark.parametrize(
    ("more", "reason", "severity"),
    [
        ({"purpose": "  ab  "}, "purpose_required", "medium"),
        ({"purpose": ""}, "purpose_required", "medium"),
        ({"layer": "L0", "payload": {"override": True}}, "do_not_override_doctrine", "critical"),
        ({"payload": {"harm_intent": True}}, "do_no_harm_violation", "critical"),
        ({"payload": {"coercive": True}}, "coercion_not_allowed", "high"),
    ],
)
def test_each_rule(more: dict[str, Any], reason: str, severity: str):
    says = evaluated(**more).event.decision
    assert (says.allowed, says.phase, says.reasons, says.severity) == (False, "rejected", (reason,), severity)


def test_a_missing_purpose_is_a_broken_rule():
    read = protocols.request({"protocolId": "xr", "action": "ir", "layer": "L4"})
    assert protocols.decision(read).reasons == ("purpose_required",)


@pytest.mark.parametrize(
    "more",
    [
        {"layer": "L1", "payload": {"override": True}},
        {"layer": "L0", "payload": {"override": "true"}},
        {"layer": "L0", "payload": {"override": 1}},
        {"payload": {"harm_intent": False, "coercive": None}},
        {"purpose": " abc "},
    ],
)
def test_what_breaks_no_rule(more: dict[str, Any]):
    assert evaluated(**more).event.decision.allowed


@given(st.sets(st.sampled_from(["purpose", "override", "harm_intent", "coercive"])))
def test_the_highest_severity_counts(broken: set[str]):
    event = evaluated(
        layer="L0",
        purpose="x" if "purpose" in broken else "claro",
        payload=dict.fromkeys(broken - {"purpose"}, True),
    ).event
    assert len(event.decision.reasons) == len(broken)
    assert event.outcome == ("rejected" if broken else "approved")
    for reason in event.decision.reasons:
        assert severity_level(event.decision.severity) >= severity_level(protocols.SEVERITY[reason])


def test_shape_of_the_answer():
    payload = {"coercive": True, "amount": 5}
    answer = evaluated(payload=payload, metadata={"k": "v"}).answer()
    assert answer == {
        "event": {
            "id": EVENT_ID,
            "actorId": "ana",
            "protocolId": "fenix",
            "phase": "rejected",
            "command": {
                "action": "renacer",
                "layer": "L2",
                "purpose": "restaurar",
                "payload": payload,
                "metadata": {"k": "v"},
            },
            "decision": {
                "allowed": False,
                "phase": "rejected",
                "reasons": ["coercion_not_allowed"],
                "severity": "high",
            },
            "createdAt": "1970-01-01T00:00:00.000Z",
        },
        "guardianEventId": str(uuid.uuid5(uuid.UUID(EVENT_ID), "guardian")),
        "xrSceneId": "guardian-fenix",
    }


@pytest.mark.parametrize("protocol", get_args(ProtocolId))
def test_records_that_belong_together_agree(protocol: str):
    kept = evaluated(protocolId=protocol, payload={"harm_intent": True})
    ids = {kept.event.id, kept.guardian.id, kept.eoct.id, kept.isabella.id, kept.xr.id}
    assert len(ids) == 5
    assert (kept.eoct.subject_type, kept.eoct.subject_id) == ("protocol", protocol)
    assert kept.eoct.reasons == ("harm_risk",)
    assert kept.eoct.verdict == "review"
    assert (kept.isabella.outcome, kept.isabella.verb) == ("rejected", "deny")
    assert kept.guardian.threat_level == "critical"
    assert kept.xr.payload["mood"] == "critical"
    assert kept.xr.scene_id == kept.xr.payload["sceneId"] == f"guardian-{protocol}"
    assert "daño" in explanation(kept.isabella.outcome, kept.isabella.reasons)["es-MX"]


@pytest.mark.parametrize(("severity", "mood"), [("low", "calm"), ("medium", "calm"), ("high", "alert")])
def test_mood_of_the_scene(severity: str, mood: str):
    more: dict[str, Any] = {"low": {}, "medium": {"purpose": ""}, "high": {"payload": {"coercive": True}}}[
        severity
    ]
    assert evaluated(**more).xr.payload["mood"] == mood


def test_the_summary_is_in_the_language_asked_for_and_holds_no_purpose():
    spanish = evaluated(purpose="  ab", payload={"coercive": True}).guardian.summary
    english = evaluated("en", purpose="  ab", payload={"coercive": True}).guardian.summary
    assert spanish == (
        "El protocolo fenix rechazó la petición: falta un propósito claro; hay coacción, que no está permitida."
    )
    assert english == (
        "Protocol fenix rejected the request: a clear purpose is missing; there is coercion, which is not allowed."
    )
    assert evaluated("en").guardian.summary == "Protocol fenix approved the request."


def test_the_same_id_gives_the_same_records():
    assert msgspec.json.encode(evaluated()) == msgspec.json.encode(evaluated())


def test_an_event_id_that_is_no_uuid_is_refused():
    read = protocols.request({"protocolId": "xr", "action": "ir", "layer": "L4"})
    with pytest.raises(ValueError, match="UUID"):
        protocols.evaluate(read, event_id="7", actor_id="ana", now=0, settings=Eoct())


def test_payload_and_metadata_are_bounded():
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"in": [deep]}
    with pytest.raises(RequestError) as caught:
        evaluated(payload={"big": "x" * 70_000}, metadata=deep)
    assert str(caught.value).splitlines() == [
        "payload: expected at most 65536 bytes of JSON, got 70010",
        "metadata: expected at most 32 levels of nesting, got more",
    ]
