"""Motion files played to a real gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guardian.errors import InputError, JournalFullError, MachineError
from xr_telemetry.gateway import Identity
from xr_telemetry.recordings import read
from xr_telemetry.replay import replay


class ScaledClock:
    """A clock that is ahead by as much as was slept."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept = []

    def read(self) -> Any:
        return self.now

    async def sleep(self, seconds: float) -> Any:
        self.slept.append(seconds)
        self.now += seconds


def comparable(row: Any) -> Any:
    return {name: row[name] for name in ("kind", "actor", "session", "ts", "attrs")}


@pytest.fixture
def recording(tmp_path: Path) -> Any:
    columns = {
        "recording": ["ana_1"] * 200 + ["eva_1"] * 50,
        "t_s": np.concatenate([np.arange(200) * 0.1, np.arange(50) * 0.1]),
    }
    columns |= {
        name: np.random.default_rng(3).normal(size=250) for name in ("ax", "ay", "az", "wx", "wy", "wz")
    }
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table(columns), path)
    return path


async def test_real_motion_twenty_times_as_fast_arrives_exactly_once(house: Any, shared_data: Path) -> None:
    path = shared_data / "xr" / "beatsaber_sample1.parquet"
    clock = ScaledClock()
    async with house() as here:
        told = await replay(here.url, path, speed=20.0, clock=clock.read, sleep=clock.sleep)
        rows = here.journal.rows()
    assert (told.frames, told.recordings, told.windows) == (27_931, 1, 63)
    assert not told.refused
    assert sum(clock.slept) == pytest.approx(310.3 / 20, abs=0.1)
    direct = [row for part in read(path) for row in part.batch.to_pylist()]
    assert rows.pop()["kind"] == "session_ended"
    assert [comparable(row) for row in rows] == [comparable(row) for row in direct]


async def test_what_a_file_says_and_what_its_replay_says_are_the_same(house: Any, recording: Path) -> None:
    async with house() as here:
        told = await replay(here.url, recording, speed=1e9)
        rows = [row for row in here.journal.rows() if row["kind"] != "session_ended"]
    direct = [row for part in read(recording) for row in part.batch.to_pylist()]
    assert [comparable(row) for row in rows] == [comparable(row) for row in direct]
    assert (told.recordings, told.windows, told.frames) == (2, 5, 250)


async def test_a_gateway_that_is_busy_gets_the_same_frames_again(house: Any, recording: Path) -> None:
    clock = ScaledClock()
    async with house() as here:
        here.journal.failures += [JournalFullError(1, 1, 0.25)] * 3 + [OSError("disk")]
        told = await replay(here.url, recording, speed=1e9, clock=clock.read, sleep=clock.sleep)
        windows = [row for row in here.journal.rows() if row["kind"] == "xr.imu.window"]
    assert told.repeated == 4
    assert clock.slept.count(0.25) == 3
    assert len(windows) == told.windows == 5
    assert sum(json.loads(row["attrs"])["n"] for row in windows) == 250


async def test_a_rate_limit_slows_the_replay_down_and_loses_nothing(house: Any, recording: Path) -> None:
    async with house(messages_per_s=40.0) as here:
        told = await replay(here.url, recording, speed=1e9)
        windows = [row for row in here.journal.rows() if row["kind"] == "xr.imu.window"]
    assert sum(json.loads(row["attrs"])["n"] for row in windows) == told.frames == 250


async def test_a_gateway_that_stays_busy_ends_the_replay(house: Any, recording: Path) -> None:
    clock = ScaledClock()
    async with house() as here:
        here.journal.failures += [JournalFullError(1, 1, 0.25)] * 200
        with pytest.raises(MachineError, match="still busy"):
            await replay(here.url, recording, speed=1e9, clock=clock.read, sleep=clock.sleep)
        here.journal.failures.clear()


async def test_refused_frames_are_counted(house: Any, tmp_path: Path) -> None:
    t = np.tile([0.0, 1000.0], 30)
    columns = {"t_s": t} | {name: np.zeros(60) for name in ("ax", "ay", "az", "wx", "wy", "wz")}
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table(columns), path)
    async with house() as here:
        told = await replay(here.url, path, speed=1e9)
    assert told.refused == {"bad_frames": 1}


async def test_rows_without_a_time_are_told(house: Any, tmp_path: Path) -> None:
    columns = {"t_s": [0.0, None]} | {name: np.zeros(2) for name in ("ax", "ay", "az", "wx", "wy", "wz")}
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table(columns), path)
    async with house() as here:
        assert (await replay(here.url, path, speed=1e9)).dropped == {"no_time": 1}


async def test_a_token_is_shown_and_names_the_user(house: Any, recording: Path) -> None:
    async with house(authenticate={"t": Identity("carla")}.get) as here:
        await replay(here.url, recording, speed=1e9, token="t")
        assert {row["actor"] for row in here.journal.rows()} == {"carla"}
        with pytest.raises(MachineError, match="1008"):
            await replay(here.url, recording, speed=1e9, token="x")


async def test_no_gateway_there(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(MachineError):
        await replay("ws://127.0.0.1:1/ws/xr", recording)
    with pytest.raises(MachineError):
        await replay("nonsense", recording)
    with pytest.raises(InputError):
        await replay("ws://127.0.0.1:1/ws/xr", tmp_path / "absent.parquet")
