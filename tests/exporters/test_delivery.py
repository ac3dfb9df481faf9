"""Delivery: nothing accepted vanishes, whatever the receiver says and however often we are killed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from exporters import outbox as boxes
from exporters.delivery import AuthorisationError, PoisonError, RetryError, Worker
from exporters.outbox import Alert, Outbox, get_cursor, set_cursor
from exporters.sinks.file import FileSink
from exporters.sinks.http import HttpSink, check_credentials
from exporters.store import Store
from guardian.config import Sink
from guardian.errors import MachineError
from guardian.levels import Level


def alert(number: int, level: Level = Level.HIGH) -> Alert:
    return Alert(
        id=f"{number:032x}",
        created_at=10**18 + number,
        role="address",
        entity=f"10.0.0.{number}",
        layer=5,
        level_from=Level.NONE,
        level_to=level,
        score=20.0 * level,
        reasons=({"channel": "rule", "contribution": 20.0 * level, "kind": "login", "event": number},),
        event=number,
        trace_id="",
        config="c",
        synthetic=False,
    )


def render(each: Alert) -> dict[str, Any]:
    return {"metadata": {"uid": each.id}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "guardian.db")
    made.create()
    yield made
    made.close()


def filled(store: Store, sinks: Sequence[Sink], alerts: Sequence[Alert]) -> Outbox:
    outbox = Outbox(store, sinks)
    with store.transaction() as connection:
        outbox.add(connection, alerts)
    return outbox


FILE = Sink(name="file", type="file", path="x", minimum_level="medium", batch=3)


class Scripted:
    """A sink that answers as it is told, and keeps what it took."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.taken: list[str] = []
        self.closed = False

    async def write(self, items: Sequence[dict[str, Any]]) -> None:
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.taken += [item["metadata"]["uid"] for item in items]

    async def close(self) -> None:
        self.closed = True


class Clock:
    def __init__(self) -> None:
        self.now = 10**18

    def __call__(self) -> int:
        return self.now


def worker(outbox: Outbox, sink: Scripted, clock: Clock | None = None) -> Worker:
    return Worker(outbox, FILE, sink, render=render, clock=clock or Clock(), jitter=lambda: 1.0)


def test_an_alert_is_accepted_once(store: Store) -> None:
    outbox = filled(store, [FILE], [alert(1), alert(2, Level.LOW)])
    with store.transaction() as connection:
        assert outbox.add(connection, [alert(1), alert(3)]) == [alert(3)]
        set_cursor(connection, "engine", 7)
        set_cursor(connection, "engine", 9)
    with store.reading() as connection:
        assert get_cursor(connection, "engine") == 9
        assert get_cursor(connection, "other") == 0
    assert outbox.counts() == {
        "file": {"pending": 2, "delivered": 0, "parked": 0, "dead": 0, "suppressed": 1},
    }
    items, total = outbox.page(limit=2, offset=0)
    assert total == 3
    assert [item["id"] for item in items] == [alert(3).id, alert(2).id]
    assert items[0]["recommendedAction"] == ["block"]
    assert items[0]["layer"] == "L5"


async def test_delivered_in_order_and_in_batches(store: Store) -> None:
    outbox = filled(store, [FILE], [alert(n) for n in range(7)])
    sink = Scripted()
    work = worker(outbox, sink)
    work.stop()
    await work.run()
    assert sink.taken == [alert(n).id for n in range(7)]
    assert sink.closed


async def test_a_receiver_that_is_down_gets_everything_later(store: Store) -> None:
    outbox = filled(store, [FILE], [alert(1)])
    clock = Clock()
    sink = Scripted(RetryError("down"), RetryError("busy", 30.0), OSError("cable"))
    work = worker(outbox, sink, clock)
    waits = []
    for _ in range(3):
        waits.append(await work.step())
        assert await work.step() > 0.0, "not due yet"
        clock.now += int(waits[-1] * 1e9)
    assert waits == [0.5, 30.0, 1.0]
    assert outbox.counts()["file"]["pending"] == 1
    assert await work.step() == 0.0
    assert sink.taken == [alert(1).id]


