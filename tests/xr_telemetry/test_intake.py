"""Groups of lines made durable."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from xr_telemetry import intake
from xr_telemetry.intake import Intake


class Disk:
    """Makes bodies durable when the test says so."""

    def __init__(self) -> None:
        self.bodies = []
        self.gate = asyncio.Event()
        self.fail = None

    async def ingest(self, body: Any) -> Any:
        await self.gate.wait()
        if self.fail is not None:
            raise self.fail
        self.bodies.append(body)


async def test_what_arrives_meanwhile_is_the_next_group() -> None:
    disk = Disk()
    found = Intake(disk.ingest)
    first = found.add(b"1\n")
    await asyncio.sleep(0)
    rest = [found.add(b"2\n"), found.add(b"3\n")]
    assert not first.done()
    disk.gate.set()
    await asyncio.gather(first, *rest)
    assert disk.bodies == [b"1\n", b"2\n3\n"]


async def test_a_failure_reaches_those_of_its_group_and_no_others() -> None:
    disk = Disk()
    disk.gate.set()
    disk.fail = OSError("disk")
    found = Intake(disk.ingest)
    first = found.add(b"1\n")
    with pytest.raises(OSError, match="disk"):
        await first
    disk.fail = None
    await found.add(b"2\n")
    assert disk.bodies == [b"2\n"]


async def test_groups_have_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_GROUP_BYTES", 10)
    disk = Disk()
    disk.gate.set()
    found = Intake(disk.ingest)
    await asyncio.gather(*(found.add(line) for line in (b"aaaa\n", b"bbbb\n", b"cccc\n", b"d" * 30, b"e\n")))
    assert disk.bodies == [b"aaaa\nbbbb\n", b"cccc\n", b"d" * 30, b"e\n"]


async def test_a_waiter_that_gave_up_holds_nobody() -> None:
    disk = Disk()
    found = Intake(disk.ingest)
    gone, here = found.add(b"1\n"), found.add(b"2\n")
    gone.cancel()
    disk.gate.set()
    await here
    assert disk.bodies == [b"1\n2\n"]


async def test_idle_waits_for_all() -> None:
    disk = Disk()
    found = Intake(disk.ingest)
    await found.idle()
    futures = [found.add(b"1\n")]
    asyncio.get_running_loop().call_soon(disk.gate.set)
    await found.idle()
    assert all(future.done() for future in futures)
