import hashlib
import hmac
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from exporters import records
from exporters.records import Entry, Records
from exporters.store import Store, metadata
from guardian.config import Eoct
from guardian.decisions import eoct, isabella, protocols
from guardian.decisions.record import Acknowledgement, EoctRecord, IsabellaRecord

MARKER = "marker-7f3a"
TABLES = (
    records.EOCT_EVALUATIONS,
    records.ISABELLA_DECISIONS,
    records.PROTOCOL_EVENTS,
    records.GUARDIAN_EVENTS,
    records.XR_EVENTS,
)
"""What one protocol evaluation writes."""

msr = sa.Table(
    "test_msr", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("entry", sa.Text)
)
bookpi = sa.Table("test_bookpi", metadata, sa.Column("id", sa.Integer, primary_key=True))


class FakeRegister:
    """Keeps entries in the caller's transaction, as the register does."""

    def write(self, connection: sa.Connection, entries: Sequence[Entry]) -> list[int]:
        indices = []
        for entry in entries:
            text = json.dumps([entry.actor_id, entry.action, entry.payload, entry.created_at])
            index = connection.execute(msr.insert().values(entry=text)).inserted_primary_key[0]
            connection.execute(bookpi.insert().values(id=index))
            indices.append(index)
        return indices


class FakePseudonyms:
    def of(self, text: str) -> str:
        return hmac.new(b"key", text.encode(), hashlib.sha256).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "guardian.db")
    made.create()
    yield made
    made.close()


@pytest.fixture
def kept(store: Store) -> Records:
    return Records(store, FakeRegister(), FakePseudonyms())


def evaluation(number: int = 1, **more: Any) -> protocols.Evaluation:
    body = {"protocolId": "fenix", "action": "renacer", "layer": "L2", "purpose": f"para {MARKER}", **more}
    return protocols.evaluate(
        protocols.request(body),
        event_id=f"0190a5f0-0000-7000-8000-{number:012x}",
        actor_id=f"ana-{MARKER}",
        now=number,
        settings=Eoct(),
    )


def ethics(number: int = 1, harm: float = 1.0) -> EoctRecord:
    body = {"subjectType": "user", "subjectId": f"u-{MARKER}", "signals": {"harmRisk": harm}, "notes": MARKER}
    request = eoct.request(body)
    return eoct.evaluate(request, record_id=f"e{number}", actor_id=MARKER, now=number, settings=Eoct())


def recommendation(number: int = 1, verb: str = "deny") -> IsabellaRecord:
    request = isabella.request(
        {"prompt": f"p {MARKER}", "response": f"r {MARKER}", "verb": verb, "ethicsScore": 0.5}
    )
    return isabella.decide(request, record_id=f"i{number}", actor_id=MARKER, now=number)


def acknowledgement(number: int = 1, action: str = "acknowledge", **more: Any) -> Acknowledgement:
    fields = {
        "id": f"k{number:05}",
        "actor_id": MARKER,
        "role": "target",
        "entity": f"e {MARKER}",
        "kind": f"k {MARKER}",
        "action": action,
        "until": None,
        "reason": f"r {MARKER}",
        "created_at": number,
    }
    return Acknowledgement(**fields | more)


def acknowledge(kept: Records, *given: Acknowledgement) -> list[int]:
    with kept._store.transaction() as connection:
        return kept.save_acknowledgements(connection, given)


def listed(kept: Records, *entities: str, active: bool = False) -> list[tuple[str, bool, str | None]]:
    in_force = {("target", entity, f"k {MARKER}") for entity in entities}
    page = kept.acknowledgements(in_force, active=active, limit=200, offset=0)
    assert page["total"] == len(page["items"])
    return [(item["id"], item["active"], item["replacedBy"]) for item in page["items"]]


def rows(store: Store) -> dict[str, int]:
    with store.reading() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (*TABLES, msr, bookpi)
        }


def entries(store: Store) -> list[list[Any]]:
    with store.reading() as connection:
        return [json.loads(text) for text in connection.execute(sa.select(msr.c.entry)).scalars()]


