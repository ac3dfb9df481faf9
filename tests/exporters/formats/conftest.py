"""One finding through its life, who tells it, and files with what each form made of it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exporters.alert import Alert
from exporters.formats import About
from guardian.levels import Level

FOLDER = Path(__file__).parent / "golden"

OPENED = Alert(
    id="ab" * 16,
    created_at=1_700_000_000_123_456_789,
    role="actor",
    entity="ana",
    layer=5,
    level_from=Level.LOW,
    level_to=Level.HIGH,
    score=71.5,
    reasons=(
        {"channel": "rule", "contribution": 70.0, "kind": "login|failed", "event": 7, "without": 1.5},
        {"channel": "context", "contribution": 1.5, "kind": "", "event": -1, "without": 70.0},
    ),
    event=7,
    trace_id="0af7651916cd43dd8448eb211c80319c",
    config="c0ffee",
    synthetic=False,
    tags=("attack.credential-access", "attack.t1110.003", "tamv.login"),
)
CHANGED = dataclasses.replace(
    OPENED,
    id="cd" * 16,
    created_at=OPENED.created_at + 60 * 10**9,
    level_from=Level.HIGH,
    level_to=Level.CRITICAL,
    score=85.25,
    extrapolated=True,
    finding=OPENED.id,
    activity="update",
)
STEPS = {
    "open": OPENED,
    "update": CHANGED,
    "suppressed": dataclasses.replace(
        CHANGED,
        id="de" * 16,
        created_at=OPENED.created_at + 360 * 10**9,
        suppressed=12,
        suppressed_since=CHANGED.created_at,
        synthetic=True,
    ),
    "resolved": dataclasses.replace(
        OPENED,
        id="ef" * 16,
        created_at=OPENED.created_at + 900 * 10**9,
        level_from=Level.CRITICAL,
        level_to=Level.NONE,
        score=12.0,
        reasons=(),
        trace_id="",
        finding=OPENED.id,
        activity="resolved",
    ),
}


@pytest.fixture(scope="session")
def steps() -> dict[str, Alert]:
    return STEPS


@pytest.fixture(params=list(STEPS))
def step(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def about() -> About:
    return About("es-MX", "0.1.0", "guardia-1.example.org", "https://guardia.example.org")


@pytest.fixture(scope="session")
def golden() -> Callable[[str, bytes], None]:
    """Holds what a form made to a file; GUARDIAN_GOLDEN=write writes the files anew, for a person to read the change."""

    def compare(name: str, made: bytes) -> None:
        file = FOLDER / name
        if os.environ.get("GUARDIAN_GOLDEN") == "write":
            file.write_bytes(made + b"\n")
        assert made + b"\n" == file.read_bytes()

    return compare
