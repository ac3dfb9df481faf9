from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.gateway.problems import RefusalError
from guardian.gateway.reading import LISTS, MOST_LIMIT, MOST_OFFSET, iso, paging


async def test_the_guardian_as_the_interface_says(face: Any):
    status, headers, body = await face.get("/api/v1/guardian")
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    assert body == {
        "level": "high",
        "score": 61.5,
        "updatedAt": "2023-11-14T22:14:20.500Z",
        "events": 40,
        "late": 2,
        "synthetic": False,
        "layers": {"L5": {"level": "high", "score": 61.5}},
        "protocols": {"fenix": {"level": "none", "score": 3.0}},
        "top": [
            {
                "role": "actor",
                "entity": "ana",
                "level": "high",
                "score": 61.5,
                "firstSeen": "2023-11-14T22:13:20.000Z",
                "lastSeen": "2023-11-14T22:14:20.500Z",
                "events": 12,
                "layer": "L5",
                "reasons": [
                    {
                        "channel": "rule",
                        "contribution": 61.5,
                        "kind": "login_failed",
                        "event": 7,
                        "scoreWithout": 0.0,
                        "levelWithout": "none",
                    }
                ],
            }
        ],
    }
    face.service.synthetic = True
    assert (await face.get("/api/v1/guardian"))[2]["synthetic"] is True


@pytest.mark.parametrize(("path", "name"), LISTS.items())
async def test_every_list_pages(face: Any, path: str, name: str):
    status, _, body = await face.get(path)
    assert (status, body) == (
        200,
        {"items": [{"id": f"{name}-1", "score": None}], "total": 41, "limit": 20, "offset": 0},
    )
    status, _, body = await face.get(f"{path}?limit=200&offset=1000000")
    assert (status, body["limit"], body["offset"]) == (200, 200, 1_000_000)
    assert face.service.calls == [("page", name, 20, 0), ("page", name, 200, 1_000_000)]


async def test_entities(face: Any):
    status, _, body = await face.get("/api/v1/entities?limit=1")
    assert (status, body["total"], body["limit"], body["items"][0]["entity"]) == (200, 1, 1, "ana")
    status, _, body = await face.get("/api/v1/entities/actor/ana")
    assert (status, body["role"]) == (200, "actor")
    await face.get("/api/v1/entities/target/%2Fapi%2Fv1%2F%C3%B1?x=1")
    assert face.service.calls[-1] == ("entity", "target", "/api/v1/ñ")
    assert (await face.get("/api/v1/entities/actor/nobody"))[0] == 404
    status, _, body = await face.get("/api/v1/entities/planet/ana")
    assert status == 404
    assert "actor, address, target, session" in body["detail"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=-1", "limit=1e2", "limit=", "limit=٣", "offset=-1"]
)
async def test_bad_paging_names_the_key(face: Any, query: str):
    status, headers, body = await face.get(f"/api/v1/alerts?{query}")
    assert (status, headers["Content-Type"]) == (400, "application/problem+json")
    assert body["status"] == 400
    assert body["errors"][0]["key"] == query.partition("=")[0]
    assert face.service.calls == []


async def test_all_that_is_wrong_is_told_at_once(face: Any):
    _, _, body = await face.get("/api/v1/alerts?limit=x&offset=y")
    assert [each["key"] for each in body["errors"]] == ["limit", "offset"]


@given(st.dictionaries(st.sampled_from(["limit", "offset", "x"]), st.text(max_size=50)))
def test_any_query_pages_within_bounds_or_is_refused(query: dict[str, str]):
    with contextlib.suppress(RefusalError):
        limit, offset = paging(query)
        assert 1 <= limit <= MOST_LIMIT
        assert 0 <= offset <= MOST_OFFSET


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_time_can_be_shown(ns: int):
    shown = datetime.fromisoformat(iso(ns))
    assert round(shown.timestamp() * 1000) == ns // 10**6


async def test_health(face: Any):
    assert (await face.get("/health/live"))[0] == 200
    status, _, body = await face.get("/health/ready")
    assert (status, body) == (200, {"status": "ready"})
    face.service.readiness = (False, "the journal cannot be written")
    status, _, body = await face.get("/health/ready")
    assert (status, body["detail"]) == (503, "the journal cannot be written")
    assert (await face.get("/health/live"))[0] == 200


async def test_metrics_in_the_form_that_is_asked_for(face: Any):
    status, headers, body = await face.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert (status, body) == (200, b"# EOF\n")
    assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert face.service.calls == [("metrics", "application/openmetrics-text")]


class TestMsr:
    async def test_checkpoint(self, face: Any):
        status, headers, body = await face.get("/api/v1/msr/checkpoint")
        assert (status, body) == (200, face.service.checkpoint.encode())
        assert headers["Content-Type"].startswith("text/plain")
        face.service.checkpoint = None
        assert (await face.get("/api/v1/msr/checkpoint"))[0] == 404

    async def test_tiles(self, face: Any):
        status, headers, body = await face.get("/api/v1/msr/tile/0/x001/067")
        assert (status, body) == (200, b"\x01" * 32)
        assert "immutable" in headers["Cache-Control"]
        assert face.service.calls == [("tile", "0/x001/067")]
        _, headers, _ = await face.get("/api/v1/msr/tile/entries/000.p/3")
        assert headers["Cache-Control"] == "no-store"
        assert (await face.get("/api/v1/msr/tile/9/000"))[0] == 404
        assert (await face.get("/api/v1/msr/tile/" + "0" * 200))[0] == 404
        assert (await face.get("/api/v1/msr/tile/%2E%2E%2Fkey%00"))[0] == 404
        assert len(face.service.calls) == 3

    async def test_proofs(self, face: Any):
        status, _, body = await face.get("/api/v1/msr/proof/5")
        assert (status, body) == (200, b"c2sp.org/tlog-proof@v1\n")
        for index in ("6", "-1", "x", "٣", "9" * 40):
            assert (await face.get(f"/api/v1/msr/proof/{index}"))[0] == 404


async def test_acknowledgements_are_paged_and_narrowed(face: Any):
    path = "/api/v1/acknowledgements"
    status, _, body = await face.get(f"{path}?active=true&limit=5&offset=2")
    assert (status, body) == (
        200,
        {"items": [{"id": "k1", "active": True}], "total": 7, "limit": 5, "offset": 2},
    )
    await face.get(path)
    await face.get(f"{path}?active=false")
    assert [call[1] for call in face.service.calls] == [True, False, False]
    for query, key in (("active=yes", "active"), ("active=", "active"), ("limit=201", "limit")):
        status, headers, body = await face.get(f"{path}?{query}")
        assert (status, headers["Content-Type"]) == (400, "application/problem+json")
        assert [error["key"] for error in body["errors"]] == [key]
