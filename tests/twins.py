"""Slow twins: what the kernels compute, written again from the formulas with dictionaries and lists.

They are the specification. Nothing here looks at the kernels' code or layout; where the two differ, one is wrong.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from guardian.config import Config

MASK = 2**64 - 1


def siphash13(data: bytes, key0: int, key1: int) -> int:
    """SipHash-1-3 (Aumasson and Bernstein 2012, figure 2.1, with c = 1 and d = 3)."""
    v = [
        key0 ^ 0x736F6D6570736575,
        key1 ^ 0x646F72616E646F6D,
        key0 ^ 0x6C7967656E657261,
        key1 ^ 0x7465646279746573,
    ]

    def rotate(x: int, bits: int) -> int:
        return ((x << bits) | (x >> (64 - bits))) & MASK

    def compress() -> None:
        for a, b, c in ((0, 1, 13), (2, 3, 16)):
            v[a] = (v[a] + v[b]) & MASK
            v[b] = rotate(v[b], c) ^ v[a]
        v[0] = rotate(v[0], 32)
        for a, b, c in ((2, 1, 17), (0, 3, 21)):
            v[a] = (v[a] + v[b]) & MASK
            v[b] = rotate(v[b], c) ^ v[a]
        v[2] = rotate(v[2], 32)

    padded = data + bytes(-(len(data) + 1) % 8) + bytes([len(data) % 256])
    for start in range(0, len(padded), 8):
        word = int.from_bytes(padded[start : start + 8], "little")
        v[3] ^= word
        compress()
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(3):
        compress()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


@dataclass
class _Pair:
    onsets: int = 0
    last: float = -math.inf
    occupied: float = 0.0
    window: int = 0
    hours: list[int] = field(default_factory=lambda: [0] * 24)


@dataclass
class _Recent:
    value: float
    at: float
    last: float


@dataclass
class _Entity:
    first: float
    clock: float
    recent: dict[str, _Recent] = field(default_factory=dict)
    minutes: list[int] = field(default_factory=list)
    minute: int = 0
    in_minute: int = 0


class BehaviourTwin:
    """Behaviour risk (before the map to points) of one role, without rules, for at most eight kinds an entity."""

    def __init__(self, config: Config) -> None:
        self.settings = config.engine
        self.entities: dict[str, _Entity] = {}
        self.pairs: dict[tuple[str, str], _Pair] = defaultdict(_Pair)
        self.kinds: dict[str, int] = defaultdict(int)
        self.context: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def score(self, ts: float, entity: str, kind: str, *, alert: bool) -> tuple[dict[str, float], float]:
        """The channels of one event, and its risk."""
        s = self.settings
        who = self.entities.setdefault(entity, _Entity(ts, ts, minute=math.floor(ts / 60)))
        now = who.clock = max(ts, who.clock)
        pair = self.pairs[entity, kind]
        window = math.floor(now / s.window_s)
        is_first = pair.onsets == 0

        lived = math.floor((now - who.first) / s.window_s) + 1
        novelty = max(0.0, -0.5 * math.log10((pair.onsets + 0.5) / (lived + 10)))

        everybody = max(1.0, sum((now - each.first) / s.window_s + 1 for each in self.entities.values()))
        singles = sum(1 for count in self.kinds.values() if count == 1)
        share = (self.kinds.get(kind) or singles + 1) / everybody
        rarity = max(0.0, -0.5 * math.log10(share))

        hour = math.floor(now / 3600) % 24
        seasonal = 0.0
        if pair.onsets >= 2:
            near = pair.hours[hour] + 0.5 * pair.hours[hour - 1] + 0.5 * pair.hours[(hour + 1) % 24]
            seasonal = max(0.0, -math.log10((near + 1) / (2 * pair.onsets / 24 + 1)))

        passed = 0 if is_first else window - pair.window
        pair.occupied *= 2 ** (-passed * s.window_s / s.persistence_half_life_s)
        persistence = 0.0
        if alert:
            age = now - who.first
            elapsed = (1 - 2 ** (-age / s.persistence_half_life_s)) * s.persistence_half_life_s / math.log(2)
            occupancy = min(pair.occupied / (elapsed / s.window_s + 12), 0.999)
            if occupancy > 0.5:
                persistence = math.log10(occupancy / (1 - occupancy))

        minute = math.floor(now / 60)
        if minute > who.minute:
            if who.in_minute:
                who.minutes.append(who.in_minute)
            who.minute, who.in_minute = minute, 0
        who.in_minute += 1
        burst = 0.0
        if who.in_minute >= 16 and not alert:
            size = who.in_minute.bit_length()
            busier = sum(1 for count in who.minutes if count.bit_length() >= size)
            burst = max(0.0, -math.log10((busier + 0.5) / ((now - who.first) / 60 + 11)))

        surprisal = novelty + rarity + persistence + seasonal
        self._remember(who, kind, surprisal, now)
        if burst > 1.25:
            self._remember(who, "*", burst, now)
        own = self._own(who, now)
        others = [
            value + at / s.context_half_life_s
            for name, past in self.context.items()
            if name != entity
            for value, at in past
        ]
        around = min(4.0, 0.5 * 2 ** (max(others) - now / s.context_half_life_s)) if others else 0.0
        if own > 0:
            self.context[entity].append((math.log2(own), now))
        gate = min(max(max(surprisal, burst) - 1.25, 0.0), 1.0)

        if is_first or now - pair.last > s.episode_gap_s or (passed > 0 and not alert):
            pair.onsets += 1
            self.kinds[kind] += 1
            pair.hours[hour] += 1
        if is_first or passed > 0:
            pair.occupied += 1
            pair.window = window
        pair.last = now
        channels = {
            "novelty": novelty,
            "rarity": rarity,
            "burst": burst,
            "persistence": persistence,
            "seasonal": seasonal,
        }
        return channels, gate * (own + around)

    def _remember(self, who: _Entity, kind: str, value: float, now: float) -> None:
        known = who.recent.get(kind)
        if known is None or value >= self._faded(known, now):
            who.recent[kind] = _Recent(value, now, now)
        else:
            known.last = now

    def _faded(self, recent: _Recent, now: float) -> float:
        return recent.value * 2 ** (-(now - recent.at) / self.settings.risk_half_life_s)

    def _own(self, who: _Entity, now: float) -> float:
        live = [
            (self._faded(recent, now) - 1.25, -order, recent.last)
            for order, recent in enumerate(who.recent.values())
            if now - recent.last <= self.settings.active_s
        ]
        kept: list[tuple[float, float]] = []
        for excess, _, last in sorted(live, reverse=True):
            if excess > 0 and all(abs(last - other) > 1 for _, other in kept):
                kept.append((excess, last))
        return sum(excess / (rank + 1) ** 0.75 for rank, (excess, _) in enumerate(kept))


def interpolated(x: float, xs: tuple[float, ...], ys: tuple[float, ...]) -> float:
    """Straight lines between knots; the last slope goes on after the last knot; clipped to 0…100."""
    if x <= xs[0]:
        return min(max(ys[0], 0.0), 100.0)
    for (x0, y0), (x1, y1) in pairwise(zip(xs, ys, strict=True)):
        if x <= x1 or x1 == xs[-1]:
            return min(max(y0 + (y1 - y0) / (x1 - x0) * (x - x0), 0.0), 100.0)
    raise AssertionError("unreachable: there are at least two knots")
