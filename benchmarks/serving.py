"""What the benchmarks of the running service share: starting it on one core, its cost, and bodies to send it.

Not a benchmark itself. Bodies are synthetic, and differ from one another: nothing stays in a cache that would not.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

USERS = 20_000
RATE = 2000
"""Events a second by their own clock. Bodies go on in time from one to the next, for an hour: a body that is sent twice
would come late, and a user who does an hour's work in a second would be an attack. Users keep to a few items and
stores, as people do: if everybody went everywhere, everybody would be strange."""
STARTED = time.time() - 2 * 3600

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[int, int]:
    """The core of what is measured, and that of those who send to it."""
    mine = sorted(os.sched_getaffinity(0))
    return mine[0], mine[-1]


class Process:
    """A process and what it has cost."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def cpu_s(self) -> float:
        """CPU seconds so far, of all its threads."""
        told = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / CLOCK_TICKS

    def memory(self) -> int:
        """Resident bytes now."""
        return self._status("VmRSS:")

    def peak_memory(self) -> int:
        """The most that was resident."""
        return self._status("VmHWM:")

    def _status(self, name: str) -> int:
        told = Path(f"/proc/{self.pid}/status").read_text()
        return int(told.partition(name)[2].split()[0]) * 1024


class Service(Process):
    """A running service."""

    def __init__(self, pid: int, port: int, folder: Path) -> None:
        super().__init__(pid)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder

    async def events(self, client: aiohttp.ClientSession) -> int:
        """Events scored so far."""
        async with client.get(f"{self.url}/api/v1/guardian") as answer:
            return int((await answer.json())["events"])

    async def settled(self, client: aiohttp.ClientSession, events: int) -> int:
        """Events scored, once they are as many, or once nothing has come for five seconds."""
        last, moved = -1, time.monotonic()
        while last < events and time.monotonic() - moved < 5.0:
            found = await self.events(client)
            if found != last:
                last, moved = found, time.monotonic()
            await asyncio.sleep(0.02)
        return last