ONE_OF_EACH = dict.fromkeys((*(table.name for table in TABLES), "test_msr", "test_bookpi"), 1)
NOTHING = dict.fromkeys(ONE_OF_EACH, 0)


def test_one_evaluation_writes_one_of_each(store: Store, kept: Records):
    assert kept.save_protocol(evaluation(payload={"coercive": True})) == 1
    assert rows(store) == ONE_OF_EACH


def statements(store: Store, act: Callable[[], Any], hook: Callable[[int, str], None]) -> int:
    """Run ``act`` calling ``hook(n, sql)`` before its n-th statement; how many statements it made."""
    count = 0

    def before(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        nonlocal count
        hook(count, statement)
        count += 1

    sa.event.listen(store._engine, "before_cursor_execute", before)
    try:
        act()
    finally:
        sa.event.remove(store._engine, "before_cursor_execute", before)
    return count


SAVES: list[Callable[[Records], Any]] = [
    lambda kept: kept.save_protocol(evaluation()),
    lambda kept: kept.save_eoct(ethics()),
    lambda kept: kept.save_isabella(recommendation()),
    lambda kept: acknowledge(
        kept, acknowledgement(2, id="second"), acknowledgement(3, "withdraw", id="third")
    ),
]


@pytest.mark.parametrize("save", SAVES)
def test_an_exception_at_any_statement_leaves_nothing(tmp_path: Path, save: Callable[[Records], Any]):
    class InjectedError(Exception):
        pass

    survived = 0
    for failing in range(1, 20):  # 0 is BEGIN
        store = Store(tmp_path / f"{failing}.db")
        store.create()
        kept = Records(store, FakeRegister(), FakePseudonyms())

        def hook(number: int, statement: str, failing: int = failing) -> None:
            if number == failing and statement != "ROLLBACK":
                raise InjectedError

        try:
            statements(store, lambda kept=kept: save(kept), hook)  # type: ignore[misc]  (a lambda's default)
            survived += 1
        except InjectedError:
            assert rows(store) == NOTHING
        else:
            assert sum(rows(store).values()) >= 3
        store.close()
    assert 0 < survived < 18


@pytest.mark.parametrize("save", SAVES)
def test_a_crash_at_any_statement_leaves_nothing_or_all(
    tmp_path: Path, store: Store, kept: Records, save: Callable[[Records], Any]
):
    def crash(number: int, _statement: str) -> None:
        """What a machine would find on its disk if it stopped here."""
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / f"guardian.db{suffix}", tmp_path / f"crash{number}.db{suffix}")

    made = statements(store, lambda: save(kept), crash)
    for number in range(made):
        found = Store(tmp_path / f"crash{number}.db")
        assert rows(found) == NOTHING
        found.close()
    assert rows(store) != NOTHING


def test_a_failing_register_leaves_nothing(store: Store):
    class Full:
        def write(self, connection: sa.Connection, entries: Sequence[Entry]) -> list[int]:
            FakeRegister().write(connection, entries)
            raise OSError(28, "no space left on device")

    kept = Records(store, Full(), FakePseudonyms())
    for save in SAVES:
        with pytest.raises(OSError, match="no space"):
            save(kept)
    assert rows(store) == NOTHING


def test_the_same_id_twice_is_refused_and_changes_nothing(store: Store, kept: Records):
    kept.save_protocol(evaluation())
    with pytest.raises(sa.exc.IntegrityError):
        kept.save_protocol(evaluation())
    assert rows(store) == ONE_OF_EACH


def test_approved_low_stays_out_of_the_register(store: Store, kept: Records):
    assert kept.save_eoct(ethics(1, harm=0.5)) is None
    assert kept.save_eoct(ethics(2, harm=1.0)) == 1
    assert rows(store)["eoct_evaluations"] == 2
    assert [entry[1] for entry in entries(store)] == ["eoct.evaluated"]


