"""Shares of a bounded space: half for one alone, always room for whoever comes next, bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian import shares
from guardian.shares import Shares

ROOM = 1000


def filled(found: Shares, used: int, sender: str, size: int) -> int:
    """Hold things of a size until one is refused; what is used then."""
    name = found.name(sender)
    while used + size <= ROOM:
        found.hold(name, size)
        if not found.admits(name, free=ROOM - used - size, size=size):
            found.release(name, size)
            return used
        used += size
    return used


def test_one_alone_gets_half_and_the_next_a_third_of_all() -> None:
    found = Shares()
    first = filled(found, 0, "loud", 1)
    assert first == ROOM // 2
    assert filled(found, first, "next", 1) - first == ROOM // 4
    assert filled(found, 0, "late", 1) > 0


def test_a_single_thing_is_never_refused_for_its_share() -> None:
    assert filled(Shares(), 0, "loud", 900) == 900


def test_what_is_released_may_be_held_again() -> None:
    found = Shares()
    used = filled(found, 0, "loud", 10)
    found.release(found.name("loud"), used)
    assert filled(found, 0, "loud", 10) == used


def test_many_addresses_cost_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "_MOST_SENDERS", 8)
    found = Shares()
    names = []
    for number in range(100):
        names.append(found.name(f"10.0.0.{number}"))
        found.hold(names[-1], 1)
    assert len(set(names)) == 9
    assert found.name("10.0.0.7") == "10.0.0.7"
    for name in names:
        found.release(name, 1)
    assert found.name("10.9.9.9") == "10.9.9.9", "nothing is held any more"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 200)), max_size=60))
def test_there_is_always_room_for_a_new_sender(steps: list[tuple[str, int]]) -> None:
    found, used = Shares(), 0
    for sender, size in steps:
        name = found.name(sender)
        free = ROOM - used - size
        found.hold(name, size)
        if free < 0 or not found.admits(name, free=free, size=size):
            found.release(name, size)
        else:
            used += size
    if ROOM - used >= 1:
        found.hold(found.name("new"), 1)
        assert found.admits("new", free=ROOM - used - 1, size=1)
