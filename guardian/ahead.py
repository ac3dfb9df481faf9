"""Work ahead: the next items of an iterator are worked out while the caller is busy with the ones before.

Owns one thread and one short queue. Used where decoding can overlap scoring: files, recovery, a backlog on disk.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Final, TypeVar

_AHEAD: Final = 2
"""Items that may be ready and not taken: enough to overlap, few enough to stay small in memory."""

_Item = TypeVar("_Item")


def ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The same items, worked out by another thread while the caller is busy with the ones before.

    An exception of theirs comes in its place. A caller that stops early ends the thread at its next item.
    """
    ready: queue.Queue[tuple[_Item, None] | tuple[None, BaseException | None]] = queue.Queue(_AHEAD)
    ended = threading.Event()

    def hand_over(pair: tuple[_Item, None] | tuple[None, BaseException | None]) -> bool:
        while not ended.is_set():
            try:
                ready.put(pair, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not hand_over((item, None)):
                    return
        except BaseException as error:  # noqa: BLE001  (whatever it is, the caller must hear of it)
            hand_over((None, error))
        else:
            hand_over((None, None))

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        ended.set()
        thread.join()
