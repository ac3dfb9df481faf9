from __future__ import annotations

import io
from typing import Any

import pytest

from guardian.errors import Problem, RequestError

ROUTES = {
    "/api/v1/eoct/evaluate": ("eoct", "e1"),
    "/api/v1/isabella/decisions": ("isabella", "i1"),
    "/api/v1/protocols/execute": ("protocol", "p1"),
    "/api/v1/acknowledgements": ("acknowledge", "k1"),
    "/api/v1/silences": ("silence", "s1"),
}


@pytest.mark.parametrize("path", ROUTES)
class TestDecisions:
    async def test_the_record_is_answered(self, face: Any, path: str):
        name, record = ROUTES[path]
        status, headers, body = await face.post(path, json={"subjectType": "ñ"})
        assert (status, body) == (201, {"id": record})
        assert headers["Content-Type"] == "application/json"
        assert face.service.calls == [(name, {"subjectType": "ñ"})]

    async def test_what_is_wrong_is_told_by_key_path(self, face: Any, path: str):
        face.service.failure = RequestError(
            [Problem("signals.harmRisk", "a number", '"x"'), Problem("subjectType", "text", "nothing")]
        )
        status, headers, body = await face.post(path, json={})
        assert (status, headers["Content-Type"]) == (422, "application/problem+json")
        assert body["errors"] == [
            {"key": "signals.harmRisk", "expected": "a number", "got": '"x"'},
            {"key": "subjectType", "expected": "text", "got": "nothing"},
        ]

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"", 400),
            (b"{", 400),
            (b"\xff\xfe", 400),
            (b'{"a": NaN}', 400),
            (b"[" * 100_000, 400),
            (b"[]", 422),
            (b"3", 422),
            (b"null", 422),
            (b" " * (2**20 + 1), 413),
        ],
    )
    async def test_bad_bodies(self, face: Any, path: str, body: bytes, status: int):
        got, headers, told = await face.post(
            path, data=io.BytesIO(body), headers={"Content-Type": "application/json"}
        )
        assert (got, headers["Content-Type"], told["status"]) == (status, "application/problem+json", status)
        assert face.service.calls == []

    @pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}])
    async def test_bad_types(self, face: Any, path: str, headers: dict[str, str]):
        status, _, _ = await face.post(
            path, data=b"{}", headers={"Content-Type": "application/json", **headers}
        )
        assert status == 415
        assert face.service.calls == []


async def test_isabella_lists_and_decides_on_one_path(face: Any):
    assert (await face.get("/api/v1/isabella/decisions"))[0] == 200
    status, headers, _ = await face.ask("DELETE", "/api/v1/isabella/decisions")
    assert status == 405
    assert set(headers["Allow"].split(",")) == {"GET", "HEAD", "POST"}


async def test_dead_letters_are_asked_about(face: Any) -> None:
    status, _, answer = await face.post("/api/v1/dead-letters", json={"action": "list"})
    assert (status, answer) == (200, {"action": "list"})
    assert face.service.calls[-1] == ("dead_letters", {"action": "list"})
    status, _, answer = await face.post("/api/v1/dead-letters", json={"action": "show", "sink": "nobody"})
    assert (status, answer["detail"]) == (404, "nobody: there is no such dead letter")
