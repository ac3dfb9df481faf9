"""Delivery: nothing accepted vanishes, whatever the receiver says and however often we are killed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from exporters import delivery, own_alerts
from exporters.breaker import LONGEST_ASKED_S, PARKED_WAIT_S, Standing
from exporters.delivery import Worker, gauges
from exporters.metrics import Counters
from exporters.metrics_table import METRICS
from exporters.outbox import Outbox
from exporters.store import Store
from guardian.errors import HoldError, PoisonError, RetryError
from guardian.ports import Answers, Message
from guardian.sink_settings import File, Sink

from .conftest import Scripted, make_alert

NOTHING = {"pending": 0, "delivered": 0, "parked": 0, "dead": 0, "suppressed": 0}


@pytest.fixture
def work(settings: Sink, clock: Any, rendered: Any) -> Callable[..., Worker]:
    def make(outbox: Outbox, sink: Any, settings: Sink = settings, **changed: Any) -> Worker:
        return Worker(
            outbox, settings, sink, **{"render": rendered, "clock": clock, "jitter": lambda: 1.0} | changed
        )

    return make


def ids(*numbers: int) -> list[str]:
    return [f"{number:032x}" for number in numbers]


def said_of(outbox: Outbox, state: str) -> list[tuple[str, str, bytes | None]]:
    with outbox.store.reading() as connection:
        found = connection.exec_driver_sql(
            "SELECT reason, last_error, body FROM outbox WHERE state = ? ORDER BY seq", (state,)
        )
        return [(row[0], row[1], row[2]) for row in found]


async def test_delivered_in_order_and_in_batches(filled: Any, work: Any, scripted: Any) -> None:
    sink = scripted()
    worker = work(filled(7), sink)
    worker.stop()
    await worker.run()
    assert sink.taken == ids(*range(7))
    assert sink.offered == [3, 3, 1]
    assert sink.closed


async def test_batches_are_cut_by_bytes_too(filled: Any, work: Any, scripted: Any) -> None:
    settings = File(name="siem", path="x", batch=100, batch_bytes=1024)
    sink = scripted()
    worker = work(
        filled(5, settings), sink, settings, render=lambda each: b"x" * (500, 500, 2000, 100, 100)[each.event]
    )
    worker.stop()
    await worker.run()
    assert sink.offered == [2, 1, 2], "one that is larger than all room goes alone"
    assert sink.taken == ids(*range(5))


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
    with outbox.store.transaction() as connection:
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


async def test_a_receiver_that_comes_back_is_not_flooded(
    filled: Any, work: Any, scripted: Any, clock: Any
) -> None:
    settings = File(name="siem", path="x", batch=10)
    outbox = filled(60, settings)
    sink = scripted(*[RetryError("down")] * 5)
    worker = work(outbox, sink, settings)
    for _ in range(4):
        clock.pass_s(await worker.step())
    await worker.step()
    assert sink.offered == [10, 10, 10, 1, 1], "once the breaker is open, one alert asks for all"
    assert worker.standing.breaker(clock.now) == "open"
    worker = work(outbox, sink, settings)
    clock.pass_s(await worker.step())
    assert worker.standing.breaker(clock.now) == "half-open", "over a restart too"
    sink.offered.clear()
    while await worker.step() == 0.0:
        pass
    assert sink.offered == [1, 2, 4, 8, 10, 10, 10, 10, 5]
    assert worker.standing == Standing()
    assert sink.taken == ids(*range(60))


async def test_a_wall_clock_that_is_set_back_stops_nothing(
    filled: Any, work: Any, scripted: Any, clock: Any
) -> None:
    sink = scripted(RetryError("for ever", 1e300))
    worker = work(filled(1), sink)
    assert await worker.step() == LONGEST_ASKED_S
    clock.now -= 10**18
    assert await worker.step() == 0.0
    assert sink.taken == ids(0)


async def test_a_receiver_that_asks_for_no_pause_gets_one(filled: Any, work: Any, scripted: Any) -> None:
    worker = work(filled(1), scripted(RetryError("HTTP 429", 0.0)), jitter=lambda: 0.0)
    assert await worker.step() == 0.01


async def test_a_whole_day_of_outage(filled: Any, work: Any, scripted: Any, clock: Any, alert: Any) -> None:
    """Alerts come all day and the service is restarted now and then: all arrive, in order, after few attempts."""
    outbox = filled(0)
    start, day = clock.now, 24 * 3600 * 10**9
    sink, chance, raised = scripted(), random.Random(7), 0
    worker = work(outbox, sink, jitter=chance.random)
    while clock.now - start < day:
        while raised * day < 200 * (clock.now - start):
            with outbox.store.transaction() as connection:
                outbox.add(connection, [alert(raised)])
            raised += 1
        if chance.random() < 0.01:
            worker = work(outbox, sink, jitter=chance.random)
        sink.answers = [RetryError("down")]
        clock.pass_s(await worker.step())
    assert len(sink.offered) < 4000, "a mean wait of 30 s, however much is waiting"
    assert sum(sink.offered) < len(sink.offered) + 10, "one alert asks for all"
    sink.answers = []
    while outbox.counts()["siem"]["pending"]:
        clock.pass_s(await worker.step())
    assert sink.taken == ids(*range(raised))
    assert raised == 200


async def test_a_credential_that_does_not_work_parks_and_drops_nothing(
    filled: Any, work: Any, scripted: Any, clock: Any
) -> None:
    outbox = filled(5)
    sink = scripted(HoldError("HTTP 401"), HoldError("HTTP 401"))
    worker = work(outbox, sink)
    for attempt in (1, 2):
        wait = await worker.step()
        assert wait == PARKED_WAIT_S
        assert outbox.counts()["siem"] == NOTHING | {"pending": 2, "parked": 3, "suppressed": attempt and 1}
        assert await worker.step() > 0.0
        assert len(sink.offered) == attempt, "a wrong credential is not tried with every batch that waits"
        clock.pass_s(wait)
    assert sink.offered == [3, 1], "nor with more than one alert"
    while await worker.step() == 0.0:
        pass
    assert outbox.counts()["siem"] == NOTHING | {"delivered": 5, "suppressed": 2}
    assert sink.taken == ids(*range(5))


async def test_others_are_told_of_a_credential_that_does_not_work_and_of_its_end(
    filled: Any, work: Any, scripted: Any, clock: Any
) -> None:
    settings = [File(name=name, path="x", batch=2) for name in ("siem", "pager")]
    outbox = filled(1, *settings)
    broken, pager = scripted(HoldError("HTTP 401"), HoldError("HTTP 401")), scripted()
    first, second = work(outbox, broken, settings[0]), work(outbox, pager, settings[1])
    began = clock.now
    for _ in range(3):
        clock.pass_s(await first.step())
    while await second.step() == 0.0:
        pass
    held = own_alerts.held("siem", began)
    items, total = outbox.page(limit=9, offset=0)
    assert pager.taken[:2] == [*ids(0), held.id]
    assert len(pager.taken) == total == 3, "told once, and once that it is over"
    assert (items[0]["entity"], items[0]["activity"], items[0]["finding"]) == (
        "guardian:sink:siem",
        "resolved",
        held.id,
    )
    assert broken.taken == ids(0), "nobody is told about himself"
    broken.answers = [HoldError("HTTP 401")]
    with outbox.store.transaction() as connection:
        outbox.add(connection, [make_alert(1)])
    await first.step()
    assert outbox.page(limit=9, offset=0)[1] == 4, "not again within the hour"
    while await second.step() == 0.0:
        pass
    assert len(pager.taken) == 4


async def test_two_sinks_that_are_held_do_not_tell_each_other_for_ever(
    filled: Any, work: Any, scripted: Any, clock: Any
) -> None:
    settings = [File(name=name, path="x", batch=2) for name in ("one", "two")]
    outbox = filled(2, *settings)
    sinks = [scripted(*[HoldError("HTTP 401")] * 50) for _ in settings]
    workers = [work(outbox, sink, each) for sink, each in zip(sinks, settings, strict=True)]
    for _ in range(50):
        for worker in workers:
            await worker.step()
        clock.pass_s(PARKED_WAIT_S)
    assert outbox.page(limit=99, offset=0)[1] == 4, "two alerts, and one about each"
    for counts in outbox.counts().values():
        assert counts["parked"] + counts["pending"] == 3
        assert counts["suppressed"] == 1


class Picky(Scripted):
    """A sink that refuses any batch with certain alerts in it."""

    def __init__(self, *refused: str) -> None:
        super().__init__()
        self.refused = set(refused)

    async def write(self, messages: Sequence[Message]) -> Answers:
        self.answers = [PoisonError("HTTP 400 what is this")] * any(
            each.id in self.refused for each in messages
        )
        return await super().write(messages)


async def test_one_refused_alert_does_not_take_others_with_it(filled: Any, work: Any) -> None:
    settings = File(name="siem", path="x", batch=100)
    outbox = filled(100, settings)
    sink = Picky(*ids(41))
    assert await work(outbox, sink, settings).step() == 0.0
    assert outbox.counts()["siem"] == NOTHING | {"delivered": 99, "dead": 1}
    assert sink.taken == ids(*range(41), *range(42, 100))
    assert len(sink.offered) <= 15, "it is found by halves"
    assert said_of(outbox, "dead") == [("refused", "HTTP 400 what is this", ids(41)[0].encode())]


async def test_a_pause_in_the_middle_of_a_refused_batch(filled: Any, work: Any, scripted: Any) -> None:
    settings = File(name="siem", path="x", batch=4)
    outbox = filled(4, settings)
    sink = scripted(PoisonError("all four"), RetryError("the first two", 5.0))
    assert await work(outbox, sink, settings).step() == 5.0
    assert sink.offered == [4, 2], "the second half waits behind the first"
    assert outbox.counts()["siem"]["pending"] == 4


async def test_each_item_lands_where_its_answer_says(
    filled: Any, work: Any, scripted: Any, clock: Any
) -> None:
    settings = File(name="siem", path="x", batch=6)
    outbox = filled(6, settings)
    zero, one, two, three, *_ = ids(*range(6))
    refused = {
        one: PoisonError("400 mapper"),
        two: RetryError("429", 7.0),
        three: HoldError("403"),
        "never sent": PoisonError("?"),
    }
    counters = Counters()
    sink = scripted(Answers(refused, duplicates=2))
    worker = work(outbox, sink, settings, counters=counters)
    assert await worker.step() == PARKED_WAIT_S
    counts = {"delivered": 3, "dead": 1, "pending": 1, "parked": 1, "suppressed": 1}
    assert outbox.counts()["siem"] == counts, "and what tells of the hold"
    assert worker.standing.breaker(clock.now) == "open"
    clock.pass_s(PARKED_WAIT_S)
    while await worker.step() == 0.0:
        pass
    assert sink.taken == [zero, *ids(4, 5), two, three]
    values, histograms, _ = counters.snapshot()
    assert values["tamv_guardian_delivery_duplicates_total"] == {("siem",): 2.0}
    assert values["tamv_guardian_delivery_attempts_total"] == {
        ("siem", "partly"): 1.0,
        ("siem", "taken"): 2.0,
    }
    assert sum(histograms["tamv_guardian_delivery_seconds"]["siem",].counts) == 5


async def test_an_item_that_is_refused_for_ever_does_not_hold_up_others(
    filled: Any, work: Any, clock: Any
) -> None:
    """One item is refused each time while others are taken: it keeps its place at first, then others pass it."""

    class Stubborn(Scripted):
        async def write(self, messages: Sequence[Message]) -> Answers:
            self.answers = [Answers({ids(1)[0]: RetryError("shard is gone")})]
            return await super().write(messages)

    outbox = filled(40)
    sink = Stubborn()
    worker = work(outbox, sink)
    waits = [await worker.step() for _ in range(1)]
    while outbox.counts()["siem"]["pending"] > 1:
        clock.pass_s(waits[-1])
        waits.append(await worker.step())
    assert sum(wait > 0.0 for wait in waits) == delivery.SET_ASIDE_AFTER
    assert sink.taken == ids(0, *range(2, 40))
    assert await worker.step() == delivery.IDLE_S


async def test_an_alert_that_no_form_can_tell_is_a_dead_letter(filled: Any, work: Any, scripted: Any) -> None:
    def render(each: Any) -> bytes:
        return {1: b"one"}[each.event]

    outbox, sink = filled(3), scripted()
    await work(outbox, sink, render=render).step()
    assert sink.taken == ids(1)
    assert said_of(outbox, "dead") == [
        ("not_rendered", "KeyError: 0", None),
        ("not_rendered", "KeyError: 2", None),
    ]


async def test_what_waits_too_long_becomes_a_dead_letter(
    filled: Any, work: Any, scripted: Any, clock: Any, store: Store, alert: Any
) -> None:
    settings = File(name="siem", path="x", batch=3, retention_s=3600.0)
    outbox = Outbox(store, [settings], clock=clock)
    with store.transaction() as connection:
        outbox.add(connection, [alert(1), alert(2)])
    clock.pass_s(3000.0)
    with store.transaction() as connection:
        outbox.add(connection, [alert(3)])
    clock.pass_s(3000.0)
    sink = scripted(RetryError("down"))
    worker = work(outbox, sink, settings)
    assert outbox.counts()["siem"]["dead"] == 0, "not because nobody was there to send it"
    clock.pass_s(await worker.step())
    assert said_of(outbox, "dead") == [("expired", "down", None)] * 2
    await worker.step()
    assert sink.taken == ids(3)


async def test_the_fallback_takes_over_what_the_primary_does_not_take(
    work: Any, scripted: Any, clock: Any, store: Store, alert: Any
) -> None:
    primary = File(name="siem", path="x", batch=3, fallback="pager", fallback_after_s=30.0)
    other = File(name="pager", path="x", batch=100, minimum_level="critical")
    outbox = Outbox(store, [primary, other], clock=clock)

    def more(*numbers: int) -> None:
        with store.transaction() as connection:
            outbox.add(connection, [alert(number) for number in numbers])

    down, pager = scripted(*[RetryError("down")] * 1000), scripted()
    worker, second = work(outbox, down, primary), work(outbox, pager, other)
    began = clock.now
    more(*range(10))
    while outbox.counts()["pager"]["pending"] == 0:
        assert outbox.counts()["siem"] == NOTHING | {"pending": 10}
        clock.pass_s(await worker.step())
    assert 30.0 <= (clock.now - began) / 1e9 < 32.0
    assert outbox.counts() == {"siem": NOTHING | {"suppressed": 10}, "pager": NOTHING | {"pending": 10}}
    assert {reason for reason, *_ in said_of(outbox, "suppressed")} == {"handed_over"}
    more(10, 11)
    for _ in range(3):
        clock.pass_s(min(await worker.step(), 1.0))
    assert outbox.counts()["siem"]["suppressed"] == 12, "what comes while it is down does not wait again"
    while await second.step() == 0.0:
        pass
    assert pager.taken == ids(*range(12))
    clock.pass_s(60.0)
    down.answers = []
    more(12)
    await worker.step()
    assert down.taken == ids(12), "once it is back, it gets what comes"
    assert outbox.counts()["siem"] == NOTHING | {"suppressed": 12, "delivered": 1}


errors = st.sampled_from(
    [RetryError("x"), RetryError("x", 9.0), HoldError("x"), PoisonError("x"), OSError(), ValueError()]
)
outcomes = st.one_of(
    st.none(),
    errors,
    st.lists(st.sampled_from([None, *map(RetryError, "ab"), HoldError("x"), PoisonError("x")])),
)


class Whim(Scripted):
    """A sink that answers for all of them, or item by item in a given pattern."""

    def __init__(self, answers: Sequence[Any]) -> None:
        super().__init__()
        self.script = list(answers)

    async def write(self, messages: Sequence[Message]) -> Answers:
        answer = self.script.pop(0) if self.script else None
        if isinstance(answer, list):
            pairs = zip(messages, answer, strict=False)
            answer = Answers({message.id: error for message, error in pairs if error is not None})
        self.answers = [answer]
        return await super().write(messages)


@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(0, 8), first=st.lists(outcomes, max_size=12), second=st.lists(outcomes, max_size=6))
def test_whatever_is_answered_nothing_vanishes(
    one_store: Store, count: int, first: list[Any], second: list[Any]
) -> None:
    """Two sinks, one the fallback of the other: each alert is delivered or a dead letter somewhere, and counts are exact."""
    example = next(_examples)
    settings = [
        File(name=f"s{example}a", path="x", batch=3, fallback=f"s{example}b", fallback_after_s=20.0),
        File(name=f"s{example}b", path="x", batch=3, minimum_level="critical"),
    ]
    now = [2 * 10**18]
    outbox = Outbox(one_store, settings, clock=lambda: now[0])
    alerts = [make_alert(example * 100 + number) for number in range(count)]
    with one_store.transaction() as connection:
        outbox.add(connection, alerts)
    sinks = [Whim(first), Whim(second)]
    workers = [
        Worker(
            outbox,
            each,
            sink,
            render=lambda alert: alert.id.encode(),
            clock=lambda: now[0],
            jitter=lambda: 0.5,
        )
        for each, sink in zip(settings, sinks, strict=True)
    ]

    async def run() -> None:
        for _ in range(7 * (len(first) + len(second)) + 20):
            for worker in workers:
                await worker.step()
            counts = outbox.counts()
            for each, sink in zip(settings, sinks, strict=True):
                assert counts[each.name]["delivered"] == len(sink.taken) == len(set(sink.taken))
            assert sum(counts[settings[0].name].values()) == sum(counts[settings[1].name].values())
            if not any(each["pending"] + each["parked"] for each in counts.values()):
                break
            now[0] += 5 * 10**9

    asyncio.run(run())
    counts = outbox.counts()
    by_item = any(isinstance(answer, list) for answer in first + second)
    for each, sink in zip(settings, sinks, strict=True):
        assert counts[each.name]["pending"] == counts[each.name]["parked"] == 0
        raised = [name for name in sink.taken if name in {alert.id for alert in alerts}]
        assert by_item or raised == sorted(raised), "in the order in which they were raised"
    with one_store.reading() as connection:
        dead = connection.exec_driver_sql(
            "SELECT alert_id FROM outbox WHERE state = 'dead' AND sink LIKE ?", (f"s{example}_",)
        )
        somewhere = {*sinks[0].taken, *sinks[1].taken, *dead.scalars()}
    assert {alert.id for alert in alerts} <= somewhere


_examples = iter(range(1, 10**6))


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    made = Store(tmp_path_factory.mktemp("answers") / "guardian.db")
    sa.event.listen(made._engine, "connect", lambda each, _record: each.execute("PRAGMA synchronous=OFF"))
    made.create()
    yield made
    made.close()


class Stuck:
    """A sink that never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.closed = False

    async def write(self, _messages: Sequence[Message]) -> Answers:
        self.asked.set()
        await asyncio.Event().wait()
        return Answers()

    async def close(self) -> None:
        self.closed = True


