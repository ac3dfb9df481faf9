"""Delivery: nothing accepted vanishes, whatever the receiver says and however often we are killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from exporters import delivery
from exporters.delivery import Worker
from exporters.outbox import Outbox
from exporters.sinks.http import HttpSink
from exporters.store import Store
from guardian.config import Sink
from guardian.errors import HoldError, PoisonError, RetryError


@pytest.fixture
def work(settings: Sink, clock: Any, rendered: Any) -> Callable[..., Worker]:
    def make(outbox: Outbox, sink: Any, settings: Sink = settings, **changed: Any) -> Worker:
        return Worker(
            outbox, settings, sink, **{"render": finding, "clock": clock, "jitter": lambda: 1.0} | changed
        )

    return make


def ids(*numbers: int) -> list[str]:
    return [f"{number:032x}" for number in numbers]


async def test_delivered_in_order_and_in_batches(filled: Any, work: Any, scripted: Any) -> None:
    sink = scripted()
    worker = work(filled(7), sink)
    worker.stop()
    await worker.run()
    assert sink.taken == ids(*range(7))
    assert sink.offered == [3, 3, 1]
    assert sink.closed


async def test_a_receiver_that_is_down_gets_everything_later(
    filled: Any, work: Any, scripted: Any, clock: Any, alert: Any
) -> None:
    outbox = filled(1)
    sink = scripted(RetryError("down"), RetryError("busy", 30.0), OSError("cable"), KeyError("a mistake"))
    worker = work(outbox, sink)
    waits = []
    for _ in range(4):
        waits.append(await worker.step())
        clock.pass_s(waits[-1] / 2)
        assert 0.0 < await worker.step() <= waits[-1] / 2, "not due yet"
        clock.pass_s(waits[-1] / 2)
    assert waits == [0.5, 30.0, 2.0, 4.0]
    assert outbox.counts()["siem"]["pending"] == 1
    assert await worker.step() == 0.0
    assert sink.taken == ids(0)
    sink.answers = [RetryError("down")]
    with outbox._store.transaction() as connection:
        outbox.add(connection, [alert(1)])
    assert await worker.step() == 0.5, "after a success, waits are short again"


async def test_a_pause_holds_for_all_that_waits(filled: Any, work: Any, scripted: Any, clock: Any) -> None:
    """More is waiting than one batch: the receiver that asked for time is still left alone."""
    outbox = filled(50)
    sink = scripted(RetryError("HTTP 429", 20.0))
    worker = work(outbox, sink)
    assert await worker.step() == 20.0
    for _ in range(19):
        clock.pass_s(1.0)
        assert await worker.step() > 0.0
    assert sink.offered == [3]
    again = work(outbox, sink)
    assert await again.step() > 0.0, "nor does a restart cut it short"
    clock.pass_s(1.0)
    while await again.step() == 0.0:
        pass
    assert sink.taken == ids(*range(50)), "and the order is kept"


async def test_a_wall_clock_that_is_set_back_stops_nothing(
    filled: Any, work: Any, scripted: Any, clock: Any
) -> None:
    sink = scripted(RetryError("for ever", 1e300))
    worker = work(filled(1), sink)
    assert await worker.step() == delivery.LONGEST_ASKED_S
    clock.now -= 10**18
    assert await worker.step() == 0.0
    assert sink.taken == ids(0)


async def test_a_receiver_that_asks_for_no_pause_gets_one(filled: Any, work: Any, scripted: Any) -> None:
    worker = work(filled(1), scripted(RetryError("HTTP 429", 0.0)), jitter=lambda: 0.0)
    assert await worker.step() == 0.01


async def test_a_whole_day_of_outage(filled: Any, work: Any, scripted: Any, clock: Any) -> None:
    outbox = filled(30)
    start = clock.now
    sink = scripted()
    worker = work(outbox, sink)
    while clock.now - start < 24 * 3600 * 10**9:
        sink.answers = [RetryError("down")]
        clock.pass_s(await worker.step())
    assert 1440 <= len(sink.offered) <= 1460, "once a minute after the first ones, however much is waiting"
    sink.answers = []
    while await worker.step() == 0.0:
        pass
    assert sink.taken == ids(*range(30))


async def test_a_credential_that_does_not_work_parks_and_drops_nothing(
    filled: Any, work: Any, scripted: Any, clock: Any
) -> None:
    outbox = filled(5)
    sink = scripted(HoldError("HTTP 401"), HoldError("HTTP 401"))
    worker = work(outbox, sink)
    for attempt in (1, 2):
        wait = await worker.step()
        assert outbox.counts()["siem"] == {
            "pending": 2,
            "delivered": 0,
            "parked": 3,
            "dead": 0,
            "suppressed": 0,
        }
        assert await worker.step() > 0.0
        assert len(sink.offered) == attempt, "a wrong credential is not tried with every batch that waits"
        clock.pass_s(wait)
    while await worker.step() == 0.0:
        pass
    assert outbox.counts()["siem"]["delivered"] == 5
    assert sink.taken == ids(*range(5))


class Picky:
    """A sink that refuses any batch with certain alerts in it."""

    def __init__(self, *refused: str) -> None:
        self.refused = set(refused)
        self.taken: list[str] = []
        self.requests = 0

    async def write(self, items: Sequence[dict[str, Any]]) -> None:
        self.requests += 1
        offered = [item["metadata"]["uid"] for item in items]
        if self.refused & set(offered):
            raise PoisonError("HTTP 400 what is this")
        self.taken += offered

    async def close(self) -> None:
        pass


async def test_one_refused_alert_does_not_take_others_with_it(filled: Any, work: Any) -> None:
    settings = Sink(name="siem", type="file", path="x", batch=100)
    outbox = filled(100, settings)
    sink = Picky(*ids(41))
    assert await work(outbox, sink, settings).step() == 0.0
    assert outbox.counts()["siem"] == {"pending": 0, "delivered": 99, "parked": 0, "dead": 1, "suppressed": 0}
    assert sink.taken == ids(*range(41), *range(42, 100))
    assert sink.requests <= 15, "it is found by halves"
    with outbox._store.reading() as connection:
        (said,) = connection.exec_driver_sql("SELECT last_error FROM outbox WHERE state = 'dead'").scalars()
    assert said == "HTTP 400 what is this"


async def test_a_pause_in_the_middle_of_a_refused_batch(filled: Any, work: Any, scripted: Any) -> None:
    settings = Sink(name="siem", type="file", path="x", batch=4)
    outbox = filled(4, settings)
    sink = scripted(PoisonError("all four"), RetryError("the first two", 5.0))
    assert await work(outbox, sink, settings).step() == 5.0
    assert sink.offered == [4, 2], "the second half waits behind the first"
    assert outbox.counts()["siem"]["pending"] == 4


outcomes = st.sampled_from(
    [None, RetryError("x"), RetryError("x", 9.0), HoldError("x"), PoisonError("x"), OSError(), ValueError()]
)
_examples = iter(range(10**6))


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("answers") / "guardian.db")
    store.create()
    yield store
    store.close()


@hypothesis_settings(max_examples=40)
@given(count=st.integers(0, 8), answers=st.lists(outcomes, max_size=12))
def test_whatever_is_answered_nothing_vanishes(
    one_store: Store, scripted: Any, rendered: Any, alert: Any, count: int, answers: list[Exception | None]
) -> None:
    example = next(_examples)
    settings = Sink(name=f"s{example}", type="file", path="x", batch=3)
    outbox = Outbox(one_store, [settings])
    alerts = [alert(example * 100 + number) for number in range(count)]
    with one_store.transaction() as connection:
        outbox.add(connection, alerts)
    now = [0]
    sink = scripted(*answers)
    worker = Worker(outbox, settings, sink, render=rendered, clock=lambda: now[0], jitter=lambda: 0.5)

    async def run() -> None:
        for _ in range(4 * len(answers) + 20):
            wait = await worker.step()
            counts = outbox.counts()[settings.name]
            assert sum(counts.values()) == count
            assert counts["delivered"] == len(sink.taken)
            now[0] += int(wait * 1e9) + 1

    asyncio.run(run())
    counts = outbox.counts()[settings.name]
    assert counts["pending"] == counts["parked"] == 0
    assert sorted(sink.taken) == sink.taken, "in the order in which they were raised"
    assert len(set(sink.taken)) == len(sink.taken) == count - counts["dead"]


class Stuck:
    """A sink that never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.closed = False

    async def write(self, _items: Sequence[dict[str, Any]]) -> None:
        self.asked.set()
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed = True


