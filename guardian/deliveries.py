"""Everything that leaves as alerts: who is told what, what waits, and a worker for each sink, started and stopped together.

Wiring. Owns the table from configured types to sinks. Does not own any of the parts (``exporters``).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from exporters.dead_letters import DeadLetters
from exporters.delivery import Span, Worker, gauges, message_of
from exporters.formats import About, renderer
from exporters.metrics import Counters, Labels
from exporters.outbox import Outbox
from exporters.policy import Policy
from exporters.pseudonyms import Pseudonyms
from exporters.register import Register
from exporters.silences import Silences
from exporters.sinks.alertmanager import AlertmanagerSink
from exporters.sinks.elastic import ElasticSink
from exporters.sinks.file import FileSink
from exporters.sinks.http import HttpSink
from exporters.sinks.nats import NatsSink
from exporters.sinks.otlp import OtlpSink
from exporters.sinks.redis import RedisSink
from exporters.sinks.relp import RelpSink
from exporters.sinks.sentinel import SentinelSink
from exporters.sinks.splunk import SplunkSink
from exporters.sinks.syslog import SyslogSink
from exporters.sinks.webhook import WebhookSink
from exporters.store import Store
from guardian import sink_settings
from guardian.config import Config
from guardian.ports import Sink

SINKS: Final[dict[type[sink_settings.Sink], Callable[[Any], Sink]]] = {
    sink_settings.Http: HttpSink,
    sink_settings.Webhook: WebhookSink,
    sink_settings.Splunk: SplunkSink,
    sink_settings.Elastic: ElasticSink,
    sink_settings.Sentinel: SentinelSink,
    sink_settings.Alertmanager: AlertmanagerSink,
    sink_settings.Otlp: OtlpSink,
    sink_settings.Syslog: SyslogSink,
    sink_settings.Relp: RelpSink,
    sink_settings.Redis: RedisSink,
    sink_settings.Nats: NatsSink,
    sink_settings.File: FileSink,
}
"""From the configured type of a sink to its constructor."""


class Deliveries:
    """What one instance says to the outside."""

    def __init__(
        self,
        config: Config,
        store: Store,
        register: Register,
        pseudonyms: Pseudonyms,
        *,
        version: str,
        counters: Counters,
        span: Span,
    ) -> None:
        self._config = config
        self._store = store
        self._about = About(config.language, version, socket.gethostname())
        self._counters = counters
        self._span = span
        self.silences = Silences(store, register, pseudonyms)
        self._policy = Policy(config.sinks, config.routes, config.inhibitions, self.silences)
        self.outbox = Outbox(store, config.sinks, self._policy)
        self.letters = DeadLetters(store, register, pseudonyms)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._workers: list[tuple[Worker, asyncio.Task[None]]] = []

    async def start(self) -> None:
        """Begin to deliver."""
        self._loop = asyncio.get_running_loop()
        for settings in self._config.sinks:
            sink, render = SINKS[type(settings)](settings), renderer(settings, self._about)
            if isinstance(sink, AlertmanagerSink):
                # It keeps nothing over a restart of its own, and what is told again comes from us.
                with self._store.reading() as connection:
                    open_now = self._policy.told_of(connection, settings.name)
                sink.remember([message_of(alert, render(alert)) for alert in open_now])
            worker = Worker(
                self.outbox, settings, sink, render=render, counters=self._counters, span=self._span
            )
            self._workers.append((worker, asyncio.create_task(worker.run())))

    async def stop(self) -> None:
        """Deliver what is due, for a moment; the rest stays owed."""
        for worker, _task in self._workers:
            worker.stop()
        if self._workers:
            await asyncio.wait([task for _worker, task in self._workers], timeout=10.0)

    def wake(self) -> None:
        """There may be something new. From any thread."""
        if self._loop is not None:
            for worker, _task in self._workers:
                self._loop.call_soon_threadsafe(worker.wake)

    def gauges(self) -> Mapping[str, Mapping[Labels, float]]:
        """What the metrics show of it now."""
        rows: dict[Labels, float] = {
            (sink, state): float(count)
            for sink, states in self.outbox.counts().items()
            for state, count in states.items()
        }
        workers = [worker for worker, _task in self._workers]
        return {"tamv_guardian_outbox_rows": rows, **gauges(workers, self.outbox, now=time.time_ns())}
