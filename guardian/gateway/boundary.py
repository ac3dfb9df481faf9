"""Who may talk to the service, and what its answers forbid.

Owns the rule that it listens beyond this machine only with tokens, the check of host names and origins, and the
security headers.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from guardian.config import Config
from guardian.errors import MachineError
from guardian.gateway.problems import Handler, RefusalError

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "tamv-guardian",  # without it aiohttp tells its version and Python's
}
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def check_binding(config: Config) -> None:
    """Refuse an address that others can reach: there are no tokens that would tell them apart.

    Raises:
        MachineError: ``server.host`` is not a loopback address.
    """
    host = config.server.host
    if not is_loopback(host):
        raise MachineError(
            f'server.host is "{host}", which other machines can reach, and no tokens are configured: '
            f"use 127.0.0.1, ::1 or localhost"
        )


def is_loopback(host: str) -> bool:
    """Whether a host name can only mean this machine.

    >>> is_loopback("127.0.0.53"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("localhost.evil.org")
    (True, True, False, False)
    """
    name = host.removeprefix("[").removesuffix("]").removesuffix(".").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


@web.middleware
async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer only those who mean this machine.

    A page in a browser can let its own name resolve to 127.0.0.1 (DNS rebinding); the Host header then still says
    its name. And it can post to us without reading the answer; the Origin header then says whose page it is.
    """
    host = request.headers.get("Host")
    if host is not None and not is_loopback(_name(host)):
        raise RefusalError(421, "host", "expected a loopback name in Host: 127.0.0.1, ::1 or localhost")
    return await handler(request)


@web.middleware
async def check_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a page of another origin sends."""
    origin = request.headers.get("Origin")
    if origin is not None and request.method not in _SAFE_METHODS:
        try:
            same = urlsplit(origin).netloc == request.headers.get("Host")
        except ValueError:
            same = False
        if not same:
            raise RefusalError(403, "origin", "requests from pages of another origin are refused")
    return await handler(request)


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """The security headers, on every answer; answers of the API are not kept by caches unless they say so."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host
