"""Which form a sink gets: one for every type and every form that settings can name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from exporters.alert import Alert
from exporters.formats import (
    About,
    alertmanager,
    cef,
    ecs,
    leef,
    ocsf,
    otlp,
    renderer,
    syslog,
    wazuh,
)
from guardian.levels import Level
from guardian.sink_settings import (
    KINDS,
    Alertmanager,
    File,
    Http,
    JsonForm,
    LineForm,
    Nats,
    Otlp,
    Relp,
    Sentinel,
    Sink,
    Syslog,
    Webhook,
)
from tests.twins_forms import parse_cef, parse_leef, parse_syslog

REQUIRED: dict[str, Any] = {
    "name": "siem",
    "url": "https://siem.example.org",
    "host": "siem.example.org",
    "path": "alerts",
    "rule_id": "dcr-" + "0" * 32,
    "tenant": "t",
    "client": "c",
}


def settings(kind: type[Any], **chosen: Any) -> Sink:
    needed = {field: REQUIRED[field] for field in kind.__struct_fields__ if field in REQUIRED}
    made: Sink = kind(**needed | chosen)
    return made


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_every_type_of_sink_has_a_form_without_newlines(
    kind: type[Any], steps: dict[str, Alert], about: About
) -> None:
    render = renderer(settings(kind), about)
    for alert in steps.values():
        made = render(alert)
        assert made == render(alert)
        assert alert.id.encode() in made
        assert alert.identity.encode() in made
        if kind is not Otlp:
            assert b"\n" not in made


@pytest.mark.parametrize("form", [*get_args(JsonForm), *get_args(LineForm)])
def test_a_file_takes_every_form(form: Any, steps: dict[str, Alert], about: About) -> None:
    made = renderer(settings(File, format=form), about)(steps["open"])
    if form in get_args(JsonForm):
        assert isinstance(json.loads(made), dict)
    else:
        assert made.startswith({"rfc5424": b"<", "cef": b"CEF:0|", "leef": b"LEEF:2.0|"}[form])


@pytest.mark.parametrize(
    ("form", "version"),
    [("ocsf", "1.8.0"), ("ocsf-1.7", "1.7.0"), ("ocsf-1.6", "1.6.0"), ("ocsf-1.5", "1.5.0")],
)
def test_versions_of_ocsf(form: JsonForm, version: str, steps: dict[str, Alert], about: About) -> None:
    for kind in (Http, Sentinel):
        made = renderer(settings(kind, format=form), about)(steps["open"])
        assert json.loads(made)["metadata"]["version"] == version


@pytest.mark.parametrize("kind", [Syslog, Relp])
@pytest.mark.parametrize("form", get_args(LineForm))
def test_syslog_carries_the_form_that_is_asked_for(
    kind: type[Any], form: LineForm, steps: dict[str, Alert], about: About
) -> None:
    made = renderer(settings(kind, format=form, enterprise=64512), about)(steps["open"])
    assert made.startswith(b"<83>1 ")
    assert b"[alert@64512 " in made
    assert ({"cef": b"] CEF:0|", "leef": b"] LEEF:2.0|", "rfc5424": b"] \xef\xbb\xbfNivel"}[form]) in made


def test_forms_that_are_fixed(steps: dict[str, Alert], about: About) -> None:
    alert = steps["open"]
    assert "labels" in json.loads(renderer(settings(Alertmanager), about)(alert))
    assert LogRecord.FromString(renderer(settings(Otlp), about)(alert)).event_name == "tamv.guardian.alert"
    for kind in (Webhook, Nats):
        assert json.loads(renderer(settings(kind), about)(alert))["specversion"] == "1.0"


@pytest.mark.parametrize("form", [*get_args(JsonForm), *get_args(LineForm)])
def test_what_is_over_reads_as_over(form: Any, steps: dict[str, Alert], about: About) -> None:
    made = renderer(settings(File, format=form), about)(steps["resolved"]).decode()
    assert "Resuelto" in made
    assert "Resuelto" not in renderer(settings(File, format=form), about)(steps["update"]).decode()


@pytest.mark.parametrize("form", [*get_args(JsonForm), *get_args(LineForm)])
def test_a_summary_tells_its_number(form: Any, steps: dict[str, Alert], about: About) -> None:
    made = renderer(settings(File, format=form), about)(steps["suppressed"]).decode()
    assert "Alertas suprimidas desde 2023-11-14T22:14:20.123Z: 12." in made


PAGE = Path(__file__).parents[3] / "docs" / "reference" / "alert-forms.md"


def tables() -> list[list[list[str]]]:
    """The tables of the page, as rows of cells."""
    found: list[list[list[str]]] = [[]]
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1] and not line.startswith("|"):
            found.append([])
    return found[:-1]


def test_the_page_names_what_forms_write(steps: dict[str, Alert], about: About) -> None:
    alert = steps["suppressed"]
    record = LogRecord.FromString(otlp.render(alert, about))
    written: dict[str, Any] = {
        "OCSF": ocsf.detection_finding(alert, about),
        "ECS": ecs.document(alert, about),
        "CEF": parse_cef(cef.render(alert, about).decode()).extension,
        "LEEF": parse_leef(leef.render(alert, about).decode()).attributes,
        "RFC 5424": parse_syslog(syslog.render(alert, about)).data["alert@32473"],
        "Alertmanager": alertmanager.posted(alert, about),
        "OTLP": {each.key: each.value for each in record.attributes},
        "Wazuh": wazuh.line(alert, about),
    }
    (_, *forms), *rows = tables()[0]
    assert set(forms) == set(written)
    for what, *cells in rows:
        for form, cell in zip(forms, cells, strict=True):
            if cell:
                assert at(written[form], cell.strip("`")) not in (None, ""), (what, form)


def test_the_page_tells_the_severities(about: About) -> None:
    _, *rows = tables()[1]
    for level, row in zip(Level, rows, strict=True):
        told = [int(cell.split()[0]) for cell in row[1:-1]]
        severity, _ = ocsf.SEVERITY[level]
        number, text = otlp.SEVERITY[level]
        assert told == [
            severity,
            *(each.SEVERITY[level] for each in (ecs, cef, leef, syslog)),
            number,
        ]
        assert row[0].split()[0] == level.word
        assert row[-2].split()[1] == text


def at(told: Any, path: str) -> Any:
    """What stands at a path: a key with dots in it, or keys one below the other, first element of each list."""
    if path in told:
        return told[path]
    for part in path.split("."):
        told = told[part.removesuffix("[]")]
        told = told[0] if part.endswith("[]") else told
    return told
