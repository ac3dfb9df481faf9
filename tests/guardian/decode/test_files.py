"""Files: formats, wrappers, batches, and public data sets where they are at hand."""

from __future__ import annotations

import gzip
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

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


def kinds(path: Path, *, warns: str = "", **options: Any) -> list[str]:
    found: list[str] = []
    with pytest.warns(UserWarning, match=warns) if warns else nullcontext():
        for batch in guardian.read(path, **options):
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
    assert results[0][1] == ['{"short":"x\\n","n":"1"}', '{"ip":"","short":"y","n":""}']
    assert results[1][1] == ['{"short":"x\\n","n":1}', '{"short":"y"}']


def test_a_parquet_file_of_events_needs_no_map(tmp_path: Path) -> None:
    (tmp_path / "e.ndjson").write_bytes(LINES)
    table = pa.Table.from_batches(list(guardian.read(tmp_path / "e.ndjson", map="tamv")))
    pq.write_table(table, tmp_path / "e.parquet")
    again = pa.Table.from_batches(list(guardian.read(tmp_path / "e.parquet")))
    assert again.column("kind").to_pylist() == EXPECTED


def test_otlp_lines(tmp_path: Path) -> None:
    record = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1700000000000000000","eventName":"e"}]}]}]}'
    (tmp_path / "o.json").write_bytes(record + b"\n{broken\n" + record)
    assert kinds(tmp_path / "o.json", format="otlp", warns="1 not_json") == ["e", "e"]
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
    (tmp_path / "short.ndjson.gz").write_bytes(gzip.compress(LINES)[:-9])
    (tmp_path / "short.ndjson.zst").write_bytes(zstandard.compress(LINES)[:-2])
    (tmp_path / "x.csv").write_bytes(b"a,b\n1,2\n")
    with zipfile.ZipFile(tmp_path / "pcap.zip", "w") as archive:
        archive.writestr("a.pcap", b"")
    (tmp_path / "x.ndjson").write_bytes(LINES)
    for name in (
        "x.parquet",
        "x.ndjson.gz",
        "x.zip",
        "x.bin",
        "short.ndjson.gz",
        "short.ndjson.zst",
        "x.csv",
        "pcap.zip",
        "missing.ndjson",
    ):
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            list(guardian.read(tmp_path / name, map="ait-ads"))
    with pytest.raises(InputError, match="expected --format to be one of ndjson, csv"):
        list(guardian.read(tmp_path / "x.ndjson", map="tamv", format="xml"))
    with pytest.raises(InputError, match="batch_size: expected at least 1"):
        list(guardian.read(tmp_path / "x.ndjson", map="tamv", batch_size=0))
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


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1024])
def test_the_size_of_batches_changes_nothing_else(tmp_path: Path, batch_size: int) -> None:
    file = tmp_path / "e.ndjson"
    file.write_bytes(b"junk\n" + LINES + b'{"timestamp":"x","action":"a"}\n' + LINES)
    parts = list(read_all(file, map="tamv", batch_size=batch_size))
    whole = list(read_all(file, map="tamv"))
    assert all(len(part.batch) <= batch_size for part, _ in parts)
    joined = [pa.Table.from_batches([part.batch for part, _ in some]).to_pylist() for some in (parts, whole)]
    assert str(joined[0]) == str(joined[1])
    rejected = [sum((part.rejected for part, _ in some), ()) for some in (parts, whole)]
    assert rejected[0] == rejected[1]
    assert [each.line for each in rejected[0]] == [1, 52]
    for part, _ in parts:
        kinds_of = part.batch.column("kind")
        assert kinds_of.dictionary.to_pylist() == list(dict.fromkeys(kinds_of.to_pylist()))


def test_a_parquet_file_inside_a_zip(tmp_path: Path) -> None:
    pl.DataFrame({"time": [1642213952.5], "name": ["A"], "event_label": ["-"]}).write_parquet(
        tmp_path / "a.parquet"
    )
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.parquet", "deep/a.parquet")
        archive.writestr("b.ndjson.gz", gzip.compress(b'{"time":1642213952.5,"name":"B"}'))
    assert kinds(tmp_path / "a.zip", map="ait-ads") == ["A", "B"]


def test_public_alerts_have_labels(shared_data: Path) -> None:
    attacks = benign = 0
    for decoded, labels in read_all(shared_data / "ait-ads" / "shaw.parquet", map="ait-ads"):
        assert labels is not None
        assert len(labels) == len(decoded.batch)
        assert not decoded.reasons
        benign += sum(label == "" for label in labels.to_pylist())
        attacks += sum(label != "" for label in labels.to_pylist())
        assert not any("label" in (attrs or "") for attrs in decoded.batch.column("attrs").to_pylist()[:100])
    assert (attacks, benign) == (6061, 64721)
