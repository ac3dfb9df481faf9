"""The seal and the mark: what a crash leaves at any moment is sound, and damage stays found."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from exporters import seal, wal
from exporters.msr.fsck import verify
from exporters.msr.log import Entry
from exporters.register import Register
from exporters.store import Store
from guardian.errors import LedgerError, MachineError

ORIGIN = "example.org/msr"


def opened(folder: Path) -> tuple[Store, Register]:
    store = Store(folder / "guardian.db")
    store.create()
    return store, Register(store, folder, ORIGIN)


def write(store: Store, register: Register, count: int) -> None:
    entries = [Entry("", "some.thing", {"n": i, "text": "x" * 900}, i) for i in range(count)]
    with store.transaction() as connection:
        register.write(connection, entries)


def copy(source: Path, target: Path) -> Path:
    """What a machine would find on its disk if it stopped here."""
    return Path(shutil.copytree(source, target, ignore=shutil.ignore_patterns("*-shm", "*.lock")))


def damage(folder: Path) -> list[str]:
    return verify(folder).damage


@given(
    pages=st.lists(st.integers(0, 2**256 - 1).map(lambda n: f"{n:064x}"), max_size=4),
    place=st.integers(0, 10**6),
    bit=st.integers(0, 7),
)
def test_a_seal_is_read_as_it_was_written_and_not_otherwise(pages: list[str], place: int, bit: int) -> None:
    import tempfile

    made = seal.Seal(4096, "00ff", tuple(pages))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.seal"
        path.write_text(made.text())
        assert seal.Seal.read(path) == made
        data = bytearray(made.text().encode())
        data[place % len(data)] ^= 1 << bit
        path.write_bytes(data)
        with pytest.raises(LedgerError, match=r"x\.seal"):
            seal.Seal.read(path)
        path.write_bytes(data[: place % len(data)])
        with pytest.raises(LedgerError):
            seal.Seal.read(path)


def test_a_mark_is_read_as_it_was_written_and_not_otherwise(tmp_path: Path) -> None:
    database = tmp_path / "x.db"
    with pytest.raises(LedgerError, match=r"x\.mark: the mark is missing"):
        seal.marked(database)
    database.write_bytes(bytes(4096))
    seal.write(database)
    whole = seal.mark_path(database).read_bytes()
    assert len(whole) < 512, "one sector, so that it is written whole or not at all"
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1
        seal.mark_path(database).write_bytes(data)
        with pytest.raises(LedgerError, match=r"x\.mark: the mark is damaged"):
            seal.marked(database)


def test_a_crash_at_any_moment_of_settling_is_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "live"
    source.mkdir()
    store, register = opened(source)
    write(store, register, 30)
    store.settle()
    write(store, register, 50)
    crashes: list[Path] = []

    def before(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **named: Any) -> Any:
            crashes.append(copy(source, tmp_path / f"crash{len(crashes)}"))
            result = call(*args, **named)
            crashes.append(copy(source, tmp_path / f"crash{len(crashes)}"))
            return result

        return called

    monkeypatch.setattr(store, "_checkpoint", before(store._checkpoint))
    for name in ("fsync", "pwrite"):
        monkeypatch.setattr(os, name, before(getattr(os, name)))
    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, before(getattr(Path, name)))
    store.settle()
    monkeypatch.undo()
    assert len(crashes) >= 14
    for crash in crashes:
        assert damage(crash) == [], crash.name
        again, more = opened(crash)
        write(again, more, 1)
        again.close()
        found = verify(crash)
        assert (found.damage, found.size) == ([], 81), crash.name
    store.close()


def partly_moved(source: Path, target: Path) -> Path:
    """A crash in the middle of moving: the seal to come is there, and every other page of the log is in the file."""
    store, register = opened(source)
    write(store, register, 10)
    store.settle()
    write(store, register, 20)
    crash = target

    def checkpoint() -> tuple[int, int, int]:
        copy(source, crash)
        return Store._checkpoint(store)

    store._checkpoint = checkpoint  # type: ignore[method-assign]  (a crash before SQLite moves anything)
    store.close()
    after, at = (source / "guardian.db").read_bytes(), crash / "guardian.db"
    before = at.read_bytes()
    mixed = b"".join(
        (after if page % 2 else before)[page * 4096 : page * 4096 + 4096]
        for page in range(len(before) // 4096)
    )
    at.write_bytes(mixed)
    assert mixed not in (before, after[: len(before)])
    return crash


def test_a_crash_between_two_pages_is_sound(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    crash = partly_moved(tmp_path / "live", tmp_path / "crash")
    assert damage(crash) == []
    store, _register = opened(crash)
    store.close()
    assert damage(crash) == []
    assert not seal.pending_path(crash / "guardian.db").exists()


def test_no_byte_may_change_in_the_middle_of_moving_either(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    crash = partly_moved(tmp_path / "live", tmp_path / "crash")
    rng = random.Random(5)
    for path in sorted(crash.iterdir()):
        whole = path.read_bytes()
        for place in {0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(12))}:
            data = bytearray(whole)
            data[place] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            assert damage(crash), (path.name, place)
        path.write_bytes(whole)
    assert damage(crash) == []


@pytest.mark.parametrize("settled", [True, False])
def test_damage_is_not_sealed_in_by_running_on(tmp_path: Path, settled: bool) -> None:
    """A byte changes while the service is down; then it runs, writes and settles: still found, or it refuses to."""
    source = tmp_path / "live"
    source.mkdir()
    store, register = opened(source)
    write(store, register, 20)
    store.settle()
    write(store, register, 3)
    if settled:
        store.settle()
    start = copy(source, tmp_path / "start")
    store.close()
    rng = random.Random(settled)
    refused = 0
    for path in (start / "guardian.db", start / "guardian.db-wal")[: 1 if settled else 2]:
        whole = path.read_bytes()
        for place in (rng.randrange(len(whole)) for _ in range(25)):
            victim = copy(start, tmp_path / "victim")
            data = bytearray(whole)
            data[place] ^= 1 << rng.randrange(8)
            (victim / path.name).write_bytes(data)
            try:
                again, more = opened(victim)
                write(again, more, 2)
                again.close()
            except (LedgerError, MachineError, sa.exc.DatabaseError):
                refused += 1
            assert damage(victim), (path.name, place)
            shutil.rmtree(victim)
    assert refused


def test_a_log_that_lost_its_end_is_named_and_not_run_on(tmp_path: Path) -> None:
    source = tmp_path / "live"
    source.mkdir()
    store, register = opened(source)
    write(store, register, 1)
    kept = wal.read(wal.path_of(source / "guardian.db")).committed
    with store.transaction() as connection:  # nothing that MSR knows of
        connection.exec_driver_sql("CREATE TABLE elsewhere (x)")
    cut = copy(source, tmp_path / "cut")
    store.close()
    with (cut / "guardian.db-wal").open("r+b") as file:
        file.truncate(wal.HEADER + kept * (wal.FRAME_HEADER + 4096))
    assert damage(cut) == [f"guardian.db-wal: frame {kept + 1} is damaged or missing"]
    with pytest.raises(LedgerError, match=f"frame {kept + 1} is damaged or missing"):
        Store(cut / "guardian.db").create()
    (cut / "guardian.db-wal").unlink()
    assert "guardian.db-wal: frame 1 is damaged or missing" in damage(cut)


def test_what_a_crash_leaves_unfinished_at_the_end_is_no_damage(tmp_path: Path) -> None:
    source = tmp_path / "live"
    source.mkdir()
    store, register = opened(source)
    with pytest.raises(KeyError), store.transaction() as connection:  # noqa: PT012  (the block is the rollback)
        connection.exec_driver_sql("PRAGMA cache_size=10")  # so that pages go into the log before the commit
        register.write(connection, [Entry("", "some.thing", {"text": "x" * 9000}, i) for i in range(50)])
        raise KeyError
    assert wal.read(wal.path_of(source / "guardian.db")).committed < 50
    write(store, register, 1)
    crash = copy(source, tmp_path / "crash")
    assert damage(crash) == []
    with (crash / "guardian.db-wal").open("ab") as file:
        file.write(b"half a frame")
    assert damage(crash) == []
    store.close()
    assert damage(source) == []


def test_a_reader_holds_up_part_of_the_move_and_nothing_is_wrong(tmp_path: Path) -> None:
    store, register = opened(tmp_path)
    write(store, register, 30)
    with store.reading() as reader:
        assert reader.execute(sa.text("SELECT count(*) FROM msr_entries")).scalar() == 30
        write(store, register, 30)
        store.settle()
        assert seal.pending_path(tmp_path / "guardian.db").exists()
        write(store, register, 5)
        assert damage(tmp_path) == []
        with store.transaction() as connection:  # a page that was moved already gets one more version
            connection.exec_driver_sql("UPDATE bookpi_entries SET title = 'told' WHERE msr_index = 1")
        store.settle()
        assert damage(tmp_path) == []
        assert damage(copy(tmp_path, tmp_path / "crash")) == []
        shutil.rmtree(tmp_path / "crash")
    with store.reading() as reader:
        assert reader.execute(sa.text("SELECT count(*) FROM msr_entries")).scalar() == 65
        store.settle()  # all can be moved, but the log stays, for the reader's sake
        assert not seal.pending_path(tmp_path / "guardian.db").exists()
        assert damage(tmp_path) == []
        write(store, register, 2)
        assert damage(tmp_path) == []
    write(store, register, 1)  # SQLite begins the log again from its start
    assert damage(tmp_path) == []
    store.close()
    found = verify(tmp_path)
    assert (found.damage, found.size) == ([], 68)


def test_a_check_holds_up_only_a_settle_that_can_wait(tmp_path: Path) -> None:
    store, register = opened(tmp_path)
    write(store, register, 30)
    before = (tmp_path / "guardian.db").read_bytes()
    with seal.held(tmp_path / "guardian.db", exclusive=False):
        store.settle(at_bytes=1)
        assert (tmp_path / "guardian.db").read_bytes() == before
    store.settle(at_bytes=1)
    assert (tmp_path / "guardian.db").read_bytes() != before
    store.close()


def test_replacing_leaves_no_part_and_keeps_the_mode(tmp_path: Path) -> None:
    (tmp_path / "x.tmp").write_bytes(b"left by a crash")
    seal.replace_durably(tmp_path / "x", b"one", mode=0o600)
    assert (tmp_path / "x").read_bytes() == b"one"
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]
