"""Tenzir and rsyslog read the line forms as we mean them: parsers by other people, names that an attacker would choose."""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporters.alert import Alert
from exporters.formats import About, cef, leef, syslog
from exporters.formats.sentences import title
from tests.twins_forms import shown, with_long_names

NAMES = (
    "ana",
    "a|b=c\\|d",
    "x cs1=forged act=resolved",
    '"] [evil@1 x="',
    "\r\n<34>1 - - - - - -",
    "a^sev=1^b",
    "\\",
    "trailing ",
    "ñandú 🜁",
    "\x00\x1b[2J\x85\u2028",
    "{}[]`'\"$(x)",
    "' x=y",
    "( x=y",
    "{x: y",
    '"',
)
CEF = str.maketrans({"|": "¦", '"': "”"})
LEEF = str.maketrans({"^": "ˆ", '"': "”", "'": "’"})
Reader = Callable[[list[bytes], str], list[Any]]


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """What one of Tenzir's parsers makes of lines; it may warn of nothing. It takes spaces off values."""
    program = shutil.which("tenzir") or shutil.which("tenzir", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("Tenzir is not here: no program tenzir")
    folder = tmp_path_factory.mktemp("tenzir")

    def read(lines: list[bytes], parser: str) -> list[Any]:
        file = folder / "lines.txt"
        file.write_bytes(b"".join(line + b"\n" for line in lines))
        done = subprocess.run(
            [
                program,
                f'from_file "{file}" {{read_lines}} | made = line.{parser}(raw=true) | select made | write_ndjson',
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr == ""
        return [json.loads(line)["made"] for line in done.stdout.splitlines()]

    return read


@pytest.fixture(scope="session")
def hostile(steps: dict[str, Alert]) -> list[Alert]:
    """Each name as a user's, a session's and a resource's, and as the kind of a reason; and names that are cut."""
    alert = steps["suppressed"]
    made = [
        dataclasses.replace(
            alert,
            role=role,
            entity=name,
            reasons=({**alert.reasons[0], "kind": name},),
            tags=("attack.t1110", name),
        )
        for role in ("actor", "session", "target")
        for name in NAMES
    ]
    return [*made, with_long_names(alert)]


def test_cef(read: Reader, hostile: list[Alert], about: About) -> None:
    made = read([cef.render(alert, about) for alert in hostile], "parse_cef")
    assert len(made) == len(hostile)
    for alert, told in zip(hostile, made, strict=True):
        assert (told["device_vendor"], told["name"], told["severity"]) == (
            "TAMV",
            title(alert, "es-MX"),
            "10",
        )
        extension = told["extension"]
        assert (extension["externalId"], extension["cs1"], extension["act"]) == (
            alert.id,
            alert.identity,
            "update",
        )
        key = {"actor": "suser", "session": "cs6"}.get(alert.role, "destinationServiceName")
        if len(alert.entity) < 1000:
            assert extension[key] == shown(alert.entity, keep="\r\n").translate(CEF).strip(" ")


def test_leef(read: Reader, hostile: list[Alert], about: About) -> None:
    made = read([leef.render(alert, about) for alert in hostile], "parse_leef")
    assert len(made) == len(hostile)
    for alert, told in zip(hostile, made, strict=True):
        assert (told["leef_version"], told["event_class_id"]) == ("2.0", "entity-risk-update")
        attributes = told["attributes"]
        assert (attributes["externalId"], attributes["finding"]) == (alert.id, alert.identity)
        key = {"actor": "usrName", "session": "session"}.get(alert.role, "resource")
        if len(alert.entity) < 1000:
            assert attributes[key] == shown(alert.entity).translate(LEEF).strip(" ")


def test_rfc5424(read: Reader, hostile: list[Alert], about: About) -> None:
    made = read([syslog.render(alert, about) for alert in hostile], "parse_syslog")
    assert len(made) == len(hostile)
    for alert, told in zip(hostile, made, strict=True):
        assert (told["facility"], told["severity"], told["message_id"]) == (10, 2, "UPDATE")
        data = told["structured_data"]
        assert set(data) == {"alert@32473", "origin", "meta"}
        assert (data["alert@32473"]["id"], data["alert@32473"]["finding"]) == (alert.id, alert.identity)
        if len(alert.entity) < 1000:
            assert data["alert@32473"]["entity"] == shown(alert.entity)


CONFIGURATION = """
global(workDirectory="{folder}")
module(load="imtcp")
module(load="mmpstrucdata")
input(type="imtcp" port="0" address="127.0.0.1" listenPortFileName="{folder}/port")
template(name="told" type="list" option.jsonf="on") {{
  property(outname="pri" name="pri" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="id" name="msgid" format="jsonf")
  property(outname="data" name="$!rfc5424-sd" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}}
action(type="mmpstrucdata" sd_name.lowercase="off")
action(type="omfile" file="{folder}/told" template="told")
"""


def test_rsyslog(tmp_path: Path, hostile: list[Alert], about: About) -> None:
    program = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin") or shutil.which("rsyslogd")
    if program is None:
        pytest.skip("rsyslog is not here: no program rsyslogd")
    (tmp_path / "rs.conf").write_text(CONFIGURATION.format(folder=tmp_path))
    process = subprocess.Popen([program, "-n", "-f", tmp_path / "rs.conf", "-i", tmp_path / "pid"])
    try:
        port = int(wait_for(tmp_path / "port", lines=0)[0])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
            for alert in hostile:
                raw = syslog.render(alert, about)
                peer.sendall(b"%d %b" % (len(raw), raw))
        told = [json.loads(line) for line in wait_for(tmp_path / "told", lines=len(hostile))]
    finally:
        process.terminate()
        process.wait(20)
    assert len(told) == len(hostile)
    for alert, each in zip(hostile, told, strict=True):
        head = (each["pri"], each["host"], each["app"], each["id"])
        assert head == ("82", about.host, "tamv-guardian", "UPDATE")
        data = json.loads(each["data"])
        assert set(data) == {"alert@32473", "origin", "meta"}
        assert (data["alert@32473"]["id"], data["alert@32473"]["finding"]) == (alert.id, alert.identity)
        if len(alert.entity) < 1000:
            assert data["alert@32473"]["entity"] == shown(alert.entity)
        assert each["message"].lstrip("\ufeff").startswith(title(alert, about.language))


def wait_for(file: Path, *, lines: int) -> list[str]:
    """What stands in a file, once it has something and so many whole lines."""
    until = time.monotonic() + 20
    while not (told := file.read_text("utf-8") if file.exists() else "") or told.count("\n") < lines:
        assert time.monotonic() < until
        time.sleep(0.02)
    return told.splitlines() if lines else [told]
