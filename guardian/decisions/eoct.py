"""An EOCT request → its record.

Owns the request, the choice of profile and the rounding of the stored score. The formula is ``scoring.eoct``'s.
"""

from __future__ import annotations

from typing import Annotated, Any, cast

import numpy as np
from msgspec import Meta, Struct

from guardian.config import Eoct
from guardian.decisions.record import EoctRecord, Outcome, RiskLevel
from guardian.decisions.request import decode
from scoring import eoct

SubjectType = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}\Z",
        description="a word of at most 64 letters, digits, dots, dashes or underscores",
    ),
]
SubjectId = Annotated[str, Meta(max_length=256, description="text of at most 256 characters")]
Notes = Annotated[str, Meta(max_length=4000, description="text of at most 4000 characters")]


class Signals(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The five signals: null or absent = 0, values outside 0…1 are clamped.

    A misspelt key would hide a risk, so unknown keys are refused.
    """

    coercion_risk: float | None = None
    harm_risk: float | None = None
    privacy_risk: float | None = None
    transparency_risk: float | None = None
    legal_risk: float | None = None


class EoctRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of ``POST /api/v1/eoct/evaluate``."""

    subject_type: SubjectType
    signals: Signals
    subject_id: SubjectId | None = None
    notes: Notes | None = None


def request(body: bytes | dict[str, Any]) -> EoctRequest:
    """Read a request.

    Raises:
        RequestError: it is not usable; every problem is listed by its key path.
    """
    return decode(EoctRequest, body)


def evaluate(
    request: EoctRequest, *, record_id: str, actor_id: str | None, now: int, settings: Eoct
) -> EoctRecord:
    """Evaluate; ``now`` in nanoseconds since 1970.

    With the profile ``guardian`` a signal at ``settings.veto_at`` or above gives at least review; ``tamv`` has no
    veto.
    """
    veto_at = settings.veto_at if settings.profile == "guardian" else None
    given = request.signals
    row = np.array(
        [
            [
                given.coercion_risk,
                given.harm_risk,
                given.privacy_risk,
                given.transparency_risk,
                given.legal_risk,
            ]
        ],
        dtype=np.float64,  # None becomes NaN: not stated
    )
    risk = eoct.risk(row)
    veto = False if veto_at is None else eoct.vetoed(row, veto_at)
    parts = eoct.contributions(row)[0].tolist()
    return EoctRecord(
        id=record_id,
        actor_id=actor_id,
        subject_type=request.subject_type,
        subject_id=request.subject_id,
        score=round(1.0 - risk.item(), 3),
        risk=risk.item(),
        verdict=cast("Outcome", eoct.verdict(risk, veto=veto).item()),
        risk_level=cast("RiskLevel", eoct.risk_level(risk, veto=veto).item()),
        reasons=eoct.reasons(row, veto_at=veto_at)[0],
        contributions=dict(zip(eoct.SIGNALS, parts, strict=True)),
        profile=settings.profile,
        notes=request.notes,
        created_at=now,
    )
