"""The log in the database: order, transactions, tiles and proofs."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporters.msr import log, merkle
from exporters.msr.log import MAX_ENTRY, Entry
from exporters.msr.note import Verifier
from exporters.register import Register
from exporters.store import Store
from guardian.errors import LedgerError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "guardian.db")
    made.create()
    yield made
    made.close()


@pytest.fixture
def register(store: Store, tmp_path: Path) -> Register:
    return Register(store, tmp_path, "example.org/msr")


def entry(number: int) -> Entry:
    return Entry("a", "thing.done", {"n": number, "text": "ñ"}, 1_700_000_000_000_000_000 + number)


def test_an_entry_is_canonical_json_with_tamvs_hash() -> None:
    compat = hashlib.sha256(
        '{"action":"thing.done","actor_id":"a","payload":{"n":1,"text":"ñ"}}'.encode()
    ).hexdigest()
    expected = (
        f'{{"action":"thing.done","actorId":"a","compatHash":"{compat}",'
        '"createdAt":"2023-11-14T22:13:20.000Z","payload":{"n":1,"text":"ñ"}}'
    )
    assert entry(1).canonical().decode() == expected


def test_what_cannot_be_an_entry_is_refused(store: Store, register: Register) -> None:
    for payload in ({"x": "y" * MAX_ENTRY}, {"x": float("nan")}, {"x": object()}):
        with pytest.raises(LedgerError, match="entry"), store.transaction() as connection:
            register.write(connection, [Entry("a", "b", payload, 1)])
    with store.reading() as connection:
        assert log.size_of(connection) == 0
        assert log.checkpoint(connection) is None
        assert log.tlog_proof(connection, 0) is None


def test_a_rolled_back_transaction_registers_nothing(
    store: Store, register: Register, tmp_path: Path
) -> None:
    def fail() -> None:
        with store.transaction() as connection:
            register.write(connection, [entry(1)])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with store.reading() as connection:
        assert log.size_of(connection) == 0
    assert (tmp_path / "msr.checkpoint").read_text().startswith("example.org/msr\n0\n")


def test_every_entry_has_a_proof_and_every_past_is_a_prefix(
    store: Store, register: Register, tmp_path: Path
) -> None:
    verifier = Verifier.parse((tmp_path / "msr.vkey").read_text())
    pasts = []
    for size in (1, 1, 1, 5, 248, 1, 1):  # 1, 2, 3, 8, 256, 257, 258
        with store.transaction() as connection:
            register.write(connection, [entry(i) for i in range(size)])
        pasts.append(verifier.open((tmp_path / "msr.checkpoint").read_text()))
    with store.reading() as connection:
        note = log.checkpoint(connection)
        assert note is not None
        newest = verifier.open(note)
        for past in pasts:
            proof = log.consistency_proof(connection, past.size, newest.size)
            assert merkle.verify_consistency(past.size, newest.size, past.root, newest.root, proof)
        for index in (0, 1, 2, 255, 256, 257):
            text = log.tlog_proof(connection, index)
            assert text is not None
            head, _, rest = text.partition("\n\n")
            lines = head.split("\n")
            assert lines[:2] == ["c2sp.org/tlog-proof@v1", f"index {index}"]
            checkpoint = verifier.open(rest)
            leaf = log.node_of(connection, 0, index)
            steps = [base64.b64decode(line) for line in lines[2:]]
            assert merkle.verify_inclusion(index, checkpoint.size, leaf, steps, checkpoint.root)
        assert log.tlog_proof(connection, 258) is None


def test_tiles_are_those_of_c2sp(store: Store, register: Register) -> None:
    with store.transaction() as connection:
        register.write(connection, [entry(i) for i in range(300)])
    with store.reading() as connection:
        full = log.tile(connection, "0/000")
        assert full is not None
        assert len(full) == 8192
        assert log.tile(connection, "0/001") is None
        partial = log.tile(connection, "0/001.p/44")
        assert partial is not None
        assert len(partial) == 44 * 32
        assert log.tile(connection, "1/000.p/1") == merkle.root(
            256, lambda level, n: log.node_of(connection, level, n)
        )
        bundle = log.tile(connection, "entries/001.p/44")
        assert bundle is not None
        (length,) = struct.unpack_from(">H", bundle)
        assert merkle.leaf_hash(bundle[2 : 2 + length]) == partial[:32]
        for path in (
            "",
            "0",
            "0/1",
            "0/0000",
            "a/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/x000",
            "99/000",
            "0/000/../1",
        ):
            assert log.tile(connection, path) is None, path


def test_a_log_of_another_key_is_refused(store: Store, register: Register, tmp_path: Path) -> None:
    assert register
    with pytest.raises(LedgerError, match="another key or origin"):
        Register(store, tmp_path, "example.org/other")


def test_bookpi_tells_each_entry_in_both_languages(store: Store, register: Register) -> None:
    from exporters import bookpi

    payload = {
        "eventId": "e1", "protocolId": "fenix", "action": "renew", "layer": "L2", "allowed": False,
        "phase": "rejected", "reasons": ["purpose_required"], "severity": "medium", "purposeDigest": "",
    }  # fmt: skip
    level = {
        "alertId": "a", "scope": "entity", "role": "address", "entity": "hmac-sha256:1", "layer": "L5",
        "levelFrom": "none", "levelTo": "critical", "score": 80.0, "config": "c",
        "reasons": [{"channel": "rule", "contribution": 80.0, "kind": "login"}],
    }  # fmt: skip
    with store.transaction() as connection:
        register.write(
            connection,
            [
                Entry("p", "protocol.evaluated", payload, 10**18),
                Entry("p", "guardian.level_changed", level, 10**18 + 1),
                Entry("p", "unheard.of", {}, 10**18 + 2),
            ],
        )
    with store.reading() as connection:
        items, total = bookpi.page(connection, limit=10, offset=0)
    assert total == 3
    other, changed, protocol = items
    assert protocol["title"] == "Protocol fenix rejected"
    assert "falta un propósito" in protocol["narrative"]["es-MX"]
    assert "a purpose is missing" in protocol["narrative"]["en"]
    assert "rule 80 (login)" in changed["narrative"]["en"]
    assert "pasó de ninguno a crítico" in changed["narrative"]["es-MX"]
    assert "unheard.of" in other["narrative"]["es-MX"]
    for item in items:
        for narrative in item["narrative"].values():
            sentences = [each for each in narrative.split(f"[MSR {item['msrIndex']}]") if each.strip()]
            assert sentences
            assert narrative.endswith(f"[MSR {item['msrIndex']}]")
            assert "{" not in narrative
