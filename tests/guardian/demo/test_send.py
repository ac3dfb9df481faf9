"""The client: each item at its door, and patience with a service that is full, restarting or without a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest

from guardian.demo import Item
from guardian.demo.send import Sender

Running = Callable[[Any], AbstractAsyncContextManager[tuple[str, str]]]


def _some(today: list[Item]) -> list[Item]:
    """A few items of every door."""
    return [item for door in ("log", "otlp_log", "span", "xr", "protocol", "isabella", "eoct") for item in [each for each in today if each.door == door][:3]]  # fmt: skip


async def _send(
    service: Any, running: Running, items: list[Item], start: float, xr_url: str | None = ""
) -> None:
    async with running(service) as (base_url, own_xr_url), aiohttp.ClientSession() as session:
        sender = Sender(session, base_url, own_xr_url if xr_url == "" else xr_url, asyncio.Event())
        await sender.send(start, items)
        await sender.close()


async def test_records_travel_together_and_decisions_one_by_one(
    stand_in: Any, running: Running, today: list[Item], start: float, doors: set[str]
):
    service = stand_in()
    await _send(service, running, _some(today), start)
    paths = [path for path, _ in service.bodies]
    assert set(paths) == doors - {"xr"}
    assert sorted(map(paths.count, set(paths))) == [1, 1, 1, 3, 3, 3]
    assert len(service.lines()) == len(service.messages) == 3


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_service_that_is_full_is_waited_for_and_loses_nothing(
    stand_in: Any, running: Running, today: list[Item], start: float, status: int
):
    service = stand_in(trouble=[status, status, status])
    logs = [item for item in today if item.door == "log"][:50]
    await _send(service, running, logs, start)
    assert service.refused == 3
    assert len(service.lines()) == 50


async def test_a_refusal_for_good_is_raised(stand_in: Any, running: Running, today: list[Item], start: float):
    with pytest.raises(aiohttp.ClientResponseError, match="413"):
        await _send(stand_in(trouble=[413]), running, _some(today), start)


async def test_without_a_gateway_xr_is_left_out(
    stand_in: Any, running: Running, today: list[Item], start: float
):
    service = stand_in()
    await _send(service, running, _some(today), start, xr_url=None)
    assert not service.messages
    assert service.bodies


async def test_a_dead_gateway_stops_nothing(
    stand_in: Any, running: Running, today: list[Item], start: float, unused_tcp_port: int
):
    service = stand_in()
    await _send(service, running, _some(today), start, xr_url=f"ws://127.0.0.1:{unused_tcp_port}/ws/xr")
    assert not service.messages
    assert {"/api/v1/eoct/evaluate", "/v1/traces"} <= {path for path, _ in service.bodies}


async def test_a_lost_socket_is_opened_again(
    stand_in: Any, running: Running, today: list[Item], start: float
):
    service = stand_in(hang_up_after=1)
    messages = [item for item in today if item.door == "xr"][:4]
    async with running(service) as (base_url, xr_url), aiohttp.ClientSession() as session:
        sender = Sender(session, base_url, xr_url, asyncio.Event())
        for item in messages:
            await sender.send(start, [item])
            await asyncio.sleep(0.05)
        await sender.close()
    assert len(service.messages) >= 2
    assert all(json.dumps(message) for message in service.messages)


async def test_stop_ends_the_waiting(today: list[Item], start: float, unused_tcp_port: int):
    stop = asyncio.Event()
    async with aiohttp.ClientSession() as session:
        sender = Sender(session, f"http://127.0.0.1:{unused_tcp_port}", None, stop)
        sending = asyncio.create_task(sender.send(start, _some(today)))
        await asyncio.sleep(0)
        stop.set()
        await asyncio.wait_for(sending, 5)
