"""Cutting and what may reach a line."""

from __future__ import annotations

import dataclasses
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.alert import Alert
from exporters.formats.limits import KIND_BYTES, NAME_BYTES, bounded, cut, cut_name, visible
from tests.twins_forms import HOSTILE, alerts, shown, with_long_names


@given(text=HOSTILE, limit=st.integers(24, 80))
def test_what_is_cut_fits_is_marked_and_is_a_beginning(text: str, limit: int) -> None:
    for made in (cut(text, limit), cut_name(text, limit)):
        assert len(made.encode()) <= limit
        if len(text.encode()) <= limit:
            assert made == text
        else:
            kept, _, _ = made.rpartition("…")
            assert text.startswith(kept)


def test_two_long_names_stay_two() -> None:
    first, second = "a" * 5000 + "1", "a" * 5000 + "2"
    assert cut(first, 100) == cut(second, 100)
    assert cut_name(first, 100) != cut_name(second, 100)
    assert cut_name(first, 100) == cut_name(first, 100)


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_nothing_that_ends_a_line_is_left(text: str) -> None:
    made = visible(text)
    assert len(made) == len(text)
    assert made == shown(text)
    assert not any(unicodedata.category(each) == "Cc" for each in made)
    assert len(made.splitlines()) <= 1
    assert visible(text, keep_line_ends=True) == shown(text, keep="\r\n")


@given(alert=alerts())
def test_an_ordinary_alert_is_its_own_answer(alert: Alert) -> None:
    assert bounded(alert) == alert


@given(alert=alerts())
@settings(max_examples=25)
def test_ids_are_never_cut(alert: Alert) -> None:
    made = bounded(with_long_names(alert))
    assert (made.id, made.identity, made.trace_id) == (alert.id, alert.identity, alert.trace_id)
    assert len(made.entity.encode()) <= NAME_BYTES
    assert all(len(reason["kind"].encode()) <= KIND_BYTES for reason in made.reasons)
    assert [reason["channel"] for reason in made.reasons] == [each["channel"] for each in alert.reasons]


@pytest.mark.parametrize("length", [NAME_BYTES // 4, NAME_BYTES, NAME_BYTES + 1])
def test_the_limit_is_in_bytes(steps: dict[str, Alert], length: int) -> None:
    alert = dataclasses.replace(steps["open"], entity="a" * length)
    assert (bounded(alert).entity == alert.entity) is (length <= NAME_BYTES)
