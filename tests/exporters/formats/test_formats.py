"""Which form a sink gets: one for every type and every form that settings can name."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from exporters.alert import Alert
from exporters.formats import About, renderer
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
