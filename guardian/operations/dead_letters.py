"""Dead letters for the command line: opening the data folder, also beside a running service, and the table.

Owns no rule about dead letters (``exporters.dead_letters``). Works on the database itself: SQLite lets one process
write at a time and others wait, and a running worker finds what is to be sent again within a second.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.table import Table
from rich.text import Text

from exporters.dead_letters import DeadLetter, DeadLetters
from exporters.pseudonyms import Pseudonyms
from exporters.register import Register
from exporters.store import Store
from guardian import texts
from guardian.config import Config
from guardian.decisions.record import iso
from guardian.errors import InputError
from guardian.texts import plain

_SHOWN: Final = 12
"""Digits of an id in the table; enough to name one by."""


@contextmanager
def opened(folder: Path, config: Config) -> Iterator[DeadLetters]:
    """The dead letters of a data folder.

    Raises:
        InputError: the folder holds no database.
        MachineError: it cannot be used.
        LedgerError: the register is damaged or was rolled back.
    """
    if not (folder / "guardian.db").is_file():
        raise InputError(str(folder), "expected the data folder of an instance; name it with --data-dir")
    store = Store(folder / "guardian.db")
    store.create()
    try:
        with (
            store.transaction()
        ):  # so that a running service registers nothing while the register is being read
            register = Register(store, folder, config.ledger.origin, config.ledger.key_file)
        # The checkpoint outside the database is the service's to write: it tells these entries with its next ones.
        store.after_commit = lambda _connection: None
        yield DeadLetters(store, register, Pseudonyms.load(folder / "pseudonyms.key"))
    finally:
        store.close()


def operator() -> str:
    """Who sits at this machine, for the register's commitment."""
    try:
        return f"os:{getpass.getuser()}"
    except (OSError, KeyError):  # a user id without a name
        return "os"


def table(letters: Sequence[DeadLetter], language: texts.Language) -> Table:
    """Dead letters for a terminal."""

    def say(key: str) -> str:
        return texts.text(f"cli.{key}", language)

    made = Table(box=None, padding=(0, 1, 0, 0))
    for key in ("dlq_since", "dlq_sink", "dlq_alert", "level", "entity", "why", "dlq_said"):
        made.add_column(say(key), overflow="fold", no_wrap=key not in {"entity", "dlq_said"})
    for each in letters:
        moment = iso(each.since)
        cells = [f"{moment[:10]} {moment[11:16]}Z", each.sink, each.alert.id[:_SHOWN]]
        cells += [texts.text(f"levels.{each.alert.level_to.word}", language), each.alert.entity]
        cells += [say(f"dlq_reason_{each.reason}"), each.said]
        made.add_row(*(Text(plain(cell)) for cell in cells))
    return made


def details(letter: DeadLetter, language: texts.Language) -> str:
    """One dead letter for a terminal: its table, what happened, and the message."""

    def say(key: str) -> str:
        return texts.text(f"cli.{key}", language)

    lines = [f"{say('dlq_alert')}: {letter.alert.id}", f"{say('dlq_attempts')}: {letter.attempts}"]
    lines += [plain(f"  {iso(each['at'])} {each['state']}: {each['said']}") for each in letter.history]
    if letter.body is not None:
        lines.append(say("dlq_edited" if letter.edited else "dlq_message") + ":")
        lines += [plain(line) for line in letter.body.decode("utf-8", "replace").split("\n")]
    return "\n".join(lines)
