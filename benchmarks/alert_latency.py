"""From an event that is sent to its alert at a receiver, through the whole service, at 500 alerts a second.

The service has one core; events come from the other, where the receivers are, too. Each event is a critical verdict of
another tool about a user of its own, so each is an alert. Counted from just before the request until the receiver has
read the alert. The receivers are ours: they answer as the documentation of each says, and do nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from serving import running, session

CORES = 2
TITLE = "From an event to its alert at a receiver"
GOAL = "at 500 alerts/s: p99 to a webhook ≤ 50 ms, to a SIEM's collector ≤ 250 ms, none missing"

RATE = 500
EACH = 10
"""Events in a request."""
ENTITY = re.compile(rb'"entity":"u(\d+)"')
PATIENCE_S = 30.0

SINKS = {
    "webhook, signed, one POST an alert": ('type = "webhook"\nurl = "URL/in"\nallow_private = true', 50.0),
    "Splunk HEC, batches": ('type = "splunk"\nurl = "URL"\ntoken_env = "PATH"', 250.0),
    "Elasticsearch _bulk, batches": ('type = "elastic"\nurl = "URL"', 250.0),
}

Row = dict[str, Any]


class Receiver:
    """Takes what comes, and notes when each alert did."""

    def __init__(self) -> None:
        self.came: dict[int, float] = {}
        self.again = 0

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        now = time.perf_counter()
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        for number in map(int, ENTITY.findall(body)):
            self.again += number in self.came
            self.came.setdefault(number, now)
        if request.path == "/_bulk":
            items = [{"create": {"status": 201}}] * (body.count(b"\n") // 2)
            return web.json_response({"errors": False, "items": items})
        return web.json_response({"text": "Success", "code": 0})

    async def start(self) -> tuple[web.AppRunner, str]:
        """Listen; the runner and the address."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/{path:.*}", self._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def latency(name: str, *, seconds: float) -> Row:
    """One kind of sink."""
    settings, goal_ms = SINKS[name]
    receiver = Receiver()
    runner, url = await receiver.start()
    config = f'[[sinks]]\nname = "siem"\nformat = "ocsf"\n{settings.replace("URL", url)}\n'
    sent: dict[int, float] = {}
    try:
        async with running(
            config.replace('format = "ocsf"\ntype = "webhook"', 'type = "webhook"')
        ) as service:
            async with session() as client:
                await _offer(client, service.url, sent, seconds)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE_S):
                        while len(receiver.came) < len(sent):  # noqa: ASYNC110  (another process sets no event)
                            await asyncio.sleep(0.02)
            memory = service.peak_memory()
    finally:
        await runner.cleanup()
    took = sorted(receiver.came[number] - at for number, at in sent.items() if number in receiver.came)
    p99 = 1000 * took[min(len(took) - 1, int(0.99 * len(took)))] if took else float("inf")
    missing = len(sent) - len(receiver.came)
    return {
        "to": name,
        "alerts": len(sent),
        "missing": missing,
        "twice": receiver.again,
        "median, ms": 1000 * took[len(took) // 2] if took else None,
        "p99, ms": p99,
        "peak memory, MiB": memory / 2**20,
        "goal": "met" if p99 <= goal_ms and not missing and not receiver.again else "missed",
    }


async def _offer(client: aiohttp.ClientSession, url: str, sent: dict[int, float], seconds: float) -> None:
    waiting: set[asyncio.Task[None]] = set()
    started = time.perf_counter()

    async def post(first: int) -> None:
        lines = [
            {
                "timestamp": int(time.time() * 1000),
                "type": "scan",
                "severity": "critical",
                "metadata": {"userId": f"u{number}"},
            }
            for number in range(first, first + EACH)
        ]
        body = b"\n".join(json.dumps(line).encode() for line in lines)
        headers = {"Content-Type": "application/x-ndjson"}
        sent.update(dict.fromkeys(range(first, first + EACH), time.perf_counter()))
        async with client.post(
            f"{url}/api/v1/events?map=tamv-sentinel", data=body, headers=headers
        ) as answer:
            answer.raise_for_status()
            await answer.read()

    first = 0
    while (passed := time.perf_counter() - started) < seconds:
        if first < passed * RATE:
            task = asyncio.create_task(post(first))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            first += EACH
        else:
            await asyncio.sleep(0.001)
    await asyncio.gather(*waiting)


def measure(shared: Path, *, quick: bool) -> list[Row]:  # noqa: ARG001  (the events are made here)
    """One row a kind of sink."""
    return [asyncio.run(latency(name, seconds=3.0 if quick else 30.0)) for name in SINKS]


if __name__ == "__main__":
    from run import show

    show(__file__)
