"""Motion files, made here and real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guardian.errors import InputError
from guardian.events import check_events
from xr_telemetry.recordings import CHUNK_FRAMES, START, MotionFile, read


def rows_of(path: Any, **options: Any) -> Any:
    return [row for part in read(path, **options) for row in check_events(part.batch).to_pylist()]


def inertial(path: Any, names: Any, times: list[float], **more: Any) -> Any:
    columns = {
        "recording": names,
        "t_s": times,
        **{name: np.ones(len(times)) for name in ("ax", "ay", "az", "wx", "wy", "wz")},
    }
    pq.write_table(pa.table(columns | more), path)
    return path


def test_recordings_follow_one_another(tmp_path: Path) -> None:
    path = inertial(tmp_path / "m.parquet", ["ana_1"] * 4 + ["eva_2"] * 2, [0.0, 1.0, 6.0, 7.0, 0.5, 1.0])
    rows = rows_of(path)
    assert [(row["actor"], row["session"]) for row in rows] == [("ana", "ana_1")] * 2 + [("eva", "eva_2")]
    assert [(row["ts"] - START).total_seconds() for row in rows] == [1.0, 7.0, 68.0]
    assert [json.loads(row["attrs"])["n"] for row in rows] == [2, 2, 2]


def test_rows_without_a_time_are_counted_with_their_number(tmp_path: Path) -> None:
    path = inertial(tmp_path / "m.parquet", ["a"] * 4, [0.0, None, float("nan"), 1e12])
    parts = list(read(path))
    assert parts[-1].reasons == {"no_time": 3}
    assert [each.line for each in parts[-1].rejected] == [2, 3, 4]
    assert sum(part.batch.num_rows for part in parts) == 1


def test_labels_are_never_read(tmp_path: Path) -> None:
    path = inertial(tmp_path / "m.parquet", ["a"], [0.0], fms=[17.5])
    assert "17.5" not in json.dumps(rows_of(path), default=str)


def test_poses_without_hands_or_name(tmp_path: Path) -> None:
    table = {"t_s": [0.0, 0.5]} | {
        f"head_{axis}": [0.0, 0.0] for axis in ("px", "py", "pz", "qx", "qy", "qz", "qw")
    }
    path = tmp_path / "walk.parquet"
    pq.write_table(pa.table(table), path)
    rows = rows_of(path)
    assert [row["session"] for row in rows] == ["walk", "walk"]
    assert {row["actor"] for row in rows} == {""}
    assert json.loads(rows[1]["attrs"])["headLost"] == 2


def test_reading_again_gives_the_same(tmp_path: Path) -> None:
    path = inertial(tmp_path / "m.parquet", ["a", "b"], [0.0, None])
    file = MotionFile(path)
    first, second = list(file.read(10)), list(file.read(10))
    assert [repr(part.batch.to_pylist()) for part in first] == [
        repr(part.batch.to_pylist()) for part in second
    ]
    assert first[-1].reasons == second[-1].reasons == {"no_time": 1}


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batches_have_a_size_and_the_same_rows(tmp_path: Path, size: int) -> None:
    path = inertial(tmp_path / "m.parquet", ["a"] * 300, np.arange(300.0))
    assert all(part.batch.num_rows <= size for part in read(path, batch_size=size))
    assert repr(rows_of(path, batch_size=size)) == repr(rows_of(path))  # NaN equals itself in text


def test_no_motion_file(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    inertial(tmp_path / "words.parquet", ["a"], ["soon"])
    for name, word in (("absent", "Parquet"), ("text", "Parquet"), ("other", "t_s"), ("words", "numbers")):
        with pytest.raises(InputError, match=word):
            list(read(tmp_path / f"{name}.parquet"))


def test_real_head_and_hands(shared_data: Path) -> None:
    path = shared_data / "xr" / "beatsaber_sample1.parquet"
    chunks = list(MotionFile(path).chunks())
    assert sum(len(chunk.frames) for chunk in chunks) == 27_931
    assert max(len(chunk.frames) for chunk in chunks) == CHUNK_FRAMES
    rows = rows_of(path)
    assert len(rows) == 2 * 63
    timing = [json.loads(row["attrs"]) for row in rows[::2]]
    motion = [json.loads(row["attrs"]) for row in rows[1::2]]
    assert sum(each["n"] for each in timing) == 27_931
    assert sum(each["repeated"] for each in timing) == 3
    assert max(each["intervalMaxS"] for each in timing) == pytest.approx(0.0656, abs=1e-4)
    assert sum(each["headLost"] for each in motion) == 1
    assert timing[30]["targetPeriodS"] == pytest.approx(0.011, abs=2e-4)
    # A person who dances on the spot: no speed of a head is past that of a sprinter, thanks to the lost first row.
    assert max(each["speedMax"] for each in motion) < 10.0


@pytest.mark.slow
def test_real_inertial_recordings(shared_data: Path) -> None:
    path = shared_data / "xr" / "cybersickness_2025.parquet"
    sessions, actors, samples, invalid, missing = set(), set(), 0, 0, 0
    for part in read(path):
        sessions |= set(part.batch.column("session").to_pylist())
        actors |= set(part.batch.column("actor").to_pylist())
        for attrs in part.batch.column("attrs").to_pylist():
            window = json.loads(attrs)
            samples, invalid, missing = (
                samples + window["n"],
                invalid + window["invalid"],
                missing + window["missing"],
            )
        reasons = part.reasons
    assert reasons == {"no_time": 81}
    assert samples == 204_334 - 81
    assert (len(sessions), len(actors)) == (428, 86)
    assert invalid > 0
    assert missing == 6_204 - 81
