"""More than it can take, and worse: the service under a flood, slow senders and hostile bodies.

One service on one core, its senders on the other. A loud sender offers three times what was just measured as the
service's rate; a quiet one, at another address, sends a small body ten times a second, before, during and after.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import aiohttp
from fuzz_otlp import part
from serving import Service, Stream, json_lines, otlp, running, session

CORES = 2
TITLE = "Overload, slow senders, hostile bodies"
GOAL = "memory flat, clear refusals, the quiet sender served throughout, nothing acknowledged lost"

LOUD, QUIET = "127.0.0.1", "127.0.0.2"
LINES = 5000
DEEP = 1_000_000
BOMB_BYTES = 10 * 2**30
HOURS = 12
"""How long ago a flood begins by the clock of its events, which does not get to now within two minutes of it."""

Row = dict[str, Any]


async def post(
    client: aiohttp.ClientSession, service: Service, data: bytes, **headers: str
) -> tuple[int, Any]:
    """Status and answer."""
    path = headers.pop("path", "/api/v1/events?map=tamv")
    given = {"Content-Type": "application/x-ndjson", **headers}
    async with client.post(f"{service.url}{path}", data=data, headers=given) as answer:
        told = await answer.read()
        return answer.status, json.loads(told) if answer.content_type.endswith("json") and told else told


class Quiet:
    """A small body ten times a second: how long each took, and what came back."""

    def __init__(self, service: Service, client: aiohttp.ClientSession) -> None:
        self.service, self.client = service, client
        self.latencies: list[float] = []
        self.answers: Counter[int] = Counter()
        self.accepted = 0
        self.memory: list[int] = []

    async def during(self, work: Awaitable[Any]) -> Any:
        """Send while something else happens."""
        ended = asyncio.Event()
        sending = asyncio.create_task(self._send(ended))
        try:
            return await work
        finally:
            ended.set()
            await sending

    async def _send(self, ended: asyncio.Event) -> None:
        data = json_lines(50, 1)
        waiting: set[asyncio.Task[None]] = set()
        while not ended.is_set():
            waiting.add(asyncio.create_task(self._one(data)))
            self.memory.append(self.service.memory())
            await asyncio.sleep(0.1)
        await asyncio.gather(*waiting)

    async def _one(self, data: bytes) -> None:
        started = time.perf_counter()
        status, told = await post(self.client, self.service, data)
        self.latencies.append(time.perf_counter() - started)
        self.answers[status] += 1
        self.accepted += told["accepted"] if status == 200 else 0

    def row(self, name: str) -> Row:
        """What it saw."""
        ordered = sorted(self.latencies)
        half = len(self.memory) // 2
        return {
            "what": name,
            "quiet sender: served": f"{self.answers[200]} of {sum(self.answers.values())}",
            "its median, ms": 1000 * ordered[len(ordered) // 2],
            "its p99, ms": 1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
            "memory, first half, MiB": max(self.memory[:half] or [0]) / 2**20,
            "second half, MiB": max(self.memory[half:]) / 2**20,
        }


async def flood(
    service: Service, client: aiohttp.ClientSession, bodies: Stream, seconds: float, per_s: float
) -> Row:
    """Offer bodies at a rate, whatever comes back."""
    answers: Counter[int] = Counter()
    accepted = 0
    waiting: set[asyncio.Task[None]] = set()

    async def one(data: bytes) -> None:
        nonlocal accepted
        try:
            status, told = await post(client, service, data)
        except (aiohttp.ClientError, TimeoutError):
            answers[0] += 1  # refused while the body was still under way
            return
        answers[status] += 1
        if status == 200:
            accepted += told["accepted"]

    started, sent = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds:
        if sent < passed * per_s:
            task = asyncio.create_task(one(next(bodies)))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            sent += 1
        else:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    return {"accepted": accepted, "answers": answers, "seconds": time.perf_counter() - started, "sent": sent}


async def rate(service: Service, client: aiohttp.ClientSession, bodies: Stream, seconds: float) -> float:
    """Events a second that four connections get through, scored, each sending its next body when the last is taken."""
    before, started = await service.events(client), time.perf_counter()

    async def connection() -> None:
        while time.perf_counter() - started < seconds:
            await post(client, service, next(bodies))

    await asyncio.gather(*(connection() for _ in range(4)))
    return (await service.events(client) - before) / (time.perf_counter() - started)


async def overloaded(*, seconds: float) -> Row:
    """Three times as much as it can take."""
    async with running() as service, session(LOUD) as loud, session(QUIET) as quiet:
        before = await service.events(quiet)
        bodies = Stream(LINES, started=time.time() - HOURS * 3600)
        await post(loud, service, next(bodies))
        able = await rate(service, loud, bodies, min(10.0, seconds))
        before = await service.settled(quiet, 2**62)
        seen = Quiet(service, quiet)
        told = await seen.during(flood(service, loud, bodies, seconds, 3 * able / LINES))
        owed = before + told["accepted"] + seen.accepted
        found = await service.settled(quiet, owed)
        row = seen.row(f"3x overload, {seconds:.0f} s")
        good = (
            found == owed
            and seen.answers[200] == sum(seen.answers.values())
            and row["second half, MiB"] <= 1.15 * row["memory, first half, MiB"] + 64
        )
        return row | {
            "loud sender": f"{told['sent'] * LINES / told['seconds']:,.0f} events/s offered, "
            f"{told['accepted'] / told['seconds']:,.0f} taken; "
            + ", ".join(
                f"{status or 'cut off'}: {count}" for status, count in sorted(told["answers"].items())
            ),
            "acknowledged and not scored": owed - found,
            "goal": "met" if good else "missed",
        }


async def slow(*, connections: int, seconds: float) -> Row:
    """Connections that send a byte now and then."""
    async with running() as service, session(QUIET) as quiet:
        alone = Quiet(service, quiet)
        await alone.during(asyncio.sleep(min(5.0, seconds)))
        opened = []
        for number in range(connections):
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            head = b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\n"
            writer.write(head if number % 2 else head + b"Content-Length: 100000\r\n\r\n")
            opened.append((reader, writer))

        async def drip() -> None:
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                for number, (_, writer) in enumerate(opened):
                    if not writer.is_closing():  # cut off by now, as slow heads are
                        writer.write(b"X" if number % 2 == 0 else b"X-A: 1\r\n")
                await asyncio.sleep(1.0)

        seen = Quiet(service, quiet)
        await seen.during(drip())
        for _, writer in opened:
            writer.close()
        row = seen.row(f"{connections} slow connections, {seconds:.0f} s")
        good = seen.answers[200] == sum(seen.answers.values()) and row["its p99, ms"] < 250
        return row | {
            "loud sender": f"quiet p99 without them: {alone.row('')['its p99, ms']:.1f} ms",
            "goal": "met" if good else "missed",
        }


def bomb(size: int) -> bytes:
    """Gzip of zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(2**24)
    return b"".join(packer.compress(block) for _ in range(size // len(block))) + packer.flush()


async def hostile(*, quick: bool) -> Row:
    """Bombs, depth, and every truncation of a valid body."""
    nested = b'{"timestamp":1,"action":"a","x":' + b"[" * DEEP + b"]" * DEEP + b"}"
    objects = b'{"resourceLogs":' + b'[{"a":' * DEEP
    whole = otlp(4, 1, spans=False).SerializeToString()
    protobuf = {"path": "/v1/logs", "Content-Type": "application/x-protobuf"}
    deep = b""
    for _ in range(30_000):  # a value of a list of a value of a list …
        deep = part(5, part(1, deep))
    attacks: list[tuple[str, bytes, dict[str, str]]] = [
        ("gzip bomb", bomb(2**30 if quick else BOMB_BYTES), {"Content-Encoding": "gzip"}),
        ("nested arrays", nested, {}),
        ("nested OTLP/JSON", objects, {"path": "/v1/logs", "Content-Type": "application/json"}),
        ("nested OTLP", deep, protobuf),
        ("a length of 2^63", b"\x0a" + b"\xff" * 9 + b"\x01", protobuf),
        ("no gzip", b"\x1f\x8b\x08\x00" + bytes(100), {"Content-Encoding": "gzip"}),
        ("half a gzip", gzip.compress(json_lines(50, 1))[:300], {"Content-Encoding": "gzip"}),
        *((f"truncated at {cut}", whole[:cut], protobuf) for cut in range(1, len(whole))),
    ]
    async with running() as service, session(LOUD) as loud, session(QUIET) as quiet:
        before = await service.events(quiet)
        answers: Counter[int] = Counter()
        partial = 0

        async def attack() -> None:
            nonlocal partial
            for name, data, headers in attacks:
                status, told = await post(loud, service, data, **headers)
                answers[status] += 1
                if name == "nested arrays" and status == 200:
                    partial += told["rejectedTotal"] - 1
                if status >= 500:
                    raise RuntimeError(f"{name}: {status} {told!r}")

        seen = Quiet(service, quiet)
        await seen.during(attack())
        row = seen.row(
            f"{len(attacks)} hostile bodies, gzip bomb of {(2**30 if quick else BOMB_BYTES) / 2**30:.0f} GiB"
        )
        scored = await service.settled(quiet, before + seen.accepted)
        good = seen.answers[200] == sum(seen.answers.values()) and scored >= before + seen.accepted
        return row | {
            "loud sender": ", ".join(f"{status}: {count}" for status, count in sorted(answers.items())),
            "acknowledged and not scored": max(0, before + seen.accepted - scored),
            "goal": "met" if good else "missed",
        }


def measure(shared: Path, *, quick: bool) -> list[Row]:  # noqa: ARG001  (the bodies are made here)
    """One row an attack."""
    return [
        asyncio.run(overloaded(seconds=5.0 if quick else 120.0)),
        asyncio.run(slow(connections=1000, seconds=5.0 if quick else 60.0)),
        asyncio.run(hostile(quick=quick)),
    ]


if __name__ == "__main__":
    from run import show

    show(__file__)
