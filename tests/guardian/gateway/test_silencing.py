from __future__ import annotations

from typing import Any

import pytest

from guardian.errors import JournalError

PATH = "/api/v1/silences"


async def test_what_is_kept_is_listed_by_pages(face: Any):
    status, headers, body = await face.get(PATH)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert body == {"items": [{"id": "s1", "state": "active"}], "total": 3, "limit": 20, "offset": 0}
    await face.get(f"{PATH}?active=true&limit=5&offset=2")
    assert face.service.calls == [("silences", False, 20, 0), ("silences", True, 5, 2)]


@pytest.mark.parametrize("query", ["active=1", "active=True", "active=", "limit=0", "limit=201", "offset=-1"])
async def test_a_query_that_cannot_be_read(face: Any, query: str):
    status, headers, body = await face.get(f"{PATH}?{query}")
    assert (status, headers["Content-Type"]) == (400, "application/problem+json")
    assert body["errors"][0]["key"] == query.split("=", maxsplit=1)[0]
    assert face.service.calls == []


async def test_one_is_ended(face: Any):
    status, _, body = await face.ask("DELETE", f"{PATH}/0190a5f0-0000-7000-8000-000000000001")
    assert (status, body["state"]) == (200, "ended")
    assert face.service.calls == [("end_silence", "0190a5f0-0000-7000-8000-000000000001")]


@pytest.mark.parametrize("name", ["nothing", "%00", "..%2f..", "a" * 65, "a/b"])
async def test_one_that_is_not_there(face: Any, name: str):
    status, headers, body = await face.ask("DELETE", f"{PATH}/{name}")
    assert (status, headers["Content-Type"]) == (404, "application/problem+json")
    assert "not_found" in body["type"]
    assert face.refused == {"not_found": 1}


async def test_other_pages_change_nothing(face: Any):
    headers = {"Origin": "http://evil.example"}
    for method, path in (("DELETE", f"{PATH}/s1"), ("POST", PATH)):
        status, _, _ = await face.ask(method, path, headers=headers)
        assert status == 403
    status, headers, _ = await face.ask("PUT", PATH)
    assert (status, headers["Allow"]) == (405, "GET,HEAD,POST")
    assert face.service.calls == []


async def test_nothing_can_be_made_durable(face: Any):
    face.service.failure = JournalError("x")
    status, _, _ = await face.ask("DELETE", f"{PATH}/s1")
    assert status == 503
