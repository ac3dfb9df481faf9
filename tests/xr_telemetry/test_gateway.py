"""Who may connect, and the orderly end; real clients against a real gateway."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from guardian.config import Xr
from guardian.errors import MachineError
from xr_telemetry import gateway as module
from xr_telemetry.envelope import SERVER_TYPES
from xr_telemetry.gateway import Gateway, Identity


def users(token: str) -> Any:
    return {"a": Identity("ana"), "e": Identity("eva"), "old": Identity("ana", 1.0)}.get(token)


async def closed(socket: Any) -> Any:
    async with asyncio.timeout(10):
        await socket.wait_closed()
    return socket.close_code


async def test_a_client_is_welcomed_with_the_limits(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as socket:
        welcome = json.loads(await socket.recv())
        assert welcome["type"] == "welcome"
        assert welcome["sessionId"].startswith("xr-")
        assert welcome["payload"] == {
            "protocol": "tamv.xr/1",
            "tickMs": 10.0,
            "windowS": 5.0,
            "limits": {"messageBytes": 65536, "messagesPerS": 1e6, "framesPerMessage": 512},
        }
        assert here.gateway.connections == 1


async def test_an_event_is_durable_before_it_is_answered(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as socket:
        here.journal.open.clear()
        await socket.send(
            client.message("event", {"kind": "object_interact", "userId": "ana"}, sceneId="plaza")
        )
        await client.until(lambda: here.gateway.counts.received == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.hear(socket, "event_received")
        here.journal.open.set()
        assert (await client.hear(socket, "event_received"))["payload"] == {"seq": 1}
        (row,) = here.journal.rows()
        assert (row["kind"], row["actor"], row["target"]) == ("object_interact", "ana", "plaza")
        assert row["address"] == "127.0.0.1"


async def test_the_gauge_goes_back_to_zero(house: Any, client: Any) -> None:
    async with house() as here:
        for _ in range(3):
            async with here.connect() as socket:
                await client.hear(socket, "welcome")
                assert here.gateway.connections == 1
            await client.until(lambda: here.gateway.connections == 0)


async def test_a_client_that_vanishes_leaves_nothing(house: Any, client: Any) -> None:
    async with house() as here:
        socket = await here.connect()
        await client.hear(socket, "welcome")
        socket.transport.abort()
        await client.until(lambda: here.gateway.connections == 0)


@pytest.mark.parametrize("token", ["wrong", "old"])
async def test_a_bad_token_is_closed_with_1008(house: Any, token: str) -> None:
    async with house(authenticate=users) as here, here.connect(token) as socket:
        assert await closed(socket) == 1008
        assert here.gateway.connections == 0
        assert here.gateway.counts.closed == {"authentication": 1}


async def test_another_scheme_is_closed_with_1008(house: Any) -> None:
    basic = {"Authorization": "Basic YTph"}
    async with house(authenticate=users) as here, connect(here.url, additional_headers=basic) as socket:
        assert await closed(socket) == 1008


async def test_no_token_in_time_is_closed_with_1008(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AUTHENTICATE_WITHIN_S", 0.02)
    async with house(authenticate=users) as here, here.connect() as socket:
        assert await closed(socket) == 1008


async def test_anything_else_before_authentication_is_closed_with_1008(house: Any, client: Any) -> None:
    async with house(authenticate=users) as here, here.connect() as socket:
        await socket.send(client.message())
        assert await closed(socket) == 1008
        assert here.journal.bodies == []


async def test_a_token_in_the_header_names_the_user(house: Any, client: Any) -> None:
    async with house(authenticate=users) as here, here.connect("a") as socket:
        await socket.send(client.message(payload={"userId": "eva"}))
        await client.hear(socket, "event_received")
        assert here.journal.rows()[0]["actor"] == "ana"


async def test_a_browser_authenticates_with_its_first_message(house: Any, client: Any) -> None:
    async with house(authenticate=users) as here, here.connect() as socket:
        await socket.send(client.message("authenticate", {"token": "e"}))
        await client.hear(socket, "welcome")
        await socket.send(client.message())
        await client.hear(socket, "event_received")
        assert here.journal.rows()[0]["actor"] == "eva"
        assert b"token" not in here.journal.bodies[0]


async def test_only_the_same_user_renews(house: Any, client: Any) -> None:
    async with house(authenticate=users) as here, here.connect("a") as socket:
        await socket.send(client.message("authenticate", {"token": "a"}))
        await client.hear(socket, "event_received")
        for token in ("e", "wrong", "old", None):
            await socket.send(client.message("authenticate", {"token": token}))
            assert (await client.hear(socket, "error"))["payload"]["reason"] == "bad_token"


async def test_an_expired_token_closes_the_connection_unless_renewed(house: Any, client: Any) -> None:
    soon = {"soon": Identity("ana", client.now_s + 0.05), "later": Identity("ana", client.now_s + 3600)}
    async with house(authenticate=soon.get) as here:
        async with here.connect("soon") as lapses, here.connect("soon") as renews:
            await renews.send(client.message("authenticate", {"token": "later"}))
            await client.hear(renews, "event_received")
            assert await closed(lapses) == 1008
            await renews.send(client.message())
            await client.hear(renews, "event_received")
        assert here.gateway.counts.closed == {"expired": 1}


async def test_where_nobody_authenticates_a_token_is_no_mistake(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as socket:
        await socket.send(client.message("authenticate", {"token": "x"}))
        assert (await client.hear(socket, "event_received", "error"))["type"] == "event_received"


async def test_past_the_last_place_connections_are_closed_with_1013(house: Any, client: Any) -> None:
    async with house(max_connections=2) as here:
        async with here.connect() as one, here.connect() as two:
            await client.hear(one, "welcome")
            await client.hear(two, "welcome")
            async with here.connect() as three:
                assert await closed(three) == 1013
            assert here.gateway.connections == 2
            assert here.gateway.counts.closed == {"full": 1}
        await client.until(lambda: here.gateway.connections == 0)
        async with here.connect() as again:
            await client.hear(again, "welcome")


@pytest.mark.parametrize(
    ("origin", "taken"),
    [
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("http://[::1]:8787", True),
        ("https://xr.example", True),
        ("https://xr.example.evil", False),
        ("http://localhost.evil", False),
        ("http://localhost:3000.evil", False),
        ("null", False),
    ],
)
async def test_pages_of_other_origins_may_not_connect(
    house: Any, client: Any, origin: str, taken: bool
) -> None:
    async with house(origins=("https://xr.example",)) as here:
        if taken:
            async with here.connect(origin=origin) as socket:
                await client.hear(socket, "welcome")
        else:
            with pytest.raises(InvalidStatus) as caught:
                await here.connect(origin=origin)
            assert caught.value.response.status_code == 403


@pytest.mark.parametrize("path", ["/", "/ws", "/ws/xr/", "/ws/xr2"])
async def test_other_paths_are_not_found(house: Any, path: Any) -> None:
    async with house() as here:
        with pytest.raises(InvalidStatus) as caught:
            await connect(here.url.removesuffix("/ws/xr") + path)
        assert caught.value.response.status_code == 404


async def test_compression_is_off(house: Any, client: Any) -> None:
    async with house() as here, connect(here.url) as socket:
        await client.hear(socket, "welcome")
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


async def test_without_tokens_only_this_machine_is_served() -> None:
    async def ingest(body: Any) -> Any:
        raise AssertionError

    with pytest.raises(MachineError, match="tokens"):
        await Gateway(Xr(), ingest=ingest).start("0.0.0.0", 0)


async def test_a_port_in_use_is_a_clear_error() -> None:
    async def ingest(body: Any) -> Any:
        raise AssertionError

    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        gateway = Gateway(Xr(), ingest=ingest)
        with pytest.raises(MachineError, match=r"cannot listen on 127\.0\.0\.1"):
            await gateway.start("127.0.0.1", taken.getsockname()[1])
        await gateway.stop()


async def test_the_end_makes_all_durable_answers_it_and_says_going_away(house: Any, client: Any) -> None:
    async with house() as here:
        socket = await here.connect()
        here.journal.open.clear()
        for _ in range(5):
            await socket.send(client.message())
        await client.until(lambda: here.gateway.counts.received == 5)
        stopping = asyncio.create_task(here.gateway.stop())
        await asyncio.sleep(0.02)
        here.journal.open.set()
        heard = [json.loads(each)["type"] async for each in socket]
        await stopping
        assert socket.close_code == 1001
        assert heard == ["welcome"] + ["event_received"] * 5
        assert len(here.journal.rows()) == 5
        await socket.close()


async def test_two_hundred_clients_at_once(house: Any, client: Any) -> None:
    async with house() as here:

        async def one(number: Any) -> Any:
            async with here.connect(open_timeout=30) as socket:
                assert json.loads(await socket.recv())["type"] == "welcome"
                for _ in range(5):
                    await socket.send(client.message(sessionId=f"s{number}"))
                answers = [await client.hear(socket, "event_received", "error") for _ in range(5)]
                await together.wait()
            return [answer["payload"] for answer in answers]

        together = asyncio.Barrier(201)
        everyone = [asyncio.create_task(one(number)) for number in range(200)]
        await client.until(lambda: together.n_waiting == 200)
        assert here.gateway.connections == 200
        await together.wait()
        answers = await asyncio.gather(*everyone)
        assert answers == [[{"seq": number} for number in range(1, 6)]] * 200
        sessions = sorted(row["session"] for row in here.journal.rows())
        assert sessions == sorted(f"s{number}" for number in range(200) for _ in range(5))
        await client.until(lambda: here.gateway.connections == 0)
        assert here.gateway.counts.received == here.gateway.counts.accepted == 1000


def test_what_the_gateway_says_is_in_the_closed_list() -> None:
    assert {"welcome", "event_received", "error", "guardian_update"} <= SERVER_TYPES
