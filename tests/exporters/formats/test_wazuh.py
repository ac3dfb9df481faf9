"""Wazuh: flat lines, and the decoder and rules that read them, run by a small interpreter of their conditions."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings

from exporters.alert import Alert
from exporters.formats import About, wazuh
from exporters.formats.addresses import ip_version
from exporters.formats.sentences import description, title
from guardian.decisions.record import iso
from guardian.levels import Level
from tests.twins_forms import alerts, with_long_names

ABOUT = About("es-MX", "0.1.0", "guardia-1")
FOLDER = Path(__file__).parents[3] / "alerts" / "wazuh"
LEVELS = {Level.LOW: 5, Level.MEDIUM: 7, Level.HIGH: 12, Level.CRITICAL: 14}
ENTITY = {"actor": "srcuser", "target": "resource", "session": "session"}
MOST_BYTES = 65_536
"""Of one line that logcollector takes."""


def test_golden(
    step: str, steps: dict[str, Alert], about: About, golden: Callable[[str, bytes], None]
) -> None:
    golden(f"wazuh.{step}.json", wazuh.render(steps[step], about))


@given(alert=alerts())
def test_every_field_is_read_back(alert: Alert) -> None:
    raw = wazuh.render(alert, ABOUT)
    assert b"\n" not in raw
    told = json.loads(raw)
    assert not any(isinstance(value, dict | list) or value is None for value in told.values())
    assert (told["alert_id"], told["finding"], told["activity"]) == (alert.id, alert.identity, alert.activity)
    assert (told["title"], told["description"]) == (title(alert, "es-MX"), description(alert, "es-MX"))
    assert (told["level"], told["level_from"]) == (alert.level_to.word, alert.level_from.word)
    assert (told["score"], told["timestamp"]) == (alert.score, iso(alert.created_at))
    assert (told["role"], told["entity"]) == (alert.role, alert.entity)
    host = "srcip" if ip_version(alert.entity) else "srchost"
    assert told[ENTITY.get(alert.role, host)] == alert.entity
    assert (told["synthetic"], told["extrapolated"]) == (alert.synthetic, alert.extrapolated)
    assert told["suppressed"] == alert.suppressed
    assert told.get("suppressed_since", "") == (iso(alert.suppressed_since) if alert.suppressed else "")
    assert told.get("layer", "L-1") == f"L{alert.layer}"
    assert told.get("tags", "") == ", ".join(alert.tags)
    assert (told.get("trace", ""), told["config"], told["event"]) == (
        alert.trace_id,
        alert.config,
        alert.event,
    )


@given(alert=alerts())
@settings(max_examples=25)
def test_a_line_with_long_names_fits(alert: Alert) -> None:
    raw = wazuh.render(with_long_names(alert), ABOUT)
    assert len(raw) < MOST_BYTES
    assert json.loads(raw)["alert_id"] == alert.id


class Rule(NamedTuple):
    """One rule: its conditions, all of which must hold."""

    id: int
    level: int
    parents: frozenset[int]
    decoder: str
    fields: dict[str, str]
    description: str


def rules() -> list[Rule]:
    root = ET.parse(FOLDER / "tamv-guardian_rules.xml").getroot()
    assert root.tag == "group"
    return [
        Rule(
            int(each.attrib["id"]),
            int(each.attrib["level"]),
            frozenset(int(sid) for sid in each.findtext("if_sid", "").split(",") if sid),
            each.findtext("decoded_as", ""),
            {field.attrib["name"]: field.text or "" for field in each.findall("field")},
            each.findtext("description", ""),
        )
        for each in root.findall("rule")
    ]


def decoded(line: str, program: str = "") -> tuple[str, dict[str, str]]:
    """Wazuh's decoders for a line: its own ``json`` sees lines without a program name, ours those with one."""
    root = ET.fromstring(f"<all>{(FOLDER / 'tamv-guardian_decoders.xml').read_text(encoding='utf-8')}</all>")
    for each in root.findall("decoder") if program else []:
        matches = re.search(each.findtext("program_name", ""), program)
        if matches and re.search(re.sub(r"(?<!\\)\{", r"\{", each.findtext("prematch", "")), line):
            assert each.findtext("plugin_decoder") == "JSON_Decoder"
            return each.attrib["name"], fields(json.loads(line))
    return ("json", fields(json.loads(line))) if not program and re.search(r'^\{\s*"', line) else ("", {})


def fields(told: dict[str, Any]) -> dict[str, str]:
    """JSON_Decoder turns every value into text; booleans as JSON writes them."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}


def fired(line: str, program: str = "") -> Rule | None:
    """The rule that fires: of those whose parent matched, the first in Wazuh's order, the deepest one."""
    decoder, told = decoded(line, program)
    all_rules = rules()

    def matching(parent: int | None) -> Iterator[Rule]:
        # Children are tried by falling level; rules of level 0 come first.
        for rule in sorted(all_rules, key=lambda each: (each.level != 0, -each.level)):
            below = parent in rule.parents if parent is not None else not rule.parents
            if (
                below
                and rule.decoder in {"", decoder}
                and all(re.search(pattern, told.get(name, "")) for name, pattern in rule.fields.items())
            ):
                yield rule

    found, parent = None, None
    while rule := next(matching(parent), None):
        found, parent = rule, rule.id
    return found


def test_ids_are_those_of_custom_rules_and_levels_those_of_wazuh() -> None:
    found = rules()
    assert len({rule.id for rule in found}) == len(found)
    assert all(100_000 <= rule.id <= 120_000 and 0 <= rule.level <= 15 for rule in found)
    assert all(rule.parents <= {other.id for other in found} for rule in found)


@pytest.mark.parametrize("program", ["", "tamv-guardian"])
def test_each_step_fires_its_rule(steps: dict[str, Alert], about: About, program: str) -> None:
    expected = {
        "open": (100813, 12),
        "update": (100814, 14),
        "suppressed": (100820, 3),
        "resolved": (100810, 3),
    }
    for step, alert in steps.items():
        rule = fired(wazuh.render(alert, about).decode(), program)
        assert rule is not None
        assert (rule.id, rule.level) == expected[step], step
        assert "$(title)" in rule.description


@pytest.mark.parametrize("level", LEVELS)
def test_levels_map_to_levels(steps: dict[str, Alert], about: About, level: Level) -> None:
    rule = fired(wazuh.render(dataclasses.replace(steps["open"], level_to=level), about).decode())
    assert rule is not None
    assert rule.level == LEVELS[level]


def test_fields_that_rules_name_are_fields_of_a_line(steps: dict[str, Alert], about: About) -> None:
    told = wazuh.line(steps["open"], about)
    for rule in rules():
        assert set(rule.fields) <= set(told)
        assert set(re.findall(r"\$\((\w+)\)", rule.description)) <= set(told)


def test_lines_of_others_fire_nothing(steps: dict[str, Alert], about: About) -> None:
    told = wazuh.line(steps["open"], about)
    assert fired(json.dumps(told | {"integration": "other"})) is None
    assert fired(json.dumps(told | {"integration": "other"}), "tamv-guardian") is None
    assert fired(wazuh.render(steps["open"], about).decode(), "sshd") is None


@given(alert=alerts())
def test_no_name_changes_which_rule_fires(alert: Alert) -> None:
    calm = dataclasses.replace(alert, entity="x", reasons=(), tags=())
    assert fired(wazuh.render(alert, ABOUT).decode()) == fired(wazuh.render(calm, ABOUT).decode())
