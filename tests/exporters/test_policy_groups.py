"""Groups and their flushes: beside a small dispatcher written from Alertmanager's documentation, and beside the real one."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporters.alert import Alert
from exporters.policy_groups import Way, ways
from exporters.policy_tables import Group, groups
from guardian.levels import Level
from guardian.route_settings import Route
from guardian.sink_settings import File
from tests.exporters.policy_world import T0, S, World, times

NONE, LOW, MEDIUM, HIGH, CRITICAL = Level
SINKS = (File(name="a", path="a"),)


def route(**more: Any) -> Route:
    given = {"name": "g", "sinks": ("a",), "minimum_level": "low", "repeat_interval_s": 0.0}
    return Route(**given | {"group_by": ("layer",), "group_wait_s": 30.0, "group_interval_s": 300.0} | more)


def test_the_first_waits_and_later_ones_come_an_interval_apart():
    with World([route()], sinks=SINKS) as world:
        told = [times(world.raised(str(at), at=at))["a"] for at in (0, 10, 30, 31, 330, 331, 2000)]
        assert told == [30, 30, 30, 330, 330, 630, 2130]
        assert times(world.raised("other", at=40, layer=2)) == {"a": 70}


def test_a_group_ends_with_the_flush_that_tells_its_last_end():
    with World([route()], sinks=SINKS) as world:
        world.raised("x", at=0)
        (end,) = world.over(40)
        assert times(end) == {"a": 330}
        assert times(world.raised("y", at=330)) == {"a": 330}, "it still gathers"
        world.over(331)
        assert times(world.raised("z", at=631)) == {"a": 661}, "a group of its own, which waits again"


def test_a_finding_that_rises_may_go_to_another_group():
    with World([route(group_by=("level",))], sinks=SINKS) as world:
        assert times(world.raised("x", MEDIUM, 0)) == {"a": 30}
        assert times(world.raised("x", HIGH, 100)) == {"a": 130}, "louder ones have a group of their own"
        (medium, high) = sorted(world.rows(groups), key=lambda row: row.opened_at)
        assert (medium.members, medium.ends_at, high.members) == (0, T0 + 330 * S, 1)
        assert times(world.over(140)[0]) == {"a": 430}


def test_of_two_routes_the_earlier_counts():
    with World([route(), route(name="h", group_wait_s=5.0)], sinks=SINKS) as world:
        assert times(world.raised("x", at=0)) == {"a": 5}


def test_a_clock_that_is_ahead_makes_nobody_wait():
    with World([route()], sinks=SINKS) as world:
        assert times(world.raised("x", at=86_000)) == {"a": 86_030}
        assert times(world.raised("y", at=0)) == {"a": 30}
        assert times(world.raised("z", at=1)) == {"a": 30}


def test_ended_groups_are_forgotten_in_the_end():
    with World([route()], sinks=SINKS) as world:
        world.raised("x", at=0)
        world.over(40)
        world.due(330 + 86_400)
        assert len(world.rows(groups)) == 1
        world.due(331 + 86_400)
        assert world.rows(groups) == []


@pytest.mark.parametrize(
    ("group_by", "alike", "different"),
    [
        (("route",), {"entity": "y", "layer": 1, "level": CRITICAL, "role": "actor"}, None),
        (("entity", "role"), {"layer": 1}, {"role": "actor"}),
        (("layer",), {"entity": "y"}, {"layer": 4}),
        (("level",), {"entity": "y"}, {"level": CRITICAL}),
        (("kind",), {"entity": "y"}, {"reasons": ({"channel": "rule", "kind": "b", "contribution": 1.0},)}),
        (("channel",), {"entity": "y"}, {"reasons": ({"channel": "b", "kind": "a", "contribution": 1.0},)}),
    ],
)
def test_what_a_group_has_in_common(group_by: Any, alike: dict[str, Any], different: dict[str, Any] | None):
    reasons = (
        {"channel": "x", "kind": "x", "contribution": 1.0},
        {"channel": "rule", "kind": "a", "contribution": 2.0},
    )
    (way,) = ways([route(group_by=group_by)], SINKS)
    with World() as world:

        def key(**more: Any) -> str:
            given = {"entity": "x", "level": HIGH, "reasons": reasons} | more
            return way.key(world.alert(**given), given["level"])

        assert key(**alike) == key()
        assert different is None or key(**different) != key()
        assert key(reasons=())  # one without reasons has a group too


names = st.text(max_size=5) | st.sampled_from(['",', "]", '"]', "\n", "a,b"])


@settings(max_examples=40)
@given(names, names, names, names)
def test_keys_are_the_same_only_for_the_same_names(role: str, entity: str, role2: str, entity2: str):
    (way,) = ways([route(group_by=("role", "entity"))], SINKS)
    with World() as world:
        one, other = world.alert(entity, role=role), world.alert(entity2, role=role2)
    assert (way.key(one, HIGH) == way.key(other, HIGH)) == ((role, entity) == (role2, entity2))


@given(st.integers(0, 10**12), st.integers(1, 10**12), st.integers(0, 10**14), st.integers(0, 10**14))
def test_a_flush_is_never_early_and_at_most_one_wait_or_interval_away(
    wait: int, interval: int, opened: int, passed: int
):
    way = Way("w", LOW, frozenset(), frozenset(), ("a",), ("layer",), wait, interval, 0)
    at = opened + passed
    due = way.flush(Group("w", "k", opened, 1, 0), at)
    assert at <= due < at + max(wait + 1, interval)
    assert due == opened + wait or (due - opened - wait) % interval == 0


# -- beside Alertmanager's dispatcher --------------------------------------------------------------------------------


@dataclass
class Aggregation:
    """A group as the documentation of Alertmanager describes it.

    group_wait: how long to wait before the first notification of a new group; group_interval: how long to wait before
    notifying of new alerts that were added to a group. A group tells firing alerts and those resolved since; what is
    resolved and was told leaves it; without alerts it is gone.
    """

    flush: int
    interval: int
    fresh: list[str] = field(default_factory=list)
    alive: set[str] = field(default_factory=set)

    def tell(self) -> list[str]:
        told, self.fresh = self.fresh, []
        self.flush += self.interval
        return told


def dispatched(
    history: list[tuple[int, str, int, bool]], wait: int, interval: int
) -> dict[tuple[int, int], list[str]]:
    """(group, time of its flush) → what it tells anew; the history is (time, name, group, ends?), in order of time."""
    told: dict[tuple[int, int], list[str]] = {}
    running: dict[int, Aggregation] = {}

    def run_until(at: int) -> None:
        for number, group in list(running.items()):
            while number in running and group.flush < at:
                flushed = group.flush
                if said := group.tell():
                    told[number, flushed] = said
                if not group.alive:
                    del running[number]

    for at, name, number, ends in history:
        run_until(at)
        if number not in running:
            running[number] = Aggregation(at + wait, interval)
        group = running[number]
        group.fresh.append(f"{name} ends" if ends else name)
        group.alive.discard(name) if ends else group.alive.add(name)
    run_until(max((at for at, *_ in history), default=0) + wait + 2 * interval)
    return told


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, str, int, bool]]:
    """Alerts open and end; each name has its group."""
    at, alive, history, count = 0, dict[str, int](), [], 0
    for passed in draw(st.lists(st.integers(0, 400) | st.integers(0, 20), max_size=40)):
        at += passed
        if alive and draw(st.booleans()):
            name = draw(st.sampled_from(sorted(alive)))
            history.append((at, name, alive.pop(name), True))
        else:
            count += 1
            number = draw(st.integers(0, 2))
            alive[f"n{count}"] = number
            history.append((at, f"n{count}", number, False))
    return history


@settings(max_examples=60)
@given(histories(), st.integers(0, 60), st.integers(1, 300))
@example([(0, "n1", 0, False), (0, "n1", 0, True), (1, "n2", 0, False)], 0, 1)
def test_groups_and_flushes_are_those_of_the_dispatcher(
    history: list[tuple[int, str, int, bool]], wait: int, interval: int
):
    grouped = route(group_wait_s=float(wait), group_interval_s=float(interval))
    ours: dict[tuple[int, int], list[str]] = defaultdict(list)
    with World([grouped], sinks=SINKS) as world:
        for at, name, number, ends in history:
            decided = world.over(at, name) if ends else [world.raised(name, at=at, layer=number)]
            for each in decided:
                due = round(times(each)["a"])
                ours[number, due].append(f"{name} ends" if ends else name)
    assert ours == dispatched(history, wait, interval)


# -- beside Alertmanager itself --------------------------------------------------------------------------------------

WAIT_S, INTERVAL_S = 1.0, 2.0
PLAN = [
    (0.0, "x1", 0),
    (0.3, "x2", 0),
    (0.5, "y1", 1),
    (2.0, "x3", 0),
    (2.4, "x4", 0),
    (2.6, "y2", 1),
    (4.2, "x5", 0),
    (4.4, "z1", 2),
]
CONFIGURATION = """
route: {{receiver: us, group_by: [layer], group_wait: 1s, group_interval: 2s, repeat_interval: 1h}}
receivers: [{{name: us, webhook_configs: [{{url: "http://127.0.0.1:{port}/"}}]}}]
"""


@pytest.mark.slow
async def test_alertmanager_makes_the_same_groups(tmp_path: Path):
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("Alertmanager is not installed")
    seen: dict[str, set[str]] = defaultdict(set)
    theirs: dict[str, list[set[str]]] = defaultdict(list)

    async def take(request: web.Request) -> web.Response:
        body = await request.json()
        layer = body["groupLabels"]["layer"]
        names = {each["labels"]["entity"] for each in body["alerts"]}
        theirs[layer].append(names - seen[layer])
        seen[layer] |= names
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    receiver = web.AppRunner(app, access_log=None)
    await receiver.setup()
    await web.TCPSite(receiver, "127.0.0.1", 0).start()
    configuration = tmp_path / "am.yml"
    configuration.write_text(CONFIGURATION.format(port=receiver.addresses[0][1]))
    port = unused_port()
    process = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={configuration}",
        f"--storage.path={tmp_path / 'data'}",
        "--cluster.listen-address=",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            await _ready(client)
            posted = await _post(client)
            async with asyncio.timeout(20):
                while sum(map(len, seen.values())) < len(PLAN):
                    await asyncio.sleep(0.05)
    finally:
        process.terminate()
        await process.wait()
        await receiver.cleanup()
    assert {layer: [each for each in told if each] for layer, told in theirs.items()} == _ours(posted)


async def _ready(client: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                async with client.get("/-/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


async def _post(client: aiohttp.ClientSession) -> list[tuple[int, str, int]]:
    """Post what is planned; when each was taken, so that a machine that is slow changes nothing."""
    begin, posted = time.monotonic(), []
    for at, name, layer in PLAN:
        await asyncio.sleep(max(0.0, begin + at - time.monotonic()))
        now = time.time_ns()
        starts = datetime.fromtimestamp(now / 1e9, UTC).isoformat()
        body = [{"labels": {"alertname": "t", "layer": str(layer), "entity": name}, "startsAt": starts}]
        async with client.post("/api/v2/alerts", json=body) as answer:
            assert answer.status == 200
        posted.append((now, name, layer))
    return posted


def _ours(posted: list[tuple[int, str, int]]) -> dict[str, list[set[str]]]:
    told: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    with World([route(group_wait_s=WAIT_S, group_interval_s=INTERVAL_S)], sinks=SINKS) as world:
        for at, name, layer in posted:
            decided: list[Alert] = [world.alert(name, at=(at - T0) / S, layer=layer)]
            for each in world.decide(*decided):
                told[str(layer)][each.owed["a"]].add(name)
    return {layer: [names for _, names in sorted(flushes.items())] for layer, flushes in told.items()}
