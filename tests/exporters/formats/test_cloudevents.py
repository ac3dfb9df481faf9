"""CloudEvents 1.0: required attributes, their types, and the finding inside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from hypothesis import given

from exporters.alert import Alert
from exporters.formats import About, cloudevents, ocsf
from tests.twins_forms import HOSTILE, alerts

NAME = re.compile(r"[a-z0-9]{1,20}\Z")
"""Attribute names: lower-case letters and digits, 20 at most (section 3.1)."""


def test_golden(
    step: str, steps: dict[str, Alert], about: About, golden: Callable[[str, bytes], None]
) -> None:
    golden(f"cloudevents.{step}.json", cloudevents.render(steps[step], about))


@given(alert=alerts(), host=HOSTILE)
def test_an_event_is_what_the_specification_asks(alert: Alert, host: str) -> None:
    about = About("en", "1", host)
    told = json.loads(cloudevents.render(alert, about))
    assert told["specversion"] == "1.0"
    assert (told["id"], told["subject"]) == (alert.id, alert.identity)
    assert re.fullmatch(r"urn:tamv-guardian:[!-~]*", told["source"])
    assert urlsplit(told["dataschema"]).scheme == "https"
    moment = datetime.fromisoformat(told["time"])
    assert round(moment.timestamp() * 1000) == alert.created_at // 10**6
    assert moment.utcoffset() == timedelta(0)
    assert told["datacontenttype"] == "application/json"
    assert all(NAME.match(name) for name in told)
    assert told["data"] == json.loads(ocsf.render(alert, about))


def test_the_type_tells_the_step(steps: dict[str, Alert], about: About) -> None:
    types = [cloudevents.event(steps[step], about)["type"] for step in ("open", "update", "resolved")]
    assert [each.rpartition(".")[2] for each in types] == ["opened", "updated", "resolved"]
    assert len({each.rpartition(".")[0] for each in types}) == 1
