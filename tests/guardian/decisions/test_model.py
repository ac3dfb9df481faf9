"""The record of a forest as bytes of the journal: what comes back, and what is refused."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.config import Config
from guardian.decisions import model
from guardian.engine import Engine
from guardian.errors import BodyError
from scoring import IsolationForest


def swap(features: int = 4) -> model.ModelSwap:
    rows = np.random.default_rng(0).normal(size=(100, features))
    forest = IsolationForest.fit(rows, trees=5, sample=16)
    return model.ModelSwap(role="actor", forest=forest.to_bytes(), rows=100, first=1, last=2, created_at=3)


def test_it_comes_back_and_reaches_the_engine() -> None:
    record = model.from_bytes(model.to_bytes(swap()))
    assert record == swap()
    engine = Engine(Config())
    before = engine.snapshot()
    model.apply(record, engine)
    assert engine.snapshot() != before
    assert isinstance(engine, model.Swapping)


def test_a_forest_of_something_else_is_refused() -> None:
    with pytest.raises(BodyError, match="4 features, got 3"):
        model.from_bytes(model.to_bytes(swap(3)))
    with pytest.raises(BodyError, match="record of a forest"):
        model.from_bytes(msgspec.msgpack.encode({"role": "nobody"}))


@given(at=st.integers(0, 1 << 20), bit=st.integers(0, 7), noise=st.binary(max_size=50))
def test_damage_is_refused(at: int, bit: int, noise: bytes) -> None:
    body = model.to_bytes(swap())
    start = body.index(swap().forest)
    at = start + at % len(swap().forest)
    flipped = bytes([body[at] ^ (1 << bit)])
    for damaged in (body[:at] + flipped + body[at + 1 :], body[:at], noise):
        with pytest.raises(BodyError):
            model.from_bytes(damaged)
