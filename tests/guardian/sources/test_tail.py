"""Files as they grow: every line once, whatever is done to the files and wherever the process ends."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.errors import MapError, StateError
from guardian.source_settings import FileTail
from guardian.sources import FileTailSource
from guardian.sources.tail import BODY_BYTES, _position, _Tail
from tests.guardian.sources.conftest import running, until

Count = Callable[[str, int], None]


def made(folder: Path, *patterns: str, **more: Any) -> FileTail:
    paths = tuple(str(folder / pattern) for pattern in patterns or ("app.log",))
    if "format" not in more:
        more.setdefault("map", "ecs")
    return FileTail(name="files", paths=paths, poll_s=0.01, settle_s=more.pop("settle_s", 1e-9), **more)


class Reader:
    """A source as its caller sees it: each step asks for one delivery and keeps its position."""

    def __init__(self, made: FileTail, count: Count = lambda _reason, _many: None) -> None:
        self._settings, self._count = made, count
        self.durable: bytes | None = None
        self.lines: list[bytes] = []
        self._tail = self._start()

    def _start(self) -> _Tail:
        return _Tail(self._settings, _position("files", self.durable), self._count)

    def step(self) -> bool:
        """Take one delivery."""
        self._tail._look_at = 0.0
        body, position = self._tail.next()
        assert len(body) <= BODY_BYTES
        if body:
            self.durable = position
            self.lines += body.splitlines(keepends=True)
        return bool(body)

    def lose(self) -> None:
        """Take a delivery and die before it is durable."""
        self._tail._look_at = 0.0
        self._tail.next()
        self.restart()

    def restart(self) -> None:
        """Die and start again from the last durable position."""
        self._tail.close()
        self._tail = self._start()

    def drain(self) -> list[bytes]:
        """Take all that there is; several empty looks let changes settle."""
        empty = 0
        while empty < 4:
            empty = 0 if self.step() else empty + 1
        return self.lines

    def close(self) -> None:
        self._tail.close()


@pytest.fixture
def reader(tmp_path: Path, count: Count) -> Iterator[Reader]:
    made_reader = Reader(made(tmp_path), count)
    yield made_reader
    made_reader.close()


def append(path: Path, *lines: str, end: str = "\n") -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(line + end for line in lines))


def compress(path: Path, ending: str = ".gz") -> Path:
    """As gzip and zstd do: a new file beside it, with its times, then the old one goes."""
    to = path.with_name(path.name + ending)
    with pa.CompressedOutputStream(str(to), {".gz": "gzip", ".zst": "zstd"}[ending]) as stream:
        stream.write(path.read_bytes())
    shutil.copystat(path, to)
    path.unlink()
    return to


def copytruncate(path: Path, to: Path) -> None:
    shutil.copyfile(path, to)
    os.truncate(path, 0)


def text(lines: list[bytes]) -> list[str]:
    return [line.decode().rstrip("\n") for line in lines]


class TestOneFile:
    def test_whole_lines_only(self, reader: Reader, tmp_path: Path) -> None:
        assert reader.drain() == [], "no file is no error"
        log = tmp_path / "app.log"
        append(log, "one", "two")
        append(log, "thr", end="")
        assert text(reader.drain()) == ["one", "two"]
        append(log, "ee")
        assert text(reader.drain()) == ["one", "two", "three"]

    def test_pieces_are_whole_lines_too(self, reader: Reader, tmp_path: Path) -> None:
        lines = [f"{number} " + "x" * 997 for number in range(3000)]
        append(tmp_path / "app.log", *lines)
        steps = 0
        while reader.step():
            steps += 1
            reader.restart()
        assert steps == 3
        assert text(reader.lines) == lines

    def test_a_line_without_end_is_passed_over_and_counted(
        self, reader: Reader, tmp_path: Path, counted: Counter[str]
    ) -> None:
        log = tmp_path / "app.log"
        append(log, "before", "x" * (3 * BODY_BYTES + 5), "between", "y" * (BODY_BYTES - 1), "after")
        assert text(reader.drain()) == ["before", "between", "y" * (BODY_BYTES - 1), "after"]
        assert counted == {"line_too_long": 1}
        append(log, "z" * (2 * BODY_BYTES), end="")
        reader.drain()
        append(log, "z", "end")
        assert text(reader.drain())[-1] == "end"
        assert counted == {"line_too_long": 2}

    def test_truncation_begins_anew(self, reader: Reader, tmp_path: Path) -> None:
        log = tmp_path / "app.log"
        append(log, "one", "two")
        reader.drain()
        log.write_text("three\n")
        assert text(reader.drain()) == ["one", "two", "three"]
        log.write_text("one\ntwo\nfour\nfive\n")  # longer than before, between two looks
        assert text(reader.drain())[3:] == ["one", "two", "four", "five"]

    def test_another_file_under_the_same_inode(self, reader: Reader, tmp_path: Path) -> None:
        log = tmp_path / "app.log"
        append(log, *(f"old {number}" for number in range(100)))
        reader.drain()
        reader.restart()
        inode = log.stat().st_ino
        with log.open(
            "r+b"
        ) as file:  # what a reused inode looks like: same number, other content, not shorter
            file.write(b"".join(b"new %d\n" % number for number in range(200)))
        assert log.stat().st_ino == inode
        assert text(reader.drain())[100:] == [f"new {number}" for number in range(200)]

    def test_from_its_end(self, tmp_path: Path) -> None:
        log = tmp_path / "app.log"
        append(log, "old", "ol", end="")
        reader = Reader(made(tmp_path, "*.log", start="end"))
        reader.drain()
        append(log, "d\nnew\n", end="")
        append(tmp_path / "later.log", "all of it")
        assert sorted(text(reader.drain())) == ["all of it", "new"]
        reader.close()


ROTATIONS: dict[str, Callable[[Path], Any]] = {
    "rename": lambda log: log.rename(f"{log}.1"),
    "rename by date": lambda log: log.rename(log.with_name("app-2024-10-11.log")),
    "copytruncate": lambda log: copytruncate(log, Path(f"{log}.1")),
    "gz": lambda log: compress(log.rename(f"{log}.1")),
    "zst": lambda log: compress(log.rename(f"{log}.1"), ".zst"),
    "copy and gz": lambda log: (copytruncate(log, Path(f"{log}.1")), compress(Path(f"{log}.1"))),
    "twice": lambda log: (log.rename(f"{log}.2"), append(log, "between"), log.rename(f"{log}.1")),
    "twice by copy": lambda log: (
        copytruncate(log, Path(f"{log}.2")),
        append(log, "between"),
        copytruncate(log, Path(f"{log}.1")),
    ),
    "twice and gz": lambda log: (
        compress(log.rename(f"{log}.2")),
        append(log, "between"),
        compress(log.rename(f"{log}.1")),
    ),
}


@pytest.mark.parametrize("pattern", ["app.log", "app*"])
@pytest.mark.parametrize("down", [True, False])
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_rotation(rotation: str, down: bool, pattern: str, tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    reader = Reader(made(tmp_path, pattern))
    append(log, "one", "two")
    reader.drain()
    append(log, "three")  # not read before the rotation
    append(log, "four, without an end", end="")
    if down:
        reader.restart()
    ROTATIONS[rotation](log)
    append(log, "five")
    between = ["between"] if "twice" in rotation else []
    expected = ["one", "two", "three", "four, without an end", *between, "five"]
    append(log, "six")
    found = text(reader.drain())
    assert sorted(found) == sorted([*expected, "six"]), rotation
    assert found.index("three") < found.index("five"), "what was rotated away comes first"
    for _ in range(3):
        reader.restart()
        reader.drain()
    assert len(reader.lines) == len(found), "nothing comes twice"
    reader.close()


def test_a_writer_that_still_writes_to_the_rotated_file(reader: Reader, tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    append(log, "one")
    reader.drain()
    log.rename(tmp_path / "app.log.1")
    append(log, "new one")
    reader.drain()
    append(tmp_path / "app.log.1", "late")
    assert text(reader.drain()) == ["one", "new one", "late"]


def test_a_deleted_file_is_read_to_its_end(reader: Reader, tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    append(log, "one")
    reader.drain()
    append(log, "two")
    log.unlink()
    append(log, "three")
    assert sorted(text(reader.drain())) == ["one", "three", "two"]
    assert len(json.loads(reader.durable or b"")["files"]) <= 2
    append(log, "four")
    reader.drain()
    assert len(json.loads(reader.durable or b"")["files"]) == 1, "what is gone is forgotten"


def test_files_that_only_begin_alike(tmp_path: Path) -> None:
    """A common first line makes no file a copy of another for good."""
    reader = Reader(made(tmp_path, "*.log"))
    header = "time,user,action," + "x" * 2000
    append(tmp_path / "a.log", header, "a1")
    reader.drain()
    append(tmp_path / "b.log", header, "b1")
    append(tmp_path / "c.log", header)
    reader.drain()
    append(tmp_path / "c.log", "c1")
    found = text(reader.drain())
    reader.close()
    assert sorted(line for line in found if line != header) == ["a1", "b1", "c1"]
    assert found.count(header) == 3


def test_old_archives_are_left_alone(tmp_path: Path) -> None:
    for number, word in ((1, "old"), (2, "ancient")):
        append(tmp_path / f"app.log.{number}", word)
        os.utime(tmp_path / f"app.log.{number}", (1_600_000_000, 1_600_000_000))
    compress(tmp_path / "app.log.2")
    reader = Reader(made(tmp_path))
    append(tmp_path / "app.log", "new")
    reader.drain()
    reader.restart()
    assert text(reader.drain()) == ["new"]
    reader.close()


def test_a_broken_archive_is_counted_and_left(reader: Reader, tmp_path: Path, counted: Counter[str]) -> None:
    log = tmp_path / "app.log"
    lines = [f"{number} {os.urandom(8).hex()}" for number in range(3000)]
    append(log, *lines[:1000])
    reader.drain()
    append(log, *lines[1000:])
    reader.restart()
    archive = compress(log.rename(tmp_path / "app.log.1"))
    os.truncate(archive, archive.stat().st_size - 100)
    append(log, "next")
    found = text(reader.drain())
    assert found[:1000] == lines[:1000]
    assert found[-1] == "next"
    assert counted["broken_archive"] == 1
    reader.restart()
    assert len(reader.drain()) == len(found)


def test_an_archive_that_is_still_being_written(tmp_path: Path, count: Count, counted: Counter[str]) -> None:
    reader = Reader(made(tmp_path, settle_s=60), count)
    log = tmp_path / "app.log"
    append(log, "first")
    reader.drain()
    log.rename(tmp_path / "app.log.2")
    lines = [f"{number} {os.urandom(8).hex()}" for number in range(9000)]
    whole = gzip.compress("".join(f"{line}\n" for line in lines).encode())
    for part in range(11):
        (tmp_path / "app.log.1.gz").write_bytes(whole[: len(whole) * part // 10])
        reader.drain()
        if part == 5:
            reader.restart()
    assert sorted(text(reader.drain())) == sorted(["first", *lines])
    assert not counted
    reader.close()


@pytest.mark.parametrize("restart", [False, True])
def test_a_copy_that_is_seen_only_after_the_file_holds_something_else(restart: bool, tmp_path: Path) -> None:
    """As when a folder is listed while the copy is being renamed."""
    reader = Reader(made(tmp_path, settle_s=60))
    log = tmp_path / "app.log"
    append(log, "first", "second")
    reader.drain()
    append(log, "third")
    held = log.read_bytes()
    log.write_text("fourth\n")
    reader.drain()
    if restart:
        reader.restart()
    (tmp_path / "app.log.1").write_bytes(held)
    assert text(reader.drain()) == ["first", "second", "fourth", "third"]
    reader.close()


def test_files_past_the_limit_wait_and_are_counted(
    tmp_path: Path, count: Count, counted: Counter[str]
) -> None:
    reader = Reader(made(tmp_path, "*.log", max_files=2), count)
    for name in "abc":
        append(tmp_path / f"{name}.log", name)
    assert sorted(text(reader.drain())) == ["a", "b"]
    assert counted == {"too_many_files": 1}
    (tmp_path / "a.log").unlink()
    assert sorted(text(reader.drain())) == ["a", "b", "c"]
    reader.close()


def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "folder.log").mkdir()
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "empty.log").touch()
    (tmp_path / "loop.log").symlink_to(tmp_path / "loop.log")
    append(tmp_path / "real", "x")
    (tmp_path / "link.log").symlink_to(tmp_path / "real")
    reader = Reader(made(tmp_path, "*.log"))
    assert text(reader.drain()) == ["x"]
    reader.close()


STEPS = st.lists(
    st.sampled_from(
        [
            "write",
            "write",
            "part",
            "step",
            "step",
            "drain",
            "restart",
            "lose",
            "rename",
            "copy",
            "gz",
            "zst",
            "delete",
        ]
    ),
    max_size=25,
)


@settings(max_examples=200)
@given(steps=STEPS, pattern=st.sampled_from(["app.log", "app.log*"]))
def test_every_line_once(steps: list[str], pattern: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever happens to the files, at whatever moment the process dies."""
    folder = tmp_path_factory.mktemp("logs")
    log = folder / "app.log"
    numbers = itertools.count()
    written: list[str] = []
    reader = Reader(made(folder, pattern))

    def rotate() -> Path | None:
        """Make room for app.log.1, and say what it is called if there is a file to rotate."""
        if not log.exists() or not log.stat().st_size:
            return None
        if log.read_bytes()[-1:] != b"\n":
            append(log, "")
        for age in range(8, 0, -1):
            for ending in ("", ".gz", ".zst"):
                old = folder / f"app.log.{age}{ending}"
                if old.exists():
                    old.rename(folder / f"app.log.{age + 1}{ending}")
        return folder / "app.log.1"

    for step in ["write", "step", *steps]:
        if step in {"write", "part"}:
            for _ in range(3):
                line = f"line {next(numbers)}"
                if log.exists() and log.stat().st_size and log.read_bytes()[-1:] != b"\n":
                    written[-1] += line
                else:
                    written.append(line)
                append(log, line, end="" if step == "part" else "\n")
        elif step == "rename" and (to := rotate()):
            log.rename(to)
        elif step == "copy" and (to := rotate()):
            copytruncate(log, to)
        elif step in {"gz", "zst"}:
            for path in sorted(folder.glob("app.log.?")):
                compress(path, f".{step}")
        elif step == "delete":
            reader.drain()
            for path in sorted(folder.glob("app.log.*")):
                path.unlink()
        elif step in {"step", "drain", "restart", "lose"}:
            getattr(reader, step)()
    if log.exists() and log.read_bytes()[-1:] not in {b"", b"\n"}:
        append(log, "")
    found = text(reader.drain())
    reader.close()
    assert sorted(found) == sorted(written)


