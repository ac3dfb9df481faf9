from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from guardian.decode import Rejected
from guardian.errors import BodyError, JournalError, JournalFullError, MapError, Problem
from guardian.gateway import Receipt

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


async def test_lines_are_accepted(face: Any):
    status, _, body = await face.post("/api/v1/events?map=ecs", data=b'{"a":1}\n')
    assert (status, body) == (200, {"accepted": 3, "rejected": [], "rejectedTotal": 0})
    [(_, given)] = face.service.calls
    assert given == {
        "path": "/api/v1/events",
        "content_type": "application/octet-stream",
        "encoding": "",
        "map_name": "ecs",
        "body": b'{"a":1}\n',
        "sender": "127.0.0.1",
    }


async def test_the_default_map_and_type(face: Any):
    await face.ask("POST", "/api/v1/events", data=b"{}", skip_auto_headers=["Content-Type"])
    [(_, given)] = face.service.calls
    assert (given["map_name"], given["content_type"]) == ("tamv", "")


async def test_rejected_lines_are_told(face: Any):
    face.service.receipt = Receipt(1, [Rejected(2, "json", "expected an object")], 7)
    _, _, body = await face.post("/api/v1/events", data=b"x")
    assert body == {
        "accepted": 1,
        "rejected": [{"line": 2, "reason": "json", "detail": "expected an object"}],
        "rejectedTotal": 7,
    }


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "GZIP", "br"])
async def test_a_compressed_body_goes_on_as_received(face: Any, encoding: str):
    body = gzip.compress(b"line\n" * 1000)
    status, _, _ = await face.post(
        "/api/v1/events", data=body, headers={"Content-Encoding": encoding, "Content-Type": "text/plain"}
    )
    assert status == 200
    [(_, given)] = face.service.calls
    assert given["body"] == body
    assert given["encoding"] == encoding.lower()


async def test_a_body_in_chunks(face: Any):
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%d\n" % number

    await face.post("/api/v1/events", data=chunks())
    [(_, given)] = face.service.calls
    assert given["body"].split() == [b"%d" % number for number in range(100)]


@pytest.mark.parametrize("path", ["/v1/logs", "/v1/traces"])
class TestOtlp:
    async def test_all_accepted(self, face: Any, path: str):
        status, headers, body = await face.post(path, data=b"\n\x00", headers=PROTOBUF)
        assert (status, headers["Content-Type"], body) == (200, "application/x-protobuf", b"")
        status, headers, body = await face.post(
            path, data=b"{}", headers={"Content-Type": "application/json; charset=utf-8"}
        )
        assert (status, headers["Content-Type"], body) == (200, "application/json", {})
        assert [given["content_type"] for _, given in face.service.calls] == [
            "application/x-protobuf",
            "application/json",
        ]

    async def test_partial_success(self, face: Any, path: str):
        rejected = [Rejected(line, "time", "no time") for line in range(9)]
        face.service.receipt = Receipt(1, rejected, 2**33)
        kind = ExportLogsServiceResponse if path == "/v1/logs" else ExportTraceServiceResponse
        _, _, body = await face.post(path, data=b"x", headers=PROTOBUF)
        partial = kind.FromString(body).partial_success
        count = partial.rejected_log_records if path == "/v1/logs" else partial.rejected_spans
        assert count == 2**33
        assert partial.error_message.startswith("record 0: no time; record 1")
        assert partial.error_message.endswith(f"and {2**33 - 5} more")
        _, _, body = await face.post(path, data=b"x", headers=JSON)
        name = "rejectedLogRecords" if path == "/v1/logs" else "rejectedSpans"
        assert body["partialSuccess"][name] == str(2**33)

    @pytest.mark.parametrize(
        ("failure", "status", "code"),
        [
            (BodyError(400, "damaged", "not a gzip body"), 400, 3),
            (BodyError(413, "too_large", "too large"), 413, 3),
            (JournalFullError(9, 9, 2.0), 429, 8),
            (JournalError("/secret/path"), 503, 14),
            (RuntimeError("secret"), 500, 13),
        ],
    )
    async def test_errors_are_a_status_in_the_type_of_the_request(
        self, face: Any, path: str, failure: Exception, status: int, code: int
    ):
        face.service.failure = failure
        got, headers, body = await face.post(path, data=b"x", headers=PROTOBUF)
        assert (got, headers["Content-Type"]) == (status, "application/x-protobuf")
        told = Status.FromString(body)
        assert told.code == code
        assert told.message
        assert "secret" not in told.message
        got, headers, body = await face.post(path, data=b"x", headers=JSON)
        assert (got, headers["Content-Type"]) == (status, "application/json")
        assert body == {"code": code, "message": told.message}
        assert headers.get("Retry-After") == ("2" if status == 429 else None)

    async def test_another_type_is_refused(self, face: Any, path: str):
        status, headers, body = await face.post(path, data=b"x", headers={"Content-Type": "text/csv"})
        assert (status, headers["Content-Type"]) == (415, "application/x-protobuf")
        assert "text/csv" in Status.FromString(body).message
        assert face.service.calls == []

    async def test_the_wrong_method(self, face: Any, path: str):
        status, headers, _ = await face.get(path)
        assert (status, headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("failure", "status", "name"),
    [
        (BodyError(400, "map", "expected map to be one of …"), 400, "map"),
        (BodyError(415, "encoding", "expected gzip"), 415, "encoding"),
        (MapError("x", [Problem("map", "one of tamv", "'x'")]), 400, "map"),
        (JournalFullError(9, 9, 1.5), 429, "busy"),
        (JournalError("disk on fire in /secret"), 503, "journal"),
        (RuntimeError("secret"), 500, "internal"),
    ],
)
async def test_errors_are_problems(face: Any, failure: Exception, status: int, name: str):
    face.service.failure = failure
    got, headers, body = await face.post("/api/v1/events", data=b"x")
    assert (got, headers["Content-Type"]) == (status, "application/problem+json")
    assert body["type"] == f"urn:tamv-guardian:problem:{name}"
    assert body["status"] == status
    assert body["title"]
    assert "secret" not in str(body)
    assert headers.get("Retry-After") == ("2" if status == 429 else None)
    assert ("errors" in body) == isinstance(failure, MapError)
