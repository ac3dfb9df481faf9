"""RFC 5424: a parser written from its grammar reads back every field, whatever a name holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings

from exporters.alert import Alert
from exporters.formats import About, cef, leef, syslog
from exporters.formats.sentences import description, title
from guardian.decisions.record import iso
from guardian.sink_settings import LineForm
from tests.twins_forms import HOSTILE, alerts, parse_cef, parse_leef, parse_syslog, shown, with_long_names

ABOUT = About("es-MX", "0.1.0", "guardia-1")


def test_golden(
    step: str, steps: dict[str, Alert], about: About, golden: Callable[[str, bytes], None]
) -> None:
    golden(f"rfc5424.{step}.txt", syslog.render(steps[step], about))
    golden(f"rfc5424-cef.{step}.txt", syslog.render(steps[step], about, form="cef", enterprise=64512))


@given(alert=alerts())
def test_every_field_is_read_back(alert: Alert) -> None:
    made = parse_syslog(syslog.render(alert, ABOUT, enterprise=64512))
    assert (
        made.priority
        == 10 * 8 + {"none": 6, "low": 5, "medium": 4, "high": 3, "critical": 2}[alert.level_to.word]
    )
    assert (made.timestamp, made.host, made.app) == (iso(alert.created_at), "guardia-1", "tamv-guardian")
    assert made.message_id == {"open": "OPEN", "update": "UPDATE", "resolved": "RESOLVED"}[alert.activity]
    assert list(made.data) == ["alert@64512", "origin", "meta"]
    told = made.data["alert@64512"]
    assert list(told)[:3] == ["id", "finding", "activity"]
    assert (told["id"], told["finding"], told["activity"]) == (alert.id, alert.identity, alert.activity)
    assert (told["level"], told["levelFrom"]) == (alert.level_to.word, alert.level_from.word)
    assert (told["role"], told.get("entity", "")) == (alert.role, shown(alert.entity))
    assert abs(float(told["score"]) - alert.score) <= 0.005
    assert told["suppressed"] == str(alert.suppressed)
    assert told.get("suppressedSince", "") == (iso(alert.suppressed_since) if alert.suppressed else "")
    assert told.get("layer", "L-1") == f"L{alert.layer}"
    assert ("synthetic" in told, "extrapolated" in told) == (alert.synthetic, alert.extrapolated)
    assert told.get("tags", "") == shown(",".join(alert.tags))
    assert (told.get("trace", ""), told["config"]) == (alert.trace_id, alert.config)
    assert made.data["meta"] == {"language": "es-MX"}
    assert made.data["origin"] == {"software": "TAMV Guardian", "swVersion": "0.1.0"}
    assert made.bom
    said = shown(f"{title(alert, 'es-MX')}. {description(alert, 'es-MX')}")
    assert made.message == said or said.startswith(made.message.removesuffix("…"))


@given(alert=alerts())
@settings(max_examples=25)
def test_other_forms_travel_whole_as_the_message(alert: Alert) -> None:
    for form, render, parse in (("cef", cef.render, parse_cef), ("leef", leef.render, parse_leef)):
        made = parse_syslog(syslog.render(alert, ABOUT, form=form))
        assert not made.bom
        assert made.message == render(alert, ABOUT).decode()
        assert parse(made.message)
        assert made.data == {
            "alert@32473": {"id": alert.id, "finding": alert.identity, "activity": alert.activity}
        }


@pytest.mark.parametrize(("form", "most"), [("rfc5424", 8192), ("cef", 8192), ("leef", 4096)])
@given(alert=alerts())
@settings(max_examples=25)
def test_a_message_with_long_names_fits_and_begins_with_its_ids(
    form: LineForm, most: int, alert: Alert
) -> None:
    raw = syslog.render(with_long_names(alert), ABOUT, form=form)
    assert len(raw) <= most
    assert f'id="{alert.id}" finding="{alert.identity}"'.encode() in raw[:480]
    assert b"\n" not in raw
    parse_syslog(raw)


@given(host=HOSTILE, alert=alerts())
@settings(max_examples=25)
def test_a_host_name_is_printable_and_never_empty(host: str, alert: Alert) -> None:
    made = parse_syslog(syslog.render(alert, About("en", "1", host)))
    assert made.host
    assert len(made.host) <= 255
