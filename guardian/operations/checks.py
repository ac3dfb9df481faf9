"""The configuration and deployment checklist. Each line is proved by doing what it claims, not by reading settings."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from exporters.msr.note import Signer
from guardian import texts
from guardian.config import Config, load
from guardian.config import Sink as SinkSettings
from guardian.errors import ConfigError, GuardianError
from guardian.gateway import check_binding

LEAST_FREE_BYTES: Final = 2**30
LEAST_OPEN_FILES: Final = 1024
_EARLIEST: Final = 1_700_000_000
_CONNECT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist."""

    name: str
    """Key of its text in ``guardian/texts/check.*.toml``; ``<name>_todo`` says what to do when it fails."""
    ok: bool
    detail: str

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {"name": self.name, "ok": self.ok, "detail": self.detail}


def checklist(config_file: Path | None, folder: Path, *, language: texts.Language) -> list[Check]:
    """Prove every line; a line that cannot be tried because of an earlier one is left out."""
    del language  # the lines carry keys; whoever prints them chooses the words
    try:
        config = load(config_file) if config_file is not None else Config()
    except ConfigError as error:
        return [Check("config", ok=False, detail=str(error))]
    checks = [Check("config", ok=True, detail=str(config_file or "-"))]
    checks += [_tried(name, proof) for name, proof in _proofs(config, folder)]
    return checks


def print_checklist(checks: list[Check], console: Console, language: texts.Language) -> None:
    """The checklist for people, with what to do about each line that fails."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    for check in checks:
        mark = "[green]✓[/green]" if check.ok else "[red]✗[/red]"
        table.add_row(mark, texts.text(f"check.{_text_of(check.name)}", language), check.detail)
        if not check.ok:
            table.add_row(
                "", "", f"[yellow]{texts.text(f'check.{_text_of(check.name)}_todo', language)}[/yellow]"
            )
    console.print(table)


def _text_of(name: str) -> str:
    return name.partition(":")[0]


Proof = Callable[[], str]


def _tried(name: str, proof: Proof) -> Check:
    try:
        return Check(name, ok=True, detail=proof())
    except (GuardianError, OSError, sqlite3.Error, ValueError) as error:
        return Check(name, ok=False, detail=str(error))


def _proofs(config: Config, folder: Path) -> Iterator[tuple[str, Proof]]:
    yield "binding", lambda: _binding(config)
    yield "folder", lambda: _folder(folder)
    yield "space", lambda: _space(folder)
    yield "database", lambda: _database(folder)
    yield "keys", lambda: _keys(config, folder)
    for name, port in (("port", config.server.port), ("xr_port", config.server.xr_port)):
        yield f"port:{name}", partial(_port, config.server.host, port)
    yield "clock", _clock
    yield "files", _open_files
    yield "kernels", _kernels
    yield "languages", _languages
    for sink in config.sinks:
        yield f"sink:{sink.name}", partial(_sink, sink)


def _binding(config: Config) -> str:
    check_binding(config)
    return config.server.host


def _folder(folder: Path) -> str:
    """Write a file, make it durable and remove it, where the data will stand."""
    place = _existing(folder)
    started = time.perf_counter()
    with tempfile.NamedTemporaryFile(dir=place, prefix=".guardian-check-") as file:
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())
    return f"{folder}, fsync {1000 * (time.perf_counter() - started):.1f} ms"


def _space(folder: Path) -> str:
    free = shutil.disk_usage(_existing(folder)).free
    if free < LEAST_FREE_BYTES:
        raise OSError(f"expected at least {LEAST_FREE_BYTES >> 20} MiB, got {free >> 20} MiB")
    return f"{free >> 30} GiB"


def _database(folder: Path) -> str:
    """Open a database as the service does, in the same file system, and ask what it really does."""
    with (
        tempfile.TemporaryDirectory(dir=_existing(folder), prefix=".guardian-check-") as scratch,
        closing(sqlite3.connect(Path(scratch) / "check.db")) as connection,
    ):
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE t (x)")
        connection.commit()
        if mode != "wal":
            raise ValueError(f"expected journal mode wal, got {mode}")
    return f"SQLite {sqlite3.sqlite_version}, WAL"


def _keys(config: Config, folder: Path) -> str:
    path = Path(config.ledger.key_file) if config.ledger.key_file else folder / "msr.key"
    if not path.exists() and not config.ledger.key_file:
        return f"{path.name}: -"
    Signer.load(config.ledger.origin, path, create=False)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ValueError(f"{path}: expected mode 600, got {mode:o}")
    return str(path)


def _port(host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    return f"{host}:{port}"


def _clock() -> str:
    now = time.time()
    if now < _EARLIEST:
        raise ValueError(f"expected a time after 2023, got {time.strftime('%Y-%m-%d', time.gmtime(now))}")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))


def _open_files() -> str:
    limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit < LEAST_OPEN_FILES:
        raise ValueError(f"expected at least {LEAST_OPEN_FILES}, got {limit}")
    return str(limit)


def _kernels() -> str:
    from scoring import kernels

    started = time.perf_counter()
    kernels.compile_all()
    return f"{len(kernels.KERNELS)}, {time.perf_counter() - started:.1f} s"


def _languages() -> str:
    return ", ".join(f"{language} {len(texts.catalogue('check', language))}" for language in texts.LANGUAGES)


def _sink(settings: SinkSettings) -> str:
    if settings.type == "file":
        place = _existing(Path(settings.path).parent)
        with tempfile.NamedTemporaryFile(dir=place, prefix=".guardian-check-"):
            return settings.path
    parts = urlsplit(settings.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.create_connection((parts.hostname or "", port), timeout=_CONNECT_S):
        return settings.url


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there: where it would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place
