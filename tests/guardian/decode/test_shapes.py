"""Shapes: only what can be there, and only small ones are remembered."""

from __future__ import annotations

from guardian.decode.mapfile import builtin_map
from guardian.decode.shapes import readers, shape_of, understood

TAMV = builtin_map("tamv")


def test_only_alternatives_that_can_be_there() -> None:
    shape = shape_of(TAMV, ("timestamp", "action", "metadata", "other"))
    assert [[step.names for step in steps] for steps in shape.texts.values()] == [
        [("action",)],
        [("metadata.ip",)],
    ]
    assert [step.plain for steps in shape.texts.values() for step in steps] == [True, False]
    assert [(choice, iso) for choice, iso, _ in shape.times] == [(0, True), (1, False)]
    assert shape_of(TAMV, ()).texts == {}


def test_templates_need_all_their_fields() -> None:
    windows = builtin_map("windows")
    kinds = shape_of(windows, ("Channel", "EventID")).texts["kind"]
    assert [step.names for step in kinds] == [("Channel", "EventID"), ("EventID",)]
    assert kinds[0].join is not None
    assert kinds[0].join("{a}", "1") == "{a}/1"


def test_small_shapes_are_remembered_and_wide_ones_are_not() -> None:
    keys = ("timestamp", "action")
    assert shape_of(TAMV, keys) is shape_of(TAMV, keys)
    for wide in (tuple(f"k{i}" for i in range(1000)), ("x" * 10_000,)):
        assert shape_of(TAMV, wide) is not shape_of(TAMV, wide)


def test_when_a_column_says_all() -> None:
    tests = {name: understood(TAMV, name) for name in readers(TAMV)}
    assert tests["kind"] is None
    says = {
        "outcome": ("ok", "later"),
        "severity": ("high", "?"),
        "layer": ("L3", "edge"),
        "span_id": ("ab" * 8, "x"),
    }
    for name, (known, unknown) in says.items():
        test = tests[name]
        assert test is not None
        assert (test(known), test(unknown)) == (True, False)
