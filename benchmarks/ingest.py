"""From bytes on a socket to scored events, beside the collectors that people run today.

Each system has the first core for itself, with the same bodies from the same sender on the other core, four
connections, each sending its next body when the last one is answered. Ours decodes every field, makes the body durable,
scores it in four roles and answers; Rotel decodes and throws away. Counted are events scored, not events answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from collectors import collector, post, river, rotel, tenzir
from google.protobuf.json_format import MessageToDict
from serving import Service, Stream, json_lines, otlp, running, session

CORES = 2
TITLE = "Ingest, from the socket to the score"
GOAL = (
    "one core, four roles: OTLP logs 200,000/s durable and 500,000/s not, spans 180,000/s, at least Rotel per CPU "
    "second; NDJSON 150,000/s, twice the collector, once Tenzir; Windows JSON 100,000/s and 60 % of orjson; OTLP/JSON "
    "100,000/s; second core 1.6 times; recovery twice the live rate; p99 to the alert 250 ms durable, 100 ms not"
)
CONNECTIONS = 4
RECORDS = 5000
PROTOBUF, JSON, LINES = "application/x-protobuf", "application/json", "application/x-ndjson"
NOT_DURABLE = "[journal]\nsync = false\n"
NEVER_SAVED = "[journal]\nsnapshot_interval_s = 100000.0\n"

Row = dict[str, Any]
Measured = dict[str, float]


def row(what: str, found: Measured, goal: float | None = None, **more: Any) -> Row:
    """A row of the table; a goal is in events a second."""
    rate = found["events"] / found["wall"]
    told: Row = {
        "what": what,
        "events/s": rate,
        "events per CPU second": found["events"] / found["cpu"],
        "peak memory, MiB": found["memory"] / 2**20,
        **more,
    }
    if goal is not None:
        told["goal"] = "met" if rate >= goal else "missed"
    return told


async def offered(url: str, bodies: list[bytes], content_type: str) -> None:
    """Send each body once, in order, as fast as they are answered."""
    turn = iter(bodies)

    async def connection() -> None:
        async with session() as client:
            for body in turn:
                await post(client, url, body, content_type)

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))


def requests(many: int, *, spans: bool) -> list[bytes]:
    """OTLP requests as they are sent."""
    return [otlp(RECORDS, number, spans=spans).SerializeToString() for number in range(many)]


async def ours(
    path: str,
    bodies: list[bytes],
    content_type: str,
    config: str = "",
    pinned: str | None = None,
) -> Measured:
    """The whole service under full load, until all that it answered is scored."""
    async with running(config, pinned=pinned) as service, session() as client:
        await post(client, f"{service.url}{path}", bodies[0], content_type)
        before, cpu = await service.settled(client, RECORDS), service.cpu_s()
        started = time.perf_counter()
        await offered(f"{service.url}{path}", bodies[1:], content_type)
        events = await service.settled(client, len(bodies) * RECORDS) - before
        return {
            "events": events,
            "wall": time.perf_counter() - started,
            "cpu": service.cpu_s() - cpu,
            "memory": service.peak_memory(),
        }


async def theirs(path: str, bodies: list[bytes]) -> Measured | None:
    """Rotel under the same load."""
    async with rotel() as found:
        if found is None:
            return None
        process, url = found
        cpu, started = process.cpu_s(), time.perf_counter()
        await offered(f"{url}{path}", bodies, PROTOBUF)
        return {
            "events": len(bodies) * RECORDS,
            "wall": time.perf_counter() - started,
            "cpu": process.cpu_s() - cpu,
            "memory": process.peak_memory(),
        }


async def signals(many: int, *, spans: bool) -> list[Row]:
    """OTLP, ours and Rotel."""
    path, name = ("/v1/traces", "spans") if spans else ("/v1/logs", "logs")
    bodies = requests(many, spans=spans)
    durable = await ours(path, bodies, PROTOBUF)
    peer = await theirs(path, bodies)
    volatile = await ours(path, bodies, PROTOBUF, NOT_DURABLE)
    beside = {"beside": "Rotel, black hole"} | ratio(durable, peer)
    rows = [
        row(f"OTLP {name}, durable", durable, 180_000 if spans else 200_000, **beside),
        row(
            f"OTLP {name}, not synced",
            volatile,
            None if spans else 500_000,
            **({"beside": "Rotel, black hole"} | ratio(volatile, peer)),
        ),
    ]
    return rows + ([row(f"Rotel, OTLP {name}, to a black hole", peer)] if peer else [])


def ratio(mine: Measured, peer: Measured | None) -> Row:
    """Ours to theirs, events per CPU second."""
    if peer is None:
        return {"ratio per CPU second": None}
    return {"ratio per CPU second": (mine["events"] / mine["cpu"]) / (peer["events"] / peer["cpu"])}


async def lines(many: int) -> list[Row]:
    """JSON lines: ours over HTTP; the others from a file."""
    bodies = [json_lines(RECORDS, number) for number in range(many)]
    mine = await ours("/api/v1/events?map=tamv", bodies, LINES)
    count = RECORDS * len(bodies)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "events.ndjson"
        with file.open("wb") as out:
            out.writelines(body + b"\n" for body in bodies)
        peers = {
            "OpenTelemetry Collector: file, json_parser, OTLP out": await collector(
                file, count, Path(scratch)
            ),
            "Tenzir: file, read_ndjson, where, summarize": await tenzir(file, count),
            "json.loads and River's half-space trees": await river(file, 20_000),
        }
    for name, peer in peers.items():
        rows.append(row("NDJSON 330 B over HTTP, durable", mine, 150_000, beside=name, **ratio(mine, peer)))
        if peer:
            rows.append(row(name, peer))
    return rows


async def otlp_json(many: int) -> list[Row]:
    """OTLP in JSON."""
    bodies = []
    for number in range(many):
        message = MessageToDict(otlp(RECORDS, number, spans=False), use_integers_for_enums=True)
        for each in message["resourceLogs"][0]["scopeLogs"][0]["logRecords"]:
            each["traceId"], each["spanId"] = (
                f"{number + 1:032x}",
                f"{number + 1:016x}",
            )  # hex here, base64 in protobuf's JSON
        bodies.append(json.dumps(message).encode())
    return [row("OTLP/JSON logs, durable", await ours("/v1/logs", bodies, JSON), 100_000)]


ORJSON = """
import json, sys, time
import orjson
lines = open(sys.argv[1], "rb").read().split(b"\\n")
started = time.process_time()
for line in lines:
    if line:
        orjson.loads(line)