async def test_a_slow_sink_never_delays_another(filled: Any, work: Any, scripted: Any) -> None:
    settings = [Sink(name=name, type="file", path="x", batch=2) for name in ("slow", "fast")]
    outbox = filled(10, *settings)
    stuck, sink = Stuck(), scripted()
    slow, fast = work(outbox, stuck, settings[0], drain_s=0.0), work(outbox, sink, settings[1])
    running = asyncio.create_task(slow.run())
    await stuck.asked.wait()
    fast.stop()
    await fast.run()
    assert sink.taken == ids(*range(10))
    slow.stop()
    await running
    assert stuck.closed
    assert outbox.counts()["slow"]["pending"] == 10


async def test_stopping_waits_only_so_long(filled: Any, work: Any) -> None:
    outbox = filled(4)
    stuck = Stuck()
    worker = work(outbox, stuck, drain_s=0.05)
    worker.stop()
    await worker.run()
    assert stuck.closed
    assert outbox.counts()["siem"]["pending"] == 4, "what was not delivered is still owed"
    worker.stop()  # once more does no harm


async def test_stopping_during_a_pause_does_not_wait_for_its_end(
    filled: Any, work: Any, scripted: Any
) -> None:
    sink = scripted(RetryError("later", 3000.0))
    worker = work(filled(1), sink)
    running = asyncio.create_task(worker.run())
    while not sink.offered:
        await asyncio.sleep(0.01)
    worker.stop()
    await running
    assert sink.closed


