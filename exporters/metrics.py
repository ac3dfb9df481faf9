"""Metrics: one place to count, and one collector that looks when Prometheus asks.

Owns what the metrics of ``exporters.metrics_table`` are at a moment. No label ever carries an actor, an address, another entity or free text: label values come from closed vocabularies,
and whatever is outside of them becomes ``other``.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Exemplar

from exporters.metrics_table import BUCKETS, METRICS, OTHER, PROTOCOLS, MetricRow
from guardian.config import SUBJECT_TYPES
from guardian.view import View

_BY_NAME: Final = {row.name: row for row in METRICS}
_MOST_SERIES: Final = 200
"""Series of one metric at most, where the vocabulary is open; more become ``other``."""

_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"
_TEXT: Final = "text/plain; version=0.0.4"
_EOCT_WINDOW_S: Final = 300.0

Labels = tuple[str, ...]


@dataclass
class _Buckets:
    counts: list[int]
    total: float = 0.0
    exemplar: dict[int, Exemplar] = field(default_factory=dict)


class Counters:
    """What the parts of the service count, once a batch. Thread-safe; its size is bounded by vocabularies."""

    def __init__(
        self, *, subject_types: Collection[str] = SUBJECT_TYPES, clock: Callable[[], float] = time.time
    ) -> None:
        self._subject_types = frozenset(subject_types)
        self._lock = threading.Lock()
        self._clock = clock
        self._values: dict[str, dict[Labels, float]] = defaultdict(dict)
        self._histograms: dict[str, dict[Labels, _Buckets]] = defaultdict(dict)
        self._risks: deque[tuple[float, str, float]] = deque(maxlen=100_000)

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Count something.

        Raises:
            KeyError: the metric is not in METRICS, or a label is not one of its labels.
        """
        with self._lock:
            values = self._values[name]
            key = _key(_BY_NAME[name], labels, values)
            values[key] = values.get(key, 0.0) + amount

    def observe(self, name: str, value: float, *, trace_id: str = "", **labels: str) -> None:
        """Add a value to a histogram, with the trace it belongs to as its exemplar."""
        edges = BUCKETS[name]
        with self._lock:
            histograms = self._histograms[name]
            key = _key(_BY_NAME[name], labels, histograms)
            buckets = histograms.setdefault(key, _Buckets([0] * (len(edges) + 1)))
            place = sum(value > edge for edge in edges)
            buckets.counts[place] += 1
            buckets.total += value
            if trace_id:
                buckets.exemplar[place] = Exemplar({"trace_id": trace_id}, value, self._clock())

    def risk(self, subject_type: str, risk: float) -> None:
        """Remember an EOCT risk for ``tamv_eoct_risk_score``."""
        with self._lock:
            known = subject_type if subject_type in self._subject_types else OTHER
            self._risks.append((self._clock(), known, risk))

    def snapshot(
        self,
    ) -> tuple[dict[str, dict[Labels, float]], dict[str, dict[Labels, _Buckets]], dict[str, float]]:
        """Counts, histograms and the highest recent risks, as they are now."""
        oldest = self._clock() - _EOCT_WINDOW_S
        with self._lock:
            while self._risks and self._risks[0][0] < oldest:
                self._risks.popleft()
            highest: dict[str, float] = {}
            for _at, subject, risk in self._risks:
                highest[subject] = max(highest.get(subject, 0.0), risk)
            values = {name: dict(series) for name, series in self._values.items()}
            histograms = {
                name: {key: _Buckets(list(b.counts), b.total, dict(b.exemplar)) for key, b in series.items()}
                for name, series in self._histograms.items()
            }
        return values, histograms, highest


class Gauges(Protocol):
    """What the service knows about itself at the moment of a scrape: metric name → label values → value."""

    def __call__(self) -> Mapping[str, Mapping[Labels, float]]: ...  # noqa: D102


