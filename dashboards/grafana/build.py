"""Writes ``guardian-overview.json``, the Grafana board of TAMV Guardian. Made for Grafana 11.6 (schema 41) and newer.

``python dashboards/grafana/build.py`` writes it anew; a test holds the file to this code. Owns what is on the board;
how a panel looks is ``panels``'s.
"""

# ruff: noqa: INP001  (a script beside its data, not a package)

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from panels import (
    LEVELS,
    ORANGE,
    RED,
    YELLOW,
    Panel,
    Words,
    heatmap,
    lines,
    number,
    query,
    states,
)

BOARD: Final = Path(__file__).with_name("guardian-overview.json")
COLUMNS: Final = 24

SCORE_LIMITS: Final = ((40.0, YELLOW), (60.0, ORANGE), (80.0, RED))
RISK_LIMITS: Final = ((0.4, YELLOW), (0.6, ORANGE), (0.8, RED))


def threat() -> list[Panel]:
    """How threatened the ecosystem is."""
    return [
        number(
            Words("Nivel global", "Global level"),
            Words(
                "Nivel de amenaza de todo el ecosistema, en cinco palabras.",
                "Threat level of the whole ecosystem, in five words.",
            ),
            query('max(tamv_guardian_threat_level{@, scope="global"})'),
            unit="short",
            words=LEVELS,
        ),
        number(
            Words("Puntuación global", "Global score"),
            Words(
                "De 0 a 100. Cada 20 puntos es una falsa alarma diez veces más rara: 40 es una en cien días-entidad.",
                "From 0 to 100. Every 20 points mean a false alarm ten times as rare: 40 is one in a hundred entity-days.",
            ),
            query('max(tamv_guardian_score{@, scope="global"})'),
            unit="short",
            limits=SCORE_LIMITS,
            decimals=0,
        ),
        lines(
            Words("Puntuación por capa", "Score by layer"),
            Words(
                "La puntuación más alta en cada capa L0…L7.",
                "The highest score in each of the layers L0…L7.",
            ),
            [query('max by (id) (tamv_guardian_score{@, scope="layer"})', "{{id}}")],
            unit="short",
            width=16,
            limits=SCORE_LIMITS,
            most=100,
        ),
        states(
            Words("Nivel por capa", "Level by layer"),
            Words("Cuándo estuvo cada capa en qué nivel.", "When each layer was at which level."),
            query('max by (id) (tamv_guardian_threat_level{@, scope="layer"})', "{{id}}"),
            width=8,
        ),
        states(
            Words("Nivel por protocolo", "Level by protocol"),
            Words("Cuándo estuvo cada protocolo en qué nivel.", "When each protocol was at which level."),
            query('max by (id) (tamv_guardian_threat_level{@, scope="protocol"})', "{{id}}"),
            width=8,
        ),
        lines(
            Words("Alertas", "Alerts"),
            Words(
                "Alertas levantadas, según el nivel alcanzado.",
                "Alerts raised, by the level that was reached.",
            ),
            [
                query(
                    "sum by (level) (increase(tamv_guardian_alerts_total{@}[$__rate_interval]))", "{{level}}"
                )
            ],
            unit="short",
            stacked=True,
        ),
    ]


def ethics() -> list[Panel]:
    """EOCT. Higher is riskier."""
    return [
        lines(
            Words("Mayor riesgo EOCT", "Highest EOCT risk"),
            Words(
                "El riesgo más alto de los últimos cinco minutos, por tipo de sujeto. Más alto es más riesgoso.",
                "The highest risk of the last five minutes, by subject type. Higher is riskier.",
            ),
            [query("max by (subject_type) (tamv_eoct_risk_score{@})", "{{subject_type}}")],
            unit="percentunit",
            limits=RISK_LIMITS,
            most=1,
        ),
        heatmap(
            Words("Distribución del riesgo", "Distribution of risk"),
            Words(
                "Cuántas evaluaciones caen en cada banda; los ejemplares llevan a su traza.",
                "How many evaluations fall into each band; exemplars lead to their trace.",
            ),
            query(
                "sum by (le) (increase(tamv_eoct_risk_bucket{@}[$__rate_interval]))",
                "{{le}}",
                heatmap=True,
                exemplars=True,
            ),
            unit="percentunit",
        ),
        lines(
            Words("Veredictos", "Verdicts"),
            Words(
                "Evaluaciones por veredicto y nivel de riesgo.",
                "Evaluations by verdict and risk level.",
            ),
            [
                query(
                    "sum by (verdict, risk_level) (increase(tamv_eoct_evaluations_total{@}[$__rate_interval]))",
                    "{{verdict}} · {{risk_level}}",
                )
            ],
            unit="short",
            stacked=True,
        ),
    ]


