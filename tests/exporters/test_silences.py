"""Silences: what they are about, and that their beginning and end stand in the register."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters import bookpi
from exporters.alert import Alert
from exporters.msr import log
from exporters.pseudonyms import Pseudonyms
from exporters.register import Register
from exporters.silences import MOST, Silences, silenced_by
from exporters.store import Store
from guardian.decisions.silence import Silence
from guardian.errors import RequestError
from guardian.levels import Level

HOUR = 3600 * 10**9
T0 = 1_800_000_000 * 10**9
MARKER = "ana-7f3"


def make(number: int = 1, **more: Any) -> Silence:
    given = {
        "id": f"s{number}",
        "role": None,
        "entity": f"{MARKER}*",
        "layer": None,
        "channel": None,
        "kind": f"k {MARKER}",
        "level_at_most": "critical",
        "owner": f"o {MARKER}",
        "reason": f"r {MARKER}",
        "starts_at": T0,
        "ends_at": T0 + HOUR,
        "created_at": T0 + number,
    }
    return Silence(**given | more)


@pytest.fixture
def register(store: Store, tmp_path: Path) -> Register:
    return Register(store, tmp_path, "test/msr")


@pytest.fixture
def kept(store: Store, register: Register) -> Silences:
    return Silences(store, register, Pseudonyms(b"k" * 32))


def registered(store: Store) -> list[dict[str, Any]]:
    with store.reading() as connection:
        return list(reversed(log.page(connection, limit=200, offset=0)[0]))


def test_added_listed_ended_and_expired(kept: Silences, store: Store):
    shown = kept.add(make(1))
    assert shown == {
        "id": "s1",
        "role": None,
        "entity": f"{MARKER}*",
        "layer": None,
        "channel": None,
        "kind": f"k {MARKER}",
        "levelAtMost": "critical",
        "owner": f"o {MARKER}",
        "reason": f"r {MARKER}",
        "startsAt": "2027-01-15T08:00:00.000Z",
        "endsAt": "2027-01-15T09:00:00.000Z",
        "createdAt": "2027-01-15T08:00:00.000Z",
        "state": "active",
        "endedBy": None,
        "msrIndex": 0,
    }
    kept.add(make(2, starts_at=T0 + HOUR // 2))
    kept.add(make(3))
    assert [each["state"] for each in kept.page(now=T0, active=False, limit=9, offset=0)[0]] == [
        "active",
        "pending",
        "active",
    ]
    items, total = kept.page(now=T0, active=True, limit=1, offset=1)
    assert ([each["id"] for each in items], total) == (["s1"], 2)
    ended = kept.end("s3", actor_id=f"e {MARKER}", now=T0 + 60)
    assert ended is not None
    assert (ended["state"], ended["endedBy"]) == ("ended", f"e {MARKER}")
    assert kept.end("s3", actor_id="x", now=T0 + 61) is None
    assert kept.end("nothing", actor_id="x", now=T0) is None
    assert kept.end("s1", actor_id="x", now=T0 + HOUR) is None, "it is over"
    for now, count in ((T0 + HOUR - 1, 0), (T0 + HOUR, 2), (T0 + 2 * HOUR, 0)):
        with store.transaction() as connection:
            assert kept.expire(connection, now) == count
    states = [each["state"] for each in kept.page(now=T0 + HOUR, active=False, limit=9, offset=0)[0]]
    assert states == ["ended", "expired", "expired"]
    assert kept.page(now=T0 + HOUR, active=True, limit=9, offset=0) == ([], 0)
    assert [each["action"] for each in registered(store)] == [
        "guardian.silence_added",
        "guardian.silence_added",
        "guardian.silence_added",
        "guardian.silence_ended",
        "guardian.silence_expired",
        "guardian.silence_expired",
    ]


def test_one_that_is_to_come_never_begins_once_ended(
    kept: Silences, store: Store, alert: Callable[..., Alert]
):
    kept.add(make(starts_at=T0 + 100, entity="10.*", kind=None))
    kept.end("s1", actor_id="x", now=T0 + 50)
    with store.reading() as connection:
        known = kept.between(connection, 0, 2**62)
    assert silenced_by(known, alert(1), Level.HIGH, T0 + 100) is None


def test_the_register_and_its_pages_hold_no_personal_data(kept: Silences, store: Store):
    kept.add(make())
    kept.end("s1", actor_id=MARKER, now=T0 + 60)
    with store.reading() as connection:
        pages, total = bookpi.page(connection, limit=9, offset=0)
    assert total == 2
    told = json.dumps([registered(store), pages], ensure_ascii=False)
    assert MARKER not in told
    assert "hmac-sha256:" in told


def test_what_cannot_be_registered_is_not_kept(store: Store):
    class Broken:
        def write(self, *_: Any) -> list[int]:
            raise RuntimeError("no")

    kept = Silences(store, Broken(), Pseudonyms(b"k" * 32))
    with pytest.raises(RuntimeError):
        kept.add(make())
    assert kept.page(now=T0, active=False, limit=9, offset=0) == ([], 0)


def test_there_are_never_too_many(kept: Silences, store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("exporters.silences.MOST", 2)
    assert MOST == 1000
    kept.add(make(1))
    kept.add(make(2))
    with pytest.raises(RequestError, match="at most 2 silences"):
        kept.add(make(3))
    kept.end("s1", actor_id="x", now=T0 + 60)
    kept.add(make(3))


def test_those_of_a_time(kept: Silences, store: Store):
    kept.add(make(1, starts_at=T0, ends_at=T0 + 10))
    kept.add(make(2, starts_at=T0 + 10, ends_at=T0 + 20))
    with store.reading() as connection:
        for first, last, ids in (
            (0, T0 - 1, ""),
            (T0, T0, "1"),
            (T0 + 9, T0 + 10, "12"),
            (T0 + 20, T0 + 99, ""),
        ):
            assert "".join(each.id[1] for each in kept.between(connection, first, last)) == ids


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"role": "address"}, True),
        ({"role": "actor"}, False),
        ({"entity": "10.0.0.1"}, True),
        ({"entity": "10.0.0.?"}, True),
        ({"entity": "10.*"}, True),
        ({"entity": "10.0.0"}, False),
        ({"entity": "*.2"}, False),
        ({"entity": "10.0.0.[0-9]"}, False),
        ({"layer": "L5"}, True),
        ({"layer": "L4"}, False),
        ({"channel": "rule"}, True),
        ({"channel": "burst"}, False),
        ({"kind": "login"}, True),
        ({"kind": "log*"}, False),
        ({"role": "address", "kind": "other"}, False),
        ({"role": "address", "level_at_most": "high"}, True),
        ({"role": "address", "level_at_most": "medium"}, False),
        ({"role": "address", "starts_at": T0 + 1}, False),
        ({"role": "address", "starts_at": T0 - 1, "ends_at": T0}, False),
    ],
)
def test_what_one_is_about(about: dict[str, Any], expected: bool, alert: Callable[..., Alert]):
    silence = make(**{"entity": None, "kind": None} | about)
    found = silenced_by([make(2, entity="nobody"), silence], alert(1), Level.HIGH, T0)
    assert found == ("s1" if expected else None)


names = st.text(alphabet="ab[]!*?-\\.\n", max_size=12)


@given(names, names)
def test_an_entity_is_met_by_its_own_name_and_by_signs_for_any(name: str, pattern: str):
    alert = Alert("i", 0, "actor", name, 0, Level.NONE, Level.LOW, 0.0, (), 0, "", "", synthetic=False)

    def meets(entity: str) -> bool:
        return silenced_by([make(entity=entity, kind=None)], alert, Level.LOW, T0) is not None

    assert meets(name)
    assert meets("*")
    assert meets("?" * len(name))
    assert meets(f"{name[:2]}*")
    if "*" not in pattern and "?" not in pattern:
        assert meets(pattern) == (pattern == name)


def test_a_hostile_pattern_costs_little(alert: Callable[..., Alert]):
    named = msgspec.structs.replace(make(kind=None), entity="*a" * 250 + "b")
    long = Alert("i", 0, "actor", "a" * 512, 0, Level.NONE, Level.LOW, 0.0, (), 0, "", "", synthetic=False)
    assert silenced_by([named] * 100, long, Level.LOW, T0) is None
