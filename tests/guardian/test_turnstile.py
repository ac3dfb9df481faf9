"""The turnstile: one at a time, and nobody waits for somebody who takes it again and again."""

from __future__ import annotations

import contextlib
import threading

from guardian.turnstile import Turnstile


def test_one_at_a_time() -> None:
    turnstile, inside, most = Turnstile(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with turnstile:
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_who_waits_comes_before_who_takes_it_again() -> None:
    turnstile, held = Turnstile(), threading.Event()
    stop, turns, seen = threading.Event(), 0, list[int]()

    def greedy() -> None:
        nonlocal turns
        while not stop.is_set():
            with turnstile:
                turns += 1
                held.set()

    thread = threading.Thread(target=greedy)
    thread.start()
    assert held.wait(20)
    for _ in range(20):
        before = turns
        with turnstile:
            seen.append(turns - before)
    stop.set()
    thread.join()
    assert sorted(seen)[len(seen) // 2] < 10_000, (
        "with a plain lock it had tens of thousands of turns meanwhile"
    )


def test_it_is_let_go_when_something_goes_wrong() -> None:
    turnstile = Turnstile()
    for _ in range(2):
        with contextlib.suppress(KeyError), turnstile:
            {}["none"]
