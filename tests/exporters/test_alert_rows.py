"""Alerts as rows: what goes in comes out."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from exporters.alert_rows import MOST_IDS, alert_of, alerts, cut, known_of, row_of
from exporters.store import Store
from guardian.levels import Level

from .conftest import make_alert


def test_what_goes_in_comes_out(store: Store) -> None:
    plain = make_alert(1)
    full = replace(
        make_alert(2),
        finding=plain.id,
        activity="resolved",
        tags=("attack.t1110", "ñ"),
        suppressed=12,
        suppressed_since=10**18,
        level_from=Level.CRITICAL,
        level_to=Level.NONE,
        extrapolated=True,
    )
    with store.transaction() as connection:
        connection.execute(alerts.insert(), [row_of(plain), row_of(full)])
        found = connection.execute(sa.select(alerts).order_by(alerts.c.id)).all()
        assert [alert_of(row) for row in found] == [plain, full]
        assert known_of(connection, [plain.id, "other"]) == {plain.id}


def test_a_statement_never_takes_too_many() -> None:
    assert [len(part) for part in cut(range(2 * MOST_IDS + 1))] == [MOST_IDS, MOST_IDS, 1]
    assert list(cut([])) == []