def decisions() -> list[Panel]:
    """Protocols and Isabella."""
    return [
        lines(
            Words("Protocolos por resultado", "Protocols by outcome"),
            Words(
                "Evaluaciones de la constitución, permitidas y rechazadas.",
                "Evaluations of the constitution, allowed and rejected.",
            ),
            [
                query(
                    "sum by (outcome) (increase(tamv_protocol_evaluations_total{@}[$__rate_interval]))",
                    "{{outcome}}",
                )
            ],
            unit="short",
            stacked=True,
            width=6,
        ),
        lines(
            Words("Rechazos por protocolo", "Rejections by protocol"),
            Words(
                "Qué protocolos pidieron lo que la constitución no permite, y con qué severidad.",
                "Which protocols asked for what the constitution does not allow, and how severe it was.",
            ),
            [
                query(
                    "sum by (protocol_id, severity)"
                    ' (increase(tamv_protocol_evaluations_total{@, outcome="rejected"}[$__rate_interval]))',
                    "{{protocol_id}} · {{severity}}",
                )
            ],
            unit="short",
            width=6,
        ),
        lines(
            Words("Isabella por resultado", "Isabella by outcome"),
            Words(
                "Lo que Isabella recomendó: aprobar, revisar o rechazar.",
                "What Isabella recommended: approve, review or reject.",
            ),
            [
                query(
                    "sum by (outcome) (increase(tamv_isabella_decisions_total{@}[$__rate_interval]))",
                    "{{outcome}}",
                )
            ],
            unit="short",
            stacked=True,
            width=6,
        ),
        lines(
            Words("Proporción de rechazos de Isabella", "Isabella's share of rejections"),
            Words(
                "Por protocolo. Con pocas decisiones la proporción salta: mire también cuántas hay.",
                "By protocol. With few decisions the share jumps: look at how many there are, too.",
            ),
            [
                query(
                    'sum by (protocol_id) (increase(tamv_isabella_decisions_total{@, outcome="rejected"}[$__rate_interval]))'
                    " / sum by (protocol_id) (increase(tamv_isabella_decisions_total{@}[$__rate_interval]))",
                    "{{protocol_id}}",
                )
            ],
            unit="percentunit",
            limits=((0.3, ORANGE),),
            most=1,
            width=6,
        ),
    ]


def headsets() -> list[Panel]:
    """The XR gateway."""
    return [
        number(
            Words("Cascos conectados", "Headsets connected"),
            Words("Conexiones XR abiertas y autenticadas.", "Open, authenticated XR connections."),
            query("sum(tamv_xr_gateway_connections{@})"),
            unit="short",
            width=6,
        ),
        lines(
            Words("Conexiones XR", "XR connections"),
            Words(
                "Por instancia. Una caída a cero con cascos en la hora anterior es una alerta.",
                "By instance. A fall to zero, with headsets in the hour before, is an alert.",
            ),
            [query("tamv_xr_gateway_connections{@}", "{{instance}}")],
            unit="short",
            width=18,
        ),
    ]


def ingest() -> list[Panel]:
    """Whether what is sent gets in, and how soon it counts."""
    return [
        lines(
            Words("De la llegada a la alerta", "From arrival to alert"),
            Words(
                "Desde que llega un cuerpo hasta que sus eventos cuentan y sus alertas están guardadas.",
                "From the arrival of a body until its events count and its alerts are stored.",
            ),
            [
                query(
                    f"histogram_quantile({share}, "
                    "sum by (le) (rate(tamv_guardian_lag_seconds_bucket{@}[$__rate_interval])))",
                    name,
                )
                for share, name in ((0.5, "p50"), (0.99, "p99"))
            ],
            unit="s",
            limits=((0.25, ORANGE),),
        ),
        lines(
            Words("Peticiones rechazadas", "Refused requests"),
            Words(
                "Por motivo: busy pide volver más tarde; connections, que hay demasiadas.",
                "By reason: busy asks to come back later; connections means there are too many.",
            ),
            [
                query(
                    "sum by (reason) (rate(tamv_guardian_http_refused_total{@}[$__rate_interval]))",
                    "{{reason}}",
                )
            ],
            unit="cps",
            stacked=True,
        ),
        lines(
            Words("Memoria de lo que espera", "Memory of what waits"),
            Words(
                "Cuerpos en vuelo y eventos decodificados. Ambos tienen tope; lo demás espera en el diario.",
                "Bodies in flight and decoded events. Both are capped; the rest waits in the journal.",
            ),
            [
                query("tamv_guardian_bodies_held_bytes{@}", "cuerpos · bodies"),
                query("tamv_guardian_backlog_held_bytes{@}", "eventos · events"),
            ],
            unit="bytes",
        ),
        lines(
            Words("Conexiones y turnos", "Connections and turns"),
            Words(
                "Conexiones HTTP abiertas, y cuerpos que esperan su turno para decodificarse.",
                "Open HTTP connections, and bodies that wait for their turn to be decoded.",
            ),
            [
                query("tamv_guardian_http_connections{@}", "conexiones · connections"),
                query("tamv_guardian_bodies_waiting{@}", "en espera · waiting"),
            ],
            unit="short",
        ),
        lines(
            Words("Fuentes", "Sources"),
            Words(
                "1 si la fuente entrega, 0 si falló y espera otro intento.",
                "1 while the source delivers, 0 while it failed and waits to be tried again.",
            ),
            [query("min by (source) (tamv_guardian_source_up{@})", "{{source}}")],
            unit="short",
        ),
        lines(
            Words("Pérdidas de las fuentes", "Drops of sources"),
            Words(
                "Lo que una fuente no pudo entregar, por motivo. Fuera de UDP debe ser cero.",
                "What a source could not deliver, by reason. Zero is expected of all but UDP.",
            ),
            [
                query(
                    "sum by (source, reason) (rate(tamv_guardian_source_dropped_total{@}[$__rate_interval]))",
                    "{{source}} · {{reason}}",
                )
            ],
            unit="cps",
        ),
    ]


