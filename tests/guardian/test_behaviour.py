"""What each behaviour channel sees, the second look at the end of a window, acknowledgements and counterfactuals."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.config import Config, parse
from guardian.engine import Engine
from guardian.errors import InputError
from guardian.levels import Level

START = 1_700_000_000.0 - 1_700_000_000 % 300
"""The beginning of a window."""

MakeEvents = Callable[..., pa.RecordBatch]
Rows = list[dict[str, Any]]


def habit(*, days: float = 2.0, every_s: float = 60.0, **told: Any) -> Rows:
    """The same event over and over, until START."""
    count = int(days * 86_400 / every_s)
    return [{"ts": START - (count - i) * every_s, "kind": "GET /", **told} for i in range(count)]


def channel_of(events: MakeEvents, name: str, role: str, past: Rows, now: Rows) -> list[float]:
    engine = Engine(Config())
    engine.feed(events(past))
    scores = engine.feed(events(now)).scores
    own = pa.Table.from_batches([scores]).filter(
        pa.compute.equal(scores.column("role").cast(pa.string()), role)
    )
    values: list[float] = own.column(name).to_pylist()
    return values


def test_a_value_far_from_the_usual_ones_of_its_kind(events: MakeEvents) -> None:
    rng = np.random.default_rng(1)
    past = habit(target="db")
    for row in past:
        row["value"] = float(rng.lognormal(0.0, 0.5))
    now = [
        {"ts": START + i, "kind": "GET /", "target": "db", "value": v}
        for i, v in enumerate((1.0, 500.0, math.nan))
    ]
    usual, far, none = channel_of(events, "value", "target", past, now)
    assert usual == none == 0.0
    assert far > 2.0


def test_failures_beyond_the_entitys_own_rate(events: MakeEvents) -> None:
    past = habit(actor="ana", outcome=1) + habit(actor="bot", outcome=2)
    past.sort(key=lambda row: row["ts"])
    now = [{"ts": START + i, "kind": "GET /", "outcome": 2} for i in range(12)]
    surprising = channel_of(events, "failure", "actor", past, [{**row, "actor": "ana"} for row in now])
    usual = channel_of(events, "failure", "actor", past, [{**row, "actor": "bot"} for row in now])
    assert surprising[1] == 0.0, "two may happen to anybody"
    assert surprising[-1] >= surprising[4] > surprising[2] > 1.0
    assert max(usual) < 0.1


def test_many_targets_at_once(events: MakeEvents) -> None:
    past = habit(address="10.0.0.1", target="db")
    sweep = [{"ts": START + i, "kind": "GET /", "address": "10.0.0.1", "target": f"h{i}"} for i in range(60)]
    reach = channel_of(events, "fan_out", "address", past, sweep)
    assert reach[1] == 0.0
    assert reach[-1] >= reach[10] > 2.0
    repeated = [{**row, "target": "db"} for row in sweep]
    assert max(channel_of(events, "fan_out", "address", past, repeated)) == 0.0


def test_an_address_never_seen_at_a_user(events: MakeEvents) -> None:
    past = habit(actor="ana", address="10.0.0.1", target="web")
    login = {"ts": START, "kind": "GET /", "actor": "ana", "target": "web"}
    [known] = channel_of(events, "pairing", "actor", past, [{**login, "address": "10.0.0.1"}])
    [new] = channel_of(events, "pairing", "actor", past, [{**login, "address": "203.0.113.9"}])
    assert known == 0.0
    assert new > 1.0
    twice = [{**login, "address": "203.0.113.9"}] * 2
    assert channel_of(events, "pairing", "actor", past, twice)[1] == 0.0


def test_an_order_of_steps_never_seen_in_a_session(events: MakeEvents) -> None:
    steps = ("login", "browse", "pay", "logout")
    past: Rows = []
    for session in range(400):
        past += [
            {"ts": START - 40_000 + 100 * session + i, "kind": kind, "session": f"s{session}"}
            for i, kind in enumerate(steps)
        ]
    usual = [{"ts": START + i, "kind": kind, "session": "x"} for i, kind in enumerate(steps)]
    odd = [
        {"ts": START + i, "kind": kind, "session": "x"} for i, kind in enumerate(("login", "pay", "browse"))
    ]
    assert max(channel_of(events, "sequence", "session", past, usual)) == 0.0
    assert max(channel_of(events, "sequence", "session", past, odd)) > 1.0


def test_a_kind_that_its_peers_never_show_is_rarer(events: MakeEvents) -> None:
    past = habit(days=1, target="a", layer=5) + [
        {**row, "kind": "xr", "target": "b"} for row in habit(days=1, layer=4)
    ]
    past.sort(key=lambda row: row["ts"])
    at_home = {"ts": START, "kind": "xr", "target": "new", "layer": 4}
    [usual] = channel_of(events, "rarity", "target", past, [at_home])
    [elsewhere] = channel_of(events, "rarity", "target", past, [{**at_home, "layer": 5}])
    assert elsewhere > usual + 0.2


def incident(first: float) -> Rows:
    """Other tools' alerts: a mild one at h1, then many new kinds at h2 (synthetic)."""
    rows: Rows = [{"ts": first + 5, "kind": "odd lookup", "target": "h1", "signal": 4}]
    rows += [
        {"ts": first + 60 + 5 * i, "kind": f"attack {i}", "target": "h2", "signal": 4} for i in range(12)
    ]
    return rows


