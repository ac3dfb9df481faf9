"""A database that the last release made goes on; one of a newer release is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporters import outbox as boxes
from exporters import schema
from exporters.outbox import DELIVERED, Mark, Outbox
from exporters.store import Store
from guardian.errors import MachineError
from guardian.sink_settings import File

from .conftest import make_alert

NOW = 2 * 10**18
SINK = File(name="siem", path="x")

LAST_RELEASE = """
CREATE TABLE alerts (id TEXT NOT NULL, created_at BIGINT NOT NULL, role TEXT NOT NULL, entity TEXT NOT NULL,
  layer INTEGER NOT NULL, level_from INTEGER NOT NULL, level_to INTEGER NOT NULL, score FLOAT NOT NULL,
  reasons TEXT NOT NULL, event BIGINT NOT NULL, trace_id TEXT NOT NULL, config TEXT NOT NULL,
  synthetic BOOLEAN NOT NULL, extrapolated BOOLEAN NOT NULL, PRIMARY KEY (id));
CREATE INDEX alerts_newest ON alerts (created_at, id);
CREATE TABLE outbox (seq INTEGER NOT NULL, sink TEXT NOT NULL, alert_id TEXT NOT NULL, state TEXT NOT NULL,
  attempts INTEGER DEFAULT '0' NOT NULL, next_attempt_at BIGINT DEFAULT '0' NOT NULL,
  last_error TEXT DEFAULT '' NOT NULL, PRIMARY KEY (seq), UNIQUE (sink, alert_id));
CREATE INDEX outbox_owed ON outbox (sink, seq) WHERE state IN ('pending', 'parked');
CREATE TABLE outbox_tally (sink TEXT NOT NULL, accepted BIGINT DEFAULT '0' NOT NULL,
  pending BIGINT DEFAULT '0' NOT NULL, delivered BIGINT DEFAULT '0' NOT NULL, parked BIGINT DEFAULT '0' NOT NULL,
  dead BIGINT DEFAULT '0' NOT NULL, suppressed BIGINT DEFAULT '0' NOT NULL, PRIMARY KEY (sink),
  CONSTRAINT conservation CHECK (accepted = pending + delivered + parked + dead + suppressed));
CREATE TABLE cursors (name TEXT NOT NULL, value BIGINT NOT NULL, PRIMARY KEY (name));
INSERT INTO alerts VALUES ('00000000000000000000000000000001', 1000000000000000001, 'address', '10.0.0.1', 5, 0, 3,
  60.0, '[{"channel":"rule","contribution":60.0,"kind":"login","event":1}]', 1, '', 'c', 0, 0);
INSERT INTO outbox (sink, alert_id, state) VALUES ('siem', '00000000000000000000000000000001', 'parked'),
  ('siem', 'gone', 'dead');
INSERT INTO outbox_tally VALUES ('siem', 2, 0, 0, 1, 1, 0);
"""


def old_one(path: Path) -> None:
    store = Store(path)
    store._begin()
    with store.transaction() as connection:
        for statement in LAST_RELEASE.split(";")[:-1]:
            connection.exec_driver_sql(statement)
    store.close()


def shape(store: Store) -> dict[str, set[tuple[str, ...]]]:
    with store.reading() as connection:
        found: dict[str, set[tuple[str, ...]]] = {
            table: {
                tuple(map(str, row[1:6])) for row in connection.exec_driver_sql(f"PRAGMA table_info({table})")
            }
            for table in ("alerts", "outbox")
        }
        indices = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        )
        found["indices"] = {(name, " ".join(sql.split())) for name, sql in indices}
    return found


def test_a_database_of_the_last_release_goes_on(tmp_path: Path) -> None:
    old_one(tmp_path / "guardian.db")
    fresh = Store(tmp_path / "fresh.db")
    for _ in range(2):
        store = Store(tmp_path / "guardian.db")
        store.create()
        (item,) = Outbox(store, [SINK]).head("siem", limit=9, now=NOW).items
        assert item.alert == make_alert(1)
        assert item.accepted_at > 10**18, "its retention begins now"
        with store.reading() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar()
        assert version == schema.VERSION
        store.close()
    store, fresh = Store(tmp_path / "guardian.db"), Store(tmp_path / "fresh.db")
    store.create()
    fresh.create()
    old, new = shape(store), shape(fresh)
    assert old["alerts"] == new["alerts"]
    assert old["outbox"] == new["outbox"]
    assert {each for each in new["indices"] if each[0].startswith("outbox")} <= old["indices"]
    outbox = Outbox(store, [SINK])
    outbox.mark("siem", [Mark([item.seq], DELIVERED)], at=NOW)
    with store.transaction() as connection:
        outbox.add(connection, [make_alert(1), make_alert(2)])
    counts = dict.fromkeys(boxes.STATES, 0) | {"delivered": 1, "dead": 1, "pending": 1}
    assert outbox.counts() == {"siem": counts}
    store.close()
    fresh.close()


def test_a_crash_while_it_is_brought_up_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_one(tmp_path / "guardian.db")
    store = Store(tmp_path / "guardian.db")
    before = shape(store)
    (step,) = schema.STEPS
    with monkeypatch.context() as patched:
        patched.setattr(schema, "STEPS", ((*step, ("alerts", "this is no statement")),))
        with pytest.raises(MachineError, match="not usable"):
            store.create()
    assert shape(store) == before
    store.create()
    assert shape(store) != before
    store.close()


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "guardian.db")
    store.create()
    with store.transaction() as connection:
        connection.exec_driver_sql(f"PRAGMA user_version = {schema.VERSION + 1}")
    store.close()
    with pytest.raises(MachineError, match="start the newer release"):
        Store(tmp_path / "guardian.db").create()
