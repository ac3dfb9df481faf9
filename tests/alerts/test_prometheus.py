"""A real Prometheus loads the rules, scrapes a service that says what we want, and tells a receiver of alerts.

The receiver speaks Alertmanager's v2 protocol: ours, and the real one where it is installed.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.alerts.rule_files import FOLDER, RULES

PROMETHEUS: Final = shutil.which("prometheus")
ALERTMANAGER: Final = shutil.which("prometheus-alertmanager")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None, reason="no prometheus on this machine (Debian package prometheus)"
)
needs_alertmanager = pytest.mark.skipif(
    ALERTMANAGER is None, reason="no Alertmanager on this machine (Debian package prometheus-alertmanager)"
)
_PATIENCE_S: Final = 30.0


class Pretender(ThreadingHTTPServer):
    """Gives the metrics that it is told to give, and keeps the alerts that it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.level = 1
        self.told: list[tuple[datetime, dict[str, Any]]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def metrics(self) -> bytes:
        lines = [
            "# TYPE tamv_guardian_threat_level gauge",
            f'tamv_guardian_threat_level{{scope="global",id=""}} {self.level}',
            'tamv_guardian_threat_level{scope="layer",id="L5"} 1',
            "# TYPE tamv_guardian_events_total counter",
            "tamv_guardian_events_total 12",
        ]
        return "\n".join([*lines, ""]).encode()

    def about(self, name: str) -> list[tuple[datetime, dict[str, Any]]]:
        return [(at, alert) for at, alert in self.told if alert["labels"]["alertname"] == name]


class _Handler(BaseHTTPRequestHandler):
    server: Pretender

    def do_GET(self) -> None:
        self._answer(self.server.metrics())

    def do_POST(self) -> None:
        assert self.path == "/api/v2/alerts"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.told += [(datetime.now(UTC), alert) for alert in body]
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the library names it)
        """Say nothing."""


@pytest.fixture
def pretender() -> Iterator[Pretender]:
    with Pretender() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(*command: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=_PATIENCE_S)


@contextmanager
def _prometheus(folder: Path, pretender: Pretender, receivers: Sequence[str]) -> Iterator[str]:
    """Prometheus with our rules, the service as its job "guardian", and these receivers."""
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(FOLDER / "*.rules.yml")],
        "scrape_configs": [{"job_name": "guardian", "static_configs": [{"targets": [pretender.address]}]}],
        "alerting": {
            "alertmanagers": [{"api_version": "v2", "static_configs": [{"targets": list(receivers)}]}]
        },
    }
    (folder / "p.yml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    address = f"127.0.0.1:{_free_port()}"
    assert PROMETHEUS is not None
    with _running(
        PROMETHEUS,
        f"--config.file={folder / 'p.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
    ):
        yield f"http://{address}"


def _get(url: str) -> Any:
    """What is there, or nothing while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.loads(answer.read())
    except (urllib.error.URLError, ConnectionError):
        return None


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def _rules(url: str) -> list[dict[str, Any]]:
    found = _get(f"{url}/api/v1/rules")
    return [rule for group in found["data"]["groups"] for rule in group["rules"]] if found else []


def _evaluated(url: str) -> bool:
    rules = _rules(url)
    return bool(rules) and all(rule["health"] != "unknown" for rule in rules)


@needs_prometheus
def test_an_alert_is_raised_and_resolved(tmp_path: Path, pretender: Pretender):
    name = "GuardianThreatCritical"
    with _prometheus(tmp_path, pretender, [pretender.address]) as url:
        _until(lambda: _evaluated(url))
        assert {rule["name"] for rule in _rules(url)} == set(RULES)
        assert {rule["health"] for rule in _rules(url)} == {"ok"}
        assert pretender.about(name) == []
        pretender.level = 4
        _until(lambda: bool(pretender.about(name)))
        at, alert = pretender.about(name)[0]
        assert alert["labels"] == {
            "alertname": name,
            "severity": "critical",
            "owner": "seguridad",
            "scope": "global",
            "job": "guardian",
        }
        for key in ("summary", "summary_en", "description", "description_en", "runbook_url", "dashboard"):
            assert alert["annotations"][key] == RULES[name].told(key)
        assert _ends(alert) > at
        pretender.level = 1
        _until(lambda: any(_ends(alert) <= at for at, alert in pretender.about(name)))


def _ends(alert: dict[str, Any]) -> datetime:
    """When an alert is over: in the future while it goes on."""
    return datetime.fromisoformat(alert["endsAt"])


@needs_prometheus
@needs_alertmanager
def test_a_real_alertmanager_takes_it(tmp_path: Path, pretender: Pretender):
    (tmp_path / "am.yml").write_text(
        json.dumps({"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}), encoding="utf-8"
    )
    address = f"127.0.0.1:{_free_port()}"

    def active() -> list[dict[str, Any]]:
        url = f"http://{address}/api/v2/alerts?active=true&filter=alertname%3DGuardianThreatCritical"
        found: list[dict[str, Any]] | None = _get(url)
        return found or []

    assert ALERTMANAGER is not None
    alertmanager = _running(
        ALERTMANAGER,
        f"--config.file={tmp_path / 'am.yml'}",
        f"--storage.path={tmp_path / 'am'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    )
    with alertmanager, _prometheus(tmp_path, pretender, [address]) as url:
        _until(lambda: _evaluated(url) and _get(f"http://{address}/api/v2/status") is not None)
        pretender.level = 4
        _until(lambda: bool(active()))
        assert active()[0]["annotations"]["runbook_url"] == "docs/runbooks/GuardianThreatCritical.md"
        pretender.level = 1
        _until(lambda: not active())
