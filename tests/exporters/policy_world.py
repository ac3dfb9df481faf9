"""A policy with a database in memory, made anew before every step, and what each sink was told."""

from __future__ import annotations

import atexit
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

import sqlalchemy as sa

from exporters.alert import Alert, Decision
from exporters.msr.log import Entry
from exporters.policy import Policy
from exporters.policy_tables import findings, groups, held, told
from exporters.silences import Silences, silences
from guardian.decisions.silence import Silence
from guardian.levels import Level
from guardian.route_settings import Inhibition, Route
from guardian.sink_settings import File

S = 10**9
T0 = 1_800_000_000 * S
TABLES = (findings, told, held, groups, silences)


@cache
def database() -> sa.Engine:
    """One for all, since what SQLAlchemy compiles is kept with it: ten times as many examples in the same time."""
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    with engine.begin() as connection:
        for table in TABLES:
            table.create(connection)
    atexit.register(engine.dispose)
    return engine


class OneConnection:
    """The part of a store that silences need."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        yield self.connection

    reading = transaction


@dataclass
class FakeRegister:
    entries: list[Entry] = field(default_factory=list)

    def write(self, connection: sa.Connection, entries: Sequence[Entry]) -> list[int]:
        self.entries += entries
        return list(range(len(self.entries) - len(entries), len(self.entries)))


class FakePseudonyms:
    def of(self, text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest() if text else ""


class World:
    """Sinks ``a`` (minimum medium) and ``b`` (minimum high) unless others are given."""

    def __init__(
        self,
        routes: Sequence[Route] = (),
        inhibitions: Sequence[Inhibition] = (),
        *,
        sinks: Sequence[File] = (
            File(name="a", path="a", minimum_level="medium"),
            File(name="b", path="b", minimum_level="high"),
        ),
        anew: bool = True,
    ) -> None:
        self.connection = database().connect()
        for table in TABLES:
            self.connection.execute(table.delete())
        self.register = FakeRegister()
        self.silences = Silences(OneConnection(self.connection), self.register, FakePseudonyms())
        self._make: Callable[[], Policy] = lambda: Policy(sinks, routes, inhibitions, self.silences)
        self._policy = None if anew else self._make()
        self.sinks = frozenset(sink.name for sink in sinks)
        self.decisions: list[Decision] = []
        self.number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.connection.close()

    @property
    def policy(self) -> Policy:
        return self._policy or self._make()

    def alert(
        self,
        entity: str = "e",
        level: Level = Level.HIGH,
        at: float = 0.0,
        *,
        before: Level = Level.LOW,
        role: str = "address",
        **more: Any,
    ) -> Alert:
        """One alert, of its own id; ``at`` in seconds."""
        self.number += 1
        reasons = more.pop("reasons", ({"channel": "rule", "contribution": 20.0 * level, "kind": "login"},))
        return Alert(
            id=f"{self.number:032x}",
            created_at=T0 + round(at * S),
            role=role,
            entity=entity,
            layer=more.pop("layer", 5),
            level_from=before,
            level_to=level,
            score=20.0 * level,
            reasons=reasons,
            event=more.pop("event", 1),
            trace_id="",
            config="c",
            synthetic=False,
            **more,
        )

    def decide(self, *alerts: Alert) -> list[Decision]:
        return self._keep(self.policy.decide(self.connection, list(alerts)))

    def raised(self, *given: Any, **more: Any) -> Decision:
        """The decision about one new alert."""
        return self.decide(self.alert(*given, **more))[-1]

    def due(self, at: float) -> list[Decision]:
        return self._keep(self.policy.due(self.connection, T0 + round(at * S)))

    def over(self, at: float, *entities: str) -> list[Decision]:
        """The level of some entities, or of all, has fallen to none."""
        return self._keep(
            self.policy.resolve(
                self.connection,
                lambda _role, entity: Level.NONE if not entities or entity in entities else Level.LOW,
                now=T0 + round(at * S),
            )
        )

    def silence(self, since: float, until: float, **about: Any) -> str:
        """Add a silence; its id."""
        self.number += 1
        names = ("role", "entity", "layer", "channel", "kind")
        silence = Silence(
            id=f"s{self.number}",
            **{name: about.get(name) for name in names},
            level_at_most=about.get("level_at_most", "critical"),
            owner="o",
            reason="r",
            starts_at=T0 + round(since * S),
            ends_at=T0 + round(until * S),
            created_at=T0 + round(since * S),
        )
        self.silences.add(silence)
        return silence.id

    def end(self, silence_id: str, at: float) -> None:
        self.silences.end(silence_id, actor_id="o", now=T0 + round(at * S))

    def told(self, sink: str) -> list[Alert]:
        """What a sink was told, in the order in which it was decided."""
        return [each.alert for each in self.decisions if sink in each.owed]

    def rows(self, table: sa.Table) -> list[Any]:
        return list(self.connection.execute(sa.select(table)))

    def _keep(self, decisions: list[Decision]) -> list[Decision]:
        for each in decisions:
            assert not each.owed.keys() & each.suppressed
            assert each.owed.keys() | each.suppressed == self.sinks, (
                "every alert is counted once at every sink"
            )
        self.decisions += decisions
        return decisions


def times(decision: Decision) -> dict[str, float]:
    """Sink → seconds since the beginning; 0 = at once."""
    return {sink: (at - T0) / S if at else 0 for sink, at in decision.owed.items()}
