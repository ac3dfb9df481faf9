"""A decision of Isabella, as reported → a normalised record, with the reasons for its outcome.

Owns the vocabulary of verbs, the rule of the five stages and the explanation. Isabella recommends and does not
execute: every decision carries an explanation, and a human can always be asked.

Origin: record and doctrine are TAMV's; the five-stage rule is a variant in its code; the mapping of verbs is ours.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta, Struct
from msgspec.structs import asdict

from guardian.decisions.record import Context, IsabellaRecord, Outcome, ProtocolId, as_json
from guardian.decisions.request import decode
from guardian.errors import Problem, RequestError
from guardian.texts import LANGUAGES, text
from guardian.units import LayerName

VERBS: Final[dict[str, Outcome]] = {
    "approve": "approved",
    "allow": "approved",
    "escalate": "review",
    "defer": "review",
    "flag": "review",
    "warn": "review",
    "redirect": "review",
    "hold": "review",
    "deny": "rejected",
    "block": "rejected",
    "reject": "rejected",
}
"""Outcome of each known verb. Any other is ``review``, and counted as unknown."""

DENY_BELOW: Final = 0.6
ESCALATE_BELOW: Final = 0.8
DECIMALS: Final = 9
"""The mean is compared after rounding to this many decimals, so that 0.8 five times is 0.8."""

_STRICTNESS: Final[dict[Outcome, int]] = {"approved": 0, "review": 1, "rejected": 2}

Words = Annotated[str, Meta(max_length=100_000, description="text of at most 100000 characters")]
Verb = Annotated[str, Meta(max_length=64, description="text of at most 64 characters")]
Action = Annotated[str, Meta(max_length=128, description="text of at most 128 characters")]
UnitScore = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]


class Stage(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How one stage of Isabella's pipeline ended."""

    score: UnitScore
    passed: bool = True


class Stages(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The five stages, all of them."""

    normalize: Stage
    classify: Stage
    ethics: Stage
    security: Stage
    governance: Stage


class RequestContext(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the decision is about; without one, Isabella herself in the layer where she lives."""

    protocol_id: ProtocolId = "isabella"
    action: Action = ""
    layer: LayerName = "L2"


class IsabellaRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of ``POST /api/v1/isabella/decisions``. ``verb`` and ``decision`` name the same thing."""

    prompt: Words
    response: Words
    ethics_score: UnitScore | None = None
    verb: Verb | None = None
    decision: Verb | None = None
    context: RequestContext = RequestContext()
    stages: Stages | None = None
    human_in_the_loop: bool = False


def request(body: bytes | dict[str, Any]) -> IsabellaRequest:
    """Read a request.

    Raises:
        RequestError: it is not usable; every problem is listed by its key path.
    """
    read = decode(IsabellaRequest, body)
    if read.verb is not None and read.decision is not None and read.verb != read.decision:
        raise RequestError([Problem("decision", "the same as verb, or only one of both", "another text")])
    return read


def normalised(verb: str) -> tuple[Outcome, bool]:
    """Outcome of a verb and whether it is a known one; case and surrounding space do not matter.

    >>> normalised("Escalate"), normalised("incinerate")
    (('review', True), ('review', False))
    """
    outcome = VERBS.get(verb.strip().lower())
    return ("review", False) if outcome is None else (outcome, True)


def judged(stages: Stages, *, human_in_the_loop: bool) -> tuple[Outcome, tuple[str, ...]]:
    """Outcome of the five stages and its reasons.

    Any failed stage or a mean score < 0.6 rejects; else a human in the loop or a mean < 0.8 asks for review.
    """
    results: dict[str, Stage] = asdict(stages)
    reasons = [f"stage_failed_{name}" for name, stage in results.items() if not stage.passed]
    mean = round(sum(stage.score for stage in results.values()) / len(results), DECIMALS)
    if mean < DENY_BELOW:
        reasons.append("stages_mean_too_low")
    if reasons:
        return "rejected", tuple(reasons)
    if human_in_the_loop:
        reasons.append("human_in_the_loop")
    if mean < ESCALATE_BELOW:
        reasons.append("stages_mean_doubtful")
    return ("review", tuple(reasons)) if reasons else ("approved", ("stages_passed",))


def decide(request: IsabellaRequest, *, record_id: str, actor_id: str, now: int) -> IsabellaRecord:
    """The normalised record; ``now`` in nanoseconds since 1970.

    Verb and stages both count and the stricter outcome holds: a pipeline cannot talk a denial away, nor a verb a
    failed stage. Without either there is nothing to go by: review, counted as unknown.
    """
    verb = request.verb if request.verb is not None else request.decision
    outcome: Outcome = "approved"
    reasons: tuple[str, ...] = ()
    known = True
    if verb is not None or request.stages is None:
        outcome, known = normalised(verb or "")
        reasons = (f"verb_{outcome}" if known else "verb_unknown" if verb else "verb_missing",)
    if request.stages is not None:
        by_stages, why = judged(request.stages, human_in_the_loop=request.human_in_the_loop)
        reasons += why
        outcome = max(outcome, by_stages, key=_STRICTNESS.__getitem__)
    elif request.human_in_the_loop:
        reasons += ("human_in_the_loop",)
        outcome = max(outcome, "review", key=_STRICTNESS.__getitem__)
    return IsabellaRecord(
        id=record_id,
        actor_id=actor_id,
        prompt=request.prompt,
        response=request.response,
        ethics_score=request.ethics_score,
        outcome=outcome,
        verb=verb or "",
        verb_known=known,
        reasons=reasons,
        context=Context(
            protocol_id=request.context.protocol_id,
            action=request.context.action,
            layer=request.context.layer,
        ),
        created_at=now,
    )


def answer(record: IsabellaRecord) -> dict[str, Any]:
    """What the API answers: the record and its explanation."""
    return as_json(record) | {"explanation": explanation(record.outcome, record.reasons)}


def explanation(outcome: Outcome, reasons: tuple[str, ...]) -> dict[str, str]:
    """Why a decision came out as it did, per language; it ends with the doctrine that a human can be asked."""
    return {
        language: " ".join(
            text(f"decisions.{key}", language) for key in (f"outcome_{outcome}", *reasons, "doctrine")
        )
        for language in LANGUAGES
    }
