"""Dead letters: looked at, corrected, sent again, given up; each change in the register, and nothing of what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from exporters import outbox as boxes
from exporters.dead_letters import MOST_BODY, DeadLetters
from exporters.delivery import Worker
from exporters.msr import log
from exporters.msr.fsck import verify
from exporters.outbox import DEAD, DELIVERED, STATES, Mark, Outbox
from exporters.pseudonyms import Pseudonyms
from exporters.register import Register
from exporters.store import Store
from guardian.errors import InputError
from guardian.sink_settings import File

from .conftest import Clock, Scripted, make_alert

NOTHING = dict.fromkeys(STATES, 0)
SIEM, PAGER = File(name="siem", path="x"), File(name="pager", path="x")


@pytest.fixture
def outbox(store: Store, clock: Clock) -> Outbox:
    """Three alerts; the receiver of one sink refused two of them."""
    made = Outbox(store, [SIEM, PAGER], clock=clock)
    with store.transaction() as connection:
        made.add(connection, [make_alert(number) for number in (1, 2, 0x11)])
    items = made.head("siem", limit=9, now=clock.now).items
    for item in (items[0], items[2]):
        body = b'{"n": %d}' % item.alert.event
        made.mark("siem", [Mark([item.seq], DEAD, "HTTP 400 \x1b[31mñ", "refused", body=body)], at=clock.now)
    return made


@pytest.fixture
def letters(store: Store, outbox: Outbox, clock: Clock, tmp_path: Path) -> DeadLetters:
    register = Register(store, tmp_path, "example.org/msr")
    return DeadLetters(store, register, Pseudonyms(b"k" * 32), clock=clock)


def registered(store: Store) -> list[dict[str, Any]]:
    with store.reading() as connection:
        return log.page(connection, limit=100, offset=0)[0][::-1]


def test_they_are_listed_with_all_that_happened(letters: DeadLetters) -> None:
    page, total = letters.page(limit=1, offset=1)
    assert (len(page), total) == (1, 2)
    assert letters.page("pager", limit=9, offset=0) == ([], 0)
    (one, _), _ = letters.page("siem", limit=9, offset=0)
    shown = one.to_json()
    assert json.loads(json.dumps(shown)) == shown
    assert (shown["alertId"], shown["reason"], shown["attempts"]) == (make_alert(1).id, "refused", 1)
    assert shown["body"] == '{"n": 1}'
    assert [each["said"] for each in shown["history"]] == ["HTTP 400 \x1b[31mñ"]
    assert shown["alert"]["entity"] == "10.0.0.1"


def test_the_beginning_of_an_id_is_enough_where_it_names_one(letters: DeadLetters) -> None:
    assert letters.letter("siem", make_alert(1).id).alert == make_alert(1)
    for sink, beginning in (
        ("siem", "0000"),
        ("siem", ""),
        ("siem", make_alert(2).id),
        ("pager", "0"),
        ("siem", "%"),
    ):
        with pytest.raises(InputError):
            letters.letter(sink, beginning)


async def test_replayed_ones_are_sent_anew_and_edited_ones_as_edited(
    store: Store, outbox: Outbox, letters: DeadLetters, clock: Clock
) -> None:
    edited, other = make_alert(1).id, make_alert(0x11).id
    assert letters.edit("siem", edited, b'{"n": "one"}\n', by="ana") == 0
    assert letters.letter("siem", edited).edited
    assert letters.replay("siem", [edited, other, edited], by="ana") == [1, 2], "each once"
    sent: dict[str, bytes] = {}

    class Kept(Scripted):
        async def write(self, messages: Any) -> Any:
            sent.update({message.id: message.body for message in messages})
            return await super().write(messages)

    sink = Kept()
    await Worker(outbox, SIEM, sink, render=lambda _: b"new form", clock=clock).step()
    assert sent == {edited: b'{"n": "one"}', make_alert(2).id: b"new form", other: b"new form"}
    assert outbox.counts()["siem"] == NOTHING | {"delivered": 3}
    with store.reading() as connection:
        assert not connection.execute(
            sa.select(boxes.outbox.c.body).where(boxes.outbox.c.body.is_not(None))
        ).all()
    told = registered(store)
    assert [each["action"] for each in told] == ["delivery.edited", "delivery.replayed", "delivery.replayed"]
    assert told[1]["payload"] == {"sink": "siem", "alertId": edited, "reason": "refused"}
    assert told[0]["actorId"] == Pseudonyms(b"k" * 32).of("ana")
    assert "one" not in json.dumps(told)


def test_a_dropped_one_is_given_up_and_still_counted(
    store: Store, outbox: Outbox, letters: DeadLetters, tmp_path: Path
) -> None:
    assert letters.drop("siem", None, reason="a test system of Ana's", by="ana") == [0, 1]
    assert outbox.counts()["siem"] == NOTHING | {"pending": 1, "suppressed": 2}
    assert outbox.counts()["pager"] == NOTHING | {"pending": 3}, "for this sink only"
    assert letters.page(limit=9, offset=0) == ([], 0)
    told = registered(store)
    assert [each["action"] for each in told] == ["delivery.dropped"] * 2
    assert "Ana" not in json.dumps(told)
    assert verify(tmp_path).ok
    with store.reading() as connection:
        query = sa.select(boxes.outbox.c.reason, boxes.outbox.c.last_error).where(
            boxes.outbox.c.state == "suppressed"
        )
        assert set(connection.execute(query).all()) == {("dropped", "a test system of Ana's")}


def test_what_is_wrong_with_one_changes_none(store: Store, outbox: Outbox, letters: DeadLetters) -> None:
    good, unknown = make_alert(1).id, make_alert(2).id
    wrong: list[Callable[[], object]] = [
        lambda: letters.replay("siem", [good, unknown], by=""),
        lambda: letters.drop("siem", [good, unknown], reason="x", by=""),
        lambda: letters.drop("siem", [good], reason=" ", by=""),
        lambda: letters.edit("siem", unknown, b"{}", by=""),
        lambda: letters.edit("siem", good, b"\n", by=""),
        lambda: letters.edit("siem", good, b"no JSON", by=""),
        lambda: letters.edit("siem", good, b"\xff\xff", by=""),
        lambda: letters.edit("siem", good, b" " * (MOST_BODY + 1), by=""),
    ]
    for each in wrong:
        with pytest.raises(InputError):
            each()
    assert outbox.counts()["siem"] == NOTHING | {"pending": 1, "dead": 2}
    assert registered(store) == []
    assert letters.letter("siem", good).body == b'{"n": 1}'


def test_a_heartbeat_that_died_is_none(outbox: Outbox, letters: DeadLetters, clock: Clock) -> None:
    pager = outbox.head("pager", limit=9, now=clock.now).items
    outbox.mark("pager", [Mark([item.seq for item in pager], DELIVERED)], at=clock.now)
    outbox.beat("pager", clock.now, outbox.standing("pager"))
    (beat,) = outbox.head("pager", limit=9, now=clock.now).items
    outbox.mark("pager", [Mark([beat.seq], DEAD, reason="refused")], at=clock.now)
    assert letters.page("pager", limit=9, offset=0) == ([], 0)
