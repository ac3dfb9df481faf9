"""From records as the walk left them to columns: who, where, how it ended, and every distinct name once.

Owns the loop that gives a record's attributes their meaning, to the letter as ``otlp`` specifies it. Knows nothing of
protobuf: it reads ``otlp_layout.Walk``, and takes what became a column off the walk's tape. As the walk, it leaves what is rare
(a name that is a fraction, a status in words) to the slow decoder.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from guardian.decode import conventions, times
from guardian.decode import otlp_keys as names
from guardian.decode import otlp_layout as to
from guardian.decode.columns import EARLIEST
from guardian.decode.draft import MAX_NAME
from guardian.events import Outcome
from scoring.compilation import F8, I8, IN_U1, array, jit, kernel, named, types

I1, I4, U1 = types.int8, types.int32, types.uint8
WALK_TYPE: Final = named(to.Walk, *(array(I8, dimensions) for dimensions in (1, 2, 2, 2, 1, 1, 1)))
COLUMNS_TYPE: Final = named(
    to.Columns,
    *(array(kind) for kind in (I8, I1, I1, I1, F8, F8)),
    *(array(kind, 2) for kind in (I4, U1, U1)),
    array(I8),
    array(I8),
)
INTERNED_TYPE: Final = named(to.Interned, array(I8), array(I8), array(I4, 2), array(U1))

UNKNOWN, SUCCESS, FAILURE, DENIED = (int(each) for each in Outcome)
SERVER, CONSUMER = conventions.SERVER_KINDS
NOT_PERMITTED, UNAUTHENTICATED = conventions.GRPC_DENIED
STATUS_OK, STATUS_ERROR = conventions.STATUS_OK, conventions.STATUS_ERROR
GOOD, MISSING, OUT_OF_RANGE = times.GOOD, times.MISSING, times.OUT_OF_RANGE
NOWHERE: Final = -2
"""Outcome of what the slow decoder is to decide."""

# -- texts -----------------------------------------------------------------------------------------------------------


@jit
def _known(body: Any, start: Any, stop: Any) -> Any:
    """Number of the name among those that mean something, or −1 (``otlp_keys.place``)."""
    length = stop - start
    if length == 0:
        return -1
    mixed = length + (np.int64(body[start]) << 6) + (np.int64(body[start + length // 3]) << 14)
    mixed += (np.int64(body[start + length // 2]) << 22) + (np.int64(body[stop - 1]) << 30)
    found = names.SLOTS[((mixed * names.FACTOR) >> 34) & 1023]
    if found < 0:
        return -1
    first = names.KEY_STARTS[found]
    if names.KEY_STARTS[found + 1] - first != length:
        return -1
    key, text = (
        np.uint64(first),
        np.uint64(start),
    )  # unsigned: signed places are checked for counting from the end
    for i in range(np.uint64(length)):
        if names.KEY_DATA[key + i] != body[text + i]:
            return -1
    return found


@jit
def _word_number(body: Any, start: Any, stop: Any, data: Any, starts: Any, numbers: Any) -> Any:
    """The number of the word that a text is, whatever its case; 0 = none of them."""
    for word in range(numbers.shape[0]):
        first = starts[word]
        if starts[word + 1] - first == stop - start:
            same = 0
            while same < stop - start and _lower(body[start + same]) == data[first + same]:
                same += 1
            if same == stop - start:
                return numbers[word]
    return 0


@jit
def _lower(octet: Any) -> Any:
    return octet + 32 if 0x41 <= octet <= 0x5A else octet


@jit
def _is_blank(body: Any, start: Any, stop: Any) -> Any:
    """1 = nothing but white space, 0 = more than that, −1 = perhaps: other scripts have white space of their own."""
    doubt = 0
    for i in range(start, stop):
        octet = body[i]
        if octet < 0x80:
            if not (0x09 <= octet <= 0x0D or 0x1C <= octet <= 0x20):
                return 0
        elif octet >= 0xC0:  # C2 85, C2 A0, E1 9A 80, E2 80 80 … E2 81 9F, E3 80 80
            after = body[i + 1] if i + 1 < stop else np.uint8(0)
            if octet == 0xC2:
                doubtful = after in (0x85, 0xA0)
            elif octet == 0xE1:
                doubtful = after == 0x9A
            elif octet == 0xE2:
                doubtful = after in (0x80, 0x81)
            else:
                doubtful = octet == 0xE3 and after == 0x80
            if not doubtful:
                return 0
            doubt = 1
    return -1 if doubt else 1


@jit
def _put(source: Any, start: Any, stop: Any, at: Any, interned: Any) -> Any:
    """Copy bytes behind the texts of the names; where the copy ends, −1 = no room."""
    if at < 0 or at + stop - start + 8 > interned.text.shape[0]:
        return -1
    first, to_first = np.uint64(start), np.uint64(at)
    for i in range(np.uint64(stop - start)):
        interned.text[to_first + i] = source[first + i]
    return at + stop - start


@jit
def _put_fixed(which: Any, at: Any, interned: Any) -> Any:
    return _put(names.FIXED_DATA, names.FIXED_STARTS[which], names.FIXED_STARTS[which + 1], at, interned)


@jit
def _put_value(body: Any, kind: Any, start: Any, end: Any, at: Any, interned: Any) -> Any:
    """As ``_put``, a text, truth value or integer as JSON writes it."""
    if kind == to.STRING:
        return _put(body, start, end, at, interned)
    if kind == to.BOOL:
        return _put_fixed(names.TRUE if end != 0 else names.FALSE, at, interned)
    if at < 0 or at + 28 > interned.text.shape[0]:
        return -1
    number = np.uint64(end)
    if end < 0:
        number = ~number + np.uint64(1)
        interned.text[at] = 0x2D  # -
        at += 1
    width, rest = 1, number // np.uint64(10)
    while rest > np.uint64(0):
        width += 1
        rest //= np.uint64(10)
    for i in range(width - 1, -1, -1):
        interned.text[at + i] = np.uint8(0x30) + np.uint8(number % np.uint64(10))
        number //= np.uint64(10)
    return at + width


@jit
def _eight(text: Any, at: Any) -> Any:
    value = np.uint64(0)
    for i in range(np.uint64(8)):
        value |= np.uint64(text[at + i]) << (np.uint64(8) * i)
    return value


@jit
def _code(column: Any, end: Any, interned: Any) -> Any:
    """Number of the name that stands behind the texts up to ``end`` among its column's; −1 when it is not to be found.

    ``text`` has eight bytes to spare behind every end, so that words can be read whole.
    """
    meta, text, entries = interned.meta, interned.text, interned.entries
    start, used = meta[to.TEXT_USED], meta[to.NAMES_USED]
    if end < 0 or 4 * used >= 3 * interned.places.shape[0]:
        meta[to.NO_ROOM] = 1
        return -1
    here, length = np.uint64(start), end - start
    whole, rest = np.uint64(length & ~7), np.uint64(8 * (length & 7))
    mask = (np.uint64(1) << rest) - np.uint64(1)
    last = _eight(text, here + whole) & mask
    h = np.uint64(length << 3 | column) * np.uint64(0x9E3779B97F4A7C15)
    for word in range(np.uint64(0), whole, np.uint64(8)):
        h = (h ^ _eight(text, here + word)) * np.uint64(0xD6E8FEB86659FD93)
        h ^= h >> np.uint64(32)
    h = (h ^ last) * np.uint64(0xD6E8FEB86659FD93)
    h ^= h >> np.uint64(32)
    places = interned.places.shape[0] - 1
    at = np.int64(h & np.uint64(places))
    tag = np.int64(h >> np.uint64(32)) << 32
    for _ in range(to.PROBES):
        place = interned.places[at]
        if place == 0:
            code = meta[to.COUNTS + column]
            interned.places[at] = tag | (used + 1)
            entry = entries[used]
            entry[to.NAME_START], entry[to.NAME_LENGTH], entry[to.COLUMN], entry[to.CODE] = (
                start,
                length,
                column,
                code,
            )
            meta[to.NAMES_USED], meta[to.COUNTS + column], meta[to.TEXT_USED] = used + 1, code + 1, end
            return code
        if place >> 32 == tag >> 32:
            entry = entries[(place & 0xFFFFFFFF) - 1]
            if entry[to.COLUMN] == column and entry[to.NAME_LENGTH] == length:
                there, same = np.uint64(entry[to.NAME_START]), np.uint64(0)
                while same < whole and _eight(text, there + same) == _eight(text, here + same):
                    same += np.uint64(8)
                if same == whole and _eight(text, there + whole) & mask == last:
                    return np.int64(entry[to.CODE])
        at = (at + 1) & places
    return -1


# -- attributes ------------------------------------------------------------------------------------------------------


@jit
def _has_text(attribute: Any) -> Any:
    if attribute[to.VALUE_KIND] == to.STRING:
        return attribute[to.END] > attribute[to.AT]
    return to.BOOL <= attribute[to.VALUE_KIND] <= to.INT


@jit
def _drop(attributes: Any, tape: Any, i: Any, row: Any) -> None:
    """Take an attribute off the tape."""
    end = attributes[i + 1, to.WORDS_FROM] if i + 1 < row[to.LAST] else row[to.WORDS_END]
    for at in range(attributes[i, to.WORDS_FROM], end):
        tape[at] = to.SKIP


@jit
def _sort(body: Any, row: Any, is_log: Any, attributes: Any, tape: Any, found: Any) -> Any:
    """Find for each use the first attribute that serves it; whether all is plain. An event's name is dropped."""
    for use in range(names.USES):
        found[use] = -1
    best = np.uint64(0)  # five bits a use: the rank of what was found
    for i in range(row[to.FIRST], row[to.LAST]):
        attribute = attributes[i]
        number = _known(body, attribute[to.KEY_AT], attribute[to.KEY_END])
        use = names.KEY_USE[number] if number >= 0 else np.int64(-1)
        if use < 0:
            continue
        kind, rank = attribute[to.VALUE_KIND], np.uint64(names.KEY_RANK[number])
        if use >= names.TEXTS:
            if kind != to.NONE or use >= names.SEVERITY_TEXT:
                found[use] = i
            continue
        if kind in (to.REAL, to.OCTETS):
            return False
        if use == names.KIND and rank == np.uint64(0) and is_log:
            if kind > to.INT or row[to.NAME_END] > row[to.NAME_AT]:
                return False  # its text would go unchecked
            _drop(attributes, tape, i, row)
        shift = np.uint64(5 * use)
        if _has_text(attribute) and (found[use] < 0 or rank < best >> shift & np.uint64(31)):
            found[use] = i
            best = best & ~(np.uint64(31) << shift) | rank << shift
    if found[names.ADDRESS] >= 0 and (best >> np.uint64(5 * names.ADDRESS)) & np.uint64(31) >= np.uint64(
        names.FIRST_PEER
    ):
        is_client = not is_log and row[to.NUMBER] not in (SERVER, CONSUMER)
        found[names.ADDRESS] = -1 if is_client else found[names.ADDRESS]
    return True


