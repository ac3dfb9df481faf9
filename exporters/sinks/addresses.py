"""Which network addresses a configured or resolved name may lead to: public ones, whatever they are wrapped in.

Owns the judgement, and a socket factory that makes it on the very address that is then connected to, so that a name
which points elsewhere a moment later gains nothing (DNS rebinding). Does not own resolving.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address, which is where the packets go."""
_COMPATIBLE: Final = IPv6Network("::/96")
"""RFC 4291, 2.5.5.1, deprecated: the same."""
_PLATFORM: Final = IPv4Address("168.63.129.16")
"""Public by its number, and the host of every virtual machine in Azure."""


def is_public(address: str) -> bool:
    """Whether an address belongs to the public Internet, and to nobody's inside.

    >>> is_public("1.1.1.1"), is_public("10.0.0.1"), is_public("::ffff:127.0.0.1"), is_public("64:ff9b::a00:1")
    (True, False, False, False)
    """
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        wrapped = _wrapped(parsed)
        if wrapped is not None:
            return is_public(str(wrapped))
        if parsed.is_site_local:
            return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved and parsed != _PLATFORM


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to this one reach in the end, where it carries one."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or address in _COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


class PublicOnly:
    """Makes sockets for connections to public addresses, and remembers what it refused."""

    def __init__(self) -> None:
        self.refused = ""
        """The last address that was refused; empty = none."""

    def __call__(self, target: tuple[Any, ...]) -> socket.socket:
        """A socket for one result of ``getaddrinfo``.

        Raises:
            PermissionError: its address is not public.
        """
        family, kind, protocol, _, where = target
        if not is_public(where[0]):
            self.refused = where[0]
            raise PermissionError(errno.EPERM, "not a public address")
        return socket.socket(family, kind, protocol)