async def test_the_fallback_takes_over_from_a_write_that_hangs(filled: Any, work: Any) -> None:
    primary = File(name="siem", path="x", batch=3, fallback="pager", fallback_after_s=0.05)
    outbox = filled(5, primary, File(name="pager", path="x"))
    stuck = Stuck()
    worker = work(outbox, stuck, primary, drain_s=0.0)
    running = asyncio.create_task(worker.run())
    while outbox.counts()["siem"]["pending"]:
        await asyncio.sleep(0.01)
    assert outbox.counts() == {"siem": NOTHING | {"suppressed": 5}, "pager": NOTHING | {"pending": 5}}
    worker.stop()
    await running
    assert stuck.closed


async def test_heartbeats_go_the_way_of_every_alert_and_are_timed(
    work: Any, scripted: Any, clock: Any, store: Store, alert: Any
) -> None:
    settings = File(name="siem", path="x", heartbeat_s=60.0)
    outbox = Outbox(store, [settings], clock=clock)
    sink = scripted(RetryError("down", 5.0))
    worker = work(outbox, sink, settings)
    first = own_alerts.heartbeat("siem", clock.now)
    clock.pass_s(await worker.step())
    assert gauges([worker], outbox, now=clock.now)["tamv_guardian_sink_heartbeat_seconds"] == {}
    await worker.step()
    assert sink.taken == [first.id]
    assert worker.heartbeat_s == pytest.approx(5.0)
    for _ in range(8):
        clock.pass_s(30.0)
        await worker.step()
    assert len(sink.taken) == 5, "one a minute"
    assert len(set(sink.taken)) == 5
    again = work(outbox, sink, settings)
    await again.step()
    assert len(sink.taken) == 5, "a restart sends none before its time"