@jit
def _number(body: Any, attribute: Any) -> Any:
    """The number that an attribute states and whether that is plain; NaN = none."""
    kind, start, end = attribute[to.VALUE_KIND], attribute[to.AT], attribute[to.END]
    if kind == to.INT:
        return np.float64(end), True
    if kind == to.REAL:
        bits = np.int64(end)
        real = bits.view(np.float64)
        return real if math.isfinite(real) else math.nan, True
    if kind != to.STRING or end == start:
        return math.nan, True
    value = 0
    for i in range(start, min(end, start + 16)):
        if not 0x30 <= body[i] <= 0x39:
            return math.nan, False
        value = 10 * value + np.int64(body[i]) - 0x30
    return np.float64(value), end - start < 16


@jit
def _outcome(body: Any, attributes: Any, found: Any) -> Any:
    """How it ended, as the attributes say; NOWHERE = not plain."""
    for use in (names.STATUS, names.OLD_STATUS, names.GRPC_STATUS):
        if found[use] < 0:
            continue
        number, plain = _number(body, attributes[found[use]])
        if not plain:
            return NOWHERE
        if use == names.GRPC_STATUS:
            if number == 0.0:
                return SUCCESS
            if number > 0.0:
                return DENIED if number in (NOT_PERMITTED, UNAUTHENTICATED) else FAILURE
        elif number >= 100.0:
            return DENIED if number in (401.0, 403.0) else FAILURE if number >= 400.0 else SUCCESS
    if found[names.OUTCOME] >= 0:
        stated = attributes[found[names.OUTCOME]]
        if stated[to.VALUE_KIND] == to.STRING:
            outcome = _word_number(
                body,
                stated[to.AT],
                stated[to.END],
                names.OUTCOME_DATA,
                names.OUTCOME_STARTS,
                names.OUTCOME_NUMBERS,
            )
            if outcome > 0:
                return outcome
    for use in (names.ERROR, names.EXCEPTION):
        if found[use] >= 0:
            error = attributes[found[use]]
            if error[to.VALUE_KIND] > to.INT:
                return NOWHERE
            if _has_text(error) and (error[to.VALUE_KIND] == to.STRING or error[to.END] != 0):
                return FAILURE
    return UNKNOWN


