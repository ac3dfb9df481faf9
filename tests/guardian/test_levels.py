"""Levels: bands, words, and a recommendation that waits for a human where it must."""

from __future__ import annotations

import pytest

from guardian.levels import (
    BAND_EDGES,
    COLOUR,
    LIGHT,
    MOOD,
    NEEDS_APPROVAL,
    RECOMMENDED_ACTION,
    Level,
    level_named,
    level_of,
)
from guardian.texts import LANGUAGES, catalogue


def test_bands_begin_at_their_edge() -> None:
    for level, edge in enumerate(BAND_EDGES, 1):
        assert level_of(edge) == level
        assert level_of(edge - 1e-9) == level - 1
    assert level_of(0.0) == Level.NONE
    assert level_of(100.0) == Level.CRITICAL


def test_every_level_has_everything() -> None:
    for level in Level:
        assert level_named(level.word) == level
        assert level in COLOUR
        assert level in LIGHT
        assert level in MOOD
        assert RECOMMENDED_ACTION[level]
        for language in LANGUAGES:
            assert catalogue("levels", language)[level.word]
    with pytest.raises(ValueError, match="expected one of none, low"):
        level_named("urgent")


def test_blocking_and_isolating_wait_for_a_human() -> None:
    assert {"block", "isolate"} == NEEDS_APPROVAL
    assert set(RECOMMENDED_ACTION[Level.HIGH]) & NEEDS_APPROVAL
    assert set(RECOMMENDED_ACTION[Level.CRITICAL]) & NEEDS_APPROVAL
