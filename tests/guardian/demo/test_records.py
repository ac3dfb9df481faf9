"""The bodies of what the synthetic TAMV reports: complete, and marked as synthetic."""

from __future__ import annotations

from random import Random

import pytest

from guardian.demo import records, town


def test_a_log_line_keeps_its_metadata_and_says_synthetic():
    line = records.log("economia", "pago.confirmar", "L5", user_id="ana", metadata={"bytes": 3})
    assert line["metadata"] == {"synthetic": True, "bytes": 3}
    assert (line["module"], line["action"], line["layer"], line["user_id"]) == (
        "economia",
        "pago.confirmar",
        "L5",
        "ana",
    )


def test_a_protocol_carries_its_payload_and_says_synthetic():
    body = records.protocol_body("economy", "suspender", "L0", "una orden", override=True)
    assert body["payload"] == {"override": True}
    assert body["metadata"] == {"synthetic": True}


@pytest.mark.parametrize("score", [-0.2, 0.5, 1.2])
def test_an_ethics_score_stays_within_its_range(score: float):
    body = records.isabella_body("recomendar_curso", "allow", score)
    assert 0.0 <= body["ethicsScore"] <= 1.0
    assert body["prompt"].startswith("(sintético)")
    assert body["response"].startswith("(sintético)")


def test_an_evaluation_says_synthetic():
    assert records.eoct_body("scene", "plaza", {"harmRisk": 0.1})["notes"] == "synthetic"


def test_an_xr_event_names_person_and_headset():
    person = town.people(Random(7))[0]
    body = records.xr_body(person, "safety_alert", "plaza", severity="critical")
    assert (body["userId"], body["sessionId"], body["severity"]) == (person.name, person.headset, "critical")
    assert body["synthetic"] is True


def test_durations_are_positive_and_typical():
    random = Random(1)
    values = sorted(records.duration_ms(random, 0.2) for _ in range(999))
    assert values[0] > 0.0
    assert values[499] == pytest.approx(200.0, rel=0.1)