class Collector:
    """Everything for Prometheus, read when it asks."""

    def __init__(self, view: Callable[[], View], counters: Counters, gauges: Gauges) -> None:
        self._view = view
        self._counters = counters
        self._gauges = gauges
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition in the format that the Accept header asks for, and its content type."""
        # Only whether OpenMetrics is wanted is taken from the header: the library trips over versions that are none.
        wanted = _OPENMETRICS if "application/openmetrics-text" in accept.lower() else _TEXT
        encode, content_type = choose_encoder(wanted)
        return encode(self._registry), content_type

    def describe(self) -> list[Family]:
        """Nothing: registering must not scrape."""
        return []

    def collect(self) -> Iterator[Family]:
        """Every metric of the table, with the series it has now."""
        values, histograms, risks = self._counters.snapshot()
        current = {name: dict(series) for name, series in self._gauges().items()}
        _standings(current, self._view())
        current["tamv_eoct_risk_score"] = {(subject,): risk for subject, risk in risks.items()}
        for row in METRICS:
            names = list(row.labels)
            if row.kind == "histogram":
                yield _histogram(row, names, histograms.get(row.name, {}))
            elif row.kind == "counter":
                counter = CounterMetricFamily(row.name.removesuffix("_total"), row.help, labels=names)
                series = {**_zeros(row), **current.get(row.name, {}), **values.get(row.name, {})}
                for labels, value in sorted(series.items()):
                    counter.add_metric(labels, value)
                yield counter
            else:
                gauge = GaugeMetricFamily(row.name, row.help, labels=names)
                for labels, value in sorted({**_zeros(row), **current.get(row.name, {})}.items()):
                    gauge.add_metric(labels, value)
                yield gauge


def _standings(current: dict[str, dict[Labels, float]], view: View) -> None:
    levels: dict[Labels, float] = {("global", ""): float(view.level)}
    scores: dict[Labels, float] = {("global", ""): view.score}
    for scope, standings in (("layer", view.layers), ("protocol", view.protocols)):
        for name, standing in standings.items():
            if scope == "protocol" and name not in PROTOCOLS:
                continue
            levels[scope, name] = float(standing.level)
            scores[scope, name] = standing.score
    current["tamv_guardian_threat_level"] = levels
    current["tamv_guardian_score"] = scores
    current["tamv_guardian_events_total"] = {(): float(view.events)}
    current["tamv_guardian_late_events_total"] = {(): float(view.late)}
    current["tamv_guardian_entities"] = {(role,): float(count) for role, count in view.entities.items()}
    current["tamv_guardian_evicted_total"] = {(table,): float(count) for table, count in view.evicted.items()}


def _histogram(row: MetricRow, names: list[str], series: Mapping[Labels, _Buckets]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(row.name, row.help, labels=names)
    edges = [*(str(float(edge)) for edge in BUCKETS[row.name]), "+Inf"]
    none: Mapping[Labels, _Buckets] = {} if names else {(): _Buckets([0] * len(edges))}
    for labels, buckets in sorted({**none, **series}.items()):
        running = 0
        rows: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        for place, edge in enumerate(edges):
            running += buckets.counts[place]
            exemplar = buckets.exemplar.get(place)
            rows.append((edge, float(running)) if exemplar is None else (edge, float(running), exemplar))
        family.add_metric(labels, rows, buckets.total)
    return family


def _zeros(row: MetricRow) -> dict[Labels, float]:
    """Series that exist from the first scrape on: those without labels, and those of one short vocabulary."""
    if not row.labels:
        return {(): 0.0}
    vocabularies = list(row.labels.values())
    if len(vocabularies) == 1 and vocabularies[0]:
        return {(value,): 0.0 for value in vocabularies[0]}
    return {}


def _key(row: MetricRow, labels: Mapping[str, str], series: Mapping[Labels, object]) -> Labels:
    if set(labels) != set(row.labels):
        raise KeyError(f"{row.name} has the labels {sorted(row.labels)}, got {sorted(labels)}")
    key = tuple(
        labels[name] if not vocabulary or labels[name] in vocabulary else OTHER
        for name, vocabulary in row.labels.items()
    )
    if key not in series and len(series) >= _MOST_SERIES and not all(row.labels.values()):
        return tuple(OTHER for _ in key)
    return key