def pipeline() -> list[Panel]:
    """Whether Guardian itself is well."""
    return [
        lines(
            Words("Eventos por segundo", "Events per second"),
            Words(
                "Eventos evaluados, y los que llegaron más tarde de lo permitido.",
                "Events scored, and those that came later than allowed.",
            ),
            [
                query("sum(rate(tamv_guardian_events_total{@}[$__rate_interval]))", "evaluados · scored"),
                query("sum(rate(tamv_guardian_late_events_total{@}[$__rate_interval]))", "tardíos · late"),
            ],
            unit="cps",
        ),
        lines(
            Words("Rechazos por motivo", "Rejects by reason"),
            Words(
                "Registros y cuerpos que no se pudieron leer. Lo rechazado no se vigila.",
                "Records and bodies that could not be read. What is rejected is not watched.",
            ),
            [
                query(
                    "sum by (reason) (rate(tamv_guardian_rejected_total{@}[$__rate_interval]))", "{{reason}}"
                )
            ],
            unit="cps",
            stacked=True,
        ),
        lines(
            Words("Tiempo por lote", "Time per batch"),
            Words("Mediana y percentil 99, por etapa.", "Median and 99th percentile, by stage."),
            [
                query(
                    f"histogram_quantile({share}, "
                    "sum by (le, stage) (rate(tamv_guardian_batch_seconds_bucket{@}[$__rate_interval])))",
                    f"{{{{stage}}}} {name}",
                )
                for share, name in ((0.5, "p50"), (0.99, "p99"))
            ],
            unit="s",
        ),
        lines(
            Words("Atraso del motor", "Backlog of the engine"),
            Words("Eventos aceptados que aún no se evalúan.", "Events accepted and not scored yet."),
            [query("tamv_guardian_journal_backlog_events{@}", "{{instance}}")],
            unit="short",
            limits=((100_000.0, ORANGE),),
            width=6,
        ),
        lines(
            Words("Diario en disco", "Journal on disk"),
            Words(
                "Crece si las instantáneas no avanzan; lleno, los emisores reciben 429.",
                "Grows when snapshots do not advance; once full, senders get 429.",
            ),
            [query("tamv_guardian_journal_bytes{@}", "{{instance}}")],
            unit="bytes",
            width=6,
        ),
        lines(
            Words("Edad de la instantánea", "Age of the snapshot"),
            Words("Segundos desde que se guardó el estado.", "Seconds since the state was saved."),
            [query("tamv_guardian_snapshot_age_seconds{@}", "{{instance}}")],
            unit="s",
            limits=((300.0, ORANGE),),
            width=6,
        ),
        lines(
            Words("Olvidos por tabla llena", "Evictions of full tables"),
            Words(
                "Entradas olvidadas porque su tabla estaba llena: suba `engine.max_…` si dura.",
                "Entries forgotten because their table was full: raise `engine.max_…` if it lasts.",
            ),
            [query("sum by (table) (rate(tamv_guardian_evicted_total{@}[$__rate_interval]))", "{{table}}")],
            unit="cps",
            width=6,
        ),
    ]


