"""Forests through lake, journal, engine and register: their place, exactly once, whatever is killed when."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporters.msr.fsck import verify
from guardian.backlog import Durable
from guardian.config import Config, Forest, Journal
from guardian.decisions import model
from guardian.journal import Record
from guardian.pipeline import MODELS_PATH
from guardian.service import Service
from scoring import IsolationForest
from tests.guardian.test_pipeline import status_of
from tests.guardian.test_run import running

CONFIG = Config(journal=Journal(snapshot_interval_s=1000.0))


def swap(role: str = "actor", seed: int = 0) -> model.ModelSwap:
    rows = np.random.default_rng(seed).normal(size=(200, 4))
    forest = IsolationForest.fit(rows, trees=5, sample=16, seed=seed)
    told: dict[str, Any] = {"role": role, "rows": 200, "first": 10**18, "last": 2 * 10**18}
    return model.ModelSwap(forest=forest.to_bytes(), created_at=time.time_ns(), **told)


async def swapped(service: Service) -> list[dict[str, Any]]:
    told, _ = await service.page("msr", limit=50, offset=0)
    return [item["payload"] for item in told if item["action"] == "guardian.model_swapped"]


async def settled(service: Service, count: int) -> list[dict[str, Any]]:
    for _ in range(400):
        if len(found := await swapped(service)) >= count:
            return found
        await asyncio.sleep(0.02)
    return await swapped(service)


_SCRIPT = """
import asyncio, os, signal, sys
from pathlib import Path
from guardian import pipeline
from guardian.service import Service
from tests.guardian.test_forests import CONFIG, swap

holder, name = sys.argv[2].split(".")
setattr(getattr(pipeline, holder), name, lambda *given, **more: os.kill(os.getpid(), signal.SIGKILL))

async def main():
    service = Service(CONFIG, Path(sys.argv[1]), synthetic=False)
    await service.start()
    service._pipeline.swap_model(swap())
    await asyncio.sleep(30)

asyncio.run(main())
"""

DYING = {
    "before it is in the journal": "Journal.submit",
    "before it takes effect": "model.apply",
    "before it is registered": "retraining.entry_of",
    "while it is registered": "boxes.set_cursor",
}


def swap_and_die(folder: Path, where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(folder), where],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("moment", DYING)
async def test_a_kill_at_any_moment_leaves_it_exactly_once(tmp_path: Path, moment: str) -> None:
    swap_and_die(tmp_path / "data", DYING[moment])
    expected = 0 if moment == "before it is in the journal" else 1
    states = []
    for _ in range(2):
        service = Service(CONFIG, tmp_path / "data", synthetic=False)
        await service.start()
        assert len(await swapped(service)) == expected
        states.append(service._pipeline._engine.snapshot())
        await service.stop()
        assert verify(tmp_path / "data").ok
    assert states[0] == states[1]


async def test_forests_take_effect_in_their_order_and_are_told(tmp_path: Path) -> None:
    service = Service(CONFIG, tmp_path / "data", synthetic=False)
    await service.start()
    first, second = swap(), swap(seed=1)
    for each in (first, second):
        service._pipeline.swap_model(each)
    told = await settled(service, 2)
    assert [each["digest"] for each in told] == [
        IsolationForest.from_bytes(each.forest).digest for each in (second, first)
    ]
    assert {each["config"] for each in told} == {CONFIG.digest()}
    expected = service._pipeline._engine.snapshot()
    pages, _ = await service.page("bookpi", limit=10, offset=0)
    [page, *_] = [item for item in pages if item["title"] == "guardian.model_swapped"]
    assert "200" in page["narrative"]["es-MX"]
    assert "bosque" in page["summary"]["es-MX"]
    await service.stop()
    again = Service(CONFIG, tmp_path / "data", synthetic=False)
    assert again._pipeline._engine.snapshot() == expected
    await again.start()
    await again.stop()


async def test_a_damaged_one_in_the_journal_is_counted_and_passed_over(tmp_path: Path) -> None:
    service = Service(CONFIG, tmp_path / "data", synthetic=False)
    body = bytearray(model.to_bytes(swap()))
    body[-100] ^= 1
    record = Record(MODELS_PATH, model.CONTENT_TYPE, "", "", 1, bytes(body))
    service._pipeline.journal.submit(record).result(10)
    await service.start()
    await service.stop()
    again = Service(CONFIG, tmp_path / "data", synthetic=False)
    await again.start()
    assert again.ready()[0]
    assert await swapped(again) == []
    await again.stop()


def test_no_body_that_is_sent_becomes_one(tmp_path: Path) -> None:
    forged = model.to_bytes(swap())
    with running(tmp_path / "data") as service:
        assert status_of(service, MODELS_PATH, forged, model.CONTENT_TYPE) == 404
        for path in ("/api/v1/events?map=tamv", "/v1/logs", "/v1/traces"):
            assert status_of(service, path, forged, model.CONTENT_TYPE) == 415, path


async def test_windows_are_kept_and_a_forest_grows_from_them(tmp_path: Path, events: Any) -> None:
    config = Config(journal=CONFIG.journal, forest=Forest(interval_s=0.2, trees=10, sample=32))
    service = Service(config, tmp_path / "data", synthetic=True)
    await service.start()
    start = 1_700_000_100.0
    rows = [
        {
            "ts": start + 300 * window + person,
            "kind": "GET /",
            "actor": f"p{person}",
            "target": f"t{window % 3}",
        }
        for window in range(12)
        for person in range(100)
    ]
    batch = events(rows)
    pipeline = service._pipeline
    for seq, first in enumerate(range(0, len(batch), 100), 1):
        pipeline.backlog.offer(Durable(seq, batch.slice(first, 100)))  # as if each had been a record
    told = await settled(service, 1)
    await service.stop()
    assert told
    assert {each["role"] for each in told} == {"actor"}
    assert told[-1]["rows"] == 1100
    assert len(list((tmp_path / "data" / "windows").glob("*.parquet"))) == 11
