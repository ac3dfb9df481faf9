"""What a request for a silence must hold."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.decisions import silence
from guardian.decisions.silence import Channel, Silence
from guardian.errors import RequestError
from guardian.events import CHANNELS, CONTEXT

NOW = 1_800_000_000 * 10**9  # 2027-01-15T08:00:00Z
BODY = {"entity": "web-*", "reason": " deployment ", "endsAt": "2027-01-15T10:00:00Z"}


def decided(**more: Any) -> Silence:
    body = {key: value for key, value in (BODY | more).items() if value is not ...}
    return silence.decide(silence.request(body), record_id="s", actor_id="local", now=NOW)


def test_what_a_person_says_is_kept():
    assert decided() == Silence(
        id="s",
        role=None,
        entity="web-*",
        layer=None,
        channel=None,
        kind=None,
        level_at_most="critical",
        owner="local",
        reason="deployment",
        starts_at=NOW,
        ends_at=NOW + 7200 * 10**9,
        created_at=NOW,
    )
    full = decided(
        role="target",
        layer="L4",
        channel="rule",
        kind="scan",
        levelAtMost="high",
        owner="ana",
        startsAt="2027-01-15T09:00:00+00:00",
    )
    assert (full.role, full.layer, full.channel, full.kind) == ("target", "L4", "rule", "scan")
    assert (full.level_at_most, full.owner, full.starts_at) == ("high", "ana", NOW + 3600 * 10**9)
    assert decided(startsAt="2020-01-01T00:00:00Z").starts_at == NOW, "nobody is silenced in the past"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"entity": ...},
            "(body): expected at least one of role, entity, layer, channel, kind, got none of them",
        ),
        ({"entity": ""}, "entity: expected a name of 1 to 512 characters, where *"),
        ({"entity": "a" * 513}, "entity: expected a name of 1 to 512 characters"),
        ({"reason": ...}, "reason: expected text of 1 to 1000 characters"),
        ({"reason": " "}, "reason: expected text of 1 to 1000 characters"),
        ({"endsAt": ...}, "endsAt: expected a time in ISO 8601 with its zone"),
        ({"endsAt": "2027-01-15T10:00:00"}, "endsAt: expected a time in ISO 8601 with its zone"),
        ({"endsAt": "2027-01-15T08:00:00Z"}, "endsAt: expected a time after 2027-01-15T08:00:00.000Z"),
        ({"endsAt": "2028-01-17T08:00:00Z"}, "and at most 366 days later"),
        ({"endsAt": "9999-12-31T23:59:59Z"}, "and at most 366 days later"),
        ({"startsAt": "9999-01-01T00:00:00Z"}, "endsAt: expected a time after"),
        ({"role": "host"}, "role: expected one of actor, address, target, session"),
        ({"layer": "L9"}, "layer: expected one of L0"),
        ({"channel": "noise"}, "channel: expected one of novelty"),
        ({"kind": "*"}, "kind: expected the name of one kind"),
        ({"levelAtMost": "loud"}, "levelAtMost: expected one of none, low"),
        ({"owner": "a\nb"}, "owner: expected a name"),
        ({"until": 3}, "until: expected one of role, entity"),
    ],
)
def test_what_is_wrong_is_told_by_key_path(more: dict[str, Any], said: str):
    with pytest.raises(RequestError) as refusal:
        decided(**more)
    assert said in str(refusal.value)


def test_every_channel_can_be_silenced():
    assert set(get_args(Channel)) == {*CHANNELS, CONTEXT, "delivery"}


anything = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.lists(st.integers(), max_size=2)
)
keys = st.sampled_from(
    ["role", "entity", "layer", "channel", "kind", "levelAtMost", "owner", "reason", "startsAt", "endsAt"]
)


@given(st.dictionaries(keys, anything | st.sampled_from(["L1", "2027-02-01T00:00:00Z", "actor", "high"])))
def test_anything_is_read_or_refused(body: dict[str, Any]):
    try:
        made = silence.decide(silence.request(body), record_id="s", actor_id="local", now=NOW)
    except RequestError:
        return
    assert NOW <= made.starts_at < made.ends_at
    assert made.reason.strip()
