"""One state told to many: newest only, nobody held by another."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
from typing import Any

import pytest

from guardian.levels import Level
from guardian.view import Standing, View
from xr_telemetry import fanout
from xr_telemetry.scenes import Overlay, scenes

AT = 1_767_225_600_000_000_000


def update(score: float = 0.0, *, protocols: list[str] = (), at: str = AT) -> Any:
    standing = Standing(score, Level.HIGH if score >= 60 else Level.NONE)
    return scenes(View(score, standing.level, at, 1, 0, {}, dict.fromkeys(protocols, standing), ()))


def heavy(number: Any, size: int = 200_000) -> Any:
    """The global scene with much text, so that a client that does not read is soon told too much."""
    from msgspec.structs import replace

    (scene,) = update(float(number % 50))
    overlay = Overlay(role="guardian", level="none", text={"en": "x" * size})
    return [replace(scene, overlays=(overlay,))]


async def test_who_connects_is_told_the_newest_of_every_scene(house: Any, client: Any) -> None:
    async with house() as here:
        here.gateway.publish(update(10.0, protocols=["xr"]))
        here.gateway.publish(update(70.0, protocols=["xr"]))
        async with here.connect() as socket:
            heard = [await client.hear(socket, "guardian_update") for _ in range(2)]
        assert [each["sceneId"] for each in heard] == ["guardian-global", "guardian-xr"]
        assert [each["payload"]["sceneId"] for each in heard] == ["guardian-global", "guardian-xr"]
        assert {each["payload"]["mood"] for each in heard} == {"alert"}


async def test_a_change_is_told_to_all_and_only_what_changed(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as one, here.connect() as two:
        here.gateway.publish(update(10.0, protocols=["xr"]))
        for socket in (one, two):
            for _ in range(2):
                await client.hear(socket, "guardian_update")
        here.gateway.publish([update(70.0)[0], *update(10.0, protocols=["xr"])[1:]])
        for socket in (one, two):
            assert (await client.hear(socket, "guardian_update"))["sceneId"] == "guardian-global"
        assert here.gateway.counts.sent == 6


async def test_a_later_time_alone_is_no_news(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as socket:
        here.gateway.publish(update(10.0))
        await client.hear(socket, "guardian_update")
        here.gateway.publish(update(10.0, at=AT + 10**9))
        here.gateway.publish(update(70.0, at=AT + 2 * 10**9))
        assert (await client.hear(socket, "guardian_update"))["payload"]["mood"] == "alert"
        assert here.gateway.counts.sent == 2


async def test_changes_within_a_tick_are_told_once(house: Any, client: Any) -> None:
    async with house(tick_ms=50) as here, here.connect() as socket:
        await client.hear(socket, "welcome")
        for score in range(1, 40):
            here.gateway.publish(update(float(score)))
        assert (await client.hear(socket, "guardian_update"))["payload"]["intensity"] == 0.39
        assert here.gateway.counts.sent == 1


async def deaf(here: Any) -> Any:
    """A client that says hello and then never reads: a bare socket with a small buffer."""
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    raw.setblocking(False)
    host, port = here.url.removeprefix("ws://").removesuffix("/ws/xr").split(":")
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, (host, int(port)))
    await loop.sock_sendall(
        raw,
        b"GET /ws/xr HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    )
    return raw


async def test_who_does_not_read_holds_nobody_and_costs_a_bounded_buffer(house: Any, client: Any) -> None:
    rounds, size = 30, 200_000
    async with house(stall_s=600) as here:
        raw = await deaf(here)
        async with here.connect(max_size=None) as one, here.connect(max_size=None) as two:
            await client.until(lambda: here.gateway.connections == 3)
            for number in range(rounds):
                here.gateway.publish(heavy(number, size))
                for socket in (one, two):  # both hear every round, while the third reads nothing
                    heard = await client.hear(socket, "guardian_update")
                    assert heard["payload"]["intensity"] == number / 100
            listeners = here.gateway._fanout._listeners.values()
            waiting = max(each.socket.transport.get_write_buffer_size() for each in listeners)
            assert waiting < 2 * size
            assert here.gateway.counts.held_back > 0
            assert here.gateway.counts.sent <= 2 * rounds + 3
        raw.close()
        await client.until(lambda: here.gateway.connections == 0)


async def test_who_catches_up_is_told_the_newest_only(house: Any, client: Any) -> None:
    async with house(stall_s=600) as here:
        raw = await deaf(here)
        await client.until(lambda: here.gateway.connections == 1)
        for number in range(30):
            here.gateway.publish(heavy(number))
            await asyncio.sleep(0.012)
        sent = here.gateway.counts.sent
        assert sent < 30
        loop = asyncio.get_running_loop()
        data = b""
        async with asyncio.timeout(10):
            while b'"intensity":0.29' not in data[-1000:]:
                data += await loop.sock_recv(raw, 65536)
        assert here.gateway.counts.sent == sent + 1
        raw.close()
        await client.until(lambda: here.gateway.connections == 0)


async def test_who_stays_stalled_is_closed(house: Any, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "CLOSE_WITHIN_S", 0.05)
    async with house(stall_s=0.05) as here:
        raw = await deaf(here)
        await client.until(lambda: here.gateway.connections == 1)
        for number in range(5):
            here.gateway.publish(heavy(number))
            await asyncio.sleep(0.012)
        await client.until(lambda: here.gateway.connections == 0)
        assert here.gateway.counts.closed == {"slow": 1}
        raw.close()


async def test_the_end_does_not_wait_for_who_does_not_read(
    house: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "CLOSE_WITHIN_S", 0.05)
    async with house(stall_s=600) as here:
        raw = await deaf(here)
        await client.until(lambda: here.gateway.connections == 1)
        for number in range(5):
            here.gateway.publish(heavy(number))
            await asyncio.sleep(0.012)
        async with asyncio.timeout(10):
            await here.gateway.stop()
        assert here.gateway.connections == 0
        raw.close()


async def test_one_bad_slice_does_not_silence_the_others(
    house: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house() as here, here.connect() as socket:
        await client.hear(socket, "welcome")
        tell = here.gateway._fanout._tell
        failures = [RuntimeError("once")]

        def fails_once(listeners: Any) -> Any:
            if failures and listeners:
                raise failures.pop()
            tell(listeners)

        monkeypatch.setattr(here.gateway._fanout, "_tell", fails_once)
        here.gateway.publish(update(70.0))
        assert (await client.hear(socket, "guardian_update"))["payload"]["mood"] == "alert"
        assert failures == []


@pytest.mark.parametrize("protocols", [[], ["xr", "fenix"]])
async def test_the_frame_is_the_envelope(house: Any, client: Any, protocols: list[str]) -> None:
    async with house() as here, here.connect() as socket:
        here.gateway.publish(update(70.0, protocols=protocols))
        heard = await client.hear(socket, "guardian_update")
        assert set(heard) == {"type", "payload", "createdAt", "sceneId"}
        assert heard["createdAt"] == "2026-01-01T00:00:00Z"
        assert json.dumps(heard).count("#ff9500") == 1
