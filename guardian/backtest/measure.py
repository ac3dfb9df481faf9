"""The backtest itself: sort, feed, aggregate into windows, measure.

Owns the order of the steps. The engine comes in as a factory; by default it is the one that the service runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from guardian.backtest import figures
from guardian.backtest.durations import nanoseconds
from guardian.backtest.labelled import Labelled, labelled
from guardian.backtest.result import Metrics, Result
from guardian.backtest.windows import SCORERS, entity_rows, window_frame
from guardian.config import Config
from guardian.decisions import schedule
from guardian.decisions.acknowledgement import Acknowledging
from guardian.decisions.record import Acknowledgement
from guardian.decisions.schedule import Given, Schedule, Scheduled
from guardian.decode import read_all
from guardian.engine import Engine
from guardian.errors import InputError
from guardian.events import ALERTS, EVENTS, ROLES, SCORES
from guardian.verdict import Verdict
from guardian.view import EntityView, Reason

BATCH: Final = 65_536
"""Events fed at once; the result does not depend on it."""


class Scorer(Protocol):
    """The part of the engine that a backtest uses."""

    def feed(self, batch: pa.RecordBatch) -> Verdict:
        """Score a batch of EVENTS."""
        ...

    def entity(self, role: str, name: str) -> EntityView | None:
        """One entity as it stands."""
        ...


def backtest(
    events: Any,
    *,
    labels: Any = "label",
    by: str = "target",
    window: str | timedelta = "5m",
    warmup: str | timedelta = "24h",
    config: Config | None = None,
    acknowledged: Given = (),
    engine: Callable[[Config], Scorer] = Engine,
) -> Result:
    """Feed labelled events through a fresh engine and measure what it said.

    Events are put in time order first (stable), as a service that receives them in time would see them. An entity's
    window score is its peak guardian score in the window; a window is positive when it holds at least one of its
    events with a label that is not benign (empty, ``-``, ``benign``, ``normal``, 0, false, null). Windows that start
    within the warm-up are learnt from and not judged. Labels never reach the engine.

    Args:
        events: polars or pyarrow table with columns of EVENTS; at least ``ts`` and ``kind``.
        labels: a column of ``events``, or one label an event: text (the attack's name), true/false or whole numbers.
        by: the role whose windows are judged: actor, address, target or session.
        window: length of a window, such as ``5m``; windows are tumbling, from 1970 on.
        warmup: time after the first event that is not judged, such as ``24h``.
        config: what the engine runs with; by default ``Config()``.
        acknowledged: what people would have acknowledged, to see what it changes: tables with ``role``, ``entity``,
            ``kind`` and, if wanted, ``until`` and ``from``, or the path of a TOML file of ``[[acknowledged]]``.
        engine: from a configuration to what scores; for comparisons.

    Raises:
        InputError: an argument does not fit.
        SchemaError: a column is missing or has a type that cannot be read.
    """
    judging = _Judging(by, window, warmup)
    settings = config or Config()
    records = schedule.acknowledged(acknowledged)
    given = labelled(events, labels, allowed_lateness_s=settings.engine.allowed_lateness_s)
    return _measured(given, judging, settings, engine, records)


def backtest_files(
    files: Sequence[Path],
    *,
    map: str,  # noqa: A002  (the name of the option)
    by: str = "target",
    window: str | timedelta = "5m",
    warmup: str | timedelta = "24h",
    config: Config | None = None,
    acknowledged: Given = (),
) -> Result:
    """``backtest`` of files whose map says where the label is. Files are put in time order together.

    Args:
        files: read with ``guardian.decode``; the format is told by the name.
        map: a built-in map or the path of a MAP.toml.
        by: as in ``backtest``, like ``window``, ``warmup``, ``config`` and ``acknowledged``.
        window: see there.
        warmup: see there.
        config: see there.
        acknowledged: see there.

    Raises:
        InputError: a file is missing or is not what its format says, or an argument does not fit.
        MapError: the map is unknown or not usable.
    """
    judging = _Judging(by, window, warmup)
    settings = config or Config()
    records = schedule.acknowledged(acknowledged)
    batches: list[pa.RecordBatch] = []
    labels: list[pa.Array] = []
    rejected: Counter[str] = Counter()
    for file in files:
        for decoded, label in read_all(file, map=map, batch_size=BATCH):
            if label is None:
                raise InputError(
                    f"map {map}", "expected a label; without one there is nothing to measure against"
                )
            batches.append(decoded.batch)
            labels.append(label)
            rejected.update(decoded.reasons)
    given = labelled(
        pa.Table.from_batches(batches, schema=EVENTS),
        pa.chunked_array(labels, pa.string()),
        allowed_lateness_s=settings.engine.allowed_lateness_s,
    )
    given = replace(
        given, read=given.read + rejected.total(), rejected=dict(rejected + Counter(given.rejected))
    )
    return _measured(given, judging, settings, Engine, records)


class _Judging:
    """The arguments that say what is judged, checked."""

    def __init__(self, by: str, window: str | timedelta, warmup: str | timedelta) -> None:
        if by not in ROLES:
            raise InputError("by", f"expected one of {', '.join(ROLES)}, got {by!r}")
        self.by = by
        self.width_ns = nanoseconds("window", window)
        self.warmup_ns = nanoseconds("warmup", warmup)
        if self.width_ns <= 0:
            raise InputError("window", f"expected a duration > 0, got {window!r}")


def _measured(
    given: Labelled,
    judging: _Judging,
    config: Config,
    engine: Callable[[Config], Scorer],
    records: Sequence[Acknowledgement],
) -> Result:
    if not len(given.events):
        why = "".join(f", {reason} {count}" for reason, count in given.rejected.items())
        raise InputError("events", f"expected some with a time and a kind, got none ({given.read} read{why})")
    by, width_ns = judging.by, judging.width_ns
    scores, alerts = _fed(given.events, engine(config), records)
    rows = entity_rows(scores, given.labels, given.events.column("severity").to_numpy(), by)
    warm_until = int(given.ts[0]) + judging.warmup_ns
    windows = window_frame(rows, width_ns, warm_until)
    judged = windows.filter(~pl.col("warm_up"))
    coverage = figures.coverage(given, rows, windows, warm_until)
    alert_frame = _frame(alerts)
    own_alerts = alert_frame.filter(pl.col("role") == by)
    return Result(
        by=by,
        window_ns=width_ns,
        coverage=coverage,
        metrics=Metrics(
            scorers={name: figures.ranked(judged, name) for name in SCORERS},
            attacks=figures.attacks(rows, width_ns, warm_until),
            alerts=figures.alert_rates(own_alerts, judged, coverage, width_ns),
        ),
        scores=_frame(scores),
        alerts=alert_frame,
        windows=windows.with_columns(start=pl.from_epoch("start", "ns").dt.replace_time_zone("UTC")),
        config=config.digest(),
        why=lambda entity, event: _why(given.events.slice(0, event + 1), engine(config), records, by, entity),
        kinds=lambda entity, start, stop: _kinds(given, by, entity, start, stop),
    )


def _fed(events: pa.Table, engine: Scorer, records: Sequence[Acknowledgement]) -> tuple[pa.Table, pa.Table]:
    if records and not isinstance(engine, Acknowledging):
        raise InputError("acknowledged", "expected an engine that can acknowledge")
    coming = Schedule(records)
    scheduled = cast("Scheduled[Verdict]", engine)
    verdicts = [
        verdict
        for batch in events.to_batches(max_chunksize=BATCH)
        for verdict in coming.feed(scheduled, batch)
    ]
    return (
        pa.Table.from_batches([verdict.scores for verdict in verdicts], schema=SCORES),
        pa.Table.from_batches([verdict.alerts for verdict in verdicts], schema=ALERTS),
    )


def _why(
    events: pa.Table, engine: Scorer, records: Sequence[Acknowledgement], by: str, entity: str
) -> tuple[Reason, ...]:
    _fed(events, engine, records)
    view = engine.entity(by, entity)
    return () if view is None else view.reasons


def _kinds(given: Labelled, by: str, entity: str, start: int, stop: int) -> dict[str, int]:
    first, after = given.ts.searchsorted([start, stop]).tolist()
    part = given.events.slice(first, after - first)
    kinds = part.column("kind").filter(pc.equal(part.column(by).cast(pa.string()), entity)).cast(pa.string())
    return dict(Counter(kinds.to_pylist()).most_common())


def _frame(table: pa.Table) -> pl.DataFrame:
    """In polars, dictionaries as text: those of SCORES hold a name once per role, and polars wants it once."""
    plain = [
        field.with_type(pa.large_string()) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    frame = pl.from_arrow(table.cast(pa.schema(plain)))
    assert isinstance(frame, pl.DataFrame)
    return frame
