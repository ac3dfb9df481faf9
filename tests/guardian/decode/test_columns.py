"""What decoders build with: absent columns say so, and rejects are all counted."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from guardian.decode.columns import REJECTS_KEPT, Decoded, Rejected, Rejects, batch_of, encoded
from guardian.events import EVENTS, check_events

NOTHING = batch_of(0, {"ts": pa.array([], EVENTS.field("ts").type)})


def test_absent_columns_say_not_stated() -> None:
    batch = batch_of(
        2, {"ts": pa.array([1, 2], EVENTS.field("ts").type), "kind": encoded(pa.array(["a", None]))}
    )
    assert batch.schema == EVENTS
    row = check_events(batch).drop_columns(["ts"]).to_pylist()[0]
    assert (row["kind"], row["actor"], row["layer"], row["signal"]) == ("a", "", -1, 0)
    assert (row["trace_id"], row["span_id"], row["body"], row["attrs"]) == (bytes(16), bytes(8), None, None)
    assert math.isnan(row["severity"])
    assert batch.column("kind").to_pylist() == ["a", ""]
    assert len(NOTHING) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 900)), max_size=6))
def test_all_are_counted_and_the_first_are_kept(blocks: list[tuple[str, int]]) -> None:
    rejects = Rejects()
    line = 0
    for reason, count in blocks:
        rejects.add_lines(np.arange(line + 1, line + count + 1), reason, "because")
        line += count
    decoded = rejects.decoded(NOTHING)
    assert sum(decoded.reasons.values()) == line
    assert [each.line for each in decoded.rejected] == list(range(1, min(line, REJECTS_KEPT) + 1))


def test_rejects_of_two_kinds_come_in_the_order_of_their_lines() -> None:
    rejects = Rejects()
    rejects.add(3, "not_json", "x")
    rejects.add_lines(np.array([1, 5]), "no_time", "y")
    decoded = rejects.decoded(NOTHING)
    assert decoded.rejected == (
        Rejected(1, "no_time", "y"),
        Rejected(3, "not_json", "x"),
        Rejected(5, "no_time", "y"),
    )
    assert Decoded(NOTHING).reasons == {}