def test_what_the_register_gets(store: Store, kept: Records):
    kept.save_protocol(evaluation(1, payload={"coercive": True}))
    kept.save_eoct(ethics(2))
    kept.save_isabella(recommendation(3))
    of = FakePseudonyms().of
    assert entries(store) == [
        [
            of(f"ana-{MARKER}"),
            "protocol.evaluated",
            {
                "eventId": "0190a5f0-0000-7000-8000-000000000001",
                "protocolId": "fenix",
                "action": "renacer",
                "layer": "L2",
                "allowed": False,
                "phase": "rejected",
                "reasons": ["coercion_not_allowed"],
                "severity": "high",
                "purposeDigest": of(f"para {MARKER}"),
            },
            1,
        ],
        [
            of(MARKER),
            "eoct.evaluated",
            {
                "evaluationId": "e2",
                "subjectType": "user",
                "subject": of(f"u-{MARKER}"),
                "score": 0.75,
                "risk": 0.25,
                "verdict": "review",
                "riskLevel": "medium",
                "reasons": ["harm_risk"],
                "contributions": {
                    "coercion": 0.0,
                    "harm": 0.25,
                    "privacy": 0.0,
                    "transparency": 0.0,
                    "legal": 0.0,
                },
            },
            2,
        ],
        [
            of(MARKER),
            "isabella.decided",
            {
                "decisionId": "i3",
                "protocolId": "isabella",
                "action": "",
                "layer": "L2",
                "outcome": "rejected",
                "verb": "deny",
                "ethicsScore": 0.5,
                "promptCommitment": of(f"p {MARKER}"),
                "responseCommitment": of(f"r {MARKER}"),
            },
            3,
        ],
    ]


def test_no_personal_data_in_clear_outside_its_record(store: Store, kept: Records):
    kept.save_protocol(evaluation(1, payload={"who": MARKER}, metadata={"who": MARKER}))
    kept.save_eoct(ethics(2))
    kept.save_isabella(recommendation(3, verb=MARKER))
    for table in (records.GUARDIAN_EVENTS, records.XR_EVENTS):
        assert MARKER not in json.dumps(kept.page(table, limit=9, offset=0))
    assert MARKER not in json.dumps(entries(store))
    assert entries(store)[2][2]["verb"] == "unknown"


def test_pages_are_newest_first_with_the_id_as_tie_break(kept: Records):
    for number, at in ((1, 5), (2, 9), (3, 9), (4, 1)):
        record = isabella.decide(
            isabella.request({"prompt": "", "response": ""}), record_id=f"i{number}", actor_id="a", now=at
        )
        kept.save_isabella(record)
    page = kept.page(records.ISABELLA_DECISIONS, limit=2, offset=0)
    rest = kept.page(records.ISABELLA_DECISIONS, limit=9, offset=2)
    assert [item["id"] for item in page["items"] + rest["items"]] == ["i3", "i2", "i1", "i4"]
    assert page["total"] == rest["total"] == 4


def test_pages_have_the_shape_that_the_request_was_answered_with(kept: Records):
    made, judged, advice = evaluation(1, payload={"n": 2**70}), ethics(2), recommendation(3)
    kept.save_protocol(made)
    kept.save_eoct(judged)
    kept.save_isabella(advice)
    (event,) = kept.page(records.PROTOCOL_EVENTS, limit=9, offset=0)["items"]
    assert event == made.answer()["event"] | {"msrIndex": 1}
    shown = protocols.as_json(judged) | {"msrIndex": 2}
    assert kept.page(records.EOCT_EVALUATIONS, limit=1, offset=0)["items"] == [shown]
    (item,) = kept.page(records.ISABELLA_DECISIONS, limit=1, offset=0)["items"]
    assert item == isabella.answer(advice) | {"msrIndex": 3}
    (guardian,) = kept.page(records.GUARDIAN_EVENTS, limit=1, offset=0)["items"]
    assert guardian == protocols.as_json(made.guardian)
    (scene,) = kept.page(records.XR_EVENTS, limit=1, offset=0)["items"]
    assert scene == protocols.as_json(made.xr)


