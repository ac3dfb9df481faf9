"""`guardian dlq`, on the folder of an instance that is at rest and beside one that runs."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console

from exporters.alert import Alert
from exporters.dead_letters import DeadLetters
from exporters.delivery import Worker
from exporters.msr.fsck import verify
from exporters.outbox import DEAD, Mark, Outbox
from exporters.pseudonyms import Pseudonyms
from exporters.register import Register
from exporters.store import Store
from guardian.config import Config
from guardian.errors import InputError, RequestError
from guardian.journal.files import Files
from guardian.levels import Level
from guardian.operations import dead_letters
from guardian.ports import Answers, Message
from guardian.sink_settings import File

NOW = 1_800_000_000 * 10**9
SIEM = File(name="siem", path="x")
HOSTILE = "10.0.0.\x1b[31m1\n"


def alert(number: int) -> Alert:
    return Alert(
        id=f"{number:x}" * 32,
        created_at=NOW,
        role="address",
        entity=HOSTILE,
        layer=5,
        level_from=Level.NONE,
        level_to=Level.HIGH,
        score=60.0,
        reasons=(),
        event=number,
        trace_id="",
        config="c",
        synthetic=False,
    )


def instance(folder: Path) -> tuple[Store, Outbox]:
    """An instance with two dead letters."""
    store = Store(folder / "guardian.db")
    store.create()
    Register(store, folder, Config().ledger.origin)
    outbox = Outbox(store, [SIEM], clock=lambda: NOW)
    with store.transaction() as connection:
        outbox.add(connection, [alert(1), alert(2)])
    outbox.mark("siem", [Mark([1, 2], DEAD, "HTTP 400", "refused", body=b'{"a": 1}')], at=NOW)
    return store, outbox


def guardian(
    folder: Path, *arguments: str, given: str = "", language: str = "en"
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "guardian", "dlq", *arguments, "--data-dir", str(folder)]
    environment = {**os.environ, "GUARDIAN_LANG": language, "COLUMNS": "200"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, input=given, timeout=120
    )


def test_at_rest(tmp_path: Path) -> None:
    store, outbox = instance(tmp_path)
    store.close()
    listed = json.loads(guardian(tmp_path, "list", "--json").stdout)
    assert (listed["total"], [each["alertId"][0] for each in listed["items"]]) == (2, ["1", "2"])
    assert "HTTP 400" in guardian(tmp_path, "show", "siem", "2", language="es-MX").stdout
    edited = guardian(tmp_path, "edit", "siem", "2", "--message", "-", "--json", given='{"a": 2}\n')
    assert json.loads(edited.stdout) == {"action": "edit", "changed": 1, "msrIndices": [0]}
    refused = guardian(tmp_path, "drop", "siem", "1", "--reason", "test", given="n\n")
    assert (refused.returncode, refused.stdout.strip()) == (1, "")
    dropped = guardian(tmp_path, "drop", "siem", "1", "--reason", "test", "--yes", "--json")
    assert json.loads(dropped.stdout)["msrIndices"] == [1]
    wrong = guardian(tmp_path, "replay", "siem", "1")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "there is no such dead letter" in wrong.stderr
    assert guardian(tmp_path, "replay", "siem").returncode == 2
    assert verify(tmp_path).ok
    store = Store(tmp_path / "guardian.db")
    store.create()
    assert outbox.counts()["siem"] == {"pending": 0, "delivered": 0, "parked": 0, "dead": 1, "suppressed": 1}
    store.close()


async def test_of_a_running_instance(tmp_path: Path) -> None:
    """The process that owns the database is asked, and nothing else touches it; its worker sends again."""
    store, outbox = instance(tmp_path)
    letters = DeadLetters(store, Register(store, tmp_path, Config().ledger.origin), Pseudonyms(b"k" * 32))
    held = Files().lock(tmp_path / "journal")
    taken: list[str] = []

    class Taking:
        async def write(self, messages: Sequence[Message]) -> Answers:
            taken.extend(message.id for message in messages)
            return Answers()

        async def close(self) -> None:
            pass

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        return web.json_response(await asyncio.to_thread(dead_letters.perform, letters, body, by="local"))

    app = web.Application()
    app.router.add_post(dead_letters.PATH, answer)
    server = web.AppRunner(app)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    worker = Worker(outbox, SIEM, Taking(), render=lambda each: each.id.encode())
    running = asyncio.create_task(worker.run())
    url = f"http://127.0.0.1:{server.addresses[0][1]}"
    replayed = await asyncio.to_thread(guardian, tmp_path, "replay", "siem", "--all", "--url", url)
    assert (replayed.returncode, replayed.stdout) == (0, "2 changed, registered in MSR\n")
    async with asyncio.timeout(20):
        while len(taken) < 2:
            await asyncio.sleep(0.05)
    worker.stop()
    await running
    await server.cleanup()
    alone = await asyncio.to_thread(guardian, tmp_path, "list", "--url", url)
    assert alone.returncode == 2
    assert "no service answers" in alone.stderr
    store.close()
    os.close(held)
    assert verify(tmp_path).ok


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "burn"},
        {"action": "list", "limit": 0},
        {"action": "list", "unknown": 1},
        {"action": "replay"},
        {"action": "replay", "sink": "siem"},
        {"action": "drop", "sink": "siem", "alerts": ["1"], "every": True, "reason": "x"},
        {"action": "show", "sink": "siem"},
        {"action": "edit", "sink": "siem", "alerts": ["1", "2"]},
    ],
)
def test_a_request_that_is_none(tmp_path: Path, body: dict[str, Any]) -> None:
    store, outbox = instance(tmp_path)
    letters = DeadLetters(store, Register(store, tmp_path, Config().ledger.origin), Pseudonyms(b"k" * 32))
    with pytest.raises(RequestError):
        dead_letters.perform(letters, body, by="")
    assert outbox.counts()["siem"]["dead"] == 2
    store.close()


def test_a_folder_without_an_instance(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the data folder"):
        dead_letters.ask(tmp_path, Config(), "", dead_letters.Request(action="list"))
    assert list(tmp_path.iterdir()) == [], "nothing is made there"


@pytest.mark.parametrize("language", ["en", "es-MX"])
def test_what_others_wrote_cannot_move_the_cursor(tmp_path: Path, language: Any) -> None:
    store, _ = instance(tmp_path)
    store.close()
    page = dead_letters.ask(tmp_path, Config(), "", dead_letters.Request(action="list"))
    letters = [each | {"body": "a\x1b[2Jb\nc", "said": HOSTILE} for each in page["items"]]
    out = io.StringIO()
    Console(width=200, file=out).print(dead_letters.table(letters, language))
    shown = out.getvalue() + dead_letters.details(letters[0], language)
    assert "\x1b" not in shown
    assert "10.0.0.\\x1b[31m1\\n" in shown
    assert dead_letters.operator().startswith("os")
