"""LEEF 2.0: a parser written from IBM's description reads back every field, whatever a name holds."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings

from exporters.alert import Alert
from exporters.formats import About, leef
from exporters.formats.addresses import ip_version
from exporters.formats.sentences import description, title
from guardian.decisions.record import iso
from tests.twins_forms import alerts, parse_leef, shown, with_long_names

ABOUT = About("en", "0.1.0|x", "guardia-1")


def test_golden(
    step: str, steps: dict[str, Alert], about: About, golden: Callable[[str, bytes], None]
) -> None:
    golden(f"leef.{step}.txt", leef.render(steps[step], about))


@given(alert=alerts())
def test_every_field_is_read_back(alert: Alert) -> None:
    header, told = parse_leef(leef.render(alert, ABOUT).decode())
    assert header == ("LEEF:2.0", "TAMV", "TAMV Guardian", "0.1.0/x", f"entity-risk-{alert.activity}")
    assert told["externalId"] == alert.id
    assert told["finding"] == alert.identity
    assert told["activity"] == alert.activity
    assert told["cat"] == alert.level_to.word
    assert int(told["sev"]) == leef.SEVERITY[alert.level_to]
    assert told["devTime"] == iso(alert.created_at).replace("T", " ").replace("Z", "+0000")
    assert told["role"] == alert.role
    assert told.get(key(alert), "") == value(alert.entity)
    assert told["levelFrom"] == alert.level_from.word
    assert abs(float(told["score"]) - alert.score) <= 0.005
    assert told["suppressed"] == str(alert.suppressed)
    assert told.get("suppressedSince", "") == (iso(alert.suppressed_since) if alert.suppressed else "")
    assert told.get("layer", "L-1") == f"L{alert.layer}"
    assert ("synthetic" in told, "extrapolated" in told) == (alert.synthetic, alert.extrapolated)
    assert told.get("attack", "") == value(",".join(alert.tags))
    assert told.get("trace", "") == alert.trace_id
    assert told["config"] == alert.config
    assert told["name"] == title(alert, "en")
    said = value(description(alert, "en"))
    assert told["msg"] == said or said.startswith(told["msg"].removesuffix("…"))


@given(alert=alerts())
@settings(max_examples=25)
def test_a_line_with_long_names_fits_and_keeps_its_ids(alert: Alert) -> None:
    made = leef.render(with_long_names(alert), ABOUT)
    told = parse_leef(made.decode()).attributes
    assert (told["externalId"], told["finding"]) == (alert.id, alert.identity)
    assert len(made) <= 3_600


def value(text: str) -> str:
    return shown(text).replace("^", "ˆ").translate({ord('"'): "”", ord("'"): "’"})


def key(alert: Alert) -> str:
    host = "src" if ip_version(alert.entity) else "srcHost"
    return {"actor": "usrName", "session": "session", "address": host}.get(alert.role, "resource")