@jit
def _layer(body: Any, attribute: Any, default: Any) -> Any:
    kind, start, end = attribute[to.VALUE_KIND], attribute[to.AT], attribute[to.END]
    if kind == to.INT:
        return end if 0 <= end <= 7 else default
    if kind != to.STRING or not 1 <= end - start <= 2 or (end - start == 2 and body[start] != 0x4C):
        return default
    digit = np.int64(body[end - 1]) - 0x30
    return digit if 0 <= digit <= 7 else default


# -- records ---------------------------------------------------------------------------------------------------------


@jit
def _judged(bits: Any, latest: Any) -> Any:
    """A time in nanoseconds and its verdict; a time past 2262 is a negative number here."""
    if bits == 0:
        return 0, MISSING
    return (bits, GOOD) if EARLIEST <= bits <= latest else (0, OUT_OF_RANGE)


@jit
def _id(body: Any, start: Any, stop: Any, out: Any) -> None:
    if stop - start == out.shape[0]:
        for i in range(out.shape[0]):
            out[i] = body[start + i]


@jit
def _name(body: Any, i: Any, column: Any, attributes: Any, interned: Any) -> Any:
    """Code of an attribute's text in a column; of the empty name if there is no attribute."""
    at = interned.meta[to.TEXT_USED]
    if i >= 0:
        attribute = attributes[i]
        at = _put_value(body, attribute[to.VALUE_KIND], attribute[to.AT], attribute[to.END], at, interned)
    return _code(column, at, interned)


