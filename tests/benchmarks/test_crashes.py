"""The crash benchmark in small: a real service, killed a few times at random moments."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_nothing_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import crashes

    try:
        rows = crashes.measure(Path(), quick=True)
    finally:
        sys.modules.pop("crashes")
    assert [row["goal"] for row in rows] == ["met", "met"], rows
    assert all(row["events acknowledged"] > 0 for row in rows)
