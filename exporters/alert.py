"""One alert on its way out: what the engine raised, as it is stored, shown and sent.

Owns its fields. Does not own where it waits (``exporters.outbox``) nor the forms it is sent in (``exporters.formats``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from guardian.decisions.record import iso
from guardian.levels import RECOMMENDED_ACTION, Level

Activity = Literal["open", "update", "resolved"]
"""Opened a finding, changed one, or tells that one is over."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as it is stored and sent. Times in nanoseconds since 1970."""

    id: str
    created_at: int
    role: str
    entity: str
    layer: int
    level_from: Level
    level_to: Level
    score: float
    reasons: tuple[Mapping[str, Any], ...]
    event: int
    trace_id: str
    config: str
    synthetic: bool
    extrapolated: bool = False
    """The score lies above what the data behind the calibration could confirm."""
    finding: str = ""
    """Id of the alert that opened what this one tells about; empty = this one does."""
    activity: Activity = "open"
    tags: tuple[str, ...] = ()
    """ATT&CK tags of the rules that matched, as Sigma writes them: ``attack.t1110``, ``attack.credential-access``."""
    suppressed: int = 0
    """Alerts that this one stands for and that were not sent by themselves …"""
    suppressed_since: int = 0
    """… since this time."""

    @property
    def identity(self) -> str:
        """What it tells about: the same from the opening to the end, in every form."""
        return self.finding or self.id

    def to_json(self) -> dict[str, Any]:
        """The alert as the API shows it."""
        return {
            "id": self.id,
            "createdAt": iso(self.created_at),
            "role": self.role,
            "entity": self.entity,
            "layer": f"L{self.layer}" if self.layer >= 0 else None,
            "levelFrom": self.level_from.word,
            "levelTo": self.level_to.word,
            "score": self.score,
            "reasons": list(self.reasons),
            "recommendedAction": list(RECOMMENDED_ACTION[self.level_to]),
            "event": self.event,
            "traceId": self.trace_id,
            "config": self.config,
            "synthetic": self.synthetic,
            "extrapolated": self.extrapolated,
            "finding": self.identity,
            "activity": self.activity,
            "tags": list(self.tags),
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of one alert: which sinks it is owed to, and which count it as suppressed."""

    alert: Alert
    """With ``finding`` and ``activity`` filled in."""
    owed: Mapping[str, int]
    """Sink → not before, nanoseconds since 1970; 0 = at once."""
    suppressed: frozenset[str] = frozenset()


def alerts_from(
    batch: pa.RecordBatch, *, synthetic: bool, tags: Mapping[str, tuple[str, ...]] | None = None
) -> list[Alert]:
    """The rows of an ALERTS batch, with the ``tags`` of the detection rules that their reasons name."""
    known = tags or {}
    stamps = batch.column("ts").cast(pa.int64()).to_pylist()
    rows = batch.drop_columns(["ts"]).to_pylist()
    return [
        Alert(
            id=row["alert_id"].hex(),
            created_at=at,
            role=row["role"],
            entity=row["entity"],
            layer=row["layer"],
            level_from=Level(row["level_from"]),
            level_to=Level(row["level_to"]),
            score=row["score"],
            reasons=tuple(row["reasons"]),
            event=row["event"],
            trace_id=row["trace_id"].hex() if any(row["trace_id"]) else "",
            config=row["config"],
            synthetic=synthetic,
            extrapolated=row["extrapolated"],
            tags=_tags(row["reasons"], known),
        )
        for at, row in zip(stamps, rows, strict=True)
    ]


def _tags(reasons: list[dict[str, Any]], known: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    named = (known.get(reason["kind"], ()) for reason in reasons if reason["channel"] == "rule")
    return tuple(dict.fromkeys(tag for tags in named for tag in tags))
