"""Whether a name is an IP address that a receiver's address field takes."""

from __future__ import annotations

import ipaddress
from typing import Final, Literal

_LONGEST: Final = 39
"""An IPv6 address in full; OCSF takes 40 characters. One that ends as an IPv4 address can be written in 45."""


def ip_version(name: str) -> Literal[0, 4, 6]:
    """4 or 6, and 0 for everything else. An address with a zone (``fe80::1%eth0``) is one of this machine only: 0.

    >>> ip_version("203.0.113.9"), ip_version("2001:db8::1"), ip_version("fe80::1%eth0"), ip_version("gateway-7")
    (4, 6, 0, 0)
    """
    if len(name) > _LONGEST:
        return 0
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return 0
    if isinstance(address, ipaddress.IPv4Address):
        return 4
    return 0 if address.scope_id else 6
