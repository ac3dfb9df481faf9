from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any

import pyarrow as pa
import pytest

from exporters.metrics import Counters
from guardian import intake as module
from guardian.decode import Decoded
from guardian.errors import BodyError, JournalFullError
from guardian.intake import Intake
from guardian.journal import Record


def record(body: bytes = b"x", position: bytes = b"") -> Record:
    return Record("/v1/logs", "", "", "", 0, body, "feed", position)


class Kept:
    """Stands for the journal; refuses what it is told to."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.senders: list[str] = []
        self.full = 0

    async def __call__(self, kept: Record, decoded: Decoded, sender: str) -> int:
        await asyncio.sleep(0)
        self.senders.append(sender)
        if self.full:
            self.full -= 1
            raise JournalFullError(1, 1, 0.001)
        self.bodies.append(kept.body)
        return len(self.bodies)


def decode(given: Record) -> Decoded:
    if given.body.startswith(b"bad"):
        raise BodyError(400, "not_json", "expected JSON")
    rows = 0 if given.body == b"empty" else 2
    return Decoded(pa.RecordBatch.from_pydict({"n": [1] * rows}), reasons={"no_kind": 1})


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def counters() -> Counters:
    return Counters()


def counted(counters: Counters, name: str) -> dict[tuple[str, ...], float]:
    return counters.snapshot()[0].get(name, {})


@pytest.fixture
def intake(kept: Kept, counters: Counters) -> Intake:
    return Intake(decode, kept, counters, workers=2)


async def test_what_has_events_is_kept_and_everything_is_counted(
    intake: Intake, kept: Kept, counters: Counters
):
    assert len((await intake.take(record(b"a"), "s")).batch) == 2
    assert len((await intake.take(record(b"empty"), "s")).batch) == 0
    with pytest.raises(BodyError):
        await intake.take(record(b"bad"), "s")
    assert (kept.bodies, kept.senders) == ([b"a"], ["s"])
    assert counted(counters, "tamv_guardian_rejected_total") == {("no_kind",): 2.0, ("not_json",): 1.0}


async def test_no_more_bodies_are_decoded_at_once_than_there_are_workers(kept: Kept, counters: Counters):
    lock, running, most = threading.Lock(), 0, 0

    def slow(given: Record) -> Decoded:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.005)
        with lock:
            running -= 1
        return decode(given)

    intake = Intake(slow, kept, counters, workers=2)
    await asyncio.gather(*(intake.take(record(), f"{n}") for n in range(20)))
    assert most == 2
    assert intake.waiting == 0


class Feed:
    """A source of numbered bodies that stands still at the end of them."""

    def __init__(self, bodies: list[bytes]) -> None:
        self.bodies = bodies
        self.resumed: list[bytes | None] = []
        self.asked: list[int] = []
        self.closed = 0
        self.fail_at = -1
        self.idle = asyncio.Event()

    async def deliveries(self, resume: bytes | None) -> AsyncGenerator[Record, None]:
        self.resumed.append(resume)
        try:
            for number in range(int(resume or b"0"), len(self.bodies)):
                self.asked.append(number)
                if number == self.fail_at:
                    self.fail_at = -1
                    raise OSError("gone")
                yield record(self.bodies[number], b"%d" % (number + 1))
            self.idle.set()
            await asyncio.Event().wait()
        finally:
            self.closed += 1


async def until_idle(intake: Intake, feed: Feed, resume: bytes | None = None) -> None:
    intake.start_source("feed", feed, resume)
    async with asyncio.timeout(5):
        await feed.idle.wait()


async def test_a_source_is_followed_from_its_position(intake: Intake, kept: Kept):
    feed = Feed([b"a", b"b", b"c"])
    await until_idle(intake, feed, b"1")
    assert kept.bodies == [b"b", b"c"]
    assert intake.sources == {"feed": True}
    await intake.stop()
    assert feed.closed == 1


async def test_a_full_journal_makes_the_source_wait(intake: Intake, kept: Kept):
    feed = Feed([b"a", b"b"])
    kept.full = 3
    await until_idle(intake, feed)
    assert kept.bodies == [b"a", b"b"]
    assert feed.asked == [0, 1], "nothing more is asked for meanwhile"
    await intake.stop()


async def test_a_body_that_is_none_does_not_stop_the_source(intake: Intake, kept: Kept, counters: Counters):
    feed = Feed([b"a", b"bad", b"empty", b"b"])
    await until_idle(intake, feed)
    assert kept.bodies == [b"a", b"b"]
    assert counted(counters, "tamv_guardian_rejected_total")["not_json",] == 1.0
    await intake.stop()


async def test_a_source_that_fails_is_tried_again_behind_what_is_durable(
    intake: Intake, kept: Kept, counters: Counters, monkeypatch: Any
):
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.001)
    feed = Feed([b"a", b"b", b"c"])
    feed.fail_at = 2
    await until_idle(intake, feed)
    assert feed.resumed == [None, b"2"]
    assert kept.bodies == [b"a", b"b", b"c"]
    assert feed.closed == 1
    assert counted(counters, "tamv_guardian_source_failures_total") == {("feed",): 1.0}
    await intake.stop()
    assert feed.closed == 2