@asynccontextmanager
async def running(
    config: str = "", *, pinned: str | None = None, folder: Path | None = None
) -> AsyncIterator[Service]:
    """A service on the first core (or on ``pinned``, as taskset says it); this process keeps to the last."""
    first, last = cores()
    os.sched_setaffinity(0, {last})
    process: asyncio.subprocess.Process | None = None
    with tempfile.TemporaryDirectory(prefix="guardian-bench-") as scratch:
        place = folder or Path(scratch)
        (place / "guardian.toml").write_text(config)
        try:
            process = await asyncio.create_subprocess_exec(
                "taskset", "-c", pinned or str(first), sys.executable, "-m", "guardian", "run",
                "--data-dir", str(place / "data"), "--config", str(place / "guardian.toml"),
                "--port", "0", "--xr-port", "0",
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            assert process.stdout is not None
            async for line in process.stdout:
                if line.startswith(b"guardian listening on "):
                    yield Service(process.pid, int(line.rpartition(b":")[2]), place / "data")
                    break
            else:
                raise RuntimeError("the service did not start; `guardian run` says why")
        finally:
            if process is not None:
                if process.returncode is None:
                    process.terminate()
                await process.wait()
            os.sched_setaffinity(0, {first, last})


def session(address: str = "127.0.0.1") -> aiohttp.ClientSession:
    """A client at an address of its own."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=90))


def json_lines(lines: int, number: int) -> bytes:
    """Body ``number`` of JSON lines of about 330 bytes and 14 fields."""
    chance = random.Random(number)
    at = STARTED + number * lines / RATE
    made = []
    for _ in range(lines):
        at += 1 / RATE
        who = chance.randrange(USERS)
        event = {
            "timestamp": datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds"),
            "service": f"svc-{chance.randrange(12)}",
            "action": f"GET /api/items/{(7 * who + chance.randrange(4)) % 40}",
            "user_id": f"user-{who}",
            "ip": f"10.{who % 7}.{who % 200}.{who % 251}",
            "session_id": f"s-{who}-{chance.randrange(3)}",
            "resource": f"store-{(who + chance.randrange(2)) % 90}",
            "status": "ok" if chance.random() < 0.97 else "failed",
            "duration_ms": chance.randrange(900),
            "bytes": chance.randrange(100_000),
            "region": "mx-central",
            "version": "2.14.3",
            "agent": "Mozilla/5.0 (X11; Linux x86_64)",
            "request_id": f"{chance.getrandbits(64):016x}",
        }
        made.append(json.dumps(event).encode())
    return b"\n".join(made)


class Stream:
    """Bodies of JSON lines without end, each later than the one before by the clock of its events.

    A few bodies are made and sent again and again, with new times: made one by one they would cost the sender more than
    they cost the service.
    """

    def __init__(self, lines: int, *, bodies: int = 40, started: float = STARTED) -> None:
        self.at = started
        """Time of the next event, seconds since 1970."""
        self._templates = itertools.cycle([_stamped(json_lines(lines, number)) for number in range(bodies)])
        self._lines = lines

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        text, places = next(self._templates)
        at = np.datetime64(int(self.at * 1e6), "us") + np.arange(self._lines) * (10**6 // RATE)
        text[places] = np.datetime_as_string(at).astype("S26").view(np.uint8).reshape(-1, 26)
        self.at += self._lines / RATE
        return text.tobytes()


def _stamped(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """A body that can be written into, and where the digits of its times are, a row a line."""
    text = np.frombuffer(body, np.uint8).copy()
    starts = np.concatenate([[0], np.flatnonzero(text == ord("\n")) + 1]) + len('{"timestamp": "')
    return text, starts[:, None] + np.arange(26)


def otlp(records: int, number: int, *, spans: bool) -> Any:
    """OTLP request ``number`` of logs (about 250 bytes each) or spans (about 290), with six attributes a record."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    chance = random.Random(number)
    request: Any = ExportTraceServiceRequest() if spans else ExportLogsServiceRequest()
    resource = request.resource_spans.add() if spans else request.resource_logs.add()
    _attribute(resource.resource, "service.name", f"svc-{number % 12}")
    _attribute(resource.resource, "host.name", f"node-{number % 5}")
    scope = resource.scope_spans.add() if spans else resource.scope_logs.add()
    scope.scope.name = "io.opentelemetry.http"
    at = int((STARTED + number * records / RATE) * 1e9)
    for _ in range(records):
        at += 10**9 // RATE
        who = chance.randrange(USERS)
        ids = {"trace_id": chance.randbytes(16), "span_id": chance.randbytes(8)}
        if spans:
            record = scope.spans.add(
                name=f"GET /api/items/{(7 * who + chance.randrange(4)) % 40}", kind=2, start_time_unix_nano=at,
                end_time_unix_nano=at + chance.randrange(10**9), **ids,
            )  # fmt: skip
        else:
            record = scope.log_records.add(
                time_unix_nano=at, severity_number=9 if chance.random() < 0.97 else 17,
                event_name=f"item.viewed.{(7 * who + chance.randrange(4)) % 40}", **ids,
            )  # fmt: skip
            record.body.string_value = "the item was shown to its viewer"
        _attribute(record, "user.id", f"user-{who}")
        _attribute(record, "client.address", f"10.{who % 7}.{who % 200}.{who % 251}")
        _attribute(record, "session.id", f"s-{who}-{chance.randrange(3)}")
        _attribute(record, "server.address", f"store-{(who + chance.randrange(2)) % 90}")
        _attribute(record, "http.request.method", "GET")
        record.attributes.add(key="http.response.status_code").value.int_value = 200
    return request


def _attribute(owner: Any, key: str, text: str) -> None:
    owner.attributes.add(key=key).value.string_value = text
