"""Commitments: the same under one key, nothing without it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from exporters.pseudonyms import Pseudonyms
from guardian.errors import MachineError


def test_one_key_one_commitment(tmp_path: Path) -> None:
    path = tmp_path / "k"
    first, again = Pseudonyms.load(path), Pseudonyms.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.of("ana") == again.of("ana")
    assert first.of("ana") != Pseudonyms(bytes(32)).of("ana")
    assert first.of("ana") != first.of("Ana")
    assert first.of("") == ""
    assert Pseudonyms(bytes(32)).of("ana").startswith("hmac-sha256:")


def test_a_key_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"short")
    with pytest.raises(MachineError, match="expected 32 bytes, got 5"):
        Pseudonyms.load(tmp_path / "k")
    with pytest.raises(MachineError, match="cannot be read"):
        Pseudonyms.load(Path("/proc/no/k"))
