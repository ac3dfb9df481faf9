"""Second pass of the JSON scanner: the table of members and a compiled map to columns of EVENTS.

Owns how a record's members become names, times, ids, texts and ``attrs``, with the meaning that ``records`` gives to a
map, octet for octet. A line that needs more than plain forms becomes RARE, as in the first pass.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardian.decode import json_layout as on
from guardian.decode.json_attrs import find, remove, rest, use_up
from guardian.decode.json_layout import Ints, Octets, Words
from guardian.decode.json_names import (
    ARENA,
    ASKING,
    ATTRS,
    BODY,
    CODE,
    LINE,
    MEANS,
    NAMES_TYPE,
    ROW,
    intern,
    write_id,
)
from guardian.decode.json_numbers import decimal, fraction, iso_time, number_time
from guardian.decode.json_text import copy, unescape
from scoring.compilation import F8, I8, IN_F8, array, inlined, kernel, named, zeros_below

_INF_OR_NAN: Final = tuple(b"in")
_DONE, _RARE, _STOP = range(3)


class Rows(NamedTuple):
    """Columns of the rows that were read; ``ends`` of body and attrs, and 24 octets of ids a row."""

    numbers: NDArray[np.int64]
    ts: NDArray[np.int64]
    value: NDArray[np.float64]
    codes: Ints
    ids: Octets
    body: Octets
    body_ends: Ints
    attrs: Octets
    attrs_ends: Ints


class Fields(NamedTuple):
    """Memory of one line: the member of each field, as a key of the record and step by step; the fields used up."""

    direct: Ints
    nested: Ints
    used: Ints
    depths: NDArray[np.int64]
    asked: Words
    """For each column: a bit for each alternative that may be there."""


ROWS_TYPE: Final[Any] = named(
    Rows, on.COUNTS, on.COUNTS, array(F8), on.TABLE, on.OCTETS, on.OCTETS, on.INTS, on.OCTETS, on.INTS
)
FIELDS_TYPE: Final[Any] = named(Fields, *[on.INTS] * 3, on.COUNTS, on.WORDS)


@inlined
def _scalar(body: Any, members: Any, member: Any, out: Any, to: Any) -> Any:
    """Write the text of a scalar; ``to`` itself where there is none, −1 = RARE."""
    kind = members[member, on.TYPE]
    at, end = np.int64(members[member, on.AT]), np.int64(members[member, on.END])
    if to + end - at + 8 > out.shape[0]:
        return np.int64(-1)
    if kind == on.STRING:
        return copy(out, to, body, at + 1, end - 1)
    if kind == on.ESCAPED:
        return unescape(body, at + 1, end - 1, out, to)
    if kind == on.DOUBTFUL:
        return np.int64(-1)
    if kind == on.NULL or kind >= on.OBJECT:
        return to
    return copy(out, to, body, at, end)


@inlined
def _text(body: Any, plan: Any, members: Any, fields: Any, step: Any, out: Any, to: Any) -> Any:
    """Write the text of an alternative; ``to`` itself where it is not present, −1 = RARE."""
    start = to
    first, last = plan.steps[step, on.PARTS_AT], plan.steps[step, on.PARTS_END]
    if plan.steps[step, on.JOINED] == 0:
        member = find(fields, members, np.int64(plan.parts[first, 0]))
        if member < 0:
            return start
        if members[member, on.TYPE] == on.LIST:
            # The first item is the next row, if it is a scalar.
            if members[member, on.NEXT] == member + 1:
                return start
            member += 1
        return _scalar(body, members, member, out, to)
    for part in range(first, last):
        if find(fields, members, np.int64(plan.parts[part, 0])) < 0:
            return start
    literal, size = np.int64(plan.steps[step, on.HEAD_AT]), np.int64(plan.steps[step, on.HEAD_SIZE])
    for part in range(first - 1, last):
        if part >= first:
            before = to
            to = _scalar(body, members, find(fields, members, np.int64(plan.parts[part, 0])), out, to)
            if to <= before:
                return start if to == before else to
            literal, size = np.int64(plan.parts[part, 1]), np.int64(plan.parts[part, 2])
        if to + size + 8 > out.shape[0]:
            return np.int64(-1)
        to = copy(out, to, plan.text, literal, literal + size)
    return to


@inlined
def _next(bits: Any, offset: Any, count: Any) -> Any:
    """The first alternative from ``offset`` on that may be there, ``count`` = none."""
    if offset < on.MOST_ASKED:
        left = bits >> np.uint64(offset)
        if left == np.uint64(0):
            return count
        offset += zeros_below(left)
    return min(offset, count)


@inlined
def _present(plan: Any, column: Any, out: Any, at: Any, end: Any) -> Any:
    """Whether a text is there and none of the words that mean nothing."""
    for word in range(plan.columns[column, on.NONE_AT], plan.columns[column, on.NONE_END]):
        size = plan.none[word, 1]
        if size == end - at:
            same = 0
            while same < size and plan.text[plan.none[word, 0] + same] == out[at + same]:
                same += 1
            if same == size:
                return False
    return end > at


@inlined
def _time(body: Any, plan: Any, members: Any, fields: Any, doubted: Any, latest: Any) -> Any:
    """The alternative that says the time, and the time; −1 where the record is msgspec's."""
    bad = np.int64(-1)
    count = np.int64(plan.times.shape[0])
    bits = fields.asked[plan.columns.shape[0]]
    index = np.int64(-1)
    while True:
        index = _next(bits, index + 1, count)
        if index == count:
            return np.int64(0), bad
        unit = np.int64(plan.times[index, 1])
        member = find(fields, members, np.int64(plan.times[index, 0]))
        if member < 0:
            continue
        kind = members[member, on.TYPE]
        at, end = np.int64(members[member, on.AT]), np.int64(members[member, on.END])
        if kind == on.ESCAPED:
            return index, bad
        if kind == on.NULL or (kind == on.STRING and end - at == 2):
            continue
        iso: Any = False
        if kind == on.STRING:
            at += 1
            end -= 1
            iso = end - at > 4 and body[at + 4] == on.MINUS
            k = at
            while k < end and k < at + 5:
                if body[k] >= 0x80:
                    return index, bad
                k += 1
        if iso != (unit == 0):
            continue
        if iso:
            return index, iso_time(body, at, end, latest)
        if kind == on.DOUBTFUL:
            return index, number_time(
                np.int64(2), np.int64(0), doubted[members[member, on.COUNT]], unit, latest
            )
        if kind not in (on.STRING, on.INTEGER, on.DECIMAL):
            return index, bad
        form, digits, places = decimal(body, at, end)
        if form == 0:
            return index, bad
        return index, number_time(form, digits, fraction(digits, places), unit, latest)


