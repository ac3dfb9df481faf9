"""Fields of Sigma rules as columns: where the value of a field stands in EVENTS, and all values of a batch.

Owns the tables of names and the taking out. A field is a column of that name; else a member of ``attrs`` (dotted names are
places inside it) or, where the map of a log has turned that member into a column, the column. Only fields that some rule
reads are taken, and each distinct text once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from guardian.events import Outcome, Signal
from guardian.sigma.field_kernels import (
    BASIS,
    DEPTH,
    OCTETS,
    RECORDS,
    VALUES,
    Members,
    Paths,
    find_members,
)
from guardian.sigma.rule import ANY_TEXT

TEXT_COLUMNS: Final = ("kind", "source", "actor", "address", "target", "session")
"""Columns of names; ``body`` is one more field. An empty text is no value."""
CODED: Final = {
    "outcome": {int(each): each.name.lower() for each in Outcome},
    "signal": {int(each): each.name.lower() for each in Signal},
    "layer": {number: f"L{number}" for number in range(8)},
}
"""Columns of codes, and the words that rules use for them."""
NUMBERS: Final = ("severity", "value")
"""Columns of numbers; NaN is no value."""
COLUMNS: Final = frozenset((*TEXT_COLUMNS, "body", *CODED, *NUMBERS))

INSIDE: Final = ("", "event_data.", "winlog.event_data.", "Event.EventData.")
"""Objects in which collectors put the fields of Windows events."""

ALSO: Final[dict[str, tuple[str, ...]]] = {
    "Channel": ("winlog.channel", "log_name", "Event.System.Channel"),
    "Computer": ("Hostname", "ComputerName", "winlog.computer_name", "Event.System.Computer"),
    "EventID": ("EventId", "event_id", "winlog.event_id", "event.code", "Event.System.EventID"),
    "Image": ("NewProcessName",),
    "ParentImage": ("ParentProcessName",),
    "Provider_Name": (
        *("SourceName", "Provider", "ProviderName", "source_name", "winlog.provider_name"),
        "Event.System.Provider.Name",
    ),
}
"""Other places of a field, in their order."""

FROM_COLUMN: Final[dict[str, str]] = {
    **dict.fromkeys(("Channel", "Provider_Name", "service.name"), "source"),
    **dict.fromkeys(("EventID", "event.name"), "kind"),
    **dict.fromkeys(
        (
            *("User", "SourceUser", "SubjectUserName", "TargetUserName", "AccountName", "UserName"),
            *("user.id", "user.name", "user.email", "enduser.id"),
        ),
        "actor",
    ),
    **dict.fromkeys(
        (
            *("IpAddress", "SourceIp", "SourceAddress", "ClientAddress", "src_ip"),
            *("client.address", "client.ip", "source.address", "source.ip"),
        ),
        "address",
    ),
    **dict.fromkeys(("Computer", "ComputerName", "Hostname", "host.name", "server.address"), "target"),
    **dict.fromkeys(("ProcessGuid", "SourceProcessGUID", "SourceProcessGuid", "session.id"), "session"),
    **dict.fromkeys(("Message", "message"), "body"),
}
"""Columns that built-in maps make of a field, which then is gone from ``attrs``."""

_EVENT_ID: Final = r"(?:^|/)(?P<id>[0-9]+)$"
_MS: Final = "Microsoft-Windows-"
_EMPTY: Final = pa.scalar("")
_DERIVED: Final = ("EventID", "Provider_Name", "Channel")
"""Fields that have a column's text in another form."""

_Form = tuple[pa.Array, NDArray[np.int64], NDArray[np.int64]]
"""Distinct texts; rows that have one; which."""


@dataclass(frozen=True, slots=True)
class Values:
    """The values of some rows: distinct texts by field, and which of them each row has."""

    field: NDArray[np.int32]
    """(values,)"""
    texts: pa.StringArray
    at: NDArray[np.int64]
    """(rows + 1,): where the values of each row stand in ``value``."""
    value: NDArray[np.int32]


