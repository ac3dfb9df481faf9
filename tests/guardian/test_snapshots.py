"""Snapshots on disk: the newest good one is taken, the order holds at a crash, and no step of it is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from exporters import outbox as boxes
from exporters.store import Store
from guardian.config import Config
from guardian.engine import Engine
from guardian.frozen import Frozen
from guardian.snapshots import CURSOR, Snapshots

EMPTY = Engine(Config())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "guardian.db")
    opened.create()
    yield opened
    opened.close()


class Made:
    """Snapshots of a folder, and what was trimmed."""

    def __init__(self, folder: Path, store: Store, *, interval_s: float = 0.0) -> None:
        self.trimmed: list[int] = []
        self.store = store
        self.folder = folder / "snapshots"
        self.snapshots = Snapshots(self.folder, store, interval_s=interval_s, trim=self.trimmed.append)
        self.found = self.snapshots.newest(Engine.restore)

    def durable(self) -> tuple[int, dict[str, bytes]]:
        """Cursor and positions in the database."""
        with self.store.reading() as connection:
            return boxes.get_cursor(connection, CURSOR), boxes.get_positions(connection)

    def files(self) -> list[str]:
        """Names of all files, oldest first."""
        return sorted(path.name for path in self.folder.iterdir())


class Stuck(Frozen):
    """A state whose bytes take until they are let through."""

    let_through = threading.Event()

    def to_bytes(self) -> bytes:
        assert self.let_through.wait(20)
        return super().to_bytes()


def test_state_cursor_positions_trim(tmp_path: Path, store: Store) -> None:
    made = Made(tmp_path, store)
    assert made.found is None
    assert not made.snapshots.due(0), "nothing happened yet"
    assert made.snapshots.due(7)
    made.snapshots.begin(EMPTY.frozen(), 7, {"files": b"at 7"})
    made.snapshots.finish()
    assert made.durable() == (7, {"files": b"at 7"})
    assert made.trimmed == [7]
    assert not made.snapshots.due(7)
    made.snapshots.close(9, EMPTY.frozen, {"files": b"at 9"})
    assert made.durable() == (9, {"files": b"at 9"})
    again = Made(tmp_path, store)
    assert again.found is not None
    assert again.found[1] == 9
    assert again.found[0].snapshot() == EMPTY.snapshot()
    again.snapshots.close(9, EMPTY.frozen, {})
    assert again.trimmed == [], "what is saved is not saved again"


def test_one_at_a_time_and_nobody_waits(tmp_path: Path, store: Store) -> None:
    made = Made(tmp_path, store)
    positions = {"files": b"at 1"}
    made.snapshots.begin(Stuck(*EMPTY.frozen()), 1, positions)
    positions["files"] = b"at 2"  # the caller goes on
    assert not made.snapshots.due(2)
    with store.transaction() as connection:
        boxes.set_cursor(connection, CURSOR, 2)
    Stuck.let_through.set()
    made.snapshots.finish()
    assert made.durable() == (2, {"files": b"at 1"}), "the cursor does not go back"
    assert made.trimmed == [1]
    made.snapshots.close(1, EMPTY.frozen, {})


def test_two_are_kept_and_a_damaged_one_is_put_aside(tmp_path: Path, store: Store) -> None:
    made = Made(tmp_path, store)
    for seq in (1, 2, 3):
        made.snapshots.begin(EMPTY.frozen(), seq, {})
    made.snapshots.close(3, EMPTY.frozen, {})
    assert [int(name.partition(".")[0]) for name in made.files()] == [2, 3]
    newest = made.folder / made.files()[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    again = Made(tmp_path, store)
    assert again.found is not None
    assert again.found[1] == 2
    assert again.files()[-1].endswith("3.damaged")
    again.snapshots.close(2, EMPTY.frozen, {})


def test_what_went_wrong_is_raised_once_and_nothing_is_trimmed(tmp_path: Path, store: Store) -> None:
    made = Made(tmp_path, store)
    made.snapshots.begin(Frozen({"odd": np.array([object()])}, (), {}), 1, {})
    with pytest.raises((TypeError, ValueError)):
        made.snapshots.finish()
    assert made.durable() == (0, {})
    assert made.trimmed == []
    made.snapshots.close(2, EMPTY.frozen, {})
    assert made.trimmed == [2]


def test_it_waits_for_its_interval(tmp_path: Path, store: Store) -> None:
    made = Made(tmp_path, store, interval_s=1000.0)
    assert not made.snapshots.due(5)
    assert 0 <= made.snapshots.age() < 1000
    made.snapshots.close(5, EMPTY.frozen, {})
    assert made.trimmed == [5]
