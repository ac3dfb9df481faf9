"""The MSR log: critical decisions in the order in which they were registered, in the one database.

Owns entries, complete subtrees and signed checkpoints, and the proofs made of them. An append happens inside the
caller's transaction: the decision and its registration are there together or not at all.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import rfc8785
import sqlalchemy as sa

from exporters.msr import merkle
from exporters.msr.note import Checkpoint, Signer
from exporters.store import metadata
from guardian.decisions.record import iso
from guardian.errors import LedgerError

MAX_ENTRY: Final = 65_535
"""Bytes of an entry: C2SP bundles give each a 16-bit length. Larger evidence goes in by its digest."""

TILE: Final = 256

entries: Final = sa.Table(
    "msr_entries",
    metadata,
    sa.Column("index", sa.Integer, primary_key=True),
    sa.Column("entry", sa.LargeBinary, nullable=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
)
nodes: Final = sa.Table(
    "msr_nodes",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
checkpoints: Final = sa.Table(
    "msr_checkpoints",
    metadata,
    sa.Column("size", sa.Integer, primary_key=True),
    sa.Column("note", sa.Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One critical decision. ``payload`` holds no personal data in clear: commitments only."""

    actor_id: str
    action: str
    payload: dict[str, Any]
    created_at: int
    """Nanoseconds since 1970."""

    def canonical(self) -> bytes:
        """The bytes that are the leaf: RFC 8785 JSON.

        Raises:
            LedgerError: longer than MAX_ENTRY, or not JSON.
        """
        content: dict[str, Any] = {"actorId": self.actor_id, "action": self.action, "payload": self.payload}
        try:
            compat = hashlib.sha256(
                rfc8785.dumps({"actor_id": self.actor_id, "action": self.action, "payload": self.payload})
            ).hexdigest()
            data = rfc8785.dumps({**content, "createdAt": iso(self.created_at), "compatHash": compat})
        except (rfc8785.CanonicalizationError, RecursionError) as error:
            raise LedgerError("entry", f"cannot be written as canonical JSON: {error}") from None
        if len(data) > MAX_ENTRY:
            raise LedgerError("entry", f"expected at most {MAX_ENTRY} bytes, got {len(data)}")
        return data


