"""How a sink stands: whether its receiver takes what it is sent, since when not, and when it is tried again.

Owns pauses, the circuit breaker and its table; all of it survives a restart, so that a receiver that is down is not
asked anew by every start. Pure: what happened and the time go in, the next standing comes out.

Closed: batches as configured. After ``BREAK_AFTER`` failures in a row, or a credential that does not work, it is open:
nothing is sent before the pause ends. Then it is half-open: ONE alert is sent. Once that is taken, batches double from
there, so that a receiver that has just come back is not flooded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from exporters.store import metadata

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 60.0
LONGEST_ASKED_S: Final = 3600.0
"""Longest ``Retry-After`` that is followed; a wait beyond it can only be a mistake, or a wall clock that was set back."""
PARKED_WAIT_S: Final = 30.0
LEAST_WAIT_S: Final = 0.01
BREAK_AFTER: Final = 3
MOST_SAID: Final = 500

Breaker = Literal["closed", "half-open", "open"]

standings: Final = sa.Table(
    "sink_standings",
    metadata,
    sa.Column("sink", sa.Text, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("refusing_since", sa.BigInteger, nullable=False),
    sa.Column("pause_until", sa.BigInteger, nullable=False),
    sa.Column("held", sa.Boolean, nullable=False),
    sa.Column("said", sa.Text, nullable=False),
    sa.Column("told", sa.Text, nullable=False),
    sa.Column("told_at", sa.BigInteger, nullable=False),
    sa.Column("beat_at", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """One sink. Times in nanoseconds since 1970; 0 = never."""

    failures: int = 0
    """Attempts in a row that the receiver took nothing of."""
    refusing_since: int = 0
    """When the first of them was made."""
    pause_until: int = 0
    held: bool = False
    """It waits for another credential or address."""
    said: str = ""
    """What the receiver answered last, while it refuses."""
    told: str = ""
    """Id of the alert that tells of the hold, until its end is told too."""
    told_at: int = 0
    beat_at: int = 0
    """When the last heartbeat was sent on its way."""

    def pause_s(self, now: int) -> float:
        """Seconds until something may be sent; 0 = now."""
        pause = (self.pause_until - now) / 1e9
        return pause if 0.0 < pause <= LONGEST_ASKED_S else 0.0

    def probing(self) -> bool:
        """Whether the next attempt is with one alert only."""
        return self.held or self.failures >= BREAK_AFTER

    def breaker(self, now: int) -> Breaker:
        """The state of the circuit breaker."""
        if not self.probing():
            return "closed"
        return "open" if self.pause_s(now) else "half-open"

    def refused(self, now: int, said: str, *, wait_s: float, held: bool) -> Standing:
        """After an attempt that the receiver took nothing of."""
        return replace(
            self,
            failures=min(self.failures + 1, 1000),
            refusing_since=self.refusing_since or now,
            pause_until=now + int(wait_s * 1e9),
            held=held,
            said=said[:MOST_SAID],
        )

    def taken(self, now: int, *, wait_s: float = 0.0, held: bool = False, said: str = "") -> Standing:
        """After an attempt that it took something of; with a pause where it asked for one about the rest."""
        return replace(
            self,
            failures=0,
            refusing_since=0,
            pause_until=now + int(wait_s * 1e9) if wait_s else 0,
            held=held,
            said=said[:MOST_SAID],
        )


def backoff_s(failures: int, jitter: float) -> float:
    """Seconds before the next attempt, after so many failures in a row before this one.

    Source: Brooker 2015, Exponential Backoff And Jitter: full jitter, anything from nearly nothing to the ceiling.
    Difference: never less than ``LEAST_WAIT_S``.

    >>> backoff_s(0, 1.0), backoff_s(3, 1.0), backoff_s(500, 0.5)
    (0.5, 4.0, 30.0)
    """
    ceiling = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures, 16))
    return max(LEAST_WAIT_S, jitter * ceiling)


def standing_of(connection: sa.Connection, sink: str) -> Standing:
    """How a sink stands; a new one has no failures."""
    row = connection.execute(sa.select(standings).where(standings.c.sink == sink)).mappings().first()
    return Standing() if row is None else Standing(**{k: v for k, v in row.items() if k != "sink"})


def keep_standing(connection: sa.Connection, sink: str, standing: Standing) -> None:
    """Store how a sink stands, in the caller's transaction."""
    values = asdict(standing)
    statement = insert(standings).values(sink=sink, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["sink"], set_=values))