async def test_what_the_metrics_show(filled: Any, work: Any, scripted: Any, clock: Any) -> None:
    outbox = filled(1)
    worker = work(outbox, scripted(*[HoldError("HTTP 401")] * 3))
    await worker.step()
    shown = gauges([worker], outbox, now=clock.now)
    assert set(shown) <= {row.name for row in METRICS if row.kind == "gauge"}
    assert shown["tamv_guardian_sink_held"] == {("siem",): 1.0}
    assert shown["tamv_guardian_sink_breaker"] == {("siem",): 2.0}
    clock.now += PARKED_WAIT_S * 10**9
    assert gauges([worker], outbox, now=int(clock.now))["tamv_guardian_sink_breaker"] == {("siem",): 1.0}
    assert list(shown["tamv_guardian_outbox_oldest_seconds"]) == [("siem",)]


async def test_a_slow_sink_never_delays_another(filled: Any, work: Any, scripted: Any) -> None:
    settings = [File(name=name, path="x", batch=2) for name in ("slow", "fast")]
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


_CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from exporters.delivery import Worker
from exporters.outbox import Outbox
from exporters.store import Store
from guardian.ports import Answers
from guardian.sink_settings import File

folder, moment = Path(sys.argv[1]), sys.argv[2]
settings = File(name="siem", path="x", batch=3)