def test_text_that_databases_trip_over_comes_back_as_it_was(kept: Records):
    odd = "'; DROP TABLE xr_events; -- \x00 \U0001f525 ñ"
    request = isabella.request({"prompt": odd, "response": odd, "verb": "allow"})
    kept.save_isabella(isabella.decide(request, record_id=odd, actor_id=odd, now=2**62))
    (item,) = kept.page(records.ISABELLA_DECISIONS, limit=1, offset=0)["items"]
    assert (item["id"], item["prompt"], item["actorId"]) == (odd, odd, odd)


def test_an_acknowledgement_is_active_until_the_next_one_about_the_same(kept: Records):
    name = f"e {MARKER}"
    assert acknowledge(kept, acknowledgement(1), acknowledgement(2, entity="other")) == [1, 2]
    assert listed(kept, name, "other") == [("k00002", True, None), ("k00001", True, None)]
    acknowledge(kept, acknowledgement(3, "snooze", until=5))
    assert listed(kept, name) == [
        ("k00003", True, None),
        ("k00002", False, None),
        ("k00001", False, "k00003"),
    ]
    assert listed(kept, name, active=True) == [("k00003", True, None)]
    assert listed(kept) == [("k00003", False, None), ("k00002", False, None), ("k00001", False, "k00003")]
    acknowledge(kept, acknowledgement(4, "withdraw"))
    assert not kept.is_acknowledged(("target", name, f"k {MARKER}"))
    assert kept.is_acknowledged(("target", "other", f"k {MARKER}"))
    assert not kept.is_acknowledged(("actor", "other", f"k {MARKER}"))
    # Whatever the engine says: a withdrawal is never the reason why something is quiet.
    assert listed(kept, name, active=True) == []
    assert listed(kept, name)[0] == ("k00004", False, None)


def test_the_pages_of_what_is_in_force(kept: Records):
    acknowledge(kept, *(acknowledgement(n, entity=f"{n}", created_at=n // 2) for n in range(7)))
    in_force = {("target", f"{n}", f"k {MARKER}") for n in (0, 1, 2, 4, 5)}
    pages = [
        kept.acknowledgements(in_force, active=True, limit=2, offset=offset) for offset in range(0, 8, 2)
    ]
    assert [page["total"] for page in pages] == [5] * 4
    found = [item["id"] for page in pages for item in page["items"]]
    assert found == ["k00005", "k00004", "k00002", "k00001", "k00000"]


def test_the_register_gets_commitments_of_what_and_why(store: Store, kept: Records):
    acknowledge(
        kept, acknowledgement(1), acknowledgement(2, "snooze", until=10**18), acknowledgement(3, "withdraw")
    )
    told = entries(store)
    assert [entry[1] for entry in told] == [
        "guardian.acknowledged",
        "guardian.snoozed",
        "guardian.withdrawn",
    ]
    assert MARKER not in json.dumps(told)
    until = [entry[2].get("until") for entry in told]
    assert until == ["withdrawn", "2001-09-09T01:46:40.000Z", None]
    for (actor, _action, payload, _at), number in zip(told, (1, 2, 3), strict=True):
        assert payload["acknowledgementId"] == f"k{number:05}"
        assert payload["role"] == "target"
        assert (actor, payload["entity"], payload["kind"], payload["reasonCommitment"]) == tuple(
            FakePseudonyms().of(text) for text in (MARKER, f"e {MARKER}", f"k {MARKER}", f"r {MARKER}")
        )


@pytest.mark.parametrize(
    "text", ["a\x00b", "\U0001f9d1\u200d\U0001f680", "\u202e\u0000'; DROP TABLE x; --", "%s{}\\", "\ufffe"]
)
def test_any_text_comes_back_as_it_was(kept: Records, text: str):
    acknowledge(kept, acknowledgement(1, entity=text, kind=text, reason=text))
    page = kept.acknowledgements({("target", text, text)}, active=True, limit=5, offset=0)
    (item,) = page["items"]
    assert (item["entity"], item["kind"], item["reason"], item["active"]) == (text, text, text, True)
    assert item["createdAt"] == "1970-01-01T00:00:00.000Z"
    assert item["until"] is None
