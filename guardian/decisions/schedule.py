"""Acknowledgements of a replay: what is to be acknowledged from which event time on, read from a file or from Python.

Owns the form ``[[acknowledged]]`` and the moment at which each takes effect: before the first event whose time has come.
They are hypotheses of an analyst: nobody decided them, so they are kept and registered nowhere.
"""

from __future__ import annotations

import tomllib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from msgspec import Meta, Struct

from guardian.decisions.acknowledgement import Acknowledging, Entity, Kind, apply, nanoseconds
from guardian.decisions.record import Acknowledgement, RoleName
from guardian.decisions.request import decode
from guardian.errors import InputError, Problem, RequestError

BEGINNING: Final = -(2**63)
"""The moment of what takes effect before every event."""

_EARLIEST: Final = datetime(1678, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2262, 1, 1, tzinfo=UTC)
"""What 64 bits of nanoseconds can say."""

_A_TIME: Final = "a time such as 2026-01-31T18:00:00Z, from 1678 to 2261"

Moment = Annotated[datetime, Meta(tz=True, description=_A_TIME)]
Given = Sequence[Mapping[str, Any]] | str | Path
"""Tables as in the file, or the path of one."""

VerdictT_co = TypeVar("VerdictT_co", covariant=True)


class Scheduled(Acknowledging, Protocol[VerdictT_co]):
    """An engine that can be fed and told what is acknowledged."""

    def feed(self, batch: pa.RecordBatch) -> VerdictT_co:
        """Score a batch of EVENTS."""
        ...


class _Table(Struct, frozen=True, kw_only=True, rename={"since": "from"}, forbid_unknown_fields=True):
    role: RoleName
    entity: Entity
    kind: Kind
    until: Moment | None = None
    since: Moment | None = None


def acknowledged(given: Given) -> tuple[Acknowledgement, ...]:
    """What is to be acknowledged; a time without zone is UTC, and without ``from`` it holds from the beginning.

    Raises:
        InputError: the file cannot be read, or says something unusable; every problem is listed.

    >>> [each.until for each in acknowledged([{"role": "target", "entity": "mail", "kind": "backup"}])]
    [None]
    """
    place = "acknowledged" if not isinstance(given, str | Path) else str(given)
    tables = _read(given) if isinstance(given, str | Path) else given
    records: list[Acknowledgement] = []
    problems: list[str] = []
    for number, table in enumerate(tables):
        try:
            records.append(_record({key: _aware(value) for key, value in table.items()}, number))
        except RequestError as error:
            problems += [f"acknowledged[{number}].{problem}" for problem in error.problems]
    if problems:
        raise InputError(place, "; ".join(problems))
    return tuple(records)


class Schedule:
    """Acknowledgements on their way to one engine."""

    def __init__(self, records: Sequence[Acknowledgement]) -> None:
        self._due = deque(sorted(records, key=lambda record: record.created_at))
        self._newest = BEGINNING

    def feed(self, engine: Scheduled[VerdictT_co], batch: pa.RecordBatch) -> Iterator[VerdictT_co]:
        """Feed a batch, cut where an acknowledgement takes effect; a verdict for each piece."""
        start = 0
        if self._due and len(batch):
            ts = batch.column("ts").cast(pa.int64()).to_numpy()
            reached = np.maximum(np.maximum.accumulate(ts), self._newest)
            self._newest = int(reached[-1])
            while self._due and self._due[0].created_at <= self._newest:
                stop = int(np.searchsorted(reached, self._due[0].created_at))
                if stop > start:
                    yield engine.feed(batch.slice(start, stop - start))
                    start = stop
                apply(self._due.popleft(), engine)
        yield engine.feed(batch.slice(start))


def _record(table: dict[str, Any], number: int) -> Acknowledgement:
    read = decode(_Table, table)
    problems = [
        Problem(key, _A_TIME, f"the year {value.year}")
        for key, value in (("until", read.until), ("from", read.since))
        if value is not None and not _EARLIEST <= value < _LATEST
    ]
    if read.until is not None and read.since is not None and read.until <= read.since:
        problems.append(Problem("until", "a time after from", "one that is not"))
    if problems:
        raise RequestError(problems)
    return Acknowledgement(
        id=str(number),
        actor_id="",
        role=read.role,
        entity=read.entity,
        kind=read.kind,
        action="acknowledge",
        until=None if read.until is None else nanoseconds(read.until),
        reason="",
        created_at=BEGINNING if read.since is None else nanoseconds(read.since),
    )


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def _read(path: str | Path) -> list[dict[str, Any]]:
    try:
        tree = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(str(path), "expected UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(str(path), f"expected TOML: {error}") from None
    tables = tree.get("acknowledged")
    if set(tree) != {"acknowledged"} or not isinstance(tables, list):
        raise InputError(str(path), "expected tables [[acknowledged]] and nothing else")
    if not all(isinstance(table, dict) for table in tables):
        raise InputError(str(path), "expected tables [[acknowledged]] and nothing else")
    return tables
