"""The journal under any order of what can happen to it: a state machine over a disk that forgets."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from guardian.config import Journal as Settings
from guardian.errors import JournalError, JournalFullError, MachineError
from guardian.journal import Journal, Record
from tests.guardian.journal.disk import Disk

FOLDER = Path("journal")
SETTINGS = Settings(segment_bytes=1024, group_bytes=2048, max_bytes=16 * 1024)
EXAMPLES = int(os.environ.get("GUARDIAN_JOURNAL_EXAMPLES", "60"))


class Lives(RuleBasedStateMachine):
    """What was acknowledged, is above the cursor and was not damaged by us is replayed, unchanged and in order."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()
        self.kept: dict[int, bytes] = {}
        """Acknowledged and untouched since."""
        self.given: set[int] = set()
        self.cursor = 0
        self.sent = 0
        self.flipped: set[tuple[str, int]] = set()
        self.journal: Journal | None = Journal.open(FOLDER, SETTINGS, after=0, files=self.disk)

    def teardown(self) -> None:
        if self.journal is not None:
            self.journal.close()

    @precondition(lambda self: self.journal is not None)
    @rule(sizes=st.lists(st.integers(0, 900), min_size=1, max_size=5))
    def append(self, sizes: list[int]) -> None:
        waiting = []
        for size in sizes:
            body = b"%d " % self.sent + b"x" * size
            self.sent += 1
            try:
                waiting.append((body, self.journal.submit(Record("/v1/logs", "", "gzip", "", 1, body))))
            except JournalFullError:
                assert self.journal.used_bytes + size > SETTINGS.max_bytes - 100
            except JournalError:
                assert self.journal.failure is not None
        for body, future in waiting:
            try:
                seq = future.result(timeout=30)
            except JournalError:
                assert self.journal.failure is not None
                continue
            assert seq not in self.given, "a number was given twice"
            assert seq > self.cursor
            self.given.add(seq)
            self.kept[seq] = body

    @precondition(lambda self: self.journal is not None)
    @rule(keep=st.integers(0, 5))
    def consume_and_trim(self, keep: int) -> None:
        seqs = [seq for seq, _ in self.journal.replay(self.cursor)]
        self.cursor = max([self.cursor, *seqs[: len(seqs) - keep]])
        try:
            self.journal.trim(self.cursor)
        except OSError:
            self.cut_now()

    @precondition(lambda self: self.journal is not None)
    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.start()

    @precondition(lambda self: self.journal is not None)
    @rule(after=st.integers(0, 12))
    def cut_later(self, after: int) -> None:
        if self.disk.cut_at is None:
            self.disk.cut_at = self.disk.operations + after

    @rule()
    def cut_now(self) -> None:
        if self.journal is not None:
            self.journal.close()
        self.disk = self.disk.after_cut()
        self.start()

    @precondition(lambda self: self.journal is not None and self.disk.cut_at is None)
    @rule(data=st.data())
    def flip_a_bit(self, data: st.DataObject) -> None:
        """Of a segment that lies still; what stands in it may be lost, what stands elsewhere may not."""
        names = sorted(
            name for name, file in self.disk.names.items() if name.endswith("segment") and file.data
        )
        if not names:
            return
        self.journal.close()
        name = data.draw(st.sampled_from(names))
        file = self.disk.names[name]
        first = int(name[:20])
        behind = min((int(other[:20]) for other in names if int(other[:20]) > first), default=2**63)
        self.kept = {seq: body for seq, body in self.kept.items() if not first <= seq < behind}
        # A damaged end cannot be told from a torn tail; a number that nobody consumed may then be given again.
        self.given = {seq for seq in self.given if seq <= self.cursor or not first <= seq < behind}
        at = data.draw(
            st.integers(0, len(file.data) * 8 - 1).filter(lambda at: (name, at) not in self.flipped)
        )
        self.flipped.add((name, at))
        file.data[at // 8] ^= 1 << at % 8
        self.start()
        assert self.journal is not None
        assert self.journal.damage

    def start(self) -> None:
        try:
            self.journal = Journal.open(FOLDER, SETTINGS, after=self.cursor, files=self.disk)
        except MachineError:
            assert self.disk.cut_at is not None, "only a disk without power keeps it from starting"
            self.journal = None

    @invariant()
    def everything_is_there(self) -> None:
        if self.journal is None:
            return
        found = list(self.journal.replay(self.cursor))
        seqs = [seq for seq, _ in found]
        assert seqs == sorted(set(seqs))
        bodies = {seq: record.body for seq, record in found}
        for seq, body in self.kept.items():
            assert seq <= self.cursor or bodies.get(seq) == body, f"record {seq} is lost"


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=EXAMPLES, stateful_step_count=25, deadline=None)