async def test_a_whole_day_of_outage(store: Store) -> None:
    outbox = filled(store, [FILE], [alert(n) for n in range(5)])
    clock = Clock()
    start = clock.now
    sink = Scripted()
    work = worker(outbox, sink, clock)
    attempts = 0
    while clock.now - start < 24 * 3600 * 10**9:
        sink.answers = [RetryError("down")]
        wait = await work.step()
        attempts += not sink.answers
        clock.now += max(int(wait * 1e9), 10**9)
    assert 1400 <= attempts <= 1800, "about once a minute, after the first ones"
    sink.answers = []
    clock.now += 61 * 10**9
    while await work.step() == 0.0:
        pass
    assert sink.taken == [alert(n).id for n in range(5)]


async def test_a_credential_that_does_not_work_parks_and_drops_nothing(store: Store) -> None:
    outbox = filled(store, [FILE], [alert(1)])
    clock = Clock()
    sink = Scripted(AuthorisationError("HTTP 401"))
    work = worker(outbox, sink, clock)
    wait = await work.step()
    assert outbox.counts()["file"]["parked"] == 1
    clock.now += int(wait * 1e9)
    await work.step()
    assert outbox.counts()["file"]["delivered"] == 1


async def test_one_poisoned_alert_does_not_take_others_with_it(store: Store) -> None:
    outbox = filled(store, [FILE], [alert(1), alert(2), alert(3)])
    sink = Scripted(PoisonError("a batch"), None, PoisonError("HTTP 400: no"), None)
    assert await worker(outbox, sink).step() == 0.0
    assert outbox.counts()["file"] == {"pending": 0, "delivered": 2, "parked": 0, "dead": 1, "suppressed": 0}
    assert sink.taken == [alert(1).id, alert(3).id]


outcomes = st.sampled_from(
    [None, RetryError("x"), RetryError("x", 0.0), AuthorisationError("x"), PoisonError("x"), OSError()]
)


@given(
    levels=st.lists(st.sampled_from(list(Level)[1:]), max_size=8),
    answers=st.lists(outcomes, max_size=12),
    repeats=st.booleans(),
)
def test_the_law_of_conservation(
    tmp_path_factory: pytest.TempPathFactory,
    levels: list[Level],
    answers: list[Exception | None],
    repeats: bool,
) -> None:
    """accepted = delivered + pending + parked + dead + suppressed, at every step."""
    store = Store(tmp_path_factory.mktemp("law") / "guardian.db")
    store.create()
    alerts = [alert(n, level) for n, level in enumerate(levels)]
    outbox = filled(store, [FILE], alerts * (2 if repeats else 1))
    clock = Clock()
    work = worker(outbox, Scripted(*answers), clock)

    async def run() -> None:
        for _ in range(len(answers) + 3):
            await work.step()
            assert sum(outbox.counts()["file"].values()) == len(alerts)
            clock.now += 61 * 10**9

    asyncio.run(run())
    store.close()


async def received(
    answer: Callable[[web.Request], web.Response], settings: Sink, items: Sequence[dict[str, Any]]
) -> list[web.Request]:
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        seen.append(request)
        return answer(request)

    app = web.Application()
    app.router.add_post("/in", handle)
    server = web.AppRunner(app)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{server.addresses[0][1]}/in"
    sink = HttpSink(Sink(**{**{f: getattr(settings, f) for f in settings.__struct_fields__}, "url": url}))
    try:
        await sink.write(items)
    finally:
        await sink.close()
        await server.cleanup()
    return seen


