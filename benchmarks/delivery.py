"""Alerts on their way to a receiver that is down, slow to come back or wants another token, while we are killed.

A process of its own holds the database, raises alerts and delivers them with the product's outbox and worker; a strict
receiver here counts what it got by id. Accepted is what that process said after its commit. Beside it, in the same run:
Alertmanager with 100 alerts, a receiver that is down, kill -9 and a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

TITLE = "Delivery: outages, kill -9, an expired token, drain and latency"
GOAL = (
    "0 alerts lost, at most one batch twice after a kill; ≥ 5,000 alerts/s after an outage; "
    "p99 ≤ 50 ms to a webhook and ≤ 250 ms in batches, at 500 alerts/s; 100 of 100 after a kill with the receiver down"
)
CORES = 2
RATE = 500
BATCH = 100
PARALLEL = 8
"""Requests under way at once where each alert is one."""
PATIENCE_S = 60.0

Row = dict[str, Any]


class Receiver:
    """Takes JSON arrays of alerts, counts each by its id, and remembers when it came."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.late_s: list[float] = []
        self.again: Counter[int] = Counter()
        """Alerts that came again, by how often we had been killed by then."""
        self.kills = 0
        self.token = "first"
        self.port = _free_port()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens while it is up."""
        return f"http://127.0.0.1:{self.port}/in"

    async def up(self) -> None:
        """Begin to answer, on the same port each time."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/in", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.0, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def down(self) -> None:
        """Refuse connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        if request.headers.get("Authorization", f"Bearer {self.token}") != f"Bearer {self.token}":
            return web.Response(status=401, text="token expired")
        now = time.time_ns()
        # Alertmanager sends one object with a list of alerts in it.
        for alert in body if isinstance(body, list) else body["alerts"]:
            name = alert["id"] if "id" in alert else alert["labels"]["id"]
            self.seen[name] += 1
            self.again[self.kills] += self.seen[name] > 1
            if "at" in alert:
                self.late_s.append((now - alert["at"]) / 1e9)
        return web.Response()


class Ours:
    """Our process, which can be killed at any moment and started again on the same folder."""

    def __init__(self, folder: Path, receiver: Receiver, *, single: bool = False) -> None:
        self.folder = folder
        self.receiver = receiver
        self.accepted = 0
        self._single = single
        self._process: asyncio.subprocess.Process | None = None
        self._told: asyncio.Task[None] | None = None
        folder.mkdir()
        self.set_token("first")

    def set_token(self, token: str) -> None:
        """What it shows from its next request on."""
        (self.folder / "token").write_text(token)

    async def start(self, rate: int, most: int) -> None:
        """Raise alerts, so many a second and so many in all, and deliver."""
        arguments = [self.folder, self.receiver.url, rate, most, int(self._single)]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--ours", *map(str, arguments), stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )  # fmt: skip
        self._told = asyncio.create_task(self._listen(self._process))

    async def kill(self) -> None:
        """As a power switch for the process."""
        assert self._process is not None
        assert self._told is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._told
        self.receiver.kills += 1

    async def ends(self, patience_s: float) -> None:
        """Wait until nothing is owed any more: then it goes by itself."""
        assert self._process is not None
        assert self._told is not None
        await asyncio.wait_for(self._process.wait(), patience_s)
        await self._told

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.strip().isdigit():  # the log goes there too
                self.accepted = int(line)

    async def accepts(self, at_least: int) -> None:
        """Wait until so many are accepted."""
        await _until(lambda: self.accepted >= at_least)

    def rows(self) -> dict[str, int]:
        """The counts that the database keeps, of a process that is gone."""
        with contextlib.closing(sqlite3.connect(self.folder / "guardian.db")) as connection:
            connection.row_factory = sqlite3.Row
            return dict(connection.execute("SELECT * FROM outbox_tally WHERE sink = 'siem'").fetchone())


async def outage(folder: Path, *, kills: int, down_s: float, expired_s: float) -> Row:
    """All at once: alerts come, the receiver goes away and comes back, its token expires, and we are killed throughout."""
    receiver, chance = Receiver(), random.Random(7)
    ours = Ours(folder / "outage", receiver)
    started = time.monotonic()
    life_s = (down_s + expired_s + 4.0) / kills + 1.5

    async def weather() -> None:
        await receiver.up()
        await _until(lambda: len(receiver.seen) > RATE, 10 * PATIENCE_S)
        await receiver.down()
        await asyncio.sleep(down_s)
        receiver.token = "second"
        await receiver.up()
        await asyncio.sleep(expired_s)
        ours.set_token("second")

    passing = asyncio.create_task(weather())
    while receiver.kills < kills or not passing.done():
        await ours.start(RATE, 10**9)
        before = ours.accepted
        with contextlib.suppress(TimeoutError):
            await ours.accepts(before + 1)
        await asyncio.sleep(chance.uniform(0.0, 2 * life_s) if chance.random() < 0.8 else 0.0)
        await ours.kill()
    await passing
    kills = receiver.kills
    lasted = time.monotonic() - started
    await ours.start(0, 0)
    await ours.ends(600.0)
    await receiver.down()
    counts = ours.rows()
    lost = len({f"{number:032x}" for number in range(ours.accepted)} - receiver.seen.keys())
    worst = max(receiver.again.values(), default=0)
    exact = counts["accepted"] == sum(counts[name] for name in counts if name not in ("sink", "accepted"))
    good = not lost and worst <= BATCH and exact and counts["delivered"] >= ours.accepted
    return {
        "case": f"receiver down {down_s:g} s, token expired {expired_s:g} s, {kills} × kill -9, {lasted:.0f} s",
        "accepted": ours.accepted,
        "lost": lost,
        "sent again": sum(receiver.again.values()),
        "most again after one kill": worst,
        "distinct at the receiver": len(receiver.seen),
        "conservation exact": exact,
        "goal": _met(good),
    }


async def beside_alertmanager(folder: Path, *, patience_s: float) -> list[Row]:
    """100 alerts accepted, the receiver down, kill -9, restart, the receiver up: how many arrive."""
    rows = []
    receiver = Receiver()
    ours = Ours(folder / "hundred", receiver)
    await ours.start(100_000, 100)
    await ours.accepts(100)
    await ours.kill()
    await ours.start(0, 0)
    await receiver.up()
    await _until(lambda: len(receiver.seen) >= 100, patience_s)
    await ours.kill()
    await receiver.down()
    good = len(receiver.seen) == 100
    rows.append(
        {"case": "100 accepted, down, kill -9, restart", "arrived": len(receiver.seen), "goal": _met(good)}
    )
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        return [*rows, {"case": "… Alertmanager", "arrived": "not installed"}]
    theirs = await _alertmanager(program, folder, patience_s)
    return [*rows, {"case": "… Alertmanager", "arrived": theirs}]


async def _alertmanager(program: str, folder: Path, patience_s: float) -> int:
    receiver, port = Receiver(), _free_port()
    (folder / "am.yml").write_text(
        "route: {receiver: w, group_by: [alertname], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}\n"
        f"receivers: [{{name: w, webhook_configs: [{{url: '{receiver.url}', send_resolved: false}}]}}]\n"
    )
    command = [
        program, f"--config.file={folder / 'am.yml'}", f"--storage.path={folder / 'am'}",
        "--cluster.listen-address=", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip

    async def begin() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
        await _answers(f"http://127.0.0.1:{port}/-/ready")
        return process

    process = await begin()
    try:
        alerts = [{"labels": {"alertname": "a", "id": str(number)}} for number in range(100)]
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"http://127.0.0.1:{port}/api/v2/alerts", json=alerts) as answer,
        ):
            assert answer.status == 200
        await asyncio.sleep(2.0)
        process.kill()
        await process.wait()
        process = await begin()
        await receiver.up()
        with contextlib.suppress(TimeoutError):
            await _until(lambda: len(receiver.seen) >= 100, patience_s / 4)
    finally:
        process.kill()
        await process.wait()
        await receiver.down()
    return len(receiver.seen)


async def drain(folder: Path, *, count: int) -> Row:
    """How fast what piled up during an outage leaves, once the receiver is back."""
    receiver = Receiver()
    ours = Ours(folder / "drain", receiver)
    await ours.start(10**6, count)
    await ours.accepts(count)
    await ours.kill()
    await receiver.up()
    await ours.start(0, 0)
    await _until(lambda: len(receiver.seen) > 0)
    first, began = len(receiver.seen), time.perf_counter()
    await _until(lambda: len(receiver.seen) >= count, 600.0)
    rate = (count - first) / (time.perf_counter() - began)
    await ours.kill()
    await receiver.down()
    return {
        "case": f"drain of {count:,} after an outage, batches of {BATCH}",
        "alerts/s": rate,
        "goal": _met(rate >= 5000),
    }


async def latency(folder: Path, *, single: bool, seconds: float) -> Row:
    """From the moment an alert is raised, before its commit, until the receiver has it."""
    receiver = Receiver()
    await receiver.up()
    ours = Ours(folder / f"latency-{single}", receiver, single=single)
    count = int(RATE * seconds)
    await ours.start(RATE, count)
    await _until(lambda: len(receiver.seen) >= count, seconds + PATIENCE_S)
    await ours.kill()
    await receiver.down()
    late = sorted(receiver.late_s[RATE:])  # the first second belongs to the start
    p50, p99 = (late[int(share * (len(late) - 1))] for share in (0.5, 0.99))
    goal_s = 0.05 if single else 0.25
    return {
        "case": f"raised → stored at the receiver, {RATE}/s, {'one POST an alert' if single else 'batches'}",
        "p50 ms": 1000 * p50,
        "p99 ms": 1000 * p99,
        "goal": _met(p99 <= goal_s),
    }


def measure(shared: Path, *, quick: bool) -> list[Row]:  # noqa: ARG001  (the alerts are made here)
    """One row a case."""
    folder = Path(tempfile.mkdtemp(prefix="guardian-delivery-"))

    async def all_of_it() -> list[Row]:
        rows = [
            await outage(folder, kills=3, down_s=3.0, expired_s=2.0)
            if quick
            else await outage(folder, kills=200, down_s=600.0, expired_s=120.0)
        ]
        rows += await beside_alertmanager(folder, patience_s=PATIENCE_S / 2 if quick else PATIENCE_S)
        rows.append(await drain(folder, count=3000 if quick else 100_000))
        for single in (True, False):
            rows.append(await latency(folder, single=single, seconds=3.0 if quick else 60.0))
        return rows

    try:
        return asyncio.run(all_of_it())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- our process -----------------------------------------------------------------------------------------------------


class Posting:
    """The least of an HTTP sink: one POST of a JSON array, or one POST an alert, with a token read anew each time."""

    def __init__(self, url: str, token: Path, *, single: bool) -> None:
        self._url, self._token, self._single = url, token, single
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10.0))

    async def write(self, messages: Sequence[Any]) -> Any:
        """As ``guardian.ports.Sink``."""
        from guardian.errors import DeliveryError
        from guardian.ports import Answers

        if not self._single:
            await self._post(b"[" + b",".join(each.body for each in messages) + b"]")
            return Answers()
        waiting, refused = iter(messages), {}

        async def send() -> None:
            for each in waiting:
                try:
                    await self._post(b"[" + each.body + b"]")
                except DeliveryError as error:
                    refused[each.id] = error

        await asyncio.gather(*(send() for _ in range(PARALLEL)))
        return Answers(refused)

    async def _post(self, body: bytes) -> None:
        from guardian.errors import HoldError, RetryError

        headers = {"Authorization": f"Bearer {self._token.read_text()}"}
        try:
            async with self._session.post(self._url, data=body, headers=headers) as answer:
                if answer.status == 401:
                    raise HoldError("HTTP 401")
                if answer.status != 200:
                    raise RetryError(f"HTTP {answer.status}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryError(f"{type(error).__name__}: {error}") from None

    async def close(self) -> None:
        """As ``guardian.ports.Sink``."""
        await self._session.close()


async def deliver(folder: Path, url: str, rate: int, most: int, *, single: bool) -> None:
    """Raise alerts at a rate until there are ``most``, say so after each commit, and deliver until nothing is owed."""
    from exporters.delivery import Worker
    from exporters.outbox import OWED, Outbox, get_cursor, set_cursor
    from exporters.store import Store
    from guardian.sink_settings import Http

    store = Store(folder / "guardian.db")
    store.create()
    settings = Http(name="siem", url=url, batch=BATCH, minimum_level="low")
    outbox = Outbox(store, [settings])
    sink = Posting(url, folder / "token", single=single)
    worker = Worker(outbox, settings, sink, render=lambda each: _body(each.id, each.created_at))
    running = asyncio.create_task(worker.run())
    with store.reading() as connection:
        done = get_cursor(connection, "raised")
    print(done, flush=True)
    began, before = time.monotonic(), done

    def commit(until: int) -> None:
        with store.transaction() as connection:
            outbox.add(connection, [_alert(number) for number in range(done, until)])
            set_cursor(connection, "raised", until)

    while done < most:
        until = min(most, before + int(rate * (time.monotonic() - began)), done + 5000)
        if until > done:
            await asyncio.to_thread(commit, until)
            done = until
            print(done, flush=True)
            worker.wake()
        await asyncio.to_thread(store.settle, at_bytes=64 * 2**20)
        await asyncio.sleep(0.01)
    while any(outbox.counts()["siem"][state] for state in OWED):  # noqa: ASYNC110  (the worker sets no event of ours)
        await asyncio.sleep(0.1)
    worker.stop()
    await running
    store.close()


def _alert(number: int) -> Any:
    from exporters.alert import Alert
    from guardian.levels import Level

    reason = {"channel": "rule", "contribution": 60.0, "kind": "login", "event": number, "without": 0.0}
    return Alert(
        f"{number:032x}", time.time_ns(), "address", f"10.0.{number % 250}.9", 5, Level.NONE, Level.HIGH,
        60.0, (reason,), number, "", "c", synthetic=True,
    )  # fmt: skip


def _body(name: str, at: int) -> bytes:
    return json.dumps({"id": name, "at": at, "filling": "x" * 600}).encode()


# -- small things ----------------------------------------------------------------------------------------------------


def _met(good: bool) -> str:  # noqa: FBT001  (the only thing it is about)
    return "met" if good else "missed"


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def _until(condition: Any, patience_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(patience_s):
        while not condition():  # noqa: ASYNC110  (other processes set no event of ours)
            await asyncio.sleep(0.005)


async def _answers(url: str) -> None:
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as client:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        place, address, per_s, total, alone = sys.argv[2:]
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        asyncio.run(deliver(Path(place), address, int(per_s), int(total), single=alone == "1"))
    else:
        from run import show

        show(__file__)