class MsrLog:
    """The log of one origin. One writer: the store's transaction lock sees to it."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.origin = signer.verifier.name

    def append(self, connection: sa.Connection, batch: Sequence[Entry]) -> range:
        """Register entries, in this order, in the caller's transaction; returns their indices.

        They are registered once the transaction has committed, and not before.

        Raises:
            LedgerError: an entry is unfit, or the log in the database is not whole; nothing was written.
        """
        start = size_of(connection)
        if not batch:
            return range(start, start)
        fresh: dict[tuple[int, int], bytes] = {}

        def node(level: int, number: int) -> bytes:
            return fresh.get((level, number)) or node_of(connection, level, number)

        rows = []
        for index, entry in enumerate(batch, start):
            data = entry.canonical()
            leaf = merkle.leaf_hash(data)
            rows.append({"index": index, "entry": data, "leaf": leaf})
            for level, number, value in merkle.completed(index, leaf, node):
                fresh[level, number] = value
        size = start + len(rows)
        note = self._signer.sign(Checkpoint(self.origin, size, merkle.root(size, node)))
        connection.execute(entries.insert(), rows)
        inner = [
            {"level": level, "number": number, "hash": value}
            for (level, number), value in fresh.items()
            if level
        ]
        if inner:
            connection.execute(nodes.insert(), inner)
        connection.execute(checkpoints.insert(), {"size": size, "note": note})
        return range(start, size)


def size_of(connection: sa.Connection) -> int:
    """Number of entries.

    Raises:
        LedgerError: the entries do not reach as far as the newest checkpoint says.
    """
    last: int | None = connection.execute(sa.select(sa.func.max(entries.c.index))).scalar()
    signed: int | None = connection.execute(sa.select(sa.func.max(checkpoints.c.size))).scalar()
    size = 0 if last is None else last + 1
    if (signed or 0) != size:
        raise LedgerError("log", f"it holds {size} entries, but its newest checkpoint says {signed or 0}")
    return size


def node_of(connection: sa.Connection, level: int, number: int) -> bytes:
    """Hash of a complete subtree.

    Raises:
        LedgerError: it is not there.
    """
    query = (
        sa.select(entries.c.leaf).where(entries.c.index == number)
        if level == 0
        else sa.select(nodes.c.hash).where(nodes.c.level == level, nodes.c.number == number)
    )
    found: bytes | None = connection.execute(query).scalar()
    if found is None:
        raise LedgerError(f"node {level}/{number}", "is missing")
    return found


def checkpoint(connection: sa.Connection) -> str | None:
    """The newest signed checkpoint, a C2SP note; None while the log is empty."""
    note: str | None = connection.execute(
        sa.select(checkpoints.c.note).order_by(checkpoints.c.size.desc()).limit(1)
    ).scalar()
    return note


def inclusion_proof(connection: sa.Connection, index: int, size: int) -> list[bytes]:
    """Proof that entry ``index`` is in the tree of ``size`` entries."""
    return merkle.inclusion_proof(index, size, lambda level, number: node_of(connection, level, number))


def consistency_proof(connection: sa.Connection, old: int, new: int) -> list[bytes]:
    """Proof that the tree of ``old`` entries is a prefix of the one of ``new``."""
    return merkle.consistency_proof(old, new, lambda level, number: node_of(connection, level, number))


def tlog_proof(connection: sa.Connection, index: int) -> str | None:
    """A C2SP ``tlog-proof``: everything needed to check one entry offline. None when there is no such entry."""
    note = checkpoint(connection)
    if note is None:
        return None
    size = int(note.split("\n")[1])
    if not 0 <= index < size:
        return None
    hashes = inclusion_proof(connection, index, size)
    lines = "".join(f"{base64.b64encode(each).decode()}\n" for each in hashes)
    return f"c2sp.org/tlog-proof@v1\nindex {index}\n{lines}\n{note}"


def tile(connection: sa.Connection, path: str) -> bytes | None:
    """A C2SP tile by its path below ``tile/``, for example ``0/x001/067`` or ``entries/000.p/3``; None when not there.

    Hash tiles hold up to 256 hashes of one level; entry bundles hold the entries with a 16-bit length before each.
    """
    parsed = _tile_path(path)
    if parsed is None:
        return None
    level, number, width = parsed
    first = number * TILE
    if level is None:
        query = sa.select(entries.c.entry).where(entries.c.index.between(first, first + width - 1))
        found = connection.execute(query.order_by(entries.c.index)).scalars().all()
        return (
            b"".join(struct.pack(">H", len(each)) + each for each in found) if len(found) == width else None
        )
    try:
        return b"".join(node_of(connection, 8 * level, first + place) for place in range(width))
    except LedgerError:
        return None


def page(connection: sa.Connection, *, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Entries as the API shows them, newest first, and how many there are."""
    total = connection.execute(sa.select(sa.func.count()).select_from(entries)).scalar_one()
    query = sa.select(entries).order_by(entries.c.index.desc()).limit(limit).offset(offset)
    items = []
    for row in connection.execute(query):
        content = msgspec.json.decode(row.entry, type=dict[str, Any])
        items.append({"id": str(row.index), "index": row.index, **content, "hash": row.leaf.hex()})
    return items, total


def _tile_path(path: str) -> tuple[int | None, int, int] | None:
    head, _, rest = path.partition("/")
    body, _, partial = rest.partition(".p/")
    groups = body.split("/")
    if not all(group.startswith("x") for group in groups[:-1]) or groups[-1].startswith("x"):
        return None
    digits = [group.removeprefix("x") for group in groups]
    if not all(len(digit) == 3 and digit.isascii() and digit.isdigit() for digit in digits):
        return None
    if head != "entries" and not (head.isascii() and head.isdigit() and len(head) <= 2 and int(head) < 64):
        return None
    if partial and not (partial.isascii() and partial.isdigit() and 0 < int(partial) < TILE):
        return None
    if len(digits) > 6:
        return None
    return (None if head == "entries" else int(head)), int("".join(digits)), int(partial) if partial else TILE
