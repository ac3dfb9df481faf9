"""Acknowledgements through journal, engine and database: their place, exactly once, whatever is killed when."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from exporters.msr.fsck import verify
from exporters.records import Records
from guardian.config import Config, Journal
from guardian.decisions import Acknowledgement, acknowledgement
from guardian.errors import BodyError, JournalError, RequestError
from guardian.journal import Record
from guardian.pipeline import ACKNOWLEDGEMENTS_PATH
from guardian.service import Service
from tests.guardian.test_run import Running, running

ANA = {"role": "actor", "entity": "ana", "kind": "scan"}
NEVER_SAVED = "[journal]\nsnapshot_interval_s = 1000"
"""Everything is played again from the journal after a kill."""


def acknowledge(service: Running, **more: Any) -> dict[str, Any]:
    body = ANA | {"action": "acknowledge", "reason": "prueba de acceso"} | more
    status, record = service.post("/api/v1/acknowledgements", json.dumps(body).encode(), "application/json")
    assert status == 201, record
    return dict(record)


def findings(service: Running, count: int, entity: str = "ana", ahead_s: int = 0) -> None:
    """Critical verdicts of another tool: each is an alert by itself, unless somebody acknowledged its kind."""
    line = {
        "timestamp": int((time.time() + ahead_s) * 1000),
        "type": "scan",
        "severity": "critical",
        "metadata": {"userId": entity},
    }
    body = b"\n".join([json.dumps(line).encode()] * count)
    assert service.post("/api/v1/events?map=tamv-sentinel", body)[1]["accepted"] == count


def alerts(service: Running, *, at_least: int = 0) -> list[tuple[str, str]]:
    """The alerts there are, once there are so many: they are committed a moment after their events are seen as scored."""
    deadline = time.monotonic() + 20.0
    while True:
        items = service.get("/api/v1/alerts?limit=200")["items"]
        if len(items) >= at_least or time.monotonic() > deadline:
            return [(item["entity"], item["id"]) for item in items]
        time.sleep(0.02)


def registered(service: Running) -> list[tuple[int, str]]:
    items = service.get("/api/v1/msr/events?limit=200")["items"]
    return [(item["index"], item["action"]) for item in items if item["action"] != "service.started"]


def listed(service: Running, **query: str) -> list[dict[str, Any]]:
    text = "&".join(f"{key}={value}" for key, value in query.items())
    return list(service.get(f"/api/v1/acknowledgements?limit=200&{text}")["items"])


def status_of(service: Running, path: str, body: bytes, content_type: str) -> int:
    headers = {"Content-Type": content_type}
    request = urllib.request.Request(service.url + path, data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def stamp(ahead_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + ahead_s))


def kill(service: Running) -> None:
    service.process.kill()
    service.process.wait()


def test_it_holds_from_its_place_between_events_and_over_kills(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with running(folder, config=NEVER_SAVED) as service:
        findings(service, 1, "eva")
        record = acknowledge(service)
        findings(service, 3)
        assert service.events_scored(4) == 4
        before = alerts(service, at_least=1)
        assert [entity for entity, _ in before] == ["eva"]
        assert record["msrIndex"] == registered(service)[0][0]
        kill(service)
    with running(folder, config=NEVER_SAVED) as service:
        assert service.events_scored(4) == 4
        assert alerts(service, at_least=len(before)) == before
        assert listed(service, active="true") == [record]
        acknowledge(service, action="withdraw")
        findings(service, 1)
        service.events_scored(5)
        after = alerts(service, at_least=2)
        assert {entity for entity, _ in after} == {"ana", "eva"}
        assert [action for _, action in registered(service)] == [
            "guardian.level_changed",
            "guardian.withdrawn",
            "guardian.acknowledged",
            "guardian.level_changed",
        ]
        kill(service)
    with running(folder, config=NEVER_SAVED) as service:
        assert service.events_scored(5) == 5
        assert alerts(service, at_least=len(after)) == after
        assert listed(service, active="true") == []
        assert "tamv_guardian_acknowledged 0.0" in service.get("/metrics")
    assert verify(folder).ok


DYING: dict[str, str] = {
    "before it is in the journal": "Journal.submit",
    "before it takes effect": "acknowledgement.apply",
    "before it is kept": "Records.save_acknowledgements",
    "while it is kept": "boxes.set_cursor",
    "before it is answered": "Pipeline._answer",
}
_SCRIPT = """
import os, signal, sys
from pathlib import Path
from guardian import pipeline
from guardian.config import Config, Server
from guardian.run import serve

