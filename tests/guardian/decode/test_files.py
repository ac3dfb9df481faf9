"""Files: formats, wrappers, batches, and public data sets where they are at hand."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import guardian
from guardian.decode import read_all
from guardian.errors import InputError, MapError

LINES = b"".join(
    b'{"timestamp":"2023-11-14T22:00:%02dZ","action":"a%d","user_id":"u"}\n' % (i, i) for i in range(50)
)


def kinds(path: Path, **options: object) -> list[str]:
    found: list[str] = []
    for batch in guardian.read(path, **options):  # type: ignore[arg-type]
        found += batch.column("kind").to_pylist()
    return found


EXPECTED = [f"a{i}" for i in range(50)]


def test_wrappers(tmp_path: Path) -> None:
    (tmp_path / "e.ndjson").write_bytes(LINES)
    (tmp_path / "e.ndjson.gz").write_bytes(gzip.compress(LINES))
    (tmp_path / "e.ndjson.zst").write_bytes(zstandard.compress(LINES))
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("__MACOSX/e.json", b"junk")
        archive.writestr("one.json", LINES)
        archive.writestr("more/two.json", LINES)
    for name in ("e.ndjson", "e.ndjson.gz", "e.ndjson.zst"):
        assert kinds(tmp_path / name, map="tamv", batch_size=7) == EXPECTED
    assert kinds(tmp_path / "e.zip", map="tamv") == EXPECTED * 2


def test_csv_and_parquet_through_a_map(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "time": [1642213952.5, 1642213953.0],
            "name": ['say "hi", all', "B"],
            "ip": ["1.1.1.1", None],
            "host": ["h", "h"],
            "event_label": ["-", "scan"],
            "short": ["x\n", "y"],
            "n": [1, None],
        }
    )
    frame.write_csv(tmp_path / "a.csv")
    frame.write_parquet(tmp_path / "a.parquet")
    results = []
    for name in ("a.csv", "a.parquet"):
        ((decoded, labels),) = list(read_all(tmp_path / name, map="ait-ads"))
        assert not decoded.reasons
        assert labels is not None
        assert labels.to_pylist() == ["", "scan"]
        batch = decoded.batch
        assert batch.column("ts").cast(pa.int64()).to_pylist() == [
            1_642_213_952_500_000_000,
            1_642_213_953_000_000_000,
        ]
        assert batch.column("address").to_pylist() == ["1.1.1.1", ""]
        results.append((batch.column("kind").to_pylist(), batch.column("attrs").to_pylist()))
    assert results[0][0] == results[1][0] == ['say "hi", all', "B"]
    assert results[1][1] == ['{"short":"x\\n","n":1}', '{"short":"y","n":null}']


def test_a_parquet_file_of_events_needs_no_map(tmp_path: Path) -> None:
    (tmp_path / "e.ndjson").write_bytes(LINES)
    table = pa.Table.from_batches(list(guardian.read(tmp_path / "e.ndjson", map="tamv")))
    pq.write_table(table, tmp_path / "e.parquet")
    again = pa.Table.from_batches(list(guardian.read(tmp_path / "e.parquet")))
    assert again.column("kind").to_pylist() == EXPECTED


def test_otlp_lines(tmp_path: Path) -> None:
    record = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1700000000000000000","eventName":"e"}]}]}]}'
    (tmp_path / "o.json").write_bytes(record + b"\n{broken\n" + record)
    parts = [part for part, _ in read_all(tmp_path / "o.json", format="otlp")]
    assert [len(part.batch) for part in parts] == [1, 0, 1]
    assert parts[1].rejected[0].line == 2


def test_a_very_long_line_costs_no_memory_and_no_neighbour(tmp_path: Path) -> None:
    file = tmp_path / "long.ndjson"
    file.write_bytes(LINES + b'{"x":"' + b"y" * (12 * 2**20) + b'"}\n' + LINES)
    parts = [part for part, _ in read_all(file, map="tamv")]
    assert sum(len(part.batch) for part in parts) == 100
    assert [each.line for part in parts for each in part.rejected] == [51]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"not parquet")
    (tmp_path / "x.ndjson.gz").write_bytes(b"not gzip")
    (tmp_path / "x.zip").write_bytes(b"not zip")
    (tmp_path / "x.bin").write_bytes(b"")
    (tmp_path / "x.ndjson").write_bytes(LINES)
    for name in ("x.parquet", "x.ndjson.gz", "x.zip", "x.bin", "missing.ndjson"):
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            list(guardian.read(tmp_path / name, map="ait-ads"))
    with pytest.raises(MapError, match="--map: expected a map"):
        list(guardian.read(tmp_path / "x.ndjson"))


def test_progress_is_in_bytes_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson.gz"
    file.write_bytes(gzip.compress(LINES))
    seen: list[int] = []
    list(read_all(file, map="tamv", progress=seen.append))
    assert seen[-1] == file.stat().st_size


def test_public_windows_events_decode(shared_data: Path) -> None:
    files = sorted((shared_data / "otrf").glob("*.zip"))
    assert files
    for file in files:
        good = bad = 0
        for decoded, _ in read_all(file, map="windows"):
            good += len(decoded.batch)
            bad += sum(decoded.reasons.values())
        assert good / (good + bad) >= 0.999, (file.name, good, bad)
