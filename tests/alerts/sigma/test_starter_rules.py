"""The rules of alerts/sigma: each loads, says what people need, matches its examples and leaves the others alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guardian.config import Config, Sigma
from guardian.sigma import Detector

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "alerts" / "sigma"
EXAMPLES: dict[str, Any] = json.loads(Path(__file__).with_name("examples.json").read_text(encoding="utf-8"))
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yml"))}


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(Config(sigma=Sigma(rules=TEXTS)))


def matching(events: Any, rows: list[dict[str, Any]]) -> set[str]:
    fresh = Detector(Config(sigma=Sigma(rules=TEXTS)))
    batch = events(
        [
            {"ts": 1_000 + at, **row, "attrs": json.dumps(row["attrs"]) if "attrs" in row else None}
            for at, row in enumerate(rows)
        ]
    )
    return {fresh.names[number] for _, numbers in fresh.matches(batch) for number in numbers.tolist()}


def test_every_rule_has_examples() -> None:
    assert set(TEXTS) == set(EXAMPLES)


@pytest.mark.parametrize("file", sorted(EXAMPLES))
def test_examples(events: Any, file: str) -> None:
    example = EXAMPLES[file]
    assert example["rule"] in matching(events, example["matching"])
    assert example["rule"] not in matching(events, example["other"])
    if "correlation" not in TEXTS[file]:
        for row in example["matching"]:
            assert example["rule"] in matching(events, [row])


def test_what_people_need_to_know_is_there(detector: Detector) -> None:
    for about in detector.rules.abouts():
        if about.reports:
            assert about.id, about.title
            assert about.tags, about.title
            text = TEXTS[about.file]
            assert all(word in text for word in ("description:", "falsepositives:", "status:")), about.title
    assert len({about.id for about in detector.rules.abouts()}) == len(detector.names)