@inlined
def _value(body: Any, plan: Any, members: Any, fields: Any, doubted: Any) -> Any:
    """The field that says a magnitude (−1 = none, −2 = the record is msgspec's), and the magnitude."""
    count = np.int64(plan.values.shape[0])
    bits = fields.asked[plan.columns.shape[0] + 1]
    index = np.int64(-1)
    while True:
        index = _next(bits, index + 1, count)
        if index == count:
            return np.int64(-1), np.nan
        field = np.int64(plan.values[index])
        member = find(fields, members, field)
        if member < 0:
            continue
        kind = members[member, on.TYPE]
        at, end = np.int64(members[member, on.AT]), np.int64(members[member, on.END])
        if kind == on.DOUBTFUL:
            return field, doubted[members[member, on.COUNT]]
        if kind == on.ESCAPED:
            return np.int64(-2), np.nan
        if kind == on.STRING:
            at += 1
            end -= 1
            c = body[at] | 32
            if at == end or (97 <= c <= 122 and c not in _INF_OR_NAN):  # not even "inf" or "nan"
                continue
        elif kind not in (on.INTEGER, on.DECIMAL):
            continue
        form, digits, places = decimal(body, at, end)
        found = fraction(digits, places)
        if form == 0 or np.isnan(found):
            return np.int64(-2), np.nan
        return field, found