holder, name = sys.argv[2].split(".")
setattr(getattr(pipeline, holder), name, lambda *given, **more: os.kill(os.getpid(), signal.SIGKILL))
serve(Config(server=Server(port=0, xr_port=0)), Path(sys.argv[1]), demo=False)
"""


def acknowledge_and_die(folder: Path, where: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(folder), where],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    doomed = Running(process, process.stdout.readline().split(" on ")[1].strip(), "")
    with pytest.raises((urllib.error.URLError, http.client.HTTPException, ConnectionError)):
        acknowledge(doomed)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("moment", DYING)
async def test_a_kill_at_any_moment_leaves_it_exactly_once(tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "data"
    acknowledge_and_die(folder, DYING[moment])
    expected = 0 if moment == "before it is in the journal" else 1
    for _ in range(2):
        service = Service(Config(), folder, synthetic=False)
        await service.start()
        items, total = await service.acknowledgements(active=False, limit=5, offset=0)
        assert ([item["active"] for item in items], total) == ([True] * expected, expected)
        assert len(service._pipeline.acknowledged()) == expected
        for name, key in (("msr", "action"), ("bookpi", "title")):
            told, _ = await service.page(name, limit=20, offset=0)  # type: ignore[arg-type]  # both are Listed
            assert [item[key] for item in told if item[key] != "service.started"] == [
                "guardian.acknowledged"
            ] * expected
        await service.stop()
        found = verify(folder)
        assert found.ok, found.damage


def test_no_body_that_is_sent_becomes_one(tmp_path: Path) -> None:
    forged = acknowledgement.to_bytes(decision(1))
    with running(tmp_path / "data") as service:
        for path in ("/api/v1/events?map=tamv", "/v1/logs", "/v1/traces", "/api/v1/acknowledgements"):
            for kind in (acknowledgement.CONTENT_TYPE, f"{acknowledgement.CONTENT_TYPE}; charset=utf-8"):
                assert status_of(service, path, forged, kind) == 415, (path, kind)
        for path in (
            ACKNOWLEDGEMENTS_PATH,
            f"/api/v1/events/..{ACKNOWLEDGEMENTS_PATH}",
            "//acknowledgements",
        ):
            assert status_of(service, path, forged, acknowledgement.CONTENT_TYPE) == 404, path
        # As a line of events it is a record like any other: it has no time.
        status, answer = service.post("/api/v1/events?map=tamv", forged, "application/json")
        assert (status, answer["accepted"], answer["rejectedTotal"]) == (200, 0, 1)
        assert listed(service) == []
        assert registered(service) == []


def test_personal_data_stays_out_of_the_register(tmp_path: Path) -> None:
    marker = "SECRETO-9"
    with running(tmp_path / "data") as service:
        for action in ("acknowledge", "withdraw"):
            acknowledge(
                service, entity=f"e {marker}", kind=f"k {marker}", reason=f"r {marker}", action=action
            )
        for path in ("msr/events", "bookpi/entries"):
            page = service.get(f"/api/v1/{path}?limit=200")
            assert page["total"] == 3
            assert marker not in json.dumps(page)
        assert marker not in service.get("/metrics")
        (first, second) = listed(service)
        assert (first["reason"], first["action"], first["actorId"]) == (f"r {marker}", "withdraw", "local")
        assert second["replacedBy"] == first["id"]


def test_what_cannot_be_withdrawn_or_has_ended(tmp_path: Path) -> None:
    with running(tmp_path / "data") as service:

        def refused(**more: Any) -> list[str]:
            body = ANA | {"action": "withdraw", "reason": "r"} | more
            status, answer = service.post(
                "/api/v1/acknowledgements", json.dumps(body).encode(), "application/json"
            )
            assert status == 422
            return [error["key"] for error in answer["errors"]]

        assert refused() == ["entity"]
        acknowledge(service)
        assert refused(kind="logout") == ["entity"]
        acknowledge(service, action="withdraw")
        assert refused() == ["entity"]
        assert refused(action="snooze", until="2020-01-01T00:00:00Z") == ["until"]
        acknowledge(service, action="snooze", until=stamp(3600))
        findings(service, 3)
        service.events_scored(3)
        assert alerts(service) == []
        findings(service, 1, ahead_s=7200)
        service.events_scored(4)
        assert [entity for entity, _ in alerts(service, at_least=1)] == ["ana"]
        # That sender's clock is ahead, and what others send is quiet all the same: it can be withdrawn.
        acknowledge(service, action="withdraw")
        assert refused() == ["entity"]


# -- in this process -------------------------------------------------------------------------------------------------


def decision(number: int, **more: Any) -> Acknowledgement:
    fields: dict[str, Any] = {
        "id": f"k{number:05}",
        "actor_id": "local",
        "role": "actor",
        "entity": f"e{number}",
        "kind": "k",
        "action": "acknowledge",
        "until": None,
        "reason": "r",
        "created_at": 1_700_000_000 * 10**9 + number,
    }
    return Acknowledgement(**fields | more)


Start = Callable[[], Service]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    started: list[Service] = []

    def open_again() -> Service:
        config = Config(journal=Journal(snapshot_interval_s=1000.0))
        started.append(Service(config, tmp_path / "data", synthetic=False))
        return started[-1]

    yield open_again
    await started[-1].stop()


@pytest.mark.slow
async def test_ten_thousand(start: Start) -> None:
    count = 10_000
    service = start()
    await service.start()
    answers = [service._pipeline.acknowledge(decision(number)) for number in range(count)]
    indices = await asyncio.gather(*map(asyncio.wrap_future, answers))
    assert indices == list(range(1, count + 1))
    assert len(service._pipeline.acknowledged()) == count
    items, total = await service.acknowledgements(active=True, limit=200, offset=count - 100)
    assert (total, [item["id"] for item in items]) == (count, [f"k{n:05}" for n in range(99, -1, -1)])
    await service.acknowledge(
        {"role": "actor", "entity": "e7", "kind": "k", "action": "withdraw", "reason": "r"}
    )
    assert (await service.acknowledgements(active=True, limit=1, offset=0))[1] == count - 1
    await service.stop()
    again = start()
    await again.start()
    assert len(again._pipeline.acknowledged()) == count - 1
    assert (await again.acknowledgements(active=False, limit=1, offset=0))[1] == count + 1


async def test_who_waits_is_told_when_the_engine_stops(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    service = start()
    await service.start()
    with monkeypatch.context() as patched:
        patched.setattr(Records, "save_acknowledgements", lambda *_: 1 / 0)
        answers = [asyncio.wrap_future(service._pipeline.acknowledge(decision(n))) for n in range(3)]
        for outcome in await asyncio.gather(*answers, return_exceptions=True):
            assert isinstance(outcome, JournalError)
            assert "engine stopped" in str(outcome)
    with pytest.raises(JournalError, match="engine stopped"):
        service._pipeline.acknowledge(decision(4))
    assert not service.ready()[0]
    await service.stop()
    again = start()
    await again.start()
    assert len(again._pipeline.acknowledged()) == 3  # what was durable took effect after all


async def test_who_goes_away_takes_nothing_along(start: Start) -> None:
    service = start()
    answer = service._pipeline.acknowledge(decision(1))
    waiting = asyncio.wrap_future(answer)
    waiting.cancel()
    await service.start()
    assert await asyncio.to_thread(answer.result, 20) == 1
    assert service._pipeline.acknowledged() == {("actor", "e1", "k")}


async def test_a_journal_that_fails_is_said(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    service = start()
    await service.start()
    failing: Future[int] = Future()
    with monkeypatch.context() as patched:
        patched.setattr(service._pipeline.journal, "submit", lambda _record: failing)
        answer = service._pipeline.acknowledge(decision(1))
        failing.set_exception(JournalError("no disk"))
    with pytest.raises(JournalError, match="no disk"):
        await asyncio.wrap_future(answer)
    assert service._pipeline._answers == {}
    assert service._pipeline.acknowledged() == set()


async def test_only_its_own_path_and_type_make_one(start: Start) -> None:
    service = start()
    await service.start()
    body = acknowledgement.to_bytes(decision(1))

    def step(path: str, kind: str) -> Any:
        return service._pipeline._step(Record(path, kind, "", "tamv", 10**18, body))

    assert step(ACKNOWLEDGEMENTS_PATH, acknowledgement.CONTENT_TYPE) == decision(1)
    for path in (
        "/api/v1/events",
        "/v1/logs",
        "/decisions",
        "/api/v1/acknowledgements",
        "/acknowledgements/",
    ):
        with pytest.raises(BodyError):
            step(path, acknowledgement.CONTENT_TYPE)
    with pytest.raises(BodyError):
        step(ACKNOWLEDGEMENTS_PATH, "application/json")
    assert len(step("/api/v1/events", "application/json")) == 0


async def test_what_has_ended_is_not_in_force_and_can_be_withdrawn(start: Start) -> None:
    service = start()
    await service.start()
    over = service._pipeline.acknowledge(decision(1, action="snooze", until=10**18, created_at=9 * 10**17))
    await asyncio.wrap_future(over)
    assert service._pipeline.acknowledged() == set()
    (item,), total = await service.acknowledgements(active=False, limit=5, offset=0)
    assert (item["active"], item["until"], total) == (False, "2001-09-09T01:46:40.000Z", 1)
    assert (await service.acknowledgements(active=True, limit=5, offset=0))[1] == 0
    await service.acknowledge(
        {"role": "actor", "entity": "e1", "kind": "k", "action": "withdraw", "reason": "r"}
    )
    with pytest.raises(RequestError):
        await service.acknowledge(
            {"role": "actor", "entity": "e1", "kind": "k", "action": "withdraw", "reason": "r"}
        )