@jit
def _origin(body: Any, origin: Any, attributes: Any, tape: Any, here: Any) -> Any:
    """Find what the records of a resource and scope share; whether it is plain. The service's name is dropped."""
    here[to.SOURCE_ATTRIBUTE], here[to.TARGET_ATTRIBUTE], here[to.ORIGIN_LAYER] = -1, -1, -1
    here[to.SOURCE_CODE], here[to.TARGET_CODE] = -1, -1
    kept = origin[to.LAST] - origin[to.FIRST]
    source_rank, target_rank = 99, 99
    for i in range(origin[to.FIRST], origin[to.LAST]):
        attribute = attributes[i]
        number = _known(body, attribute[to.KEY_AT], attribute[to.KEY_END])
        if number < 0:
            continue
        source, target = names.SOURCE_RANK[number], names.TARGET_RANK[number]
        if names.IS_LAYER[number]:
            here[to.ORIGIN_LAYER] = _layer(body, attribute, -1)
        if source < 0 and target < 0:
            continue
        if attribute[to.VALUE_KIND] in (to.REAL, to.OCTETS):
            return False
        if source == 0:
            _drop(attributes, tape, i, origin)
            kept -= 1
        if _has_text(attribute) and 0 <= source < source_rank:
            here[to.SOURCE_ATTRIBUTE], source_rank = i, source
        if _has_text(attribute) and 0 <= target < target_rank:
            here[to.TARGET_ATTRIBUTE], target_rank = i, target
    if kept == 0:
        origin[to.RESOURCE_TO] = origin[to.RESOURCE_FROM]
    return True


