"""What texts say: injections and probes are seen in any field, ordinary texts are not mistaken for them."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from guardian.config import Config, parse
from guardian.features import Extractor
from scoring.layout import AUTH_FAILURE, HONEYPOT, INJECTION, IS_ALERT, REQUEST

MakeEvents = Callable[..., pa.RecordBatch]
START = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("q=1' OR '1'='1", 50),
        ("id=1%27%20or%201%3d1", 50),
        ("1 UNION ALL SELECT password FROM users", 50),
        ("x'; DROP TABLE users", 50),
        ("sleep(5)", 50),
        ("<script>alert(1)</script>", 40),
        ("<img src=x onerror=alert(1)>", 40),
        ("../../../etc/passwd", 30),
        ("%2e%2e%2f%2e%2e%2fsecret", 30),
        ("GET /.env", 25),
        ("/wp-login.php", 25),
        ("' OR 1=1 -- <script>", 90),
    ],
)
@pytest.mark.parametrize("column", ["kind", "target", "body", "attrs"])
def test_attacks_are_seen_in_any_text(events: MakeEvents, text: str, points: int, column: str) -> None:
    row = {"ts": START, "kind": "x", column: text}
    features = Extractor(Config())(events([{"ts": START, "kind": "x"}, row]))
    assert features.columns["actor"].points.tolist() == [0.0, points]
    assert bool(features.columns["actor"].flags[1] & INJECTION) == (points in (50, 90))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT your seat, or a union hall",
        "It's mine or yours",
        "O'Brien and sons",
        "scripts/build.sh",
        "a/../b",
        "the environment",
        "¿Sesión iniciada?",
        "C:\\Windows\\System32",
    ],
)
def test_ordinary_texts_are_not(events: MakeEvents, text: str) -> None:
    assert Extractor(Config())(events([{"ts": START, "kind": text, "body": text}])).columns[
        "actor"
    ].points.tolist() == [0.0]


def test_failed_logins(events: MakeEvents) -> None:
    rows = [
        {"kind": "login", "outcome": 2},
        {"kind": "login", "outcome": 1},
        {"kind": "auth failure"},
        {"kind": "sesión.iniciar", "outcome": 3},
        {"kind": "Security/4625"},
        {"kind": "order", "outcome": 2},
    ]
    flags = Extractor(Config())(events([{"ts": START, **row} for row in rows])).columns["actor"].flags
    assert [bool(flag & AUTH_FAILURE) for flag in flags] == [True, False, True, True, True, False]


def test_requests_alerts_and_honeypots(events: MakeEvents) -> None:
    config = parse("[rules]\nhoneypots = ['vault']")
    rows = [{"kind": "GET /x"}, {"kind": "tick", "signal": 4}, {"kind": "tick", "target": "vault"}]
    flags = Extractor(config)(events([{"ts": START, **row} for row in rows])).columns["actor"].flags
    assert [int(flag) for flag in flags] == [REQUEST, IS_ALERT, HONEYPOT]


def test_the_severity_of_a_verdict_counts_that_of_a_log_line_does_not(events: MakeEvents) -> None:
    rows = [{"signal": signal, "severity": 1.0, "outcome": 3, "kind": "k"} for signal in (0, 1, 2, 3, 4)]
    points = Extractor(Config())(events([{"ts": START, **row} for row in rows])).columns["actor"].judged
    assert points.tolist() == [0.0, 0.0, 50.0, 50.0, 50.0]
    approved = {"ts": START, "signal": 3, "severity": 1.0, "outcome": 1, "kind": "k"}
    assert Extractor(Config())(events([approved])).columns["actor"].judged.tolist() == [0.0]


def test_a_shared_dictionary_is_worked_out_once_and_never_mixed_up(events: MakeEvents) -> None:
    extractor = Extractor(Config())
    batch = events([{"ts": START, "kind": f"k{i}", "actor": f"a{i % 5}"} for i in range(50)])
    whole = extractor(batch)
    for start in range(0, 50, 7):
        part = extractor(batch.slice(start, 7))
        assert part.kind.tolist() == whole.kind[start : start + 7].tolist()
        other = extractor(events([{"ts": START, "kind": "z", "actor": f"a{start}"}]))
        assert other.keys["actor"][0] != 0
