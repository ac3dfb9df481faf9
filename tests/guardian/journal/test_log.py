from __future__ import annotations

import asyncio
import errno
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar, Never

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.config import Journal as Settings
from guardian.errors import JournalError, JournalFullError, MachineError
from guardian.journal import Files, Journal, Record
from tests.guardian.journal.disk import Disk

FOLDER = Path("journal")
SMALL = Settings(segment_bytes=1024, group_bytes=1024)


def record(body: bytes) -> Record:
    return Record("/api/v1/events", "application/x-ndjson", "", "tamv", 1, body)


def append(journal: Journal, *bodies: bytes) -> list[int]:
    waiting = [journal.submit(record(body)) for body in bodies]
    return [future.result(timeout=30) for future in waiting]


def replayed(journal: Journal, after: int = 0) -> list[tuple[int, bytes]]:
    return [(seq, each.body) for seq, each in journal.replay(after)]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.segment"))


def test_what_is_appended_is_replayed_also_after_a_restart(tmp_path: Path):
    journal = Journal.open(tmp_path, SMALL)
    bodies = [bytes([number]) * 300 for number in range(20)]
    assert append(journal, *bodies) == list(range(1, 21))
    expected = list(enumerate(bodies, 1))
    assert replayed(journal) == expected
    assert replayed(journal, 7) == expected[7:]
    assert journal.used_bytes == sum(path.stat().st_size for path in segments(tmp_path))
    journal.close()
    journal.close()
    again = Journal.open(tmp_path, SMALL)
    assert again.damage == []
    assert again.next_seq == 21
    assert replayed(again) == expected
    assert append(again, b"more") == [21]
    again.close()


async def test_append_waits_for_the_disk(tmp_path: Path):
    class Slow(Files):
        def __init__(self) -> None:
            self.gate = threading.Event()

        def sync(self, descriptor: int) -> None:
            self.gate.wait()
            super().sync(descriptor)

    files = Slow()
    journal = Journal.open(tmp_path, SMALL, files=files)
    waiting = asyncio.create_task(journal.append(record(b"one")))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    assert replayed(journal) == []
    files.gate.set()
    assert await waiting == 1
    journal.close()


async def test_what_gathers_during_a_sync_shares_the_next(tmp_path: Path):
    class Counting(Files):
        def __init__(self) -> None:
            self.gate = threading.Event()
            self.syncs = 0

        def sync(self, descriptor: int) -> None:
            self.gate.wait()
            self.syncs += 1
            super().sync(descriptor)

    files = Counting()
    journal = Journal.open(tmp_path, Settings(), files=files)
    waiting = [asyncio.create_task(journal.append(record(b"x" * 100))) for _ in range(200)]
    await asyncio.sleep(0.01)
    files.gate.set()
    assert sorted(await asyncio.gather(*waiting)) == list(range(1, 201))
    assert files.syncs <= 3
    journal.close()