def delivery() -> list[Panel]:
    """Whether what is raised arrives, and what waits where."""
    return [
        lines(
            Words("Bandeja de salida", "Outbox"),
            Words(
                "Alertas por receptor y estado. La suma de los estados es lo aceptado: nada se pierde.",
                "Alerts by receiver and state. The states sum to what was accepted: nothing is lost.",
            ),
            [query("sum by (sink, state) (tamv_guardian_outbox_rows{@})", "{{sink}} · {{state}}")],
            unit="short",
        ),
        lines(
            Words("Lo más antiguo que espera", "Oldest that waits"),
            Words(
                "Segundos que lleva lo primero de cada cola sin entregarse.",
                "Seconds that the head of each queue has waited to be delivered.",
            ),
            [query("max by (sink) (tamv_guardian_outbox_oldest_seconds{@})", "{{sink}}")],
            unit="s",
            limits=((300.0, ORANGE),),
        ),
        lines(
            Words("De la alerta al receptor", "From alert to receiver"),
            Words("Percentil 99 por receptor.", "99th percentile by receiver."),
            [
                query(
                    "histogram_quantile(0.99, "
                    "sum by (le, sink) (rate(tamv_guardian_delivery_seconds_bucket{@}[$__rate_interval])))",
                    "{{sink}}",
                )
            ],
            unit="s",
        ),
        lines(
            Words("Intentos por resultado", "Attempts by outcome"),
            Words(
                "taken: recibido; partly: en parte; retry: más tarde; hold: credencial o dirección; refused: nunca.",
                "taken: received; partly: some of it; retry: later; hold: credential or address; refused: never.",
            ),
            [
                query(
                    "sum by (sink, outcome) "
                    "(rate(tamv_guardian_delivery_attempts_total{@}[$__rate_interval]))",
                    "{{sink}} · {{outcome}}",
                )
            ],
            unit="cps",
        ),
        lines(
            Words("Cortacircuitos", "Circuit breakers"),
            Words("0 cerrado, 1 a prueba, 2 abierto.", "0 closed, 1 half-open, 2 open."),
            [query("max by (sink) (tamv_guardian_sink_breaker{@})", "{{sink}}")],
            unit="short",
        ),
        lines(
            Words("Latidos", "Heartbeats"),
            Words(
                "Segundos que tardó el último latido, de los receptores que los tienen.",
                "Seconds that the newest heartbeat took, for sinks that have them.",
            ),
            [query("max by (sink) (tamv_guardian_sink_heartbeat_seconds{@})", "{{sink}}")],
            unit="s",
        ),
    ]


ROWS: Final = (
    (Words("Amenaza", "Threat"), threat),
    (Words("Ética (EOCT)", "Ethics (EOCT)"), ethics),
    (Words("Protocolos e Isabella", "Protocols and Isabella"), decisions),
    (Words("Pasarela XR", "XR gateway"), headsets),
    (Words("Entrada", "Ingest"), ingest),
    (Words("Entrega", "Delivery"), delivery),
    (Words("Salud de la tubería", "Pipeline health"), pipeline),
)


def placed() -> list[Panel]:
    """Rows and panels, left to right and top to bottom, each with an id."""
    panels: list[Panel] = []
    y = 0
    for title, build in ROWS:
        panels.append(
            {
                "type": "row",
                "title": title.title(),
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            }
        )
        y += 1
        x = height = 0
        for panel in build():
            place = panel["gridPos"]
            if x + place["w"] > COLUMNS:
                x, y, height = 0, y + height, 0
            panel["gridPos"] = {"x": x, "y": y, **place}
            x += place["w"]
            height = max(height, place["h"])
            panels.append(panel)
        y += height
    return [{"id": number, **panel} for number, panel in enumerate(panels, 1)]


def variable(name: str, label: Words, labels_of: str) -> dict[str, Any]:
    """A choice among the values that a label has."""
    return {
        "name": name,
        "label": label.title(),
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": labels_of, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def board() -> dict[str, Any]:
    """The whole board."""
    return {
        "uid": "tamv-guardian-overview",
        "title": "TAMV Guardian",
        "description": Words(
            "Cuán amenazado está el ecosistema, por qué, y si Guardian mismo está bien. Los umbrales son nuestros.",
            "How threatened the ecosystem is, why, and whether Guardian itself is well. Thresholds are ours.",
        ).description(),
        "tags": ["tamv", "guardian"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": Words("Fuente de datos", "Data source").title(),
                    "type": "datasource",
                    "query": "prometheus",
                    "refresh": 1,
                },
                variable("job", Words("Trabajo", "Job"), "label_values(tamv_guardian_threat_level, job)"),
                variable(
                    "instance",
                    Words("Instancia", "Instance"),
                    'label_values(tamv_guardian_threat_level{job=~"$job"}, instance)',
                ),
            ]
        },
        "annotations": {"list": []},
        "links": [],
        "panels": placed(),
    }


def text() -> str:
    """The board as its file holds it."""
    return json.dumps(board(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    BOARD.write_text(text(), encoding="utf-8")
