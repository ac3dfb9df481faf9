"""Kill -9 at random moments under load: nothing that was acknowledged is lost, nothing counts twice.

A real service is fed over HTTP and killed again and again, also while it starts. With one sender the order of bodies is
known, so that the state at the end can be held, byte for byte, beside that of a service that nobody disturbed.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TITLE = "Kill -9 at random moments under load"
GOAL = (
    "0 acknowledged events lost, 0 duplicate alert ids, final state equal bit for bit to an undisturbed run"
)

CONFIG = """
[journal]
snapshot_interval_s = 0.5
segment_bytes = 200000
"""
STARTED = time.time() - 6 * 3600
MOST_LINES = 300
PATIENCE_S = 60.0

Row = dict[str, Any]


@dataclass
class Tally:
    """What senders were told, and what may have been kept without their knowing."""

    acknowledged: int = 0
    unknown: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Service:
    """A service that can be killed at any moment and started again on the same folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder.with_suffix(".toml")
        self.config.write_text(CONFIG)
        self.process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self, *, kill_after_s: float | None = None) -> bool:
        """Start; False if it was killed before it was ready."""
        command = [sys.executable, "-m", "guardian", "run", "--data-dir", str(self.folder)]
        self.process = subprocess.Popen(
            [*command, "--config", str(self.config), "--port", "0", "--xr-port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if kill_after_s is not None:
            threading.Timer(kill_after_s, self.process.kill).start()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("guardian listening on "):
                self.port = int(line.rpartition(":")[2])
                return True
        self.process.wait()
        return False

    def kill(self) -> None:
        """As a power switch for the process."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def stop(self) -> None:
        """In good order."""
        assert self.process is not None
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0

    def events(self, at_least: int) -> int:
        """Events scored, once they are at least as many."""
        until = time.monotonic() + PATIENCE_S
        while True:
            found = int(json.loads(self.ask("GET", "/api/v1/guardian"))["events"])
            if found >= at_least or time.monotonic() > until:
                return found
            time.sleep(0.02)

    def send(self, body: bytes, count: int) -> None:
        """Have a body accepted; raises as ``ask``."""
        accepted = json.loads(self.ask("POST", "/api/v1/events?map=tamv", body))["accepted"]
        if accepted != count:
            raise RuntimeError(f"{accepted} of {count} events were accepted")

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """One request on a connection of its own. Raises OSError or HTTPException when the service goes away."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {"Content-Type": "application/x-ndjson"})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {data[:200]!r}")
        return data


def bodies(seed: int, sender: int = 0) -> Iterator[tuple[bytes, int]]:
    """Bodies and their numbers of events, the same for the same seed: ordinary traffic and some attacks."""
    chance = random.Random(seed)
    at = STARTED
    while True:
        count = chance.choice((1, 3, 20, chance.randint(1, MOST_LINES)))
        attack = chance.random() < 0.15
        lines = []
        for _ in range(count):
            at += chance.expovariate(20.0)
            who = chance.randrange(400)
            event = {
                "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
                "action": f"login by {chance.randrange(30)}"
                if attack
                else f"GET /item/{chance.randrange(60)}",
                "user_id": f"u{sender}-{7 if attack else who}",
                "ip": f"10.{sender}.0.{9 if attack else who % 250}",
                "status": "failed" if attack else "ok",
            }
            lines.append(json.dumps(event).encode())
        yield b"\n".join(lines), count


def send_in_order(service: Service, kills: int, chance: random.Random) -> Tally:
    """One sender. After each kill it learns from the count of events whether its last body was kept."""
    tally, sent, killed = Tally(), bodies(1), 0
    body, count = next(sent)
    while killed < kills:
        while not service.start(kill_after_s=chance.uniform(0.3, 3.0) if chance.random() < 0.15 else None):
            killed += 1
        found = service.events(tally.acknowledged)
        if found == tally.acknowledged + count:
            tally.acknowledged += count
            body, count = next(sent)
        elif found != tally.acknowledged:
            raise RuntimeError(f"{found} events are counted, {tally.acknowledged} were acknowledged")
        process = service.process
        assert process is not None
        threading.Timer(chance.uniform(0.02, 1.2), process.kill).start()
        try:
            while True:
                service.send(body, count)
                tally.acknowledged += count
                body, count = next(sent)
        except (OSError, http.client.HTTPException):
            killed += 1
            process.communicate()
    tally.unknown = count
    return tally


def send_at_once(service: Service, kills: int, chance: random.Random, senders: int = 4) -> Tally:
    """Several senders. What was under way at a kill may have been kept or not; it is not sent again."""
    tally = Tally()
    streams = [bodies(100 + number, number) for number in range(senders)]

    def send(stream: Iterator[tuple[bytes, int]]) -> None:
        while True:
            body, count = next(stream)
            try:
                service.send(body, count)
            except (OSError, http.client.HTTPException):
                with tally.lock:
                    tally.unknown += count
                return
            with tally.lock:
                tally.acknowledged += count

    for _ in range(kills):
        service.start()
        threads = [threading.Thread(target=send, args=(stream,)) for stream in streams]
        for thread in threads:
            thread.start()
        time.sleep(chance.uniform(0.02, 1.2))
        service.kill()
        for thread in threads:
            thread.join()
    return tally


def state(folder: Path) -> str:
    """Digest of the newest snapshot: equal states have equal bytes."""
    newest = max((folder / "snapshots").glob("*.arrow"))
    return hashlib.sha256(newest.read_bytes()).hexdigest()


def alerts(folder: Path) -> list[str]:
    """The ids of all alerts."""
    with sqlite3.connect(folder / "guardian.db") as connection:
        return [row[0] for row in connection.execute("SELECT id FROM alerts ORDER BY id")]


def undisturbed(folder: Path, events: int) -> None:
    """The same bodies through a service that nobody kills."""
    service = Service(folder)
    service.start()
    sent = 0
    for body, count in bodies(1):
        if sent == events:
            break
        service.send(body, count)
        sent += count
    service.events(sent)
    service.stop()


def measure(shared: Path, *, quick: bool) -> list[Row]:  # noqa: ARG001  (the events are made here)
    """One row a way of sending."""
    from exporters.msr.fsck import verify

    rows: list[Row] = []
    for name, send, kills in (
        ("one sender", send_in_order, 3 if quick else 100),
        ("four senders at once", send_at_once, 2 if quick else 25),
    ):
        folder = Path(tempfile.mkdtemp(prefix="guardian-crashes-"))
        try:
            service = Service(folder / "killed")
            tally = send(service, kills, random.Random(7))
            service.start()
            events = service.events(tally.acknowledged)
            service.stop()
            ids = alerts(folder / "killed")
            same: bool | None = None
            if send is send_in_order:
                undisturbed(folder / "undisturbed", events)
                same = state(folder / "killed") == state(folder / "undisturbed")
                same = same and ids == alerts(folder / "undisturbed")
            lost = max(0, tally.acknowledged - events)
            twice = max(0, events - tally.acknowledged - tally.unknown)
            sound = verify(folder / "killed").ok
            good = not lost and not twice and len(ids) == len(set(ids)) and same is not False and sound
            rows.append(
                {
                    "load": name,
                    "kills": kills,
                    "events acknowledged": tally.acknowledged,
                    "lost": lost,
                    "counted twice": twice,
                    "alerts": len(ids),
                    "alert ids twice": len(ids) - len(set(ids)),
                    "state and alerts as undisturbed": same,
                    "register verified": sound,
                    "goal": "met" if good else "missed",
                }
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return rows


if __name__ == "__main__":
    from run import show

    show(__file__)
