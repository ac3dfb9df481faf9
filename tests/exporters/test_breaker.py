"""How a sink stands: pauses, the breaker, and that a restart finds it so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporters import breaker
from exporters.breaker import Standing, backoff_s, keep_standing, standing_of
from exporters.store import Store

NOW = 2 * 10**18


def test_opens_after_a_few_failures_and_closes_with_the_first_success() -> None:
    standing = Standing()
    for number in range(1, breaker.BREAK_AFTER + 1):
        standing = standing.refused(NOW + number, "down", wait_s=5.0, held=False)
        assert standing.probing() == (number == breaker.BREAK_AFTER)
    assert standing.breaker(NOW) == "open"
    assert standing.breaker(standing.pause_until) == "half-open"
    assert standing.refusing_since == NOW + 1, "the first one counts"
    assert standing.taken(NOW).breaker(NOW) == "closed"
    assert standing.taken(NOW) == Standing()


def test_a_hold_opens_at_once() -> None:
    standing = Standing().refused(NOW, "HTTP 401", wait_s=30.0, held=True)
    assert standing.breaker(NOW) == "open"
    assert standing.pause_s(NOW) == 30.0


def test_a_pause_that_only_a_mistake_can_ask_for_is_none() -> None:
    standing = Standing(pause_until=NOW)
    assert standing.pause_s(NOW) == standing.pause_s(NOW - 2 * int(breaker.LONGEST_ASKED_S * 1e9)) == 0.0


@given(failures=st.integers(0, 10**6), jitter=st.floats(0.0, 1.0))
def test_waits_stay_in_their_range(failures: int, jitter: float) -> None:
    assert breaker.LEAST_WAIT_S <= backoff_s(failures, jitter) <= breaker.LONGEST_WAIT_S


def test_what_is_kept_is_found_again(store: Store) -> None:
    standing = Standing(3, 5, 7, held=True, said="no", told="a", told_at=9, beat_at=11)
    with store.transaction() as connection:
        assert standing_of(connection, "siem") == Standing()
        for each in (Standing(failures=1), standing):
            keep_standing(connection, "siem", each)
    with store.reading() as connection:
        assert standing_of(connection, "siem") == standing
