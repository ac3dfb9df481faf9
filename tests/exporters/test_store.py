"""The one database: how it begins, what it refuses to begin on, transactions, and an end that nobody called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from exporters import seal
from exporters.msr import log
from exporters.store import Store
from guardian.errors import LedgerError, MachineError


def names(store: Store) -> list[str]:
    with store.reading() as connection:
        return list(connection.execute(sa.text("SELECT name FROM sqlite_master ORDER BY name")).scalars())


def test_begins_and_begins_again(tmp_path: Path) -> None:
    for _ in range(2):
        store = Store(tmp_path / "guardian.db")
        store.create()
        assert log.entries.name in names(store)
        store.close()
        store.close()
    assert {path.name for path in tmp_path.iterdir()} == {
        "guardian.db",
        "guardian.db.lock",
        "guardian.mark",
        "guardian.seal",
    }


def test_a_crash_in_the_very_first_moments(tmp_path: Path) -> None:
    """Only the first page is there, not sealed yet; nothing can be lost."""
    store = Store(tmp_path / "guardian.db")
    names(store)
    assert (tmp_path / "guardian.db").stat().st_size == 4096
    store.close()
    store = Store(tmp_path / "guardian.db")
    store.create()
    store.close()


@pytest.mark.parametrize(
    ("missing", "place"),
    [("guardian.db", "guardian.db"), ("guardian.seal", "guardian.seal"), ("guardian.mark", "guardian.mark")],
)
def test_does_not_begin_on_what_is_not_whole(tmp_path: Path, missing: str, place: str) -> None:
    store = Store(tmp_path / "guardian.db")
    store.create()
    store.close()
    (tmp_path / missing).unlink()
    store = Store(tmp_path / "guardian.db")
    with pytest.raises(LedgerError, match=rf"^{place}: .* missing"):
        store.create()
    assert not (tmp_path / missing).exists(), "what is missing is not made up"


def test_what_is_no_database_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "guardian.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(MachineError, match="not usable as a database"):
        Store(tmp_path / "guardian.db").create()
    with pytest.raises(MachineError, match=r"not usable as a database|cannot be made"):
        Store(tmp_path / "nowhere" / "guardian.db").create()


def test_transactions_are_whole_and_settle_only_when_told(tmp_path: Path) -> None:
    store = Store(tmp_path / "guardian.db")
    store.create()
    before = (tmp_path / "guardian.db").read_bytes()
    told: list[int] = []
    store.after_commit = lambda connection: told.append(
        connection.execute(sa.text("SELECT count(*) FROM t")).scalar_one()
    )
    with store.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
    with pytest.raises(KeyError), store.transaction() as connection:  # noqa: PT012  (the block is the rollback)
        connection.exec_driver_sql("INSERT INTO t VALUES (2)")
        raise KeyError
    assert told == [1], "after each commit, and only then"
    store.settle(at_bytes=10**9)
    assert (tmp_path / "guardian.db").read_bytes() == before
    store.settle(at_bytes=1)
    assert (tmp_path / "guardian.db").read_bytes() != before
    store.close()


_FORGOTTEN = """
import sys
from pathlib import Path
from exporters.store import Store
store = Store(Path(sys.argv[1]) / "guardian.db")
store.create()
with store.transaction() as connection:
    connection.exec_driver_sql("CREATE TABLE t (x)")
raise SystemExit(3)
"""


def test_an_end_that_nobody_called_is_sealed_too(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", _FORGOTTEN, str(tmp_path)], cwd=root, check=False)
    assert done.returncode == 3
    database = tmp_path / "guardian.db"
    assert not (tmp_path / "guardian.db-wal").exists()
    assert seal.Seal.of(database).pages == seal.Seal.read(seal.seal_path(database)).pages
