"""The lake: what comes back, its bounds, and that damage only costs rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exporters.lake import MOST_ROWS, Lake
from guardian.verdict import Window


def window(number: int, rows: int = 3, role: str = "actor") -> Window:
    return Window(role, number * 300 * 10**9, np.full((rows, 4), float(number)))


def test_the_newest_rows_of_a_role_come_back_oldest_first(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "windows")
    assert lake.newest("actor", most=10) is None
    for number in range(1, 6):
        lake.add(number, [window(number), window(number, role="target")])
    lake.add(6, [])
    sample = lake.newest("actor", most=7)
    assert sample is not None
    assert sample.rows[:, 0].tolist() == [3.0, 4.0, 4.0, 4.0, 5.0, 5.0, 5.0]
    assert sample.rows.flags.c_contiguous
    assert (sample.first, sample.last) == (900 * 10**9, 1500 * 10**9)
    assert lake.newest("session", most=7) is None
    assert sorted(path.name for path in (tmp_path / "windows").iterdir()) == [
        f"{number:020d}.parquet" for number in range(1, 6)
    ]


def test_playing_a_record_again_changes_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for _ in range(2):
        lake.add(1, [window(1), window(2)])
    sample = lake.newest("actor", most=100)
    assert sample is not None
    assert len(sample.rows) == 6


def test_it_is_bounded_in_files_bytes_and_rows(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "files", most_files=3)
    for number in range(10):
        lake.add(number, [window(number)])
    assert [path.stem[-1] for path in sorted((tmp_path / "files").iterdir())] == ["7", "8", "9"]
    lake = Lake(tmp_path / "bytes", most_bytes=1)
    for number in range(4):
        lake.add(number, [window(number)])
    assert [path.stem[-1] for path in (tmp_path / "bytes").iterdir()] == ["3"]
    lake = Lake(tmp_path / "rows")
    lake.add(1, [window(1, 100_000)])
    sample = lake.newest("actor", most=10**9)
    assert sample is not None
    assert MOST_ROWS // 2 < len(sample.rows) <= MOST_ROWS


def test_a_damaged_file_costs_its_rows_only(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for number in range(1, 4):
        lake.add(number, [window(number)])
    (tmp_path / f"{2:020d}.parquet").write_bytes(b"PAR1 nothing PAR1")
    (tmp_path / f"{4:020d}.parquet").write_bytes(b"")
    sample = lake.newest("actor", most=100)
    assert sample is not None
    assert sorted(set(sample.rows[:, 0])) == [1.0, 3.0]


def test_what_cannot_be_written_does_not_stop_the_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    lake = Lake(tmp_path / "file")
    lake.add(1, [window(1)])
    assert "windows not kept" in capsys.readouterr().out
    assert lake.newest("actor", most=1) is None
