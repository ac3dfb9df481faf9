from __future__ import annotations

import asyncio
import contextlib

from guardian.gateway.turns import Turns


class Work:
    """Turns that are held until they are let go; notes the order in which they began."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.began: list[str] = []
        self.go = asyncio.Event()
        self.running = 0
        self.most = 0

    async def do(self, sender: str, cost: float, name: str = "") -> None:
        async with self.turns.turn(sender, cost):
            self.began.append(name or sender)
            self.running += 1
            self.most = max(self.most, self.running)
            await self.go.wait()
            await asyncio.sleep(0)
            self.running -= 1


async def order(turns: Turns, wanted: list[tuple[str, float]]) -> list[str]:
    work = Work(turns)
    tasks = []
    for sender, cost in wanted:
        tasks.append(asyncio.create_task(work.do(sender, cost)))
        await asyncio.sleep(0)
    work.go.set()
    await asyncio.gather(*tasks)
    assert turns.waiting == 0
    return work.began


async def test_a_flood_does_not_delay_the_others():
    began = await order(Turns(1), [("loud", 10.0)] * 20 + [("quiet", 10.0)])
    assert began.index("quiet") <= 2


async def test_shares_are_by_bytes_not_by_bodies():
    began = await order(Turns(1), [("small", 1.0)] * 40 + [("large", 10.0)] * 4)
    assert 25 <= began[:33].count("small") <= 31


async def test_a_small_body_goes_before_a_large_one_of_another_sender():
    began = await order(Turns(1), [("running", 1.0), ("large", 1000.0), ("tiny", 1.0)])
    assert began == ["running", "tiny", "large"]


async def test_no_more_at_once_than_stated_and_each_once():
    for at_once in (1, 3):
        turns = Turns(at_once)
        work = Work(turns)
        tasks = [asyncio.create_task(work.do(f"{n % 5}", 1.0 + n % 3, f"{n}")) for n in range(50)]
        await asyncio.sleep(0.01)
        assert work.running == at_once
        assert turns.waiting == 50 - at_once
        work.go.set()
        await asyncio.gather(*tasks)
        assert work.most == at_once
        assert sorted(map(int, work.began)) == list(range(50))


async def test_one_sender_is_served_in_its_order():
    turns = Turns(1)
    work = Work(turns)
    tasks = []
    for n in range(10):
        tasks.append(asyncio.create_task(work.do("one", 5.0, f"{n}")))
        await asyncio.sleep(0)
    work.go.set()
    await asyncio.gather(*tasks)
    assert work.began == [f"{n}" for n in range(10)]


async def test_senders_that_go_away_take_no_turn_along():
    turns = Turns(1)
    work = Work(turns)
    tasks = [asyncio.create_task(work.do(f"{n}", 1.0)) for n in range(10)]
    await asyncio.sleep(0)
    for n in (0, 3, 4, 9):  # the running one too
        tasks[n].cancel()
    await asyncio.sleep(0)
    work.go.set()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert turns.waiting == 0
    assert len(work.began) == 7
    async with asyncio.timeout(1), turns.turn("later", 1.0):
        pass


async def test_what_is_remembered_of_senders_is_bounded():
    turns = Turns(1)
    for n in range(1000):
        async with turns.turn(f"{n}", 1.0):
            pass
    assert len(turns._ends) <= 65
