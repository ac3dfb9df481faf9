"""Which fields of a record were used up, and the record without them as ``attrs``.

Owns how members are found by a map, taken out, and written as msgspec would write the rest. Part of the second pass of
the JSON scanner (``json_rows``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from guardian.decode import json_layout as on
from guardian.decode.json_text import copy, rewrite
from scoring.compilation import inlined


@inlined
def find(fields: Any, members: Any, field: Any) -> Any:
    """The member that a field names, −1 = none, or null."""
    member = fields.direct[field]
    if member < 0 or members[member, on.TYPE] == on.NULL:
        member = fields.nested[field]
    return np.int64(member)


@inlined
def use_up(plan: Any, members: Any, fields: Any, step: Any, uses: Any) -> Any:
    """Note the fields of an alternative as used up; not a list, of which one item was read."""
    first = plan.steps[step, on.PARTS_AT]
    member = find(fields, members, np.int64(plan.parts[first, 0]))
    if plan.steps[step, on.JOINED] == 0 and members[member, on.TYPE] == on.LIST:
        return uses
    for part in range(first, plan.steps[step, on.PARTS_END]):
        fields.used[uses] = plan.parts[part, 0]
        uses += 1
    return uses


@inlined
def remove(members: Any, fields: Any, field: Any) -> None:
    """Take out the member of a field, and the objects that are empty without it."""
    member = np.int64(fields.direct[field])
    if member < 0:
        member = np.int64(fields.nested[field])
    if member < 0:
        return
    gone = True
    while member >= 0:
        if members[member, on.FLAGS] & on.REMOVED:
            return
        members[member, on.FLAGS] |= on.REMOVED if gone else on.TOUCHED
        member = np.int64(members[member, on.PARENT])
        if gone and member >= 0:
            members[member, on.COUNT] -= 1
            gone = members[member, on.COUNT] == 0


@inlined
def rest(body: Any, members: Any, first: Any, last: Any, depths: Any, out: Any, to: Any) -> Any:
    """Write the members that are left as one object; neighbours that need no change are copied together."""
    out[to] = on.OPEN
    to += 1
    depth, comma = 0, False
    run_at, run_end = np.int64(-1), np.int64(-1)
    member = np.int64(first)
    while True:
        while depth > 0 and member == depths[depth - 1]:
            if run_end >= 0:
                to = copy(out, to, body, run_at, run_end)
                run_end = np.int64(-1)
            out[to] = on.CLOSE
            to += 1
            depth -= 1
            comma = True
        if member >= last:
            break
        flags, after = members[member, on.FLAGS], np.int64(members[member, on.NEXT])
        if flags & on.REMOVED:
            member = after
            continue
        key_at, end = np.int64(members[member, on.KEY_AT]), np.int64(members[member, on.END])
        if flags & on.PLAIN_PAIR and not flags & on.TOUCHED and run_end >= 0 and run_end + 1 == key_at:
            run_end = end
            member = after
            continue
        if run_end >= 0:
            to = copy(out, to, body, run_at, run_end)
            run_end = np.int64(-1)
        if comma:
            out[to] = on.COMMA
            to += 1
        comma = True
        if flags & on.PLAIN_PAIR and not flags & on.TOUCHED:
            run_at, run_end = key_at, end
            member = after
            continue
        to = copy(out, to, body, key_at, np.int64(members[member, on.KEY_END]))
        out[to] = on.COLON
        to += 1
        if flags & on.TOUCHED:
            out[to] = on.OPEN
            to += 1
            depths[depth] = after
            depth += 1
            comma = False
            member += 1
            continue
        if flags & on.PLAIN_VALUE:
            to = copy(out, to, body, np.int64(members[member, on.AT]), end)
        else:
            to = rewrite(body, np.int64(members[member, on.AT]), end, out, to)
        member = after
    if run_end >= 0:
        to = copy(out, to, body, run_at, run_end)
    out[to] = on.CLOSE
    return to + 1
