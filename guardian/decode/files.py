"""Files to events, block by block, in bounded memory: NDJSON, CSV, Parquet and OTLP as JSON lines.

Files may be plain, ``.gz``, ``.zst`` or ``.zip``. Owns formats by file name, transparent decompression and progress. Rows come in stored order; a backtest sorts them
by time, stably.
"""

from __future__ import annotations

import io
import os
import tempfile
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, cast

import pyarrow as pa

from guardian.decode.columns import LATEST, Decoded
from guardian.decode.csvfile import decode_csv
from guardian.decode.draft import tidy
from guardian.decode.lines import BLOCK_BYTES, line_blocks
from guardian.decode.mapfile import load_map
from guardian.decode.mapping import Map
from guardian.decode.ndjson import decode_pieces
from guardian.decode.otlp_json import decode_json_lines
from guardian.decode.parquetfile import decode_parquet
from guardian.errors import InputError, MapError, Problem

FORMATS: Final = ("ndjson", "csv", "parquet", "otlp")
Progress = Callable[[int], None]
"""Told after each block how many bytes of the file on disk have been read."""
Item = tuple[Decoded, pa.Array | None]

_SUFFIXES: Final[dict[str, str]] = {
    ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".log": "ndjson", ".txt": "ndjson", ".csv": "csv",
    ".parquet": "parquet", ".pq": "parquet", ".otlp": "otlp",
}  # fmt: skip
_COMPRESSED: Final = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}


def read(
    path: str | os.PathLike[str],
    *,
    map: str | os.PathLike[str] | Map | None = None,  # noqa: A002  (the public name; nothing here calls the builtin)
    format: str | None = None,  # noqa: A002  (same)
    batch_size: int = 65_536,
) -> Iterator[pa.RecordBatch]:
    """The events of a file as EVENTS record batches, in stored order; labels are left out.

    Args:
        path: NDJSON, CSV, Parquet or OTLP JSON lines; ``.gz``, ``.zst`` and ``.zip`` are opened transparently.
        map: a built-in name, a path to a MAP.toml, or a loaded map. Parquet files that already have the columns of
            EVENTS, and OTLP, need none.
        format: ``ndjson``, ``csv``, ``parquet`` or ``otlp``; none = by the file's name.
        batch_size: most rows in a batch.

    Records that are no events are left out and counted in a ``UserWarning`` at the end.

    Raises:
        InputError: the file cannot be read as what it claims to be.
        MapError: the map is not usable, or one is needed and none was given.
    """
    reasons: Counter[str] = Counter()
    for decoded, _ in read_all(path, map=map, format=format, batch_size=batch_size):
        reasons.update(decoded.reasons)
        if len(decoded.batch):
            yield decoded.batch
    if reasons:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        warnings.warn(f"{path}: records that are no events: {told}", stacklevel=2)


def read_all(
    path: str | os.PathLike[str],
    *,
    map: str | os.PathLike[str] | Map | None = None,  # noqa: A002  (as in read)
    format: str | None = None,  # noqa: A002  (as in read)
    batch_size: int = 65_536,
    progress: Progress | None = None,
) -> Iterator[Item]:
    """As ``read``, with everything that it leaves out: rejects, and the labels of each batch.

    Labels are a string array as long as the batch, empty = benign; None when the map names no label. A ``Decoded``
    accounts for its own block only; sum its ``reasons`` over the file.
    """
    if batch_size < 1:
        raise InputError("batch_size", f"expected at least 1, got {batch_size}")
    mapping = map if isinstance(map, Map) else load_map(map) if map is not None else None
    place = os.fspath(path)
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(Path(path).open("rb"))
            total = os.fstat(raw.fileno()).st_size
            for name, stream in _members(raw, Path(path).name, stack):
                here = place if name == Path(path).name else f"{place}!{name}"
                form = _format_of(name, format, here)
                source = stack.enter_context(_seekable(stream)) if form == "parquet" else stream
                for item in _decode(source, form, mapping, batch_size, here):
                    yield from _sliced(item, batch_size)
                    if progress is not None:
                        progress(min(raw.tell(), total))
            if progress is not None:
                progress(total)
    except (OSError, zlib.error, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(place, _reason(error)) from None


def _members(raw: IO[bytes], name: str, stack: ExitStack) -> Iterator[tuple[str, IO[bytes]]]:
    """The files in a file: every member of a zip in turn, else the one that it is once decompressed."""
    suffix = Path(name).suffix.lower()
    if suffix == ".zip":
        archive = stack.enter_context(zipfile.ZipFile(raw))
        for member in archive.infolist():
            if member.is_dir() or "__MACOSX" in member.filename.split("/"):
                continue
            with archive.open(member) as stream:
                yield from _members(stream, member.filename, stack)
    elif suffix in _COMPRESSED:
        stream = stack.enter_context(
            pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), _COMPRESSED[suffix])
        )
        yield name, stream
    else:
        yield name, raw


def _format_of(name: str, stated: str | None, place: str) -> str:
    if stated is not None:
        if stated not in FORMATS:
            raise InputError(place, f"expected --format to be one of {', '.join(FORMATS)}, got {stated}")
        return stated
    bare = Path(name)
    if bare.suffix.lower() in _COMPRESSED:
        bare = bare.with_suffix("")
    found = _SUFFIXES.get(bare.suffix.lower())
    if found is None:
        raise InputError(place, f"expected a name that ends in {', '.join(_SUFFIXES)}, or --format")
    return found


def _decode(stream: IO[bytes], form: str, mapping: Map | None, batch_size: int, place: str) -> Iterator[Item]:
    if form == "parquet":
        yield from decode_parquet(stream, mapping, LATEST, batch_size, place)
        return
    if form == "otlp":
        yield from ((decoded, None) for decoded in decode_json_lines(_pieces(stream), LATEST))
        return
    if mapping is None:
        raise MapError(place, [Problem("--map", "a map that says what its fields mean", "nothing")])
    if form == "csv":
        yield from decode_csv(line_blocks(_pieces(stream)), mapping, LATEST, place)
        return
    yield from decode_pieces(_pieces(stream), mapping, LATEST)


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(BLOCK_BYTES):
        yield piece


def _seekable(stream: IO[bytes]) -> IO[bytes]:
    """Parquet is read from its end: a compressed stream is copied to a temporary file first."""
    if isinstance(stream, io.BufferedReader):
        return stream
    copy = tempfile.TemporaryFile()  # noqa: SIM115  (the caller closes it)
    for piece in _pieces(stream):
        copy.write(piece)
    copy.seek(0)
    return cast("IO[bytes]", copy)


def _sliced(item: Item, batch_size: int) -> Iterator[Item]:
    """The item in batches of at most ``batch_size`` rows; the rejects stay with the first."""
    decoded, labels = item
    count = len(decoded.batch)
    if count <= batch_size:
        yield item
        return
    for at in range(0, count, batch_size):
        batch = tidy(decoded.batch.slice(at, batch_size))
        part = Decoded(batch, decoded.rejected, decoded.reasons) if not at else Decoded(batch, (), {})
        yield part, None if labels is None else labels.slice(at, batch_size)


def _reason(error: Exception) -> str:
    if isinstance(error, pa.ArrowException):
        return str(error).partition("\n")[0]
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, RuntimeError):  # what zipfile raises for an encrypted member
        return "expected a zip without a password, in a usual compression"
    return f"damaged: {error}"
