"""The outbox: accepted once, with the cursor or not at all, and every alert in exactly one state a sink."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters import outbox as boxes
from exporters.metrics_table import METRICS
from exporters.outbox import DEAD, DELIVERED, OWED, PARKED, PENDING, STATES, Outbox, get_cursor, set_cursor
from exporters.store import Store
from guardian.config import Sink
from guardian.events import ALERTS
from guardian.levels import Level

LOW = Sink(name="all", type="file", path="x", minimum_level="low")


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
    outbox.mark("all", [each.id for each in batch], DELIVERED)
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
    }
    assert [item["id"] for item in outbox.page(limit=2, offset=2)[0]] == [alert(1).id]


def test_alerts_from_the_engines_batch(store: Store) -> None:
    row = {
        "alert_id": bytes(range(16)),
        "ts": 1_700_000_000_123_456_789,
        "role": "actor",
        "entity": "ana",
        "layer": -1,
        "level_from": 1,
        "level_to": 3,
        "score": 61.5,
        "extrapolated": False,
        "reasons": [{"channel": "rule", "contribution": 61.5, "kind": "login", "event": 7}],
        "event": 7,
        "trace_id": bytes(16),
        "config": "c0ffee",
    }
    batch = pa.RecordBatch.from_pylist([row, row | {"trace_id": b"\x01" * 16}], schema=ALERTS)
    first, second = boxes.alerts_from(batch, synthetic=True)
    assert (first.id, first.created_at) == ("000102030405060708090a0b0c0d0e0f", 1_700_000_000_123_456_789)
    assert (first.level_from, first.level_to, first.synthetic) == (Level.LOW, Level.HIGH, True)
    assert (first.trace_id, second.trace_id) == ("", "01" * 16)
    assert first.to_json()["layer"] is None
    outbox = Outbox(store, [LOW])
    with store.transaction() as connection:
        assert outbox.add(connection, [first, second]) == [second], "one id is one alert"
    assert outbox.head("all", limit=9).alerts == [second], "what comes out is what went in"


def test_the_head_is_what_was_accepted_first_and_its_pause(store: Store, alert: Any, settings: Sink) -> None:
    outbox = Outbox(store, [settings])
    with store.transaction() as connection:
        outbox.add(connection, [alert(9), alert(1), alert(5, Level.LOW), alert(4)])
    assert outbox.head("siem", limit=2) == boxes.Head([alert(9), alert(1)], 0)
    outbox.mark("siem", [alert(9).id], PARKED, next_attempt_at=77, error="x" * 10_000)
    assert outbox.head("siem", limit=9) == boxes.Head([alert(9), alert(1), alert(4)], 77)
    outbox.mark("siem", [alert(9).id], DELIVERED)
    assert outbox.head("siem", limit=9) == boxes.Head([alert(1), alert(4)], 0)
    assert outbox.head("nobody", limit=9) == boxes.Head([], 0)
    with store.reading() as connection:
        attempts, error = connection.execute(
            sa.select(boxes.outbox.c.attempts, boxes.outbox.c.last_error).where(
                boxes.outbox.c.alert_id == alert(9).id
            )
        ).one()
    assert (attempts, error) == (2, "")


def test_finding_the_head_reads_an_index_of_what_is_owed(store: Store, alert: Any) -> None:
    outbox = Outbox(store, [LOW])
    with store.transaction() as connection:
        outbox.add(connection, [alert(1)])
    asked: list[str] = []
    sa.event.listen(store._engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    outbox.head("all", limit=1)
    (query,) = [text for text in asked if "outbox" in text]
    with store.reading() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", ("all", 1, 0)).all()
    assert any("USING INDEX outbox_owed (sink=?)" in step[3] for step in plan), plan
    assert not any("TEMP B-TREE" in step[3] for step in plan), "nothing is sorted"


def test_what_is_delivered_or_dead_stays_so(store: Store, alert: Any) -> None:
    outbox = Outbox(store, [LOW])
    with store.transaction() as connection:
        outbox.add(connection, [alert(1), alert(2)])
    outbox.mark("all", [alert(1).id], DELIVERED)
    outbox.mark("all", [alert(2).id], DEAD)
    outbox.mark("all", [alert(1).id, alert(2).id], PENDING)
    outbox.mark("all", ["no such alert"], DELIVERED)
    assert outbox.counts()["all"] == dict.fromkeys(STATES, 0) | {"delivered": 1, "dead": 1}


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
    assert again.head("siem", limit=1).alerts == [alert(1)]
    assert again.head("all", limit=1).alerts == [], "a new sink is owed what comes from now on"
    gone = Outbox(store, [LOW])
    assert gone.counts()["siem"]["pending"] == 1, "a sink taken out of the configuration is still told of"


steps = st.one_of(
    st.tuples(st.just("add"), st.lists(st.tuples(st.integers(0, 15), st.sampled_from(list(Level)[1:])))),
    st.tuples(st.sampled_from(STATES[:4]), st.lists(st.integers(0, 15), unique=True)),
)
_examples = iter(range(10**6))


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = Store(tmp_path_factory.mktemp("law") / "guardian.db")
    store.create()
    yield store
    store.close()


@settings(max_examples=40)
@given(plan=st.lists(steps, max_size=10))
def test_the_law_of_conservation(one_store: Store, alert: Any, plan: list[tuple[str, list[Any]]]) -> None:
    """At every moment: accepted = delivered + pending + parked + dead + suppressed, and that is what the rows say."""
    example = next(_examples)
    base = example * 100
    sinks = [
        Sink(name=f"{name}{example}", type="file", path="x", minimum_level=level)
        for name, level in (("all", "low"), ("some", "high"))
    ]
    outbox = Outbox(one_store, sinks)
    accepted: dict[int, Level] = {}
    for action, given_ in plan:
        if action == "add":
            with one_store.transaction() as connection:
                outbox.add(connection, [alert(base + number, level) for number, level in given_])
            for number, level in given_:
                accepted.setdefault(number, level)
        else:
            outbox.mark(sinks[1].name, [alert(base + number).id for number in given_], action)
        counts = outbox.counts()
        really = rows(one_store)
        for sink in sinks:
            assert sum(counts[sink.name].values()) == len(accepted)
            assert {state: n for state, n in counts[sink.name].items() if n} == really.get(sink.name, {})
        assert counts[sinks[0].name][PENDING] == len(accepted), "what one sink does is nothing to another"
        owed = outbox.head(sinks[1].name, limit=99).alerts
        assert len(owed) == sum(counts[sinks[1].name][state] for state in OWED)


def test_states_are_the_ones_the_metric_names() -> None:
    (row,) = [row for row in METRICS if row.name == "tamv_guardian_outbox_rows"]
    assert row.labels["state"] == STATES
