from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decisions import Acknowledgement, acknowledgement
from guardian.decisions.record import as_json
from guardian.errors import BodyError, RequestError

NOW = 1_800_000_000 * 10**9
BODY = {"role": "target", "entity": "mail", "kind": "backup", "action": "acknowledge", "reason": "nightly"}


def decided(**more: Any) -> Acknowledgement:
    request = acknowledgement.request(BODY | more)
    return acknowledgement.decide(request, record_id="k1", actor_id="local", now=NOW)


def refused(**more: Any) -> dict[str, str]:
    with pytest.raises(RequestError) as refusal:
        decided(**more)
    return {problem.key: problem.expected for problem in refusal.value.problems}


class Engine:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def acknowledge(self, role: str, entity: str, kind: str, *, until: int | None, at: int) -> None:
        self.calls.append(("acknowledge", role, entity, kind, until, at))

    def withdraw(self, role: str, entity: str, kind: str, *, at: int) -> None:
        self.calls.append(("withdraw", role, entity, kind, at))


def test_for_good_for_a_while_and_no_more():
    assert decided().until is None
    snoozed = decided(action="snooze", until="2030-01-01T06:00:00-06:00")
    assert snoozed.until == acknowledgement.nanoseconds(datetime(2030, 1, 1, 12, tzinfo=UTC))
    assert decided(until="2030-01-01T00:00:00Z").action == "acknowledge"
    engine = Engine()
    for record in (decided(), snoozed, decided(action="withdraw")):
        acknowledgement.apply(record, engine)
    name = ("target", "mail", "backup")
    assert engine.calls == [
        ("acknowledge", *name, None, NOW),
        ("acknowledge", *name, snoozed.until, NOW),
        ("withdraw", *name, NOW),
    ]


def test_the_api_shows_times_as_text():
    shown = as_json(decided(action="snooze", until="2030-01-01T00:00:00Z"))
    assert shown == BODY | {
        "id": "k1",
        "actorId": "local",
        "action": "snooze",
        "until": "2030-01-01T00:00:00.000Z",
        "createdAt": "2027-01-15T08:00:00.000Z",
    }
    assert as_json(decided())["until"] is None


@pytest.mark.parametrize(
    ("more", "key", "expected"),
    [
        ({"role": "nobody"}, "role", "actor, address, target, session"),
        ({"role": None}, "role", "actor"),
        ({"entity": ""}, "entity", "1 to 512"),
        ({"entity": "x" * 513}, "entity", "1 to 512"),
        ({"entity": 7}, "entity", "1 to 512"),
        ({"kind": ""}, "kind", "1 to 512"),
        ({"kind": "*"}, "kind", "stands for all"),
        ({"action": "mute"}, "action", "acknowledge, snooze, withdraw"),
        ({"reason": ""}, "reason", "1 to 1000"),
        ({"reason": " \n\t "}, "reason", "1 to 1000"),
        ({"reason": "x" * 1001}, "reason", "1 to 1000"),
        ({"reason": "a\x00b"}, "reason", "control"),
        ({"reason": "a\x1b[31mb"}, "reason", "control"),
        ({"reason": "evil\u202etxt.exe"}, "reason", "control"),
        ({"reason": "a\x9bb"}, "reason", "control"),
        ({"until": "tomorrow"}, "until", "ISO 8601"),
        ({"until": 1_900_000_000}, "until", "ISO 8601"),
        ({"until": "2030-01-01T00:00:00"}, "until", "zone"),
        ({"until": "2027-01-15T08:00:00Z"}, "until", "after 2027-01-15T08:00:00"),
        ({"until": "1970-01-01T00:00:00Z"}, "until", "after"),
        ({"until": "0001-01-01T00:00:00+23:00"}, "until", "after"),
        ({"until": "2262-01-01T00:00:00Z"}, "until", "before 2262"),
        ({"until": "9999-12-31T23:59:59Z"}, "until", "before 2262"),
        ({"action": "snooze"}, "until", "snooze"),
        ({"action": "snooze", "until": None}, "until", "snooze"),
        ({"action": "withdraw", "until": "2030-01-01T00:00:00Z"}, "until", "withdraw"),
        ({"untill": "2030-01-01T00:00:00Z"}, "untill", "until"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(more: dict[str, Any], key: str, expected: str):
    problems = refused(**more)
    assert list(problems) == [key]
    assert expected in problems[key]


def test_everything_that_is_wrong_is_told_at_once():
    assert set(refused(role="x", entity="", reason="", until=3)) == {"role", "entity", "reason", "until"}
    with pytest.raises(RequestError) as refusal:
        acknowledgement.request({})
    assert [problem.key for problem in refusal.value.problems] == [
        "role",
        "entity",
        "kind",
        "action",
        "reason",
    ]


@pytest.mark.parametrize(
    "reason",
    ["ñandú 日本 🧑‍🚀 é", "two\nlines\tand a tab", "<b>&amp;</b> [red]x[/] {x} %s", "x\u2028\ufeff\u00a0x"],
)
def test_a_reason_may_be_any_text(reason: str):
    assert decided(reason=f"  {reason} ").reason == reason


@pytest.mark.parametrize("name", ["*", "a\x00b", "\x1b[0m", " ", "x" * 512, "**", "*a", "\u202e"])
def test_an_entity_may_have_any_name_that_events_can_carry(name: str):
    assert decided(entity=name).entity == name
    if name != "*":
        assert decided(kind=name).kind == name


@given(st.integers(1, 10**13), st.integers(-14, 14))
def test_until_is_exact_to_the_microsecond(ahead_us: int, zone: int):
    until = datetime.fromtimestamp(NOW // 10**9, timezone(timedelta(hours=zone))) + timedelta(
        microseconds=ahead_us
    )
    record = decided(action="snooze", until=until.isoformat())
    assert record.until == NOW + ahead_us * 1000


@given(st.text(min_size=1, max_size=20), st.none() | st.integers(-(2**63), 2**63 - 1))
def test_a_record_survives_the_journal(name: str, until: int | None):
    record = Acknowledgement(
        id="k",
        actor_id=name,
        role="actor",
        entity=name,
        kind=name,
        action="snooze",
        until=until,
        reason=name,
        created_at=NOW,
    )
    assert acknowledgement.from_bytes(acknowledgement.to_bytes(record)) == record


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b"{}", b"\xff", b'{"id": 3}', b"[" * 100_000])
def test_other_bytes_are_no_acknowledgement(body: bytes):
    with pytest.raises(BodyError) as refusal:
        acknowledgement.from_bytes(body)
    assert refusal.value.reason == "not_an_acknowledgement"


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_way(body: bytes):
    with pytest.raises(BodyError):
        acknowledgement.from_bytes(body)
