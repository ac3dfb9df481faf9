"""Growing forests from the lake on a schedule, in a thread of its own; what the register says of a swap.

Owns when and from what a forest is grown. Does not own the forest (``scoring.forest``) nor its place in the stream: what was
grown is handed to a function, which makes it a record of the journal.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from exporters.lake import Lake
from exporters.msr.log import Entry
from guardian.config import Forest
from guardian.decisions.model import ModelSwap
from guardian.decisions.record import iso
from guardian.errors import JournalError
from guardian.events import ROLES
from scoring.forest import IsolationForest

LEAST_ROWS: Final = 1000
MOST_ROWS: Final = 50_000

ACTION: Final = "guardian.model_swapped"


class Retraining:
    """Grows a forest for each role every ``interval_s`` seconds, once the lake holds enough of its windows."""

    def __init__(self, settings: Forest, lake: Lake, swap: Callable[[ModelSwap], object]) -> None:
        self._settings = settings
        self._lake = lake
        self._swap = swap
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retraining", daemon=True)
        self._log = structlog.get_logger("guardian.retraining")

    def start(self) -> None:
        """Begin to wait for the first time."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the forest that is growing, if any, and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def retrain(self, role: str) -> ModelSwap | None:
        """A forest from the newest windows of a role; None when there are too few."""
        sample = self._lake.newest(role, most=MOST_ROWS)
        if sample is None or len(sample.rows) < LEAST_ROWS:
            return None
        forest = IsolationForest.fit(sample.rows, trees=self._settings.trees, sample=self._settings.sample)
        return ModelSwap(
            role=role,  # type: ignore[arg-type]  # one of ROLES
            forest=forest.to_bytes(),
            rows=len(sample.rows),
            first=sample.first,
            last=sample.last,
            created_at=time.time_ns(),
        )

    def _run(self) -> None:
        while not self._stopping.wait(self._settings.interval_s):
            for role in ROLES:
                if self._stopping.is_set():
                    return
                try:
                    grown = self.retrain(role)
                    if grown is not None:
                        self._swap(grown)
                except (JournalError, ValueError, ImportError, MemoryError) as error:
                    # The forest in force stays, and there is a next time.
                    self._log.warning("no new forest", role=role, reason=str(error))


def entry_of(swap: ModelSwap, config_digest: str) -> Entry:
    """What the register says of a swap."""
    payload = {
        "role": swap.role,
        "digest": hashlib.sha256(swap.forest).hexdigest(),
        "rows": swap.rows,
        "firstWindow": iso(swap.first),
        "lastWindow": iso(swap.last),
        "config": config_digest,
    }
    return Entry(actor_id="", action=ACTION, payload=payload, created_at=swap.created_at)
