"""From the journal through the engine into the database: one thread, in the order of the journal.

Owns the durability story of the state: alerts, acknowledgements and cursor in one transaction, snapshots behind it; and
recovery, which is the same work over again. Does not own decoding (it is handed a function), how a snapshot gets to disk
(``guardian.snapshots``) nor what happens to alerts afterwards (``on_alerts``).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, TypeAlias

import pyarrow as pa
import structlog

from exporters import outbox as boxes
from exporters import retraining
from exporters.alert import Alert, alerts_from
from exporters.lake import Lake
from exporters.metrics import Counters
from exporters.msr.log import Entry
from exporters.outbox import Outbox
from exporters.pseudonyms import Pseudonyms
from exporters.records import About, Records
from exporters.register import Register
from exporters.retraining import Retraining
from exporters.store import SETTLE_BYTES, Store
from guardian.ahead import ahead
from guardian.backlog import Backlog, Durable, Step
from guardian.config import Config
from guardian.decisions import Acknowledgement, acknowledgement, model
from guardian.decisions.model import ModelSwap
from guardian.decode import Decoded
from guardian.engine import Engine
from guardian.errors import BodyError, JournalError, MachineError
from guardian.journal import Journal, Record
from guardian.levels import Level, level_of
from guardian.sigma import tags_of
from guardian.snapshots import CURSOR, Snapshots
from guardian.turnstile import Turnstile
from guardian.verdict import Window
from guardian.view import EntityView, View

ACKNOWLEDGEMENTS_PATH: Final = "/acknowledgements"
"""Path of acknowledgements in the journal. It is no route of the HTTP face, so no body that is sent can have it."""

MODELS_PATH: Final = "/models"
"""Path of forests in the journal; no route either."""

_IDLE_S: Final = 0.25
_TELL_S: Final = 1.0
"""How often what time alone brings about is looked for: findings that are over, groups that are due."""
_PART: Final = 16_384
"""Events that are scored while nobody can look; a large body in parts, so that whoever asks need not wait long."""

Span = Callable[..., AbstractContextManager[None]]

Kept: TypeAlias = Alert | Acknowledgement | ModelSwap
"""What came of it for the database."""


class Pipeline:
    """The engine of a running instance, its thread and its state on disk."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        *,
        store: Store,
        outbox: Outbox,
        records: Records,
        register: Register,
        pseudonyms: Pseudonyms,
        counters: Counters,
        decode: Callable[[Record], Decoded],
        on_alerts: Callable[[], None],
        span: Span,
        synthetic: bool,
    ) -> None:
        self._config = config
        self._store = store
        self._outbox = outbox
        self._records = records
        self._register = register
        self._pseudonyms = pseudonyms
        self._counters = counters
        self._decode = decode
        self._on_alerts = on_alerts
        self._span = span
        self._synthetic = synthetic
        self._log = structlog.get_logger("guardian.pipeline")
        self._lock = Turnstile()
        self._answers: dict[str, Future[int]] = {}
        """Who waits for which acknowledgement, by its id."""
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._lake = Lake(folder / "windows") if config.forest.interval_s else None
        self._retraining = (
            Retraining(config.forest, self._lake, self.swap_model) if self._lake is not None else None
        )
        self.failure: str = ""
        """Why nothing is scored any more; empty while all is well."""
        self._fed_at = self._told_at = time.monotonic()
        self._tags = tags_of(config)
        workers = config.resources.worker_count()
        self._snapshots = Snapshots(
            folder / "snapshots",
            store,
            interval_s=config.journal.snapshot_interval_s,
            trim=lambda seq: self.journal.trim(seq),  # noqa: PLW0108  (the journal opens behind the snapshot)
        )
        found = self._snapshots.newest(lambda blob: Engine.restore(blob, config, workers=workers))
        self._engine, self._seq = found or (Engine(config, workers=workers), 0)
        self.recovered = 0
        self._damage_told = 0
        with store.reading() as connection:
            cursor = boxes.get_cursor(connection, CURSOR)
            self.positions = boxes.get_positions(connection)
            """Where each source goes on."""
        try:
            self.journal = Journal.open(folder / "journal", config.journal, after=max(self._seq, cursor))
        except OSError as error:
            raise MachineError(f"{folder}: cannot be written ({error.strerror})") from None
        self._recover(cursor)
        self.backlog = Backlog(self._read, limit_bytes=config.resources.backlog_bytes, taken=self._seq)

    def start(self) -> None:
        """Begin to score what is offered."""
        self._thread.start()
        if self._retraining is not None:
            self._retraining.start()

    def submit(self, record: Record, decoded: Decoded, sender: str = "") -> Future[int]:
        """Make a body durable and have its events scored; the future is done once it survives a power cut.

        Raises:
            JournalFullError: there is no room, or the engine is too far behind.
            JournalError: nothing can be made durable.
        """
        future = self.journal.submit(record, sender)
        future.add_done_callback(lambda done: self._offer(done, decoded.batch, record))
        return future

    def acknowledge(self, decision: Acknowledgement) -> Future[int]:
        """Make a decision durable and have it take effect behind all that was submitted before it.

        The future gives the index of its entry in the register, once that is durable too. It is not cancelled with
        its caller. A JournalError in it may mean that the decision is durable and takes effect after a restart.

        Raises:
            JournalFullError: there is no room.
            JournalError: nothing can be made durable, or nothing takes effect any more.
        """
        body = acknowledgement.to_bytes(decision)
        record = Record(
            ACKNOWLEDGEMENTS_PATH, acknowledgement.CONTENT_TYPE, "", "", decision.created_at, body
        )
        answer: Future[int] = Future()
        answer.set_running_or_notify_cancel()
        with self._lock:
            if self.failure:
                raise JournalError(self.failure)
            self._answers[decision.id] = answer
        try:
            kept = self.journal.submit(record)
        except JournalError:
            with self._lock:
                del self._answers[decision.id]
            raise
        kept.add_done_callback(lambda done: self._offer(done, decision, record))
        return answer

    def swap_model(self, swap: ModelSwap) -> Future[int]:
        """Make a forest durable and have it judge behind all that was submitted before it; as ``submit``."""
        record = Record(MODELS_PATH, model.CONTENT_TYPE, "", "", swap.created_at, model.to_bytes(swap))
        future = self.journal.submit(record)
        future.add_done_callback(lambda done: self._offer(done, swap, record))
        return future

    def _offer(self, done: Future[int], step: Step, record: Record) -> None:
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error is not None:
            if isinstance(step, Acknowledgement) and error is not None:
                self._answer(step, error)
            return
        self.backlog.offer(_durable(done.result(), step, record))

    def _answer(self, decision: Acknowledgement, outcome: int | BaseException) -> None:
        """Tell who waits, if anybody does: after a crash nobody does any more."""
        with self._lock:
            waiting = self._answers.pop(decision.id, None)
        if waiting is None:
            return
        if isinstance(outcome, int):
            waiting.set_result(outcome)
        else:
            waiting.set_exception(outcome)

    def stop(self) -> None:
        """Score what is queued, save the state, and let go of the journal."""
        if self._retraining is not None:
            self._retraining.stop()
        self.backlog.close()
        self._thread.join()
        self.journal.close()

    def snapshot_age(self) -> float:
        """Seconds since the state was saved."""
        return self._snapshots.age()

    # -- looking -----------------------------------------------------------------------------------------------------

    def view(self, *, top: int = 10) -> View:
        """How everything stands now."""
        with self._lock:
            return self._engine.view(self._now(), top=top)

    def entities(self, *, limit: int, offset: int) -> tuple[list[EntityView], int]:
        """A page of entities, highest score first."""
        with self._lock:
            return self._engine.entities(self._now(), limit=limit, offset=offset)

    def entity(self, role: str, name: str) -> EntityView | None:
        """One entity as it stands now."""
        with self._lock:
            return self._engine.entity(role, name, self._now())

    def acknowledged(self) -> set[About]:
        """What is acknowledged and has not ended.

        It ends by the clock of the events, but not before this machine's: one sender whose clock is ahead must not
        make it look ended while it keeps everybody else's events quiet.
        """
        with self._lock:
            known, event_clock = self._engine.acknowledged, self._now()
        at = time.time_ns()
        if event_clock is not None:
            at = event_clock if self._synthetic else min(event_clock, at)
        return {
            (each.role, each.entity, each.kind) for each in known if each.until is None or each.until > at
        }

    @property
    def watermark(self) -> int:
        """The newest event time, nanoseconds since 1970; 0 before the first event."""
        return self._engine.watermark if self._engine.events else 0

    def _now(self) -> int | None:
        """The newest event time, and what has passed since it came: levels fall though nothing comes any more."""
        if not self._engine.events:
            return None
        return self._engine.watermark + int((time.monotonic() - self._fed_at) * 1e9)

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            for group in self.backlog.groups(idle_s=_IDLE_S):
                if group:
                    self._score(group)
                if self._snapshots.due(self._seq):
                    self._snapshots.begin(self._engine.frozen(), self._seq, self.positions)
                self._tell_due()
                self._store.settle(at_bytes=SETTLE_BYTES)
            self._snapshots.close(self._seq, self._engine.frozen, self.positions)
        except Exception as error:  # noqa: BLE001  (whatever it is, readiness must say so)
            # Nothing more is scored; readiness says so, and what is in the journal is scored after a restart.
            with self._lock:
                self.failure = f"the engine stopped: {error}"
                waiting, self._answers = self._answers, {}
            for answer in waiting.values():
                answer.set_exception(JournalError(self.failure))
            self._log.exception("engine stopped")

    def _score(self, group: list[Durable]) -> None:
        done: list[Kept] = []
        count = sum(item.events for item in group)
        started = time.perf_counter()
        with self._span("guardian.batch", records=len(group), events=count):
            for item in group:
                done += self._take(item)
            self._counters.observe(
                "tamv_guardian_batch_seconds", time.perf_counter() - started, stage="score"
            )
            if done:
                started = time.perf_counter()
                self._commit(done)
                self._counters.observe(
                    "tamv_guardian_batch_seconds", time.perf_counter() - started, stage="commit"
                )
        now = time.time_ns()
        for item in group:
            self._counters.observe("tamv_guardian_lag_seconds", (now - item.received_at) * 1e-9)

    def _take(self, item: Durable) -> list[Kept]:
        """Let one record of the journal take effect; what is to be kept of it."""
        step, kept = item.step, list[Kept]()
        if isinstance(step, pa.RecordBatch):
            windows: list[Window] = []
            for start in range(0, len(step), _PART):
                with self._lock:
                    verdict = self._engine.feed(step.slice(start, _PART))
                    self._fed_at = time.monotonic()
                windows += verdict.windows
                kept += alerts_from(verdict.alerts, synthetic=self._synthetic, tags=self._tags)
            if self._lake is not None:
                self._lake.add(item.seq, windows)
        else:
            with self._lock:
                if isinstance(step, ModelSwap):
                    model.apply(step, self._engine)
                else:
                    acknowledgement.apply(step, self._engine)
            kept.append(step)
        self._seq = item.seq
        if item.position:
            self.positions[item.source] = item.position
        return kept

    def _commit(self, done: list[Kept]) -> None:
        """Alerts, what is owed to sinks, acknowledgements, the register and the cursor: together or not at all."""
        fresh: list[Alert] = []
        indices: list[tuple[Acknowledgement, int]] = []
        with self._store.transaction() as connection:
            # In the order of the journal, so that the register tells what came before what.
            for kind, run in itertools.groupby(done, type):
                items: list[Any] = list(run)
                if kind is ModelSwap:
                    digest = self._config.digest()
                    self._register.write(connection, [retraining.entry_of(swap, digest) for swap in items])
                    continue
                if kind is Acknowledgement:
                    written = self._records.save_acknowledgements(connection, items)
                    indices += zip(items, written, strict=True)
                    continue
                added = self._outbox.add(connection, items)
                self._register.write(
                    connection, [self._entry(alert) for alert in added if alert.level_to >= Level.HIGH]
                )
                fresh += added
            boxes.set_cursor(connection, CURSOR, self._seq)
        for decision, index in indices:
            self._answer(decision, index)
        for alert in fresh:
            if alert.level_to:
                self._counters.add("tamv_guardian_alerts_total", level=alert.level_to.word)
        if fresh:
            self._on_alerts()

    def _tell_due(self) -> None:
        """What is told because time passed, not because something happened."""
        if time.monotonic() < self._told_at + _TELL_S:
            return
        raised = self._engine.raised(self._now())
        self._told_at = time.monotonic()
        now = (self.watermark if self._synthetic else 0) or time.time_ns()
        told = self._outbox.raise_due(now, lambda role, entity: raised.get((role, entity), Level.NONE))
        if told:
            self._on_alerts()

    def _entry(self, alert: Alert) -> Entry:
        """A rise to high or critical for the register. Kinds are left out: a badly mapped one may hold a name."""
        return Entry(
            actor_id="",
            action="guardian.level_changed",
            payload={
                "alertId": alert.id,
                "scope": "entity",
                "role": alert.role,
                "entity": self._pseudonyms.of(alert.entity),
                "layer": f"L{alert.layer}" if alert.layer >= 0 else None,
                "levelFrom": alert.level_from.word,
                "levelTo": alert.level_to.word,
                "score": alert.score,
                "reasons": [
                    {
                        "channel": reason["channel"],
                        "contribution": reason["contribution"],
                        "levelWithout": level_of(reason["without"]).word,
                    }
                    for reason in alert.reasons
                ],
                "config": alert.config,
                "synthetic": alert.synthetic,
                "extrapolated": alert.extrapolated,
            },
            created_at=alert.created_at,
        )

    # -- state on disk -----------------------------------------------------------------------------------------------

    def _recover(self, cursor: int) -> None:
        """Feed what the journal holds behind the snapshot: the same alerts with the same ids, inserted once.

        What came of records up to the cursor is in the database already, whatever configuration raised it.
        """
        for item in ahead(self._read(self._seq)):
            done = self._take(item)
            self.recovered += 1
            if done and item.seq > cursor:
                self._commit(done)
        self._tell_damage()

    def _read(self, after: int) -> Iterator[Durable]:
        """The records of the journal above a number, decoded; one that cannot be any more is said and passed over."""
        for seq, record in self.journal.replay(after):
            try:
                yield _durable(seq, self._step(record), record)
            except BodyError as error:
                self._log.error("a journalled body cannot be decoded any more", seq=seq, reason=error.reason)
                self._counters.add("tamv_guardian_rejected_total", reason=error.reason)
        self._tell_damage()

    def _tell_damage(self) -> None:
        for line in self.journal.damage[self._damage_told :]:
            self._damage_told += 1
            self._log.error("journal damage", place=line)
            self._counters.add("tamv_guardian_journal_damage_total")

    def _step(self, record: Record) -> Step:
        if (record.path, record.content_type) == (ACKNOWLEDGEMENTS_PATH, acknowledgement.CONTENT_TYPE):
            return acknowledgement.from_bytes(record.body)
        if (record.path, record.content_type) == (MODELS_PATH, model.CONTENT_TYPE):
            return model.from_bytes(record.body)
        return self._decode(record).batch


def _durable(seq: int, step: Step, record: Record) -> Durable:
    return Durable(seq, step, record.received_at, record.source, record.position)
