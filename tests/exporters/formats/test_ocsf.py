"""OCSF findings: what the official schemas demand, what never enters, golden findings, an independent caster."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from exporters.alert import Alert
from exporters.formats import About, ocsf
from exporters.formats.sentences import description, title
from guardian.levels import Level
from tests.twins_forms import alerts, with_long_names

ABOUT = About("es-MX", "0.1.0", "guardia-1")
VERSIONS: tuple[ocsf.Version, ...] = get_args(ocsf.Version)


@cache
def validator(version: str) -> jsonschema.Draft202012Validator:
    """The official schema of one version: unknown attributes are refused, required ones enforced, at every depth."""
    whole = OcsfJsonSchemaEmbedded(get_ocsf_schema(version))
    return jsonschema.Draft202012Validator(whole.get_class_schema("detection_finding"))


def problems(finding: dict[str, Any], version: str) -> list[str]:
    return [f"{each.json_path}: {each.message}" for each in validator(version).iter_errors(finding)]


def test_golden(
    step: str, steps: dict[str, Alert], about: About, golden: Callable[[str, bytes], None]
) -> None:
    golden(f"ocsf.{step}.json", ocsf.render(steps[step], about))


@given(alert=alerts(), version=st.sampled_from(VERSIONS))
def test_every_finding_is_valid_and_says_every_field(alert: Alert, version: ocsf.Version) -> None:
    told = json.loads(ocsf.render(alert, ABOUT, version=version))
    assert problems(told, version) == []
    assert told["metadata"]["version"] == version
    assert told["time"] == alert.created_at // 10**6
    assert (told["metadata"]["uid"], told["finding_info"]["uid"]) == (alert.id, alert.identity)
    assert told["type_uid"] == told["class_uid"] * 100 + told["activity_id"]
    assert (told["finding_info"]["title"], told["finding_info"]["desc"]) == (
        title(alert, "es-MX"),
        description(alert, "es-MX"),
    )
    assert told["finding_info"]["analytic"]["uid"] == alert.config
    assert told["evidences"][0]["data"] == {"reasons": list(alert.reasons), "event": alert.event}
    (observable,) = told["observables"]
    assert at_path(told, observable["name"]) == observable["value"] == alert.entity
    ours = told["unmapped"]["tamv"]
    assert (ours["score"], ours["levelFrom"], ours["levelTo"]) == (
        alert.score,
        alert.level_from.word,
        alert.level_to.word,
    )
    assert (ours["synthetic"], ours["extrapolated"]) == (alert.synthetic, alert.extrapolated)
    assert (ours["tags"], ours["traceId"] or "") == (list(alert.tags), alert.trace_id)
    if alert.suppressed:
        assert (told["count"], told["start_time"], told["end_time"]) == (
            alert.suppressed + 1,
            alert.suppressed_since // 10**6,
            alert.created_at // 10**6,
        )
    else:
        assert "count" not in told


@given(alert=alerts())
@settings(max_examples=25)
def test_long_names_are_cut_and_the_ids_kept(alert: Alert) -> None:
    raw = ocsf.render(with_long_names(alert), ABOUT)
    told = json.loads(raw)
    assert problems(told, "1.8.0") == []
    assert (told["metadata"]["uid"], told["finding_info"]["uid"]) == (alert.id, alert.identity)
    assert len(raw) < 64 * 1024


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_refuse_what_is_wrong(
    steps: dict[str, Alert], about: About, version: ocsf.Version
) -> None:
    """The judge can say no: unknown attributes at the top and below, and each required one when it is missing."""
    told = ocsf.detection_finding(steps["open"], about, version=version)
    assert problems(told | {"colour": "red"}, version)
    assert problems(told | {"finding_info": {**told["finding_info"], "colour": "red"}}, version)
    assert problems(told | {"severity_id": 7}, version)
    assert problems(told | {"time": "now"}, version)
    for required in (
        "activity_id",
        "category_uid",
        "class_uid",
        "type_uid",
        "time",
        "severity_id",
        "metadata",
    ):
        assert problems({key: value for key, value in told.items() if key != required}, version), required
    assert problems(told | {"finding_info": {"title": "x"}}, version)


def test_versions_differ_in_what_they_say_they_are(steps: dict[str, Alert], about: About) -> None:
    newest = ocsf.detection_finding(steps["update"], about)
    for version in VERSIONS:
        older = ocsf.detection_finding(steps["update"], about, version=version)
        assert older | {"metadata": newest["metadata"]} == newest


LIFE = {
    "open": (1, 1, "created_time"),
    "update": (2, 2, "modified_time"),
    "resolved": (3, 4, "modified_time"),
}


@pytest.mark.parametrize("step_", LIFE)
def test_the_life_cycle_has_one_uid(steps: dict[str, Alert], about: About, step_: str) -> None:
    activity_id, status_id, time = LIFE[step_]
    told = ocsf.detection_finding(steps[step_], about)
    assert (told["activity_id"], told["status_id"]) == (activity_id, status_id)
    assert told["finding_info"]["uid"] == steps["open"].id
    assert told["finding_info"][time] == told["time"]
    assert told["metadata"]["uid"] == steps[step_].id


def test_tags_of_rules_become_attacks(steps: dict[str, Alert], about: About) -> None:
    told = ocsf.detection_finding(steps["open"], about)
    assert told["finding_info"]["attacks"] == [
        {"tactic": {"uid": "TA0006", "name": "Credential Access"}},
        {"technique": {"uid": "T1110"}, "sub_technique": {"uid": "T1110.003"}},
    ]
    assert told["unmapped"]["tamv"]["tags"] == list(steps["open"].tags)


def test_levels_are_severities_and_risks(steps: dict[str, Alert], about: About) -> None:
    told = [
        ocsf.detection_finding(dataclasses.replace(steps["open"], level_to=level), about) for level in Level
    ]
    assert [each["severity_id"] for each in told] == [1, 2, 3, 4, 5]
    assert [each["risk_level_id"] for each in told] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("address", "key", "type_id"),
    [
        ("203.0.113.9", "ip", 2),
        ("2001:db8::1", "ip", 2),
        ("gateway-7", "hostname", 1),
        ("fe80::1%eth0", "hostname", 1),
    ],
)
def test_an_address_is_an_ip_or_a_host_name(
    steps: dict[str, Alert], about: About, address: str, key: str, type_id: int
) -> None:
    told = ocsf.detection_finding(dataclasses.replace(steps["open"], role="address", entity=address), about)
    assert told["evidences"][0]["src_endpoint"] == {key: address}
    assert told["observables"][0]["type_id"] == type_id


CAST = """
from_file "{file}" {{read_ndjson}}
| time = time.milliseconds().from_epoch()
| start_time = start_time?.milliseconds().from_epoch()
| end_time = end_time?.milliseconds().from_epoch()
| finding_info.created_time = finding_info.created_time?.milliseconds().from_epoch()
| finding_info.modified_time = finding_info.modified_time?.milliseconds().from_epoch()
| observables = observables.map(each => {{...each, value: string(each.value)}})
| ocsf_cast
| write_ndjson
"""
"""OCSF's JSON has times as milliseconds and addresses as text; Tenzir casts its own types."""