async def test_new_alerts_wake_it(
    store: Store, filled: Any, work: Any, scripted: Any, alert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "IDLE_S", 3600.0)
    outbox = filled(0)
    sink = scripted()
    worker = work(outbox, sink)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.05)
    with store.transaction() as connection:
        outbox.add(connection, [alert(1)])
    worker.wake()
    while not sink.taken:
        await asyncio.sleep(0.01)
    worker.stop()
    await running
    assert sink.taken == ids(1)


async def test_a_database_that_fails_does_not_end_delivery(
    filled: Any, work: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = filled(2)
    real, failures = outbox.mark, [OSError("disk full"), OSError("disk full")]

    def mark(*arguments: Any, **named: Any) -> None:
        if failures:
            raise failures.pop()
        real(*arguments, **named)

    monkeypatch.setattr(outbox, "mark", mark)
    sink = scripted()
    worker = work(outbox, sink, jitter=lambda: 0.0)
    running = asyncio.create_task(worker.run())
    while outbox.counts()["siem"]["delivered"] < 2:
        await asyncio.sleep(0.01)
    worker.stop()
    await running
    assert sink.taken == ids(0, 1) * 3, "told again, with the same ids"


async def test_one_span_an_attempt(filled: Any, work: Any, scripted: Any) -> None:
    spans: list[tuple[str, dict[str, Any]]] = []

    @contextlib.contextmanager
    def span(name: str, **attributes: Any) -> Iterator[None]:
        spans.append((name, attributes))
        yield

    worker = work(filled(4), scripted(), span=span)
    while await worker.step() == 0.0:
        pass
    assert spans == [("guardian.delivery", {"sink": "siem", "alerts": count}) for count in (3, 1)]


class Receiver:
    """An HTTP endpoint that misbehaves as it is told, then takes everything."""

    def __init__(self, *moods: Any) -> None:
        self.moods = list(moods)
        self.received: list[str] = []
        self.closing = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        mood = self.moods.pop(0) if self.moods else 200
        if mood == "slow":
            await self.closing.wait()
        if mood == "hang up":
            assert request.transport is not None
            request.transport.close()
        if mood == "taken, then hang up":
            self.received += [item["metadata"]["uid"] for item in body]
            assert request.transport is not None
            request.transport.close()
        if isinstance(mood, int) and mood < 300:
            self.received += [item["metadata"]["uid"] for item in body]
        return web.Response(status=mood if isinstance(mood, int) else 200, headers={"Retry-After": "7"})

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[int]:
        app = web.Application()
        app.router.add_post("/in", self._answer)
        server = web.AppRunner(app, shutdown_timeout=0.0)
        await server.setup()
        await web.TCPSite(server, "127.0.0.1", port).start()
        try:
            yield server.addresses[0][1]
        finally:
            self.closing.set()
            await server.cleanup()


@pytest.mark.parametrize(
    ("mood", "state", "wait"),
    [
        (500, "pending", 7.0),
        (503, "pending", 7.0),
        (429, "pending", 7.0),
        (401, "parked", delivery.PARKED_WAIT_S),
        (403, "parked", delivery.PARKED_WAIT_S),
        (404, "parked", delivery.PARKED_WAIT_S),
        ("slow", "pending", 0.5),
        ("hang up", "pending", 0.5),
        ("taken, then hang up", "pending", 0.5),
    ],
)
async def test_a_real_receiver_that_misbehaves(
    filled: Any, work: Any, clock: Any, mood: Any, state: str, wait: float
) -> None:
    receiver = Receiver(mood, mood, 200)
    async with receiver.listening() as port:
        settings = Sink(
            name="siem", type="http", url=f"http://127.0.0.1:{port}/in", timeout_s=0.3, minimum_level="low"
        )
        outbox = filled(5, settings)
        sink = HttpSink(settings)
        worker = work(outbox, sink, settings)
        assert await worker.step() == wait
        assert outbox.counts()["siem"][state] == 5
        clock.pass_s(wait)
        clock.pass_s(await worker.step())
        assert await worker.step() == 0.0
        await sink.close()
    assert outbox.counts()["siem"]["delivered"] == 5
    assert set(receiver.received) == set(ids(*range(5)))


async def test_a_receiver_that_refuses_connections_and_then_a_body(
    filled: Any, work: Any, clock: Any
) -> None:
    receiver = Receiver(400, 413, 422, 200, 200)
    async with receiver.listening() as port:
        pass
    settings = Sink(name="siem", type="http", url=f"http://127.0.0.1:{port}/in", minimum_level="low")
    outbox = filled(3, settings)
    sink = HttpSink(settings)
    worker = work(outbox, sink, settings)
    assert await worker.step() == 0.5
    clock.pass_s(0.5)
    async with receiver.listening(port):
        # 400 to all three, 413 to the first alone, 422 to the other two, and then each of them is taken.
        assert await worker.step() == 0.0
        await sink.close()
    assert receiver.received == ids(1, 2)
    assert outbox.counts()["siem"] == {"pending": 0, "delivered": 2, "parked": 0, "dead": 1, "suppressed": 0}


_CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from exporters.delivery import Worker
from exporters.outbox import Outbox
from exporters.sinks.file import FileSink
from exporters.store import Store
from guardian.config import Sink

folder, moment = Path(sys.argv[1]), sys.argv[2]
settings = Sink(name="siem", type="file", path="x", batch=3)

class Killed(FileSink):
    writes = 0
    async def write(self, items):
        Killed.writes += 1
        if Killed.writes == 3 and moment == "inside":
            os.write(self._descriptor, b'{"metadata":{"uid":"to')
            os.kill(os.getpid(), signal.SIGKILL)
        await super().write(items)
        if Killed.writes == 3 and moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)

