"""What one client says, and what it is answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from guardian.errors import JournalFullError
from xr_telemetry import conversation
from xr_telemetry.frames import Frames, payload


def batch(first_s: Any, count: Any, *, step_s: Any = 0.1) -> Any:
    t = first_s + np.arange(count) * step_s
    poses = np.zeros((count, 21), np.float32)
    poses[:, [6, 13, 20]] = 1.0
    poses[:, 0] = t
    return payload(Frames("pose", t, poses))


async def say(socket: Any, client: Any, *messages: Any) -> Any:
    for each in messages:
        await socket.send(each)
    return [await client.hear(socket, "event_received", "error") for _ in messages]


async def test_every_message_gets_one_answer_in_order(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as socket:
        answers = await say(
            socket,
            client,
            client.message(),
            "{",
            client.message("event", {"kind": "safety_alert", "severity": "high"}),
            client.message("nonsense"),
            client.message(payload={"layer": "L9"}),
            client.message("safety_alert"),
        )
        assert [(each["payload"]["seq"], each["payload"].get("reason")) for each in answers] == [
            (1, None),
            (2, "bad_json"),
            (3, None),
            (4, "unknown_type"),
            (5, "bad_payload"),
            (6, None),
        ]
        assert "L0 to L7" in answers[4]["payload"]["detail"]
        assert [row["kind"] for row in here.journal.rows()] == ["space_join", "safety_alert", "safety_alert"]
        counts = here.gateway.counts
        assert counts.received == counts.accepted + counts.refused.total()
        assert counts.refused == {"bad_json": 1, "unknown_type": 1, "bad_payload": 1}


async def test_binary_frames_are_json_too_and_broken_text_is_told(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as socket:
        answers = await say(socket, client, client.message().encode(), b"\xff\xfe")
        assert [each["payload"].get("reason") for each in answers] == [None, "bad_json"]
        await socket.send(b"\xff", text=True)
        assert (await client.hear(socket, "error"))["payload"]["reason"] == "bad_json"


async def test_a_large_message_is_refused_and_the_connection_goes_on(house: Any, client: Any) -> None:
    async with house(max_message_bytes=1024) as here, here.connect() as socket:
        answers = await say(socket, client, client.message(payload={"x": "y" * 1100}), client.message())
        assert [each["payload"].get("reason") for each in answers] == ["too_large", None]
        assert len(here.journal.rows()) == 1


async def test_a_huge_message_is_not_even_read(house: Any, client: Any) -> None:
    from websockets.exceptions import ConnectionClosed

    async with house(max_message_bytes=1024) as here, here.connect() as socket:
        await socket.send("y" * 10_000)
        with pytest.raises(ConnectionClosed) as caught:
            await client.hear(socket, "event_received")
        assert caught.value.rcvd.code == 1009
        await client.until(lambda: here.gateway.connections == 0)


async def test_a_flood_is_refused_counted_and_slowed_but_not_closed(house: Any, client: Any) -> None:
    async with house(messages_per_s=20.0) as here, here.connect() as socket, here.connect() as other:
        answers = await say(socket, client, *[client.message() for _ in range(40)])
        reasons = [each["payload"].get("reason") for each in answers]
        assert reasons[:10] == [None] * 10
        assert set(reasons) == {None, "rate_limited"}
        taken = reasons.count(None)
        assert len(here.journal.rows()) == taken
        assert here.gateway.counts.refused == {"rate_limited": 40 - taken}
        # Others are not concerned, and the flooder is heard again once it has waited.
        assert (await say(other, client, client.message()))[0]["type"] == "event_received"
        await asyncio.sleep(0.2)
        assert (await say(socket, client, client.message()))[0]["type"] == "event_received"


async def test_large_messages_count_more(house: Any, client: Any) -> None:
    async with house(messages_per_s=10.0) as here, here.connect() as socket:
        big = client.message(payload={"x": "y" * 60_000})
        answers = await say(socket, client, big, big)
        assert [each["payload"].get("reason") for each in answers] == [None, "rate_limited"]
        assert len(here.journal.rows()) == 1


async def test_motion_becomes_windows_and_no_pose_is_kept(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as socket:
        answers = await say(
            socket,
            client,
            client.message("xr_frames", batch(0.0, 40) | {"userId": "ana"}, sceneId="plaza", sessionId="s"),
            client.message("xr_frames", batch(4.0, 40) | {"userId": "ana"}, sceneId="plaza", sessionId="s"),
            client.message("session_ended", {"userId": "ana"}, sessionId="s"),
        )
        assert [each["payload"].get("windows", 0) for each in answers] == [0, 1, 1]
        rows = here.journal.rows()
        kinds = ["xr.frame.window", "xr.pose.window"]
        assert [row["kind"] for row in rows] == [*kinds, *kinds, "session_ended"]
        assert {row["actor"] for row in rows} == {"ana"}
        assert {row["session"] for row in rows} == {"s"}
        assert {row["target"] for row in rows[:4]} == {"plaza"}
        assert [json.loads(row["attrs"])["n"] for row in rows[:4]] == [50, 50, 30, 30]
        assert here.gateway.counts.windows == 2
        assert b'head"' not in b"".join(here.journal.bodies)


async def test_a_window_is_dated_by_its_own_frames(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as socket:
        await say(
            socket,
            client,
            client.message("xr_frames", batch(0.0, 81)),  # closes at 4.9 s, said at 8.0 s
            client.message("session_ended"),
        )
        stamps = [row["ts"].second + row["ts"].microsecond / 1e6 for row in here.journal.rows()]
        assert stamps[0] == pytest.approx(60 - 3.1)
        assert stamps[2] == 0.0


async def test_a_clock_that_jumps_dates_nothing_into_another_age(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as socket:
        frames = batch(0.0, 2)
        frames["t"] = [0.0, 9e8]
        await say(socket, client, client.message("xr_frames", frames), client.message("session_ended"))
        assert [row["ts"].hour for row in here.journal.rows()] == [10, 10, 11, 11, 11]


async def test_another_session_closes_the_window_of_the_one_before(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as socket:
        answers = await say(
            socket,
            client,
            client.message("xr_frames", batch(0.0, 3), sessionId="a"),
            client.message("xr_frames", batch(0.0, 4), sessionId="b"),
            client.message("session_ended", sessionId="a"),
        )
        assert [each["payload"].get("windows", 0) for each in answers] == [0, 1, 0]
        assert [row["session"] for row in here.journal.rows()] == ["a", "a", "a"]


async def test_the_last_window_of_a_client_that_vanishes_is_kept(house: Any, client: Any) -> None:
    async with house() as here:
        socket = await here.connect()
        await say(socket, client, client.message("xr_frames", batch(0.0, 7)))
        socket.transport.abort()
        await client.until(lambda: here.gateway.counts.windows == 1)
        assert json.loads(here.journal.rows()[0]["attrs"])["n"] == 7


async def test_a_last_window_that_cannot_be_kept_is_counted(house: Any, client: Any) -> None:
    async with house() as here:
        socket = await here.connect()
        await say(socket, client, client.message("xr_frames", batch(0.0, 7)))
        here.journal.failures.append(OSError("disk"))
        await socket.close()
        await client.until(lambda: here.gateway.counts.windows_lost == 1)
        assert here.gateway.counts.windows == 0


async def test_a_full_journal_says_when_to_come_back(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as socket:
        here.journal.failures.append(JournalFullError(10, 10, 2.5))
        (answer,) = await say(socket, client, client.message())
        assert answer["payload"]["reason"] == "busy"
        assert answer["payload"]["retryAfterS"] == 2.5
        (answer,) = await say(socket, client, client.message())
        assert answer["type"] == "event_received"


async def test_what_ingest_raises_is_told_without_its_words(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as socket:
        here.journal.failures.append(OSError("/secret/path"))
        (answer,) = await say(socket, client, client.message())
        assert answer["payload"]["reason"] == "unavailable"
        assert "secret" not in json.dumps(answer)


async def test_frames_that_were_not_made_durable_can_be_sent_again(house: Any, client: Any) -> None:
    async with house() as here, here.connect() as socket:
        await say(socket, client, client.message("xr_frames", batch(0.0, 40)))
        here.journal.failures.append(JournalFullError(10, 10, 0.1))
        again = client.message("xr_frames", batch(4.0, 20))
        refused, taken = await say(socket, client, again, again)
        assert refused["payload"]["reason"] == "busy"
        assert taken["payload"]["windows"] == 1
        assert json.loads(here.journal.rows()[0]["attrs"])["n"] == 50


@pytest.mark.parametrize("body", [{}, {"t": [0.0]}, {"t": [1e300], "head": [[0] * 7]}])
async def test_bad_frames_are_told(house: Any, client: Any, body: Any) -> None:
    async with house() as here, here.connect() as socket:
        (answer,) = await say(socket, client, client.message("xr_frames", body))
        assert answer["payload"]["reason"] == "bad_frames"


async def test_a_client_that_sends_ahead_waits_for_its_answers(
    house: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "MAX_UNANSWERED", 4)
    async with house() as here, here.connect() as socket:
        here.journal.open.clear()
        for _ in range(50):
            await socket.send(client.message())
        await asyncio.sleep(0.05)
        received = here.gateway.counts.received
        here.journal.open.set()
        answers = [await client.hear(socket, "event_received") for _ in range(50)]
        assert received <= 8
        assert [each["payload"]["seq"] for each in answers] == list(range(1, 51))
