"""BookPI: deterministic, in both languages, every sentence with its entry, and no word from outside taken for ours."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters import bookpi
from exporters.msr.log import Entry
from exporters.store import Store
from guardian import texts

PAYLOADS: dict[str, dict[str, Any]] = {
    "protocol.evaluated": {
        "eventId": "e", "protocolId": "fenix", "action": "renacer", "layer": "L2", "allowed": True,
        "phase": "approved", "reasons": [], "severity": "low", "purposeDigest": "hmac-sha256:1",
    },
    "eoct.evaluated": {
        "evaluationId": "e", "subjectType": "user", "subject": None, "score": 0.15, "risk": 0.85,
        "verdict": "rejected", "riskLevel": "critical", "reasons": ["harm_risk", "coercion_risk"],
        "contributions": {"harm": 0.25},
    },
    "isabella.decided": {
        "decisionId": "d", "protocolId": "isabella", "action": "", "layer": "L2", "outcome": "review",
        "verb": "hold", "ethicsScore": None, "promptCommitment": "hmac-sha256:2", "responseCommitment": "",
    },
    "guardian.level_changed": {
        "alertId": "a", "scope": "entity", "role": "address", "entity": "hmac-sha256:3", "layer": "L5",
        "levelFrom": "low", "levelTo": "high", "score": 66.6666, "config": "c",
        "reasons": [{"channel": "rule", "contribution": 40.0, "kind": "login"}, {"channel": "burst", "contribution": 26.67}],
    },
    "guardian.acknowledged": {
        "acknowledgementId": "k", "role": "target", "entity": "hmac-sha256:4", "kind": "hmac-sha256:5",
        "reasonCommitment": "hmac-sha256:6", "until": "withdrawn",
    },
    "guardian.snoozed": {
        "acknowledgementId": "k", "role": "actor", "entity": "hmac-sha256:4", "kind": "hmac-sha256:5",
        "reasonCommitment": "hmac-sha256:6", "until": "2026-01-31T18:00:00.000Z",
    },
    "guardian.withdrawn": {
        "acknowledgementId": "k", "role": "session", "entity": "hmac-sha256:4", "kind": "hmac-sha256:5",
        "reasonCommitment": "hmac-sha256:6",
    },
    "guardian.silence_added": {
        "silenceId": "s", "role": None, "entity": "hmac-sha256:7", "layer": "L4", "channel": None, "kind": "",
        "levelAtMost": "high", "reasonCommitment": "hmac-sha256:8", "startsAt": "2026-01-31T18:00:00.000Z",
        "endsAt": "2026-01-31T20:00:00.000Z",
    },
    "guardian.silence_ended": {"silenceId": "s"},
    "guardian.silence_expired": {"silenceId": "s", "endsAt": "2026-01-31T20:00:00.000Z"},
    "guardian.model_swapped": {
        "role": "actor", "digest": "0" * 64, "rows": 5000, "firstWindow": "2026-01-30T18:00:00.000Z",
        "lastWindow": "2026-01-31T18:00:00.000Z", "config": "c",
    },
    "service.started": {"version": "0.1.0", "config": "c", "recovered": 17},
    "thing.happened": {"x": 1},
}  # fmt: skip


def test_every_action_that_is_told_has_a_payload_here() -> None:
    assert set(bookpi.TOLD) <= PAYLOADS.keys()


def test_an_acknowledgement_without_an_end_says_how_it_ends() -> None:
    narrative, summary = told("guardian.acknowledged", PAYLOADS["guardian.acknowledged"])["es-MX"]
    assert "de un elemento de tipo recurso, hasta que se retire." in narrative
    assert summary.startswith("Un tipo de evento")
    narrative, _ = told("guardian.snoozed", PAYLOADS["guardian.snoozed"])["en"]
    assert "until 2026-01-31T18:00:00.000Z." in narrative


def told(action: str, payload: dict[str, Any], index: int = 7) -> dict[str, tuple[str, str]]:
    entry = Entry("hmac-sha256:0", action, payload, 1_700_000_000 * 10**9)
    return {language: bookpi._told(index, entry, language) for language in texts.LANGUAGES}


@pytest.mark.parametrize("action", PAYLOADS)
def test_every_sentence_carries_its_entry_in_both_languages(action: str) -> None:
    both = told(action, PAYLOADS[action])
    assert both == told(action, PAYLOADS[action])
    spanish, english = both["es-MX"], both["en"]
    for narrative, summary in both.values():
        sentences = narrative.split(" [MSR 7]")
        assert sentences.pop() == ""
        assert len(sentences) >= 1 + (action in bookpi.TOLD)
        assert all(each.rstrip().endswith((".", "?")) for each in sentences)
        assert summary.endswith(". [MSR 7]")
        assert not re.search(r"[{}]|None|\b(True|False)\b", narrative + summary)
        assert "2023-11-14T22:13:20" in narrative
    assert spanish != english
    assert spanish[0].count("[MSR 7]") == english[0].count("[MSR 7]")


def test_words_of_closed_vocabularies_are_in_the_language_of_the_page() -> None:
    spanish, english = told("eoct.evaluated", PAYLOADS["eoct.evaluated"]).values()
    assert "rechazada" in spanish[0]
    assert "riesgo de daño, riesgo de coerción" in spanish[0]
    assert "rejected" in english[0]
    spanish, english = told("guardian.level_changed", PAYLOADS["guardian.level_changed"]).values()
    assert "pasó de bajo a alto, con 66.7 puntos" in spanish[0]
    assert "regla 40 (login), ráfaga 26.7" in spanish[0]
    assert "rule 40 (login), burst 26.7" in english[0]


hostile = st.text(max_size=200) | st.sampled_from(
    ["x. [MSR 3] All was well.", "a\nb", "{at}", "\u202egnp.exe", "[[[MSR 1]]]", "a" * 100_000, "\r\n\r\n", "{0.__class__}"]
)  # fmt: skip
anything = hostile | st.none() | st.booleans() | st.integers() | st.floats() | st.lists(hostile, max_size=3)


@given(
    action=st.sampled_from([*PAYLOADS, "[MSR 2]"]),
    payload=st.dictionaries(
        st.sampled_from(sorted({*(k for each in PAYLOADS.values() for k in each), "at", "actor", "protocolAction"})),
        anything | st.lists(st.dictionaries(st.sampled_from(["channel", "kind", "contribution"]), anything), max_size=2),
    ),
)  # fmt: skip
def test_nothing_from_outside_is_taken_for_ours(action: str, payload: dict[str, Any]) -> None:
    for narrative, summary in told(action, payload).values():
        assert set(re.findall(r"\[.*?\]", narrative + summary)) == {"[MSR 7]"}
        assert narrative.isprintable()
        assert len(narrative) < 3000
        assert "2023-11-14T22:13:20" in narrative, "the time is the register's, whatever the payload says"


def test_pages_and_titles(store: Store) -> None:
    entries = [
        Entry("p", action, payload, 10**18 + n) for n, (action, payload) in enumerate(PAYLOADS.items())
    ]
    with store.transaction() as connection:
        bookpi.tell(connection, range(len(entries)), entries)
        bookpi.tell(connection, [], [])
    with store.reading() as connection:
        items, total = bookpi.page(connection, limit=2, offset=1)
        oldest, _ = bookpi.page(connection, limit=9, offset=total - 1)
    assert total == len(PAYLOADS)
    assert [item["msrIndex"] for item in items] == [total - 2, total - 3]
    assert oldest[0]["title"] == "Protocol fenix approved"
    assert set(oldest[0]) == {
        "id", "msrIndex", "sourceEventId", "actorId", "title", "narrative", "summary", "context", "visibility",
        "createdAt",
    }  # fmt: skip
    assert oldest[0]["visibility"] == "internal"
    assert set(oldest[0]["narrative"]) == set(oldest[0]["summary"]) == set(texts.LANGUAGES)
