"""Real receivers for tests: rsyslog (TCP, TLS, RELP), Redis and NATS, each on a free port of loopback.

Owns finding, starting, killing and always stopping them. A test that needs one skips with a reason when it is absent;
``.ci/run`` installs them (Debian: rsyslog rsyslog-openssl rsyslog-relp redis-server nats-server).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

READY_S = 20.0
RSYSLOG_MODULES = (
    "/usr/lib/x86_64-linux-gnu/rsyslog",
    "/usr/lib/aarch64-linux-gnu/rsyslog",
    "/usr/lib/rsyslog",
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def program(name: str, package: str) -> str:
    """The path of a program: beside this Python, on PATH or where Debian keeps daemons."""
    folders = (str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        pytest.skip(f"no {name} here (Debian: {package})")
    return found


class Receiver:
    """One program that listens on a port; what it says goes to ``<folder>/said``."""

    def __init__(self, folder: Path, port: int, *command: str) -> None:
        self.port = port
        self.folder = folder
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, again perhaps, and wait until it listens."""
        with (self.folder / "said").open("ab") as said:
            self._process = subprocess.Popen(self._command, stdout=said, stderr=said, cwd=self.folder)
        until = time.monotonic() + READY_S
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.02)
        self.kill()
        pytest.fail(f"{self._command[0]} did not start: {(self.folder / 'said').read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not help."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(READY_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        try:
            yield self.start()
        finally:
            self.stop()


class Rsyslog(Receiver):
    """One rsyslogd with one input; each message that it stored is a line of ``lines``."""

    def __init__(self, folder: Path, kind: str, settings: str = "", before: str = "") -> None:
        """``kind`` is imtcp or imrelp, ``settings`` more of its input's, ``before`` lines of the configuration."""
        path = program("rsyslogd", "rsyslog rsyslog-openssl rsyslog-relp")
        for module in (f"{kind}.so", *(("lmnsd_ossl.so",) if "ossl" in before else ())):
            if not any((Path(each) / module).exists() for each in RSYSLOG_MODULES):
                pytest.skip(f"rsyslog is here without {module} (Debian: rsyslog-openssl rsyslog-relp)")
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.stored = folder / "stored"
        loaded = f'module(load="{kind}")'
        # A direct queue: what it acknowledges by RELP has been written, and survives a kill of it.
        (folder / "rsyslog.conf").write_text(
            f'global(workDirectory="{folder}" maxMessageSize="64k")\n'
            'main_queue(queue.type="direct")\n'
            f"{before or loaded}\n"
            'template(name="whole" type="string" string="%rawmsg%\\n")\n'
            'ruleset(name="store") { action(type="omfile" file="'
            f'{self.stored}" template="whole") }}\n'
            f'input(type="{kind}" port="{port}" address="127.0.0.1" ruleset="store" {settings})\n'
        )
        super().__init__(
            folder, port, path, "-n", "-f", str(folder / "rsyslog.conf"), "-i", str(folder / "pid")
        )

    @property
    def lines(self) -> list[str]:
        return self.stored.read_text(encoding="utf-8").splitlines() if self.stored.exists() else []


class RedisServer(Receiver):
    """One redis-server; ``more`` are its options."""

    def __init__(self, folder: Path, *more: str, tls: bool = False) -> None:
        path = program("redis-server", "redis-server")
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        ports = ("--port", "0", "--tls-port", str(port)) if tls else ("--port", str(port))
        self.url = f"redis{'s' if tls else ''}://localhost:{port}/0"
        super().__init__(folder, port, path, *ports, "--bind", "127.0.0.1", "--dir", str(folder), *more)


class NatsServer(Receiver):
    """One nats-server with JetStream; ``more`` are its options."""

    def __init__(self, folder: Path, *more: str, tls: bool = False) -> None:
        path = program("nats-server", "nats-server")
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.url = f"{'tls' if tls else 'nats'}://localhost:{port}"
        super().__init__(
            folder, port, path, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder), *more
        )