class TestSource:
    async def test_deliveries_and_positions(self, tmp_path: Path, count: Count) -> None:
        log = tmp_path / "app.log"
        append(log, '{"a":1}', '{"a":2}')
        source = FileTailSource(made(tmp_path), count)
        async with running(source) as run:
            await until(lambda: len(run.records) == 1)
            append(log, '{"a":3}')
            await until(lambda: len(run.records) == 2)
        first, second = run.records
        assert (first.path, first.content_type, first.map_name) == (
            "/api/v1/events",
            "application/x-ndjson",
            "ecs",
        )
        assert first.body + second.body == log.read_bytes()
        async with running(source, first.position) as again:
            await until(lambda: len(again.records) == 1)
        assert again.records[0].body == second.body

    async def test_the_end_is_a_position_too(self, tmp_path: Path, count: Count) -> None:
        log = tmp_path / "app.log"
        append(log, "old")
        source = FileTailSource(made(tmp_path, format="text", start="end"), count)
        async with running(source) as run:
            await until(lambda: len(run.records) == 1)
        assert run.records[0].body == b""
        append(log, "while it was down")
        async with running(source, run.records[0].position) as run:
            await until(lambda: len(run.records) == 1)
        assert run.bodies() == ["while it was down"]

    async def test_formats(self, tmp_path: Path, count: Count) -> None:
        append(
            tmp_path / "app.log",
            "Oct 11 22:14:15 web1 sshd[1]: Failed password for bob from 192.0.2.4 port 1 ssh2",
        )
        for form, source_name, actor in (("syslog", "sshd", "bob"), ("text", "files", "")):
            source = FileTailSource(made(tmp_path, format=form, host="me"), count)
            async with running(source) as run:
                await until(lambda run=run: len(run.records) == 1)
            assert run.column(run.records[0], "source") == [source_name]
            assert run.column(run.records[0], "actor") == [actor]
            assert run.column(run.records[0], "target") == ["web1" if form == "syslog" else "me"]

    async def test_closing_in_the_middle_of_reading(self, tmp_path: Path, count: Count) -> None:
        append(tmp_path / "app.log", *("x" * 1000 for _ in range(2000)))
        source = FileTailSource(made(tmp_path), count)
        for _ in range(5):
            task = asyncio.ensure_future(anext(deliveries := source.deliveries(None)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await deliveries.aclose()
        open_files = [str(fd.resolve()) for fd in Path("/proc/self/fd").iterdir()]
        assert str(tmp_path / "app.log") not in open_files

    async def test_what_is_no_position_and_what_is_no_map(self, tmp_path: Path, count: Count) -> None:
        with pytest.raises(StateError, match="source files: its position"):
            await anext(FileTailSource(made(tmp_path), count).deliveries(b"\xff"))
        with pytest.raises(MapError):
            FileTailSource(made(tmp_path, map="nothing"), count)


def test_gzip_of_several_members(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    reader = Reader(made(tmp_path))
    append(log, "one")
    reader.drain()
    append(log, "two", "three")
    reader.restart()
    data = log.read_bytes()
    (tmp_path / "app.log.1.gz").write_bytes(gzip.compress(data[:5]) + gzip.compress(data[5:]))
    log.unlink()
    assert text(reader.drain()) == ["one", "two", "three"]
    reader.close()
