"""Files through the engine as fast as it can: what ``guardian replay`` does, for the command and for benchmarks.

Owns the loop over files, the tally of what came of them and the files it writes. Does not own decoding or scoring.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from guardian import texts
from guardian.ahead import ahead
from guardian.config import Config
from guardian.decisions.schedule import Schedule, acknowledged
from guardian.decode import Decoded, read_all
from guardian.engine import Engine
from guardian.errors import MachineError
from guardian.events import ALERTS, ROLES, SCORES
from guardian.levels import Level, level_of
from guardian.verdict import Verdict
from guardian.view import Reason, told

BATCH: Final = 16_384
"""Events a batch: large enough that work per batch disappears, small enough that progress moves."""

TOP: Final = 10

Batches = Callable[[Path], Iterator[Decoded]]


def replay(
    files: Sequence[Path],
    *,
    map_name: str | None,
    form: str | None,
    out: Path | None,
    config: Config,
    progress: bool,
    language: texts.Language,
    read: Batches | None = None,
    acknowledgements: Path | None = None,
) -> dict[str, Any]:
    """Feed files in their order through one engine, write what it said, and return the summary.

    ``read`` takes the place of the decoders for formats that live outside of ``guardian.decode`` (XR motion);
    ``acknowledgements`` is a file of ``guardian.decisions.schedule``.

    Raises:
        InputError: a file is missing or is not what its format says.
        MapError: the map is unknown or not usable.
        MachineError: the output folder cannot be written.
    """
    workers = config.resources.worker_count()
    engine = Engine(config, workers=workers)
    schedule = Schedule(acknowledged(acknowledgements) if acknowledgements is not None else ())
    tally = _Tally()
    started = time.perf_counter(), time.process_time()
    with _writer(out) as (write, reject), _bar(files, shown=progress, language=language) as moved:

        def decoded(file: Path) -> Iterator[Decoded]:
            if read is not None:
                yield from read(file)
                return
            for part, _labels in read_all(
                file, map=map_name, format=form, batch_size=BATCH, progress=moved(file)
            ):
                yield part

        for file in files:
            for part in ahead(decoded(file)) if workers > 1 else decoded(file):
                tally.rejected.update(part.reasons)
                reject(file, part)
                for verdict in schedule.feed(engine, part.batch):
                    tally.add(verdict)
                    write(verdict)
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    view = engine.view(top=0)
    return {
        "files": [str(file) for file in files],
        "events": engine.events,
        "rejected": dict(tally.rejected),
        "late": view.late,
        "entities": view.entities,
        "evicted": {table: count for table, count in view.evicted.items() if count},
        "alerts": {level.word: tally.alerts[level] for level in Level if level > Level.NONE},
        "top": tally.top(),
        "wallSeconds": wall,
        "cpuSeconds": cpu,
        "eventsPerSecond": engine.events / wall,
        "eventsPerCpuSecond": engine.events / cpu,
        "peakMemoryBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "config": config.digest(),
    }


def tables(summary: dict[str, Any], language: texts.Language) -> Iterator[Table]:
    """The summary as tables for a terminal."""

    def say(key: str) -> str:
        return texts.text(f"cli.{key}", language)

    counts = Table(show_header=False, box=None, padding=(0, 2))
    counts.add_row(say("events"), f"{summary['events']:,}")
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in summary["rejected"].items())
    counts.add_row(say("rejected"), rejected or say("none"))
    counts.add_row(say("late"), f"{summary['late']:,}")
    counts.add_row(
        say("entities"), ", ".join(f"{role} {count:,}" for role, count in summary["entities"].items())
    )
    forgotten = ", ".join(f"{table} {count:,}" for table, count in summary["evicted"].items())
    counts.add_row(say("forgotten"), forgotten or say("none"))
    alerts = ", ".join(
        f"{texts.text(f'levels.{word}', language)} {count:,}"
        for word, count in summary["alerts"].items()
        if count
    )
    counts.add_row(say("alerts"), alerts or say("none"))
    counts.add_row(say("wall"), f"{summary['wallSeconds']:.2f}")
    counts.add_row(say("cpu"), f"{summary['cpuSeconds']:.2f}")
    counts.add_row(say("rate"), f"{summary['eventsPerSecond']:,.0f}")
    counts.add_row(say("memory"), f"{summary['peakMemoryBytes'] / 2**20:,.0f}")
    yield counts

    top = Table(title=say("top"), title_justify="left")
    for name in ("role", "entity", "score", "level", "why"):
        top.add_column(say(name), justify="right" if name == "score" else "left", overflow="fold")
    for role, entities in summary["top"].items():
        for each in entities[:3]:
            why = told([Reason(**reason) for reason in each["reasons"]], language)
            level = texts.text(f"levels.{each['level']}", language)
            # Names are chosen by senders: never markup, never control characters.
            entity = Text(texts.plain(each["entity"]))
            top.add_row(
                texts.text(f"backtest.role_{role}", language),
                entity,
                f"{each['score']:.1f}",
                level,
                Text(why),
            )
    yield top


class _Tally:
    """What came of all batches: rejects, alerts, and the highest score that each entity reached."""

    def __init__(self) -> None:
        self.rejected: Counter[str] = Counter()
        self.alerts: Counter[int] = Counter()
        self._peak: dict[tuple[int, str], float] = {}
        self._reasons: dict[tuple[str, str], tuple[float, list[dict[str, Any]]]] = {}
        """Of each entity the highest alert."""

    def add(self, verdict: Verdict) -> None:
        self.alerts.update(verdict.alerts.column("level_to").to_pylist())
        for alert in verdict.alerts.select(["role", "entity", "score", "reasons"]).to_pylist():
            subject = alert["role"], alert["entity"]
            if alert["score"] >= self._reasons.get(subject, (0.0, []))[0]:
                self._reasons[subject] = alert["score"], alert["reasons"]
        # One maximum a role and entity and batch, in NumPy; Python sees only entities, never events.
        role = verdict.scores.column("role").indices.to_numpy()
        entity = verdict.scores.column("entity")
        names = entity.dictionary
        place = role.astype(np.int64) * max(len(names), 1) + entity.indices.to_numpy()
        peak = np.full(len(ROLES) * max(len(names), 1), -1.0)
        np.maximum.at(peak, place, verdict.scores.column("risk").to_numpy())
        for each in np.flatnonzero(peak > 0.0).tolist():
            number, name = divmod(each, max(len(names), 1))
            key = (number, names[name].as_py())
            self._peak[key] = max(self._peak.get(key, 0.0), float(peak[each]))

    def top(self) -> dict[str, list[dict[str, Any]]]:
        """Per role the entities with the highest peaks, highest first."""
        best: dict[str, list[dict[str, Any]]] = {role: [] for role in ROLES}
        for (number, entity), score in sorted(self._peak.items(), key=lambda item: (-item[1], item[0])):
            role = ROLES[number]
            if len(best[role]) < TOP:
                _, reasons = self._reasons.get((role, entity), (0.0, []))
                word = level_of(score).word
                best[role].append({"entity": entity, "score": score, "level": word, "reasons": reasons})
        return best


Write = Callable[[Verdict], None]
Reject = Callable[[Path, Decoded], None]


@contextmanager
def _writer(out: Path | None) -> Iterator[tuple[Write, Reject]]:
    """Write scores and alerts, and rejects, into a folder, or nowhere."""
    if out is None:
        yield lambda _verdict: None, lambda _file, _decoded: None
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        scores = pq.ParquetWriter(out / "scores.parquet", SCORES, compression="zstd")
        alerts = pq.ParquetWriter(out / "alerts.parquet", ALERTS, compression="zstd")
        rejects = (out / "rejects.ndjson").open("wb")
    except OSError as error:
        raise MachineError(
            f"{out}: cannot be written ({error.strerror}); choose another folder with --out"
        ) from None

    def write(verdict: Verdict) -> None:
        scores.write_table(pa.Table.from_batches([verdict.scores]).unify_dictionaries())
        if len(verdict.alerts):
            alerts.write_batch(verdict.alerts)

    def reject(file: Path, decoded: Decoded) -> None:
        for each in decoded.rejected:
            line = {"file": str(file), "line": each.line, "reason": each.reason, "detail": each.detail}
            rejects.write(msgspec.json.encode(line) + b"\n")

    with scores, alerts, rejects:
        yield write, reject


@contextmanager
def _bar(
    files: Sequence[Path], *, shown: bool, language: texts.Language
) -> Iterator[Callable[[Path], Callable[[int], None]]]:
    """A progress bar over the bytes of all files, on a terminal; silence elsewhere."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield lambda _file: lambda _done: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        before: dict[Path, int] = {}
        task = bar.add_task("", total=sum(file.stat().st_size for file in files if file.exists()))

        def moved(file: Path) -> Callable[[int], None]:
            bar.update(task, description=texts.text("cli.reading", language, file=texts.plain(file.name)))

            def to(done: int) -> None:
                bar.update(task, advance=done - before.get(file, 0))
                before[file] = done

            return to

        yield moved
