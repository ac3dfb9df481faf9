"""The file sink: whole lines, on disk before they count, once, whatever is torn, full, rotated, deleted or killed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.sinks import file as module
from exporters.sinks.file import FileSink
from guardian.errors import MachineError, PoisonError, RetryError
from guardian.levels import Level
from guardian.ports import Message
from guardian.sink_settings import File
from tests.guardian.sources.test_tail import Reader
from tests.guardian.sources.test_tail import made as tailing


def items(*names: str) -> list[Message]:
    return [
        Message(name, name, 1, Level.HIGH, json.dumps({"id": name}, ensure_ascii=False).encode())
        for name in names
    ]


def sink_at(path: Path, **more: Any) -> FileSink:
    return FileSink(File(name="siem", path=str(path), **more))


def names(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


async def test_lines_are_appended_and_the_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.jsonl"
    for batch in (("a", "línea\nnueva"), ("c",)):
        sink = sink_at(path)
        await sink.write(items(*batch))
        await sink.close()
    assert names(path) == ["a", "línea\nnueva", "c"]
    assert path.stat().st_mode & 0o007 == 0, "alerts name people: not everybody may read them"


@pytest.mark.parametrize("torn", [b"{", b'{"id":"torn' + b"x" * 200_000])
@pytest.mark.parametrize("before", [(), ("a", "b")])
async def test_a_torn_line_is_cut_before_more_is_written(
    tmp_path: Path, torn: bytes, before: tuple[str, ...]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(b'{"id":"%s"}\n' % name.encode() for name in before) + torn)
    sink = sink_at(path)
    await sink.write(items("c"))
    with path.open("ab") as other:
        other.write(torn)
    await sink.write(items("d"))
    await sink.close()
    assert names(path) == [*before, "c", "d"]


async def test_it_is_on_disk_before_write_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    for name in ("write", "fdatasync"):
        real = getattr(os, name)
        monkeypatch.setattr(
            module.os, name, lambda *call, name=name, real=real: (done.append(name), real(*call))[1]
        )
    sink = sink_at(tmp_path / "a.jsonl")
    await sink.write(items("a", "b"))
    assert done == ["write", "fdatasync"]
    await sink.close()


@pytest.mark.parametrize("broken", ["write", "fdatasync"])
async def test_a_full_disk_leaves_no_half_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "a.jsonl"
    sink = sink_at(path)
    await sink.write(items("a"))
    real, budget = os.write, [10]

    def full(descriptor: int, data: Any) -> int:
        if not budget[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(descriptor, bytes(data)[: budget[0]])
        budget[0] -= written
        return written

    def failing(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(module.os, broken, full if broken == "write" else failing)
        with pytest.raises(RetryError, match=r"a\.jsonl"):
            await sink.write(items("b", "c"))
    assert names(path) == ["a"]
    await sink.write(items("b", "c"))
    await sink.close()
    assert names(path) == ["a", "b", "c"]


async def test_a_rotated_or_deleted_file_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "a.jsonl"
    sink = sink_at(path)
    await sink.write(items("a"))
    path.rename(path.with_suffix(".1"))
    await sink.write(items("b"))
    path.unlink()
    await sink.write(items("c"))
    path.unlink()
    path.parent.rename(tmp_path / "old")
    await sink.write(items("d"))
    path.write_bytes(b"")  # copytruncate
    await sink.write(items("e"))
    await sink.close()
    assert names(path) == ["e"]
    assert names(tmp_path / "old" / "a.1") == ["a"]


async def test_a_file_that_cannot_be_reopened_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "a.jsonl"
    sink = sink_at(path)
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("in the way")
    with pytest.raises(RetryError):
        await sink.write(items("a"))
    path.parent.unlink()
    await sink.write(items("a"))
    await sink.close()
    assert names(path) == ["a"]


async def test_one_writer_at_a_time(tmp_path: Path) -> None:
    sink = sink_at(tmp_path / "a.jsonl")
    with pytest.raises(MachineError, match="another sink or process writes it"):
        sink_at(tmp_path / "a.jsonl")
    await sink.close()
    again = sink_at(tmp_path / "a.jsonl")
    await again.close()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, why in (
        (tmp_path / "pipe", "not a regular file"),
        (Path("/dev/null"), "not a regular file"),
        (tmp_path, "directory"),
        (Path("/proc/no/a.jsonl"), "cannot be written"),
    ):
        with pytest.raises(MachineError, match=why):
            sink_at(path)


async def test_closing_waits_for_a_write_that_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread of a cancelled write is still at it: its descriptor must not be given to somebody else."""
    entered, go_on = threading.Event(), threading.Event()
    real = os.fdatasync

    def slow(descriptor: int) -> None:
        entered.set()
        go_on.wait()
        real(descriptor)

    monkeypatch.setattr(module.os, "fdatasync", slow)
    sink = sink_at(tmp_path / "a.jsonl")
    writing = asyncio.create_task(sink.write(items("a")))
    await asyncio.to_thread(entered.wait)
    writing.cancel()
    closing = asyncio.create_task(sink.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    go_on.set()
    await closing
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert names(tmp_path / "a.jsonl") == ["a"]


async def test_a_body_of_two_lines_is_refused(tmp_path: Path) -> None:
    sink = sink_at(tmp_path / "a.log")
    two = Message("b", "b", 1, Level.HIGH, b"one\ntwo")
    refused, _ = await sink.write([*items("a"), two, *items("c")])
    await sink.close()
    assert {name: type(error) for name, error in refused.items()} == {"b": PoisonError}
    assert names(tmp_path / "a.log") == ["a", "c"]


class TestRepetitions:
    async def test_what_was_written_before_a_crash_is_left_out(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        sink = sink_at(path)
        await sink.write(items("a"))
        await sink.write(items("b", "c"))
        await sink.close()
        sink = sink_at(path)
        assert await sink.write(items("b", "c", "d")) == ({}, 2)
        assert await sink.write(items("d", "e")) == ({}, 1)
        assert await sink.write([]) == ({}, 0)
        await sink.close()
        assert names(path) == ["a", "b", "c", "d", "e"]

    async def test_what_somebody_deleted_is_written_again(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        sink = sink_at(path)
        await sink.write(items("a"))
        path.unlink()
        assert await sink.write(items("a")) == ({}, 0)
        await sink.close()
        assert names(path) == ["a"]

    async def test_memory_is_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_REMEMBERED", 10)
        sink = sink_at(tmp_path / "a.jsonl")
        for first in range(0, 100, 4):
            await sink.write(items(*map(str, range(first, first + 4))))
        assert len(sink._written) == 10
        assert await sink.write(items(*map(str, range(90, 102)))) == ({}, 10)
        await sink.close()
        assert names(tmp_path / "a.jsonl") == [str(number) for number in range(102)]


def rotated(path: Path) -> list[Path]:
    """Older files, oldest first, and the current one."""
    return [*sorted(path.parent.glob(path.name + ".*")), *([path] if path.exists() else [])]


def all_names(path: Path) -> list[str]:
    return [name for each in rotated(path) for name in names(each)]


class Follower:
    """A reader as the module describes it: to the end of a file, then to the next one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("rb")
        self.seen: list[str] = []

    def poll(self) -> None:
        while True:
            mine = os.fstat(self.file.fileno()).st_ino
            follows = rotated(self.path)
            number = [each.stat().st_ino for each in follows].index(mine)
            self.seen += [json.loads(line)["id"] for line in self.file]
            if number == len(follows) - 1:
                return
            self.file.close()
            self.file = follows[number + 1].open("rb")


class TestRotation:
    async def test_a_full_file_is_renamed_and_the_newest_are_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        foreign = ["a.jsonl.1", "a.jsonl.000001.gz", "a.jsonl.0000001", "b.jsonl.000009"]
        for name in foreign:
            (tmp_path / name).write_text("")
        sink = sink_at(path, rotate_bytes=30, keep=2)
        for name in "abcdefghij":
            await sink.write(items(name))
        await sink.close()
        kept = [tmp_path / "a.jsonl.000002", tmp_path / "a.jsonl.000003", path]
        assert ["".join(names(each)) for each in kept] == ["def", "ghi", "j"]
        assert not (tmp_path / "a.jsonl.000001").exists()
        assert all((tmp_path / name).exists() for name in foreign), "what is not ours stays"

    async def test_numbers_go_on_after_a_start(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        for name in "abcd":
            sink = sink_at(path, rotate_bytes=1024, keep=5)
            sink._settings = File(name="siem", path=str(path), rotate_bytes=1, keep=5)
            await sink.write(items(name))
            await sink.close()
        assert [each.name for each in rotated(path)] == [
            "a.jsonl.000001",
            "a.jsonl.000002",
            "a.jsonl.000003",
            "a.jsonl",
        ]
        assert all_names(path) == list("abcd")

    async def test_an_old_file_that_cannot_be_removed_stops_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        sink = sink_at(tmp_path / "a.jsonl", rotate_bytes=1, keep=1)
        with monkeypatch.context() as patch:
            patch.setattr(module.os, "unlink", refuse)
            for name in "abcd":
                await sink.write(items(name))
        assert len(rotated(tmp_path / "a.jsonl")) == 4
        await sink.write(items("e"))
        await sink.close()
        assert all_names(tmp_path / "a.jsonl") == ["d", "e"]

    @settings(max_examples=30)
    @given(script=st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=60))
    def test_a_reader_that_follows_sees_each_line_once(
        self, tmp_path_factory: pytest.TempPathFactory, script: list[tuple[int, bool]]
    ) -> None:
        path = tmp_path_factory.mktemp("tail") / "a.jsonl"
        sink = sink_at(path, rotate_bytes=40, keep=1000)
        follower, count = Follower(path), 0
        for many, poll in script:
            sink._append([message.body for message in items(*map(str, range(count, count + many)))])
            count += many
            if poll:
                follower.poll()
        follower.poll()
        follower.file.close()
        sink._close()
        assert follower.seen == [str(number) for number in range(count)]

    @settings(max_examples=20)
    @given(script=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=40))
    def test_so_does_a_source_that_tails(
        self, tmp_path_factory: pytest.TempPathFactory, script: list[tuple[int, int]]
    ) -> None:
        folder = tmp_path_factory.mktemp("source")
        path = folder / "a.jsonl"
        sink = sink_at(path, rotate_bytes=40, keep=1000)
        reader, count = Reader(tailing(folder, "a.jsonl", "a.jsonl.0*")), 0
        for many, steps in script:
            sink._append([message.body for message in items(*map(str, range(count, count + many)))])
            count += many
            for _ in range(steps):
                reader.step()
        reader.drain()
        sink._close()
        reader.close()
        seen = sorted(int(json.loads(line)["id"]) for line in reader.lines)
        assert seen == list(range(count))


class Killed(BaseException):
    """Where the process is no more."""


OPERATIONS = ("open", "write", "fdatasync", "fsync", "ftruncate", "rename", "unlink")


@contextmanager
def killed_at(step: int, *, after: bool) -> Iterator[list[str]]:
    """Each operation on files is a step; the process ends before one, or after it. A write may end in the middle."""
    done: list[str] = []
    opened: list[int] = []
    real = {name: getattr(os, name) for name in OPERATIONS}

    def operation(name: str) -> Any:
        def run(*arguments: Any, **more: Any) -> Any:
            done.append(name)
            if len(done) == step and not after:
                if name == "write":
                    real["write"](arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                raise Killed
            result = real[name](*arguments, **more)
            if name == "open":
                opened.append(result)
            if len(done) == step:
                raise Killed
            return result

        return run

    for name in OPERATIONS:
        setattr(os, name, operation(name))
    try:
        yield done
    finally:
        for name in OPERATIONS:
            setattr(os, name, real[name])
        for descriptor in opened:
            with suppress(OSError):
                os.close(descriptor)


class TestKills:
    @pytest.mark.parametrize("after", [False, True])
    def test_between_any_two_steps(self, tmp_path: Path, after: bool) -> None:
        """Killed at each step of some batches, and again at each step of what follows; each line is there once."""
        step, hit = 0, True
        while hit:
            step, hit = step + 1, False
            path = tmp_path / f"{step}" / "a.jsonl"
            batches = [[f"{number}{letter}" for letter in "xyz"] for number in range(4)]
            owed = list(batches)
            for last in (False, False, True):
                with killed_at(0 if last else step, after=after) as done, suppress(Killed):
                    sink = sink_at(path, rotate_bytes=60, keep=100)
                    while owed:
                        sink._append([message.body for message in items(*owed[0])])
                        owed.pop(0)
                hit |= len(done) == step and not last
            assert not owed
            assert all_names(path) == [name for batch in batches for name in batch]
            assert len(rotated(path)) >= 2
        assert step > 15, "there were as many steps as that"

    @pytest.mark.slow
    def test_by_the_system(self, tmp_path: Path) -> None:
        path, told = tmp_path / "a.jsonl", tmp_path / "told"
        told.write_text("0")
        for kill in range(2):
            before = int(told.read_text())
            child = subprocess.Popen(
                [sys.executable, "-c", CHILD, str(path), str(told)], cwd=Path(__file__).parents[3]
            )
            until = time.monotonic() + 60
            while int(told.read_text() or before) < before + 20 and time.monotonic() < until:
                time.sleep(0.001 * kill)
            child.kill()
            assert child.wait() == -signal.SIGKILL
        sink = sink_at(path, rotate_bytes=2048, keep=10_000)
        first = int(told.read_text())
        sink._append([message.body for message in items(*(f"{first}-{each}" for each in range(10)))])
        sink._close()
        assert all_names(path) == [f"{batch}-{each}" for batch in range(first + 1) for each in range(10)]


CHILD = """
import json, os, sys
from exporters.sinks.file import FileSink
from guardian.sink_settings import File

path, told = sys.argv[1:]
sink = FileSink(File(name="siem", path=path, rotate_bytes=2048, keep=10_000))
number = int(open(told).read())
while True:
    sink._append([json.dumps({"id": f"{number}-{each}"}).encode() for each in range(10)])
    number += 1
    with open(told + ".new", "w") as file:
        file.write(str(number))
    os.rename(told + ".new", told)
"""
