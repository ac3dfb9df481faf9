"""One running instance: what the HTTP face and the XR gateway ask for, answered by the parts that own it.

Wiring. Blocking work runs in threads; the event loop only waits.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from exporters import bookpi
from exporters.metrics import Collector, Counters, Labels
from exporters.msr import log as msr
from exporters.msr.log import Entry
from exporters.pseudonyms import Pseudonyms
from exporters.records import EOCT_EVALUATIONS, ISABELLA_DECISIONS, PROTOCOL_EVENTS, XR_EVENTS, Records
from exporters.register import Register
from exporters.sinks.credentials import check_credentials
from exporters.store import Store
from exporters.telemetry import Telemetry
from guardian import source_settings, sources
from guardian.config import Config
from guardian.decisions import acknowledgement, eoct, isabella, protocols, silence
from guardian.decisions.events import as_events
from guardian.decisions.record import as_json
from guardian.decode import ARROW, Decoded, decode_body
from guardian.deliveries import Deliveries
from guardian.errors import MachineError, Problem, RequestError
from guardian.gateway import Receipt
from guardian.gateway.service import Item, Listed
from guardian.intake import Intake
from guardian.journal import Record
from guardian.operations import dead_letters
from guardian.pipeline import Pipeline
from guardian.ports import Source
from guardian.source_settings import Source as SourceSettings
from guardian.view import EntityView, View
from xr_telemetry.decode import decode_messages
from xr_telemetry.gateway import Gateway
from xr_telemetry.scenes import scenes

VERSION: Final = version("tamv-guardian")
XR_PATH: Final = "/ws/xr"
DECISIONS_PATH: Final = "/decisions"
LOCAL_ACTOR: Final = "local"
"""Who decides while no tokens are configured: whoever can reach the loopback interface."""

_VIEW_KEPT_S: Final = (0.02, 0.2)
"""How long a view is kept at least and at most; between the two, ten times as long as it took to make."""
_TABLES: Final = {
    "eoct": EOCT_EVALUATIONS,
    "isabella": ISABELLA_DECISIONS,
    "protocols": PROTOCOL_EVENTS,
    "xr": XR_EVENTS,
}

SOURCES: Final[dict[type[SourceSettings], Callable[[Any, Callable[[str, int], None]], Source]]] = {
    source_settings.SyslogUdp: sources.SyslogUdpSource,
    source_settings.SyslogTcp: sources.SyslogTcpSource,
    source_settings.FileTail: sources.FileTailSource,
    source_settings.RedisStream: sources.RedisStreamSource,
}
"""From the configured type of a source to its constructor."""


class Service:
    """Everything behind the two sockets. Made, started and stopped by ``guardian.run``."""

    def __init__(self, config: Config, folder: Path, *, synthetic: bool) -> None:
        """Open the data folder and bring the state up to date.

        Raises:
            MachineError: the folder, a key or a credential cannot be used.
            LedgerError: the register is damaged or was rolled back.
        """
        for sink in config.sinks:
            check_credentials(sink)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise MachineError(
                f"{folder}: cannot be made ({error.strerror}); choose another --data-dir"
            ) from None
        self.config = config
        self.synthetic = synthetic
        self._store = Store(folder / "guardian.db")
        self._store.create()
        register = Register(self._store, folder, config.ledger.origin, config.ledger.key_file)
        pseudonyms = Pseudonyms.load(folder / "pseudonyms.key")
        self._records = Records(self._store, register, pseudonyms)
        self.counters = Counters(subject_types=config.eoct.subject_types)
        self._telemetry = Telemetry(config.telemetry, self._view_now, version=VERSION)
        self._deliveries = Deliveries(
            config,
            self._store,
            register,
            pseudonyms,
            version=VERSION,
            counters=self.counters,
            span=self._telemetry.span,
        )
        self._pipeline = Pipeline(
            config,
            folder,
            store=self._store,
            outbox=self._deliveries.outbox,
            records=self._records,
            register=register,
            pseudonyms=pseudonyms,
            counters=self.counters,
            decode=self._decode,
            on_alerts=self._deliveries.wake,
            span=self._telemetry.span,
            synthetic=synthetic,
        )
        self.intake = Intake(self._decode, self._keep, self.counters, workers=config.resources.worker_count())
        self._collector = Collector(self._view_now, self.counters, self._gauges)
        self._seen: tuple[float, View] | None = None
        """The newest view, and until when it is kept."""
        self.xr = Gateway(config.xr, ingest=self._ingest_xr, clock=self._clock)
        self._telling: asyncio.Task[None] | None = None
        self.face: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """Open connections and bytes of bodies held by the HTTP face, once there is one."""
        with self._store.transaction() as connection:
            register.write(
                connection,
                [
                    Entry(
                        "",
                        "service.started",
                        {
                            "version": VERSION,
                            "config": config.digest(),
                            "recovered": self._pipeline.recovered,
                        },
                        time.time_ns(),
                    )
                ],
            )

    async def start(self) -> None:
        """Begin to score, deliver and tell."""
        await self._deliveries.start()
        self._pipeline.start()
        for told in self.config.sources:
            source = SOURCES[type(told)](told, self._dropped(told.name))
            self.intake.start_source(told.name, source, self._pipeline.positions.get(told.name))
        self._telling = asyncio.create_task(self._tell())

    async def stop(self) -> None:
        """Score what was accepted, deliver what is due, save the state."""
        if self._telling is not None:
            self._telling.cancel()
        await self.intake.stop()
        await asyncio.to_thread(self._pipeline.stop)
        await self._deliveries.stop()
        await asyncio.to_thread(self._store.close)
        await asyncio.to_thread(self._telemetry.close)

    def _dropped(self, source: str) -> Callable[[str, int], None]:
        def count(reason: str, amount: int) -> None:
            self.counters.add("tamv_guardian_source_dropped_total", amount, source=source, reason=reason)

        return count

    def refused(self, word: str) -> None:
        """The HTTP face refused a request; counted under its word."""
        self.counters.add("tamv_guardian_http_refused_total", reason=word)

    # -- what comes in -----------------------------------------------------------------------------------------------

    async def ingest(
        self, *, path: str, content_type: str, encoding: str, map_name: str, body: bytes, sender: str
    ) -> Receipt:
        """Decode, make durable, hand to the engine; see ``guardian.gateway.service``."""
        record = Record(path, content_type, encoding, map_name, time.time_ns(), body)
        decoded = await self.intake.take(record, sender)
        return Receipt(len(decoded.batch), decoded.rejected, sum(decoded.reasons.values()))

    async def _ingest_xr(self, body: bytes) -> None:
        await self.intake.take(Record(XR_PATH, "application/x-ndjson", "", "", time.time_ns(), body), "xr")

    def _keep(self, record: Record, decoded: Decoded, sender: str) -> Awaitable[int]:
        return asyncio.wrap_future(self._pipeline.submit(record, decoded, sender))

    def _decode(self, record: Record) -> Decoded:
        if record.path == XR_PATH:
            return decode_messages(record.body, received_at=record.received_at)
        return decode_body(
            record.body,
            content_type=record.content_type,
            encoding=record.encoding,
            path=record.path,
            map_name=record.map_name,
            received_at=record.received_at,
            max_decoded_bytes=self.config.server.max_decoded_bytes,
        )

    # -- decisions ---------------------------------------------------------------------------------------------------

    async def evaluate_eoct(self, body: dict[str, Any]) -> Item:
        """Evaluate and keep; see ``guardian.gateway.service``."""
        record = eoct.evaluate(
            eoct.request(body),
            record_id=str(uuid.uuid4()),
            actor_id=LOCAL_ACTOR,
            now=self._clock(),
            settings=self.config.eoct,
        )
        await asyncio.to_thread(self._records.save_eoct, record)
        self._count_eoct(record.subject_type, record.risk, record.verdict, record.risk_level)
        await self._feed(as_events([record]))
        return as_json(record)

    async def decide_isabella(self, body: dict[str, Any]) -> Item:
        """Decide and keep; see ``guardian.gateway.service``."""
        record = isabella.decide(
            isabella.request(body), record_id=str(uuid.uuid4()), actor_id=LOCAL_ACTOR, now=self._clock()
        )
        await asyncio.to_thread(self._records.save_isabella, record)
        self.counters.add(
            "tamv_isabella_decisions_total", outcome=record.outcome, protocol_id=record.context.protocol_id
        )
        if not record.verb_known:
            self.counters.add("tamv_guardian_unknown_verbs_total")
        await self._feed(as_events([record]))
        return isabella.answer(record)

    async def execute_protocol(self, body: dict[str, Any]) -> Item:
        """Evaluate a protocol's constitution and keep; see ``guardian.gateway.service``."""
        evaluation = protocols.evaluate(
            protocols.request(body),
            event_id=str(uuid.uuid4()),
            actor_id=LOCAL_ACTOR,
            now=self._clock(),
            settings=self.config.eoct,
            language=self.config.language,
        )
        await asyncio.to_thread(self._records.save_protocol, evaluation)
        event = evaluation.event
        self.counters.add(
            "tamv_protocol_evaluations_total",
            protocol_id=event.protocol_id,
            outcome=event.outcome,
            severity=event.decision.severity,
            layer=event.command.layer,
        )
        judged = evaluation.eoct
        self._count_eoct(judged.subject_type, judged.risk, judged.verdict, judged.risk_level)
        self.counters.add(
            "tamv_isabella_decisions_total",
            outcome=evaluation.isabella.outcome,
            protocol_id=evaluation.isabella.context.protocol_id,
        )
        await self._feed(as_events([event]))
        return evaluation.answer()

    async def acknowledge(self, body: dict[str, Any]) -> Item:
        """Make durable, let it take effect, keep and register; see ``guardian.gateway.service``.

        The journal comes first here, unlike with other decisions: it says between which events this one stands.
        """
        record = acknowledgement.decide(
            acknowledgement.request(body),
            record_id=str(uuid.uuid4()),
            actor_id=LOCAL_ACTOR,
            now=self._clock(),
        )
        if record.action == "withdraw":
            about = (record.role, record.entity, record.kind)
            if not await asyncio.to_thread(self._records.is_acknowledged, about):
                expected = "a role, entity and kind that are acknowledged"
                raise RequestError([Problem("entity", expected, "one that is not, or not any more")])
        index = await asyncio.wrap_future(self._pipeline.acknowledge(record))
        active = record.action != "withdraw"
        return as_json(record) | {"replacedBy": None, "msrIndex": index, "active": active}

    async def silence(self, body: dict[str, Any]) -> Item:
        """Keep a silence; see ``guardian.gateway.service``."""
        record = silence.decide(
            silence.request(body), record_id=str(uuid.uuid4()), actor_id=LOCAL_ACTOR, now=self._clock()
        )
        return await asyncio.to_thread(self._deliveries.silences.add, record)

    async def silences(self, *, active: bool, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """A page of silences, newest first."""
        page = self._deliveries.silences.page
        return await asyncio.to_thread(page, now=self._clock(), active=active, limit=limit, offset=offset)

    async def end_silence(self, silence_id: str) -> Item | None:
        """End a silence; see ``guardian.gateway.service``."""
        end = self._deliveries.silences.end
        return await asyncio.to_thread(end, silence_id, actor_id=LOCAL_ACTOR, now=self._clock())

    async def dead_letters(self, body: dict[str, Any]) -> Item:
        """Do what a request about dead letters says; see ``guardian.gateway.service``."""
        answer = await asyncio.to_thread(dead_letters.perform, self._deliveries.letters, body, by=LOCAL_ACTOR)
        self._deliveries.wake()
        return answer

    def _clock(self) -> int:
        """The time of a decision: now, or in a synthetic day, which has a clock of its own, its newest event's."""
        return (self._pipeline.watermark if self.synthetic else 0) or time.time_ns()

    def _count_eoct(self, subject_type: str, risk: float, verdict: str, risk_level: str) -> None:
        self.counters.add("tamv_eoct_evaluations_total", verdict=verdict, risk_level=risk_level)
        self.counters.observe("tamv_eoct_risk", risk)
        self.counters.risk(subject_type, risk)

    async def _feed(self, batch: pa.RecordBatch) -> None:
        """A decision is an event too: it is scored like any other, through the journal."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        record = Record(DECISIONS_PATH, ARROW, "", "", time.time_ns(), sink.getvalue().to_pybytes())
        await self.intake.keep(record, Decoded(batch))

    # -- what is shown -----------------------------------------------------------------------------------------------

    def _view_now(self) -> View:
        """The view, kept for a moment: the page, the scraper and the headsets often ask at once."""
        now = time.monotonic()
        if self._seen is None or now > self._seen[0]:
            view = self._pipeline.view()
            done = time.monotonic()
            least, most = _VIEW_KEPT_S
            self._seen = (done + min(max(10 * (done - now), least), most), view)
        return self._seen[1]

    async def view(self) -> View:
        """The ecosystem as it stands."""
        return await asyncio.to_thread(self._view_now)

    async def entities(self, *, limit: int, offset: int) -> tuple[list[EntityView], int]:
        """A page of entities, highest score first."""
        return await asyncio.to_thread(self._pipeline.entities, limit=limit, offset=offset)

    async def entity(self, role: str, name: str) -> EntityView | None:
        """One entity as it stands."""
        return await asyncio.to_thread(self._pipeline.entity, role, name)

    async def page(self, name: Listed, *, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """A page of kept records, newest first."""
        return await asyncio.to_thread(self._page, name, limit, offset)

    async def acknowledgements(
        self, *, active: bool, limit: int, offset: int
    ) -> tuple[list[dict[str, Any]], int]:
        """A page of acknowledgements, newest first."""

        def read() -> tuple[list[dict[str, Any]], int]:
            page = self._records.acknowledgements(
                self._pipeline.acknowledged(), active=active, limit=limit, offset=offset
            )
            return page["items"], page["total"]

        return await asyncio.to_thread(read)

    def _page(self, name: Listed, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        if name == "alerts":
            return self._deliveries.outbox.page(limit=limit, offset=offset)
        if name in _TABLES:
            page = self._records.page(_TABLES[name], limit=limit, offset=offset)
            return page["items"], page["total"]
        read = msr.page if name == "msr" else bookpi.page
        with self._store.reading() as connection:
            return read(connection, limit=limit, offset=offset)

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        """Everything for Prometheus."""
        return await asyncio.to_thread(self._collector.render, accept)

    def ready(self) -> tuple[bool, str]:
        """Whether events can be taken now; if not, why."""
        if self._pipeline.failure:
            return False, self._pipeline.failure
        if self._pipeline.journal.failure is not None:
            return False, str(self._pipeline.journal.failure)
        return True, ""

    async def msr_checkpoint(self) -> str | None:
        """The newest signed checkpoint."""
        with self._store.reading() as connection:
            return msr.checkpoint(connection)

    async def msr_tile(self, path: str) -> bytes | None:
        """A C2SP tile."""
        with self._store.reading() as connection:
            return msr.tile(connection, path)

    async def msr_proof(self, index: int) -> str | None:
        """The offline proof of an entry."""
        with self._store.reading() as connection:
            return msr.tlog_proof(connection, index)

    def _gauges(self) -> Mapping[str, Mapping[Labels, float]]:
        counts = self.xr.counts
        connections, held = self.face()
        with self._store.reading() as connection:
            entries = msr.size_of(connection)
        return {
            "tamv_xr_gateway_connections": {(): float(self.xr.connections)},
            **self._deliveries.gauges(),
            "tamv_guardian_ready": {(): float(self.ready()[0])},
            "tamv_guardian_journal_limit_bytes": {(): float(self.config.journal.max_bytes)},
            "tamv_guardian_journal_bytes": {(): float(self._pipeline.journal.used_bytes)},
            "tamv_guardian_journal_backlog_events": {(): float(self._pipeline.backlog.events)},
            "tamv_guardian_backlog_held_bytes": {(): float(self._pipeline.backlog.held_bytes)},
            "tamv_guardian_bodies_waiting": {(): float(self.intake.waiting)},
            "tamv_guardian_source_up": {(name,): float(up) for name, up in self.intake.sources.items()},
            "tamv_guardian_http_connections": {(): float(connections)},
            "tamv_guardian_bodies_held_bytes": {(): float(held)},
            "tamv_guardian_snapshot_age_seconds": {(): self._pipeline.snapshot_age()},
            "tamv_guardian_msr_entries": {(): float(entries)},
            "tamv_guardian_acknowledged": {(): float(len(self._pipeline.acknowledged()))},
            "tamv_guardian_xr_messages_total": {
                ("accepted",): float(counts.accepted),
                ("refused",): float(sum(counts.refused.values())),
                ("sent",): float(counts.sent),
                ("held_back",): float(counts.held_back),
            },
        }

    # -- what goes out -----------------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        """Tell headsets what changed, at the tick of the configuration."""
        while True:
            if self.xr.connections:
                self.xr.publish(scenes(await self.view()))
            await asyncio.sleep(self.config.xr.tick_ms / 1000.0)
