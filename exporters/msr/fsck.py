"""A full check of an instance's MSR log: every byte that it is made of.

Owns what is compared with what, file by file: the database with its seal, page by page; the write-ahead log with its
checksums and its mark; the key files with each other; the whole with the checkpoint that is kept outside the database,
so that a lost tail or an old backup is named. ``exporters.msr.audit`` owns what must be true of the rows.

Reads only, and works on a copy: the service may be running, or may have been killed with transactions in its log.
The log's shared index (``-shm``) is not looked at: SQLite makes it anew whenever it opens what a crash left behind.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from exporters import seal, wal
from exporters.msr import merkle
from exporters.msr.audit import Report, audit
from exporters.msr.note import Signer, Verifier
from exporters.pseudonyms import Pseudonyms
from guardian import texts
from guardian.errors import InputError, LedgerError, MachineError

DATABASE: Final = "guardian.db"
OUTSIDE: Final = "msr.checkpoint"
VKEY: Final = "msr.vkey"
KEY: Final = "msr.key"
COMMITMENTS: Final = "pseudonyms.key"

MOST: Final = 100
"""Places that are named; past them they are only counted."""


@dataclass
class Verification:
    """What a check found; ``damage`` names every place that is not as it must be, in words for a person."""

    size: int = 0
    root: str = merkle.EMPTY_ROOT.hex()
    damage: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damage


def verify(folder: Path, *, language: texts.Language = "en") -> Verification:
    """Check the MSR log in a data folder.

    Raises:
        InputError: there is no log, or it cannot be read or copied.
    """
    if not (folder / DATABASE).is_file():
        raise InputError(str(folder), f"expected the data folder of an instance, with a {DATABASE} in it")
    found = Verification()
    unnamed = 0

    def report(key: str, **values: Any) -> None:
        nonlocal unnamed
        if len(found.damage) < MOST:
            found.damage.append(texts.text(f"verify.{key}", language, **values))
        else:
            unnamed += 1

    with tempfile.TemporaryDirectory(prefix="guardian-verify-") as scratch:
        # The checkpoint outside first: what it says was committed before the copy was made.
        outside = _text(folder / OUTSIDE)
        try:
            copy = _copied(folder / DATABASE, Path(scratch))
        except OSError as error:
            raise InputError(str(folder), f"cannot be copied for the check ({error.strerror})") from None
        verifier = _keys(folder, report)
        _files(copy, report)
        try:
            with closing(sqlite3.connect(copy)) as connection:
                _rows(connection, verifier, outside, found, report)
        except (sqlite3.Error, OverflowError, TypeError, UnicodeDecodeError) as error:
            report("database", file=DATABASE, reason=error)
    if unnamed:
        found.damage.append(texts.text("verify.more", language, count=unnamed))
    return found


def _copied(database: Path, scratch: Path) -> Path:
    """Copy the database with its log, seal and mark; the log last, so that it reaches at least as far as the mark."""
    sides = (seal.seal_path, seal.pending_path, seal.mark_path, wal.path_of)
    with seal.held(database, exclusive=False):
        for source in (database, *(side(database) for side in sides)):
            if source.exists():
                shutil.copyfile(source, scratch / source.name)
    return scratch / database.name


def _files(copy: Path, report: Report) -> None:
    log = wal.read(wal.path_of(copy))
    try:
        now, to_come = seal.standing(copy, log)
    except LedgerError as error:
        report("seal", file=error.place)
        return
    for number in seal.changed_pages(copy, now, to_come, log):
        report("page", file=copy.name, number=number)
    try:
        lost = seal.loss(copy, now, log)
    except LedgerError as error:
        report("mark", file=error.place)
        return
    if lost is not None:
        report("frame", file=wal.path_of(copy).name, number=lost)


def _keys(folder: Path, report: Report) -> Verifier | None:
    key, commitments = folder / KEY, folder / COMMITMENTS
    if commitments.exists():
        try:
            Pseudonyms.load(commitments)
        except MachineError:
            report("commitments", file=COMMITMENTS)
    text = _text(folder / VKEY) or ""
    try:
        verifier = Verifier.parse(text)
    except LedgerError:
        verifier = None
    if verifier is None or text != verifier.vkey() + "\n":
        report("vkey", file=VKEY)
        return None
    if key.exists():
        try:
            signer = Signer.load(verifier.name, key, create=False)
            fits = signer.verifier.public == verifier.public and signer.pem() == key.read_bytes()
        except MachineError:
            fits = False
        if not fits:
            report("key", file=KEY)
    return verifier


def _rows(
    connection: sqlite3.Connection,
    verifier: Verifier | None,
    outside: str | None,
    found: Verification,
    report: Report,
) -> None:
    for (line,) in connection.execute("PRAGMA integrity_check"):
        if line != "ok":
            report("database", file=DATABASE, reason=line)
    tree = audit(connection, verifier, report)
    found.size, found.root = tree.size, tree.root().hex()
    if outside is None:
        report("outside_missing", file=OUTSIDE)
        return
    if verifier is None:
        return
    try:
        claimed = verifier.open(outside)
    except LedgerError:
        report("outside_signature", file=OUTSIDE)
        return
    row = connection.execute("SELECT note FROM msr_checkpoints WHERE size = ?", (claimed.size,)).fetchone()
    if claimed.size > tree.size:
        report("outside_ahead", entries=tree.size, size=claimed.size)
    elif claimed.size == 0 and claimed.root == merkle.EMPTY_ROOT:
        return  # written when the log was made; no entry was published yet
    elif row is None or row[0] != outside:
        report("outside_other", file=OUTSIDE, size=claimed.size)


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