def quiet_fleet() -> Rows:
    rows = [
        {"ts": START - 172_800 + 7_200 * i + 60 * host, "kind": "cron", "target": f"h{host}", "signal": 4}
        for i in range(24)
        for host in range(10)
    ]
    return sorted(rows, key=lambda row: row["ts"])


def test_the_first_odd_thing_counts_more_once_the_incident_is_seen(events: MakeEvents) -> None:
    engine = Engine(Config())
    engine.feed(events(quiet_fleet()))
    before = engine.feed(events(incident(START))).scores
    alone = max(
        risk
        for entity, risk in zip(
            before.column("entity").to_pylist(), before.column("risk").to_pylist(), strict=True
        )
        if entity == "h1"
    )
    after = engine.feed(events([{"ts": START + 301, "kind": "cron", "target": "h9", "signal": 4}])).scores
    entity, ts = after.column("entity").to_pylist(), after.column("ts").cast(pa.int64()).to_pylist()
    [told] = [row for row, name in enumerate(entity) if name == "h1"]
    assert after.column("risk")[told].as_py() > 2 * alone
    assert ts[told] == int((START + 300) * 1e9) - 1
    assert after.column("event")[told].as_py() == len(quiet_fleet()), "the entity's own last event"
    found = engine.entity("target", "h1")
    assert found is not None
    assert found.reasons[0].channel == "context"
    assert found.reasons[0].without < found.score


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 260), max_size=5))
def test_the_second_look_does_not_depend_on_batches(events: MakeEvents, cuts: list[int]) -> None:
    rows = (
        quiet_fleet()
        + incident(START)
        + [{"ts": START + 301 + i, "kind": "cron", "target": "h9"} for i in range(3)]
    )
    batch = events(rows)
    whole = Engine(Config())
    expected = whole.feed(batch)
    engine = Engine(Config())
    edges = [0, *sorted(min(cut, len(batch)) for cut in cuts), len(batch)]
    got = []
    for first, last in pairwise(edges):
        engine = Engine.restore(engine.snapshot())
        got.append(engine.feed(batch.slice(first, last - first)))
    for name in ("event", "risk", "level"):
        parts = np.concatenate([verdict.scores.column(name).to_numpy() for verdict in got])
        assert parts.tobytes() == expected.scores.column(name).to_numpy().tobytes()
    assert [a for v in got for a in v.alerts.column("alert_id").to_pylist()] == expected.alerts.column(
        "alert_id"
    ).to_pylist()
    assert engine.snapshot() == whole.snapshot()


def beacon(hours: float, host: str = "h3") -> Rows:
    """An alert that hardly ever stops (synthetic)."""
    return [
        {"ts": START + 60 * i, "kind": "beacon", "target": host, "signal": 4, "severity": 1.0}
        for i in range(int(hours * 60))
    ]


