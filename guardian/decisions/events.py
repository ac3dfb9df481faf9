"""Decisions as events, so that the engine scores who asks for what, and how it ends.

Owns the mapping from a record to one row of EVENTS. No free text of a request gets in: the purpose, the prompt, the
response and the notes stay in their records.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa

from guardian.decisions.record import EoctRecord, IsabellaRecord, Outcome, ProtocolEvent, RiskLevel
from guardian.events import EVENTS, LAYERS, Signal
from guardian.events import Outcome as Ended

SEVERITY: Final[dict[RiskLevel, float]] = {"low": 0.25, "medium": 0.5, "high": 0.75, "critical": 1.0}
"""As TAMV's log lines map ``risk_level``."""

ENDED: Final[dict[Outcome, Ended]] = {
    "approved": Ended.SUCCESS,
    "review": Ended.UNKNOWN,
    "rejected": Ended.DENIED,
}
EOCT_LAYER: Final = LAYERS.index("L2")
"""Where EOCT lives; its requests name no layer."""


def as_events(
    records: Sequence[ProtocolEvent | EoctRecord | IsabellaRecord], *, address: str = ""
) -> pa.RecordBatch:
    """One row of EVENTS for each decision, in order; ``address`` is the network address that asked.

    Of a protocol evaluation give the ``ProtocolEvent`` only: its EOCT and Isabella records tell the same thing.
    """
    return pa.RecordBatch.from_pylist([_row(record, address) for record in records], schema=EVENTS)


def _row(record: ProtocolEvent | EoctRecord | IsabellaRecord, address: str) -> dict[str, Any]:
    if isinstance(record, ProtocolEvent):
        own = {
            "source": "protocols",
            "kind": f"protocol.{record.protocol_id}.{record.outcome}",
            "target": f"protocol:{record.protocol_id}",
            "layer": LAYERS.index(record.command.layer),
            "outcome": ENDED[record.outcome],
            "severity": SEVERITY[record.decision.severity],
            "value": math.nan,
        }
        reasons = record.decision.reasons
    elif isinstance(record, EoctRecord):
        own = {
            "source": "eoct",
            "kind": f"eoct.{record.verdict}",
            "target": f"{record.subject_type}:{record.subject_id}" if record.subject_id else "",
            "layer": EOCT_LAYER,
            "outcome": ENDED[record.verdict],
            "severity": SEVERITY[record.risk_level],
            "value": record.risk,
        }
        reasons = record.reasons
    else:
        own = {
            "source": "isabella",
            "kind": f"isabella.{record.context.protocol_id}.{record.outcome}",
            "target": f"protocol:{record.context.protocol_id}",
            "layer": LAYERS.index(record.context.layer),
            "outcome": ENDED[record.outcome],
            "severity": math.nan,
            "value": math.nan if record.ethics_score is None else record.ethics_score,
        }
        reasons = record.reasons
    return {
        "ts": record.created_at,
        "signal": Signal.DECISION,
        "actor": record.actor_id or "",
        "address": address,
        "session": "",
        "trace_id": bytes(16),
        "span_id": bytes(8),
        "body": None,
        "attrs": msgspec.json.encode({"id": record.id, "reasons": reasons}).decode(),
        **own,
    }
