import math
from typing import Any

import pyarrow as pa
import pytest

from guardian.config import Eoct
from guardian.decisions import eoct, isabella, protocols
from guardian.decisions.events import as_events
from guardian.events import EVENTS, check_events

NOW = 1_767_225_600_123_456_789
EVENT_ID = "0190a5f0-0000-7000-8000-000000000001"
MARKER = "marker-7f3a"


def protocol(**more: Any) -> Any:
    body = {"protocolId": "hoyo-negro", "action": MARKER, "layer": "L5", "purpose": MARKER, **more}
    return protocols.evaluate(
        protocols.request(body), event_id=EVENT_ID, actor_id="ana", now=NOW, settings=Eoct()
    ).event


def ethics(**more: Any) -> Any:
    body = {"subjectType": "user", "signals": {"harmRisk": 1}, "notes": MARKER, **more}
    return eoct.evaluate(eoct.request(body), record_id="e1", actor_id=None, now=NOW, settings=Eoct())


def recommendation(**more: Any) -> Any:
    body = {"prompt": MARKER, "response": MARKER, "verb": "deny", **more}
    return isabella.decide(isabella.request(body), record_id="i1", actor_id="ana", now=NOW)


def rows(*records: Any) -> list[dict[str, Any]]:
    batch = as_events(records, address="192.0.2.7")
    assert check_events(batch).schema.equals(EVENTS)
    return batch.cast(
        pa.schema([f.with_type(pa.int64()) if f.name == "ts" else f for f in EVENTS])
    ).to_pylist()


def test_a_protocol_evaluation():
    (row,) = rows(protocol(payload={"coercive": True}))
    assert {key: row[key] for key in row if key not in {"value", "attrs"}} == {
        "ts": NOW,
        "signal": 3,
        "layer": 5,
        "source": "protocols",
        "kind": "protocol.hoyo-negro.rejected",
        "actor": "ana",
        "address": "192.0.2.7",
        "target": "protocol:hoyo-negro",
        "session": "",
        "outcome": 3,
        "severity": 0.75,
        "trace_id": bytes(16),
        "span_id": bytes(8),
        "body": None,
    }
    assert math.isnan(row["value"])
    assert row["attrs"] == f'{{"id":"{EVENT_ID}","reasons":["coercion_not_allowed"]}}'


def test_an_eoct_evaluation():
    row, named = rows(ethics(), ethics(subjectId="u-1"))
    assert (row["source"], row["kind"], row["layer"]) == ("eoct", "eoct.review", 2)
    assert (row["actor"], row["target"], named["target"]) == ("", "", "user:u-1")
    assert (row["outcome"], row["severity"], row["value"]) == (0, 0.5, 0.25)


@pytest.mark.parametrize(
    ("verb", "outcome", "word"), [("allow", 1, "approved"), ("x", 0, "review"), ("deny", 3, "rejected")]
)
def test_a_decision_of_isabella(verb: str, outcome: int, word: str):
    (row,) = rows(recommendation(verb=verb, ethicsScore=0.3))
    assert (row["source"], row["kind"]) == ("isabella", f"isabella.isabella.{word}")
    assert (row["target"], row["outcome"], row["value"]) == ("protocol:isabella", outcome, 0.3)
    assert math.isnan(row["severity"])
    assert math.isnan(rows(recommendation())[0]["value"])


def test_no_free_text_of_a_request_gets_in():
    assert MARKER not in str(rows(protocol(metadata={"m": MARKER}), ethics(), recommendation()))


def test_no_records_are_an_empty_batch():
    assert check_events(as_events([])).num_rows == 0
