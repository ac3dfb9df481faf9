"""Which names a receiver's address field takes."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.formats.addresses import ip_version
from tests.twins_forms import HOSTILE

GROUPS = st.lists(st.integers(0, 0xFFFF), min_size=8, max_size=8)


@given(groups=GROUPS, upper=st.booleans(), full=st.booleans())
def test_every_way_to_write_an_address_that_fits_is_one(groups: list[int], upper: bool, full: bool) -> None:
    name = ":".join(f"{each:04x}" if full else f"{each:x}" for each in groups)
    assert ip_version(name.upper() if upper else name) == 6
    assert ip_version(ipaddress.IPv6Address(name).compressed) == 6


@given(groups=GROUPS, last=st.ip_addresses(v=4))
def test_a_long_one_that_ends_as_another_is_a_name(groups: list[int], last: ipaddress.IPv4Address) -> None:
    name = ":".join([*(f"{each:04x}" for each in groups[:6]), str(last)])
    ipaddress.ip_address(name)
    assert ip_version(name) == (6 if len(name) <= 39 else 0)
    assert ip_version(str(last)) == 4


@given(name=HOSTILE)
def test_everything_else_is_a_name(name: str) -> None:
    assert ip_version(name) == 0


@pytest.mark.parametrize(
    "name", ["", "10.0.0", "010.0.0.1", "10.0.0.1/8", "fe80::1%eth0", " 10.0.0.1", "１０.0.0.1", "::g"]
)
def test_what_only_looks_like_one(name: str) -> None:
    assert ip_version(name) == 0
