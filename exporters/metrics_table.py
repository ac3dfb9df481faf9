"""The table of every metric there is: name, type, labels with their vocabularies, meaning in both languages.

Owns the names that boards and rules rely on. Does not own any value (``exporters.metrics``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from guardian.events import LAYERS
from guardian.levels import Level

Kind = Literal["counter", "gauge", "histogram"]

PROTOCOLS: Final = (
    "fenix",
    "hoyo-negro",
    "future",
    "eoct",
    "guardian",
    "isabella",
    "economy",
    "xr",
    "dreamspaces",
)
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric: its name as it is queried, its type, its labels with their vocabularies, and what it means."""

    name: str
    kind: Kind
    labels: Mapping[str, tuple[str, ...]]
    """Label → allowed values; an empty vocabulary = values that Guardian itself makes up (sinks, ids, reasons)."""
    help: str
    help_es: str


_LEVELS: Final = tuple(level.word for level in Level)
_RISING: Final = _LEVELS[1:]
_OUTCOMES: Final = ("approved", "rejected")
_STAGES: Final = ("decode", "journal", "score", "commit")

METRICS: Final[tuple[MetricRow, ...]] = (
    MetricRow(
        "tamv_protocol_evaluations_total",
        "counter",
        {"protocol_id": PROTOCOLS, "outcome": _OUTCOMES, "severity": _RISING, "layer": LAYERS},
        "Protocol evaluations, by whether they were allowed.",
        "Evaluaciones de protocolos, según si se permitieron.",
    ),
    MetricRow(
        "tamv_guardian_threat_level",
        "gauge",
        {"scope": ("global", "layer", "protocol"), "id": ()},
        "Threat level: none 0, low 1, medium 2, high 3, critical 4.",
        "Nivel de amenaza: ninguno 0, bajo 1, medio 2, alto 3, crítico 4.",
    ),
    MetricRow(
        "tamv_xr_gateway_connections",
        "gauge",
        {},
        "Open, authenticated XR WebSocket connections.",
        "Conexiones WebSocket XR abiertas y autenticadas.",
    ),
    MetricRow(
        "tamv_eoct_risk_score",
        "gauge",
        {"subject_type": ()},
        "Highest combined EOCT risk of the last 5 minutes; higher is riskier.",
        "Mayor riesgo EOCT combinado de los últimos 5 minutos; más alto es más riesgoso.",
    ),
    MetricRow(
        "tamv_isabella_decisions_total",
        "counter",
        {"outcome": ("approved", "review", "rejected"), "protocol_id": PROTOCOLS},
        "Decisions that Isabella recommended.",
        "Decisiones que Isabella recomendó.",
    ),
    MetricRow(
        "tamv_guardian_score",
        "gauge",
        {"scope": ("global", "layer", "protocol"), "id": ()},
        "Guardian score, 0 to 100.",
        "Puntuación Guardian, de 0 a 100.",
    ),
    MetricRow(
        "tamv_eoct_evaluations_total",
        "counter",
        {"verdict": ("approved", "review", "rejected"), "risk_level": _RISING},
        "EOCT evaluations.",
        "Evaluaciones EOCT.",
    ),
    MetricRow(
        "tamv_eoct_risk",
        "histogram",
        {},
        "Combined EOCT risk of each evaluation.",
        "Riesgo EOCT combinado de cada evaluación.",
    ),
    MetricRow("tamv_guardian_events_total", "counter", {}, "Events scored.", "Eventos puntuados."),
    MetricRow(
        "tamv_guardian_late_events_total",
        "counter",
        {},
        "Events older than the newest by more than the allowed lateness.",
        "Eventos más viejos que el más nuevo por más de lo permitido.",
    ),
    MetricRow(
        "tamv_guardian_rejected_total",
        "counter",
        {"reason": ()},
        "Records and bodies that were rejected.",
        "Registros y cuerpos que se rechazaron.",
    ),
    MetricRow(
        "tamv_guardian_http_refused_total",
        "counter",
        {"reason": ()},
        "Requests that the HTTP face refused, whatever they held.",
        "Peticiones que la interfaz HTTP rechazó, trajeran lo que trajeran.",
    ),
    MetricRow(
        "tamv_guardian_evicted_total",
        "counter",
        {"table": ("actor", "address", "target", "session", "kinds", "pairs", "templates")},
        "Entries forgotten because a table was full.",
        "Entradas olvidadas porque una tabla estaba llena.",
    ),
    MetricRow(
        "tamv_guardian_entities",
        "gauge",
        {"role": ("actor", "address", "target", "session")},
        "Entities remembered.",
        "Entidades recordadas.",
    ),
    MetricRow(
        "tamv_guardian_alerts_total", "counter", {"level": _RISING}, "Alerts raised.", "Alertas levantadas."
    ),
    MetricRow(
        "tamv_guardian_outbox_rows",
        "gauge",
        {"sink": (), "state": ("pending", "delivered", "parked", "dead", "suppressed")},
        "Alerts owed to each sink, by state; the states of a sink sum to the alerts it accepted.",
        "Alertas por destino y estado; los estados de un destino suman las alertas que aceptó.",
    ),
    MetricRow(
        "tamv_guardian_outbox_oldest_seconds",
        "gauge",
        {"sink": ()},
        "Seconds that the alert at the head of each queue has been owed; 0 when nothing is.",
        "Segundos que lleva debida la alerta a la cabeza de cada cola; 0 cuando no se debe nada.",
    ),
    MetricRow(
        "tamv_guardian_delivery_attempts_total",
        "counter",
        {"sink": (), "outcome": ("taken", "partly", "retry", "hold", "refused")},
        "Attempts to deliver a batch, by what the receiver said.",
        "Intentos de entregar un lote, según lo que dijo el receptor.",
    ),
    MetricRow(
        "tamv_guardian_delivery_seconds",
        "histogram",
        {"sink": ()},
        "Seconds from the moment an alert is stored until a receiver has it.",
        "Segundos desde que se guarda una alerta hasta que la tiene un receptor.",
    ),
    MetricRow(
        "tamv_guardian_delivery_duplicates_total",
        "counter",
        {"sink": ()},
        "Alerts that a receiver said it had already; they count as delivered.",
        "Alertas que un receptor dijo ya tener; cuentan como entregadas.",
    ),
    MetricRow(
        "tamv_guardian_sink_breaker",
        "gauge",
        {"sink": ()},
        "Circuit breaker of each sink: closed 0, half-open 1, open 2.",
        "Cortacircuitos de cada destino: cerrado 0, a prueba 1, abierto 2.",
    ),
    MetricRow(
        "tamv_guardian_sink_held",
        "gauge",
        {"sink": ()},
        "Whether a sink waits for another credential or address (1): nothing of it is lost, nothing of it is sent.",
        "Si un destino espera otra credencial o dirección (1): nada suyo se pierde, nada suyo se envía.",
    ),
    MetricRow(
        "tamv_guardian_sink_heartbeat_seconds",
        "gauge",
        {"sink": ()},
        "Seconds that the newest heartbeat of a sink took to its receiver, its wait in the queue included.",
        "Segundos que tardó el último latido de un destino hasta su receptor, con su espera en la cola.",
    ),
    MetricRow(
        "tamv_guardian_sink_heartbeat_age_seconds",
        "gauge",
        {"sink": ()},
        "Seconds since a heartbeat of a sink reached its receiver; before the first one, since the start.",
        "Segundos desde que un latido de un destino llegó a su receptor; antes del primero, desde el arranque.",
    ),
    MetricRow(
        "tamv_guardian_ready",
        "gauge",
        {},
        "Whether events are taken and scored: 1, or 0 and /health/ready says why.",
        "Si se aceptan y puntúan eventos: 1, o 0 y /health/ready dice por qué.",
    ),
    MetricRow(
        "tamv_guardian_journal_limit_bytes",
        "gauge",
        {},
        "Most bytes that the journal may hold.",
        "Máximo de bytes que puede guardar el diario.",
    ),
    MetricRow(
        "tamv_guardian_journal_bytes", "gauge", {}, "Journal on disk, bytes.", "Diario en disco, bytes."
    ),
    MetricRow(
        "tamv_guardian_journal_backlog_events",
        "gauge",
        {},
        "Events accepted and not scored yet.",
        "Eventos aceptados y aún no puntuados.",
    ),
    MetricRow(
        "tamv_guardian_backlog_held_bytes",
        "gauge",
        {},
        "Decoded events that wait in memory for the engine, bytes; what does not fit waits in the journal.",
        "Eventos decodificados que esperan al motor en memoria, bytes; lo que no cabe espera en el diario.",
    ),
    MetricRow(
        "tamv_guardian_lag_seconds",
        "histogram",
        {},
        "Seconds from the arrival of a body until its events are scored and its alerts stored.",
        "Segundos desde que llega un cuerpo hasta que sus eventos están puntuados y sus alertas guardadas.",
    ),
    MetricRow(
        "tamv_guardian_bodies_held_bytes",
        "gauge",
        {},
        "Request bodies held in memory, bytes as received.",
        "Cuerpos de peticiones en memoria, bytes como se recibieron.",
    ),
    MetricRow(
        "tamv_guardian_bodies_waiting",
        "gauge",
        {},
        "Bodies that wait for their turn to be decoded.",
        "Cuerpos que esperan su turno para decodificarse.",
    ),
    MetricRow(
        "tamv_guardian_http_connections", "gauge", {}, "Open HTTP connections.", "Conexiones HTTP abiertas."
    ),
    MetricRow(
        "tamv_guardian_source_up",
        "gauge",
        {"source": ()},
        "Whether a configured source delivers (1) or failed and waits to be tried again (0).",
        "Si una fuente configurada entrega (1) o falló y espera otro intento (0).",
    ),
    MetricRow(
        "tamv_guardian_source_failures_total",
        "counter",
        {"source": ()},
        "Times that a source failed.",
        "Veces que falló una fuente.",
    ),
    MetricRow(
        "tamv_guardian_source_dropped_total",
        "counter",
        {"source": (), "reason": ()},
        "What a source could not deliver, by reason.",
        "Lo que una fuente no pudo entregar, según el motivo.",
    ),
    MetricRow(
        "tamv_guardian_journal_damage_total",
        "counter",
        {},
        "Damaged places found in the journal.",
        "Lugares dañados hallados en el diario.",
    ),
    MetricRow(
        "tamv_guardian_snapshot_age_seconds",
        "gauge",
        {},
        "Seconds since the state was last saved.",
        "Segundos desde que se guardó el estado.",
    ),
    MetricRow(
        "tamv_guardian_batch_seconds",
        "histogram",
        {"stage": _STAGES},
        "Seconds a batch took in each stage.",
        "Segundos que tomó un lote en cada etapa.",
    ),
    MetricRow(
        "tamv_guardian_msr_entries", "gauge", {}, "Entries of the MSR log.", "Entradas del registro MSR."
    ),
    MetricRow(
        "tamv_guardian_acknowledged",
        "gauge",
        {},
        "Acknowledgements in force: kinds of events that add nothing to the risk of an entity.",
        "Reconocimientos vigentes: tipos de eventos que no suman riesgo a una entidad.",
    ),
    MetricRow(
        "tamv_guardian_xr_messages_total",
        "counter",
        {"result": ("accepted", "refused", "sent", "held_back")},
        "XR messages by what became of them.",
        "Mensajes XR según lo que fue de ellos.",
    ),
    MetricRow(
        "tamv_guardian_unknown_verbs_total",
        "counter",
        {},
        "Isabella decisions with a verb outside of the known ones; they count as review.",
        "Decisiones de Isabella con un verbo desconocido; cuentan como revisión.",
    ),
)

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

BUCKETS: Final[dict[str, tuple[float, ...]]] = {
    "tamv_eoct_risk": (0.2, 0.4, 0.6, 0.8, 1.0),
    "tamv_guardian_batch_seconds": _SECONDS,
    "tamv_guardian_delivery_seconds": (*_SECONDS, 10.0, 60.0, 600.0, 3600.0, 86_400.0),
    "tamv_guardian_lag_seconds": (*_SECONDS, 10.0, 60.0),
}
