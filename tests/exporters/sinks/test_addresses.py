"""Which addresses may be reached: public ones, however the others are written."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.sinks.addresses import PublicOnly, is_public

INSIDE_V4 = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1"),
    *("198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("168.63.129.16", "100.100.100.200"),
]
INSIDE_V6 = [
    *(
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
    ),
    *("100::1", "64:ff9b:1::1", "ff0e::1"),
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "2606:4700::1111"]
WRAPPED = ["::ffff:{}", "64:ff9b::{}", "::{}"]


@pytest.mark.parametrize("address", [*INSIDE_V4, *INSIDE_V6])
def test_inside(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("form", WRAPPED)
def test_wrapped_addresses_are_judged_by_where_they_lead(form: str) -> None:
    for address in INSIDE_V4:
        assert not is_public(form.format(address)), address
    assert is_public(form.format("1.1.1.1"))


@pytest.mark.parametrize("address", INSIDE_V4)
def test_tunnels(address: str) -> None:
    number = int(ipaddress.IPv4Address(address))
    six_to_four = ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1)
    teredo = ipaddress.IPv6Address((0x2001_0000 << 96) | (number ^ 0xFFFF_FFFF))
    assert not is_public(str(six_to_four))
    assert not is_public(str(teredo))


@given(st.ip_addresses())
def test_every_address_is_judged(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
        assert mapped or not is_public(str(address))


def test_sockets_for_public_addresses_alone() -> None:
    guard = PublicOnly()
    target = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("1.1.1.1", 443))
    with guard(target) as made:
        assert made.family == socket.AF_INET
    assert guard.refused == ""
    with pytest.raises(PermissionError, match="not a public address"):
        guard((*target[:4], ("10.0.0.1", 443)))
    assert guard.refused == "10.0.0.1"
