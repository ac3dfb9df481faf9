"""Registering a critical decision: its MSR entry and the BookPI page that tells it, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from exporters import bookpi
from exporters.msr import log
from exporters.msr.fsck import KEY, OUTSIDE, VKEY
from exporters.msr.log import Entry, MsrLog
from exporters.msr.merkle import EMPTY_ROOT
from exporters.msr.note import Checkpoint, Signer
from exporters.seal import replace_durably
from exporters.store import Store
from guardian.errors import LedgerError


class Register:
    """MSR and BookPI of one instance."""

    def __init__(self, store: Store, folder: Path, origin: str, key_file: str = "") -> None:
        """Open the register; makes the key on first use, unless the configuration names one.

        Raises:
            MachineError: the key cannot be read.
            LedgerError: the log belongs to another key or origin, or is shorter than its checkpoint outside.
        """
        signer = Signer.load(origin, Path(key_file) if key_file else folder / KEY, create=not key_file)
        self._log = MsrLog(signer)
        self._outside = folder / OUTSIDE
        self._published = 0
        vkey = signer.verifier.vkey() + "\n"
        known = folder / VKEY
        if known.exists() and known.read_text(encoding="utf-8") != vkey:
            raise LedgerError(str(known), f"this log is signed by another key or origin than {origin}")
        replace_durably(known, vkey.encode())
        if not self._outside.exists():
            nothing = Checkpoint(origin, 0, EMPTY_ROOT)
            replace_durably(self._outside, signer.sign(nothing).encode())
        with store.reading() as connection:
            self._refuse_rollback(log.size_of(connection), signer)
        store.after_commit = self._publish

    def write(self, connection: sa.Connection, entries: Sequence[Entry]) -> list[int]:
        """Register entries and tell them; returns their indices. Valid once the caller's transaction commits."""
        indices = list(self._log.append(connection, entries))
        bookpi.tell(connection, indices, entries)
        return indices

    def _publish(self, connection: sa.Connection) -> None:
        """Keep the newest checkpoint outside the database too, where restoring an old backup cannot reach it."""
        size = log.size_of(connection)
        if size != self._published:
            note = log.checkpoint(connection)
            if note is not None:
                replace_durably(self._outside, note.encode())
            self._published = size

    def _refuse_rollback(self, size: int, signer: Signer) -> None:
        claimed = signer.verifier.open(self._outside.read_text(encoding="utf-8"))
        if claimed.size > size:
            raise LedgerError(
                str(self._outside),
                f"log is at {size}, but {claimed.size} was published: an old database was restored",
            )
