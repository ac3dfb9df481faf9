from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decisions import isabella
from guardian.decisions.record import IsabellaRecord, Outcome, as_json
from guardian.errors import RequestError
from guardian.texts import LANGUAGES

NAMES = ("normalize", "classify", "ethics", "security", "governance")
STRICT = {"approved": 0, "review": 1, "rejected": 2}


def decided(**more: Any) -> IsabellaRecord:
    request = isabella.request({"prompt": "p", "response": "r", **more})
    return isabella.decide(request, record_id="i1", actor_id="ana", now=0)


def stages(score: float, **failed: bool) -> dict[str, Any]:
    return {name: {"score": score, "passed": not failed.get(name, False)} for name in NAMES}


@pytest.mark.parametrize(
    ("verb", "outcome"),
    [
        *((verb, "approved") for verb in ("approve", "allow", " Allow ")),
        *((verb, "review") for verb in ("escalate", "defer", "flag", "warn", "redirect", "hold")),
        *((verb, "rejected") for verb in ("deny", "block", "reject", "BLOCK")),
    ],
)
def test_known_verbs(verb: str, outcome: str):
    record = decided(verb=verb)
    assert (record.outcome, record.verb, record.verb_known) == (outcome, verb, True)
    assert decided(decision=verb).outcome == outcome


@pytest.mark.parametrize("verb", ["", "incinerate", "approved?", "ａpprove"])
def test_any_other_verb_is_review_and_known_to_be_unknown(verb: str):
    record = decided(verb=verb)
    assert (record.outcome, record.verb, record.verb_known) == ("review", verb, False)


def test_no_verb_and_no_stages_is_review_and_unknown():
    record = decided(ethicsScore=0.99)
    assert (record.outcome, record.verb_known, record.reasons) == ("review", False, ("verb_missing",))


@pytest.mark.parametrize(
    ("given", "human", "outcome", "reasons"),
    [
        (stages(0.8), False, "approved", ("stages_passed",)),
        (stages(0.79), False, "review", ("stages_mean_doubtful",)),
        (stages(0.6), False, "review", ("stages_mean_doubtful",)),
        (stages(0.59), False, "rejected", ("stages_mean_too_low",)),
        (stages(1.0, security=True), False, "rejected", ("stage_failed_security",)),
        (stages(1.0), True, "review", ("human_in_the_loop",)),
        (stages(0.5, ethics=True), True, "rejected", ("stage_failed_ethics", "stages_mean_too_low")),
    ],
)
def test_five_stages(given: dict[str, Any], human: bool, outcome: str, reasons: tuple[str, ...]):
    record = decided(stages=given, humanInTheLoop=human)
    assert (record.outcome, record.reasons) == (outcome, reasons)


def test_the_stricter_of_verb_and_stages_holds():
    assert decided(verb="deny", stages=stages(1.0)).outcome == "rejected"
    assert decided(verb="allow", stages=stages(0.1)).outcome == "rejected"
    assert decided(verb="unheard-of", stages=stages(1.0)).outcome == "review"
    assert decided(verb="allow", humanInTheLoop=True).outcome == "review"
    assert decided(verb="deny", humanInTheLoop=True).outcome == "rejected"


def test_verb_and_decision_must_agree():
    assert decided(verb="allow", decision="allow").outcome == "approved"
    with pytest.raises(RequestError, match="decision: expected the same as verb"):
        decided(verb="allow", decision="deny")


@pytest.mark.parametrize("score", [-0.01, 1.01, "0.5", True])
def test_ethics_score_outside_its_range_is_refused(score: Any):
    with pytest.raises(RequestError, match="ethicsScore: expected a number from 0 to 1"):
        decided(ethicsScore=score)


def test_the_context_names_one_of_the_protocols():
    with pytest.raises(RequestError, match=r"context\.protocolId: expected one of fenix"):
        decided(context={"protocolId": "user-4711", "action": "a", "layer": "L2"})
    assert as_json(decided())["context"] == {"protocolId": "isabella", "action": "", "layer": "L2"}


def test_shape_of_the_answer():
    context = {"protocolId": "economy", "action": "pagar", "layer": "L5"}
    assert isabella.answer(decided(verb="warn", ethicsScore=0.5, context=context)) == {
        "id": "i1",
        "actorId": "ana",
        "prompt": "p",
        "response": "r",
        "ethicsScore": 0.5,
        "outcome": "review",
        "verb": "warn",
        "verbKnown": True,
        "reasons": ["verb_review"],
        "context": context,
        "createdAt": "1970-01-01T00:00:00.000Z",
        "explanation": {
            "es-MX": (
                "Isabella recomienda que lo revise una persona. Al evaluarlo pidió cautela. "
                "Isabella no ejecuta, recomienda; siempre se puede pedir la revisión de una persona."
            ),
            "en": (
                "Isabella recommends that a person review it. On evaluating it she asked for caution. "
                "Isabella does not execute, she recommends; a person can always be asked to review."
            ),
        },
    }


@given(
    st.none() | st.sampled_from([*isabella.VERBS, "unheard-of"]),
    st.none() | st.tuples(st.floats(0, 1), st.sets(st.sampled_from(NAMES))),
    st.booleans(),
)
def test_every_decision_is_explained_in_both_languages(
    verb: str | None, pipeline: tuple[float, set[str]] | None, human: bool
):
    given_stages = None if pipeline is None else stages(pipeline[0], **dict.fromkeys(pipeline[1], True))
    record = decided(verb=verb, stages=given_stages, humanInTheLoop=human)
    told = isabella.explanation(record.outcome, record.reasons)
    assert record.reasons
    assert set(told) == set(LANGUAGES)
    assert "{" not in "".join(told.values())


def test_every_outcome_has_its_words():
    for outcome in get_args(Outcome):
        told = isabella.explanation(outcome, ())
        assert "recomienda" in told["es-MX"]
        assert "recommends" in told["en"]


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_lower_mean_is_never_judged_more_kindly(a: float, b: float):
    low, high = sorted((a, b))
    assert STRICT[decided(stages=stages(low)).outcome] >= STRICT[decided(stages=stages(high)).outcome]
