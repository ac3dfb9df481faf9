"""Dead letters: what a sink will not be sent any more, for a person to look at, correct, send again or give up.

Owns reading and changing them. Each change is one transaction with its entry in the register (MSR), which names the
sink, the alert, what was done and a commitment of who did it; never what the alert says. Does not own how a row became
a dead letter (``exporters.delivery``).

A letter that is given up counts as suppressed from then on: it leaves this list, not the counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from exporters.alert import Alert
from exporters.alert_rows import alert_of, alerts, cut
from exporters.msr.log import Entry
from exporters.outbox import DEAD, DROPPED, PENDING, SUPPRESSED, count, outbox
from exporters.pseudonyms import Pseudonyms
from exporters.register import Register
from exporters.store import Store
from guardian.decisions.record import iso
from guardian.errors import InputError

EDITED, REPLAYED, DROPPED_ACTION = "delivery.edited", "delivery.replayed", "delivery.dropped"
"""What each change is called in the register."""

MOST_BODY: Final = 2**20
"""Bytes of a corrected message."""

_c: Final = outbox.c
_QUERY: Final = (
    sa.select(
        _c.seq,
        _c.sink,
        _c.changed_at,
        _c.reason,
        _c.last_error,
        _c.attempts,
        _c.history,
        _c.body,
        _c.edited,
        alerts,
    )
    .join(alerts, _c.alert_id == alerts.c.id)
    .where(_c.state == DEAD)
)
"""A heartbeat that died is none: it has no alert, and the next one takes its place."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One alert that one sink will not be sent any more."""

    seq: int
    sink: str
    since: int
    """Nanoseconds since 1970."""
    reason: str
    """``refused``, ``not_rendered`` or ``expired``."""
    said: str
    """By the receiver, at last."""
    attempts: int
    history: tuple[dict[str, Any], ...]
    """The first attempt and the last ones that failed: when, what became of it, what the receiver said."""
    body: bytes | None
    """What was refused, or what a person put in its place."""
    edited: bool
    alert: Alert

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return {
            "sink": self.sink,
            "alertId": self.alert.id,
            "since": iso(self.since),
            "reason": self.reason,
            "said": self.said,
            "attempts": self.attempts,
            "history": [each | {"at": iso(each["at"])} for each in self.history],
            "body": None if self.body is None else self.body.decode("utf-8", "replace"),
            "edited": self.edited,
            "alert": self.alert.to_json(),
        }


