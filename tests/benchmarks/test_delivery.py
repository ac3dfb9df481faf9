"""The delivery benchmark in small: an outage, an expired token and kills lose nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.mark.slow
def test_nothing_accepted_is_lost_and_at_most_a_batch_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import delivery

    try:
        rows = delivery.measure(Path(), quick=True)
    finally:
        sys.modules.pop("delivery")
    outage, ours, _theirs, *_speed = rows
    assert outage["goal"] == "met", rows
    assert outage["accepted"] > 1000
    assert ours["arrived"] == 100
