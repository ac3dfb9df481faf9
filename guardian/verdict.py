"""What a batch meant, as tables: the assembly of SCORES and ALERTS from what the kernels wrote.

Owns the order of rows (by event, then by role) and the identity of an alert, and nothing of the numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from guardian.config import Config
from guardian.events import CHANNELS, CONTEXT, ROLES, SCORES
from guardian.features import Features
from guardian.view import Reason
from scoring.layout import (
    CHANNEL_COUNT,
    CONTEXT_PART,
    MULTIVARIATE,
    PARTS,
    RULE,
    RULE_PART,
    WITHOUT_CONTEXT,
    Alerts,
)

_ROLE_NAMES: Final = pa.array(ROLES)


@dataclass(frozen=True, slots=True)
class Window:
    """What the entities of one role did in a window that ended, without their names: what a forest is grown from."""

    role: str
    ts_ns: int
    """Its last nanosecond."""
    vectors: NDArray[np.float64]
    """(entities with telemetry, VECTOR_FEATURES)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one batch meant: SCORES and ALERTS, in the order of its events; and the windows that ended in it."""

    scores: pa.RecordBatch
    alerts: pa.RecordBatch
    windows: tuple[Window, ...] = ()


class Scored:
    """Where the kernels write SCORES: one row for each event and role in which it names somebody."""

    def __init__(self, features: Features) -> None:
        named = np.stack([features.keys[role] != 0 for role in ROLES], axis=1).reshape(-1)
        place = np.cumsum(named) - 1
        place[~named] = -1
        self.rows = int(named.sum())
        self.named = named
        self.place = np.ascontiguousarray(place.reshape(-1, len(ROLES)).T)
        """(roles, events): the row of an event in a role; −1 where it names nobody."""
        self.surprisal = np.zeros((CHANNEL_COUNT, self.rows), np.float32)
        self.score = np.zeros(self.rows)
        self.level = np.zeros(self.rows, np.int8)

    def before(self, event: int) -> int:
        """How many rows belong to the events before this one."""
        return int(np.count_nonzero(self.named[: event * len(ROLES)]))


@dataclass(frozen=True, slots=True)
class Revised:
    """Scores as the end of a window found them, and before which event of the batch."""

    before: int
    role: int
    ts_ns: int
    event: NDArray[np.int64]
    entity: list[str]
    multivariate: NDArray[np.float64]
    score: NDArray[np.float64]
    level: NDArray[np.int8]


def scores_of(
    batch: pa.RecordBatch, features: Features, scored: Scored, revised: list[Revised], first_event: int
) -> pa.RecordBatch:
    """SCORES of a batch: by event, then by role, for each role in which the event names somebody; and the revised."""
    rows = np.flatnonzero(scored.named)
    event = rows // len(ROLES)
    indices = np.empty((len(batch), len(ROLES)), np.int32)
    names: list[pa.Array] = []
    known = 0
    for number, each in enumerate(ROLES):
        column = batch.column(each)
        np.add(column.indices.to_numpy(), known, out=indices[:, number], casting="unsafe")
        names.append(column.dictionary)
        known += len(column.dictionary)
    whole = pa.RecordBatch.from_arrays(
        [
            pa.array(event + first_event),
            pa.array(features.ts_ns[event]).view(SCORES.field("ts").type),
            pa.DictionaryArray.from_arrays(pa.array((rows % len(ROLES)).astype(np.int8)), _ROLE_NAMES),
            pa.DictionaryArray.from_arrays(pa.array(indices.reshape(-1)[rows]), pa.concat_arrays(names)),
            *(pa.array(channel) for channel in scored.surprisal),
            pa.array(scored.score),
            pa.array(scored.level),
        ],
        schema=SCORES,
    )
    return _with_revised(whole, scored, revised) if revised else whole


def _with_revised(whole: pa.RecordBatch, scored: Scored, revised: list[Revised]) -> pa.RecordBatch:
    pieces: list[pa.RecordBatch] = []
    start = 0
    for each in revised:
        stop = scored.before(each.before)
        pieces.append(whole.slice(start, stop - start))
        start = stop
        count = len(each.event)
        columns: dict[str, Any] = {
            **dict.fromkeys(CHANNELS, pa.array(np.zeros(count, np.float32))),
            CHANNELS[MULTIVARIATE]: pa.array(each.multivariate.astype(np.float32)),
            "event": pa.array(each.event),
            "ts": pa.array(np.full(count, each.ts_ns)).view(SCORES.field("ts").type),
            "role": pa.DictionaryArray.from_arrays(pa.array(np.full(count, each.role, np.int8)), _ROLE_NAMES),
            "entity": pa.array(each.entity, pa.string()).dictionary_encode(),
            "risk": pa.array(each.score),
            "level": pa.array(each.level),
        }
        pieces.append(pa.RecordBatch.from_arrays([columns[name] for name in SCORES.names], schema=SCORES))
    pieces.append(whole.slice(start))
    table = pa.Table.from_batches(pieces).unify_dictionaries().combine_chunks()
    return table.to_batches()[0] if len(table) else whole


def alert_row(
    config: Config, digest: str, alerts: Alerts, each: int, reasons: tuple[Reason, ...], **told: Any
) -> dict[str, Any]:
    """One row of ALERTS; ``told`` holds what the kernel does not know: ts, role, entity, layer, event, trace_id."""
    # Two rises to one level are at least ``hold_s`` apart, so each falls into a window of its own.
    window = int(float(alerts.at[each]) // config.engine.hold_s)
    score = float(alerts.score[each])
    level_to = min(int(score // 20.0), 4)
    identity = "\x1f".join((told["role"], told["entity"], str(level_to), str(window), digest))
    ruled = bool(alerts.parts[each, RULE_PART, RULE] > 0.0)  # then the score is a rule's, which needs no data
    return {
        "alert_id": hashlib.sha256(identity.encode()).digest()[:16],
        "level_from": int(alerts.level_from[each]),
        "level_to": level_to,
        "score": score,
        "extrapolated": not ruled and score > config.calibration.confirmed_to,
        "reasons": [
            {
                "channel": reason.channel,
                "contribution": reason.contribution,
                "kind": reason.kind,
                "event": reason.event,
                "without": reason.without,
            }
            for reason in reasons
        ],
        "config": digest,
        **told,
    }


def reasons_of(
    kind: NDArray[np.uint64],
    event: NDArray[np.int64],
    parts: NDArray[np.float64],
    without: NDArray[np.float64],
    *,
    names: Mapping[int, str],
) -> tuple[Reason, ...]:
    """The parts of one explanation as reasons, largest first. Parts that add nothing are left out."""
    reasons: list[Reason] = []
    for part, channel in np.argwhere(parts != 0.0).tolist():
        around = part == CONTEXT_PART
        reasons.append(
            Reason(
                channel=CONTEXT if around else CHANNELS[channel],
                contribution=float(parts[part, channel]),
                kind=names.get(int(kind[part]), ""),
                event=int(event[part]),
                without=float(without[WITHOUT_CONTEXT if around else channel]),
            )
        )
    return tuple(sorted(reasons, key=lambda reason: (-reason.contribution, reason.channel, reason.kind)))


def alert_buffers(rows: int) -> Alerts:
    """Room for one rise a row; pages that are not written cost nothing."""
    return Alerts(
        raised=np.zeros(1, np.int64),
        row=np.empty(rows, np.int64),
        level_from=np.empty(rows, np.int64),
        score=np.empty(rows),
        at=np.empty(rows),
        kind=np.empty((rows, PARTS), np.uint64),
        event=np.empty((rows, PARTS), np.int64),
        parts=np.empty((rows, PARTS, CHANNEL_COUNT)),
        without=np.empty((rows, CHANNEL_COUNT + 1)),
    )
