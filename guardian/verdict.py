"""What a batch meant, as tables: the assembly of SCORES from what the kernels wrote.

Owns the order of rows (by event, then by role) and nothing of the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from guardian.events import ROLES, SCORES
from guardian.features import Features
from scoring.layout import CHANNEL_COUNT

_ROLE_NAMES: Final = pa.array(ROLES)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one batch meant: SCORES and ALERTS, in the order of its events."""

    scores: pa.RecordBatch
    alerts: pa.RecordBatch


class Scored:
    """What the kernels wrote for one chunk; one array a role, so that each kernel writes contiguous memory."""

    def __init__(self, rows: int) -> None:
        self.surprisal = np.zeros((len(ROLES), rows, CHANNEL_COUNT), np.float32)
        self.score = np.zeros((len(ROLES), rows))
        self.level = np.zeros((len(ROLES), rows), np.int8)


def scores_of(
    batch: pa.RecordBatch, features: Features, parts: list[Scored], first_event: int
) -> pa.RecordBatch:
    """SCORES of a batch: by event, then by role, for each role in which the event names somebody."""
    rows = len(batch)
    named = np.stack([features.keys[role] != 0 for role in ROLES], axis=1).reshape(-1)
    event = np.repeat(np.arange(first_event, first_event + rows), len(ROLES))[named]
    ts = np.repeat(features.ts_ns, len(ROLES))[named]
    role = np.tile(np.arange(len(ROLES), dtype=np.int8), rows)[named]

    def gathered(arrays: list[NDArray[Any]]) -> NDArray[Any]:
        whole = np.concatenate(arrays, axis=1) if arrays else np.zeros((len(ROLES), 0))
        flat: NDArray[Any] = np.ascontiguousarray(whole.T).reshape(-1)[named]
        return flat

    indices: list[NDArray[np.int32]] = []
    names: list[pa.Array] = []
    known = 0
    for each in ROLES:
        column = batch.column(each)
        indices.append(column.indices.to_numpy().astype(np.int32) + known)
        names.append(column.dictionary)
        known += len(column.dictionary)
    entity = np.stack(indices, axis=1).reshape(-1)[named]
    surprisal = [
        gathered([part.surprisal[:, :, channel] for part in parts]).astype(np.float32)
        for channel in range(CHANNEL_COUNT)
    ]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(event),
            pa.array(ts).cast(SCORES.field("ts").type),
            pa.DictionaryArray.from_arrays(pa.array(role), _ROLE_NAMES),
            pa.DictionaryArray.from_arrays(pa.array(entity), pa.concat_arrays(names)),
            *(pa.array(channel) for channel in surprisal),
            pa.array(gathered([part.score for part in parts]).astype(np.float64)),
            pa.array(gathered([part.level for part in parts]).astype(np.int8)),
        ],
        schema=SCORES,
    )
