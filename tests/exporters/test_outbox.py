"""The outbox: accepted once, with the cursor or not at all, and every alert in exactly one state a sink."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from exporters import outbox as boxes
from exporters import own_alerts
from exporters.alert import Alert, Decision
from exporters.breaker import Standing
from exporters.metrics_table import METRICS
from exporters.outbox import (
    DEAD,
    DELIVERED,
    PARKED,
    PENDING,
    STATES,
    Mark,
    Outbox,
    get_cursor,
    set_cursor,
)
from exporters.store import Store
from guardian.levels import Level
from guardian.sink_settings import File, Sink

from .conftest import make_alert

LOW = File(name="all", path="x", minimum_level="low")
NOW = 2 * 10**18


def marked(outbox: Outbox, sink: str, numbers: Iterable[int], state: str, **more: Any) -> None:
    """Say what became of alerts by their numbers."""
    ids = [make_alert(number).id for number in numbers]
    with outbox.store.reading() as connection:
        query = sa.select(boxes.outbox.c.seq).where(
            boxes.outbox.c.sink == sink, boxes.outbox.c.alert_id.in_(ids)
        )
        seqs = list(connection.execute(query).scalars())
    outbox.mark(sink, [Mark(seqs, state, **more)], at=NOW)


def owed(outbox: Outbox, sink: str, *, limit: int = 99, now: int = NOW) -> list[Alert]:
    return [item.alert for item in outbox.head(sink, limit=limit, now=now).items]


def rows(store: Store) -> dict[str, Counter[str]]:
    """What is really in the table, counted the slow way."""
    found: dict[str, Counter[str]] = {}
    with store.reading() as connection:
        for sink, state in connection.execute(sa.select(boxes.outbox.c.sink, boxes.outbox.c.state)):
            found.setdefault(sink, Counter())[state] += 1
    return found


def test_an_alert_is_accepted_once(store: Store, alert: Any, settings: Sink) -> None:
    outbox = Outbox(store, [settings, LOW])
    with store.transaction() as connection:
        assert outbox.add(connection, [alert(1), alert(2, Level.LOW), alert(1)]) == [
            alert(1),
            alert(2, Level.LOW),
        ]
    with store.transaction() as connection:
        assert outbox.add(connection, [alert(1), alert(3)]) == [alert(3)]
        assert outbox.add(connection, []) == []
    nothing = dict.fromkeys(STATES, 0)
    assert outbox.counts() == {
        "siem": nothing | {"pending": 2, "suppressed": 1},
        "all": nothing | {"pending": 3},
    }


def test_more_alerts_at_once_than_a_statement_has_parameters(store: Store, alert: Any) -> None:
    outbox = Outbox(store, [LOW])
    batch = [alert(number) for number in range(2_500)]
    with store.transaction() as connection:
        outbox.add(connection, batch)
        assert outbox.add(connection, [*batch, alert(9_999)]) == [alert(9_999)]
    marked(outbox, "all", range(2_500), DELIVERED)
    assert outbox.counts()["all"] == dict.fromkeys(STATES, 0) | {"pending": 1, "delivered": 2_500}


def test_nothing_is_kept_of_a_transaction_that_fails(store: Store, alert: Any) -> None:
    outbox = Outbox(store, [LOW])

    def fail() -> None:
        with store.transaction() as connection:
            outbox.add(connection, [alert(1)])
            set_cursor(connection, "engine", 7)
            raise RuntimeError  # whatever the caller does next

    with pytest.raises(RuntimeError):
        fail()
    assert outbox.counts()["all"] == dict.fromkeys(STATES, 0)
    assert outbox.page(limit=10, offset=0) == ([], 0)
    with store.reading() as connection:
        assert get_cursor(connection, "engine") == 0


def test_cursors(store: Store) -> None:
    with store.transaction() as connection:
        set_cursor(connection, "engine", 7)
        set_cursor(connection, "engine", 2**62)
        set_cursor(connection, "other", 1)
    with store.reading() as connection:
        assert (get_cursor(connection, "engine"), get_cursor(connection, "other")) == (2**62, 1)


def test_a_page_is_newest_first(store: Store, alert: Any) -> None:
    outbox = Outbox(store, [])
    with store.transaction() as connection:
        outbox.add(connection, [alert(2), alert(3, Level.CRITICAL), alert(1)])
    items, total = outbox.page(limit=2, offset=0)
    assert total == 3
    assert [item["id"] for item in items] == [alert(3).id, alert(2).id]
    assert items[0] == {
        "id": alert(3).id,
        "createdAt": "2001-09-09T01:46:40.000Z",
        "role": "address",
        "entity": "10.0.0.3",
        "layer": "L5",
        "levelFrom": "none",
        "levelTo": "critical",
        "score": 80.0,
        "reasons": [{"channel": "rule", "contribution": 80.0, "kind": "login", "event": 3}],
        "recommendedAction": ["isolate", "notify"],
        "event": 3,
        "traceId": "",
        "config": "c",
        "synthetic": False,
        "extrapolated": False,
        "finding": alert(3).id,
        "activity": "open",
        "tags": [],
    }
    assert [item["id"] for item in outbox.page(limit=2, offset=2)[0]] == [alert(1).id]


def test_the_head_is_what_was_accepted_first(store: Store, alert: Any, settings: Sink) -> None:
    outbox = Outbox(store, [settings])
    with store.transaction() as connection:
        outbox.add(connection, [alert(9), alert(1), alert(5, Level.LOW), alert(4)])
    assert owed(outbox, "siem", limit=2) == [alert(9), alert(1)]
    marked(outbox, "siem", [9], PARKED, said="x" * 10_000, not_before=NOW + 77)
    assert owed(outbox, "siem") == [alert(1), alert(4)], "what is put off holds up nobody"
    assert owed(outbox, "siem", now=NOW + 77) == [alert(9), alert(1), alert(4)]
    marked(outbox, "siem", [1, 4], DELIVERED)
    head = outbox.head("siem", limit=9, now=NOW)
    assert (head.items, head.later) == ([], NOW + 77)
    long_ago = NOW - 2 * boxes.LONGEST_PUT_OFF_NS
    assert owed(outbox, "siem", now=long_ago) == [alert(9)], "the wall clock was set back"
    marked(outbox, "siem", [9], DELIVERED)
    assert outbox.head("siem", limit=9, now=NOW) == outbox.head("nobody", limit=9, now=NOW) == boxes.Head([])
    with store.reading() as connection:
        attempts, error = connection.execute(
            sa.select(boxes.outbox.c.attempts, boxes.outbox.c.last_error).where(
                boxes.outbox.c.alert_id == alert(9).id
            )
        ).one()
    assert (attempts, error) == (2, "")


def test_the_history_keeps_the_first_and_the_last(store: Store, alert: Any) -> None:
    outbox = Outbox(store, [LOW])
    with store.transaction() as connection:
        outbox.add(connection, [alert(1)])
    for number in range(25):
        marked(outbox, "all", [1], PENDING, said=f"no {number} \N{SNOWMAN}")
    with store.reading() as connection:
        history = connection.execute(sa.select(boxes.outbox.c.history)).scalar_one()
    told = [each["said"] for each in msgspec.json.decode(history)]
    assert told == [f"no {number} \N{SNOWMAN}" for number in (0, *range(16, 25))]


def test_finding_the_head_and_rows_reads_no_more_than_it_must(store: Store, alert: Any) -> None:
    outbox = Outbox(store, [LOW])
    with store.transaction() as connection:
        outbox.add(connection, [alert(1)])
    asked: list[str] = []
    sa.event.listen(store._engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    outbox.head("all", limit=1, now=NOW)
    (query,) = [text for text in asked if "outbox" in text]
    outbox.mark("all", [Mark([1], PENDING)], at=NOW)
    before, update = [text for text in asked if "json_each" in text]
    with store.reading() as connection:

        def plan(text: str, *values: Any) -> str:
            steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all()
            return "; ".join(step[3] for step in steps)

        head = plan(query, "all", NOW, NOW, 1, 0)
        assert "INDEX outbox_owed (sink=?)" in head
        assert "TEMP B-TREE" not in head, "nothing is sorted"
        for text in (before, update):
            found = plan(text, *["[1]"] * text.count("?"))
            assert "SEARCH outbox USING INTEGER PRIMARY KEY" in found
            assert "outbox_owed" not in found


def test_what_is_delivered_or_dead_stays_so(store: Store, alert: Any) -> None:
    outbox = Outbox(store, [LOW])
    with store.transaction() as connection:
        outbox.add(connection, [alert(1), alert(2)])
    marked(outbox, "all", [1], DELIVERED)
    marked(outbox, "all", [2], DEAD)
    marked(outbox, "all", [1, 2], PENDING)
    outbox.mark("all", [Mark([77], DELIVERED)], at=NOW)
    assert outbox.counts()["all"] == dict.fromkeys(STATES, 0) | {"delivered": 1, "dead": 1}


class Told:
    """A policy that was decided beforehand."""

    def __init__(self, *due: Decision, **owed: dict[str, int]) -> None:
        self.owed = owed
        self.later = list(due)

    def decide(self, connection: sa.Connection, fresh: list[Alert]) -> list[Decision]:
        return [
            Decision(each, self.owed.get(f"a{each.event}", {}), frozenset({"siem"} - self.owed.keys()))
            for each in fresh
        ]

    def due(self, connection: sa.Connection, now: int) -> list[Decision]:
        return self.later

    def resolve(
        self, connection: sa.Connection, still_open: Callable[[str, str], Level], *, now: int
    ) -> list[Decision]:
        if still_open("address", "10.0.0.1") > Level.NONE:
            return []
        over = replace(self.later[0].alert, id="over", activity="resolved", level_to=Level.NONE)
        return [Decision(over, {"siem": 0}, frozenset())]


def test_what_the_policy_says_is_what_is_owed(store: Store, alert: Any, settings: Sink) -> None:
    summary = replace(
        alert(7), suppressed=12, suppressed_since=5, tags=("attack.t1110",), finding=alert(1).id
    )
    policy = Told(Decision(summary, {"siem": 0}), a1={"siem": NOW + 5}, a2={"all": 0})
    outbox = Outbox(store, [settings, LOW], policy)
    with store.transaction() as connection:
        assert outbox.add(connection, [alert(1), alert(2), alert(3)]) == [alert(1), alert(2), alert(3)]
    assert outbox.counts() == {
        "siem": dict.fromkeys(STATES, 0) | {"pending": 1, "suppressed": 2},
        "all": dict.fromkeys(STATES, 0) | {"pending": 1},
    }, "a sink that is neither owed it nor suppresses it does not count it"
    assert owed(outbox, "siem") == []
    assert owed(outbox, "siem", now=NOW + 5) == [alert(1)]
    assert outbox.raise_due(NOW, lambda _role, _entity: Level.HIGH) == [summary]
    assert outbox.raise_due(NOW, lambda _role, _entity: Level.HIGH) == [], "once"
    assert owed(outbox, "siem") == [summary], "what comes out is what went in"
    (over,) = outbox.raise_due(NOW, lambda _role, _entity: Level.NONE)
    assert (over.id, over.activity) == ("over", "resolved")


def test_the_end_of_a_finding_is_told_to_whom_its_opening_was(
    store: Store, alert: Any, settings: Sink
) -> None:
    outbox = Outbox(store, [settings])
    over = replace(
        alert(2), activity="resolved", finding=alert(1).id, level_from=Level.HIGH, level_to=Level.NONE
    )
    with store.transaction() as connection:
        outbox.add(connection, [alert(1), over])
    assert owed(outbox, "siem") == [alert(1), over]


def test_a_sink_is_not_told_about_itself(store: Store, alert: Any, settings: Sink) -> None:
    outbox = Outbox(store, [settings, LOW])
    with store.transaction() as connection:
        outbox.add(connection, [alert(1)])
    told = own_alerts.held("siem", NOW)
    outbox.mark("siem", [Mark([1], PARKED)], at=NOW, standing=Standing(held=True), tell=told)
    assert outbox.counts() == {
        "siem": dict.fromkeys(STATES, 0) | {"parked": 1, "suppressed": 1},
        "all": dict.fromkeys(STATES, 0) | {"pending": 2},
    }
    assert owed(outbox, "all")[1] == told
    assert outbox.standing("siem") == Standing(held=True)
    assert outbox.standing("all") == Standing()


def test_at_most_one_heartbeat_is_in_the_table(store: Store, alert: Any) -> None:
    outbox = Outbox(store, [LOW])
    with store.transaction() as connection:
        outbox.add(connection, [alert(1)])
    assert outbox.beat("all", NOW, Standing(beat_at=NOW))
    assert not outbox.beat("all", NOW + 1, Standing(beat_at=NOW + 1)), "one is owed already"
    assert owed(outbox, "all") == [alert(1), own_alerts.heartbeat("all", NOW)]
    assert outbox.page(limit=9, offset=0)[1] == 1, "it is no alert"
    marked(outbox, "all", [1], DELIVERED)
    (item,) = outbox.head("all", limit=9, now=NOW).items
    assert item.heartbeat
    outbox.mark("all", [Mark([item.seq], DELIVERED)], at=NOW)
    assert outbox.counts()["all"] == dict.fromkeys(STATES, 0) | {"delivered": 2}
    assert outbox.beat("all", NOW + 2, Standing())
    assert outbox.counts()["all"] == dict.fromkeys(STATES, 0) | {"delivered": 1, "pending": 1}
    assert rows(store)["all"] == {"delivered": 1, "pending": 1}


def test_how_long_the_head_of_a_queue_waits(store: Store, alert: Any, settings: Sink) -> None:
    at = [100]
    outbox = Outbox(store, [settings, LOW], clock=lambda: at[0])
    with store.transaction() as connection:
        outbox.add(connection, [alert(1, Level.LOW)])
        at[0] = 200
        outbox.add(connection, [alert(2)])
    assert outbox.oldest() == {"siem": 200, "all": 100}


def test_the_database_refuses_to_break_the_law(store: Store, alert: Any) -> None:
    outbox = Outbox(store, [LOW])
    with store.transaction() as connection:
        outbox.add(connection, [alert(1)])
    for broken in ({"delivered": 1}, {"accepted": 2}, {"pending": -1, "dead": 2}):
        with pytest.raises(sa.exc.IntegrityError), store.transaction() as connection:
            connection.execute(boxes.tally.update().values(broken))


def test_a_restart_finds_what_was_left(store: Store, alert: Any, settings: Sink) -> None:
    with store.transaction() as connection:
        Outbox(store, [settings]).add(connection, [alert(1)])
    again = Outbox(store, [LOW, settings])
    assert owed(again, "siem") == [alert(1)]
    assert owed(again, "all") == [], "a new sink is owed what comes from now on"
    gone = Outbox(store, [LOW])
    assert gone.counts()["siem"]["pending"] == 1, "a sink taken out of the configuration is still told of"


def test_states_are_the_ones_the_metric_names() -> None:
    (row,) = [row for row in METRICS if row.name == "tamv_guardian_outbox_rows"]
    assert row.labels["state"] == STATES
