"""The collectors that people run today, started as they say they should be, on the core that ours had.

Not a benchmark itself. Rotel and Tenzir are their makers' own builds from PyPI; the OpenTelemetry Collector is a
third party's build of 0.135 from PyPI, which has no OTLP receiver: it reads a file and sends OTLP to a sink here.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import aiohttp
from aiohttp import web
from serving import Process, cores

RIVER = """
import json, resource, sys, time
from river import anomaly
model = anomaly.HalfSpaceTrees(seed=1)
started, count = time.perf_counter(), 0
for line in open(sys.argv[1], "rb"):
    event = json.loads(line)
    row = {"ms": event["duration_ms"] / 900, "bytes": event["bytes"] / 1e5, "failed": float(event["status"] != "ok")}
    model.score_one(row)
    model.learn_one(row)
    count += 1
    if count == int(sys.argv[2]):
        break
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([count, time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
"""


def folder_of(package: str) -> Path | None:
    """Where an installed package is; None when it is not."""
    found = find_spec(package)
    return Path(found.origin).parent if found is not None and found.origin else None


@asynccontextmanager
async def rotel() -> AsyncIterator[tuple[Process, str] | None]:
    """Rotel with OTLP in and a black hole behind it: its process and the address to send to."""
    place = folder_of("rotel")
    if place is None:
        yield None
        return
    port = 24318
    process = await asyncio.create_subprocess_exec(
        "taskset", "-c", str(cores()[0]), str(next(place.glob("rotel-*"))), "start", "--exporter", "blackhole",
        "--otlp-http-endpoint", f"127.0.0.1:{port}", "--otlp-grpc-endpoint", "127.0.0.1:24317",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(200):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield Process(process.pid), f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def collector(file: Path, lines: int, scratch: Path) -> dict[str, float] | None:
    """The OpenTelemetry Collector: a file of JSON lines, parsed, as OTLP to a sink that counts."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    place = folder_of("otel_collector")
    if place is None:
        return None
    binary = next((place / "bin").iterdir())
    binary.chmod(0o755)
    count, done = 0, asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        nonlocal count
        message = ExportLogsServiceRequest.FromString(await request.read())
        count += sum(len(scope.log_records) for each in message.resource_logs for scope in each.scope_logs)
        if count >= lines:
            done.set()
        return web.Response(body=b"", content_type="application/x-protobuf")

    app = web.Application(client_max_size=2**28)
    app.router.add_post("/v1/logs", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    settings = {
        "receivers": {
            "filelog": {
                "include": [str(file)],
                "start_at": "beginning",
                "operators": [{"type": "json_parser"}],
            }
        },
        "processors": {"batch": {"send_batch_size": 5000, "timeout": "200ms"}},
        "exporters": {"otlphttp": {"endpoint": f"http://127.0.0.1:{port}", "compression": "none"}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {
                "logs": {"receivers": ["filelog"], "processors": ["batch"], "exporters": ["otlphttp"]}
            },
        },
    }
    (scratch / "collector.json").write_text(json.dumps(settings))  # JSON is YAML
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        "taskset", "-c", str(cores()[0]), str(binary), "--config", str(scratch / "collector.json"),
        env={"GOMAXPROCS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(300):
            await done.wait()
        wall = time.perf_counter() - started
        cost = Process(process.pid)
        return {"events": count, "wall": wall, "cpu": cost.cpu_s(), "memory": cost.peak_memory()}
    finally:
        process.terminate()
        await process.wait()
        await runner.cleanup()


async def tenzir(file: Path, lines: int) -> dict[str, float] | None:
    """Tenzir: the same file, read, filtered and summed up by user."""
    if find_spec("tenzir") is None:
        return None
    asked = f'from_file "{file}" {{ read_ndjson }} | where bytes >= 0 | summarize user_id, n=count() | sort -n | head 2'
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        "taskset", "-c", str(cores()[0]), str(Path(sys.executable).with_name("tenzir")), asked,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode or b"n:" not in out:
        raise RuntimeError(f"tenzir: {err.decode()[-500:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"events": lines, "wall": wall, "cpu": cpu, "memory": after.ru_maxrss * 1024}


async def river(file: Path, lines: int) -> dict[str, float] | None:
    """What one would write in Python today: json.loads and River's half-space trees, one event after the other."""
    if find_spec("river") is None:
        return None
    process = await asyncio.create_subprocess_exec(
        "taskset",
        "-c",
        str(cores()[0]),
        sys.executable,
        "-c",
        RIVER,
        str(file),
        str(lines),
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate()
    events, wall, cpu, memory = json.loads(out)
    return {"events": events, "wall": wall, "cpu": cpu, "memory": memory}


async def post(client: aiohttp.ClientSession, url: str, data: bytes, content_type: str) -> None:
    """Send one body; anything but 200 is an error."""
    async with client.post(url, data=data, headers={"Content-Type": content_type}) as answer:
        told = await answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{url}: {answer.status} {told[:200]!r}")
