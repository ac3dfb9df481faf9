"""What the tests of sinks over HTTP send to: real receivers as processes of their own, and servers that follow a script.

A receiver's program is taken from the PATH, from beside this Python, or from the folder that ``GUARDIAN_PEERS`` names;
without it a test is skipped, with the reason. Ports are free ones, waiting ends on a condition, and what was started
is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from guardian.levels import Level
from guardian.ports import Message

LIMIT_S = 20.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def message(number: int, *, finding: str = "", level: Level = Level.HIGH, body: bytes = b"") -> Message:
    """A message as the outbox makes it; its body is JSON with its own id and text that is not ASCII."""
    name = f"{number:032x}"
    # Behind a word: Tenzir takes text for a number or a duration where it can.
    text = json.dumps({"@timestamp": "2033-05-18T03:33:20Z", "event": {"id": f"id {name}"}, "señal": "ñ\n"})
    return Message(name, finding or name, 2 * 10**18 + number * 10**6, level, body or text.encode())


def messages(count: int, *, start: int = 0) -> list[Message]:
    return [message(number) for number in range(start, start + count)]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


async def until(true: Callable[[], Any], *, what: str) -> Any:
    """Wait for a condition, and return what it gives."""
    for _ in range(int(LIMIT_S / 0.02)):
        if found := true():
            return found
        await asyncio.sleep(0.02)
    pytest.fail(f"not in {LIMIT_S:g} s: {what}")


@asynccontextmanager
async def served(handler: Handler, *, port: int = 0, **settings: Any) -> AsyncIterator[str]:
    """A server that answers every request by ``handler``; gives its address without a path."""
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, **settings).start()
    try:
        scheme = "https" if "ssl_context" in settings else "http"
        yield f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def program(name: str) -> str:
    """Path of a receiver's program; skips the test where there is none."""
    found = shutil.which(name)
    if found is not None:
        return found
    folders = [Path(sys.executable).parent]
    if "GUARDIAN_PEERS" in os.environ:
        folders.append(Path(os.environ["GUARDIAN_PEERS"]))
    for folder in folders:
        # Rotel's package keeps its program inside.
        for path in (folder / name, *folder.parent.glob(f"lib/python*/site-packages/*/{name}")):
            if path.is_file():
                return str(path)
    pytest.skip(f"no program {name} on the PATH, beside Python or in GUARDIAN_PEERS")


@dataclass
class Receiver:
    """A process that is ready."""

    process: asyncio.subprocess.Process
    out: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def lines(self) -> list[dict[str, Any]]:
        """What it wrote so far: whole lines of JSON."""
        return [json.loads(line) for line in self.out.read_bytes().split(b"\n")[:-1]]

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@asynccontextmanager
async def running(folder: Path, port: int, *arguments: str) -> AsyncIterator[Receiver]:
    """Start a receiver, wait until it listens, and stop it in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    out, err = folder / f"{port}.out", folder / f"{port}.err"
    with out.open("wb") as output, err.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
        )
    receiver = Receiver(process, out, port)
    try:
        while not await _listens(port):
            assert process.returncode is None, err.read_text()[-2000:]
            await asyncio.sleep(0.02)
        yield receiver
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 5.0)
        except TimeoutError:
            receiver.kill()
            await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


@asynccontextmanager
async def tenzir(folder: Path, source: str) -> AsyncIterator[Receiver]:
    """Tenzir, which writes what ``source`` takes as JSON lines; ``PORT`` stands for its port."""
    port = free_port()
    pipeline = f"{source.replace('PORT', str(port))} | write_ndjson"
    async with running(folder, port, program("tenzir"), pipeline) as receiver:
        yield receiver


@asynccontextmanager
async def rotel(folder: Path) -> AsyncIterator[Receiver]:
    """Rotel, which writes the log records that it takes in a form of its own."""
    port = free_port()
    async with running(
        folder,
        port,
        program("rotel-agent"),
        "start",
        *("--pid-file", str(folder / "pid"), "--log-file", str(folder / "log")),
        *("--otlp-http-endpoint", f"127.0.0.1:{port}", "--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}"),
        *("--exporter", "blackhole", "--debug-log", "logs", "--debug-log-verbosity", "detailed"),
    ) as receiver:
        yield receiver


@asynccontextmanager
async def alertmanager(folder: Path, tells: str, *, port: int = 0) -> AsyncIterator[Receiver]:
    """Alertmanager, which tells a webhook at once."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "alertmanager.yml"
    settings.write_text(
        "route: {receiver: us, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}\n"
        f"receivers: [{{name: us, webhook_configs: [{{url: '{tells}', send_resolved: true}}]}}]\n"
    )
    async with running(
        folder,
        port,
        program("prometheus-alertmanager"),
        f"--config.file={settings}",
        f"--storage.path={folder / 'data'}",
        "--cluster.listen-address=",
        f"--web.listen-address=127.0.0.1:{port}",
    ) as receiver:
        yield receiver
