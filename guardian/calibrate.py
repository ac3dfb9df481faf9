"""``guardian calibrate``: the map from risk to score, fitted on a period that the operator declares ordinary.

A score s means 10^(−s/20) benign exceedances per entity-day. So the risk that belongs to s is the one that the windows of
the declared period exceeded that often; above what the period can show, the last slope goes on, and ``confirmed_to`` says
where that begins. An explicit act, never online: an attack that lasts would become the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace
from numpy.typing import NDArray

from guardian.config import Calibration, Config
from guardian.decode import read
from guardian.engine import Engine
from guardian.errors import InputError
from guardian.levels import BAND_EDGES, POINTS_PER_DECADE, Level

WINDOW_NS: Final = 300 * 10**9
DAY_NS: Final = 86_400 * 10**9
KNOTS: Final = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)
LEAST_ENTITY_DAYS: Final = 10.0
"""Below this not even *low* (one exceedance in ten entity-days) can be confirmed."""

_BATCH: Final = 16_384
_SCALE: Final = 1000.0
_LEAST_SLOPE: Final = 0.02
"""Risk a point at least, where the data would make the map stand upright."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted map, and what it was fitted on."""

    calibration: Calibration
    entity_days: float
    windows: int
    exceeded: dict[str, int]
    """Windows of the period that the fitted map puts at each level or above."""

    def toml(self) -> str:
        """The ``[calibration]`` table of a guardian.toml."""
        knots = self.calibration
        return (
            f"# Fitted on {self.entity_days:.1f} entity-days declared ordinary.\n[calibration]\n"
            f"risk = [{', '.join(f'{value:.4f}' for value in knots.risk)}]\n"
            f"score = [{', '.join(f'{value:.1f}' for value in knots.score)}]\n"
            f"confirmed_to = {knots.confirmed_to:.1f}\n"
        )

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "entityDays": self.entity_days,
            "windows": self.windows,
            "risk": list(self.calibration.risk),
            "score": list(self.calibration.score),
            "confirmedTo": self.calibration.confirmed_to,
            "budgetPerEntityDay": {
                level.word: 10.0 ** (-edge / POINTS_PER_DECADE)
                for level, edge in zip(list(Level)[1:], BAND_EDGES, strict=True)
            },
            "exceeded": self.exceeded,
        }


def calibrate(files: Sequence[Path], *, map_name: str | None, warmup_ns: int, config: Config) -> Fit:
    """Fit the map on files that together are one ordinary period; what lies within the warm-up is only learnt from.

    Raises:
        InputError: a file cannot be read, or the period is too short to say anything.
        MapError: the map is unknown or unusable.
    """
    identity = Calibration(risk=(0.0, _SCALE), score=(0.0, 100.0))
    engine = Engine(replace(config, calibration=identity))
    batches = [batch for file in files for batch in read(file, map=map_name)]
    if not batches:
        raise InputError(", ".join(map(str, files)), "expected events, got none")
    # In the order of their times, however the files keep them: a period is a period (sort_indices is stable).
    events = pa.Table.from_batches(batches).unify_dictionaries()
    events = events.take(pc.sort_indices(events.column("ts"))).combine_chunks()
    frames = []
    for batch in events.to_batches(max_chunksize=_BATCH):
        scores = engine.feed(batch).scores
        frames.append(
            pl.DataFrame(
                {
                    "ts": scores.column("ts").cast(pa.int64()).to_numpy(),
                    "role": scores.column("role").indices.to_numpy(),
                    "entity": scores.column("entity").dictionary_decode().to_numpy(zero_copy_only=False),
                    "risk": scores.column("risk").to_numpy() * (_SCALE / 100.0),
                }
                # What a rule says is a floor of its own, not behaviour.
            ).filter(scores.column("rule").to_numpy() == 0.0)
        )
    rows = pl.concat(frames)
    start = int(rows["ts"].min() or 0) + warmup_ns  # type: ignore[arg-type]  # the minimum of integers
    judged = rows.filter(pl.col("ts") >= start)
    windows = judged.group_by("role", "entity", pl.col("ts") // WINDOW_NS).agg(pl.col("risk").max())
    days = (int(rows["ts"].max() or 0) - start) / DAY_NS  # type: ignore[arg-type]
    entity_days = days * judged.select("role", "entity").n_unique() if len(judged) else 0.0
    if entity_days < LEAST_ENTITY_DAYS:
        raise InputError(
            ", ".join(map(str, files)),
            f"expected at least {LEAST_ENTITY_DAYS:g} entity-days after the warm-up, got {max(entity_days, 0.0):.1f}",
        )
    return fitted(windows["risk"].to_numpy(), entity_days)


def fitted(risk: NDArray[np.float64], entity_days: float) -> Fit:
    """The map for the highest risks of ordinary windows.

    Shapes: risk (windows,), decades. ``entity_days`` is what the windows cover.
    """
    descending = np.sort(risk)[::-1]
    confirmed = min(POINTS_PER_DECADE * float(np.log10(entity_days)), 100.0)
    risks, scores = [0.0], [0.0]
    for score in KNOTS:
        allowed = int(entity_days * 10.0 ** (-score / POINTS_PER_DECADE))
        if allowed < 1:
            break
        # The (allowed + 1)-th highest: exactly ``allowed`` windows lie above it.
        value = float(descending[min(allowed, len(descending) - 1)])
        risks.append(max(value, risks[-1] + _LEAST_SLOPE * (score - scores[-1])))
        scores.append(score)
    slope = (
        max((risks[-1] - risks[1]) / max(scores[-1] - scores[1], 1.0), _LEAST_SLOPE)
        if len(risks) > 2
        else 0.1
    )
    risks.append(risks[-1] + slope * (100.0 - scores[-1]))
    scores.append(100.0)
    calibration = Calibration(risk=tuple(risks), score=tuple(scores), confirmed_to=confirmed)
    points = np.interp(descending, risks, scores)
    exceeded = {
        level.word: int(np.count_nonzero(points >= edge))
        for level, edge in zip(list(Level)[1:], BAND_EDGES, strict=True)
    }
    return Fit(calibration, entity_days, len(risk), exceeded)
