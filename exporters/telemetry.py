"""Guardian's own traces and metrics, to an OpenTelemetry collector when one is configured; without one, nothing.

One span a batch and a delivery, never one an event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from guardian.config import Telemetry as Settings
from guardian.view import View


class Telemetry:
    """What is sent about Guardian itself."""

    def __init__(self, settings: Settings, view: Callable[[], View], *, version: str) -> None:
        self._shutdown: list[Callable[[], object]] = []
        self._tracer = None
        if not settings.endpoint:
            return
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.metrics import CallbackOptions, Observation
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        base = settings.endpoint.rstrip("/")
        resource = Resource.create({"service.name": "tamv-guardian", "service.version": version})
        traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        traces.add_span_processor(
            BatchSpanProcessor(
                OTLPSpanExporter(endpoint=f"{base}/v1/traces"),
                schedule_delay_millis=settings.interval_s * 1000,
            )
        )
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=f"{base}/v1/metrics"),
            export_interval_millis=settings.interval_s * 1000,
        )
        meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = meters.get_meter("guardian")

        def score(_options: CallbackOptions) -> Iterable[Observation]:
            yield Observation(view().score)

        def events(_options: CallbackOptions) -> Iterable[Observation]:
            yield Observation(view().events)

        meter.create_observable_gauge("tamv.guardian.score", [score], description="Guardian score, 0 to 100.")
        meter.create_observable_counter("tamv.guardian.events", [events], description="Events scored.")
        self._tracer = traces.get_tracer("guardian")
        self._shutdown = [traces.shutdown, meters.shutdown]

    @contextmanager
    def span(self, name: str, **attributes: str | float) -> Iterator[None]:
        """A span around a piece of work; costs nothing without a collector."""
        if self._tracer is None:
            yield
            return
        with self._tracer.start_as_current_span(name, attributes=attributes):
            yield

    def close(self) -> None:
        """Send what is waiting and stop."""
        for shutdown in self._shutdown:
            shutdown()
