"""Dead letters for people: what can be asked about them, who is asked, and how the answer reads on a terminal.

Owns the request, which is the same on the command line and over HTTP, and the choice between the two: while a service
uses the data folder it is asked, otherwise the database is opened here. Owns no rule about dead letters
(``exporters.dead_letters``).
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, ValidationError, convert, to_builtins
from rich.table import Table
from rich.text import Text

from exporters.dead_letters import DeadLetters
from exporters.pseudonyms import Pseudonyms
from exporters.register import Register
from exporters.store import Store
from guardian import texts
from guardian.config import Config
from guardian.errors import InputError, MachineError, Problem, RequestError
from guardian.gateway import client
from guardian.journal.files import Files
from guardian.texts import plain

_SHOWN: Final = 12
"""Digits of an id in the table; enough to name one by."""


PATH: Final = "/api/v1/dead-letters"


class Request(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be done about dead letters."""

    action: Literal["list", "show", "edit", "replay", "drop"]
    sink: str | None = None
    alerts: tuple[str, ...] = ()
    """Ids, or their beginnings; one for ``show`` and ``edit`` …"""
    every: bool = False
    """… or all of the sink, for ``replay`` and ``drop``."""
    message: str = ""
    reason: str = ""
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    offset: Annotated[int, Meta(ge=0)] = 0


def ask(folder: Path, config: Config, url: str, request: Request) -> dict[str, Any]:
    """Have something done about the dead letters of a data folder: by the service that uses it, or right here.

    The database belongs to one process, so a running service is asked over HTTP at ``url``.

    Raises:
        InputError: the folder holds no instance, or what is asked for cannot be done.
        MachineError: the folder cannot be used, or is in use and no service answers.
        LedgerError: the register is damaged or was rolled back.
    """
    if not (folder / "guardian.db").is_file():
        raise InputError(str(folder), "expected the data folder of an instance; name it with --data-dir")
    try:
        held = Files().lock(folder / "journal")
    except MachineError:
        return client.ask(url, PATH, to_builtins(request), key="action")
    try:
        store = Store(folder / "guardian.db")
        store.create()
        try:
            register = Register(store, folder, config.ledger.origin, config.ledger.key_file)
            letters = DeadLetters(store, register, Pseudonyms.load(folder / "pseudonyms.key"))
            return perform(letters, to_builtins(request), by=operator())
        finally:
            store.close()
    finally:
        os.close(held)


def perform(letters: DeadLetters, body: Mapping[str, Any], *, by: str) -> dict[str, Any]:
    """Do what a request says; the answer as JSON, with its action in it.

    Args:
        letters: of the instance.
        body: a ``Request`` as JSON.
        by: who asks; the register gets a commitment.

    Raises:
        RequestError: the body is no such request.
        InputError: it cannot be done; nothing was changed.
    """
    try:
        request = convert(body, Request)
    except ValidationError as error:
        raise RequestError([Problem("request", "one about dead letters", str(error))]) from None
    answer: dict[str, Any] = {"action": request.action}
    if request.action == "list":
        found, total = letters.page(request.sink, limit=request.limit, offset=request.offset)
        return answer | {"items": [each.to_json() for each in found], "total": total}
    if request.sink is None:
        raise RequestError([Problem("sink", "the name of a sink", "nothing")])
    if request.action in ("show", "edit"):
        if len(request.alerts) != 1:
            raise RequestError([Problem("alerts", "one id", f"{len(request.alerts)} ids")])
        (alert,) = request.alerts
        if request.action == "show":
            return answer | letters.letter(request.sink, alert).to_json()
        indices = [letters.edit(request.sink, alert, request.message.encode(), by=by)]
    else:
        if request.every == bool(request.alerts):
            raise RequestError([Problem("alerts", "ids, or all of the sink", "both or neither")])
        chosen = None if request.every else request.alerts
        if request.action == "replay":
            indices = letters.replay(request.sink, chosen, by=by)
        else:
            indices = letters.drop(request.sink, chosen, reason=request.reason, by=by)
    return answer | {"changed": len(indices), "msrIndices": indices}


def operator() -> str:
    """Who sits at this machine, for the register's commitment."""
    try:
        return f"os:{getpass.getuser()}"
    except (OSError, KeyError):  # a user id without a name
        return "os"


def table(letters: Sequence[Mapping[str, Any]], language: texts.Language) -> Table:
    """Dead letters for a terminal."""

    def say(key: str) -> str:
        return texts.text(f"cli.{key}", language)

    made = Table(box=None, padding=(0, 1, 0, 0))
    for key in ("dlq_since", "dlq_sink", "dlq_alert", "level", "entity", "why", "dlq_said"):
        made.add_column(say(key), overflow="fold", no_wrap=key not in {"entity", "dlq_said"})
    for each in letters:
        since, alert = each["since"], each["alert"]
        cells = [f"{since[:10]} {since[11:16]}Z", each["sink"], each["alertId"][:_SHOWN]]
        cells += [texts.text(f"levels.{alert['levelTo']}", language), alert["entity"]]
        cells += [say(f"dlq_reason_{each['reason']}"), each["said"]]
        made.add_row(*(Text(plain(cell)) for cell in cells))
    return made


def details(letter: Mapping[str, Any], language: texts.Language) -> str:
    """What happened to one dead letter, and its message, for a terminal."""

    def say(key: str) -> str:
        return texts.text(f"cli.{key}", language)

    lines = [f"{say('dlq_alert')}: {letter['alertId']}", f"{say('dlq_attempts')}: {letter['attempts']}"]
    lines += [f"  {each['at']} {each['state']}: {each['said']}" for each in letter["history"]]
    if letter["body"] is not None:
        lines.append(say("dlq_edited" if letter["edited"] else "dlq_message") + ":")
        lines += letter["body"].split("\n")
    return "\n".join(map(plain, lines))
