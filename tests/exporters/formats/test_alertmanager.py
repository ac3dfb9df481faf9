"""Alertmanager: labels that never change in a life, times of the life cycle, both languages."""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings

from exporters.alert import Alert
from exporters.formats import About, alertmanager
from exporters.formats.sentences import description, title
from guardian.decisions.record import iso
from tests.twins_forms import alerts, with_long_names

ABOUT = About("en", "0.1.0", "guardia-1")


def test_golden(
    step: str, steps: dict[str, Alert], about: About, golden: Callable[[str, bytes], None]
) -> None:
    golden(f"alertmanager.{step}.json", alertmanager.render(steps[step], about))


def test_labels_are_the_same_from_the_opening_to_the_end(steps: dict[str, Alert], about: About) -> None:
    labels = [alertmanager.posted(steps[step], about)["labels"] for step in ("open", "update", "resolved")]
    assert labels[0] == labels[1] == labels[2]
    assert set(labels[0]) == {"alertname", "service", "role", "entity"}


@given(alert=alerts())
def test_every_field_is_read_back(alert: Alert) -> None:
    told = json.loads(alertmanager.render(alert, ABOUT))
    labels, notes = told["labels"], told["annotations"]
    assert all(isinstance(each, str) for each in (*labels.values(), *notes.values()))
    assert (labels["role"], labels["entity"]) == (alert.role, alert.entity)
    assert labels.get("synthetic") == ("true" if alert.synthetic else None)
    assert not {alert.id, alert.identity, f"{alert.score:.2f}"} & (set(labels.values()) - {alert.entity})
    assert (notes["alert"], notes["finding"]) == (alert.id, alert.identity)
    for suffix, language in (("", "es-MX"), ("_en", "en")):
        assert notes[f"summary{suffix}"] == title(alert, language)
        assert notes[f"description{suffix}"] == description(alert, language)
    assert (notes["level"], notes["level_from"]) == (alert.level_to.word, alert.level_from.word)
    assert notes.get("suppressed", "0") == str(alert.suppressed)
    assert notes.get("layer", "L-1") == f"L{alert.layer}"
    over = alert.activity == "resolved"
    assert (told.get("startsAt"), told.get("endsAt")) == (
        None if over else iso(alert.created_at),
        iso(alert.created_at) if over else None,
    )
    assert datetime.fromisoformat(told.get("endsAt") or told["startsAt"]).tzinfo is not None


@given(alert=alerts())
def test_the_address_leads_to_the_entity(alert: Alert) -> None:
    address = urlsplit(alertmanager.posted(alert, ABOUT)["generatorURL"])
    assert (address.scheme, address.netloc, address.query) == ("http", "guardia-1", "")
    assert address.path.isascii()
    *_, role, name = address.path.split("/")
    assert (unquote(role), unquote(name)) == (alert.role, alert.entity)


@given(alert=alerts())
@settings(max_examples=25)
def test_two_long_names_are_two_alerts(alert: Alert) -> None:
    long = with_long_names(alert)
    first = alertmanager.posted(long, ABOUT)
    second = alertmanager.posted(dataclasses.replace(long, entity=long.entity + "x"), ABOUT)
    assert first["labels"] != second["labels"]
    assert len(first["labels"]["entity"].encode()) <= 1024
    assert first["generatorURL"] == "http://guardia-1/api/v1/alerts"
    assert first["annotations"]["alert"] == alert.id


@pytest.mark.parametrize(
    ("url", "host", "expected"),
    [("https://g.example", "h", "https://g.example/"), ("", "h", "http://h/"), ("", "h h", "http://h-h/")],
)
def test_where_people_reach_it(steps: dict[str, Alert], url: str, host: str, expected: str) -> None:
    told = alertmanager.posted(steps["open"], About("en", "1", host, url))
    assert told["generatorURL"].startswith(expected)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real Alertmanager on a free port of loopback."""
    program = shutil.which("prometheus-alertmanager")
    if program is None:
        pytest.skip("Alertmanager is not here: no program prometheus-alertmanager")
    (tmp_path / "am.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [
            program,
            f"--config.file={tmp_path / 'am.yml'}",
            f"--storage.path={tmp_path / 'data'}",
            "--cluster.listen-address=",
            f"--web.listen-address={address}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://{address}/-/ready")
        yield f"http://{address}/api/v2/alerts"
    finally:
        process.terminate()
        process.wait(20)


def test_alertmanager_takes_a_life_as_one_alert(server: str, steps: dict[str, Alert], about: About) -> None:
    begun = time.time_ns() - 60 * 10**9
    told = []
    for seconds, step in enumerate(("open", "update", "suppressed", "resolved")):
        alert = dataclasses.replace(steps[step], created_at=begun + seconds * 10**9, synthetic=False)
        post(server, alertmanager.render(alert, about))
        told.append([(each["startsAt"], each["annotations"]["alert"]) for each in get(server)])
    since = iso(begun)
    assert told == [[(since, steps[step].id)] for step in ("open", "update", "suppressed")] + [[]]


def test_alertmanager_takes_every_name(server: str, steps: dict[str, Alert]) -> None:
    names = ("a\x00b", '"]{}\n', "\u202e", "Ж|=", "x" * 100_000, "y" * 100_000)
    for name in names:
        alert = dataclasses.replace(steps["open"], entity=name, created_at=time.time_ns())
        post(server, alertmanager.render(alert, About("en", "1", "a host of 'odd' name")))
    assert len(get(server)) == len(names)


def post(url: str, body: bytes) -> None:
    request = urllib.request.Request(url, b"[" + body + b"]", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


def wait_for(url: str) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=20):
                return
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.05)