def cast(folder: Path, findings: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """What Tenzir makes of findings, and what it warns of."""
    program = shutil.which("tenzir") or shutil.which("tenzir", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("Tenzir is not here: no program tenzir")
    file = folder / "findings.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in findings))
    done = subprocess.run(
        [program, CAST.format(file=file)], capture_output=True, text=True, timeout=60, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_tenzir_casts_every_finding_without_a_warning(
    tmp_path: Path, steps: dict[str, Alert], about: About
) -> None:
    entities = {"actor": "ana", "address": "2001:db8::1", "target": "db-1", "session": "s-1"}
    findings = [
        ocsf.detection_finding(dataclasses.replace(alert, role=role, entity=entity), about, version=version)
        for alert in steps.values()
        for role, entity in entities.items()
        for version in VERSIONS
    ]
    made, warnings = cast(tmp_path, findings)
    assert warnings == ""
    assert [each["finding_info"]["uid"] for each in made] == [
        each["finding_info"]["uid"] for each in findings
    ]
    assert [each["metadata"]["version"] for each in made] == [
        each["metadata"]["version"] for each in findings
    ]


def test_tenzir_does_warn(tmp_path: Path, steps: dict[str, Alert], about: About) -> None:
    told = ocsf.detection_finding(steps["open"], about)
    _, warnings = cast(tmp_path, [told | {"colour": "red"}])
    assert "colour" in warnings


def at_path(found: Any, path: str) -> Any:
    """The value at an OCSF attribute path, first element of each list."""
    for part in path.split("."):
        found = found[part.removesuffix("[]")]
        if part.endswith("[]"):
            found = found[0]
    return found