@jit
def _log_kind(body: Any, row: Any, origin: Any, found: Any, attributes: Any, tape: Any, interned: Any) -> Any:
    """Put the kind of a log record behind the names; where it ends, NOWHERE = not plain."""
    at = interned.meta[to.TEXT_USED]
    if row[to.NAME_END] > row[to.NAME_AT]:
        return _put(body, row[to.NAME_AT], row[to.NAME_END], at, interned)
    i = found[names.KIND]
    if i >= 0:
        _drop(attributes, tape, i, row)
        attribute = attributes[i]
        return _put_value(body, attribute[to.VALUE_KIND], attribute[to.AT], attribute[to.END], at, interned)
    if row[to.BODY_KIND] == to.STRING:
        blank = _is_blank(body, row[to.BODY_AT], row[to.BODY_END])
        if blank <= 0:
            return at if blank == 0 else NOWHERE
    if origin[to.SCOPE_END] - origin[to.SCOPE_AT] > MAX_NAME:
        return NOWHERE
    if origin[to.SCOPE_END] > origin[to.SCOPE_AT]:
        at = _put(body, origin[to.SCOPE_AT], origin[to.SCOPE_END], at, interned)
        at = _put_fixed(names.COLON, at, interned)
    if row[to.TEXT_END] == row[to.TEXT_AT]:
        return _put_fixed(names.LOG, at, interned)
    end = _put(body, row[to.TEXT_AT], row[to.TEXT_END], at, interned)
    for i in range(at, end):
        if interned.text[i] >= 0x80:
            return NOWHERE
        interned.text[i] = _lower(interned.text[i])
    return end


@jit
def _span_kind(body: Any, row: Any, found: Any, attributes: Any, tape: Any, interned: Any) -> Any:
    """As ``_log_kind``, of a span. The span's name is dropped where it says no more than the kind."""
    start = interned.meta[to.TEXT_USED]
    name, name_end = row[to.NAME_AT], row[to.NAME_END]
    route = found[names.ROUTE]
    if route < 0:
        end = _put(body, name, name_end, start, interned)
    else:
        end = start
        method = found[names.METHOD]
        if method >= 0:
            attribute = attributes[method]
            end = _put_value(
                body, attribute[to.VALUE_KIND], attribute[to.AT], attribute[to.END], end, interned
            )
            end = _put_fixed(names.SPACE, end, interned)
        attribute = attributes[route]
        end = _put_value(body, attribute[to.VALUE_KIND], attribute[to.AT], attribute[to.END], end, interned)
        if end < 0:
            return end
        first, last = interned.text[start], interned.text[end - 1]
        if not (0x20 < first < 0x7F and 0x20 < last < 0x7F):
            return NOWHERE  # there may be white space to take off
        same = 0
        while same < min(end - start, name_end - name) and interned.text[start + same] == body[name + same]:
            same += 1
        if same < end - start or same < name_end - name:
            return end if found[names.NAME] < 0 else NOWHERE
    tape[row[to.WORDS_END]] = to.SKIP
    tape[row[to.WORDS_END] + 1] = to.SKIP
    return end


