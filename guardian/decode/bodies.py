"""HTTP bodies to events: which decoder reads what, and the caps that keep a hostile body small.

``decode_body`` is what the journal replays through: the same arguments give the same events.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Final

import pyarrow as pa
import zstandard

from guardian.decode import otlp
from guardian.decode.columns import Decoded
from guardian.decode.mapping import BUILT_IN, load_map
from guardian.decode.ndjson import decode_ndjson
from guardian.decode.tables import decode_events
from guardian.errors import BodyError

ARROW: Final = "application/vnd.apache.arrow.stream"
"""Content type of EVENTS batches that Guardian journals itself: its own decisions."""

_BLOCK: Final = 2**16
_LINES: Final = (
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/json",
    "text/plain",
    "application/x-www-form-urlencoded",  # what curl says of --data-binary when nobody tells it better
    "application/octet-stream",
    "",
)


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
    """The events of one request body, as received.

    Raises:
        BodyError: the whole body is refused: too large once decompressed, damaged, or of a type nobody reads.
    """
    data = decompress(body, encoding, max_decoded_bytes)
    kind = content_type.partition(";")[0].strip().lower()
    if path in ("/v1/logs", "/v1/traces"):
        if kind not in ("application/x-protobuf", "application/json"):
            raise BodyError(
                415, "content_type", f"expected application/x-protobuf or application/json, got {kind!r}"
            )
        read = otlp.decode_logs if path == "/v1/logs" else otlp.decode_traces
        return read(data, is_json=kind == "application/json", received_at=received_at)
    if kind == ARROW:
        return _arrow(data)
    if kind not in _LINES:
        raise BodyError(415, "content_type", f"expected application/x-ndjson, got {kind!r}")
    if map_name not in BUILT_IN:
        # Only names: a path here would let outsiders have files read.
        raise BodyError(400, "map", f"expected map to be one of {', '.join(BUILT_IN)}, got {map_name[:60]!r}")
    return decode_ndjson(data, load_map(map_name), received_at=received_at)


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its content encoding, never more than ``limit`` bytes of it.

    Raises:
        BodyError: an unknown encoding (415), damage (400), or more than ``limit`` bytes (413).
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    if name == "gzip":
        return _gunzipped(body, limit)
    if name == "zstd":
        return _unzstd(body, limit)
    raise BodyError(415, "encoding", f"expected gzip, zstd or identity, got {name[:40]!r}")


def _gunzipped(body: bytes, limit: int) -> bytes:
    out = bytearray()
    rest = body
    try:
        while rest:  # a gzip body may be several members one after the other
            member = zlib.decompressobj(wbits=31)
            out += member.decompress(rest, limit - len(out) + 1)
            if len(out) > limit:
                raise _too_large(limit)
            if not member.eof:
                raise BodyError(400, "damaged", "the gzip body ends too early")
            rest = member.unused_data
    except zlib.error as error:
        raise BodyError(400, "damaged", f"not a gzip body: {error}") from None
    return bytes(out)


def _unzstd(body: bytes, limit: int) -> bytes:
    out = bytearray()
    try:
        with zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(
            BytesIO(body), read_across_frames=True
        ) as reader:
            while block := reader.read(min(_BLOCK, limit - len(out) + 1)):
                out += block
                if len(out) > limit:
                    raise _too_large(limit)
    except zstandard.ZstdError as error:
        raise BodyError(400, "damaged", f"not a zstd body: {error}") from None
    if body and not out and not _is_empty_frame(body):
        raise BodyError(400, "damaged", "the zstd body ends too early")
    return bytes(out)


def _is_empty_frame(body: bytes) -> bool:
    try:
        return zstandard.frame_content_size(body) == 0
    except zstandard.ZstdError:
        return False


def _too_large(limit: int) -> BodyError:
    return BodyError(413, "too_large", f"expected at most {limit} bytes once decompressed")


def _arrow(data: bytes) -> Decoded:
    try:
        table = pa.ipc.open_stream(pa.BufferReader(data)).read_all().combine_chunks()
    except pa.ArrowInvalid as error:
        raise BodyError(400, "damaged", f"not an Arrow stream: {error}") from None
    batches = table.to_batches()
    if len(batches) != 1:
        raise BodyError(400, "damaged", f"expected one record batch, got {len(batches)}")
    return decode_events(batches[0])
