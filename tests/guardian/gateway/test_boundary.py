from __future__ import annotations

from typing import Any

import pytest

from guardian.config import Config, Server
from guardian.errors import MachineError
from guardian.gateway import check_binding
from guardian.gateway.boundary import HEADERS, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST"])
def test_this_machine_only_needs_no_tokens(host: str):
    check_binding(Config(server=Server(host=host)))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.example.org"])
def test_any_other_address_is_refused(host: str):
    with pytest.raises(MachineError, match="no tokens are configured"):
        check_binding(Config(server=Server(host=host)))


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:80", "127.0.0.1:8787", "[::1]:8787", "[::1]", "localhost.:1", "::1"]
)
async def test_loopback_names_are_answered(face: Any, host: str):
    assert (await face.get("/health/live", headers={"Host": host}))[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "10.0.0.1:80", "[fe80::1]", "[", ":::", ""]
)
async def test_other_names_are_not(face: Any, host: str):
    status, _, body = await face.get("/api/v1/guardian", headers={"Host": host})
    assert (status, body["type"]) == (421, "urn:tamv-guardian:problem:host")
    assert face.service.calls == []


async def test_bound_elsewhere_any_name_is_answered(serve: Any):
    face = await serve(host="10.0.0.1")
    assert (await face.get("/health/live", headers={"Host": "guardian.example"}))[0] == 200


async def test_pages_of_another_origin_cannot_send(face: Any):
    own = f"127.0.0.1:{face.port}"
    for origin in (
        "https://evil.example",
        "null",
        f"http://{own}.evil.example",
        "http://[",
        "http://127.0.0.1:1",
    ):
        status, _, _ = await face.post("/api/v1/events", data=b"{}", headers={"Origin": origin})
        assert status == 403
    assert face.service.calls == []
    status, _, _ = await face.post("/api/v1/events", data=b"{}", headers={"Origin": f"http://{own}"})
    assert status == 200


@pytest.mark.parametrize("path", ["/", "/api/v1/guardian", "/metrics", "/nothing", "/api/v1/alerts?limit=x"])
async def test_security_headers_everywhere(face: Any, path: str):
    _, headers, _ = await face.get(path)
    for name, value in HEADERS.items():
        assert headers[name] == value
    assert "aiohttp" not in str(headers)
    assert "Access-Control-Allow-Origin" not in headers


def test_loopback_is_an_address_not_a_beginning():
    assert not is_loopback("127.0.0.1.evil.example")
    assert not is_loopback("0")
