"""What the attributes of a record say: which of them name the actor, the address and so on, how it ended, its layer.

Owns the loop that reads ``conventions`` as ``otlp`` specifies it, to the letter. Knows nothing of protobuf: it reads
``otlp_layout.Walk``, and takes what will be a column off the walk's tape. As the walk, it leaves what is rare (a name that is a
fraction, a status in words) to the slow decoder.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from guardian.decode import conventions
from guardian.decode import otlp_keys as names
from guardian.decode import otlp_layout as to
from guardian.events import Outcome
from scoring.compilation import F8, I8, IN_U1, array, jit, kernel, named, types

I1 = types.int8
WALK_TYPE: Final = named(to.Walk, *(array(I8, dimensions) for dimensions in (1, 2, 2, 2, 1, 1, 1)))

UNKNOWN, SUCCESS, FAILURE, DENIED = (int(each) for each in Outcome)
NOWHERE: Final = -2
"""Outcome of what the slow decoder is to decide."""
SERVER, CONSUMER = conventions.SERVER_KINDS
NOT_PERMITTED, UNAUTHENTICATED = conventions.GRPC_DENIED
STATUS_OK, STATUS_ERROR = conventions.STATUS_OK, conventions.STATUS_ERROR


@jit
def _known(body: Any, start: Any, stop: Any) -> Any:
    """Number of the name among those that mean something, or −1 (``otlp_keys.place``)."""
    length = stop - start
    if length == 0:
        return -1
    mixed = length + (np.int64(body[start]) << 6) + (np.int64(body[start + length // 3]) << 14)
    mixed += (np.int64(body[start + length // 2]) << 22) + (np.int64(body[stop - 1]) << 30)
    found = names.SLOTS[((mixed * names.FACTOR) >> 44) & 2047]
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
def _lower(octet: Any) -> Any:
    return octet + 32 if 0x41 <= octet <= 0x5A else octet


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
def _place(attribute: Any) -> Any:
    """An attribute's kind, and where its text lies (the end is the value itself of a number)."""
    return attribute[to.VALUE_KIND], attribute[to.AT], attribute[to.END]


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
    for each in range(names.USES):
        found[each] = -1
    best: Any = np.uint64(0)  # five bits a use: the rank of what was found
    for i in range(row[to.FIRST], row[to.LAST]):
        attribute = attributes[i]
        number = _known(body, attribute[to.KEY_AT], attribute[to.KEY_END])
        use: Any = names.KEY_USE[number] if number >= 0 else -1
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
    kind, start, end = _place(attribute)
    if kind == to.INT:
        return np.float64(end), True
    if kind == to.REAL:
        bits = np.int64(end)
        real = bits.view(np.float64)
        return real if math.isfinite(real) else math.nan, True
    if kind != to.STRING or end == start:
        return math.nan, True
    value: Any = 0
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
    if found[names.RPC_STATUS] >= 0:
        kind, start, end = _place(attributes[found[names.RPC_STATUS]])
        if kind != to.STRING:
            return SUCCESS if kind == to.INT and end == 0 else FAILURE
        outcome = _word_number(body, start, end, names.RPC_DATA, names.RPC_STARTS, names.RPC_NUMBERS)
        return outcome if outcome > 0 else FAILURE
    if found[names.OUTCOME] >= 0:
        kind, start, end = _place(attributes[found[names.OUTCOME]])
        if kind == to.STRING:
            outcome = _word_number(
                body, start, end, names.OUTCOME_DATA, names.OUTCOME_STARTS, names.OUTCOME_NUMBERS
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
    kind, start, end = _place(attribute)
    if kind == to.INT:
        return end if 0 <= end <= 7 else default
    if kind != to.STRING or not 1 <= end - start <= 2 or (end - start == 2 and body[start] != 0x4C):
        return default
    digit = np.int64(body[end - 1]) - 0x30
    return digit if 0 <= digit <= 7 else default


@jit
def _origin(body: Any, origin: Any, attributes: Any, tape: Any) -> Any:
    """Find what names the source and target of a resource, and its layer; whether it is plain. The service's name is dropped."""
    origin[to.SOURCE_ATTRIBUTE], origin[to.TARGET_ATTRIBUTE], origin[to.ORIGIN_LAYER] = -1, -1, -1
    kept = origin[to.LAST] - origin[to.FIRST]
    source_rank, target_rank = 99, 99
    for i in range(origin[to.FIRST], origin[to.LAST]):
        attribute = attributes[i]
        number = _known(body, attribute[to.KEY_AT], attribute[to.KEY_END])
        if number < 0:
            continue
        source, target = names.SOURCE_RANK[number], names.TARGET_RANK[number]
        if names.IS_LAYER[number]:
            origin[to.ORIGIN_LAYER] = _layer(body, attribute, -1)
        if source < 0 and target < 0:
            continue
        if attribute[to.VALUE_KIND] in (to.REAL, to.OCTETS):
            return False
        if source == 0:
            _drop(attributes, tape, i, origin)
            kept -= 1
        if _has_text(attribute) and 0 <= source < source_rank:
            origin[to.SOURCE_ATTRIBUTE], source_rank = i, source
        if _has_text(attribute) and 0 <= target < target_rank:
            origin[to.TARGET_ATTRIBUTE], target_rank = i, target
    if kept == 0:
        origin[to.RESOURCE_TO] = origin[to.RESOURCE_FROM]
    return True


@jit
def _is_clear(row: Any, origin: Any, is_span: Any, found: Any) -> Any:
    """Whether no attribute has a name that a field of the record itself takes in ``attrs``."""
    if found[names.SCOPE_NAME] >= 0 and origin[to.SCOPE_END] > origin[to.SCOPE_AT]:
        return False
    has_text = row[to.TEXT_END] > row[to.TEXT_AT]
    if not is_span:
        return found[names.SEVERITY_TEXT] < 0 or not has_text
    return not (
        (found[names.PARENT] >= 0 and row[to.PARENT_END] > row[to.PARENT_AT])
        or (found[names.DESCRIPTION] >= 0 and has_text)
        or (found[names.EVENTS] >= 0 and row[to.EVENTS_AT] > 0)
    )


@kernel(IN_U1, I8, WALK_TYPE, array(I8, 2), array(I1), array(I1), array(F8), array(I8))
def read_attributes(
    body: Any, is_span: Any, walk: Any, found: Any, outcome: Any, layer: Any, value: Any, out: Any
) -> None:
    """Find for each record the attributes that mean something, and say what needs no names.

    Shapes: body (m,); walk as in ``otlp_layout``; found (n, USES): which attribute serves each use, -1 = none; outcome, layer
        and value (n,); out (1,): how it ended.
    Units: outcome as ``Outcome``; layer 0 to 7, -1 = none; value of a log record in seconds, NaN = none.
    Cost: about 150 ns a record with six attributes.
    Source: OpenTelemetry semantic conventions and log data model, as ``guardian.decode.otlp`` reads them.
    Difference: takes the plain case only; a log record that states no severity number gets that of its word.
    """
    out[0] = to.NOT_PLAIN
    attributes, tape = walk.attributes, walk.tape
    for scope in range(walk.state[to.SCOPES]):
        if not _origin(body, walk.origins[scope], attributes, tape):
            return
    for r in range(walk.state[to.RECORDS]):
        row, chosen = walk.records[r], found[r]
        origin = walk.origins[row[to.ORIGIN]]
        if not _sort(body, row, not is_span, attributes, tape, chosen) or not _is_clear(
            row, origin, is_span, chosen
        ):
            return
        ended = _outcome(body, attributes, chosen)
        if ended == NOWHERE:
            return
        value[r] = math.nan
        if is_span:
            if ended != DENIED and row[to.STATUS_CODE] == STATUS_ERROR:
                ended = FAILURE
            elif ended == UNKNOWN and row[to.STATUS_CODE] == STATUS_OK:
                ended = SUCCESS
        elif row[to.NUMBER] == 0:
            row[to.NUMBER] = _word_number(
                body,
                row[to.TEXT_AT],
                row[to.TEXT_END],
                names.SEVERITY_DATA,
                names.SEVERITY_STARTS,
                names.SEVERITY_NUMBERS,
            )
        outcome[r], layer[r] = ended, origin[to.ORIGIN_LAYER]
        if chosen[names.LAYER] >= 0:
            layer[r] = _layer(body, attributes[chosen[names.LAYER]], origin[to.ORIGIN_LAYER])
        if chosen[names.DURATION] >= 0 and not is_span:
            number, plain = _number(body, attributes[chosen[names.DURATION]])
            if not plain:
                return
            value[r] = number * 1e-9
            if not math.isnan(number):
                _drop(attributes, tape, chosen[names.DURATION], row)
        for column in (names.ACTOR, names.ADDRESS, names.TARGET, names.SESSION):
            if chosen[column] >= 0:
                _drop(attributes, tape, chosen[column], row)
        if not is_span and chosen[names.KIND] >= 0 and row[to.NAME_END] == row[to.NAME_AT]:
            _drop(attributes, tape, chosen[names.KIND], row)
    out[0] = to.PLAIN
