"""Growing forests on a schedule: from what, when not, and what the register is told."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest

from exporters.lake import Lake
from exporters.retraining import LEAST_ROWS, Retraining, entry_of
from guardian.config import Forest
from guardian.decisions.model import ModelSwap
from guardian.errors import JournalError
from guardian.verdict import Window
from scoring import IsolationForest

SETTINGS = Forest(interval_s=0.01, trees=10, sample=32)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    random = np.random.default_rng(0)
    for number, rows in enumerate((LEAST_ROWS - 1, 1), 1):
        lake.add(number, [Window("actor", number * 10**9, random.normal(size=(rows, 4)))])
    lake.add(3, [Window("target", 10**9, random.normal(size=(LEAST_ROWS - 1, 4)))])
    return lake


def test_a_forest_is_that_of_the_lakes_rows(lake: Lake) -> None:
    retraining = Retraining(SETTINGS, lake, lambda _: None)
    assert retraining.retrain("session") is None
    assert retraining.retrain("target") is None, "too few"
    swap = retraining.retrain("actor")
    assert swap is not None
    sample = lake.newest("actor", most=10**6)
    assert sample is not None
    expected = IsolationForest.fit(sample.rows, trees=10, sample=32)
    assert swap.forest == expected.to_bytes()
    assert (swap.role, swap.rows, swap.first, swap.last) == ("actor", LEAST_ROWS, 10**9, 2 * 10**9)
    entry = entry_of(swap, "c")
    assert entry.action == "guardian.model_swapped"
    assert entry.created_at == swap.created_at
    assert entry.payload == {
        "role": "actor",
        "digest": hashlib.sha256(swap.forest).hexdigest(),
        "rows": LEAST_ROWS,
        "firstWindow": "1970-01-01T00:00:01.000Z",
        "lastWindow": "1970-01-01T00:00:02.000Z",
        "config": "c",
    }


def test_it_goes_on_after_a_refusal_until_it_is_stopped(lake: Lake) -> None:
    swaps: list[ModelSwap] = []
    enough = threading.Event()

    def swap(each: ModelSwap) -> None:
        swaps.append(each)
        if len(swaps) == 3:
            enough.set()
        raise JournalError("full")

    retraining = Retraining(SETTINGS, lake, swap)
    retraining.stop()  # before it has begun, nothing happens
    retraining = Retraining(SETTINGS, lake, swap)
    retraining.start()
    assert enough.wait(30)
    retraining.stop()
    count = len(swaps)
    assert {each.role for each in swaps} == {"actor"}
    assert len({each.forest for each in swaps}) == 1, "the same rows grow the same forest"
    assert not enough.wait(0) or len(swaps) == count
