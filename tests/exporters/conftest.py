"""What the tests of everything that leaves share: alerts, a database, a sink that answers as it is told, a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from exporters.outbox import Alert, Outbox
from exporters.store import Store
from guardian.config import Sink
from guardian.levels import Level

MakeAlert = Callable[..., Alert]
SETTINGS = Sink(name="siem", type="file", path="x", minimum_level="medium", batch=3)


def make_alert(number: int, level: Level = Level.HIGH) -> Alert:
    return Alert(
        id=f"{number:032x}",
        created_at=10**18 + number,
        role="address",
        entity=f"10.0.0.{number}",
        layer=5,
        level_from=Level.NONE,
        level_to=level,
        score=20.0 * level,
        reasons=({"channel": "rule", "contribution": 20.0 * level, "kind": "login", "event": number},),
        event=number,
        trace_id="",
        config="c",
        synthetic=False,
    )


@pytest.fixture(scope="session")
def alert() -> MakeAlert:
    return make_alert


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "guardian.db")
    made.create()
    yield made
    made.close()


@pytest.fixture
def settings() -> Sink:
    """A sink that takes three alerts at once, medium and above."""
    return SETTINGS


@pytest.fixture
def filled(store: Store) -> Callable[..., Outbox]:
    """An outbox with alerts in it."""

    def fill(count: int, *sinks: Sink) -> Outbox:
        outbox = Outbox(store, sinks or (SETTINGS,))
        with store.transaction() as connection:
            outbox.add(connection, [make_alert(number) for number in range(count)])
        return outbox

    return fill


class Scripted:
    """A sink that answers as it is told, and keeps what it took and what it was offered."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.taken: list[str] = []
        self.offered: list[int] = []
        self.closed = False

    async def write(self, items: Sequence[dict[str, Any]]) -> None:
        self.offered.append(len(items))
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.taken += [item["metadata"]["uid"] for item in items]

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="session")
def scripted() -> type[Scripted]:
    return Scripted


class Clock:
    """A wall clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 2 * 10**18

    def __call__(self) -> int:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += int(seconds * 1e9) + 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def finding() -> Callable[[Alert], dict[str, Any]]:
    """The least that a sink needs of a finding."""
    return lambda each: {"metadata": {"uid": each.id}}
