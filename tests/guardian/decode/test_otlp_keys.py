"""Constant tables: every name that means something is found, and nothing else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardian.decode import conventions
from guardian.decode import otlp_keys as keys

KNOWN = [
    keys.KEY_DATA[start:stop].tobytes()
    for start, stop in zip(keys.KEY_STARTS[:-1], keys.KEY_STARTS[1:], strict=True)
]


def found(name: bytes) -> int:
    """As the kernels look a name up."""
    if not name:
        return -1
    samples = (name[0], name[len(name) // 3], name[len(name) // 2], name[-1])
    number = int(keys.SLOTS[keys.place(len(name), *samples, keys.FACTOR)])
    return number if number >= 0 and KNOWN[number] == name else -1


def test_every_name_is_found_in_its_own_place() -> None:
    assert [found(name) for name in KNOWN] == list(range(len(KNOWN)))
    assert set(conventions.ACTOR + conventions.RESOURCE_SOURCE) <= {name.decode() for name in KNOWN}


@given(st.binary(max_size=30))
def test_other_names_are_not(name: bytes) -> None:
    assert (found(name) >= 0) == (name in KNOWN)


def test_uses_and_ranks() -> None:
    number = found(b"user.name")
    assert (keys.KEY_USE[number], keys.KEY_RANK[number]) == (keys.ACTOR, conventions.ACTOR.index("user.name"))
    number = found(b"net.peer.ip")
    assert keys.KEY_USE[number] == keys.ADDRESS
    assert keys.KEY_RANK[number] >= keys.FIRST_PEER
    number = found(b"service.name")
    assert (keys.KEY_USE[number], keys.SOURCE_RANK[number]) == (-1, 0)
    assert keys.IS_LAYER[found(b"tamv.layer")]
    assert keys.KEY_RANK.max() < 32, "the kernel keeps five bits of a rank"
    assert 5 * keys.TEXTS <= 64


def test_fixed_texts() -> None:
    def text(which: int) -> bytes:
        return bytes(keys.FIXED_DATA[keys.FIXED_STARTS[which] : keys.FIXED_STARTS[which + 1]])

    assert (text(keys.RESOURCE_KEY), text(keys.NULL), text(keys.SPACE)) == (b'"resource":', b"null", b" ")
