"""`guardian dlq`, on the folder of an instance that is at rest and beside one that runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from exporters.alert import Alert
from exporters.delivery import Worker
from exporters.msr.fsck import verify
from exporters.outbox import DEAD, Mark, Outbox
from exporters.register import Register
from exporters.store import Store
from guardian.config import Config
from guardian.errors import InputError
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
    assert json.loads(edited.stdout) == {"changed": 1, "msrIndices": [0]}
    refused = guardian(tmp_path, "drop", "siem", "1", "--reason", "test", given="n\n")
    assert (refused.returncode, refused.stdout) == (1, "")
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


async def test_beside_a_running_instance(tmp_path: Path) -> None:
    """Its worker finds what is to be sent again, and both keep writing the one register."""
    store, outbox = instance(tmp_path)
    register = Register(store, tmp_path, Config().ledger.origin)
    taken: list[str] = []

    class Taking:
        async def write(self, messages: Sequence[Message]) -> Answers:
            taken.extend(message.id for message in messages)
            return Answers()

        async def close(self) -> None:
            pass

    worker = Worker(outbox, SIEM, Taking(), render=lambda each: each.id.encode())
    running = asyncio.create_task(worker.run())
    replayed = await asyncio.to_thread(guardian, tmp_path, "replay", "siem", "--all")
    assert replayed.returncode == 0, replayed.stderr
    async with asyncio.timeout(20):
        while len(taken) < 2:
            await asyncio.sleep(0.05)
    worker.stop()
    await running
    with store.transaction() as connection:
        from exporters.msr.log import Entry

        assert register.write(connection, [Entry("", "thing.done", {}, NOW)]) == [2]
    store.close()
    assert verify(tmp_path).ok


def test_a_folder_without_an_instance(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the data folder"), dead_letters.opened(tmp_path, Config()):
        pass
    assert list(tmp_path.iterdir()) == [], "nothing is made there"


@pytest.mark.parametrize("language", ["en", "es-MX"])
def test_what_others_wrote_cannot_move_the_cursor(tmp_path: Path, language: Any) -> None:
    store, _ = instance(tmp_path)
    store.close()
    with dead_letters.opened(tmp_path, Config()) as box:
        letters, _ = box.page(limit=9, offset=0)
    letters = [replace(each, body=b"a\x1b[2Jb\nc", said=HOSTILE) for each in letters]
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115  (closed below)
    console.print(dead_letters.table(letters, language))
    shown = console.export_text() + dead_letters.details(letters[0], language)
    console.file.close()
    assert "\x1b" not in shown
    assert "10.0.0.\\x1b[31m1\\n" in shown
    assert dead_letters.operator().startswith("os")