print(json.dumps([len(lines) - 1, time.process_time() - started]))
"""


def windows(shared: Path, *, quick: bool) -> list[Row]:
    """Windows events of about 2 kB, from a file."""
    gathered: list[bytes] = []
    for archive in sorted((shared / "data" / "otrf").glob("*.zip")):
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                if name.endswith(".json") and not name.startswith("__MACOSX"):
                    gathered += [line for line in opened.read(name).split(b"\n") if line.strip()]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "windows.ndjson"
        file.write_bytes(b"\n".join(gathered * (1 if quick else 3)) + b"\n")
        mine = alone("-m", "guardian", "replay", str(file), "--map", "windows", "--json")
        bare = alone("-c", ORJSON, str(file))
    found = {
        "events": mine["events"],
        "wall": mine["wallSeconds"],
        "cpu": mine["cpuSeconds"],
        "memory": mine["peakMemoryBytes"],
    }
    share = mine["eventsPerCpuSecond"] / (bare[0] / bare[1])
    told = row("Windows JSON 2 kB, replay", found, 100_000, beside="orjson.loads alone")
    return [
        told
        | {
            "ratio per CPU second": share,
            "goal": "met" if told["goal"] == "met" and share >= 0.6 else "missed",
        }
    ]


def alone(*arguments: str) -> Any:
    """What a Python process on the first core prints, as JSON."""
    first = min(os.sched_getaffinity(0))
    run = subprocess.run(
        ["taskset", "-c", str(first), sys.executable, *arguments], check=True, capture_output=True, text=True
    )
    return json.loads(run.stdout)


async def second_core(many: int) -> list[Row]:
    """The same load on one core and on two; the sender shares the second one, which is against us."""
    rows = []
    for name, path, bodies, content_type in (
        (
            "OTLP logs",
            "/v1/logs",
            requests(many, spans=False),
            PROTOBUF,
        ),
        ("NDJSON", "/api/v1/events?map=tamv", [json_lines(RECORDS, number) for number in range(many)], LINES),
    ):
        cores = sorted(os.sched_getaffinity(0))
        one = await ours(path, bodies, content_type)
        two = await ours(path, bodies, content_type, pinned=",".join(map(str, cores)))
        gain = (two["events"] / two["wall"]) / (one["events"] / one["wall"])
        rows.append(
            row(f"{name}, durable, two cores", two, beside="ours on one core")
            | {"ratio": gain, "goal": "met" if gain >= 1.6 else "missed"}
        )
    return rows


async def recovery(many: int) -> list[Row]:
    """A service that was killed before it ever saved its state: how fast it plays its journal again."""
    bodies = requests(many, spans=False)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        async with running(NEVER_SAVED, folder=folder) as service, session() as client:
            started = time.perf_counter()
            await offered(f"{service.url}/v1/logs", bodies, PROTOBUF)
            events = await service.settled(client, len(bodies) * RECORDS)
            live = events / (time.perf_counter() - started)
            os.kill(service.pid, 9)
        empty = time.perf_counter()
        async with running(NEVER_SAVED) as service:
            starting = time.perf_counter() - empty
        started = time.perf_counter()
        async with running(NEVER_SAVED, folder=folder) as service, session() as client:
            took = time.perf_counter() - started - starting
            again = await service.events(client)
            cost = {"events": again, "wall": took, "cpu": service.cpu_s(), "memory": service.peak_memory()}
    if again != events:
        raise RuntimeError(f"{again} of {events} events came back")
    gain = again / took / live
    return [
        row("recovery from the journal, OTLP logs", cost, beside="the live rate that wrote it")
        | {"ratio": gain, "goal": "met" if gain >= 2 else "missed"}
    ]


async def latency(rate: float, samples: int, config: str, goal_ms: float, name: str) -> Row:
    """From sending an attack to its alert in the list and in the metrics, while ordinary bodies come at ``rate``."""
    bodies = Stream(RECORDS)
    url = "/api/v1/events?map=tamv"
    async with running(config) as service, session() as loud, session("127.0.0.2") as client:
        await post(client, f"{service.url}{url}", next(bodies), LINES)
        ended = asyncio.Event()

        async def load() -> None:
            waiting: set[asyncio.Task[None]] = set()
            started, sent = time.perf_counter(), 0
            while not ended.is_set():
                if sent * RECORDS < (time.perf_counter() - started) * rate:
                    task = asyncio.create_task(post(loud, f"{service.url}{url}", next(bodies), LINES))
                    waiting.add(task)
                    task.add_done_callback(waiting.discard)
                    sent += 1
                else:
                    await asyncio.sleep(0.001)
            await asyncio.gather(*waiting)

        loading = asyncio.create_task(load())
        await asyncio.sleep(1.0)
        found = []
        for number in range(samples):
            found.append(await until_told(service, client, number, bodies.at))
            await asyncio.sleep(0.05)
        ended.set()
        await loading
    ordered = sorted(found)
    p99 = 1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return {
        "what": f"sent to alert and metric visible, {name}",
        "events/s": rate,
        "median, ms": 1000 * ordered[len(ordered) // 2],
        "p99, ms": p99,
        "goal": "met" if p99 <= goal_ms else "missed",
    }


def told_or_failed(measured: Coroutine[Any, Any, Row]) -> Row:
    """The row, or one that says why there is none: the others stand all the same."""
    try:
        return asyncio.run(measured)
    except RuntimeError as error:
        return {"what": f"sent to alert and metric visible: {error}", "goal": "missed"}


async def until_told(service: Service, client: Any, number: int, at: float) -> float:
    """Seconds from sending six failed logins of a new address until its alert is listed and counted."""
    address = f"203.0.{number // 250}.{number % 250}"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    failed = {"timestamp": stamp, "action": "login", "ip": address, "status": "failed"}
    body = b"\n".join([json.dumps(failed).encode()] * 6)

    async def counted() -> float:
        async with client.get(f"{service.url}/metrics") as answer:
            told = (await answer.read()).decode()
        return sum(
            float(line.rpartition(" ")[2])
            for line in told.splitlines()
            if line.startswith("tamv_guardian_alerts_total{")
        )

    before = await counted()
    started = time.perf_counter()
    await post(client, f"{service.url}/api/v1/events?map=tamv", body, LINES)
    while True:
        async with client.get(f"{service.url}/api/v1/alerts?limit=50") as answer:
            listed = any(each["entity"] == address for each in (await answer.json())["items"])
        if listed and await counted() > before:
            return time.perf_counter() - started
        if time.perf_counter() - started > 30:
            raise RuntimeError(f"no alert for {address}")
        await asyncio.sleep(0.002)


def measure(shared: Path, *, quick: bool) -> list[Row]:
    """The rows of all tables; ``quick`` sends a third."""
    many = 24 if quick else 80
    steps: list[Callable[[], list[Row]]] = [
        lambda: asyncio.run(signals(many, spans=False)),
        lambda: asyncio.run(signals(many, spans=True)),
        lambda: asyncio.run(lines(many)),
        lambda: asyncio.run(otlp_json(many)),
        lambda: windows(shared, quick=quick),
        lambda: asyncio.run(second_core(many)),
        lambda: asyncio.run(recovery(many)),
    ]
    rows = [told for step in steps for told in step()]
    able = next(told["events/s"] for told in rows if told["what"].startswith("NDJSON 330 B"))
    for config, goal, name in (("", 250.0, "durable"), (NOT_DURABLE, 100.0, "not synced")):
        rows.append(told_or_failed(latency(able / 2, 20 if quick else 60, config, goal, name)))
    return rows


if __name__ == "__main__":
    from run import show

    show(__file__)
