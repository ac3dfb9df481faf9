"""The configuration and deployment checklist: which lines there are, and how they are shown.

Does not own what a line does to be sure; that is ``proofs``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from guardian import texts
from guardian.config import Config, load
from guardian.errors import ConfigError, GuardianError
from guardian.operations import proofs


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist."""

    name: str
    """Key of its text in ``guardian/texts/check.*.toml``, and behind a colon which one of several it is."""
    ok: bool
    detail: str
    """What was found, or why it failed."""
    todo: str = ""
    """What to do about it, in the language that was asked for; empty when all is well."""

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {"name": self.name, "ok": self.ok, "detail": self.detail, "todo": self.todo}


def checklist(config_file: Path | None, folder: Path, *, language: texts.Language) -> list[Check]:
    """Prove every line. Nothing that it makes is left behind, and a running service is not disturbed.

    A configuration that cannot be used is the only line: nothing else could be tried.
    """
    try:
        config = load(config_file) if config_file is not None else Config()
    except ConfigError as error:
        return [Check("config", ok=False, detail=str(error), todo=texts.text("check.config_todo", language))]
    checks = [Check("config", ok=True, detail=str(config_file or "-"))]
    checks += [_tried(name, proof, language) for name, proof in _lines(config, folder)]
    return checks


def print_checklist(checks: list[Check], console: Console, language: texts.Language) -> None:
    """The checklist for people, with what to do about each line that fails."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    for check in checks:
        mark = Text("✓", "green") if check.ok else Text("✗", "red")
        what = Text(texts.text(f"check.{_key(check.name)}", language))
        if which := check.name.partition(":")[2]:
            what.append(f" {which}", "dim")
        table.add_row(mark, what, Text(check.detail))
        if check.todo:
            table.add_row("", "", Text(check.todo, "yellow"))
    console.print(table)


def _key(name: str) -> str:
    return name.partition(":")[0]


def _tried(name: str, proof: Callable[[], str], language: texts.Language) -> Check:
    try:
        return Check(name, ok=True, detail=proof())
    except (GuardianError, OSError, ValueError) as error:
        detail = str(error)
    except Exception as error:  # noqa: BLE001  (whatever it is, finding it is what the checklist is for)
        detail = f"{type(error).__name__}: {error}"
    return Check(name, ok=False, detail=detail, todo=texts.text(f"check.{_key(name)}_todo", language))


def _lines(config: Config, folder: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "binding", partial(proofs.binding, config)
    yield "folder", partial(proofs.data_folder, folder)
    yield "space", partial(proofs.free_space, folder, config.journal)
    yield "database", partial(proofs.database, folder)
    yield "keys", partial(proofs.keys, config.ledger, folder)
    ports = {"port": config.server.port, "xr_port": config.server.xr_port}
    if config.server.otlp_port >= 0:
        ports["otlp_port"] = config.server.otlp_port
    for name in ports:
        yield f"port:{name}", partial(proofs.port, config.server.host, name, ports)
    yield "clock", partial(proofs.clock, folder)
    yield "files", proofs.open_files
    yield "kernels", proofs.kernels
    yield "languages", proofs.languages
    yield "page", proofs.page
    if config.sigma.rules:
        yield "sigma", partial(proofs.detection_rules, config)
    for sink in config.sinks:
        yield f"sink:{sink.name}", partial(proofs.sink, sink)
    if config.telemetry.endpoint:
        yield "telemetry", partial(proofs.answers, config.telemetry.endpoint)
