"""The full check: a clean log passes, also while it is written and after a kill; no byte may change unseen."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from exporters.msr.fsck import verify
from exporters.msr.log import Entry
from exporters.register import Register
from exporters.store import Store
from guardian.errors import InputError, LedgerError

ORIGIN = "example.org/msr"


def entries(count: int, start: int = 0) -> list[Entry]:
    return [
        Entry("hmac-sha256:00", "isabella.decided", {"decisionId": f"d{i}", "outcome": "review"}, 10**18 + i)
        for i in range(start, start + count)
    ]


def opened(folder: Path) -> tuple[Store, Register]:
    store = Store(folder / "guardian.db")
    store.create()
    return store, Register(store, folder, ORIGIN)


def built(folder: Path, sizes: tuple[int, ...] = (1, 2, 5, 40), *, close: bool = True) -> Store:
    store, register = opened(folder)
    for size in sizes:
        with store.transaction() as connection:
            register.write(connection, entries(size))
    if close:
        store.close()
    return store


def test_a_clean_log(tmp_path: Path) -> None:
    built(tmp_path)
    found = verify(tmp_path)
    assert found.ok, found.damage
    assert found.size == 48
    assert not list(tmp_path.glob("*-wal*")), "checking leaves nothing behind"


def test_an_empty_log_and_no_log(tmp_path: Path) -> None:
    built(tmp_path, ())
    assert verify(tmp_path).ok
    with pytest.raises(InputError, match=r"with a guardian\.db in it"):
        verify(tmp_path / "nowhere")


def test_a_log_that_is_being_written(tmp_path: Path) -> None:
    store, register = opened(tmp_path)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with store.transaction() as connection:
                register.write(connection, entries(3))
            store.settle(at_bytes=200_000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(8):
            found = verify(tmp_path)
            assert found.ok, found.damage
    finally:
        stop.set()
        writer.join()
        store.close()


_CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.exporters.msr.test_fsck import entries, opened
store, register = opened(Path(sys.argv[1]))
for i in range(10_000):
    with store.transaction() as connection:
        indices = register.write(connection, entries(1 + i % 3))
    store.settle(at_bytes=100_000)
    print(indices[-1], flush=True)
"""


def test_a_killed_writer_leaves_a_whole_log(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(tmp_path), root], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            last = 0
            for _line in range(25):
                last = int(child.stdout.readline())
            child.kill()
        found = verify(tmp_path)
        assert found.ok, found.damage
        assert found.size > last


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("settled")
    built(folder)
    return folder


@pytest.fixture(scope="module")
def unsettled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose last transactions stand in the write-ahead log, as after a kill."""
    source = tmp_path_factory.mktemp("live")
    built(source, (3,))
    store, register = opened(source)
    for size in (1, 4):
        with store.transaction() as connection:
            register.write(connection, entries(size))
    copy = tmp_path_factory.mktemp("killed") / "data"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("*-shm"))
    store.close()
    return copy


@pytest.mark.parametrize("state", ["settled", "unsettled"])
def test_no_byte_may_change(state: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source: Path = request.getfixturevalue(state)
    assert verify(source).ok, verify(source).damage
    rng = random.Random(state)
    files = [path for path in sorted(source.iterdir()) if path.stat().st_size and path.suffix != ".lock"]
    names = {path.name for path in files}
    assert {"guardian.db", "guardian.seal", "msr.checkpoint", "msr.key", "msr.vkey"} <= names
    assert ("guardian.db-wal" in names) == (state == "unsettled")
    victim = tmp_path / "victim"
    for path in files:
        size = path.stat().st_size
        offsets = {0, size - 1, *(rng.randrange(size) for _ in range(25))}
        for offset in sorted(offsets):
            shutil.copytree(source, victim)
            data = bytearray((victim / path.name).read_bytes())
            data[offset] ^= 1 << rng.randrange(8)
            (victim / path.name).write_bytes(data)
            found = verify(victim)
            assert not found.ok, (path.name, offset)
            assert found.damage[0]
            shutil.rmtree(victim)


@pytest.mark.parametrize(
    ("sql", "place"),
    [
        ('UPDATE msr_entries SET entry = replace(entry, "review", "cleared") WHERE "index" = 3', "entry 3"),
        ('DELETE FROM msr_entries WHERE "index" = 5', "entry 5: is missing"),
        ('DELETE FROM msr_entries WHERE "index" = 47', "the log holds only 47 entries"),
        ("DELETE FROM msr_checkpoints WHERE size = 48", "checkpoint 48"),
        ("UPDATE msr_nodes SET hash = zeroblob(32) WHERE level = 2 AND number = 1", "node 2/1"),
        ("DELETE FROM msr_nodes WHERE level = 1", "nodes"),
        ("UPDATE bookpi_entries SET msr_index = 900 WHERE msr_index = 1", "entry 900"),
    ],
)
def test_a_changed_row_is_named_even_when_sealed_again(
    settled: Path, tmp_path: Path, sql: str, place: str
) -> None:
    """Whoever can write the file can also write the seal; the tree and the signatures still tell."""
    from exporters import seal

    shutil.copytree(settled, tmp_path / "data")
    database = tmp_path / "data" / "guardian.db"
    connection = sqlite3.connect(database)
    assert connection.execute(sql).rowcount
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    seal.write(database)
    found = verify(tmp_path / "data")
    assert any(place in each for each in found.damage), found.damage


def test_an_old_backup_is_refused_by_its_size(tmp_path: Path) -> None:
    built(tmp_path, (2,))
    old = (tmp_path / "guardian.db").read_bytes()
    built(tmp_path, (3,))
    (tmp_path / "guardian.db").write_bytes(old)
    found = verify(tmp_path)
    assert any("log is at 2, the checkpoint outside the database says 5" in each for each in found.damage)
    store = Store(tmp_path / "guardian.db")
    store.create()
    with pytest.raises(LedgerError, match="log is at 2, but 5 was published"):
        Register(store, tmp_path, ORIGIN)
    store.close()
