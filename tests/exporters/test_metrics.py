"""Metrics: the table, the vocabularies, and what a scrape says."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporters.metrics import Collector, Counters
from exporters.metrics_table import METRICS
from guardian.levels import Level
from guardian.view import Standing, View

VIEW = View(
    score=61.0,
    level=Level.HIGH,
    updated_at=0,
    events=7,
    late=1,
    layers={"L5": Standing(61.0, Level.HIGH)},
    protocols={"fenix": Standing(10.0, Level.NONE), "made-up": Standing(90.0, Level.CRITICAL)},
    top=(),
    entities={"actor": 3},
    evicted={"actor": 2},
)


def scraped(
    counters: Counters, accept: str = ""
) -> tuple[dict[str, dict[tuple[tuple[str, str], ...], float]], str]:
    text = (
        Collector(lambda: VIEW, counters, lambda: {"tamv_xr_gateway_connections": {(): 4.0}})
        .render(accept)[0]
        .decode()
    )
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    if not accept:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found, text


def test_the_five_required_metrics_are_there_from_the_first_scrape() -> None:
    found, text = scraped(Counters())
    assert found["tamv_guardian_threat_level"][("id", ""), ("scope", "global")] == 3.0
    assert found["tamv_guardian_threat_level"][("id", "L5"), ("scope", "layer")] == 3.0
    assert found["tamv_xr_gateway_connections"][()] == 4.0
    for name in ("tamv_protocol_evaluations_total", "tamv_eoct_risk_score", "tamv_isabella_decisions_total"):
        assert f"# TYPE {name} " in text
    assert "made-up" not in text, "only known protocols are labels"
    assert found["tamv_guardian_events_total"][()] == 7.0
    assert found["tamv_guardian_evicted_total"][(("table", "actor"),)] == 2.0


def test_names_and_types_are_the_ones_promised() -> None:
    promised = {
        "tamv_protocol_evaluations_total": ("counter", ["protocol_id", "outcome", "severity", "layer"]),
        "tamv_guardian_threat_level": ("gauge", ["scope", "id"]),
        "tamv_xr_gateway_connections": ("gauge", []),
        "tamv_eoct_risk_score": ("gauge", ["subject_type"]),
        "tamv_isabella_decisions_total": ("counter", ["outcome", "protocol_id"]),
        "tamv_guardian_score": ("gauge", ["scope", "id"]),
        "tamv_eoct_evaluations_total": ("counter", ["verdict", "risk_level"]),
        "tamv_eoct_risk": ("histogram", []),
    }
    table = {row.name: (row.kind, list(row.labels)) for row in METRICS}
    assert {name: table[name] for name in promised} == promised
    others = set(table) - set(promised)
    assert all(name.startswith("tamv_guardian_") for name in others)
    assert all(row.help and row.help_es for row in METRICS)
    assert all(row.name.endswith("_total") == (row.kind == "counter") for row in METRICS)


def test_a_label_never_carries_a_name() -> None:
    counters = Counters()
    for name in ("ana@example.org", "10.0.0.1"):
        counters.add("tamv_isabella_decisions_total", outcome=name, protocol_id=name)
        counters.add(
            "tamv_protocol_evaluations_total", protocol_id=name, outcome=name, severity=name, layer=name
        )
        counters.add("tamv_guardian_alerts_total", level=name)
    found, text = scraped(counters)
    assert "ana" not in text
    assert "10.0.0.1" not in text
    assert found["tamv_isabella_decisions_total"] == {(("outcome", "other"), ("protocol_id", "other")): 2.0}


def test_open_vocabularies_are_bounded() -> None:
    counters = Counters()
    for number in range(10_000):
        counters.add("tamv_guardian_rejected_total", reason=f"r{number}")
    found, _ = scraped(counters)
    assert len(found["tamv_guardian_rejected_total"]) <= 201
    assert sum(found["tamv_guardian_rejected_total"].values()) == 10_000


def test_a_subject_type_that_nobody_configured_is_no_label() -> None:
    counters = Counters(subject_types=["post"])
    for word in ("post", "ana.robles", "campaign"):
        counters.risk(word, 0.4 if word == "post" else 0.7)
    found, text = scraped(counters)
    assert found["tamv_eoct_risk_score"] == {
        (("subject_type", "other"),): 0.7,
        (("subject_type", "post"),): 0.4,
    }
    assert "robles" not in text


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=abc",
        "text/plain;version=x.y",
        "application/openmetrics-text; version=9.9.9; escaping=zz",
        ";;,=\x00",
        "*/*" * 1000,
    ],
)
def test_any_accept_header_is_answered(accept: str) -> None:
    body, content_type = Collector(lambda: VIEW, Counters(), dict).render(accept)
    assert b"tamv_guardian_threat_level" in body
    assert content_type.startswith(
        ("application/openmetrics-text; version=1.0.0", "text/plain; version=0.0.4")
    )
    assert body.endswith(b"# EOF\n") == ("openmetrics" in accept)


def test_unknown_metrics_and_labels_are_mistakes() -> None:
    with pytest.raises(KeyError):
        Counters().add("tamv_nothing_total")
    with pytest.raises(KeyError, match="has the labels"):
        Counters().add("tamv_guardian_alerts_total", levle="high")


def test_the_risk_of_the_last_five_minutes() -> None:
    now = [1000.0]
    counters = Counters(clock=lambda: now[0])
    counters.risk("post", 0.9)
    now[0] += 200
    counters.risk("post", 0.3)
    assert scraped(counters)[0]["tamv_eoct_risk_score"][(("subject_type", "post"),)] == 0.9
    now[0] += 150
    assert scraped(counters)[0]["tamv_eoct_risk_score"][(("subject_type", "post"),)] == 0.3
    now[0] += 200
    assert "tamv_eoct_risk_score" not in scraped(counters)[0]


def test_histograms_count_and_carry_exemplars() -> None:
    counters = Counters()
    for risk in (0.1, 0.4, 0.400001, 0.95):
        counters.observe("tamv_eoct_risk", risk, trace_id="0af7651916cd43dd8448eb211c80319c")
    found, _ = scraped(counters)
    buckets = {dict(key)["le"]: value for key, value in found["tamv_eoct_risk_bucket"].items()}
    assert buckets == {"0.2": 1, "0.4": 2, "0.6": 3, "0.8": 3, "1.0": 4, "+Inf": 4}
    text = scraped(counters, "application/openmetrics-text")[1]
    assert '# {trace_id="0af7651916cd43dd8448eb211c80319c"} 0.95' in text


def test_a_scrape_sees_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    views: list[Any] = []

    def view() -> View:
        views.append(1)
        return VIEW

    Collector(view, Counters(), dict).render("")
    assert len(views) == 1