async def test_a_sender_that_goes_away_hurts_nobody(tmp_path: Path):
    class Slow(Files):
        def __init__(self) -> None:
            self.gate = threading.Event()

        def sync(self, descriptor: int) -> None:
            self.gate.wait()
            super().sync(descriptor)

    files = Slow()
    journal = Journal.open(tmp_path, SMALL, files=files)
    waiting = [asyncio.create_task(journal.append(record(b"x"))) for _ in range(3)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    waiting[1].cancel()
    await asyncio.sleep(0)
    files.gate.set()
    assert await waiting[2] == 3
    assert journal.failure is None
    journal.close()


@pytest.mark.parametrize("operation", ["append", "sync", "open", "sync_folder"])
async def test_a_failing_disk_fails_every_waiter_and_everything_after(tmp_path: Path, operation: str):
    class Full(Files):
        attempts = 0

        def fail(self, *_arguments: object, **_more: object) -> Never:
            Full.attempts += 1
            raise OSError(errno.ENOSPC, "no space left on device")

    files = Full()
    journal = Journal.open(tmp_path, SMALL, files=files)
    setattr(files, operation, files.fail)
    outcomes = await asyncio.gather(
        *(journal.append(record(b"x" * 600)) for _ in range(10)), return_exceptions=True
    )
    assert all(type(outcome) is JournalError for outcome in outcomes)
    assert "no space left" in str(outcomes[0])
    with pytest.raises(JournalError):
        await journal.append(record(b"x"))
    assert isinstance(journal.failure, JournalError)
    assert Full.attempts == 1
    assert replayed(journal) == []
    journal.close()
    again = Journal.open(tmp_path, SMALL)
    assert append(again, b"after") == [again.next_seq - 1]
    again.close()


def test_after_a_failure_the_engine_still_gets_what_was_durable(tmp_path: Path):
    files = Files()
    journal = Journal.open(tmp_path, SMALL, files=files)
    append(journal, *[b"x" * 500] * 6)
    files.sync = _raise
    with pytest.raises(JournalError):
        append(journal, b"lost")
    assert [seq for seq, _ in replayed(journal)] == [1, 2, 3, 4, 5, 6]
    journal.trim(6)
    journal.close()


async def test_one_sender_does_not_fill_it(tmp_path: Path) -> None:
    settings = Settings(segment_bytes=1024, group_bytes=1024, max_bytes=16 * 1024)
    journal = Journal.open(tmp_path, settings)

    async def fill(sender: str) -> int:
        before = journal.used_bytes
        for _ in range(200):
            try:
                await asyncio.wrap_future(journal.submit(record(bytes(200)), sender))
            except JournalFullError:
                return journal.used_bytes - before
        raise AssertionError("never full")

    loud = await fill("loud")
    assert settings.max_bytes * 0.4 < loud <= settings.max_bytes // 2
    assert await fill("quiet") > settings.max_bytes // 8
    assert await fill("late") > 0
    await asyncio.wrap_future(journal.submit(record(bytes(200))))  # our own has no share
    journal.trim(journal.next_seq - 1)
    assert await fill("loud") > settings.max_bytes * 0.4, "what was trimmed is no longer held"
    journal.close()


def test_a_full_journal_says_so_and_takes_more_once_trimmed(tmp_path: Path):
    journal = Journal.open(tmp_path, Settings(segment_bytes=1024, group_bytes=1024, max_bytes=4096))
    taken = 0
    full: JournalFullError | None = None
    while full is None:
        try:
            append(journal, b"x" * 500)
            taken += 1
        except JournalFullError as error:
            full = error
    assert full.retry_after_s > 0
    assert 0 < taken < 8
    journal.trim(taken)
    assert journal.used_bytes < 4096
    assert append(journal, b"x") == [taken + 1]
    journal.close()


def test_what_waits_for_the_disk_is_bounded(tmp_path: Path):
    class Stuck(Files):
        def __init__(self) -> None:
            self.gate = threading.Event()

        def sync(self, descriptor: int) -> None:
            self.gate.wait()

    files = Stuck()
    journal = Journal.open(tmp_path, Settings(), files=files)
    body = bytes(8 * 2**20)
    waiting = [journal.submit(record(body)) for _ in range(7)]
    with pytest.raises(JournalFullError):
        journal.submit(record(body))
    files.gate.set()
    assert [future.result(timeout=30) for future in waiting] == list(range(1, 8))
    journal.close()


def test_without_sync_a_kill_loses_nothing_and_the_disk_is_not_waited_for(tmp_path: Path):
    class Counting(Files):
        syncs = 0

        def sync(self, descriptor: int) -> None:
            self.syncs += 1
            super().sync(descriptor)

    files = Counting()
    journal = Journal.open(tmp_path, Settings(sync=False), files=files)
    before = files.syncs
    futures = [journal.submit(record(f"{n}".encode())) for n in range(20)]
    assert [future.result() for future in futures] == list(range(1, 21))
    assert files.syncs == before
    found = [each.body for _, each in journal.replay(0)]  # as a process after this one would read it
    assert found == [f"{n}".encode() for n in range(20)]
    journal.close()


def test_trim_removes_whole_segments_only(tmp_path: Path):
    journal = Journal.open(tmp_path, SMALL)
    for _ in range(12):
        append(journal, b"x" * 400)
    firsts = [int(path.name[:20]) for path in segments(tmp_path)]
    assert len(firsts) > 3
    journal.trim(firsts[2] - 2)
    assert [int(path.name[:20]) for path in segments(tmp_path)] == firsts[1:]
    assert [seq for seq, _ in replayed(journal, firsts[1] - 1)] == list(range(firsts[1], 13))
    journal.trim(100)
    assert [int(path.name[:20]) for path in segments(tmp_path)] == firsts[-1:]
    journal.close()
    again = Journal.open(tmp_path, SMALL, after=12)
    assert (again.next_seq, again.damage) == (13, [])
    again.close()


def test_numbers_are_never_given_twice_even_if_the_files_are_gone(tmp_path: Path):
    journal = Journal.open(tmp_path, SMALL, after=41)
    assert append(journal, b"x") == [42]
    journal.close()


def test_a_replay_goes_on_where_the_one_before_stopped(tmp_path: Path):
    class Reading(Files):
        def __init__(self) -> None:
            self.bytes_read = 0

        def read(self, path: Path, at: int, length: int) -> bytes:
            data = super().read(path, at, length)
            self.bytes_read += len(data)
            return data

    files = Reading()
    journal = Journal.open(tmp_path, Settings(), files=files)
    append(journal, *[b"x" * 1000] * 2000)
    assert len(replayed(journal)) == 2000
    files.bytes_read = 0
    cursor = 2000
    for _ in range(50):
        append(journal, b"y")
        [(cursor, _body)] = replayed(journal, cursor)
    assert files.bytes_read < 50 * 200
    journal.close()


def test_one_process_at_a_time(tmp_path: Path):
    journal = Journal.open(tmp_path, SMALL)
    with pytest.raises(MachineError, match="another Guardian uses this data folder"):
        Journal.open(tmp_path, SMALL)
    journal.close()
    Journal.open(tmp_path, SMALL).close()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be written"):
        Journal.open(tmp_path / "file" / "journal", SMALL)


def test_the_folder_itself_survives_a_power_cut(tmp_path: Path):
    class Noting(Files):
        synced: ClassVar[list[Path]] = []

        def sync_folder(self, folder: Path) -> None:
            self.synced.append(folder)
            super().sync_folder(folder)

    folder = tmp_path / "data" / "journal"
    Journal.open(folder, SMALL, files=Noting()).close()
    assert {tmp_path, tmp_path / "data"} <= set(Noting.synced)
    Noting.synced.clear()
    Journal.open(folder, SMALL, files=Noting()).close()
    assert Noting.synced == []


def test_a_failing_start_lets_go_of_the_folder(tmp_path: Path):
    files = Files()
    files.sizes = _raise
    with pytest.raises(MachineError, match="cannot be opened"):
        Journal.open(tmp_path, SMALL, files=files)
    Journal.open(tmp_path, SMALL).close()


def test_after_close_nothing_is_taken(tmp_path: Path):
    journal = Journal.open(tmp_path, SMALL)
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.submit(record(b""))


class TestDamage:
    def test_a_torn_tail_is_cut_and_kept_beside(self, tmp_path: Path):
        journal = Journal.open(tmp_path, SMALL)
        append(journal, b"one", b"two")
        journal.close()
        [path] = segments(tmp_path)
        path.write_bytes(path.read_bytes()[:-1])
        again = Journal.open(tmp_path, SMALL)
        assert len(again.damage) == 1
        assert "torn tail" in again.damage[0]
        assert replayed(again) == [(1, b"one")]
        assert append(again, b"new two") == [2]
        again.close()
        [kept] = tmp_path.glob("*.tail-*")
        assert b"tw" in kept.read_bytes()
        third = Journal.open(tmp_path, SMALL)
        assert third.damage == []
        assert replayed(third) == [(1, b"one"), (2, b"new two")]
        third.close()

    def test_damage_in_the_middle_is_passed_over_and_put_aside_at_trim(self, tmp_path: Path):
        journal = Journal.open(tmp_path, SMALL)
        for number in range(9):
            append(journal, b"%d" % number * 300)
        journal.close()
        path = segments(tmp_path)[0]
        data = bytearray(path.read_bytes())
        data[400] ^= 1
        path.write_bytes(data)
        again = Journal.open(tmp_path, SMALL)
        assert [seq for seq, _ in replayed(again)] == [1, 3, 4, 5, 6, 7, 8, 9]
        assert len(again.damage) == 2
        assert "no intact record from byte" in again.damage[1]
        assert "records 2 to 2" in again.damage[0]
        again.trim(9)
        again.close()
        [kept] = tmp_path.glob("*.damaged")
        assert kept.read_bytes() == data

    def test_a_missing_segment_is_a_named_gap(self, tmp_path: Path):
        journal = Journal.open(tmp_path, SMALL)
        for _ in range(9):
            append(journal, b"x" * 400)
        journal.close()
        firsts = [int(path.name[:20]) for path in segments(tmp_path)]
        segments(tmp_path)[1].unlink()
        again = Journal.open(tmp_path, SMALL)
        assert len(again.damage) == 1
        assert f"records {firsts[1]} to {firsts[2] - 1} " in again.damage[0]
        assert append(again, b"x") == [10]
        again.close()

    def test_the_first_segment_missing_behind_the_cursor_is_a_gap_too(self, tmp_path: Path):
        journal = Journal.open(tmp_path, SMALL)
        for _ in range(9):
            append(journal, b"x" * 400)
        journal.close()
        first, second = segments(tmp_path)[:2]
        first.unlink()
        again = Journal.open(tmp_path, SMALL, after=0)
        assert f"records 1 to {int(second.name[:20]) - 1} " in again.damage[0]
        again.close()

    def test_strange_files_are_left_alone(self, tmp_path: Path):
        (tmp_path / "x.segment").write_bytes(b"?")
        (tmp_path / "notes.txt").write_bytes(b"?")
        journal = Journal.open(tmp_path, SMALL)
        assert journal.damage == ["x.segment: not the name of a segment; left alone"]
        journal.close()
        assert (tmp_path / "x.segment").exists()

    def test_a_disk_without_room_does_not_keep_it_from_starting(self, tmp_path: Path):
        journal = Journal.open(tmp_path, SMALL)
        append(journal, b"one", b"two")
        journal.close()
        [path] = segments(tmp_path)
        path.write_bytes(path.read_bytes()[:-1])
        files = Files()
        files.append = _raise
        files.truncate = _raise
        again = Journal.open(tmp_path, SMALL, files=files)
        assert replayed(again) == [(1, b"one")]
        assert any("cannot be cut" in sentence for sentence in again.damage)
        again.close()
        third = Journal.open(tmp_path, SMALL)
        assert append(third, b"new two") == [2]
        third.close()

    def test_a_segment_of_nothing_but_damage_hides_no_other(self, tmp_path: Path):
        """Its number must not be the first of the next segment too: their order would be left to their salts."""
        for attempt in range(8):
            folder = tmp_path / str(attempt)
            journal = Journal.open(folder, SMALL)
            append(journal, b"torn")
            journal.close()
            [path] = segments(folder)
            path.write_bytes(path.read_bytes()[:-1])
            files = Files()
            files.truncate = _raise
            again = Journal.open(folder, SMALL, files=files)
            [seq] = append(again, b"kept")
            assert replayed(again) == [(seq, b"kept")]
            again.close()
            third = Journal.open(folder, SMALL)
            assert replayed(third) == [(seq, b"kept")]
            third.trim(seq - 1)
            assert replayed(third) == [(seq, b"kept")]
            third.close()

    @given(st.binary(max_size=2000), st.integers(0, 3000), st.integers(0, 2000))
    @settings(max_examples=60)
    def test_no_damage_keeps_it_from_starting(self, noise: bytes, at: int, removed: int):
        disk = Disk()
        journal = Journal.open(FOLDER, SMALL, files=disk)
        for number in range(8):
            append(journal, b"%d" % number * 300)
        journal.close()
        for file in disk.names.values():
            file.data[at : at + removed] = noise
        again = Journal.open(FOLDER, SMALL, files=disk)
        kept = replayed(again)
        assert all(body == b"%d" % (seq - 1) * 300 for seq, body in kept)
        [new] = append(again, b"new")
        assert [seq for seq, _ in replayed(again)] == [*(seq for seq, _ in kept), new]
        again.close()

    def test_damage_that_appears_while_it_runs_is_reported_by_the_replay(self):
        disk = Disk()
        journal = Journal.open(FOLDER, SMALL, files=disk)
        append(journal, b"one", b"two")
        [file] = disk.names.values()
        file.data[10] ^= 1
        assert replayed(journal) == [(2, b"two")]
        assert replayed(journal) == [(2, b"two")]
        assert len(journal.damage) == 1
        journal.close()


class TestPowerCut:
    @given(
        st.lists(st.integers(0, 40), min_size=1, max_size=4),
        st.lists(st.one_of(st.integers(0, 700), st.just("trim")), min_size=1, max_size=12),
        st.integers(0, 2**32),
    )
    @settings(max_examples=300)
    def test_nothing_acknowledged_is_lost(self, cuts: list[int], actions: list[int | str], seed: int):
        """Several lives, each ended by a cut between or during any two operations of the disk."""
        acknowledged: dict[int, bytes] = {}
        cursor = 0
        disk = Disk(cut_at=cuts[0], seed=seed)
        for life, cut in enumerate(cuts):
            if life:
                disk = disk.after_cut(cut_at=cut)
            try:
                journal = Journal.open(FOLDER, SMALL, after=cursor, files=disk)
            except MachineError:
                continue
            try:
                for number, action in enumerate(actions):
                    if action == "trim":
                        cursor = max([cursor, *(seq for seq, _ in replayed(journal, cursor))])
                        journal.trim(cursor)
                    else:
                        body = b"%d.%d " % (life, number) + b"x" * action
                        [seq] = append(journal, body)
                        assert seq not in acknowledged
                        acknowledged[seq] = body
            except (JournalError, OSError):
                pass
            journal.close()
        final = Journal.open(FOLDER, SMALL, after=cursor, files=disk.after_cut())
        found = dict(replayed(final, cursor))
        missing = {seq for seq in acknowledged if seq > cursor and found.get(seq) != acknowledged[seq]}
        assert not missing
        assert all("torn tail" in sentence for sentence in final.damage)
        final.close()

    def test_what_a_killed_process_left_unsynced_is_made_durable_before_it_is_read(self):
        disk = Disk()
        journal = Journal.open(FOLDER, SMALL, files=disk)
        append(journal, b"one")
        journal.close()
        [file] = disk.names.values()
        file.synced = 0
        again = Journal.open(FOLDER, SMALL, files=disk)
        assert replayed(again) == [(1, b"one")]
        assert file.synced == len(file.data)
        again.close()

    def test_each_operation_once(self):
        """The same without chance: a cut at every single operation of one long life."""
        whole = Disk()
        assert _one_life(whole) == 12
        for cut_at in range(whole.operations):
            disk = Disk(cut_at=cut_at, seed=cut_at)
            acknowledged = _one_life(disk)
            again = Journal.open(FOLDER, SMALL, files=disk.after_cut())
            assert [seq for seq, _ in again.replay(0)][:acknowledged] == list(range(1, acknowledged + 1))
            again.close()


def _one_life(disk: Disk) -> int:
    try:
        journal = Journal.open(FOLDER, SMALL, files=disk)
    except MachineError:
        return 0
    acknowledged = 0
    try:
        for number in range(12):
            append(journal, b"x" * 100 * number)
            acknowledged += 1
    except JournalError:
        pass
    journal.close()
    return acknowledged


_CHILD = """
import sys
from pathlib import Path
from guardian.config import Journal as Settings
from guardian.journal import Journal, Record
journal = Journal.open(Path(sys.argv[1]), Settings(segment_bytes=65536))
number = 0
while True:
    waiting = []
    for _ in range(20):
        body = str(number).encode() * 50
        waiting.append((journal.submit(Record("", "", "", "", 0, body)), number))
        number += 1
    for future, sent in waiting:
        print(future.result(), sent, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 333, 1500])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, lines: int):
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    with child, child.stdout:
        told = [child.stdout.readline().split() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        told += [line.split() for line in child.stdout if line.endswith("\n")]
    acknowledged = {int(words[0]): words[1].encode() * 50 for words in told if len(words) == 2}
    journal = Journal.open(tmp_path, SMALL)
    found = dict(replayed(journal))
    assert {seq: found.get(seq) for seq in acknowledged} == acknowledged
    assert list(found) == list(range(1, len(found) + 1))
    journal.close()


def _raise(*_arguments: object, **_more: object) -> Never:
    raise OSError(errno.ENOSPC, "no space left on device")