def test_an_acknowledged_kind_adds_nothing_until_its_time(events: MakeEvents) -> None:
    until = int((START + 6 * 3600) * 1e9)
    engine = Engine(Config())
    engine.feed(events(quiet_fleet()))
    engine.acknowledge("target", "h3", "beacon", until=until, at=int(START * 1e9))
    assert [each.until for each in engine.acknowledged] == [until]
    verdict = engine.feed(events(beacon(12)))
    risk = (
        verdict.scores.filter(pa.compute.equal(verdict.scores.column("entity"), "h3"))
        .column("risk")
        .to_numpy()
    )
    assert max(risk[: 6 * 60]) == 0.0
    assert min(risk[6 * 60 :]) >= 80.0, "the other tool calls it critical"
    assert [each.entity for each in engine.acknowledged] == ["h3"], "over, and nobody withdrew it"


def test_an_acknowledgement_can_be_withdrawn_and_survives_a_restart(events: MakeEvents) -> None:
    engine = Engine(Config())
    at = int(START * 1e9)
    engine.acknowledge("target", "h3", "beacon", until=None, at=at)
    engine.acknowledge("actor", "Ñandú", "inicio de sesión", until=None, at=at)
    again = Engine.restore(engine.snapshot())
    assert again.acknowledged == engine.acknowledged
    assert again.snapshot() == engine.snapshot()
    assert max(again.feed(events(beacon(1))).scores.column("risk").to_pylist()) == 0.0
    again.withdraw("target", "h3", "beacon", at=at)
    again.withdraw("target", "h3", "never there", at=at)
    assert [each.entity for each in again.acknowledged] == ["Ñandú"]
    later = [{**row, "ts": row["ts"] + 3600} for row in beacon(1)]
    assert max(again.feed(events(later)).scores.column("risk").to_pylist()) >= 80.0


def test_what_an_acknowledgement_does_not_silence(events: MakeEvents) -> None:
    config = parse("[rules]\nhoneypots = ['trap']")
    engine = Engine(config)
    for role, name in (("address", "10.0.0.1"), ("target", "trap")):
        engine.acknowledge(role, name, "GET /", until=None, at=0)
    attack = {"ts": START, "kind": "GET /", "address": "10.0.0.1", "target": "trap", "body": "' OR '1'='1"}
    assert min(engine.feed(events([attack])).scores.column("level").to_pylist()) >= Level.HIGH


def test_acknowledgements_are_bounded_and_checked() -> None:
    engine = Engine(parse("[engine]\nmax_acknowledged = 3"))
    for number in range(10):
        engine.acknowledge("actor", f"a{number}", "k", until=None, at=0)
    assert [each.entity for each in engine.acknowledged] == ["a7", "a8", "a9"]
    engine.acknowledge("actor", "over", "k", until=5, at=6)
    assert len(engine.acknowledged) == 3
    for wrong in (("nobody", "a", "k"), ("actor", "", "k"), ("actor", "a", "")):
        with pytest.raises(InputError):
            engine.acknowledge(*wrong, until=None, at=0)


def test_the_counterfactual_of_the_only_channel_is_nothing_and_of_an_absent_one_everything(
    events: MakeEvents,
) -> None:
    config = parse("[rules]\nhoneypots = ['trap']")
    engine = Engine(config)
    alert = engine.feed(events([{"ts": START, "kind": "GET /", "target": "trap"}])).alerts.drop_columns(
        ["ts"]
    )
    rule = next(each for each in alert.to_pylist()[0]["reasons"] if each["channel"] == "rule")
    assert rule["without"] < 20.0
    assert rule["contribution"] + rule["without"] == pytest.approx(60.0)


def test_a_counterfactual_never_exceeds_the_score(events: MakeEvents) -> None:
    engine = Engine(Config())
    engine.feed(events(quiet_fleet()))
    alerts = engine.feed(events(incident(START))).alerts.drop_columns(["ts"]).to_pylist()
    assert alerts
    for alert in alerts:
        for reason in alert["reasons"]:
            assert -1e-9 <= reason["without"] <= alert["score"] + 1e-9
        assert min(reason["without"] for reason in alert["reasons"]) < alert["score"]