class Killed:
    writes = 0
    async def write(self, messages):
        Killed.writes += 1
        if Killed.writes == 3 and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        with (folder / "out.jsonl").open("ab") as file:
            file.writelines(each.body + b"\\n" for each in messages)
        if Killed.writes == 3 and moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return Answers()
    async def close(self):
        pass

async def main():
    store = Store(folder / "guardian.db")
    store.create()
    worker = Worker(Outbox(store, [settings]), settings, Killed(), render=lambda each: each.id.encode())
    if moment == "never":
        worker.stop()
    await worker.run()
    store.close()

asyncio.run(main())
"""


def test_kills_lose_nothing_and_change_no_id(tmp_path: Path, alert: Any, settings: Sink) -> None:
    """Killed after a batch is with the receiver and before the outbox knows, and before it is."""
    store = Store(tmp_path / "guardian.db")
    store.create()
    count = 20
    with store.transaction() as connection:
        Outbox(store, [settings]).add(connection, [alert(number) for number in range(count)])
    store.close()
    for moment in ("after", "before", "never"):
        child = subprocess.run(
            [sys.executable, "-c", _CHILD, str(tmp_path), moment], cwd=Path(__file__).parents[2], check=False
        )
        assert child.returncode == (0 if moment == "never" else -signal.SIGKILL)
    found = (tmp_path / "out.jsonl").read_text().splitlines()
    assert set(found) == set(ids(*range(count)))
    assert len(found) == count + settings.batch, (
        "one batch was told twice, after the one kill that could not know"
    )
    again = Store(tmp_path / "guardian.db")
    assert Outbox(again, [settings]).counts()["siem"]["delivered"] == count
    again.close()
