"""What the tests of everything that leaves share: alerts, a database, a sink that answers as it is told, a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from exporters.alert import Alert
from exporters.outbox import Outbox
from exporters.store import Store
from guardian.levels import Level
from guardian.ports import Answers, Message
from guardian.sink_settings import File, Sink

MakeAlert = Callable[..., Alert]
SETTINGS = File(name="siem", path="x", minimum_level="medium", batch=3)


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
    # Nobody pulls the plug here; the tests that kill open databases of their own.
    sa.event.listen(made._engine, "connect", lambda each, _record: each.execute("PRAGMA synchronous=OFF"))
    made.create()
    yield made
    made.close()


@pytest.fixture
def settings() -> File:
    """A sink that takes three alerts at once, medium and above."""
    return SETTINGS


@pytest.fixture
def filled(store: Store, clock: Clock) -> Callable[..., Outbox]:
    """An outbox with alerts in it, accepted at the time of the clock."""

    def fill(count: int, *sinks: Sink) -> Outbox:
        outbox = Outbox(store, sinks or (SETTINGS,), clock=clock)
        with store.transaction() as connection:
            outbox.add(connection, [make_alert(number) for number in range(count)])
        return outbox

    return fill


class Scripted:
    """A sink that answers as it is told, and keeps what it took and what it was offered."""

    def __init__(self, *answers: Exception | Answers | None) -> None:
        self.answers = list(answers)
        self.taken: list[str] = []
        self.offered: list[int] = []
        self.closed = False

    async def write(self, messages: Sequence[Message]) -> Answers:
        self.offered.append(len(messages))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        answers = answer or Answers()
        self.taken += [message.id for message in messages if message.id not in answers.refused]
        return answers

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
def rendered() -> Callable[[Alert], bytes]:
    """The least that a sink may be given of an alert."""
    return lambda each: each.id.encode()
