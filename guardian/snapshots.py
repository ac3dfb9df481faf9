"""The engine's state on disk: which snapshot to begin from, and writing the next one while scoring goes on.

Owns the order snapshot, cursor and positions, trim, so that a crash between two of them only repeats work; and that one
is made at a time, by a thread of its own: made by the engine's, 100 MB beside a busy journal kept it for 1 to 4.5 s.
Does not own what a snapshot holds (``guardian.frozen``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog

from exporters import outbox as boxes
from exporters.seal import replace_durably
from exporters.store import Store
from guardian.engine import Engine
from guardian.errors import StateError
from guardian.frozen import Frozen

CURSOR: Final = "engine"
"""Sequence number of the journal up to which alerts are in the database."""

_KEPT: Final = 2


class Snapshots:
    """The snapshots of a data folder. For the engine's thread."""

    def __init__(self, folder: Path, store: Store, *, interval_s: float, trim: Callable[[int], None]) -> None:
        """``trim`` is told up to which record the journal is needed no more."""
        self._folder = folder
        self._store = store
        self._interval_s = interval_s
        self._trim = trim
        self._log = structlog.get_logger("guardian.snapshots")
        self._writer = ThreadPoolExecutor(1, "snapshots")
        self._under_way: Future[None] | None = None
        self._begun = 0
        self._saved_at = time.monotonic()

    def newest(self, restore: Callable[[bytes], Engine]) -> tuple[Engine, int] | None:
        """The engine of the newest good snapshot and the last record in it; None = there is none.

        A damaged one is put aside and said, and the one before it is taken.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.glob("*.arrow"), reverse=True):
            try:
                engine = restore(path.read_bytes())
            except (StateError, OSError) as error:
                self._log.error("snapshot put aside", file=path.name, reason=str(error))
                path.replace(path.with_suffix(".damaged"))
            else:
                self._begun = int(path.stem)
                return engine, self._begun
        return None

    def age(self) -> float:
        """Seconds since the state was saved."""
        return time.monotonic() - self._saved_at

    def due(self, seq: int) -> bool:
        """Whether the state after record ``seq`` is to be saved now. Raises what went wrong with the last one."""
        if self._under_way is not None:
            if not self._under_way.done():
                return False
            self.finish()
        return seq != self._begun and self.age() >= self._interval_s

    def begin(self, state: Frozen, seq: int, positions: Mapping[str, bytes]) -> None:
        """Save a state whose last record is ``seq``, and where sources stood then."""
        self.finish()
        self._begun = seq
        self._under_way = self._writer.submit(self._write, state, seq, dict(positions))

    def finish(self) -> None:
        """Wait for what is being saved. Raises what went wrong with it."""
        if self._under_way is not None:
            writing, self._under_way = self._under_way, None
            writing.result()

    def close(self, seq: int, state: Callable[[], Frozen], positions: Mapping[str, bytes]) -> None:
        """Save the last state, if it is not saved yet, and end the thread."""
        self.finish()
        if seq != self._begun:
            self.begin(state(), seq, positions)
            self.finish()
        self._writer.shutdown()

    def _write(self, state: Frozen, seq: int, positions: Mapping[str, bytes]) -> None:
        replace_durably(self._folder / f"{seq:020d}.arrow", state.to_bytes())
        with self._store.transaction() as connection:
            # What came of later records may be in the database already; the cursor never goes back.
            boxes.set_cursor(connection, CURSOR, max(seq, boxes.get_cursor(connection, CURSOR)))
            boxes.set_positions(connection, positions)
        self._trim(seq)
        for old in sorted(self._folder.glob("*.arrow"))[:-_KEPT]:
            old.unlink()
        self._saved_at = time.monotonic()
