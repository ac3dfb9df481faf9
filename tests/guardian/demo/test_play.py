"""The player: what it sends when, what it announces, and that it stops."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

import aiohttp
import pytest

from guardian.demo import PROGRAMME, play
from guardian.texts import LANGUAGES, catalogue

Running = Callable[[Any], AbstractAsyncContextManager[tuple[str, str]]]
EVENTS = "/api/v1/events?map=tamv"


async def _play(service: Any, running: Running, *, xr: bool = True, **options: Any) -> list[str]:
    """Play until the service has seen a request at each of its ``wanted`` doors; the announcements."""
    told: list[str] = []
    stop = asyncio.Event()
    async with running(service) as (base_url, xr_url):
        playing = asyncio.create_task(
            play(base_url, xr_url if xr else None, stop=stop, announce=told.append, **options)
        )
        waiting = asyncio.create_task(service.enough.wait())
        await asyncio.wait({playing, waiting}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        stop.set()
        await asyncio.wait_for(playing, 10)
    return told


def _moment(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


async def test_everything_goes_through_its_door_and_never_into_the_future(
    stand_in: Any, running: Running, doors: set[str]
):
    service = stand_in(wanted=doors)
    told = await _play(service, running, speed=40_000.0, history=False)
    assert {path for path, _ in service.bodies} == doors - {"xr"}
    assert service.messages
    assert told[0] == "today"
    now = time.time()
    assert all(_moment(line) <= now for line in service.lines())


async def test_yesterday_comes_first_and_is_ordinary(stand_in: Any, running: Running):
    service = stand_in(wanted={EVENTS})
    told = await _play(service, running, speed=144.0)
    assert told == ["yesterday"]
    assert max(map(_moment, service.lines())) < time.time() - 20 * 3600


async def test_events_come_in_order_of_time(stand_in: Any, running: Running, doors: set[str]):
    service = stand_in(wanted=doors)
    await _play(service, running, speed=40_000.0, history=False)
    moments = list(map(_moment, service.lines()))
    assert all(one <= other for one, other in itertools.pairwise(moments))


async def test_after_the_day_life_goes_on_in_real_time(stand_in: Any, running: Running):
    told: list[str] = []
    stop = asyncio.Event()

    def hear(key: str) -> None:
        told.append(key)
        if key == "real_time":
            stop.set()

    async with running(stand_in()) as (base_url, _):
        playing = play(base_url, None, stop=stop, speed=40_000.0, history=False, announce=hear)
        await asyncio.wait_for(playing, 20)
    assert told == ["today", *(f"attack_{key}" for _, key, _ in PROGRAMME), "real_time"]


async def test_a_stop_before_the_start_sends_nothing():
    stop = asyncio.Event()
    stop.set()
    told: list[str] = []
    await play("http://127.0.0.1:1", None, stop=stop, announce=told.append, history=False)
    assert told == []


async def test_a_refusal_for_good_is_raised(stand_in: Any, running: Running, doors: set[str]):
    service = stand_in(trouble=[400], wanted=doors)
    with pytest.raises(aiohttp.ClientResponseError, match="400"):
        await _play(service, running, speed=20_000.0, history=False)


def test_every_announcement_has_words_in_both_languages():
    keys = {"yesterday", "today", "real_time"} | {f"attack_{key}" for _, key, _ in PROGRAMME}
    for language in LANGUAGES:
        assert set(catalogue("demo", language)) == keys
