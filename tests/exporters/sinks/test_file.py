"""The file sink: whole lines, on disk before they count, whatever is torn, full, moved away or deleted."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from exporters.sinks import file as module
from exporters.sinks.file import FileSink
from guardian.errors import MachineError, RetryError


def items(*names: str) -> list[dict[str, Any]]:
    return [{"metadata": {"uid": name}} for name in names]


def names(path: Path) -> list[str]:
    return [json.loads(line)["metadata"]["uid"] for line in path.read_text().splitlines()]


async def test_lines_are_appended_and_the_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.jsonl"
    for batch in (("a", "línea\nnueva"), ("c",)):
        sink = FileSink(path)
        await sink.write(items(*batch))
        await sink.close()
    assert names(path) == ["a", "línea\nnueva", "c"]
    assert path.stat().st_mode & 0o007 == 0, "alerts name people: not everybody may read them"


@pytest.mark.parametrize("torn", [b"{", b'{"metadata":{"uid":"torn' + b"x" * 200_000])
@pytest.mark.parametrize("before", [(), ("a", "b")])
async def test_a_torn_line_is_cut_before_more_is_written(
    tmp_path: Path, torn: bytes, before: tuple[str, ...]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(b'{"metadata":{"uid":"%s"}}\n' % name.encode() for name in before) + torn)
    sink = FileSink(path)
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
    sink = FileSink(tmp_path / "a.jsonl")
    await sink.write(items("a", "b"))
    assert done == ["write", "fdatasync"]
    await sink.close()


@pytest.mark.parametrize("broken", ["write", "fdatasync"])
async def test_a_full_disk_leaves_no_half_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "a.jsonl"
    sink = FileSink(path)
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
    sink = FileSink(path)
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
    sink = FileSink(path)
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
    sink = FileSink(tmp_path / "a.jsonl")
    with pytest.raises(MachineError, match="another sink or process writes it"):
        FileSink(tmp_path / "a.jsonl")
    await sink.close()
    again = FileSink(tmp_path / "a.jsonl")
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
            FileSink(path)


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
    sink = FileSink(tmp_path / "a.jsonl")
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
