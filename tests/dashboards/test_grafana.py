"""The Grafana board: its file is what the code says, and every panel keeps the conventions and finds its data.

Pixels are not tested: no Grafana server is packaged where these tests run. Queries are: by promtool, against made-up
series of every metric.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "dashboards" / "grafana"
BOARD: dict[str, Any] = json.loads((FOLDER / "guardian-overview.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
SCOPE = 'job=~"$job", instance=~"$instance"'
PROMTOOL = shutil.which("promtool")


@pytest.fixture(scope="module")
def build() -> Iterator[ModuleType]:
    """The builder, which is a script and no package."""
    sys.path.insert(0, str(FOLDER))
    try:
        import build

        yield build
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("build", "panels"):
            sys.modules.pop(name, None)


def metric_names(expr: str) -> set[str]:
    """The metrics that an expression names, as the table has them: histograms without ``_bucket``.

    >>> sorted(metric_names('sum(rate(tamv_eoct_risk_bucket{a="b"}[5m])) / tamv_guardian_score'))
    ['tamv_eoct_risk', 'tamv_guardian_score']
    """
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\btamv_[a-z_]+", expr)}


METRIC_NAMES = set().union(*(metric_names(expr) for _, expr in TARGETS))
"""All metrics that the board shows."""


def test_the_file_is_what_the_code_writes(build: ModuleType):
    assert (FOLDER / "guardian-overview.json").read_text(encoding="utf-8") == build.text()


def test_the_board_is_for_a_known_grafana():
    assert BOARD["schemaVersion"] == 41
    assert BOARD["uid"] == "tamv-guardian-overview"
    assert [variable["name"] for variable in BOARD["templating"]["list"]] == ["datasource", "job", "instance"]


def test_there_is_a_row_for_each_question():
    rows = [panel["title"].split(" · ")[1] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        "Threat",
        "Ethics (EOCT)",
        "Protocols and Isabella",
        "XR gateway",
        "Ingest",
        "Delivery",
        "Pipeline health",
    ]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_speaks_both_languages_and_names_its_unit(panel: dict[str, Any]):
    assert len(panel["title"].split(" · ")) == 2
    spanish, english = panel["description"].split("\n\n")
    assert spanish != english
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


@pytest.mark.parametrize(("title", "expr"), TARGETS)
def test_every_query_is_scoped_and_adapts_its_range(title: str, expr: str):
    selectors = re.findall(r"tamv_[a-z_]+(\{[^}]*\})?", expr)
    assert selectors
    assert all(selector.startswith("{" + SCOPE) for selector in selectors)
    assert set(re.findall(r"\[([^\]]*)\]", expr)) <= {"$__rate_interval"}


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x, y in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_five_mandatory_metrics_are_shown():
    assert {
        "tamv_protocol_evaluations_total",
        "tamv_guardian_threat_level",
        "tamv_xr_gateway_connections",
        "tamv_eoct_risk_score",
        "tamv_isabella_decisions_total",
    } <= METRIC_NAMES


def test_the_board_names_only_metrics_that_exist():
    metrics = pytest.importorskip("exporters.metrics", reason="the table of metrics is not there yet")
    assert {row.name for row in metrics.METRICS} >= METRIC_NAMES


def test_the_board_uses_only_labels_that_exist():
    metrics = pytest.importorskip("exporters.metrics", reason="the table of metrics is not there yet")
    known = {label for row in metrics.METRICS for label in row.labels} | {"le", "job", "instance"}
    for _, text in TARGETS:
        for grouping in re.findall(r"\b(?:by|without) \(([^)]*)\)", text):
            assert known >= {label.strip() for label in grouping.split(",")}
        for selector in re.findall(r"tamv_[a-z_]+\{([^}]*)\}", text):
            assert known >= set(re.findall(r"(\w+)\s*=~?", selector))


SERIES = """
tamv_guardian_threat_level{scope="global", id=""} 1
tamv_guardian_threat_level{scope="layer", id="L5"} 3
tamv_guardian_threat_level{scope="protocol", id="economy"} 2
tamv_guardian_score{scope="global", id=""} 21
tamv_guardian_score{scope="layer", id="L5"} 63
tamv_guardian_alerts_total{level="high"} 0+1x60
tamv_eoct_risk_score{subject_type="campaign"} 0.4
tamv_eoct_risk_bucket{le="0.4"} 0+2x60
tamv_eoct_risk_bucket{le="+Inf"} 0+3x60
tamv_eoct_evaluations_total{verdict="approved", risk_level="low"} 0+2x60
tamv_protocol_evaluations_total{protocol_id="economy", outcome="rejected", severity="critical", layer="L0"} 0+1x60
tamv_protocol_evaluations_total{protocol_id="xr", outcome="approved", severity="low", layer="L4"} 0+1x60
tamv_isabella_decisions_total{outcome="approved", protocol_id="isabella"} 0+3x60
tamv_isabella_decisions_total{outcome="rejected", protocol_id="isabella"} 0+1x60
tamv_xr_gateway_connections 12
tamv_guardian_events_total 0+600x60
tamv_guardian_late_events_total 0+1x60
tamv_guardian_rejected_total{reason="no_time"} 0+1x60
tamv_guardian_batch_seconds_bucket{stage="score", le="0.01"} 0+2x60
tamv_guardian_batch_seconds_bucket{stage="score", le="+Inf"} 0+3x60
tamv_guardian_journal_backlog_events 0
tamv_guardian_lag_seconds_bucket{le="0.01"} 0+2x60
tamv_guardian_lag_seconds_bucket{le="+Inf"} 0+3x60
tamv_guardian_http_refused_total{reason="busy"} 0+1x60
tamv_guardian_bodies_held_bytes 4096
tamv_guardian_backlog_held_bytes 65536
tamv_guardian_http_connections 3
tamv_guardian_bodies_waiting 0
tamv_guardian_source_up{source="edge"} 1
tamv_guardian_source_dropped_total{source="edge", reason="full"} 0+1x60
tamv_guardian_journal_bytes 1048576
tamv_guardian_snapshot_age_seconds 4
tamv_guardian_evicted_total{table="pairs"} 0+1x60
tamv_guardian_outbox_rows{sink="siem", state="pending"} 2
tamv_guardian_outbox_oldest_seconds{sink="siem"} 3
tamv_guardian_delivery_seconds_bucket{sink="siem", le="+Inf"} 0+1x60
tamv_guardian_delivery_seconds_bucket{sink="siem", le="1.0"} 0+1x60
tamv_guardian_delivery_attempts_total{sink="siem", outcome="taken"} 0+1x60
tamv_guardian_sink_breaker{sink="siem"} 0
tamv_guardian_sink_heartbeat_seconds{sink="siem"} 0.2
"""


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_every_query_parses_and_finds_something(tmp_path: Path):
    assert PROMTOOL is not None
    series = []
    for line in SERIES.strip().splitlines():
        selector, values = line.rsplit(" ", 1)
        name, _, labels = selector.partition("{")
        own = labels.rstrip("}")
        scoped = f'{name}{{{own}{", " if own else ""}job="guardian", instance="a"}}'
        series.append({"series": scoped, "values": values if "x" in values else f"{values}x60"})
    queries = []
    for _, expr in TARGETS:
        asked = expr.replace("$__rate_interval", "5m").replace("$job", "guardian").replace("$instance", ".*")
        queries.append(
            {"expr": f"count({asked}) > bool 0", "eval_time": "30m", "exp_samples": [{"value": 1}]}
        )
    suite = {"rule_files": [], "evaluation_interval": "1m", "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": queries}]}  # fmt: skip
    file = tmp_path / "board.test.yml"
    file.write_text(json.dumps(suite), encoding="utf-8")  # JSON is YAML
    run = subprocess.run(
        [PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr
