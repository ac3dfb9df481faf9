"""A full check of an instance's MSR log: every byte that it is made of.

Reads only, on a copy: the service may be running, or may have been killed with transactions in its write-ahead log.
What it holds against each other: the database file against its seal, page by page; the write-ahead log against its
checksums; the entries against their leaves, subtrees and roots; every checkpoint against its signature; and the whole
against the checkpoint that is kept outside the database, so that a lost tail or an old backup is named.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import rfc8785

from exporters import seal
from exporters.msr import merkle
from exporters.msr.note import Signer, Verifier
from exporters.store import sealing
from guardian.errors import InputError, LedgerError, MachineError

DATABASE: Final = "guardian.db"
OUTSIDE: Final = "msr.checkpoint"
VKEY: Final = "msr.vkey"
KEY: Final = "msr.key"

_ATTEMPTS: Final = 40


@dataclass
class Verification:
    """What a check found; ``damage`` names every place that is not as it must be."""

    size: int = 0
    root: str = merkle.EMPTY_ROOT.hex()
    damage: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damage


def verify(folder: Path) -> Verification:
    """Check the MSR log in a data folder.

    Raises:
        InputError: there is no log.
    """
    database = folder / DATABASE
    if not database.is_file():
        raise InputError(str(folder), f"expected the data folder of an instance, with a {DATABASE} in it")
    found = Verification()
    with tempfile.TemporaryDirectory(prefix="guardian-verify-") as scratch:
        copy = Path(scratch) / DATABASE
        # The outside checkpoint first: what it says was committed before the copy was made.
        outside = _text(folder / OUTSIDE)
        sealed = _copied(database, copy, found)
        if sealed is not None:
            found.damage += seal.differences(copy, sealed)
        found.damage += wal_damage(copy.with_name(copy.name + "-wal"))
        verifier = _verifier(folder, found)
        try:
            with closing(sqlite3.connect(copy)) as connection:
                _check_database(connection, verifier, outside, found)
        except (sqlite3.DatabaseError, LedgerError, OverflowError) as error:
            found.damage.append(f"{DATABASE}: {error}")
    return found


def _copied(database: Path, copy: Path, found: Verification) -> str | None:
    """Copy the database and its log while neither is being changed; returns the seal, None while one is pending."""
    wal = database.with_name(database.name + "-wal")
    copied_wal = copy.with_name(copy.name + "-wal")
    with sealing(database, exclusive=False):
        pending = seal.pending_path(database).exists()
        sealed = _text(seal.seal_path(database))
        shutil.copyfile(database, copy)
        for _ in range(_ATTEMPTS):
            # A writer may be in the middle of a frame. What is damaged in a log that stands still is damaged.
            before = _state(wal)
            if before is not None:
                shutil.copyfile(wal, copied_wal)
            if not wal_damage(copied_wal):
                break
            time.sleep(0.05)
            if _state(wal) == before:
                break
    if pending:
        return None
    if sealed is None:
        found.damage.append(f"{seal.seal_path(database).name}: the seal is missing or unreadable")
    return sealed


def wal_damage(wal: Path) -> list[str]:
    """Frames of a SQLite write-ahead log that do not match their checksums (sqlite.org/fileformat2.html, section 4)."""
    if not wal.exists():
        return []
    data = wal.read_bytes()
    if not data:
        return []
    if len(data) < 32:
        return [f"{wal.name}: the header is torn"]
    magic, _version, page_size = struct.unpack_from(">III", data)
    if magic not in (0x377F0682, 0x377F0683) or page_size not in {2**power for power in range(9, 17)}:
        return [f"{wal.name}: the header is damaged"]
    order = ">" if magic & 1 else "<"
    sums = _wal_sum(data[:24], (0, 0), order)
    if sums != struct.unpack_from(">II", data, 24):
        return [f"{wal.name}: the header is damaged"]
    salts = data[16:24]
    at, number = 32, 1
    while at < len(data):
        frame = data[at : at + 24 + page_size]
        if len(frame) < 24 + page_size:
            return [f"{wal.name}: frame {number} is torn"]
        sums = _wal_sum(frame[:8] + frame[24:], sums, order)
        if frame[8:16] != salts or sums != struct.unpack_from(">II", frame, 16):
            return [f"{wal.name}: frame {number} is damaged"]
        at, number = at + len(frame), number + 1
    return []


def _wal_sum(data: bytes, start: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two


def _verifier(folder: Path, found: Verification) -> Verifier | None:
    text = _text(folder / VKEY)
    try:
        verifier = Verifier.parse(text or "")
    except LedgerError as error:
        found.damage.append(
            f"{VKEY}: {error.reason}" if text else f"{VKEY}: the public key is missing or unreadable"
        )
        return None
    if text != verifier.vkey() + "\n":
        found.damage.append(f"{VKEY}: is not in its canonical form")
    key = folder / KEY
    if key.exists():
        try:
            signer = Signer.load(verifier.name, key, create=False)
            if signer.verifier.public != verifier.public or signer.pem() != key.read_bytes():
                found.damage.append(f"{KEY}: is not the key of {VKEY}")
        except MachineError:
            found.damage.append(f"{KEY}: is no Ed25519 private key")
    return verifier


def _check_database(
    connection: sqlite3.Connection, verifier: Verifier | None, outside: str | None, found: Verification
) -> None:
    for (line,) in connection.execute("PRAGMA integrity_check"):
        if line != "ok":
            found.damage.append(f"{DATABASE}: {line}")
    tree = _Tree()
    notes = dict(connection.execute("SELECT size, note FROM msr_checkpoints ORDER BY size"))
    remaining = iter(sorted(notes))
    following = next(remaining, None)
    for index, entry, leaf in connection.execute(
        'SELECT "index", entry, leaf FROM msr_entries ORDER BY "index"'
    ):
        if index != tree.size:
            found.damage.append(f"entry {tree.size}: is missing")
            return
        found.damage += _entry_damage(index, entry, leaf)
        tree.add(leaf if isinstance(leaf, bytes) else b"")
        if following == tree.size:
            found.damage += _checkpoint_damage(notes[following], tree, verifier)
            following = next(remaining, None)
    if following is not None:
        found.damage.append(f"checkpoint {following}: the log holds only {tree.size} entries")
    elif tree.size and max(notes, default=0) != tree.size:
        found.damage.append(f"checkpoint {tree.size}: is missing")
    found.damage += _node_damage(connection, tree)
    found.damage += _outside_damage(outside, notes, tree.size, verifier)
    found.damage += [
        f"bookpi {identity}: tells entry {index}, which is not there"
        for identity, index in connection.execute("SELECT id, msr_index FROM bookpi_entries")
        if not 0 <= index < tree.size
    ]
    found.size, found.root = tree.size, tree.root().hex()


def _entry_damage(index: int, entry: object, leaf: object) -> Iterator[str]:
    if not isinstance(entry, bytes):
        yield f"entry {index}: is not stored as bytes"
        return
    if merkle.leaf_hash(entry) != leaf:
        yield f"entry {index}: its leaf hash differs"
    try:
        canonical = rfc8785.dumps(msgspec.json.decode(entry))
    except (msgspec.DecodeError, rfc8785.CanonicalizationError, UnicodeDecodeError, RecursionError):
        canonical = b""
    if canonical != entry:
        yield f"entry {index}: is not canonical JSON"


def _checkpoint_damage(note: str, tree: _Tree, verifier: Verifier | None) -> Iterator[str]:
    if verifier is None:
        return
    try:
        checkpoint = verifier.open(note)
    except LedgerError as error:
        yield f"checkpoint {tree.size}: {error.reason}"
        return
    if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()):
        yield f"checkpoint {tree.size}: its root is not that of the entries"


def _node_damage(connection: sqlite3.Connection, tree: _Tree) -> Iterator[str]:
    expected = tree.inner
    count = 0
    for level, number, value in connection.execute("SELECT level, number, hash FROM msr_nodes"):
        count += 1
        if expected.get((level, number)) != value:
            yield f"node {level}/{number}: differs from the entries below it"
    if count < len(expected):
        yield f"nodes: {len(expected) - count} are missing"


def _outside_damage(
    outside: str | None, notes: dict[int, str], size: int, verifier: Verifier | None
) -> Iterator[str]:
    if outside is None:
        yield f"{OUTSIDE}: the checkpoint outside the database is missing or unreadable"
        return
    if verifier is None:
        return
    try:
        claimed = verifier.open(outside)
    except LedgerError as error:
        yield f"{OUTSIDE}: {error.reason}"
        return
    if claimed.size > size:
        yield f"log is at {size}, the checkpoint outside the database says {claimed.size}: entries were lost"
    elif claimed.size == 0 and claimed.root == merkle.EMPTY_ROOT:
        return  # written when the log was made; no entry was published yet
    elif notes.get(claimed.size) != outside:
        yield f"{OUTSIDE}: is not the checkpoint that the log has for {claimed.size} entries"


class _Tree:
    """The tree of the entries read so far: only its complete subtrees."""

    def __init__(self) -> None:
        self.size = 0
        self.inner: dict[tuple[int, int], bytes] = {}
        self._peaks: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> None:
        level, value, number = 0, leaf, self.size
        while self._peaks and self._peaks[-1][0] == level:
            value = merkle.node_hash(self._peaks.pop()[1], value)
            level, number = level + 1, number // 2
            self.inner[level, number] = value
        self._peaks.append((level, value))
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return merkle.EMPTY_ROOT
        value = self._peaks[-1][1]
        for _level, left in reversed(self._peaks[:-1]):
            value = merkle.node_hash(left, value)
        return value


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
