"""What each line of the checklist does to be sure: it writes, syncs, binds, connects, loads.

A proof returns what it found, or raises with why it failed. What it makes, it removes.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import resource
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from guardian import texts
from guardian.config import Config, Journal, Ledger
from guardian.errors import MachineError
from guardian.gateway import check_binding
from guardian.gateway.console import console_folder
from guardian.sink_settings import File, Nats, Redis, Relp, Sink, Syslog

SPARE_BYTES: Final = 2**30
"""Free space that must be left once the journal has grown to its limit: for the database and snapshots."""

_PORTS: Final = {Redis: 6379, Nats: 4222}
LEAST_OPEN_FILES: Final = 1024
ANSWER_S: Final = 3.0
_EARLIEST: Final = 1_700_000_000
_LATEST: Final = 2**63 // 10**9
"""Event times are nanoseconds in 64 bits; they end in 2262."""
_FUTURE_S: Final = 300.0
_NOBODY: Final = frozenset({502, 503, 504})
"""Answers of a proxy without a receiver behind it; any other, also a refusal, shows that somebody is there."""


def binding(config: Config) -> str:
    """The address is one that the service will agree to listen on."""
    check_binding(config)
    return config.server.host


def data_folder(folder: Path) -> str:
    """Write a file, lock it and make it durable, where the data will stand."""
    started = time.perf_counter()
    with tempfile.NamedTemporaryFile(dir=_existing(folder), prefix=".guardian-check-") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())
    return f"{folder}, fsync {1000 * (time.perf_counter() - started):.1f} ms"


def free_space(folder: Path, journal: Journal) -> str:
    """There is room for the journal at its limit, and some to spare: a full disk stops ingest until a restart."""
    free = shutil.disk_usage(_existing(folder)).free
    used = sum(path.stat().st_size for path in (folder / "journal").glob("*.segment"))
    needed = max(0, journal.max_bytes - used) + SPARE_BYTES
    if free < needed:
        raise MachineError(
            f"expected at least {_mib(needed)} (journal.max_bytes and {_mib(SPARE_BYTES)}), got {_mib(free)}"
        )
    return _mib(free)


def database(folder: Path) -> str:
    """Open a database as the service does, in the same file system, and ask what it really does."""
    from exporters.store import Store

    with tempfile.TemporaryDirectory(dir=_existing(folder), prefix=".guardian-check-") as scratch:
        store = Store(Path(scratch) / "check.db")
        try:
            store.create()
            with store.transaction() as connection:
                connection.exec_driver_sql("CREATE TABLE proof (x)")
            with store.reading() as connection:
                mode, synchronous, version = (
                    connection.exec_driver_sql(question).scalar_one()
                    for question in ("PRAGMA journal_mode", "PRAGMA synchronous", "SELECT sqlite_version()")
                )
        finally:
            store.close()
    if (mode, synchronous) != ("wal", 2):
        raise MachineError(f"expected journal mode wal and synchronous 2, got {mode} and {synchronous}")
    path = folder / "guardian.db"
    if path.exists():
        with path.open("r+b") as file:
            if file.read(16) not in (b"", b"SQLite format 3\0"):
                raise MachineError(f"{path}: not an SQLite database")
    return f"SQLite {version}, WAL, synchronous FULL"


def keys(ledger: Ledger, folder: Path) -> str:
    """The keys load, and nobody else can read them. Those that the service makes by itself may be missing yet."""
    from exporters.msr.fsck import KEY
    from exporters.msr.note import Signer
    from exporters.pseudonyms import Pseudonyms

    signing = Path(ledger.key_file) if ledger.key_file else folder / KEY
    naming = folder / "pseudonyms.key"
    found: list[str] = []
    if signing.exists() or ledger.key_file:
        Signer.load(ledger.origin, signing, create=False)
        found.append(_private(signing))
    if naming.exists():
        Pseudonyms.load(naming)
        found.append(_private(naming))
    return ", ".join(found) or "-"


def port(host: str, name: str, ports: Mapping[str, int]) -> str:
    """The port can be bound and belongs to one thing only; 0 takes a free one."""
    number = ports[name]
    others = [other for other in ports if other != name and ports[other] == number]
    if number and others:
        raise MachineError(f"server.{name} and server.{others[0]} are both {number}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, number))
        probe.listen()
    return f"{host}:{number}"


def clock(folder: Path) -> str:
    """The time is one that events can have, and not before what was written already."""
    now = time.time()
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    if not _EARLIEST < now < _LATEST:
        raise MachineError(f"expected a time from 2023 to 2262, got {shown}")
    newest = max((path.stat().st_mtime for path in folder.glob("**/*")), default=now)
    if newest > now + _FUTURE_S:
        raise MachineError(f"it is {shown}, and the data folder was written to {newest - now:.0f} s later")
    return shown


def open_files() -> str:
    """A connection is an open file."""
    limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit < LEAST_OPEN_FILES:
        raise MachineError(f"expected at least {LEAST_OPEN_FILES}, got {limit}")
    return str(limit)


def kernels() -> str:
    """Every kernel compiles here, or loads from the cache."""
    from guardian.warm_up import MODULES
    from scoring.compilation import compile_all, kernels_of

    started = time.perf_counter()
    compile_all(*MODULES)
    return f"{len(kernels_of(*MODULES))}, {time.perf_counter() - started:.1f} s"


def detection_rules(config: Config) -> str:
    """Every detection rule that is not left out by name can be loaded."""
    from guardian.sigma import Detector

    return str(len(Detector(config).names))


def languages() -> str:
    """Every text exists in every language."""
    areas = sorted(
        {path.name.split(".")[0] for path in files(texts).iterdir() if path.name.endswith(".toml")}
    )
    count = 0
    for area in areas:
        keys_of = {language: set(texts.catalogue(area, language)) for language in texts.LANGUAGES}
        every = set().union(*keys_of.values())
        for language, known in keys_of.items():
            if known != every:
                raise MachineError(f"{area}.{language}: no text for {', '.join(sorted(every - known)[:5])}")
        count += len(every)
    return f"{', '.join(texts.LANGUAGES)}: {count}"


def page() -> str:
    """The status page is part of this installation."""
    folder = console_folder()
    if folder is None:
        raise MachineError("expected console/index.html in the package guardian")
    return str(len([path for path in folder.rglob("*") if path.is_file()]))


def sink(settings: Sink) -> str:
    """The receiver's credential is there, and it answers, or its file can be appended to."""
    from exporters.sinks.credentials import check_credentials

    check_credentials(settings)
    if isinstance(settings, File):
        return appended(Path(settings.path))
    if isinstance(settings, Syslog | Relp):
        return connected(settings.host, settings.port)
    parts = urlsplit(settings.url)
    if isinstance(settings, Redis | Nats):
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as local:
                local.connect(parts.path)
            return parts.path
        return connected(parts.hostname or "", parts.port or _PORTS[type(settings)])
    return answers(settings.url)


