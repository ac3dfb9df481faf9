"""Files to events: NDJSON, CSV, Parquet and OTLP/JSON lines, plain or as .gz, .zst or .zip, in bounded memory."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import zstandard

from guardian.decode import otlp
from guardian.decode.columns import Decoded, Rejected
from guardian.decode.mapping import Map, load_map
from guardian.decode.ndjson import MAX_LINE, decode_lines
from guardian.decode.tables import decode_events, decode_table, holds_events
from guardian.errors import BodyError, InputError, MapError, Problem, SchemaError

FORMATS: Final = ("ndjson", "csv", "parquet", "otlp")

_ENDINGS: Final = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".log": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_WRAPPERS: Final = (".gz", ".zst", ".zip")
_BLOCK: Final = 2**22

Part = tuple[Decoded, pa.Array | None]


def read(
    path: str | Path,
    *,
    map: str | Path | None = None,  # noqa: A002  (the public name)
    format: str | None = None,  # noqa: A002
    batch_size: int = 65_536,
) -> Iterator[pa.RecordBatch]:
    """The events of a file, in its order, as EVENTS batches; rejected records and labels are left out.

    Args:
        path: the file; ``.gz``, ``.zst`` and ``.zip`` are opened on the way.
        map: a built-in map's name or a MAP.toml; not needed for a Parquet file that holds EVENTS, nor for OTLP.
        format: ``ndjson``, ``csv``, ``parquet`` or ``otlp``; without it, by the name of the file.
        batch_size: events a batch, at most.

    Raises:
        InputError: the file cannot be read as its format.
        MapError: the map is unknown or unusable.
    """
    for decoded, _labels in read_all(path, map=map, format=format, batch_size=batch_size):
        if len(decoded.batch):
            yield decoded.batch


def read_all(
    path: str | Path,
    *,
    map: str | Path | None = None,  # noqa: A002
    format: str | None = None,  # noqa: A002
    batch_size: int = 65_536,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Part]:
    """As ``read``, with what was rejected, and with the labels when the map has some.

    ``progress`` is told how many bytes of the file on disk have been read.
    """
    file = Path(path)
    mapping = None if map is None else load_map(map)
    with _opened(file, progress) as members:
        for name, stream in members:
            kind = format or _format_of(name)
            if kind not in FORMATS:
                raise InputError(
                    str(file), f"expected a format of {', '.join(FORMATS)}; say which with --format"
                )
            try:
                if kind == "parquet":
                    yield from _parquet(stream, file, mapping, batch_size)
                elif kind == "csv":
                    yield from _csv(stream, _needed(mapping, file), batch_size)
                elif kind == "otlp":
                    yield from _otlp(stream)
                else:
                    yield from _ndjson(stream, _needed(mapping, file), batch_size)
            except (
                pa.ArrowInvalid,
                pa.ArrowTypeError,
                OSError,
                EOFError,
                zlib.error,
                zstandard.ZstdError,
            ) as error:
                raise InputError(str(file), f"cannot be read as {kind}: {error}") from None
            except zipfile.BadZipFile as error:
                raise InputError(str(file), f"damaged zip: {error}") from None
            except SchemaError as error:
                raise InputError(str(file), str(error)) from None


def _needed(mapping: Map | None, file: Path) -> Map:
    if mapping is None:
        raise MapError(str(file), [Problem("--map", "a map that says what its fields mean", "nothing")])
    return mapping


def _format_of(name: str) -> str:
    suffixes = [suffix.lower() for suffix in Path(name).suffixes if suffix.lower() not in _WRAPPERS]
    return _ENDINGS.get(suffixes[-1], "") if suffixes else ""


@contextmanager
def _opened(file: Path, progress: Callable[[int], None] | None) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    try:
        raw: IO[bytes] = _Counted(file.open("rb"), progress) if progress else file.open("rb")
    except OSError as error:
        raise InputError(str(file), error.strerror or "cannot be opened") from None
    with raw:
        yield _members(file, raw)


def _members(file: Path, raw: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    suffix = file.suffix.lower()
    if suffix == ".gz":
        with gzip.GzipFile(fileobj=raw) as stream:
            yield file.name, stream  # type: ignore[misc]  # GzipFile is an IO[bytes] in all that is used here
    elif suffix == ".zst":
        with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as reader:
            yield file.name, io.BufferedReader(reader)
    elif suffix == ".zip":
        try:
            with zipfile.ZipFile(raw) as archive:
                for member in archive.infolist():
                    if not member.is_dir() and "__MACOSX" not in member.filename:
                        with archive.open(member) as stream:
                            yield member.filename, stream
        except zipfile.BadZipFile as error:
            raise InputError(str(file), f"not a zip file: {error}") from None
    else:
        yield file.name, raw


class _Counted(io.BufferedReader):
    """A file that tells how far it has been read."""

    def __init__(self, raw: IO[bytes], progress: Callable[[int], None]) -> None:
        super().__init__(raw)  # type: ignore[arg-type]  # any binary file will do
        self._progress = progress

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        self._progress(self.tell())
        return block


def _ndjson(stream: IO[bytes], mapping: Map, batch_size: int) -> Iterator[Part]:
    first = 1
    for lines in _lines(stream, batch_size):
        yield decode_lines(lines, mapping, first_line=first, received_at=None)
        first += len(lines)


def _lines(stream: IO[bytes], count: int) -> Iterator[list[bytes]]:
    """Lines, ``count`` at a time; of a line past the cap only as much is kept as is needed to refuse it."""
    pending: list[bytes] = []
    rest = b""
    while block := stream.read(_BLOCK):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if len(rest) > MAX_LINE:
            rest = rest[: MAX_LINE + 1]
        pending += lines
        while len(pending) >= count:
            yield pending[:count]
            del pending[:count]
    if rest:
        pending.append(rest)
    for start in range(0, len(pending), count):
        yield pending[start : start + count]


def _parquet(stream: IO[bytes], file: Path, mapping: Map | None, batch_size: int) -> Iterator[Part]:
    source: Any = stream if stream.seekable() else io.BytesIO(stream.read())
    first = 1
    with pq.ParquetFile(source) as parquet:
        plain = mapping is None and holds_events(parquet.schema_arrow)
        for batch in parquet.iter_batches(batch_size):
            if plain:
                yield decode_events(batch), None
            else:
                yield decode_table(batch, _needed(mapping, file), first_line=first)
            first += len(batch)


def _csv(stream: IO[bytes], mapping: Map, batch_size: int) -> Iterator[Part]:
    # All columns as texts: a column that begins with numbers may go on with words.
    head = stream.readline()
    names = next(csv.reader([head.decode("utf-8-sig", "replace").rstrip("\r\n")]), [])
    options = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
    )
    reading = pyarrow.csv.ReadOptions(column_names=names)
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
    body = stream.read()
    if not body.strip():
        return
    first = 2
    for chunk in pyarrow.csv.open_csv(io.BytesIO(body), reading, parsing, options):
        for start in range(0, len(chunk), batch_size):
            part = chunk.slice(start, batch_size)
            yield decode_table(part, mapping, first_line=first)
            first += len(part)


def _otlp(stream: IO[bytes]) -> Iterator[Part]:
    """OTLP/JSON, one request a line, as the collector's file exporter writes it."""
    number = 0
    for lines in _lines(stream, 64):
        for line in lines:
            number += 1
            if not line.strip():
                continue
            try:
                what = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
                read = otlp.decode_traces if "resourceSpans" in what else otlp.decode_logs
                yield read(line, is_json=True, received_at=2**62), None
            except (BodyError, msgspec.DecodeError, msgspec.ValidationError) as error:
                yield Decoded(_NOTHING, (Rejected(number, "not_otlp", str(error)),), {"not_otlp": 1}), None


def _nothing() -> pa.RecordBatch:
    from guardian.decode.columns import batch_of

    return batch_of(0, {"ts": pa.array([], pa.timestamp("ns", tz="UTC"))})


_NOTHING: Final = _nothing()
