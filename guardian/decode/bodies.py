"""One HTTP body to events: the function that ingest and the journal's replay share.

Owns content types, encodings and the cap on decoded bytes. Deterministic given its arguments: it asks no clock, reads
no file and knows maps by built-in name only.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from guardian.decode.columns import Decoded, latest_for
from guardian.decode.draft import joined
from guardian.decode.mapfile import builtin_map
from guardian.decode.ndjson import decode_ndjson
from guardian.decode.otlp_json import decode_json
from guardian.decode.otlp_wire import decode_protobuf
from guardian.decode.syslog import SYSLOG_ROUTE, decode_syslog
from guardian.errors import BodyError, MapError, SchemaError
from guardian.events import Signal, check_events

ARROW: Final = "application/vnd.apache.arrow.stream"
"""Content type of EVENTS batches that Guardian journals itself: its own decisions. No public route takes it."""

SIGNALS: Final = {"/v1/logs": Signal.LOG, "/v1/traces": Signal.SPAN}
NDJSON_ROUTE: Final = "/api/v1/events"
NDJSON_TYPES: Final = (
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/json",
    "text/plain",
    "application/octet-stream",
    "application/x-www-form-urlencoded",  # what curl says of --data-binary when nobody tells it better
    "",
)
OTLP_TYPES: Final = ("application/x-protobuf", "application/json")
ENCODINGS: Final = ("", "identity", "gzip", "zstd")

_PIECE_BYTES: Final = 2**20
_HARD_CAP: Final = 2**30
"""No body is decoded past this, whatever the configuration says: text columns of a batch address 2 GiB."""


def decode_body(
    body: bytes,
    *,
    content_type: str,
    encoding: str,
    path: str,
    map_name: str,
    received_at: int,
    max_decoded_bytes: int,
) -> Decoded:
    """The events of one request body.

    Args:
        body: the body as received, still compressed.
        content_type: value of the header; parameters after ``;`` are ignored but by ``decode_syslog``.
        encoding: value of ``Content-Encoding``: ``gzip``, ``zstd``, ``identity`` or empty.
        path: the route: ``/v1/logs``, ``/v1/traces`` or ``/api/v1/events``; the others are Guardian's own: ``SYSLOG_ROUTE``
            for what its sources gather, and those that take ``ARROW`` only.
        map_name: name of a built-in map, for ``/api/v1/events``.
        received_at: nanoseconds since 1970; an event more than one day later is rejected.
        max_decoded_bytes: cap on the decompressed size.

    Raises:
        BodyError: 400 the body is not what it claims to be, or there is no such map; 413 it is too large once
            decoded; 415 its type or encoding is not known here; 404 there is no such route.
    """
    latest = latest_for(received_at)
    kind = content_type.partition(";")[0].strip().lower()
    signal = SIGNALS.get(path)
    if path == SYSLOG_ROUTE:
        data = decompress(body, encoding, max_decoded_bytes)
        return decode_syslog(data, content_type=content_type, received_at=received_at)
    if signal is None and path != NDJSON_ROUTE:
        if kind == ARROW:
            return _decode_arrow(decompress(body, encoding, max_decoded_bytes))
        raise BodyError(404, "unknown_route", f"expected one of {', '.join([*SIGNALS, NDJSON_ROUTE])}")
    known = NDJSON_TYPES if signal is None else OTLP_TYPES
    if kind not in known:
        raise BodyError(415, "content_type", f"expected Content-Type {' or '.join(filter(None, known))}")
    data = decompress(body, encoding, max_decoded_bytes)
    if signal is None:
        try:
            mapping = builtin_map(map_name)
        except MapError as error:
            raise BodyError(400, "unknown_map", str(error)) from None
        return decode_ndjson(data, mapping, received_at=received_at)
    if kind == "application/json":
        return decode_json(data, signal, latest)
    return decode_protobuf(data, signal, latest)


def decompress(body: bytes, encoding: str, max_decoded_bytes: int) -> bytes:
    """The body without its content encoding, never holding more than the cap (and one piece of 1 MiB).

    Raises:
        BodyError: 400 broken or truncated; 413 larger than the cap; 415 another encoding.
    """
    name = encoding.strip().lower()
    cap = min(max_decoded_bytes, _HARD_CAP)
    too_large = BodyError(413, "too_large", f"expected at most {cap} bytes once decoded")
    if name not in ENCODINGS:
        raise BodyError(415, "content_encoding", "expected Content-Encoding gzip, zstd or identity")
    if name in {"", "identity"}:
        if len(body) > cap:
            raise too_large
        return body
    pieces: list[bytes] = []
    size = 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), name) as stream:
            while piece := stream.read(min(_PIECE_BYTES, cap - size + 1)):
                size += len(piece)
                if size > cap:
                    raise too_large
                pieces.append(piece)
    except OSError:
        raise BodyError(400, "broken_encoding", f"expected a complete {name} stream") from None
    return b"".join(pieces)


def _decode_arrow(data: bytes) -> Decoded:
    try:
        with pa.ipc.open_stream(pa.BufferReader(data)) as stream:
            batches = [check_events(batch) for batch in stream]
    except (pa.ArrowException, OSError, SchemaError) as error:
        raise BodyError(400, "not_arrow", f"expected an Arrow stream of EVENTS: {error}") from None
    return Decoded(joined(batches))
