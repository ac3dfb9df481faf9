import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.config import Eoct
from guardian.decisions import eoct
from guardian.decisions.record import EoctRecord, as_json

NOW = 1_767_225_600_123_000_000
FAITHFUL = Eoct(profile="tamv")


def evaluated(signals: dict[str, float | None], *, settings: Eoct = FAITHFUL) -> EoctRecord:
    request = eoct.request({"subjectType": "campaign", "signals": signals})
    return eoct.evaluate(request, record_id=str(uuid.UUID(int=1)), actor_id="ana", now=NOW, settings=settings)


@pytest.mark.parametrize(
    ("high", "score", "verdict", "level"),
    [
        (["harm"], 0.75, "approved", "low"),
        (["coercion", "harm"], 0.5, "review", "medium"),
        (["coercion", "harm", "privacy"], 0.3, "review", "high"),
        (["coercion", "harm", "privacy", "transparency"], 0.15, "rejected", "critical"),
    ],
)
def test_golden_cases_of_the_faithful_profile(high: list[str], score: float, verdict: str, level: str):
    record = evaluated({f"{name}Risk": 1 for name in high})
    assert (record.score, record.verdict, record.risk_level) == (score, verdict, level)
    assert record.reasons == tuple(f"{name}_risk" for name in high)


def test_the_default_profile_vetoes_one_signal_at_its_threshold():
    assert evaluated({"harmRisk": 0.9}, settings=Eoct()).verdict == "review"
    assert evaluated({"harmRisk": 0.9}, settings=Eoct()).risk_level == "medium"
    assert evaluated({"harmRisk": 0.89}, settings=Eoct()).verdict == "approved"
    assert evaluated({"harmRisk": 0.9}, settings=Eoct(profile="tamv")).verdict == "approved"
    assert evaluated({"harmRisk": 0.5}, settings=Eoct(veto_at=0.5)).reasons == ("harm_risk",)


def test_no_signal_stated_is_no_risk():
    record = evaluated({"harmRisk": None}, settings=Eoct(veto_at=0.0))
    assert (record.risk, record.score, record.verdict, record.reasons) == (0.0, 1.0, "approved", ())


def test_shape_of_the_answer():
    request = eoct.request(
        {"subjectType": "user", "subjectId": "u-1", "signals": {"legalRisk": 2}, "notes": "n"}
    )
    record = eoct.evaluate(request, record_id="e1", actor_id=None, now=NOW, settings=Eoct())
    assert as_json(record) == {
        "id": "e1",
        "actorId": None,
        "subjectType": "user",
        "subjectId": "u-1",
        "score": 0.85,
        "risk": 0.15,
        "verdict": "review",
        "riskLevel": "medium",
        "reasons": ["legal_risk"],
        "contributions": {"coercion": 0.0, "harm": 0.0, "privacy": 0.0, "transparency": 0.0, "legal": 0.15},
        "profile": "guardian",
        "notes": "n",
        "createdAt": "2026-01-01T00:00:00.123Z",
    }


@given(st.dictionaries(st.sampled_from(["coercionRisk", "harmRisk", "privacyRisk"]), st.floats(-9, 9)))
def test_score_and_contributions_agree_with_the_risk(signals: dict[str, float | None]):
    record = evaluated(signals)
    assert sum(record.contributions.values()) == pytest.approx(record.risk, abs=1e-12)
    assert record.score == round(1 - record.risk, 3)