def appended(path: Path) -> str:
    """A file can be appended to, or made."""
    if path.exists():
        with path.open("ab"):
            return str(path)
    with tempfile.NamedTemporaryFile(dir=_existing(path.parent), prefix=".guardian-check-"):
        return str(path)


def connected(host: str, port: int) -> str:
    """Somebody listens at this address."""
    place = f"{host}:{port}"
    try:
        socket.create_connection((host, port), ANSWER_S).close()
    except OSError as error:
        raise MachineError(f"{place}: {error.strerror or error}") from None
    return place


def answers(url: str) -> str:
    """Somebody answers HTTP at this address. The path stays out of what is said: some hold a secret."""
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MachineError(f"expected a URL http://… or https://…, got {place}")
    try:
        status = _asked(parts, parts.hostname)
    except (http.client.HTTPException, OSError) as error:
        raise MachineError(f"{place}: {str(error) or type(error).__name__}") from None
    if status in _NOBODY:
        raise MachineError(f"{place}: HTTP {status}")
    return f"{place}: HTTP {status}"


def _asked(parts: SplitResult, host: str) -> int:
    """The status that OPTIONS gets: it says who is there and changes nothing."""
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(host, parts.port, timeout=ANSWER_S)
    try:
        connection.request("OPTIONS", parts.path or "/")
        return connection.getresponse().status
    finally:
        connection.close()


def _private(path: Path) -> str:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise MachineError(f"{path}: expected mode 600, got {mode:o}")
    return path.name


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there: where it would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place
