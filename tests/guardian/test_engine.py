"""The laws of the engine (split, restore, interleave, range) and what each channel and rule promises."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.bench import synthetic_events
from guardian.config import Config, parse
from guardian.engine import Engine, Verdict
from guardian.errors import SchemaError, StateError
from guardian.events import CHANNELS, ROLES
from guardian.levels import Level

START = 1_700_000_000.0

MakeEvents = Callable[..., pa.RecordBatch]

row = st.fixed_dictionaries(
    {
        "ts": st.floats(-1000.0, 200_000.0).map(lambda offset: START + offset),
        "signal": st.integers(0, 4),
        "layer": st.integers(-1, 7),
        "kind": st.sampled_from(["GET /a", "login", "auth failure", "scan", "ids: alert", "Ñandú"]),
        "actor": st.sampled_from(["", "ana", "beto"]),
        "address": st.sampled_from(["", "10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        "target": st.sampled_from(["", "db", "web"]),
        "session": st.sampled_from(["", "s1"]),
        "outcome": st.integers(0, 3),
        "severity": st.sampled_from([float("nan"), 0.0, 0.5, 0.75, 1.0, float("inf")]),
        "body": st.sampled_from([None, "ok", "id=1' OR '1'='1", "/etc/passwd", "<script>alert(1)</script>"]),
    }
)


def alert_ids(verdicts: list[Verdict]) -> list[bytes]:
    return [each for verdict in verdicts for each in verdict.alerts.column("alert_id").to_pylist()]


def score_bytes(verdicts: list[Verdict]) -> list[list[Any]]:
    """SCORES as plain values; floats by their bits, so that equal means equal bit for bit."""
    table = pa.Table.from_batches([verdict.scores for verdict in verdicts]).unify_dictionaries()
    return [
        np.asarray(column.to_pylist(), dtype=object).tolist()
        if pa.types.is_dictionary(column.type)
        else [value.tobytes() for value in column.to_numpy()]
        for column in table.columns
    ]


def count_revised(verdict: Verdict) -> int:
    """Rows that the ends of windows added."""
    ts = verdict.scores.column("ts").cast(pa.int64()).to_numpy()
    return int(np.count_nonzero(ts % (300 * 10**9) == 300 * 10**9 - 1))


def pieces(batch: pa.RecordBatch, cuts: list[int]) -> list[pa.RecordBatch]:
    edges = [0, *sorted(min(cut, len(batch)) for cut in cuts), len(batch)]
    return [batch.slice(a, b - a) for a, b in pairwise(edges)]


@pytest.mark.parametrize("workers", [2, 5])
def test_the_number_of_workers_changes_no_bit(workers: int) -> None:
    batch = synthetic_events(6000)
    one, many = Engine(Config()), Engine(Config(), workers=workers)
    for start in range(0, len(batch), 1500):
        part = batch.slice(start, 1500)
        expected, found = one.feed(part), many.feed(part)
        assert score_bytes([found]) == score_bytes([expected])
        assert alert_ids([found]) == alert_ids([expected])
    assert many.snapshot() == one.snapshot()


@settings(max_examples=60)
@given(
    rows=st.lists(row, min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    at=st.integers(0, 6),
)
def test_split_and_restore_change_no_bit(
    events: MakeEvents, rows: list[dict[str, Any]], cuts: list[int], at: int
) -> None:
    batch = events(rows)
    whole = Engine(Config())
    expected = [whole.feed(batch)]

    engine = Engine(Config())
    got: list[Verdict] = []
    for number, piece in enumerate(pieces(batch, cuts)):
        if number == at:
            engine = Engine.restore(engine.snapshot())
        got.append(engine.feed(piece))

    assert score_bytes(got) == score_bytes(expected)
    assert alert_ids(got) == alert_ids(expected)
    assert engine.snapshot() == whole.snapshot()


@settings(max_examples=60)
@given(rows=st.lists(row, min_size=1, max_size=60))
def test_scores_stay_in_their_range_and_reasons_sum_to_the_score(
    events: MakeEvents, rows: list[dict[str, Any]]
) -> None:
    engine = Engine(Config())
    verdict = engine.feed(events(rows))
    risk = verdict.scores.column("risk").to_numpy()
    assert np.isfinite(risk).all()
    assert ((risk >= 0) & (risk <= 100)).all()
    for channel in CHANNELS:
        values = verdict.scores.column(channel).to_numpy()
        assert np.isfinite(values).all()
        assert (values >= (-1.5 if channel == "seasonal" else 0)).all()
    named = sum(bool(each[role]) for each in rows for role in ROLES)
    assert len(verdict.scores) == named + count_revised(verdict)
    for alert in verdict.alerts.drop_columns(["ts"]).to_pylist():
        assert alert["level_to"] > alert["level_from"]
        assert sum(reason["contribution"] for reason in alert["reasons"]) == pytest.approx(
            alert["score"], abs=1e-9
        )
    for entity in engine.view(top=100).top:
        assert sum(reason.contribution for reason in entity.reasons) == pytest.approx(entity.score, abs=1e-9)


@settings(max_examples=40)
@given(rows=st.lists(row, min_size=1, max_size=40), others=st.lists(row, max_size=40), seed=st.randoms())
def test_other_entities_change_only_the_declared_globals(
    events: MakeEvents, rows: list[dict[str, Any]], others: list[dict[str, Any]], seed: Any
) -> None:
    """Rarity and the context of a role are shared by declaration; every other channel belongs to its entity."""
    mine = [{**each, "actor": "me", "address": "", "target": "", "session": ""} for each in rows]
    theirs = [{**each, "actor": "them", "address": "", "target": "", "session": ""} for each in others]
    order = [0] * len(mine) + [1] * len(theirs)
    seed.shuffle(order)
    sources = [iter(mine), iter(theirs)]
    mixed = [next(sources[which]) for which in order]

    alone = Engine(Config()).feed(events(mine)).scores
    among = Engine(Config()).feed(events(mixed)).scores
    kept = [index for index, entity in enumerate(among.column("entity").to_pylist()) if entity == "me"]
    for channel in ("novelty", "persistence", "seasonal", "value", "pairing", "rule"):
        assert among.column(channel).to_numpy()[kept].tobytes() == alone.column(channel).to_numpy().tobytes()


def test_five_failed_logins_in_five_minutes_are_high(events: MakeEvents) -> None:
    failures = [
        {"ts": START + 74 * i, "kind": "auth failure", "actor": "ana", "outcome": 2} for i in range(5)
    ]
    engine = Engine(Config())
    levels = engine.feed(events(failures)).scores.column("level").to_pylist()
    assert levels[3] < Level.HIGH
    assert levels[4] == Level.HIGH

    slower = [{**each, "ts": START + 76 * i} for i, each in enumerate(failures)]
    assert max(Engine(Config()).feed(events(slower)).scores.column("level").to_pylist()) < Level.HIGH


def test_a_thousand_and_one_events_of_an_address_in_a_minute_are_critical(events: MakeEvents) -> None:
    flood = [{"ts": START + i * 0.0595, "kind": "ping", "address": "10.9.9.9"} for i in range(1001)]
    levels = Engine(Config()).feed(events(flood)).scores.column("level").to_pylist()
    assert levels[999] < Level.CRITICAL
    assert levels[1000] == Level.CRITICAL

    spread = [{**each, "ts": START + i * 0.0605} for i, each in enumerate(flood)]
    assert max(Engine(Config()).feed(events(spread)).scores.column("level").to_pylist()) < Level.CRITICAL


def test_three_injections_from_one_address_are_critical(events: MakeEvents) -> None:
    config = parse("[rules]\ninjections = 2")
    probe = {
        "kind": "GET /search",
        "address": "10.1.1.1",
        "attrs": '{"url.query":"q=1 UNION SELECT password"}',
    }
    scores = Engine(config).feed(events([{"ts": START, **probe}, {"ts": START + 60, **probe}])).scores
    assert scores.column("rule").to_pylist() == [4.0, 4.0]  # 50 points alone are critical in TAMV's sentinel


def test_a_touched_honeypot_is_high_for_all_who_touch_it(events: MakeEvents) -> None:
    config = parse('[rules]\nhoneypots = ["vault-old"]')
    touch = {"ts": START, "kind": "GET /", "actor": "ana", "address": "10.1.1.1", "target": "vault-old"}
    scores = Engine(config).feed(events([touch])).scores
    assert scores.column("level").to_pylist() == [Level.HIGH] * 3


def test_more_than_a_hundred_requests_a_minute_are_medium(events: MakeEvents) -> None:
    requests = [{"ts": START + i * 0.5, "kind": "GET /a", "address": "10.1.1.1"} for i in range(101)]
    rules = Engine(Config()).feed(events(requests)).scores.column("rule").to_pylist()
    assert rules[99] == 0.0
    assert rules[100] == 2.0


def test_the_same_rise_within_the_hold_time_is_one_alert(events: MakeEvents) -> None:
    config = parse('[rules]\nhoneypots = ["trap"]')
    touches = [{"ts": START + 30 * i, "kind": "GET /", "target": "trap"} for i in range(40)]
    verdict = Engine(config).feed(events(touches))
    assert len(verdict.alerts) == 1


def test_a_level_falls_only_after_the_hold_time(events: MakeEvents) -> None:
    config = parse('[rules]\nhoneypots = ["trap"]')
    engine = Engine(config)
    engine.feed(events([{"ts": START, "kind": "GET /", "target": "trap"}]))
    start = int(START * 1e9)
    assert engine.view().level == Level.HIGH
    assert engine.view(start + 299 * 10**9).level == Level.HIGH
    fallen = engine.view(start + 301 * 10**9)
    assert fallen.level < Level.HIGH
    assert fallen.score < 20.0
    assert engine.view().level == Level.HIGH, "looking ahead changes nothing"


def test_a_fallen_level_rises_again_with_another_alert(events: MakeEvents) -> None:
    config = parse('[rules]\nhoneypots = ["trap"]')
    engine = Engine(config)
    touch = {"kind": "GET /", "target": "trap"}
    first = engine.feed(events([{"ts": START, **touch}]))
    second = engine.feed(events([{"ts": START + 3600, **touch}]))
    assert len(first.alerts) == len(second.alerts) == 1
    assert alert_ids([first]) != alert_ids([second])


def test_the_alert_id_is_a_digest_of_what_the_alert_is(events: MakeEvents) -> None:
    config = parse('[rules]\nhoneypots = ["trap"]')
    alert = (
        Engine(config).feed(events([{"ts": START, "kind": "GET /", "target": "trap"}])).alerts.to_pylist()[0]
    )
    window = int(START // config.engine.hold_s)
    identity = "\x1f".join(("target", "trap", "3", str(window), config.digest()))
    assert alert["alert_id"] == hashlib.sha256(identity.encode()).digest()[:16]


def test_a_steady_habit_is_not_a_threat(events: MakeEvents) -> None:
    """Telemetry that never stops is ordinary: after a day of it nothing is above none."""
    rows = [
        {"ts": START + 20 * i, "kind": "GET /orders", "actor": f"u{i % 7}", "target": "orders", "outcome": 1}
        for i in range(8640)
    ]
    engine = Engine(Config())
    verdict = engine.feed(events(rows))
    late = verdict.scores.filter(pa.compute.greater(verdict.scores.column("event"), 4320))
    assert max(late.column("level").to_pylist()) == Level.NONE
    assert engine.view().level == Level.NONE


def test_late_events_are_counted_and_scored(events: MakeEvents) -> None:
    engine = Engine(Config())
    engine.feed(
        events([{"ts": START, "kind": "a", "actor": "x"}, {"ts": START - 59, "kind": "a", "actor": "x"}])
    )
    assert engine.view().late == 0
    verdict = engine.feed(events([{"ts": START - 61, "kind": "a", "actor": "x"}]))
    assert engine.view().late == 1
    assert len(verdict.scores) == 1


@pytest.mark.parametrize("ts", [-9_223_372_036.0, 0.0, 9_223_372_036.0])
def test_clocks_at_the_ends_of_time_break_nothing(events: MakeEvents, ts: float) -> None:
    engine = Engine(Config())
    engine.feed(events([{"ts": START, "kind": "a", "actor": "x"}]))
    verdict = engine.feed(
        events([{"ts": ts, "kind": "a", "actor": "x"}, {"ts": START, "kind": "a", "actor": "x"}])
    )
    assert np.isfinite(verdict.scores.column("risk").to_numpy()).all()
    assert engine.view().events == 3


def test_memory_is_bounded_and_forgetting_is_counted(events: MakeEvents) -> None:
    config = parse("[engine]\nmax_entities = 100\nmax_kinds = 50\nmax_pairs = 120")
    engine = Engine(config)
    for start in range(0, 20_000, 1000):
        engine.feed(
            events([{"ts": START + i, "kind": f"k{i}", "actor": f"a{i}"} for i in range(start, start + 1000)])
        )
    view = engine.view()
    assert view.entities["actor"] == 100
    assert view.evicted["actor"] == 19_900
    assert view.evicted["kinds"] == 19_950
    assert view.evicted["pairs"] == 19_880
    assert len(engine._names.entities) < 10_000
    assert Engine.restore(engine.snapshot()).snapshot() == engine.snapshot()
    known = engine.entity("actor", "a19999")
    assert known is not None
    assert known.events == 1
    assert engine.entity("actor", "a5") is None


def test_layers_come_from_the_source_when_the_event_states_none(events: MakeEvents) -> None:
    config = parse('[layers]\nmsr = "L1"\n[rules]\nhoneypots = ["trap"]')
    engine = Engine(config)
    engine.feed(
        events(
            [
                {"ts": START, "kind": "a", "target": "trap", "source": "msr"},
                {"ts": START, "kind": "a", "target": "calm", "source": "msr", "layer": 5},
            ]
        )
    )
    layers = engine.view().layers
    assert layers["L1"].level == Level.HIGH
    assert layers["L5"].level == Level.NONE


def test_ten_thousand_mild_entities_raise_the_whole(events: MakeEvents) -> None:
    from guardian.survey import crowd_score

    assert crowd_score(np.full(10_000, 30.0)) == 100.0
    assert crowd_score(np.array([30.0] + [0.0] * 9_999)) == 0.0


def test_a_batch_that_is_not_events_is_refused_and_teaches_nothing(events: MakeEvents) -> None:
    engine = Engine(Config())
    good = events([{"ts": START, "kind": "a", "actor": "x"}])
    with pytest.raises(SchemaError, match="column kind: expected dictionary"):
        engine.feed(good.set_column(4, "kind", pa.array(["a"])))
    with pytest.raises(SchemaError, match="column ts: expected timestamp"):
        engine.feed(good.drop_columns(["ts"]))
    assert engine.events == 0
    assert engine.feed(good.slice(0, 0)).scores.num_rows == 0


def test_columns_may_come_in_any_order_with_others_between(events: MakeEvents) -> None:
    batch = events([{"ts": START, "kind": "a", "actor": "x"}])
    shuffled = batch.select(list(reversed(batch.schema.names))).append_column("more", pa.array([1]))
    assert Engine(Config()).feed(shuffled).scores.equals(Engine(Config()).feed(batch).scores)


def test_a_damaged_snapshot_is_refused(events: MakeEvents) -> None:
    engine = Engine(Config())
    engine.feed(events([{"ts": START, "kind": "a", "actor": "x"}]))
    blob = engine.snapshot()
    with pytest.raises(StateError):
        Engine.restore(blob[: len(blob) // 2])
    with pytest.raises(StateError):
        Engine.restore(b"")


def test_a_new_configuration_may_take_over_a_state(events: MakeEvents) -> None:
    engine = Engine(Config())
    engine.feed(events([{"ts": START, "kind": "a", "actor": "x"}]))
    config = parse("[engine]\nhold_s = 600")
    taken = Engine.restore(engine.snapshot(), config)
    assert taken.events == 1
    assert taken.config is config


def test_a_score_beyond_the_calibrations_data_is_marked_a_rule_is_not(events: MakeEvents) -> None:
    day = [{"ts": START + 60 * i, "kind": "tick", "signal": 4, "target": f"t{i % 50}"} for i in range(1440)]
    strange = [
        {"ts": START + 86_400 + 5 * i, "kind": f"new{i}", "signal": 4, "target": "t1"} for i in range(8)
    ]
    for confirmed, marked in ((0, {True}), (100, {False})):
        engine = Engine(parse(f"[calibration]\nconfirmed_to = {confirmed}"))
        engine.feed(events(day))
        found = engine.feed(events(strange)).alerts.column("extrapolated").to_pylist()
        assert set(found) == marked
    ruled = Engine(parse("[calibration]\nconfirmed_to = 0\n[rules]\nhoneypots = ['trap']"))
    alerts = ruled.feed(events([{"ts": START, "kind": "GET /", "target": "trap"}])).alerts
    assert alerts.column("extrapolated").to_pylist() == [False]


def test_an_event_without_a_layer_leaves_its_entity_where_it_was(events: MakeEvents) -> None:
    engine = Engine(parse("[rules]\nhoneypots = ['trap']"))
    first = {"ts": START, "kind": "a", "actor": "ana", "layer": 5}
    second = {"ts": START + 1, "kind": "a", "actor": "ana", "target": "trap"}
    engine.feed(events([first, second]))
    assert engine.view().layers["L5"].level == Level.HIGH