@kernel(IN_U1, I8, I8, WALK_TYPE, COLUMNS_TYPE, INTERNED_TYPE, array(I8))
def make_columns(
    body: Any, is_span: Any, latest: Any, walk: Any, columns: Any, interned: Any, out: Any
) -> None:
    """Columns and distinct names of the records that the walk found.

    Shapes: body (m,); walk, columns and interned as in ``otlp_layout``, with zeros in columns.trace, columns.span,
        interned.meta and interned.places; out (1,): how it ended (if interned.meta says NO_ROOM, with nothing decided).
    Units: latest, ts in nanoseconds since 1970; severity 0 to 1; value of a span in seconds.
    Cost: about 350 ns a record with six attributes.
    Source: OpenTelemetry semantic conventions and log data model, as ``guardian.decode.otlp`` reads them.
    Difference: takes the plain case only.
    """
    out[0] = to.NOT_PLAIN
    here, found, attributes, tape = columns.here, columns.found, walk.attributes, walk.tape
    this = np.int64(-1)
    for r in range(walk.state[to.RECORDS]):
        row = walk.records[r]
        origin = walk.origins[row[to.ORIGIN]]
        if row[to.ORIGIN] != this:
            this = row[to.ORIGIN]
            if not _origin(body, origin, attributes, tape, here):
                return
        if not _sort(body, row, not is_span, attributes, tape, found):
            return
        outcome = _outcome(body, attributes, found)
        columns.severity[r], columns.value[r] = math.nan, math.nan
        if is_span:
            end = _span_kind(body, row, found, attributes, tape, interned)
            bits = row[to.TIME] if row[to.TIME] != 0 else row[to.OTHER_TIME]
            start, start_verdict = _judged(row[to.OTHER_TIME], latest)
            columns.ts[r], columns.verdict[r] = _judged(bits, latest)
            if columns.verdict[r] == GOOD and start_verdict == GOOD and columns.ts[r] >= start:
                columns.value[r] = (columns.ts[r] - start) / 1e9
            if outcome >= 0 and outcome != DENIED and row[to.STATUS_CODE] == STATUS_ERROR:
                outcome = FAILURE
            elif outcome == UNKNOWN and row[to.STATUS_CODE] == STATUS_OK:
                outcome = SUCCESS
            if (
                (found[names.PARENT] >= 0 and row[to.PARENT_END] > row[to.PARENT_AT])
                or (found[names.DESCRIPTION] >= 0 and row[to.TEXT_END] > row[to.TEXT_AT])
                or (found[names.EVENTS] >= 0 and row[to.EVENTS_AT] > 0)
            ):
                return
        else:
            end = _log_kind(body, row, origin, found, attributes, tape, interned)
            bits = row[to.TIME] if row[to.TIME] != 0 else row[to.OTHER_TIME]
            columns.ts[r], columns.verdict[r] = _judged(bits, latest)
            if found[names.SEVERITY_TEXT] >= 0 and row[to.TEXT_END] > row[to.TEXT_AT]:
                return
            severity = row[to.NUMBER]
            if severity == 0:
                severity = _word_number(
                    body,
                    row[to.TEXT_AT],
                    row[to.TEXT_END],
                    names.SEVERITY_DATA,
                    names.SEVERITY_STARTS,
                    names.SEVERITY_NUMBERS,
                )
            if 1 <= severity <= 24:
                columns.severity[r] = (severity - 1) / 23
            if found[names.DURATION] >= 0:
                number, plain = _number(body, attributes[found[names.DURATION]])
                if not plain:
                    return
                columns.value[r] = number * 1e-9
                if not math.isnan(number):
                    _drop(attributes, tape, found[names.DURATION], row)
        if NOWHERE in (outcome, end) or (
            found[names.SCOPE_NAME] >= 0 and origin[to.SCOPE_END] > origin[to.SCOPE_AT]
        ):
            return
        columns.outcome[r] = outcome
        columns.layer[r] = here[to.ORIGIN_LAYER]
        if found[names.LAYER] >= 0:
            columns.layer[r] = _layer(body, attributes[found[names.LAYER]], here[to.ORIGIN_LAYER])
        _id(body, row[to.TRACE_AT], row[to.TRACE_END], columns.trace[r])
        _id(body, row[to.SPAN_AT], row[to.SPAN_END], columns.span[r])

        codes = columns.codes
        codes[names.KIND, r] = _code(names.KIND, end, interned)
        if here[to.SOURCE_CODE] < 0:
            here[to.SOURCE_CODE] = _name(body, here[to.SOURCE_ATTRIBUTE], names.SOURCE, attributes, interned)
        codes[names.SOURCE, r] = here[to.SOURCE_CODE]
        for column in (names.ACTOR, names.ADDRESS, names.TARGET, names.SESSION):
            i = found[column]
            if i >= 0:
                _drop(attributes, tape, i, row)
            elif column == names.TARGET:
                i = here[to.TARGET_ATTRIBUTE] if here[to.TARGET_ATTRIBUTE] >= 0 else found[names.PATH]
            if column == names.TARGET and i >= 0 and i == here[to.TARGET_ATTRIBUTE]:
                if here[to.TARGET_CODE] < 0:
                    here[to.TARGET_CODE] = _name(body, i, column, attributes, interned)
                codes[column, r] = here[to.TARGET_CODE]
            else:
                codes[column, r] = _name(body, i, column, attributes, interned)
        for column in range(codes.shape[0]):
            if codes[column, r] < 0:
                return
    out[0] = to.PLAIN
