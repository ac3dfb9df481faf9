"""Rules in the engine: points by level, the name and tags in the alert, and the laws with correlations in the state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.alert import alerts_from
from guardian import Engine
from guardian.config import Config, Sigma, load
from guardian.errors import ConfigError, RulesError, StateError
from guardian.frozen import Frozen, from_bytes
from guardian.levels import Level
from guardian.sigma import Detector, tags_of, texts_of


def rule(title: str, level: str, text: str, **more: Any) -> str:
    told = {
        "title": title,
        "level": level,
        "logsource": {"product": "tamv"},
        "detection": {"s": {"text|contains": text}, "condition": "s"},
        **more,
    }
    return json.dumps(told)  # JSON is YAML


RULES = {
    "low.yml": rule("Low", "low", "low", tags=["attack.t1000"]),
    "medium.yml": rule("Medium", "medium", "medium"),
    "high.yml": rule("High", "high", "high"),
    "critical.yml": rule(
        "Critical", "critical", "critical", tags=["attack.impact", "attack.t1059", "cve.2020-1"]
    ),
    "informational.yml": rule("Told", "informational", "told"),
    "login.yml": rule("Bad login", "low", "bad", name="bad_login"),
    "many.yml": json.dumps(
        {
            "title": "Many",
            "level": "high",
            "tags": ["attack.t1110"],
            "correlation": {
                "type": "event_count",
                "rules": ["bad_login"],
                "group-by": ["actor"],
                "timespan": "1m",
                "condition": {"gte": 3},
            },
        }
    ),
}
CONFIG = Config(sigma=Sigma(rules=RULES))
LEVELS = {"low": 1, "medium": 2, "high": 3, "critical": 4, "told": 0, "nothing": 0}


def rows(
    texts: list[str], *, actor: str = "ana", start: float = 1_000.0, step: float = 1.0
) -> list[dict[str, Any]]:
    return [
        {"ts": start + step * at, "kind": "run", "actor": actor, "attrs": json.dumps({"text": text})}
        for at, text in enumerate(texts)
    ]


@pytest.mark.parametrize(("word", "level"), LEVELS.items())
def test_a_match_is_worth_the_level_of_its_rule(events: Any, word: str, level: int) -> None:
    verdict = Engine(CONFIG).feed(events(rows([f"so {word.upper()}"])))
    assert verdict.scores.column("rule").to_pylist() == [float(level)]
    assert [alert.level_to for alert in alerts_from(verdict.alerts, synthetic=False)] == [Level(level)] * (
        level > 0
    )


def test_the_alert_names_the_rule_and_carries_its_tags(events: Any) -> None:
    verdict = Engine(CONFIG).feed(events(rows(["low and critical"])))
    (alert,) = alerts_from(verdict.alerts, synthetic=False, tags=tags_of(CONFIG))
    assert [(each["channel"], each["kind"]) for each in alert.reasons] == [("rule", "Critical")]
    assert alert.tags == ("attack.impact", "attack.t1059")
    assert alerts_from(verdict.alerts, synthetic=False)[0].tags == ()
    assert tags_of(Config()) == {}


def test_a_level_that_another_rule_gives_keeps_the_kind(events: Any) -> None:
    config = msgspec.structs.replace(CONFIG, rules=msgspec.structs.replace(CONFIG.rules, honeypots=("trap",)))
    batch = events([{**rows(["low"])[0], "target": "trap"}])
    kinds = {
        each["kind"] for alert in Engine(config).feed(batch).alerts.to_pylist() for each in alert["reasons"]
    }
    assert kinds == {"run"}


def test_a_correlation_is_told_at_the_event_that_completes_it(events: Any) -> None:
    verdict = Engine(CONFIG).feed(events(rows(["bad", "bad", "x", "bad", "bad"])))
    assert verdict.scores.column("rule").to_pylist() == [0.0, 0.0, 0.0, 3.0, 3.0]
    (alert,) = alerts_from(verdict.alerts, synthetic=False, tags=tags_of(CONFIG))
    assert alert.tags == ("attack.t1110",)


def test_groups_and_spans_keep_matches_apart(events: Any) -> None:
    slow = Engine(CONFIG).feed(events(rows(["bad"] * 5, step=31.0)))
    assert set(slow.scores.column("rule").to_pylist()) == {0.0}
    apart = [
        row for pair in zip(rows(["bad"] * 2), rows(["bad"] * 2, actor="luis"), strict=True) for row in pair
    ]
    assert set(Engine(CONFIG).feed(events(apart)).scores.column("rule").to_pylist()) == {0.0}


@given(st.lists(st.sampled_from(["bad", "low", "x", "critical"]), min_size=2, max_size=30), st.data())
@settings(max_examples=15)
def test_split_and_restore(events: Any, texts: list[str], data: Any) -> None:
    batch = events(rows(texts, step=9.0))
    cut = data.draw(st.integers(0, len(texts)))
    whole, parts = Engine(CONFIG), Engine(CONFIG)
    first, second = parts.feed(batch.slice(0, cut)), None
    again = Engine.restore(parts.snapshot())
    second = again.feed(batch.slice(cut))
    expected = whole.feed(batch)
    told = pa.concat_arrays([first.scores.column("rule"), second.scores.column("rule")])
    assert told.equals(expected.scores.column("rule"))
    assert first.alerts.to_pylist() + second.alerts.to_pylist() == expected.alerts.to_pylist()
    assert again.snapshot() == whole.snapshot()


def test_without_rules_nothing_changes(events: Any) -> None:
    plain, ruled = Config(), Config(sigma=Sigma(paths=("somewhere",), exclude=("x",)))
    assert plain.digest() == ruled.digest()
    assert b"sigma" not in plain.deciding()
    batch = events(rows(["critical", "bad"]))
    first, second = Engine(plain), Engine(ruled)
    assert first.feed(batch).scores.equals(second.feed(batch).scores)
    assert first.snapshot() == second.snapshot()


def test_the_rules_are_part_of_the_digest() -> None:
    other = Config(sigma=Sigma(rules={**RULES, "low.yml": RULES["low.yml"].replace("low", "slow", 1)}))
    fewer = Config(sigma=Sigma(rules=RULES, exclude=("Low",)))
    assert len({CONFIG.digest(), other.digest(), fewer.digest(), Config().digest()}) == 4


def test_a_snapshot_goes_on_under_other_rules_and_not_with_damaged_ones(events: Any) -> None:
    engine = Engine(CONFIG)
    engine.feed(events(rows(["bad", "bad"])))
    blob = engine.snapshot()
    more = events(rows(["bad"], start=1_010.0))
    assert Engine.restore(blob, CONFIG).feed(more).scores.column("rule").to_pylist() == [3.0]
    assert Engine.restore(blob, Config()).feed(more).scores.column("rule").to_pylist() == [0.0]
    fresh = msgspec.structs.replace(CONFIG, sigma=Sigma(rules={**RULES, "z.yml": rule("Z", "low", "zzz")}))
    assert Engine.restore(blob, fresh).feed(more).scores.column("rule").to_pylist() == [0.0]
    arrays, metadata = from_bytes(blob)
    metadata.pop("seal")
    metadata.pop("version")
    for name, damaged in (
        ("sigma/rules", b"\xc1"),
        ("sigma/rules", msgspec.msgpack.encode({"a": "b"})),
        ("sigma/groups", b"x"),
    ):
        broken = Frozen({**arrays, name: np.frombuffer(damaged, np.uint8)}, (), metadata).to_bytes()
        with pytest.raises(StateError, match="damaged"):
            Engine.restore(broken)
    with pytest.raises(StateError, match="sigma/rules"):
        texts_of({})


def test_rules_come_from_the_paths_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "rules" / "deep").mkdir(parents=True)
    (tmp_path / "rules" / "deep" / "a.yml").write_text(RULES["low.yml"])
    (tmp_path / "rules" / "b.yaml").write_text(RULES["high.yml"])
    (tmp_path / "rules" / "notes.txt").write_text("no rule")
    (tmp_path / "guardian.toml").write_text('[sigma]\npaths = ["rules"]\n')
    config = load(tmp_path / "guardian.toml")
    assert sorted(config.sigma.rules) == ["rules/b.yaml", "rules/deep/a.yml"]
    assert Detector(config).names == ("High", "Low")
    (tmp_path / "guardian.toml").write_text('[sigma]\npaths = ["rules/notes", "rules/deep"]\n')
    (tmp_path / "rules" / "deep" / "a.yml").write_bytes(b"\xff")
    with pytest.raises(ConfigError) as told:
        load(tmp_path / "guardian.toml")
    assert [problem.key for problem in told.value.problems] == ["sigma.paths[0]", "sigma.paths[1]"]


def test_all_that_cannot_be_loaded_is_said_at_once() -> None:
    bad = {"a.yml": rule("A", "high", "x").replace('"s"}', '"t"}'), "b.yml": rule("B", "", "x"), "c.yml": ":"}
    with pytest.raises(RulesError) as told:
        Detector(Config(sigma=Sigma(rules=bad)))
    assert len(told.value.refused) == 3
    assert [line.split(":")[0] for line in str(told.value).splitlines()] == [
        "a.yml",
        "b.yml",
        "c.yml",
    ] or len(str(told.value).splitlines()) == 3
