from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from guardian.config import Engine as Settings
from guardian.segments import CHUNK, NO_WATERMARK, Cut

S = 10**9
SETTINGS = Settings(window_s=10.0, allowed_lateness_s=5.0)


def cut(seconds: list[int], watermark: int = NO_WATERMARK) -> Cut:
    return Cut.of(np.array(seconds, np.int64) * S, watermark, SETTINGS)


def test_an_empty_batch_changes_nothing():
    assert cut([], 7 * S) == Cut([], 7 * S, 0)


def test_windows_end_where_the_newest_time_enters_another_one():
    made = cut([1, 9, 11, 3, 25])
    assert made.segments == [(0, 2, None), (2, 2, 0), (2, 4, None), (4, 4, 1), (4, 5, None)]
    assert made.watermark == 25 * S
    assert made.late == 1


def test_a_window_that_ended_with_the_batch_before_ends_first():
    assert cut([12], 9 * S).segments == [(0, 0, 0), (0, 1, None)]
    assert cut([12]).segments == [(0, 1, None)], "none was before the first event"


def test_long_stretches_are_cut_into_chunks():
    made = cut([1] * (CHUNK + 3))
    assert made.segments == [(0, CHUNK, None), (CHUNK, CHUNK + 3, None)]


@given(st.lists(st.integers(0, 200), max_size=60), st.integers(0, 60))
def test_where_a_batch_ends_changes_nothing(seconds: list[int], at: int):
    whole = cut(seconds)
    first = cut(seconds[:at])
    second = cut(seconds[at:], first.watermark)
    shifted = [(a + at, b + at, ended) for a, b, ended in second.segments]
    ends = [(a, ended) for a, _, ended in whole.segments if ended is not None]
    assert ends == [(a, ended) for a, _, ended in first.segments + shifted if ended is not None]
    assert first.late + second.late == whole.late
    assert second.watermark == whole.watermark
    rows = [row for a, b, _ in first.segments + shifted for row in range(a, b)]
    assert rows == list(range(len(seconds)))
