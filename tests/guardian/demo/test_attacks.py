"""The attacks: when they come, what they look like, and that the engine sees each one and calms down again."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest

from guardian.config import Config, Rules
from guardian.decode import Decoded
from guardian.demo import DEFAULT_SPEED, HONEYPOT, PROGRAMME, Item, day
from guardian.demo.day import DAY_S
from guardian.engine import Engine
from guardian.levels import Level


def test_every_attack_of_the_programme_begins_when_announced_and_ends_before_the_next(
    today: list[Item],
):
    starts = [start for start, _, _ in PROGRAMME] + [DAY_S]
    for (start, key, _), following in zip(PROGRAMME, starts[1:], strict=True):
        moments = [item.at for item in today if item.attack == key]
        assert len(moments) >= 10
        assert moments[0] == start
        assert max(moments) < following - 20 * 60  # time for the level to fall


def test_something_happens_in_any_two_minutes_of_the_default_pace():
    starts = [start / DEFAULT_SPEED for start, _, _ in PROGRAMME]
    assert starts[0] < 60.0
    assert all(later - earlier < 120.0 for earlier, later in itertools.pairwise(starts))
    assert DAY_S / DEFAULT_SPEED - starts[-1] < 120.0


def test_attacks_look_like_what_they_are(today: list[Item]):
    by_attack: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in today:
        by_attack[item.attack].append(item.body)
    forced = {(body["user_id"], body["ip"], body["status"]) for body in by_attack["brute_force"]}
    assert len(forced) == 1
    assert any("UNION SELECT" in body["metadata"]["message"] for body in by_attack["sql_injection"])
    assert {body["target"] for body in by_attack["honeypot"]} == {HONEYPOT}
    assert {"safety_alert", "moderation_action"} <= {body["kind"] for body in by_attack["xr_safety"]}
    assert len({body["target"] for body in by_attack["lateral_movement"]}) >= 6
    assert all(body["payload"] for body in by_attack["doctrine_override"])
    assert min(body["duration_ms"] for body in by_attack["exfiltration"]) > 60_000
    signals = [body["signals"].values() for body in by_attack["coercion"] if "signals" in body]
    assert signals
    assert all(min(values) > 0.8 for values in signals)


@pytest.mark.slow
def test_the_engine_sees_every_attack_and_calms_down_before_the_next(
    today: list[Item],
    start: float,
    decode: Callable[[float, Sequence[Item]], list[Decoded]],
    in_order: Callable[[list[Decoded]], pa.RecordBatch],
):
    """With the settings that the demonstration asks for: the vault is a honeypot. Looked at every six minutes."""
    engine = Engine(Config(rules=Rules(honeypots=(HONEYPOT,))))
    yesterday = day(7, start_s=start - DAY_S, attacks=False)
    known = [item for item in yesterday if item.door in {"log", "otlp_log", "span"}]
    engine.feed(in_order(decode(start - DAY_S, known)))
    levels: list[Level] = []
    step = 360.0
    slots: dict[int, list[Item]] = defaultdict(list)
    for item in today:
        slots[int(item.at // step)].append(item)
    for slot in range(int(DAY_S // step)):
        engine.feed(in_order(decode(start, slots[slot])))
        levels.append(engine.view().level)
    begins = [int(at // step) for at, _, _ in PROGRAMME]
    assert max(levels[: begins[0]]) <= Level.LOW
    for begin, end in itertools.pairwise([*begins, len(levels)]):
        assert max(levels[begin:end]) >= Level.HIGH
        assert levels[end - 1] <= Level.LOW
    assert Level.CRITICAL in levels
    calm = sum(level <= Level.LOW for level in levels)
    assert calm > len(levels) / 2