HTTP = Sink(name="siem", type="http", url="-", timeout_s=0.5)
ITEMS = [render(alert(1)), render(alert(2))]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, None) for status in (200, 204)),
        *((status, RetryError) for status in (302, 429, 500, 503)),
        *((status, AuthorisationError) for status in (401, 403)),
        *((status, PoisonError) for status in (400, 413, 422)),
    ],
)
async def test_what_answers_mean(status: int, error: type[Exception] | None) -> None:
    def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, text="why " * 1000, headers={"Retry-After": "7"})

    if error is None:
        (request,) = await received(answer, HTTP, ITEMS)
        assert await request.json() == ITEMS
        return
    with pytest.raises(error) as caught:
        await received(answer, HTTP, ITEMS)
    assert len(str(caught.value)) < 400
    if isinstance(caught.value, RetryError):
        assert caught.value.wait_s == 7.0


async def test_the_token_is_read_anew(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("t0ken\n")
    settings = Sink(name="siem", type="http", url="-", token_file=str(secret))
    (request,) = await received(lambda _request: web.Response(), settings, ITEMS)
    assert request.headers["Authorization"] == "Bearer t0ken"
    secret.unlink()
    with pytest.raises(AuthorisationError, match="token_file"):
        await received(lambda _request: web.Response(), settings, ITEMS)
    with pytest.raises(MachineError, match=r"sinks\.siem\.token_file"):
        check_credentials(settings)


async def test_nobody_listens() -> None:
    sink = HttpSink(Sink(name="siem", type="http", url="http://127.0.0.1:9/in"))
    with pytest.raises(RetryError):
        await sink.write(ITEMS)
    await sink.close()


async def test_a_torn_line_is_cut_before_more_is_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.jsonl"
    sink = FileSink(path)
    await sink.write(ITEMS)
    await sink.close()
    with path.open("ab") as file:
        file.write(b'{"metadata":{"uid":"torn' + b"x" * 100_000)
    again = FileSink(path)
    await again.write([render(alert(3))])
    await again.close()
    assert [json.loads(line)["metadata"]["uid"] for line in path.read_text().splitlines()] == [
        alert(n).id for n in (1, 2, 3)
    ]
    with pytest.raises(MachineError, match="cannot be written"):
        FileSink(Path("/proc/no/a.jsonl"))


_CHILD = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.exporters.test_delivery import FILE, render
from exporters.delivery import Worker
from exporters.outbox import Outbox
from exporters.sinks.file import FileSink
from exporters.store import Store
store = Store(Path(sys.argv[1]) / "guardian.db")
store.create()
work = Worker(Outbox(store, [FILE]), FILE, FileSink(Path(sys.argv[1]) / "out.jsonl"), render=render)
print("ready", flush=True)
asyncio.run(work.run())
"""


def test_kills_between_writing_and_marking_lose_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "guardian.db")
    store.create()
    count = 300
    filled(store, [FILE], [alert(n) for n in range(count)])
    store.close()
    root = str(Path(__file__).parents[2])
    out = tmp_path / "out.jsonl"
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(tmp_path), root], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            before = out.read_bytes().count(b"\n")
            while out.read_bytes().count(b"\n") < min(before + 40, count):
                pass
            child.kill()
    store = Store(tmp_path / "guardian.db")
    store.create()
    outbox = Outbox(store, [FILE])

    async def finish() -> None:
        sink = FileSink(out)
        work = Worker(outbox, FILE, sink, render=render)
        while await work.step() == 0.0:
            pass
        await sink.close()

    asyncio.run(finish())
    store.close()
    ids = [json.loads(line)["metadata"]["uid"] for line in out.read_text().splitlines()]
    assert set(ids) == {alert(n).id for n in range(count)}
    assert len(ids) <= count + 6 * FILE.batch, "at most one batch is told again after each kill"


def test_states_are_the_ones_the_metric_names() -> None:
    from exporters.metrics import METRICS

    (row,) = [row for row in METRICS if row.name == "tamv_guardian_outbox_rows"]
    assert row.labels["state"] == boxes.STATES