class DeadLetters:
    """The dead letters of one instance."""

    def __init__(
        self,
        store: Store,
        register: Register,
        pseudonyms: Pseudonyms,
        *,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store = store
        self._register = register
        self._pseudonyms = pseudonyms
        self._clock = clock

    def page(self, sink: str | None = None, *, limit: int, offset: int) -> tuple[list[DeadLetter], int]:
        """Dead letters in the order in which they were accepted, of one sink or of all; and how many there are."""
        query = _QUERY if sink is None else _QUERY.where(_c.sink == sink)
        with self._store.reading() as connection:
            total = connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
            rows = connection.execute(query.order_by(_c.sink, _c.seq).limit(limit).offset(offset)).all()
        return [_letter(row) for row in rows], total

    def letter(self, sink: str, alert_id: str) -> DeadLetter:
        """One dead letter; the beginning of an id is enough where there is only one with it.

        Raises:
            InputError: there is none, or more than one.
        """
        with self._store.reading() as connection:
            return self._one(connection, sink, alert_id)

    def edit(self, sink: str, alert_id: str, body: bytes, *, by: str) -> int:
        """Put another message in the place of the one that was refused; ``replay`` sends it under the same id.

        Args:
            sink: whose dead letter it is.
            alert_id: of the alert, or the beginning of it.
            body: the message, in the sink's form.
            by: who does this; the register gets a commitment.

        Returns:
            The index of the register entry.

        Raises:
            InputError: there is no such letter, or the message cannot be one.
        """
        body = body.rstrip(b"\r\n")
        if not 0 < len(body) <= MOST_BODY:
            raise InputError("message", f"expected 1 to {MOST_BODY} bytes, got {len(body)}")
        with self._store.transaction() as connection:
            letter = self._one(connection, sink, alert_id)
            if letter.body is not None and _is_json(letter.body) and not _is_json(body):
                raise InputError("message", "expected JSON, as the message that was refused")
            connection.execute(outbox.update().where(_c.seq == letter.seq).values(body=body, edited=True))
            told = {"bodyCommitment": self._pseudonyms.of(body.decode("utf-8", "backslashreplace"))}
            (index,) = self._write(connection, EDITED, [letter], by, told)
        return index

    def replay(self, sink: str, alert_ids: Sequence[str] | None, *, by: str) -> list[int]:
        """Owe alerts to their sink again, edited ones as they were edited, others rendered anew.

        Args:
            sink: whose dead letters they are.
            alert_ids: of the alerts, or beginnings of them; None = all of this sink.
            by: who does this; the register gets a commitment.

        Returns:
            The indices of the register entries, one a letter.

        Raises:
            InputError: one of them is no dead letter; nothing was changed.
        """
        now = self._clock()
        with self._store.transaction() as connection:
            letters = self._chosen(connection, sink, alert_ids)
            kept = sa.case((_c.edited, _c.body), else_=None)
            values = {"state": PENDING, "reason": "", "next_attempt_at": 0, "accepted_at": now, "body": kept}
            self._move(connection, sink, letters, PENDING, values | {"changed_at": now})
            return self._write(connection, REPLAYED, letters, by)

    def drop(self, sink: str, alert_ids: Sequence[str] | None, *, reason: str, by: str) -> list[int]:
        """Give alerts up for this sink, for a reason that is kept with them and committed to in the register.

        Raises:
            InputError: one of them is no dead letter, or there is no reason; nothing was changed.
        """
        if not reason.strip():
            raise InputError("--reason", "expected words that say why")
        now = self._clock()
        with self._store.transaction() as connection:
            letters = self._chosen(connection, sink, alert_ids)
            values = {
                "state": SUPPRESSED,
                "reason": DROPPED,
                "last_error": reason,
                "body": None,
                "edited": False,
            }
            self._move(connection, sink, letters, SUPPRESSED, values | {"changed_at": now})
            told = {"reasonCommitment": self._pseudonyms.of(reason)}
            return self._write(connection, DROPPED_ACTION, letters, by, told)

    def _one(self, connection: sa.Connection, sink: str, alert_id: str) -> DeadLetter:
        beginning = sa.func.substr(_c.alert_id, 1, len(alert_id)) == alert_id
        found = connection.execute(_QUERY.where(_c.sink == sink, beginning).limit(2)).all()
        if len(found) == 2:
            raise InputError(f"{sink} {alert_id}", "several dead letters begin so; give more of the id")
        if not found or not alert_id:
            raise InputError(f"{sink} {alert_id}", "there is no such dead letter")
        return _letter(found[0])

    def _chosen(
        self, connection: sa.Connection, sink: str, alert_ids: Sequence[str] | None
    ) -> list[DeadLetter]:
        if alert_ids is None:
            return list(map(_letter, connection.execute(_QUERY.where(_c.sink == sink).order_by(_c.seq))))
        found = {letter.seq: letter for letter in (self._one(connection, sink, each) for each in alert_ids)}
        return [found[seq] for seq in sorted(found)]

    def _move(
        self,
        connection: sa.Connection,
        sink: str,
        letters: Sequence[DeadLetter],
        state: str,
        values: dict[str, Any],
    ) -> None:
        for seqs in cut(letter.seq for letter in letters):
            connection.execute(outbox.update().where(_c.seq.in_(seqs)).values(values))
        count(connection, sink, {DEAD: -len(letters), state: len(letters)})

    def _write(
        self,
        connection: sa.Connection,
        action: str,
        letters: Sequence[DeadLetter],
        by: str,
        told: dict[str, Any] | None = None,
    ) -> list[int]:
        actor, now = self._pseudonyms.of(by), self._clock()
        payloads = [
            {"sink": each.sink, "alertId": each.alert.id, "reason": each.reason, **(told or {})}
            for each in letters
        ]
        return self._register.write(connection, [Entry(actor, action, payload, now) for payload in payloads])


def _letter(row: Sequence[Any]) -> DeadLetter:
    seq, sink, since, reason, said, attempts, history, body, edited, *alert = row
    told = tuple(msgspec.json.decode(history))
    return DeadLetter(seq, sink, since, reason, said, attempts, told, body, bool(edited), alert_of(alert))


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