@inlined
def _row(
    body: Any,
    plan: Any,
    members: Any,
    first: Any,
    last: Any,
    doubted: Any,
    latest: Any,
    fields: Any,
    names: Any,
    rows: Any,
    state: Any,
) -> Any:
    """One record to the next row."""
    row, uses = state[ROW], np.int64(0)
    message = np.int64(-1)
    for column in range(plan.columns.shape[0] - 1):
        role, start = plan.columns[column, on.ROLE], state[ARENA]
        chosen, end = np.int64(-1), start
        first_step = np.int64(plan.columns[column, on.STEPS_AT])
        count = plan.columns[column, on.STEPS_END] - first_step
        offset = _next(fields.asked[column], np.int64(0), count)
        while offset < count:
            end = _text(body, plan, members, fields, first_step + offset, names.arena, start)
            if end < 0:
                return _RARE
            if _present(plan, column, names.arena, start, end):
                chosen = first_step + offset
                break
            end = start
            offset = _next(fields.asked[column], offset + 1, count)
        used = chosen >= 0
        if role >= on.TRACE_ID:
            size, to = (16, row * 24) if role == on.TRACE_ID else (8, row * 24 + 16)
            used = write_id(names.arena, start, end, size, rows.ids, to)
        else:
            if used and plan.steps[chosen, on.MESSAGE]:
                message, end = chosen, start
            entry = intern(names, column, end, state)
            if entry < 0:
                return _RARE
            rows.codes[column, row] = names.entries[entry, CODE]
            if used and role != on.NAME:
                part = plan.steps[chosen, on.PARTS_AT]
                means = names.entries[entry, MEANS]
                if means < 0 and role == on.NUMBER_WORD and plan.steps[chosen, on.JOINED] == 0:
                    kind = members[find(fields, members, np.int64(plan.parts[part, 0])), on.TYPE]
                    means = 1 if kind in (on.INTEGER, on.DECIMAL) else means
                if means < 0:
                    return _STOP if state[ASKING] else _RARE
                used = means != 0
        if used:
            uses = use_up(plan, members, fields, chosen, uses)
    index, ts = _time(body, plan, members, fields, doubted, latest)
    if ts < 0:
        return _RARE
    fields.used[uses] = plan.times[index, 0]
    uses += 1
    field, value = _value(body, plan, members, fields, doubted)
    if field == -2:
        return _RARE
    if field >= 0:
        fields.used[uses] = field
        uses += 1

    last_column = plan.columns.shape[0] - 1
    to = state[BODY]
    first_step = np.int64(plan.columns[last_column, on.STEPS_AT])
    count = plan.columns[last_column, on.STEPS_END] - first_step
    offset = _next(fields.asked[last_column], np.int64(0), count)
    while message >= 0 or offset < count:
        step = message if message >= 0 else first_step + offset
        end = _text(body, plan, members, fields, step, rows.body, to)
        if end < 0:
            return _RARE
        if message >= 0:
            to = end
            break
        if _present(plan, last_column, rows.body, to, end):
            uses = use_up(plan, members, fields, step, uses)
            to = end
            break
        offset = _next(fields.asked[last_column], offset + 1, count)

    for use in range(uses):
        remove(members, fields, fields.used[use])
    for index in range(plan.labels.shape[0]):
        remove(members, fields, plan.labels[index])
    state[BODY] = to
    state[ATTRS] = rest(body, members, first, last, fields.depths, rows.attrs, state[ATTRS])
    rows.ts[row] = ts
    rows.value[row] = value
    rows.body_ends[row] = to
    rows.attrs_ends[row] = state[ATTRS]
    state[ROW] = row + 1
    return _DONE


@kernel(
    on.IN_OCTETS,
    I8,
    I8,
    on.PLAN,
    on.TABLE,
    on.TABLE,
    IN_F8,
    FIELDS_TYPE,
    NAMES_TYPE,
    ROWS_TYPE,
    on.COUNTS,
)
def read_rows(
    body: Any,
    count: Any,
    latest: Any,
    plan: Any,
    members: Any,
    lines: Any,
    doubted: Any,
    fields: Any,
    names: Any,
    rows: Any,
    state: Any,
) -> None:
    """Read the records of the lines ``state[LINE]`` to ``count`` into rows, or until a word asks for its meaning.

    Shapes: body, members, lines as ``scan_members`` left them; doubted (d,) DOUBTFUL numbers as msgspec reads them; rows
        for at least as many lines, body and attrs as long as the body + 16; state (7,).
    Units: latest and ``rows.ts`` in nanoseconds since 1970; everything else places in octets.
    Cost: 0.85 us for 14 fields that fill ten columns, 1.15 us for a Windows event of 2.1 kB.
    Source: none; ``records.Columns`` is the specification.
    Difference: a line that it leaves to msgspec becomes RARE; its names may stay in the table, unused.
    """
    for line in range(state[LINE], count):
        state[LINE] = line
        if lines[line, on.STATUS] != on.SCANNED:
            continue
        first, last = lines[line, on.FIRST], lines[line, on.LAST]
        for member in range(first, last):
            node = members[member, on.NODE]
            if node >= 0 and plan.nodes[node, on.FIELD] >= 0:
                field = plan.nodes[node, on.FIELD]
                if plan.nodes[node, on.DIRECT]:
                    fields.direct[field] = member
                else:
                    fields.nested[field] = member
                if members[member, on.TYPE] != on.NULL:
                    for use in range(plan.uses_at[field], plan.uses_at[field + 1]):
                        fields.asked[plan.uses[use, 0]] |= np.uint64(1) << np.uint64(plan.uses[use, 1])
        rows.numbers[state[ROW]] = lines[line, on.NUMBER]
        done = _row(body, plan, members, first, last, doubted, latest, fields, names, rows, state)
        for member in range(first, last):
            node = members[member, on.NODE]
            if node >= 0 and plan.nodes[node, on.FIELD] >= 0:
                fields.direct[plan.nodes[node, on.FIELD]] = -1
                fields.nested[plan.nodes[node, on.FIELD]] = -1
        for column in range(fields.asked.shape[0]):
            fields.asked[column] = np.uint64(0)
        if done == _STOP:
            state[ASKING] = 2
            return
        if done == _RARE:
            lines[line, on.STATUS] = on.RARE
    state[LINE] = count
