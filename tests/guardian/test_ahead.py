from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from guardian.ahead import ahead


def test_ahead_gives_the_same_and_the_exception_too():
    def failing() -> Iterator[int]:
        yield from range(10)
        raise ValueError("the end")

    found: list[int] = []
    items = ahead(failing())
    found.extend(next(items) for _ in range(10))
    with pytest.raises(ValueError, match="the end"):
        next(items)
    assert found == list(range(10)) == list(ahead(iter(range(10))))


def test_ahead_ends_its_thread_when_nobody_wants_more():
    before = threading.active_count()
    items = ahead(iter(range(1000)))
    assert next(items) == 0
    items.close()
    assert threading.active_count() == before
