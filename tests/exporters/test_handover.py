"""Rows that leave a queue unsent, and the law of conservation over everything that can happen to a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exporters import handover, own_alerts
from exporters import outbox as boxes
from exporters.alert import Alert
from exporters.breaker import Standing
from exporters.dead_letters import DeadLetters
from exporters.handover import expire, hand_over
from exporters.outbox import DEAD, DELIVERED, OWED, PARKED, PENDING, STATES, Mark, Outbox
from exporters.pseudonyms import Pseudonyms
from exporters.register import Register
from exporters.store import Store
from guardian.levels import Level
from guardian.sink_settings import File

from .conftest import make_alert

NOW = 2 * 10**18
NOTHING = dict.fromkeys(STATES, 0)
PRIMARY = File(name="siem", path="x", minimum_level="low", fallback="pager")
FALLBACK = File(name="pager", path="x", minimum_level="critical")
LEVELS = st.sampled_from(list(Level)[1:])


def fill(store: Store, *alerts: Alert) -> Outbox:
    outbox = Outbox(store, [PRIMARY, FALLBACK], clock=lambda: NOW)
    with store.transaction() as connection:
        outbox.add(connection, alerts)
    return outbox


def test_the_fallback_owes_what_it_had_not(store: Store) -> None:
    """What it was to have anyway it has once; what it has already it does not get again."""
    outbox = fill(
        store, make_alert(1, Level.LOW), make_alert(2, Level.CRITICAL), make_alert(3, Level.CRITICAL)
    )
    items = outbox.head("pager", limit=9, now=NOW).items
    outbox.mark("pager", [Mark([items[0].seq], DELIVERED)], at=NOW)
    assert hand_over(outbox, "siem", "pager", now=NOW) == 3
    assert outbox.counts() == {
        "siem": NOTHING | {"suppressed": 3},
        "pager": NOTHING | {"delivered": 1, "pending": 2},
    }
    owed = [item.alert.id for item in outbox.head("pager", limit=9, now=NOW).items]
    assert owed == [make_alert(1).id, make_alert(3).id]
    assert hand_over(outbox, "siem", "pager", now=NOW) == 0


def test_a_sink_without_rows_takes_over_too_and_in_parts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "MOST", 4)
    outbox = Outbox(store, [PRIMARY])
    with store.transaction() as connection:
        outbox.add(connection, [make_alert(number) for number in range(10)])
    assert hand_over(outbox, "siem", "new", now=NOW) == 10
    assert outbox.counts() == {"siem": NOTHING | {"suppressed": 10}, "new": NOTHING | {"pending": 10}}
    owed = [item.alert.event for item in outbox.head("new", limit=99, now=NOW).items]
    assert owed == list(range(10)), "in their order"


def test_heartbeats_and_what_is_not_due_stay(store: Store) -> None:
    outbox = fill(store, make_alert(1), make_alert(2))
    with store.transaction() as connection:
        connection.execute(
            boxes.outbox.update().where(boxes.outbox.c.seq == 1).values(next_attempt_at=NOW + 5)
        )
    outbox.beat("siem", NOW, Standing())
    assert hand_over(outbox, "siem", "pager", now=NOW) == 1
    assert outbox.counts()["siem"] == NOTHING | {"pending": 2, "suppressed": 1}
    outbox.mark("siem", [Mark([1], PENDING, not_before=NOW + 9)], at=NOW)
    assert hand_over(outbox, "siem", "pager", now=NOW) == 1, "it was tried, and is waited for no longer"


def test_nobody_is_handed_what_tells_about_himself(store: Store) -> None:
    outbox = fill(store, make_alert(1, Level.CRITICAL))
    seq = outbox.head("pager", limit=1, now=NOW).items[0].seq
    outbox.mark("pager", [Mark([seq], PARKED)], at=NOW, tell=own_alerts.held("pager", NOW))
    hand_over(outbox, "siem", "pager", now=NOW)
    assert outbox.counts() == {
        "siem": NOTHING | {"suppressed": 2},
        "pager": NOTHING | {"parked": 1, "suppressed": 1},
    }


def test_only_what_waited_too_long_expires(store: Store) -> None:
    outbox = fill(store, make_alert(1), make_alert(2))
    assert expire(outbox, "siem", before=NOW, said="down", now=NOW) == 0
    assert expire(outbox, "siem", before=NOW + 1, said="down", now=NOW) == 2
    assert outbox.counts()["siem"] == NOTHING | {"dead": 2}
    with store.reading() as connection:
        row = connection.execute(sa.select(boxes.outbox).where(boxes.outbox.c.seq == 1)).mappings().one()
    assert (row["reason"], row["last_error"], row["attempts"]) == ("expired", "down", 0)


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder: Path = tmp_path_factory.mktemp("law")
    made = Store(folder / "guardian.db")
    sa.event.listen(made._engine, "connect", lambda each, _record: each.execute("PRAGMA synchronous=OFF"))
    made.create()
    History.register = Register(made, folder, "example.org/msr")
    History.store = made
    yield made
    made.close()


class History(RuleBasedStateMachine):
    """Anything that can happen to alerts on their way to two sinks, in any order."""

    store: Store
    register: Register
    examples = 0

    @initialize()
    def begin(self) -> None:
        History.examples += 1
        name = f"s{History.examples}"
        self.base = History.examples * 1000
        self.sinks = [
            File(name=f"{name}a", path="x", minimum_level="low", fallback=f"{name}b"),
            File(name=f"{name}b", path="x", minimum_level="high"),
        ]
        self.now = NOW
        self.outbox = Outbox(self.store, self.sinks, clock=lambda: self.now)
        self.letters = DeadLetters(self.store, self.register, Pseudonyms(b"k" * 32), clock=lambda: self.now)
        self.accepted: set[str] = set()

    def name(self, which: bool) -> str:
        return self.sinks[which].name

    @rule(given_=st.lists(st.tuples(st.integers(0, 20), LEVELS), max_size=5))
    def add(self, given_: list[tuple[int, Level]]) -> None:
        alerts = [make_alert(self.base + number, level) for number, level in given_]
        with self.store.transaction() as connection:
            fresh = self.outbox.add(connection, alerts)
        assert {each.id for each in fresh} == {each.id for each in alerts} - self.accepted
        self.accepted |= {each.id for each in alerts}

    @rule(which=st.booleans(), data=st.data(), tell=st.booleans())
    def attempt(self, which: bool, data: st.DataObject, tell: bool) -> None:
        items = self.outbox.head(self.name(which), limit=9, now=self.now).items
        marks = [
            Mark(
                [item.seq],
                data.draw(st.sampled_from((PENDING, PARKED, DEAD, DELIVERED))),
                said="x",
                not_before=data.draw(st.sampled_from((0, self.now + 10**9))),
            )
            for item in items
        ]
        told = own_alerts.held(self.name(which), self.now) if tell else None
        self.outbox.mark(self.name(which), marks, at=self.now, tell=told)
        self.accepted |= {told.id} if told else set()

    @rule(seconds=st.integers(1, 100))
    def wait(self, seconds: int) -> None:
        self.now += seconds * 10**9

    @rule()
    def hand_over(self) -> None:
        before = self.outbox.counts()[self.name(False)]
        moved = hand_over(self.outbox, self.name(False), self.name(True), now=self.now)
        after = self.outbox.counts()[self.name(False)]
        assert sum(before[state] - after[state] for state in OWED) == moved
        assert after["suppressed"] - before["suppressed"] == moved

    @rule(which=st.booleans(), seconds=st.integers(0, 100))
    def expire(self, which: bool, seconds: int) -> None:
        expire(self.outbox, self.name(which), before=self.now - seconds * 10**9, said="", now=self.now)

    @rule(which=st.booleans())
    def beat(self, which: bool) -> None:
        self.outbox.beat(self.name(which), self.now, Standing())
        self.now += 1

    @rule(which=st.booleans(), drop=st.booleans())
    def look_at_dead_letters(self, which: bool, drop: bool) -> None:
        name = self.name(which)
        letters, total = self.letters.page(name, limit=2, offset=0)
        ids = [letter.alert.id for letter in letters]
        if drop:
            done = self.letters.drop(name, ids, reason="seen", by="a")
        else:
            done = self.letters.replay(name, ids, by="a")
        assert len(done) == len(ids)
        assert self.letters.page(name, limit=1, offset=0)[1] == total - len(ids)

    @invariant()
    def the_law_holds(self) -> None:
        if not hasattr(self, "outbox"):
            return
        table = boxes.outbox
        counts = self.outbox.counts()
        for sink in self.sinks:
            with self.store.reading() as connection:
                found = connection.execute(
                    sa.select(table.c.state, table.c.heartbeat, table.c.alert_id).where(
                        table.c.sink == sink.name
                    )
                ).all()
            assert Counter(row.state for row in found) == Counter(
                {state: number for state, number in counts[sink.name].items() if number}
            )
            assert sum(row.heartbeat for row in found) <= 1
            assert {row.alert_id for row in found if not row.heartbeat} == self.accepted


def test_the_law_of_conservation(one_store: Store) -> None:
    """At every moment: accepted = delivered + pending + parked + dead + suppressed, and that is what the rows say."""
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        History, settings=hypothesis_settings(max_examples=20, stateful_step_count=20, deadline=None)
    )
