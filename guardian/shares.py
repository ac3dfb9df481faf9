"""Who holds how much of a bounded space, and whether that is more than a fair share.

A sender may hold as much as is still free (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
switches", IEEE/ACM Transactions on Networking 6, 1998): one alone gets half, two get a third each, and whoever comes next
always finds room. Owns the rule and the count by sender; not the space.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

_MOST_SENDERS: Final = 4096
"""Past it new ones share one count: an attacker with many addresses costs no memory."""
_OTHERS: Final = "\0"


class Shares:
    """What is held of each sender, in bytes."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def name(self, sender: str) -> str:
        """What its bytes are counted under."""
        return sender if sender in self._held or len(self._held) < _MOST_SENDERS else _OTHERS

    def hold(self, name: str, size: int) -> None:
        """Add to what is held under a name."""
        self._held[name] += size

    def release(self, name: str, size: int) -> None:
        """Take away what was added."""
        self._held[name] -= size
        if not self._held[name]:
            del self._held[name]

    def admits(self, name: str, *, free: int, size: int) -> bool:
        """Whether it may hold what it does, with ``free`` bytes left. A single thing of its ``size`` it always may."""
        return self._held[name] <= max(free, size)
