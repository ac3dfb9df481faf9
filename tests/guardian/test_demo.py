"""The synthetic day as data, its wire forms, and the player against a stand-in service."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve

from guardian.demo import HONEYPOT, PROGRAMME, Item, day, encode, play
from guardian.demo.day import DAY_S, rhythm
from guardian.texts import LANGUAGES, catalogue

START = 1_785_000_000.0
DOCUMENTATION = [ip_network(block) for block in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
LOG_FIELDS = {
    "timestamp": str,
    "user_id": str,
    "session_id": str,
    "module": str,
    "pipeline": str,
    "action": str,
    "risk_level": str,
    "duration_ms": float,
    "status": str,
    "metadata": dict,
    "layer": str,
}


@pytest.fixture(scope="module")
def today() -> list[Item]:
    return list(day(7, start_s=START))


def _through(items: list[Item], door: str) -> list[Item]:
    return [item for item in items if item.door == door]


class TestDay:
    def test_the_same_seed_and_start_give_the_same_day(self, today: list[Item]):
        assert list(day(7, start_s=START)) == today

    def test_another_seed_gives_another_day(self, today: list[Item]):
        assert list(itertools.islice(day(8, start_s=START), 50)) != today[:50]

    def test_days_of_one_seed_have_the_same_people(self, today: list[Item]):
        tomorrow = list(day(7, start_s=START + DAY_S))
        people = [{item.body["user_id"] for item in _through(items, "log")} for items in (today, tomorrow)]
        assert people[0] == people[1]
        assert len(people[0] - {""}) == 60

    def test_items_come_in_order_and_within_the_day(self, today: list[Item]):
        assert all(one.at <= other.at for one, other in itertools.pairwise(today))
        assert [item.number for item in today] == list(range(len(today)))
        assert today[0].at >= 0.0
        assert today[-1].at < DAY_S

    def test_every_door_is_used(self, today: list[Item]):
        assert {item.door for item in today} == {
            "log",
            "otlp_log",
            "span",
            "xr",
            "protocol",
            "isabella",
            "eoct",
        }

    def test_twelve_services_report_from_six_layers(self, today: list[Item]):
        services = {(item.body["service"], item.body["layer"]) for item in _through(today, "span")}
        assert len(services) == 12
        assert {layer for _, layer in services} == {f"L{number}" for number in range(1, 7)}

    def test_addresses_are_reserved_for_documentation(self, today: list[Item]):
        addresses = {item.body["ip"] for item in _through(today, "log")}
        assert 25 <= len(addresses) <= 30
        assert all(any(ip_address(address) in block for block in DOCUMENTATION) for address in addresses)

    def test_every_attack_of_the_programme_begins_when_announced_and_ends_before_the_next(
        self, today: list[Item]
    ):
        starts = [start for start, _, _ in PROGRAMME] + [DAY_S]
        for (start, key, _), following in zip(PROGRAMME, starts[1:], strict=True):
            moments = [item.at for item in today if item.attack == key]
            assert len(moments) >= 10
            assert moments[0] == start
            assert max(moments) < following - 20 * 60  # time for the level to fall

    def test_something_happens_in_any_two_minutes_of_the_default_pace(self):
        starts = [start / 144.0 for start, _, _ in PROGRAMME]
        assert starts[0] < 60.0
        assert all(later - earlier < 120.0 for earlier, later in itertools.pairwise(starts))
        assert 600.0 - starts[-1] < 120.0

    def test_an_ordinary_day_has_no_attacks(self):
        yesterday = list(day(7, start_s=START, attacks=False))
        assert not any(item.attack for item in yesterday)
        assert HONEYPOT not in {item.body.get("target") for item in yesterday}
        assert len(yesterday) > 20_000

    def test_attacks_look_like_what_they_are(self, today: list[Item]):
        by_attack: dict[str, list[dict[str, Any]]] = {}
        for item in today:
            by_attack.setdefault(item.attack, []).append(item.body)
        forced = {(body["user_id"], body["ip"], body["status"]) for body in by_attack["brute_force"]}
        assert len(forced) == 1
        assert any("UNION SELECT" in body["metadata"]["message"] for body in by_attack["sql_injection"])
        assert {body["target"] for body in by_attack["honeypot"]} == {HONEYPOT}
        assert {"safety_alert", "moderation_action"} <= {body["kind"] for body in by_attack["xr_safety"]}
        assert len({body["target"] for body in by_attack["lateral_movement"]}) >= 6
        assert all(body["payload"] for body in by_attack["doctrine_override"])
        assert min(body["duration_ms"] for body in by_attack["exfiltration"]) > 60_000
        signals = [body["signals"].values() for body in by_attack["coercion"] if "signals" in body]
        assert signals
        assert all(min(values) > 0.8 for values in signals)

    def test_nights_are_quieter_than_evenings(self, today: list[Item]):
        hours = Counter(int((START + item.at) / 3600 - 6) % 24 for item in _through(today, "log"))
        assert hours[4] < hours[20] / 4

    @given(st.floats(-48, 48))
    @settings(max_examples=50)
    def test_rhythm_is_bounded_and_daily(self, hour: float):
        assert 0.0 < rhythm(hour) <= 2.0
        assert rhythm(hour) == pytest.approx(rhythm(hour + 24.0))


class TestWireForms:
    def test_log_lines_carry_every_field_of_the_map_and_say_synthetic(self, today: list[Item]):
        lines = encode.ndjson(START, _through(today, "log")).splitlines()
        assert len(lines) == len(_through(today, "log"))
        for line in map(json.loads, lines):
            for name, kind in LOG_FIELDS.items():
                assert isinstance(line[name], kind), name
            assert line["metadata"]["synthetic"] is True
            assert line["risk_level"] in {"low", "medium", "high", "critical"}
            assert line["layer"] in {f"L{number}" for number in range(8)}
            assert line["status"] in {"success", "error", "failure", "denied"}

    def test_times_are_those_of_the_items(self, today: list[Item]):
        item = _through(today, "log")[100]
        line = json.loads(encode.ndjson(START, [item]))
        assert datetime.fromisoformat(line["timestamp"]).timestamp() == pytest.approx(
            START + item.at, abs=1e-6
        )

    def test_otlp_logs_and_spans_group_by_service_and_lose_none(self, today: list[Item]):
        logs, spans = _through(today, "otlp_log")[:500], _through(today, "span")[:500]
        sent_logs = json.loads(encode.otlp_logs(START, logs))["resourceLogs"]
        sent_spans = json.loads(encode.otlp_spans(START, spans))["resourceSpans"]
        assert sum(len(group["scopeLogs"][0]["logRecords"]) for group in sent_logs) == 500
        assert sum(len(group["scopeSpans"][0]["spans"]) for group in sent_spans) == 500
        for group in (*sent_logs, *sent_spans):
            attributes = {entry["key"]: entry["value"] for entry in group["resource"]["attributes"]}
            assert attributes["tamv.synthetic"] == {"boolValue": True}
            assert set(attributes) == {"service.name", "tamv.layer", "tamv.synthetic"}
        span = sent_spans[0]["scopeSpans"][0]["spans"][0]
        assert len(span["traceId"]) == 32
        assert len(span["spanId"]) == 16
        assert 0 < int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])

    def test_a_span_never_ends_after_its_item(self, today: list[Item]):
        item = _through(today, "span")[0]
        span = json.loads(encode.otlp_spans(START, [item]))["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
        assert int(span["endTimeUnixNano"]) <= round((START + item.at) * 1e9) + 1000

    def test_xr_messages_are_envelopes(self, today: list[Item]):
        message = json.loads(encode.envelope(START, _through(today, "xr")[0]))
        assert set(message) == {"type", "payload", "createdAt", "sessionId", "sceneId"}
        assert message["type"] == "event_received"
        assert message["payload"]["synthetic"] is True
        assert message["payload"]["kind"]

    def test_decisions_satisfy_their_routes(self, today: list[Item]):
        route, body = encode.request(START, _through(today, "protocol")[0])
        assert route == "/api/v1/protocols/execute"
        assert {"protocolId", "action", "layer", "purpose", "payload", "metadata"} == set(json.loads(body))
        route, body = encode.request(START, _through(today, "isabella")[0])
        assert route == "/api/v1/isabella/decisions"
        assert 0.0 <= json.loads(body)["ethicsScore"] <= 1.0
        route, body = encode.request(START, _through(today, "eoct")[0])
        assert route == "/api/v1/eoct/evaluate"
        assert len(json.loads(body)["signals"]) == 5


class StandIn:
    """A service that keeps what it gets; ``trouble`` are statuses to answer first."""

    def __init__(self, trouble: list[int] | None = None) -> None:
        self.trouble = trouble or []
        self.bodies: list[tuple[str, bytes]] = []
        self.messages: list[dict[str, Any]] = []
        self.refused = 0
        self.enough = asyncio.Event()
        self.wanted: set[str] = set()
        self.latest = 0.0

    async def take(self, request: web.Request) -> web.Response:
        if self.trouble:
            self.refused += 1
            return web.Response(status=self.trouble.pop(0), headers={"Retry-After": "0"})
        self.bodies.append((request.path_qs, await request.read()))
        self._look()
        return web.json_response({})

    async def listen(self, socket: ServerConnection) -> None:
        async for message in socket:
            self.messages.append(json.loads(message))
            self._look()

    def _look(self) -> None:
        seen = {path for path, _ in self.bodies} | ({"xr"} if self.messages else set())
        if self.wanted <= seen:
            self.enough.set()

    def lines(self) -> list[dict[str, Any]]:
        bodies = [body for path, body in self.bodies if path == "/api/v1/events?map=tamv"]
        return [json.loads(line) for body in bodies for line in body.splitlines()]


ALL_DOORS = {
    "/api/v1/events?map=tamv",
    "/v1/logs",
    "/v1/traces",
    "/api/v1/protocols/execute",
    "/api/v1/isabella/decisions",
    "/api/v1/eoct/evaluate",
    "xr",
}


@asynccontextmanager
async def _running(service: StandIn) -> AsyncIterator[tuple[str, str]]:
    app = web.Application()
    app.router.add_post("/{path:.*}", service.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    try:
        async with serve(service.listen, "127.0.0.1", 0) as gateway:
            xr_port = next(iter(gateway.sockets)).getsockname()[1]
            yield f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{xr_port}/ws/xr"
    finally:
        await runner.cleanup()


async def _play(service: StandIn, *, wanted: set[str], **options: Any) -> list[str]:
    told: list[str] = []
    stop = asyncio.Event()
    service.wanted = wanted
    async with _running(service) as (base_url, xr_url):
        options.setdefault("xr_url", xr_url)
        playing = asyncio.create_task(
            play(base_url, options.pop("xr_url"), stop=stop, announce=told.append, **options)
        )
        waiting = asyncio.create_task(service.enough.wait())
        await asyncio.wait({playing, waiting}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        stop.set()
        await asyncio.wait_for(playing, 10)
    return told


class TestPlay:
    async def test_everything_goes_through_its_door_and_never_into_the_future(self):
        service = StandIn()
        told = await _play(service, wanted=ALL_DOORS, speed=40_000.0, history=False)
        assert {path for path, _ in service.bodies} == ALL_DOORS - {"xr"}
        assert service.messages
        assert told[0] == "today"
        now = time.time()
        assert all(datetime.fromisoformat(line["timestamp"]).timestamp() <= now for line in service.lines())

    async def test_yesterday_comes_first_and_is_ordinary(self):
        service = StandIn()
        told = await _play(service, wanted={"/api/v1/events?map=tamv"}, speed=144.0)
        assert told == ["yesterday"]
        newest = max(line["timestamp"] for line in service.lines())
        assert datetime.fromisoformat(newest).timestamp() < time.time() - 20 * 3600

    async def test_a_service_that_is_full_is_waited_for_and_loses_nothing(self):
        service = StandIn(trouble=[429, 503, 503])
        await _play(service, wanted={"/api/v1/events?map=tamv"}, speed=20_000.0, history=False)
        assert service.refused == 3
        first = service.lines()[0]
        assert first["timestamp"] == min(line["timestamp"] for line in service.lines())

    async def test_a_refusal_for_good_is_raised(self):
        service = StandIn(trouble=[400])
        with pytest.raises(aiohttp.ClientResponseError, match="400"):
            await _play(service, wanted=ALL_DOORS, speed=20_000.0, history=False)

    async def test_it_plays_on_without_a_gateway(self):
        service = StandIn()
        await _play(service, wanted=ALL_DOORS - {"xr"}, speed=40_000.0, history=False, xr_url=None)
        assert not service.messages

    async def test_a_dead_gateway_stops_nothing(self, unused_tcp_port: int):
        service = StandIn()
        dead = f"ws://127.0.0.1:{unused_tcp_port}/ws/xr"
        await _play(service, wanted=ALL_DOORS - {"xr"}, speed=80_000.0, history=False, xr_url=dead)
        assert {path for path, _ in service.bodies} == ALL_DOORS - {"xr"}

    async def test_after_the_day_life_goes_on_in_real_time(self):
        told: list[str] = []
        stop = asyncio.Event()

        def hear(key: str) -> None:
            told.append(key)
            if key == "real_time":
                stop.set()

        async with _running(StandIn()) as (base_url, _):
            await asyncio.wait_for(
                play(base_url, None, stop=stop, speed=40_000.0, history=False, announce=hear), 20
            )
        assert told == ["today", *(f"attack_{key}" for _, key, _ in PROGRAMME), "real_time"]

    async def test_a_stop_before_the_start_sends_nothing(self):
        stop = asyncio.Event()
        stop.set()
        await play("http://127.0.0.1:1", None, stop=stop)


def test_every_announcement_has_words_in_both_languages():
    keys = {"yesterday", "today", "real_time"} | {f"attack_{key}" for _, key, _ in PROGRAMME}
    for language in LANGUAGES:
        assert set(catalogue("demo", language)) == keys
