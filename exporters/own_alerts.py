"""What Guardian says about its own delivery, as alerts: a sink that is held, that it works again, heartbeats.

Owns their fields and ids. Clearly marked: role ``target``, entities that begin with ``guardian:``, channel ``delivery``,
and in the place of the engine's configuration the word ``delivery``. A heartbeat is synthetic besides.
"""

from __future__ import annotations

import hashlib
from typing import Final

from exporters.alert import Activity, Alert
from guardian.levels import BAND_EDGES, Level

CHANNEL: Final = "delivery"
HELD, BEAT = "sink.held", "sink.heartbeat"
NO_EVENT: Final = -1


def held(sink: str, at: int) -> Alert:
    """A receiver refuses our credential or address: what is owed to it waits for a person."""
    return _alert(f"guardian:sink:{sink}", HELD, at, Level.NONE, Level.HIGH, "open")


def works_again(sink: str, at: int, finding: str) -> Alert:
    """The end of ``held``, whose id is ``finding``."""
    return _alert(f"guardian:sink:{sink}", HELD, at, Level.HIGH, Level.NONE, "resolved", finding=finding)


def heartbeat(sink: str, at: int) -> Alert:
    """A sign of life that goes the way of every alert, to be timed. The same for the same sink and moment."""
    return _alert(f"guardian:heartbeat:{sink}", BEAT, at, Level.NONE, Level.LOW, "open", synthetic=True)


def _alert(
    entity: str,
    kind: str,
    at: int,
    before: Level,
    after: Level,
    activity: Activity,
    *,
    finding: str = "",
    synthetic: bool = False,
) -> Alert:
    score = BAND_EDGES[after - 1] if after else 0.0
    digest = hashlib.sha256(f"{CHANNEL}\n{entity}\n{kind}\n{activity}\n{at}".encode()).hexdigest()
    return Alert(
        id=digest[:32],
        created_at=at,
        role="target",
        entity=entity,
        layer=-1,
        level_from=before,
        level_to=after,
        score=score,
        reasons=(
            {"channel": CHANNEL, "contribution": score, "kind": kind, "event": NO_EVENT, "without": 0.0},
        ),
        event=NO_EVENT,
        trace_id="",
        config=CHANNEL,
        synthetic=synthetic,
        finding=finding,
        activity=activity,
    )
