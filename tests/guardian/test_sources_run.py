"""Sources in a running service: what they deliver is scored exactly once, over kills, restarts and rotation."""

from __future__ import annotations

import json
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.guardian.test_run import Running, running

CONFIG = """
[journal]
snapshot_interval_s = 0.3

[[sources]]
name = "app"
type = "file"
paths = ["{logs}/app.log"]
map = "tamv"

[[sources]]
name = "edge"
type = "syslog-tcp"
port = {port}
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def event(number: int) -> bytes:
    stamp = datetime.fromtimestamp(time.time() - 60, UTC).isoformat()
    return json.dumps({"timestamp": stamp, "action": "view", "user_id": f"u{number % 40}"}).encode() + b"\n"


def counted(service: Running, name: str) -> list[str]:
    told: Any = service.get("/metrics")
    return [line for line in told.splitlines() if line.startswith(name)]


def connect(port: int) -> socket.socket:
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the listener did not come up")


def test_each_line_of_a_file_counts_once_over_kills_and_rotation(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    log = logs / "app.log"
    log.touch()
    port = free_port()
    config = CONFIG.format(logs=logs, port=port)
    written = 0
    for round_ in range(3):
        with log.open("ab") as file:  # while nobody looks
            for _ in range(500):
                file.write(event(written))
                written += 1
        with running(tmp_path / "data", config=config) as service:
            with log.open("ab") as file:
                for _ in range(500):
                    file.write(event(written))
                    written += 1
            if round_ == 1:
                log.rename(logs / "app.log.1")
                log.touch()
            assert service.events_scored(written) == written
            assert 'tamv_guardian_source_up{source="app"} 1.0' in counted(service, "tamv_guardian_source_up")
            service.process.kill()
            service.process.wait()
    with running(tmp_path / "data", config=config) as service:
        time.sleep(1.0)
        assert service.events_scored(written) == written


def test_syslog_over_tcp_is_scored_by_its_template(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    port = free_port()
    with running(tmp_path / "data", config=CONFIG.format(logs=tmp_path / "logs", port=port)) as service:
        stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        with connect(port) as counting, connect(port) as lining:
            for number in range(200):
                told = f"<38>1 {stamp} node-{number % 3} sshd {number} - - Failed password for root from 203.0.113.9 port {number}"
                if number % 2:
                    counting.sendall(f"{len(told)} {told}".encode())
                else:
                    lining.sendall(f"{told}\n".encode())
        assert service.events_scored(200) == 200
        entities = service.get("/api/v1/entities?limit=50")["items"]
        scores = {(each["role"], each["entity"]): each["score"] for each in entities}
        assert scores["actor", "root"] > 55.0, (
            "five failed logins in five minutes are high, and fall with time"
        )
        assert ("address", "203.0.113.9") in scores