async def main():
    store = Store(folder / "guardian.db")
    store.create()
    sink = Killed(folder / "out.jsonl")
    worker = Worker(Outbox(store, [settings]), settings, sink, render=lambda each: {"metadata": {"uid": each.id}})
    if moment == "never":
        worker.stop()
    await worker.run()
    store.close()

asyncio.run(main())
"""


def test_kills_lose_nothing_and_change_no_id(tmp_path: Path, alert: Any, settings: Sink) -> None:
    """Killed after a batch is in the file and before the outbox knows, and in the middle of a line."""
    store = Store(tmp_path / "guardian.db")
    store.create()
    count = 20
    with store.transaction() as connection:
        Outbox(store, [settings]).add(connection, [alert(number) for number in range(count)])
    store.close()
    for moment in ("after", "inside", "never"):
        child = subprocess.run(
            [sys.executable, "-c", _CHILD, str(tmp_path), moment], cwd=Path(__file__).parents[2], check=False
        )
        assert child.returncode == (0 if moment == "never" else -signal.SIGKILL)
    found = [
        json.loads(line)["metadata"]["uid"] for line in (tmp_path / "out.jsonl").read_text().splitlines()
    ]
    assert set(found) == set(ids(*range(count)))
    assert len(found) == count + settings.batch, (
        "one batch was told twice, after the one kill that could not know"
    )
    again = Store(tmp_path / "guardian.db")
    assert Outbox(again, [settings]).counts()["siem"]["delivered"] == count
    again.close()
