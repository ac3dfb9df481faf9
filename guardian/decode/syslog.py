"""Syslog messages and plain lines to EVENTS.

Owns what a field of a message means and how a body of messages is told apart from others. Does not own the grammar
(``syslog_kernels``) nor the phrases about logins (``syslog_logins``).

Severity 0 (emergency) … 7 (debug) is severity 1.0 … 0.0 in equal steps. HOSTNAME is the target, or the peer's address
where none is stated; APP-NAME or TAG is the source, MSGID the kind; without one the kind is empty, and what was said
becomes one. ``attrs`` names what remains as the OpenTelemetry collector does: ``facility``, ``proc_id``,
``structured_data``, and ``network.peer.address`` of who sent it. A timestamp that cannot be (before 1990, or more than
a day ahead) is kept there as ``timestamp``, and the event happened when it came in.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from guardian.decode.columns import EARLIEST, MAX_RECORDS, Decoded, Rejects, batch_of, latest_for
from guardian.decode.syslog_frames import FRAMES, LINES, TEXT, gather, split
from guardian.decode.syslog_kernels import (
    ACTOR,
    ADDRESS,
    APP,
    DATA,
    FIELDS,
    HOST,
    MESSAGE,
    MSGID,
    PEER,
    PROC,
    TIME,
    parse,
)
from guardian.decode.syslog_logins import PHRASE_BYTES, PHRASE_ENDS, logins
from guardian.errors import BodyError

SYSLOG_ROUTE: Final = "/sources/syslog"
"""Path of these bodies in the journal. No public route has it."""
FRAMES_TYPE: Final = "application/vnd.guardian.syslog-frames"
r"""``LEN SP MSG`` again and again, each message exactly as received; ``@ADDRESS SP`` before those that a peer sent."""
LINES_TYPE: Final = "application/vnd.guardian.syslog-lines"
"""A syslog message a line, as daemons write files: often without a priority."""
TEXT_TYPE: Final = "text/plain"
"""A message a line, with a timestamp in front or without."""
_MODES: Final = {FRAMES_TYPE: FRAMES, LINES_TYPE: LINES, TEXT_TYPE: TEXT}

_FACILITIES: Final = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "audit", "alert", "clock", *(f"local{number}" for number in range(8))),
)
_FACILITY: Final = pa.array([f'"facility":"{name}"' for name in _FACILITIES])
# Made once: without pandas each pa.scalar costs 0.1 ms, because pyarrow looks for pandas on disk every time.
_NULL: Final = pa.scalar(None, pa.string())
_EMPTY, _COMMA, _QUOTE, _OPEN, _CLOSE = (pa.scalar(text) for text in ("", ",", '"', "{", "}"))
_PROC_ID, _TIMESTAMP, _PEER_ADDRESS = (
    pa.scalar(f'"{name}":"') for name in ("proc_id", "timestamp", "network.peer.address")
)
_ELEMENT: Final = re.compile(rb'\[([^ =\]"]+)((?: [^ =\]"]+="(?:[^"\\]|\\.)*")*)\]', re.DOTALL)
_PARAM: Final = re.compile(rb' ([^ =\]"]+)="((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE: Final = re.compile(rb'\\(["\\\]])')
_QUARTER: Final = 900 * 10**9
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  (a time whose zone is asked about)

_encode: Final = msgspec.json.Encoder().encode
Places = np.ndarray[Any, np.dtype[np.int32]]


def typed(kind: str, *, timezone: str = "UTC", service: str = "", host: str = "") -> str:
    """The content type of a body: one of the three above, the zone of times that state none, and the default speaker.

    >>> typed(TEXT_TYPE, timezone="America/Mexico_City", service="shop", host="web1")
    'text/plain; tz="America/Mexico_City"; service="shop"; host="web1"'
    """
    said = {"tz": timezone, "service": service, "host": host}
    return "; ".join([kind, *(f'{key}="{value}"' for key, value in said.items() if value)])


def decode_syslog(body: bytes, *, content_type: str, received_at: int) -> Decoded:
    """The events of a body of messages; ``content_type`` as ``typed`` writes it, ``received_at`` in ns since 1970.

    Every message is an event, however malformed; only one without any content is rejected.

    Raises:
        BodyError: 415 another content type; 400 frames that are none, or a zone that there is not; 413 more than
            MAX_RECORDS messages.
    """
    said = Message()
    said["Content-Type"] = content_type
    mode = _MODES.get(said.get_content_type())
    if mode is None or not content_type:
        raise BodyError(415, "content_type", f"expected Content-Type {' or '.join(_MODES)}")
    zone = _zone(_stated(said, "tz") or "UTC")
    data, places, repaired = _messages(body, mode)
    rejects = Rejects()
    full = places[0] < places[1]
    if not full.all():
        rejects.add_lines(np.flatnonzero(~full) + 1, "empty", "expected a message with content")
        places = np.ascontiguousarray(places[:, full])
    fields = _Fields(data, places, mode, received_at)
    batch = fields.batch(zone, _stated(said, "service"), _stated(said, "host"))
    return rejects.decoded(batch, repaired=repaired)


def _stated(said: Message, name: str) -> str:
    value = said.get_param(name, "")
    return value if isinstance(value, str) else ""


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BodyError(400, "unknown_zone", "expected a zone of the tz database") from None


def _messages(body: bytes, mode: int) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], Places, int]:
    """The bytes, where each message and its peer stand in them (4, n), and how many messages were not UTF-8."""
    data = np.frombuffer(body, np.uint8)
    found = np.zeros(2, np.int64)
    none = np.zeros(0, np.int32)
    split(data, mode, none, none, none, none, found)
    if found[1] >= 0:
        raise BodyError(400, "not_frames", f"expected LEN SP MSG at byte {found[1]}")
    if found[0] > MAX_RECORDS:
        raise BodyError(413, "too_many_records", f"expected at most {MAX_RECORDS} records in one body")
    places = np.zeros((4, int(found[0])), np.int32)
    split(data, mode, places[0], places[1], places[2], places[3], found)
    try:
        body.decode()
    except UnicodeDecodeError:
        return _repaired(body, places)
    return data, places, 0


def _repaired(body: bytes, places: Places) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], Places, int]:
    """The same messages with U+FFFD for what is not UTF-8. Fields end at ASCII, so none is cut within a character."""
    parts = bytearray()
    peers: dict[tuple[int, int], tuple[int, int]] = {}
    moved, repaired = np.zeros_like(places), 0
    for row, (begin, end, *peer) in enumerate(places.T.tolist()):
        message = body[begin:end]
        fixed = message.decode(errors="replace").encode()
        repaired += fixed != message
        moved[0, row] = len(parts)
        parts += fixed
        moved[1, row] = len(parts)
        key = (peer[0], peer[1])
        if key not in peers:
            peers[key] = (len(parts), len(parts) + peer[1] - peer[0]) if peer[1] else (0, 0)
            parts += body[peer[0] : peer[1]]
        moved[2:, row] = peers[key]
    return np.frombuffer(bytes(parts), np.uint8), moved, repaired


class _Fields:
    """The fields of n messages, as places in their bytes."""

    def __init__(
        self, data: np.ndarray[Any, np.dtype[np.uint8]], places: Places, mode: int, received_at: int
    ) -> None:
        count = places.shape[1]
        self._data = data
        self._received_at = received_at
        self._starts = np.zeros((FIELDS, count), np.int32)
        self._stops = np.zeros((FIELDS, count), np.int32)
        self._starts[PEER], self._stops[PEER] = places[2], places[3]
        self._ts = np.zeros(count, np.int64)
        self._priority = np.zeros(count, np.int64)
        self._local = np.zeros(count, np.int8)
        self._outcome = np.zeros(count, np.int8)
        year = datetime.fromtimestamp(received_at // 10**9, UTC).year
        options = np.array([mode, received_at, year], np.int64)
        where = (self._starts, self._stops)
        parse(data, places[0], places[1], options, *where, self._ts, self._priority, self._local)
        logins(data, self._priority, PHRASE_BYTES, PHRASE_ENDS, *where, self._outcome)

    def batch(self, zone: ZoneInfo, service: str, host: str) -> pa.RecordBatch:
        """EVENTS of them."""
        count = len(self._ts)
        late = self._times(zone)
        severity = np.where(self._priority < 0, np.nan, (7 - (self._priority & 7)) / 7.0)
        columns = {
            "ts": pa.array(self._ts).cast(pa.timestamp("ns", tz="UTC")),
            "source": self._names(APP, service),
            "kind": self._names(MSGID),
            "target": self._names(HOST, host),
            "actor": self._names(ACTOR),
            "address": self._names(ADDRESS),
            "outcome": pa.array(self._outcome),
            "severity": pa.array(severity),
            "body": _or_null(self._texts(MESSAGE)),
            "attrs": self._attrs(late),
        }
        return batch_of(count, columns)

    def _times(self, zone: ZoneInfo) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Put times into UTC; say which of those that were stated cannot be, and are now RECEIVED."""
        ts = self._ts
        local = (self._local == 1) & (ts > 0)
        if local.any() and zone.key != "UTC":
            quarters, row = np.unique(ts[local] // _QUARTER, return_inverse=True)
            table = [_offset_ns(zone, quarter) for quarter in quarters.tolist()]
            ts[local] -= np.array(table, np.int64)[row]
        impossible: np.ndarray[Any, np.dtype[np.bool_]] = (self._stops[TIME] > 0) & (
            (ts < EARLIEST) | (ts > latest_for(self._received_at))
        )
        ts[impossible] = self._received_at
        return impossible

    def _texts(self, field: int) -> pa.Array:
        """One field of all messages; empty where there is none."""
        start, stop = self._starts[field], self._stops[field]
        offsets = np.zeros(len(start) + 1, np.int32)
        out = np.zeros(int((stop - start).sum(dtype=np.int64)), np.uint8)
        gather(self._data, start, stop, offsets, out)
        return pa.Array.from_buffers(
            pa.string(), len(start), [None, pa.py_buffer(offsets), pa.py_buffer(out)]
        )

    def _names(self, field: int, otherwise: str = "") -> pa.Array:
        texts = self._texts(field)
        if otherwise:
            texts = pc.if_else(pc.equal(texts, _EMPTY), pa.scalar(otherwise), texts)
        return texts.dictionary_encode()

    def _attrs(self, late: np.ndarray[Any, np.dtype[np.bool_]]) -> pa.Array:
        """What became no column, as JSON; null where nothing remains."""
        parts = []
        if (self._priority >= 0).any():
            index = pa.array(self._priority >> 3, mask=self._priority < 0)
            parts.append(_FACILITY.take(index))
        if self._stops[PROC].any():
            parts.append(self._quoted(PROC, _PROC_ID))
        if late.any():
            parts.append(pc.if_else(pa.array(late), self._quoted(TIME, _TIMESTAMP), _NULL))
        if self._stops[DATA].any():
            parts.append(self._structured())
        if self._stops[PEER].any():
            parts.append(self._quoted(PEER, _PEER_ADDRESS))
        if not parts:
            return pa.nulls(len(self._ts), pa.string())
        # Not by null_handling="skip": it leaves out rows of nothing but nulls altogether (pyarrow 26).
        ended = [pc.fill_null(pc.binary_join_element_wise(part, _COMMA, _EMPTY), _EMPTY) for part in parts]
        members = pc.ascii_rtrim(pc.binary_join_element_wise(*ended, _EMPTY), ",")
        return pc.binary_join_element_wise(_OPEN, _or_null(members), _CLOSE, _EMPTY)

    def _quoted(self, field: int, opening: pa.Scalar) -> pa.Array:
        """A printable field as a member of a JSON object."""
        texts = self._texts(field)
        if pc.any(pc.match_substring_regex(texts, r'["\\]')).as_py():
            texts = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
        return pc.binary_join_element_wise(opening, _or_null(texts), _QUOTE, _EMPTY)

    def _structured(self) -> pa.Array:
        start, stop = self._starts[DATA].tolist(), self._stops[DATA].tolist()
        view = self._data.data
        texts = [
            b'"structured_data":' + _encode(_elements(bytes(view[a:b]))) if b else None
            for a, b in zip(start, stop, strict=True)
        ]
        return pa.array(texts, pa.string())


def _offset_ns(zone: ZoneInfo, quarter: int) -> int:
    """What local time is ahead of UTC in one quarter of an hour of it, in nanoseconds. No zone changes within one."""
    offset = (_EPOCH + timedelta(seconds=900 * quarter)).replace(tzinfo=zone).utcoffset()
    return round((offset or timedelta()).total_seconds()) * 10**9


def _or_null(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, _EMPTY), _NULL, texts)


def _elements(data: bytes) -> dict[str, dict[str, Any]]:
    r"""STRUCTURED-DATA, well-formed, as an object of objects; a parameter that comes again is a list.

    >>> _elements(rb'[a@1 b="1" b="\"2\]" c="d"][e]')
    {'a@1': {'b': ['1', '"2]'], 'c': 'd'}, 'e': {}}
    """
    elements: dict[str, dict[str, Any]] = {}
    for name, params in _ELEMENT.findall(data):
        element = elements.setdefault(name.decode(), {})
        for key, value in _PARAM.findall(params):
            text = _ESCAPE.sub(rb"\1", value).decode()
            word = key.decode()
            if word not in element:
                element[word] = text
            elif isinstance(element[word], list):
                element[word].append(text)
            else:
                element[word] = [element[word], text]
    return elements
