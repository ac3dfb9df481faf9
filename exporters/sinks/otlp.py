"""Alerts as OTLP logs over HTTP, protobuf.

Owns the request around log records that were serialized one by one, and what answers mean (OTLP 1.x, "OTLP/HTTP
Response"): only 429, 502, 503 and 504 may be repeated, and a 200 counts only after its ``partial_success`` was read.
That field says how many were refused and not which: the caller then sends halves, so some records may arrive twice,
with the same ids in their attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from exporters.sinks import credentials
from exporters.sinks.requests import Client, Reply, at, refusal, short
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import Otlp

_ANSWER_BYTES: Final = 65_536
_AGAIN: Final = frozenset({429, 502, 503, 504})
_PROTOBUF: Final = "application/x-protobuf"
_LENGTH_DELIMITED: Final = 2
_RESOURCE_LOGS: Final = 1
"""Number of ``ExportLogsServiceRequest.resource_logs`` …"""
_SCOPE_LOGS: Final = 2
"""… of ``ResourceLogs.scope_logs`` …"""
_LOG_RECORDS: Final = 2
"""… and of ``ScopeLogs.log_records``."""
_SERVICE: Final = "tamv-guardian"


class _Partial(msgspec.Struct, rename="camel"):
    rejected_log_records: int | str = 0
    """Protobuf's JSON writes 64-bit numbers as text."""
    error_message: str = ""


class _Answer(msgspec.Struct, rename="camel"):
    partial_success: _Partial | None = None


class OtlpSink:
    """One receiver of OTLP logs."""

    def __init__(self, settings: Otlp) -> None:
        """Prepare; nothing is connected yet.

        Raises:
            MachineError: a certificate cannot be used.
        """
        self._settings = settings
        self._client = Client(settings)
        self._url = at(settings.url, "/v1/logs")
        self._scope = ScopeLogs(scope=InstrumentationScope(name=_SERVICE)).SerializeToString()
        name = KeyValue(key="service.name", value=AnyValue(string_value=_SERVICE))
        self._resource = ResourceLogs(resource=Resource(attributes=[name])).SerializeToString()

    async def write(self, messages: Sequence[Message]) -> Answers:
        """Export all records in one request.

        Raises:
            RetryError: no connection, 429, 502, 503, 504.
            HoldError: 3xx, 401, 403, 404 and the like, or a 200 that is not OTLP.
            PoisonError: any other answer, or some of the records were refused.
        """
        headers = {"Content-Type": _PROTOBUF}
        token = credentials.token(self._settings)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        body = self._body(message.body for message in messages)
        reply = await self._client.post(self._url, body, headers, answer_bytes=_ANSWER_BYTES)
        if not reply.taken:
            raise _refusal(reply)
        rejected, why = _rejected(reply)
        if not rejected:
            return Answers()
        said = short(f"{rejected} of {len(messages)} log records refused: {why}")
        if rejected >= len(messages):
            return Answers({message.id: PoisonError(said) for message in messages})
        raise PoisonError(said)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _body(self, records: Iterable[bytes]) -> bytes:
        scope = self._scope + b"".join(_field(_LOG_RECORDS, record) for record in records)
        return _field(_RESOURCE_LOGS, self._resource + _field(_SCOPE_LOGS, scope))


def _field(number: int, data: bytes) -> bytes:
    r"""One length-delimited field in the wire format of protobuf.

    >>> _field(2, b"abc")
    b'\x12\x03abc'
    """
    out = bytearray([number << 3 | _LENGTH_DELIMITED])
    length = len(data)
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out) + data


def _refusal(reply: Reply) -> DeliveryError:
    if reply.status in _AGAIN:
        return RetryError(reply.said, reply.wait_s)
    error = refusal(reply)
    return PoisonError(reply.said) if isinstance(error, RetryError) else error


def _rejected(reply: Reply) -> tuple[int, str]:
    """How many records were refused, and why.

    Raises:
        HoldError: something other than a receiver of OTLP answered, a login page for example.
    """
    if reply.kind == "application/json":
        answer = reply.read(_Answer)
        partial = answer.partial_success if answer else None
        if answer is not None and partial is None:
            return 0, ""
        if partial is not None and str(partial.rejected_log_records).isdigit():
            return int(partial.rejected_log_records), partial.error_message
    elif reply.kind == _PROTOBUF or not reply.body:
        try:
            told = ExportLogsServiceResponse.FromString(reply.body).partial_success
        except DecodeError:
            pass
        else:
            return max(0, told.rejected_log_records), told.error_message
    raise HoldError(f"HTTP {reply.status}, but not the answer of a receiver of OTLP logs")
