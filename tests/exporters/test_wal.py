"""Reading SQLite's log: its checksums beside the loop of its documentation, what is whole, what is not."""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters import wal

FRAME = wal.FRAME_HEADER + 4096


def documented(data: bytes, start: tuple[int, int], order: str) -> tuple[int, int]:
    """The loop of sqlite.org/fileformat2.html, section 4.2."""
    one, two = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two


word = st.integers(0, 2**32 - 1)


@given(data=st.binary(min_size=8, max_size=512).map(lambda data: data[: len(data) // 8 * 8]), a=word, b=word)
def test_checksums_are_those_of_the_documented_loop(data: bytes, a: int, b: int) -> None:
    assert wal.checksum(data, (a, b), "<u4") == documented(data, (a, b), "<")
    assert wal.checksum(data, (a, b), ">u4") == documented(data, (a, b), ">")


@pytest.mark.parametrize("size", [512 + 8, 4096 + 8, 65536 + 8])
def test_the_checksum_of_every_page_size(size: int) -> None:
    data = b"\xff" * size
    assert wal.checksum(data, (2**32 - 1, 2**32 - 1), "<u4") == documented(data, (2**32 - 1, 2**32 - 1), "<")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    """Two transactions in a log that nothing moves."""
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (randomblob(20000))")
        yield path


def test_a_whole_log(database: Path) -> None:
    path = wal.path_of(database)
    log = wal.read(path)
    assert len(log.checksums) * FRAME + wal.HEADER == path.stat().st_size
    assert log.committed == len(log.checksums)
    assert log.page_size == 4096
    position = wal.end(database)
    assert position is not None
    assert (position.salts, position.frames) == (log.salts, log.committed)
    assert log.reaches(position)
    assert not log.reaches(wal.Position(bytes(8), 1, log.checksums[0]))
    assert not log.reaches(wal.Position(log.salts, 1, bytes(8)))
    assert wal.Log().reaches(wal.Position(bytes(8), 0, bytes(8)))


def test_the_latest_pages_are_those_that_sqlite_would_write(database: Path) -> None:
    log = wal.read(wal.path_of(database))
    assert len(log.versions[2]) == 2, "the page of the table was written by both transactions"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = database.read_bytes()
    pages = {n // 4096 + 1: data[n : n + 4096] for n in range(0, len(data), 4096)}
    assert log.pages == len(pages)
    assert log.latest() == {number: hashlib.sha256(page).hexdigest() for number, page in pages.items()}
    assert wal.read(wal.path_of(database)).committed == 0
    position = wal.end(database)
    assert position is not None


def test_every_cut_leaves_whole_transactions(database: Path, tmp_path: Path) -> None:
    data = wal.path_of(database).read_bytes()
    whole = wal.read(wal.path_of(database))
    ends = {0}
    for cut in range(0, len(data) + 1, 997):
        (tmp_path / "cut").write_bytes(data[:cut])
        log = wal.read(tmp_path / "cut")
        assert log.checksums == whole.checksums[: len(log.checksums)]
        assert len(log.checksums) == max(0, (cut - wal.HEADER) // FRAME)
        ends.add(log.committed)
    assert len(ends) == 3 - (len(data) % 997 != 0), "nothing, one transaction; both only when nothing is cut"


@given(data=st.binary(max_size=9000), keep=st.integers(0, 40))
def test_any_bytes_are_read_without_complaint(data: bytes, keep: int) -> None:
    import tempfile

    header = struct.pack(">IIII8s", 0x377F0682, 3007000, 512, 0, b"saltsalt")
    header += struct.pack(">II", *documented(header, (0, 0), "<"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x-wal"
        path.write_bytes(header[:keep] + data)
        assert wal.read(path).committed == 0


def test_no_log_and_no_index(tmp_path: Path) -> None:
    assert wal.read(tmp_path / "none") == wal.Log()
    assert wal.end(tmp_path / "none.db") is None
    (tmp_path / "half.db-shm").write_bytes(bytes(47))
    assert wal.end(tmp_path / "half.db") is None
    (tmp_path / "half.db-shm").write_bytes(bytes(48) + b"\x01" * 48)
    assert wal.end(tmp_path / "half.db") is None, "being changed"
