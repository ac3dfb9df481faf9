"""The benchmark of Sigma rules in its quick form, whose oracle must agree."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parent.parent.parent / "benchmarks" / "sigma_rules.py"


def test_our_matches_are_those_of_the_sqlite_backend(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(
        "sigma.backends.sqlite", reason="the oracle is not installed: no pysigma-backend-sqlite"
    )
    monkeypatch.delenv("SIGMA_ROOT", raising=False)
    spec = importlib.util.spec_from_file_location("benchmarks_sigma_rules", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    ours, theirs = module.measure(shared_data.parent, quick=True)
    assert (ours["loaded"], ours["refused"], ours["events"]) == (60, 0, 4_000)
    assert theirs["loaded"] == 60
    assert theirs["matches"] > 50
    assert theirs["rules that differ"] == 0
