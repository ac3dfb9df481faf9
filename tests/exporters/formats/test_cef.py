"""CEF: a parser written from the standard reads back every field, whatever a name holds."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings

from exporters.alert import Alert
from exporters.formats import About, cef
from exporters.formats.addresses import ip_version
from exporters.formats.sentences import description, title
from tests.twins_forms import alerts, parse_cef, shown, with_long_names

ABOUT = About("es-MX", "0.1.0", "guardia-1")
MOST_BYTES = {
    "suser": 1023,
    "shost": 1023,
    "msg": 1023,
    "cs3": 4000,
    "cs6": 4000,
    "destinationServiceName": 1023,
}


def test_golden(
    step: str, steps: dict[str, Alert], about: About, golden: Callable[[str, bytes], None]
) -> None:
    golden(f"cef.{step}.txt", cef.render(steps[step], about))


@given(alert=alerts())
def test_every_field_is_read_back(alert: Alert) -> None:
    header, told = parse_cef(cef.render(alert, ABOUT).decode())
    assert header == (
        "CEF:0",
        "TAMV",
        "TAMV Guardian",
        "0.1.0",
        "entity-risk",
        title(alert, "es-MX"),
        header[-1],
    )
    assert int(header[-1]) == cef.SEVERITY[alert.level_to]
    assert told["externalId"] == alert.id
    assert labelled(told, "finding") == alert.identity
    assert told["act"] == alert.activity
    assert told["rt"] == str(alert.created_at // 10**6)
    assert told["cat"] == alert.role
    assert entity(told, alert) == value(alert.entity)
    assert labelled(told, "level") == alert.level_to.word
    assert labelled(told, "levelFrom") == alert.level_from.word
    assert labelled(told, "suppressed") == str(alert.suppressed)
    assert told.get("start", "0") == str(alert.suppressed_since // 10**6)
    assert abs(float(labelled(told, "score")) - alert.score) <= 0.005
    assert told.get("deviceFacility", "L-1") == f"L{alert.layer}"
    assert ("synthetic" in labelled(told, "marks")) is alert.synthetic
    assert ("extrapolated" in labelled(told, "marks")) is alert.extrapolated
    assert labelled(told, "attack") == value(",".join(alert.tags))
    assert labelled(told, "trace") == alert.trace_id
    assert labelled(told, "config") == alert.config
    said = value(description(alert, "es-MX"))
    assert told["msg"] == said or said.startswith(told["msg"].removesuffix("…"))


def test_keys_are_those_that_were_meant(steps: dict[str, Alert]) -> None:
    """A hostile name adds no key: the keys of a line follow from which values are there, not from what they hold."""
    quiet = parse_cef(cef.render(steps["open"], ABOUT).decode()).extension
    hostile = with_long_names(steps["open"])
    assert list(parse_cef(cef.render(hostile, ABOUT).decode()).extension) == list(quiet)


@given(alert=alerts())
@settings(max_examples=25)
def test_long_names_are_cut_to_the_sizes_of_the_dictionary(alert: Alert) -> None:
    told = parse_cef(cef.render(with_long_names(alert), ABOUT).decode()).extension
    assert (told["externalId"], labelled(told, "finding")) == (alert.id, alert.identity)
    for key, most in MOST_BYTES.items():
        assert len(told.get(key, "").encode()) <= most


def labelled(told: dict[str, str], label: str) -> str:
    found = [
        told[key.removesuffix("Label")]
        for key, each in told.items()
        if key.endswith("Label") and each == label
    ]
    assert len(found) <= 1
    return found[0] if found else ""


def value(text: str) -> str:
    return shown(text, keep="\r\n").replace("|", "¦").replace('"', "”")


def entity(told: dict[str, str], alert: Alert) -> str:
    if alert.role == "session":
        return labelled(told, "session")
    version = ip_version(alert.entity)
    if alert.role == "address" and version == 6:
        return labelled(told, "Source IPv6 Address")
    host = "src" if version == 4 else "shost"
    return told.get({"actor": "suser", "address": host}.get(alert.role, "destinationServiceName"), "")
