"""The journal: nothing acknowledged is lost, whatever breaks and whenever."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.config import Journal as Settings
from guardian.errors import JournalError, JournalFullError, MachineError
from guardian.journal import Files, Journal, Record


def record(body: bytes, at: int = 5) -> Record:
    return Record("/api/v1/events", "application/x-ndjson", "gzip", "tamv", at, body)


def filled(folder: Path, bodies: list[bytes], config: Settings | None = None) -> None:
    journal = Journal(folder, config or Settings())
    for body in bodies:
        journal.submit(record(body)).result(10)
    journal.close()


def bodies_in(folder: Path, after: int = 0) -> list[bytes]:
    journal = Journal(folder, Settings())
    try:
        return [each.body for _, each in journal.replay(after)]
    finally:
        journal.close()


def test_what_was_appended_comes_back_in_order(tmp_path: Path) -> None:
    filled(tmp_path, [b"a", b"", b"c" * 100_000])
    journal = Journal(tmp_path, Settings())
    found = list(journal.replay(1))
    assert [seq for seq, _ in found] == [2, 3]
    assert found[1][1] == record(b"c" * 100_000)
    assert journal.submit(record(b"d")).result(10) == 4
    journal.close()
    assert journal.damage == []


def test_segments_are_trimmed_only_behind_the_cursor(tmp_path: Path) -> None:
    config = Settings(segment_bytes=1024)
    filled(tmp_path, [bytes([i]) * 600 for i in range(10)], config)
    journal = Journal(tmp_path, config)
    before = journal.used_bytes
    journal.trim(4)
    assert journal.used_bytes < before
    assert [seq for seq, _ in journal.replay(4)] == [5, 6, 7, 8, 9, 10]
    journal.trim(10)
    journal.close()
    again = Journal(tmp_path, config, after=10)
    assert again.next_seq == 11
    again.close()


def test_numbers_are_never_given_twice(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Settings(), after=41)
    assert journal.submit(record(b"x")).result(10) == 42
    journal.close()


def test_a_full_journal_says_so_and_takes_more_once_trimmed(tmp_path: Path) -> None:
    config = Settings(segment_bytes=1024, max_bytes=4096)
    journal = Journal(tmp_path, config)
    for _ in range(5):
        journal.submit(record(b"x" * 700)).result(10)
    with pytest.raises(JournalFullError, match="retry in 2 s"):
        journal.submit(record(b"x" * 700))
    taken = journal.next_seq - 1
    journal.trim(taken)
    journal.submit(record(b"y" * 700)).result(10)
    journal.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Settings())
    with pytest.raises(MachineError, match="another Guardian uses this data folder"):
        Journal(tmp_path, Settings())
    journal.close()
    with pytest.raises(MachineError, match="cannot be written"):
        Journal(Path("/proc/nowhere/journal"), Settings())


@settings(max_examples=60)
@given(cut=st.integers(0, 10_000), junk=st.binary(max_size=40))
def test_a_torn_tail_is_cut(tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes) -> None:
    folder = tmp_path_factory.mktemp("torn")
    filled(folder, [b"one", b"two" * 50, b"three"])
    (segment,) = folder.glob("*.journal")
    whole = segment.read_bytes()
    size = cut % (len(whole) + 1)
    segment.write_bytes(whole[:size] + junk)
    found = bodies_in(folder)
    assert found == [b"one", b"two" * 50, b"three"][: len(found)]
    assert bodies_in(folder) == found, "recovering twice changes nothing"
    filled(folder, [b"after"])
    assert bodies_in(folder) == [*found, b"after"]


@settings(max_examples=100)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_only_the_record_it_is_in(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    bodies = [b"first", b"second" * 9, b"third", b"fourth"]
    filled(folder, bodies)
    (segment,) = folder.glob("*.journal")
    data = bytearray(segment.read_bytes())
    data[place % len(data)] ^= 1 << bit
    segment.write_bytes(data)
    journal = Journal(folder, Settings())
    found = [each.body for _, each in journal.replay(0)]
    assert journal.damage
    journal.close()
    assert [each for each in bodies if each in found] == found
    assert len(found) == 3


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    config = Settings(segment_bytes=1024)
    filled(tmp_path, [bytes([i]) * 600 for i in range(10)], config)
    sorted(tmp_path.glob("*.journal"))[2].unlink()
    journal = Journal(tmp_path, config)
    assert any("are missing" in line for line in journal.damage)
    assert len(list(journal.replay(0))) == 8
    journal.close()


class PowerCutError(Exception):
    """The machine went off at this operation."""


class Unreliable(Files):
    """Real files whose n-th operation fails; knows what was synced, so that the rest can be dropped."""

    def __init__(self, fails_at: int, torn: random.Random) -> None:
        self.left = fails_at
        self.torn = torn
        self.paths: dict[int, Path] = {}
        self.synced: dict[Path, int] = {}
        self.named: set[Path] = set()
        self.seen: set[Path] = set()

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerCutError

    def open_append(self, path: Path) -> int:
        self._step()
        descriptor = super().open_append(path)
        self.paths[descriptor] = path
        self.seen.add(path)
        self.synced.setdefault(path, path.stat().st_size)
        return descriptor

    def write(self, descriptor: int, data: bytes) -> None:
        if self.left == 0:
            super().write(descriptor, data[: self.torn.randrange(len(data) + 1)])
        self._step()
        super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._step()
        super().sync(descriptor)
        self.synced[self.paths[descriptor]] = os.fstat(descriptor).st_size

    def sync_folder(self, folder: Path) -> None:
        self._step()
        super().sync_folder(folder)
        self.named |= self.seen

    def lose_power(self) -> None:
        """Drop what was not synced; of the unsynced tail any part may have reached the disk."""
        for path, size in self.synced.items():
            if path not in self.named and self.torn.random() < 0.5:
                path.unlink(missing_ok=True)
                continue
            written = path.stat().st_size
            kept = self.torn.randint(size, written)
            with path.open("r+b") as file:
                file.truncate(kept)
                if kept > size and self.torn.random() < 0.5:
                    file.seek(size)
                    file.write(bytes(kept - size))


@pytest.mark.parametrize("fails_at", range(1, 40))
def test_a_power_cut_between_any_two_operations_loses_nothing_acknowledged(
    tmp_path: Path, fails_at: int
) -> None:
    torn = random.Random(fails_at)
    files = Unreliable(fails_at, torn)
    config = Settings(segment_bytes=1024)
    acknowledged: list[bytes] = []
    journal = Journal(tmp_path, config, files=files)
    pending: list[tuple[bytes, Future[int]]] = []
    for number in range(30):
        body = bytes([number]) * torn.randint(1, 700)
        try:
            pending.append((body, journal.submit(record(body))))
        except JournalError:
            break
        if torn.random() < 0.6:
            acknowledged += settled(pending)
    acknowledged += settled(pending)
    assert (journal.failure is not None) == (len(acknowledged) < 30)
    journal.close()
    files.lose_power()
    found = bodies_in(tmp_path)
    assert found[: len(acknowledged)] == acknowledged


def settled(pending: list[tuple[bytes, Future[int]]]) -> Iterator[bytes]:
    done = []
    for body, future in pending:
        try:
            future.result(10)
        except JournalError:
            continue
        done.append(body)
    pending.clear()
    return iter(done)


def test_a_failed_write_fails_its_waiters_and_everything_after(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Settings(), files=Unreliable(2, random.Random(0)))
    with pytest.raises(JournalError, match="cannot be written"):
        journal.submit(record(b"x")).result(10)
    with pytest.raises(JournalError, match="takes nothing more"):
        journal.submit(record(b"y"))
    assert journal.failure is not None
    journal.close()


_WRITER = """
import sys
from pathlib import Path
from guardian.config import Journal as Settings
from guardian.journal import Journal, Record
journal = Journal(Path(sys.argv[1]), Settings(segment_bytes=4096))
for number in range(100_000):
    seq = journal.submit(Record("/x", "", "", "", 1, b"%d" % number)).result()
    sys.stdout.write(f"{number}\\n"); sys.stdout.flush()
"""


def test_kill_minus_nine_loses_nothing_acknowledged(tmp_path: Path) -> None:
    last = -1
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for _line in range(40):
                last = int(child.stdout.readline())
            child.kill()
            rest = child.stdout.read().split("\n")
            last = max([last, *(int(line) for line in rest[:-1])])
        found = bodies_in(tmp_path)
        assert b"%d" % last in found
        runs = [int(body) for body in found]
        assert runs[-1] >= last