class Fields:
    """The fields that a set of rules reads, numbered in the order of their names."""

    def __init__(self, names: Sequence[str], hash_seed: int = 0) -> None:
        self.names = tuple(sorted(set(names)))
        self.number = {name: number for number, name in enumerate(self.names)}
        self._key0 = np.uint64(hash_seed ^ 0x5349_474D_41)  # "SIGMA"
        self._any = self.number.get(ANY_TEXT, -1)
        self._paths, self._fan = _paths(self.number)
        self._members = bool(self._fan) or self._any >= 0
        # A column is read for its own field, for fields that a map made it of, and for keywords.
        self._columns: list[tuple[str, str, bool]] = []
        for name in self.names:
            if name in COLUMNS:
                self._columns.append((name, name, False))
            elif name in FROM_COLUMN:
                self._columns.append((name, FROM_COLUMN[name], True))
        if self._any >= 0:
            self._columns += [(ANY_TEXT, column, False) for column in (*TEXT_COLUMNS, "body")]

    def values(self, batch: pa.RecordBatch) -> Values:
        """The values of a batch (as ``check_events`` returns it)."""
        rows = len(batch)
        members = self._found(batch.column("attrs")) if self._members else None
        known = 0
        forms: dict[tuple[str, str], list[_Form]] = {}
        fields: list[NDArray[np.int32]] = []
        texts: list[pa.Array] = []
        owners: list[NDArray[np.int64]] = []
        values: list[NDArray[np.int64]] = []
        if members is not None:
            field, found, owner, value = members
            known = len(field)
            fields.append(field)
            texts.append(found)
            owners.append(owner)
            values.append(value)
        for name, column, otherwise in self._columns:
            number = self.number[name]
            parts = self._forms(name, column, batch, forms)
            taken = np.zeros(rows, np.bool_)
            if otherwise and members is not None:
                field, _, owner, value = members
                taken[owner[field[value] == number]] = True
            for distinct, owner, value in parts:
                free = ~taken[owner]
                fields.append(np.full(len(distinct), number, np.int32))
                texts.append(distinct)
                owners.append(owner[free])
                values.append(value[free] + known)
                known += len(distinct)
        return _by_row(rows, fields, texts, owners, values)

    @staticmethod
    def _forms(
        name: str, column: str, batch: pa.RecordBatch, forms: dict[tuple[str, str], list[_Form]]
    ) -> list[_Form]:
        """The texts of a column as a field has them, made once a batch for all fields of the same form."""
        kind = name if name in _DERIVED else ""
        if (column, kind) not in forms:
            forms[column, kind] = _column_values(kind, column, batch)
        return forms[column, kind]

    def _found(
        self, attrs: pa.StringArray
    ) -> tuple[NDArray[np.int32], pa.StringArray, NDArray[np.int64], NDArray[np.int64]]:
        rows = len(attrs)
        _, offsets, data = attrs.buffers()
        starts = (
            np.frombuffer(offsets, np.int32)[attrs.offset : attrs.offset + rows + 1]
            if rows
            else np.zeros(1, np.int32)
        )
        octets = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        size = int(starts[-1] - starts[0])
        fan = self._fan + (self._any >= 0)
        records = fan * (size // 2 + 1)
        places = 1 << max(10, min(size // 16, 1 << 20).bit_length())
        found = Members(
            counts=np.zeros(3, np.int64),
            key=np.zeros(places, np.uint64),
            slot=np.empty(places, np.int32),
            field=np.empty(records, np.int32),
            end=np.empty(records + 1, np.int32),
            octets=np.empty(fan * size + 64, np.uint8),
            row=np.empty(records, np.int32),
            value=np.empty(records, np.int32),
            rank=np.empty(records, np.int32),
            seen=np.full(len(self.names), -1, np.int64),
            best=np.empty(len(self.names), np.int32),
        )
        found.end[0] = 0
        stack = np.zeros(DEPTH, np.int8), np.zeros(DEPTH, np.uint64), np.zeros(DEPTH, np.int8)
        find_members(starts, octets, self._any, self._key0, self._paths, *stack, found)
        count, kept = int(found.counts[VALUES]), int(found.counts[RECORDS])
        texts = pa.StringArray.from_buffers(
            count,
            pa.py_buffer(found.end[: count + 1]),
            pa.py_buffer(found.octets[: int(found.counts[OCTETS])]),
        )
        return (
            found.field[:count],
            texts,
            found.row[:kept].astype(np.int64),
            found.value[:kept].astype(np.int64),
        )


def places_of(name: str) -> tuple[str, ...]:
    """Where in ``attrs`` a field may stand, best first.

    >>> places_of("Image")[:3]
    ('Image', 'event_data.Image', 'winlog.event_data.Image')
    """
    return tuple(inside + each for each in (name, *ALSO.get(name, ())) for inside in INSIDE)


def path_hash(place: str) -> int:
    """The hash under which ``find_members`` looks for a place: FNV-1a of its bytes, keys joined by dots."""
    found = int(BASIS)
    for octet in place.encode():
        found = (found ^ octet) * 0x100000001B3 % 2**64
    return found


def _paths(number: dict[str, int]) -> tuple[Paths, int]:
    """The table of places, and the most fields that one place has."""
    targets: dict[int, list[tuple[int, int]]] = {}
    for name, field in number.items():
        if name != ANY_TEXT and name not in COLUMNS:
            for rank, place in enumerate(places_of(name)):
                targets.setdefault(path_hash(place), []).append((field, rank))
    size = 1 << max(4, (4 * len(targets)).bit_length())
    key, bucket = np.zeros(size, np.uint64), np.zeros(size, np.int32)
    for order, path in enumerate(targets):
        at = (path >> 17) & (size - 1)
        while key[at]:
            at = (at + 1) & (size - 1)
        key[at], bucket[at] = path, order
    flat = [pair for pairs in targets.values() for pair in pairs]
    ends = np.cumsum([0, *map(len, targets.values())], dtype=np.int32)
    made = Paths(
        key,
        bucket,
        ends,
        np.array([field for field, _ in flat], np.int32),
        np.array([rank for _, rank in flat], np.int32),
    )
    return made, max(map(len, targets.values()), default=0)


def _column_values(name: str, column: str, batch: pa.RecordBatch) -> list[_Form]:
    """Distinct texts of a column under a field, and for each row that has one, which; several where a name has two forms."""
    held = batch.column(column)
    if column == "body":
        said = _sizes(held) > 0
        if held.null_count:
            said &= held.is_valid().to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(said)
        return [(held.take(picks(rows)), rows, np.arange(len(rows)))]
    if column in NUMBERS:
        numbers = held.to_numpy()
        rows = np.flatnonzero(~np.isnan(numbers))
        distinct, codes = np.unique(numbers[rows], return_inverse=True)
        texts = pa.array([_written(each) for each in distinct.tolist()], pa.string())
        return [(texts, rows, codes.astype(np.int64))]
    if column in CODED:
        words = CODED[column]
        codes = held.to_numpy()
        rows = np.flatnonzero(np.isin(codes, list(words)))
        return [(pa.array(words.values(), pa.string()), rows, codes[rows].astype(np.int64) - min(words))]
    codes = held.indices.to_numpy()
    used = np.flatnonzero(np.bincount(codes, minlength=len(held.dictionary)))
    texts = held.dictionary.take(picks(used))
    place = np.zeros(len(held.dictionary), np.int64)
    place[used] = np.arange(len(used))
    forms = [texts]
    if name == "EventID":
        forms = [pc.struct_field(pc.extract_regex(texts, _EVENT_ID), "id")]
    elif name in ("Provider_Name", "Channel"):
        forms.append(pa.array([_MS + text if text else "" for text in texts.to_pylist()], pa.string()))
    made = []
    for form in forms:
        filled = pc.fill_null(form, _EMPTY) if form.null_count else form
        said = _sizes(filled) > 0
        at = place[codes]
        rows = np.flatnonzero(said[at]) if len(used) else np.zeros(0, np.int64)
        made.append((filled, rows, at[rows]))
    return made


def picks(rows: NDArray[Any]) -> pa.Int64Array:
    """Row numbers for ``take``. Through buffers: ``pa.array`` looks for pandas each time, 80 us where there is none."""
    rows = np.ascontiguousarray(rows, np.int64)
    return pa.Int64Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])


def _sizes(texts: pa.StringArray) -> NDArray[np.int32]:
    """Octets of each text."""
    if not len(texts):
        return np.zeros(0, np.int32)
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.diff(offsets)


def _written(number: float) -> str:
    return str(int(number)) if number.is_integer() and abs(number) < 2.0**53 else repr(number)


def _by_row(rows: int, fields: list[Any], texts: list[Any], owners: list[Any], values: list[Any]) -> Values:
    owner = np.concatenate([np.zeros(0, np.int64), *owners])
    value = np.concatenate([np.zeros(0, np.int64), *values])
    order = np.argsort(owner, kind="stable") if len(owners) > 1 else slice(None)
    at = np.zeros(rows + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=rows), out=at[1:])
    whole = pa.concat_arrays([pa.array([], pa.string()), *texts])
    return Values(
        field=np.concatenate([np.zeros(0, np.int32), *fields]),
        texts=whole,
        at=at,
        value=value[order].astype(np.int32),
    )
