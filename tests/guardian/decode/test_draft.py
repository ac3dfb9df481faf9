"""The last step: names of bounded length, exact dictionaries, ids."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decode.columns import batch_of, encoded
from guardian.decode.draft import MAX_NAME, empty, id_bytes, layer_of, objects, shorten, tidy
from guardian.events import EVENTS


@given(st.text(max_size=40), st.integers(1, 40))
def test_names_are_cut_but_stay_apart(text: str, times: int) -> None:
    name = text * times
    assert len(shorten(name)) <= MAX_NAME
    assert shorten(name) == name or len(name) > MAX_NAME
    long = "x" * MAX_NAME
    assert shorten(long + name + "a") != shorten(long + name + "b")


def test_dictionaries_hold_exactly_their_values_in_order_of_appearance() -> None:
    batch = batch_of(
        4,
        {"ts": pa.array(range(4), EVENTS.field("ts").type), "kind": encoded(pa.array(["a", "b", "c", "b"]))},
    )
    part = tidy(batch.slice(1, 3))
    assert part.column("kind").dictionary.to_pylist() == ["b", "c"]
    assert part.column("kind").to_pylist() == ["b", "c", "b"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0af7651916cd43dd8448eb211c80319c", True),
        ("0x0af7651916cd43dd8448eb211c80319c", True),
        ("0AF76519-16CD-43DD-8448-EB211C80319C", True),
        ("", False),
        ("zz" * 16, False),
        ("0af765", False),
        ("0 " * 16, False),
    ],
)
def test_ids(text: str, found: bool) -> None:
    assert any(id_bytes(text, 16)) is found
    assert len(id_bytes(text, 16)) == 16


def test_layers_and_objects() -> None:
    assert [layer_of(text, 5) for text in ("L0", "7", "L8", "", "l3", "LL3")] == [0, 7, 5, 5, 5, 5]
    assert objects(b'{"a":1}{}{"b":2}', [7, 9, 16]).to_pylist() == ['{"a":1}', None, '{"b":2}']
    assert objects(b"", []).to_pylist() == []
    assert empty().schema == EVENTS
