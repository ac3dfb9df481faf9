"""The Alertmanager sink: what is open is sent again while it is open, so that Alertmanager may forget."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from exporters.sinks import alertmanager as module
from exporters.sinks.alertmanager import AlertmanagerSink
from guardian.errors import DeliveryError, HoldError, PoisonError, RetryError
from guardian.levels import Level
from guardian.ports import Answers, Message
from guardian.sink_settings import Alertmanager
from tests.receivers_http import alertmanager, free_port, message, served, until

AGAIN_S = 0.05


def alert(number: int, *, over: bool = False, level: Level = Level.HIGH) -> Message:
    """What a form of Alertmanager holds: labels that stay, and an end once it is over."""
    finding = f"{number:032x}"
    body: dict[str, Any] = {
        "labels": {"alertname": "TamvGuardianThreat", "finding": finding, "severity": level.name.lower()},
        "annotations": {"summary": "señal"},
        "startsAt": "2026-01-01T00:00:00Z",
    }
    if over:
        body["endsAt"] = datetime.now(UTC).isoformat()
    return message(
        number + (1000 if over else 0),
        finding=finding,
        level=Level.NONE if over else level,
        body=json.dumps(body).encode(),
    )


class Memory:
    """An Alertmanager that keeps what it is posted."""

    def __init__(self) -> None:
        self.posts: list[list[str]] = []
        self.open: dict[str, bool] = {}
        self.status = 200
        self.asked: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert (request.method, request.path) == ("POST", "/api/v2/alerts")
        assert request.content_type == "application/json"
        self.asked.append(request)
        alerts = json.loads(await request.read())
        if self.status in (200, 400):  # it takes those that are right, and answers 400 for the others
            self.posts.append([each["labels"]["finding"] for each in alerts])
            self.open |= {each["labels"]["finding"]: "endsAt" not in each for each in alerts}
        return web.Response(status=self.status, text="why")

    @asynccontextmanager
    async def sink(self, **settings: Any) -> AsyncIterator[AlertmanagerSink]:
        async with served(self.handle) as url, sink(url, **{"resend_s": AGAIN_S, **settings}) as made:
            yield made


@asynccontextmanager
async def sink(url: str, **settings: Any) -> AsyncIterator[AlertmanagerSink]:
    most = settings.pop("most_kept", module.MOST_KEPT)
    made = AlertmanagerSink(Alertmanager(name="am", url=url, **settings), most_kept=most)
    try:
        yield made
    finally:
        await made.close()


async def test_what_is_open_is_sent_again_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESOLVED_KEPT_S", 0.2)
    memory = Memory()
    async with memory.sink() as made:
        assert await made.write([alert(1), alert(2)]) == Answers()
        await until(lambda: len(memory.posts) > 3, what="repetitions")
        assert {tuple(post) for post in memory.posts} == {(alert(1).finding, alert(2).finding)}
        await made.write([alert(1, over=True)])
        assert memory.open == {alert(1).finding: False, alert(2).finding: True}
        # Its end is sent again too, and then no more.
        await until(lambda: memory.posts[-1] == [alert(2).finding], what="the one that is open")
        assert memory.open == {alert(1).finding: False, alert(2).finding: True}


async def test_the_newest_about_a_finding_is_what_is_sent_again() -> None:
    memory = Memory()
    seen: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.extend(each["labels"]["severity"] for each in json.loads(await request.read()))
        return web.Response()

    async with served(handle) as url, sink(url, resend_s=AGAIN_S) as made:
        await made.write([alert(1), alert(1, level=Level.CRITICAL)])
        await until(lambda: len(seen) > 4, what="repetitions")
    assert seen == ["high"] + ["critical"] * (len(seen) - 1)
    assert not memory.posts


async def test_an_old_state_never_follows_a_new_one() -> None:
    """While what is open is on its way again, its end waits."""
    arrived: list[bool] = []
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        over = ["endsAt" in each for each in json.loads(await request.read())]
        if len(arrived) == 1:
            await go_on.wait()
        arrived.extend(over)
        return web.Response()

    async with served(slow) as url, sink(url, resend_s=AGAIN_S) as made:
        await made.write([alert(1)])
        await until(made._one_at_a_time.locked, what="the repetition")
        ending = asyncio.ensure_future(made.write([alert(1, over=True)]))
        await asyncio.sleep(0)
        go_on.set()
        await ending
        await until(lambda: len(arrived) > 4, what="repetitions")
    assert arrived == sorted(arrived)


async def test_a_restart_of_ours() -> None:
    memory = Memory()
    async with memory.sink(resend_s=3600.0) as made:
        made.remember([alert(1), alert(2)])
        await until(lambda: memory.posts, what="what was open")
    assert memory.posts == [[alert(1).finding, alert(2).finding]]


async def test_many_go_in_batches_and_the_oldest_gives_way() -> None:
    memory = Memory()
    async with memory.sink(batch=10, most_kept=25) as made:
        made.remember([alert(number) for number in range(40)])
        await until(lambda: len(memory.posts) >= 3, what="what was open")
    assert [len(post) for post in memory.posts[:3]] == [10, 10, 5]
    assert memory.posts[0][0] == alert(15).finding


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, PoisonError),
        (422, PoisonError),
        (429, RetryError),
        (503, RetryError),
        (401, HoldError),
        (404, HoldError),
    ],
)
async def test_what_is_not_taken_is_not_sent_again(status: int, error: type[DeliveryError]) -> None:
    memory = Memory()
    memory.status = status
    async with memory.sink() as made:
        with pytest.raises(error, match=f"HTTP {status} why"):
            await made.write([alert(1)])
        assert made._task is None


@pytest.mark.parametrize("status", [400, 401, 503])
async def test_trouble_while_it_is_sent_again_passes(status: int) -> None:
    memory = Memory()
    async with memory.sink(batch=1) as made:
        await made.write([alert(1), alert(2)])
        memory.status = status
        before = len(memory.asked)
        await until(lambda: len(memory.asked) > before + 3, what="attempts")
        memory.status, memory.open = 200, {}
        await until(lambda: len(memory.open) == 2, what="both")


async def test_a_mistake_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    async with memory.sink() as made:
        await made.write([alert(1)])
        with monkeypatch.context() as patch:
            calls: list[int] = []

            async def fails(*_: Any) -> None:
                calls.append(1)
                raise ValueError("a mistake")

            patch.setattr(made, "_post", fails)
            await until(lambda: len(calls) > 2, what="mistakes")
        memory.posts.clear()
        await until(lambda: memory.posts, what="what is open")


async def test_a_token_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AM", "s3cr3t")
    memory = Memory()
    async with memory.sink(token_env="AM") as made:
        await made.write([alert(1)])
    assert memory.asked[0].headers["Authorization"] == "Bearer s3cr3t"


async def test_alertmanager_is_killed_and_all_are_told(tmp_path: Path) -> None:
    """100 alerts are answered 200, nobody could be told, kill -9, restart: 100 of 100."""
    told: dict[str, str] = {}
    listens = free_port()

    async def hook(request: web.Request) -> web.StreamResponse:
        for each in (await request.json())["alerts"]:
            told[each["labels"]["finding"]] = each["status"]
        return web.Response()

    address = f"http://127.0.0.1:{listens}/"
    sent = [alert(number) for number in range(100)]
    async with alertmanager(tmp_path / "am", address) as first, sink(first.url, resend_s=0.3) as made:
        assert await made.write(sent) == Answers()
        first.kill()
        await first.process.wait()
        assert not told
        async with (
            served(hook, port=listens),
            alertmanager(tmp_path / "am", address, port=first.port),
        ):
            await until(lambda: len(told) == 100, what="100 alerts")
            assert set(told.values()) == {"firing"}
            await made.write([alert(number, over=True) for number in range(100)])
            await until(lambda: set(told.values()) == {"resolved"}, what="100 ends")


async def test_a_real_one_refuses_what_is_no_alert(tmp_path: Path) -> None:
    async with alertmanager(tmp_path, "http://127.0.0.1:9/") as receiver, sink(receiver.url) as made:
        with pytest.raises(PoisonError, match="HTTP 4"):
            await made.write([alert(1), message(2, body=b'{"labels":{}}')])
        with pytest.raises(PoisonError, match="HTTP 4"):
            await made.write([message(3, body=b"[]")])
