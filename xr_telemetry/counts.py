"""What the XR gateway did, as numbers that only grow; the collector reads them at scrape time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """Totals since the gateway was made. received = accepted + the sum of refused, once nothing is under way."""

    received: int = 0
    """Messages of authenticated clients, whatever came of them."""
    accepted: int = 0
    """Messages answered for with ``event_received``, also where the client was gone before it could be told."""
    windows: int = 0
    """Windows of motion made durable."""
    windows_lost: int = 0
    """Windows whose client was gone when they could not be made durable."""
    refused: Counter[str] = field(default_factory=Counter)
    """Messages answered with ``error``, per reason."""
    closed: Counter[str] = field(default_factory=Counter)
    """Connections that the gateway closed or turned away: ``authentication``, ``expired``, ``full``, ``slow``."""
    sent: int = 0
    """``guardian_update`` messages handed to connections."""
    sent_bytes: int = 0
    held_back: int = 0
    """Ticks in which a connection was not told what changed, because too much was waiting for it."""
