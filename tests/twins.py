"""Slow twins: what the kernels compute, written again from the formulas with dictionaries and lists.

They are the specification. Nothing here looks at the kernels' code or layout; where the two differ, one is wrong.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
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


class TrialTable:
    """A bounded set of keys: new ones on trial in a queue of a tenth of the places, the others under a moving hand.

    Yang et al. 2023, FIFO queues are all you need for cache eviction, algorithm 1, without the ghost queue.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.places: list[int] = []
        self.uses: dict[int, int] = {}
        self.trial: deque[int] = deque()
        self.hand = 0
        self.evicted = 0

    def touch(self, key: int) -> int:
        """0 when the key is known, 1 when it is new, 2 when another key gave way to it."""
        if key in self.uses:
            self.uses[key] = min(self.uses[key] + 1, 3)
            return 0
        fresh = 1
        if len(self.places) < self.limit:
            self.places.append(key)
        else:
            fresh = 2
            gone = self._evict()
            self.places[self.places.index(gone)] = key
            del self.uses[gone]
            self.evicted += 1
        self.uses[key] = 0
        self.trial.append(key)
        return fresh

    def _evict(self) -> int:
        while True:
            if 10 * len(self.trial) > self.limit or len(self.trial) == len(self.places):
                key = self.trial.popleft()
                if self.uses[key] == 0:
                    return key
                self.uses[key] = 0
                continue
            key = self.places[self.hand]
            self.hand = (self.hand + 1) % len(self.places)
            if key in self.trial:
                continue
            if self.uses[key] == 0:
                return key
            self.uses[key] -= 1


@dataclass
class _Pair:
    onsets: int = 0
    last: float = -math.inf
    occupied: float = 0.0
    window: int = 0
    hours: list[int] = field(default_factory=lambda: [0] * 24)
    values: int = 0
    mean: float = 0.0
    spread: float = 0.0


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
    windows: int = 0
    window: int = -1
    events: int = 0
    failures: int = 0
    past_events: float = 0.0
    past_failures: float = 0.0
    reached: set[int] = field(default_factory=set)
    fan: list[int] = field(default_factory=list)
    minutes: int = 0
    minute: int = -1
    in_minute: int = 0
    busy: list[int] = field(default_factory=list)
    met: list[set[int]] = field(default_factory=lambda: [set(), set()])
    meetings: list[int] = field(default_factory=lambda: [0, 0])
    before: str = ""
    gate: float = 0.0
    telemetry: dict[int, int] = field(default_factory=dict)


class BehaviourTwin:
    """Behaviour risk (before the map to points) of one role, without rules, for at most eight kinds an entity.

    ``partners`` are given as hashes: what the sketches make of them is part of the definition.
    """

    def __init__(self, config: Config, *, sessions: bool = False) -> None:
        self.settings = config.engine
        self.sessions = sessions
        self.entities: dict[str, _Entity] = {}
        self.pairs: dict[tuple[str, str], _Pair] = defaultdict(_Pair)
        self.kinds: dict[str, int] = defaultdict(int)
        self.peers: dict[tuple[str, int], int] = defaultdict(int)
        self.peer_windows: dict[int, int] = defaultdict(int)
        self.steps: dict[tuple[str, str], int] = defaultdict(int)
        self.followed: dict[str, int] = defaultdict(int)
        self.context: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.fan: list[int] = []
        self.busy: list[int] = []
        self.windows = self.minutes = self.events = self.failures = 0

    def score(
        self,
        ts: float,
        entity: str,
        kind: str,
        *,
        alert: bool = False,
        failed: bool = False,
        value: float = math.nan,
        layer: int = -1,
        partners: tuple[int, int] = (0, 0),
    ) -> tuple[dict[str, float], float]:
        """The channels of one event, and its risk."""
        s = self.settings
        who = self.entities.setdefault(entity, _Entity(ts, ts))
        now = who.clock = max(ts, who.clock)
        pair = self.pairs[entity, kind]
        window = math.floor(now / s.window_s)
        is_first = pair.onsets == 0
        failed = failed and not alert
        self._enter(who, now, window, layer)
        self.events += 1
        who.events += 1
        self.failures += failed
        who.failures += failed

        lived = math.floor((now - who.first) / s.window_s) + 1
        singles = sum(1 for count in self.kinds.values() if count == 1)
        seen = self.kinds.get(kind) or singles + 1
        if alert:
            novelty = -0.5 * math.log10((pair.onsets + 0.5) / (lived + 10))
            everybody = sum((now - each.first) / s.window_s + 1 for each in self.entities.values())
            rarity = -0.5 * math.log10(seen / max(1.0, everybody))
        else:
            novelty = -0.5 * math.log10((pair.onsets + 0.5) / (who.windows + 10))
            usual = min(seen / max(1, self.windows), 1)
            own = (self.peers[kind, layer] + 50 * usual) / (self.peer_windows[layer] + 50)
            rarity = -0.5 * math.log10(own)
        novelty, rarity = max(0.0, novelty), max(0.0, rarity)

        hour = math.floor(now / 3600) % 24
        seasonal = 0.0
        if pair.onsets >= 2:
            near = pair.hours[hour] + 0.5 * pair.hours[hour - 1] + 0.5 * pair.hours[(hour + 1) % 24]
            seasonal = -math.log10((near + 1) / (2 * pair.onsets / 24 + 1))

        passed = 0 if is_first else window - pair.window
        pair.occupied *= 2 ** (-passed * s.window_s / s.persistence_half_life_s)
        persistence = 0.0
        if alert:
            age = now - who.first
            elapsed = (1 - 2 ** (-age / s.persistence_half_life_s)) * s.persistence_half_life_s / math.log(2)
            occupancy = min(pair.occupied / (elapsed / s.window_s + 12), 0.999)
            if occupancy > 0.1:
                persistence = math.log10(occupancy / (1 - occupancy) / (0.1 / 0.9))

        channels = {
            "novelty": novelty,
            "rarity": rarity,
            "persistence": persistence,
            "seasonal": seasonal,
            "value": self._value(pair, value),
            "sequence": self._sequence(who, kind) if self.sessions else 0.0,
            "pairing": 0.0 if alert else self._pairing(who, partners),
            "burst": 0.0 if alert else self._burst(who),
            "failure": self._failure(who) if failed else 0.0,
            "fan_out": 0.0 if alert else self._fan_out(who, partners[0]),
        }
        whole = ("burst", "failure", "fan_out")
        surprisal = sum(channels[name] for name in channels if name not in whole)
        self._remember(who, kind, surprisal, now)
        for name in whole:
            if channels[name] > s.floor:
                self._remember(who, f"*{name}", channels[name], now)
        own_risk = self._own(who, now)
        gate = min(max(max(surprisal, *(channels[name] for name in whole)) - s.floor, 0.0), 1.0)
        who.gate = max(who.gate, gate)
        if not alert:
            who.telemetry[who.minute] = who.in_minute
        around = self._around(entity, now)
        if own_risk > 0:
            self.context[entity].append((math.log2(own_risk), now))

        if is_first or now - pair.last > s.episode_gap_s or (passed > 0 and not alert):
            pair.onsets += 1
            self.kinds[kind] += 1
            self.peers[kind, layer] += 1
            pair.hours[hour] += 1
        if is_first or passed > 0:
            pair.occupied += 1
            pair.window = window
        pair.last = now
        return channels, gate * (own_risk + around)

    def _enter(self, who: _Entity, now: float, window: int, layer: int) -> None:
        if window != who.window:
            if who.windows:
                fade = 2 ** (
                    -(window - who.window) * self.settings.window_s / self.settings.persistence_half_life_s
                )
                who.past_events = (who.past_events + who.events) * fade
                who.past_failures = (who.past_failures + who.failures) * fade
                if distinct(who.reached) >= 4:
                    who.fan.append(distinct(who.reached))
                    self.fan.append(distinct(who.reached))
            who.window, who.events, who.failures, who.reached = window, 0, 0, set()
            who.gate, who.telemetry = 0.0, {}
            who.windows += 1
            self.windows += 1
            self.peer_windows[layer] += 1
        minute = math.floor(now / 60)
        if minute != who.minute:
            if who.in_minute >= 16:
                who.busy.append(who.in_minute)
                self.busy.append(who.in_minute)
            who.minute, who.in_minute = minute, 0
            who.minutes += 1
            self.minutes += 1
        who.in_minute += 1

    def settle(self, window: int) -> dict[str, float]:
        """The risk of each entity of a window at its end, by what is around it then."""
        at = (window + 1) * self.settings.window_s
        return {
            name: who.gate * (self._own(who, at) + self._around(name, at))
            for name, who in self.entities.items()
            if who.window == window and who.gate > 0 and self._around(name, at) > 0
        }

    def vectors(self, window: int) -> dict[str, tuple[float, ...]]:
        """What each entity with telemetry did in a window: how much, how failing, how wide, how sudden."""
        return {
            name: (
                math.log1p(who.events),
                who.failures / who.events,
                math.log1p(distinct(who.reached)),
                math.log1p(max(who.telemetry.values())),
            )
            for name, who in self.entities.items()
            if who.window == window and who.telemetry
        }

    def _value(self, pair: _Pair, value: float) -> float:
        if not math.isfinite(value):
            return 0.0
        x = math.log10(max(abs(value), 1e-12))
        if pair.values == 0:
            pair.values, pair.mean, pair.spread = 1, x, 0.0
            return 0.0
        b = max(pair.spread, 0.05)
        away = x - pair.mean
        surprise = 0.0
        if pair.values >= 20:
            surprise = min(max(abs(away) / b / math.log(10) - 1, 0.0), 6.0)
            away = min(max(away, -4 * b), 4 * b)
        rate = max(1 / (pair.values + 1), 0.01)
        pair.mean += rate * away
        pair.spread += rate * (abs(away) - pair.spread)
        pair.values = min(pair.values + 1, 1000)
        return surprise

    def _sequence(self, who: _Entity, kind: str) -> float:
        before, who.before = who.before, kind
        if not before:
            return 0.0
        count, followed = self.steps[before, kind], self.followed[before]
        surprise = 0.0
        if followed >= 50:
            usual = min((self.followed[kind] + 0.5) / (sum(self.followed.values()) + 1), 1.0)
            expected = followed * usual
            if count + 1 < expected:
                rate = (count + 2 * usual) / (followed + 2)
                tail = expected - count + (count * math.log(count / expected) if count else 0.0)
                surprise = min(max(min(math.log10(usual / rate), tail / math.log(10)) - 1, 0.0), 6.0)
        self.steps[before, kind] += 1
        self.followed[before] += 1
        return surprise

    def _pairing(self, who: _Entity, partners: tuple[int, int]) -> float:
        surprise = 0.0
        for which, partner in enumerate(partners):
            bits = {partner & 127, (partner >> 7) & 127}
            if partner and not bits <= who.met[which]:
                rate = min((who.meetings[which] + 1) / (who.windows + 2), 1.0)
                surprise = max(surprise, -math.log10(rate) - 1)
                who.meetings[which] += 1
                who.met[which] |= bits
        return surprise

    def _burst(self, who: _Entity) -> float:
        if who.in_minute < 16:
            return 0.0
        return rarer(who.in_minute // 16, who.busy, who.minutes, self.busy, self.minutes, unit=16, bins=12)

    def _fan_out(self, who: _Entity, target: int) -> float:
        if not target:
            return 0.0
        who.reached.add((target >> 14) & 63)
        now = distinct(who.reached)
        if now < 4:
            return 0.0
        return rarer(now // 4, who.fan, who.windows, self.fan, self.windows, unit=4, bins=6)

    def _failure(self, who: _Entity) -> float:
        if who.failures < 3:
            return 0.0
        usual = (self.failures + 1) / (self.events + 20)
        expected = (who.past_failures + 10 * usual) / (who.past_events + 10)
        share = who.failures / who.events
        if share <= expected:
            return 0.0
        bound = share * math.log10(share / expected)
        if share < 1:
            bound += (1 - share) * math.log10((1 - share) / (1 - expected))
        return min(0.5 * who.events * bound, 6.0)

    def _around(self, entity: str, now: float) -> float:
        s = self.settings
        others = [
            value + at / s.context_half_life_s
            for name, past in self.context.items()
            if name != entity
            for value, at in past
        ]
        if not others:
            return 0.0
        risk = 2 ** min(max(others) - now / s.context_half_life_s, 10.0)
        return min(6.0, s.context_share * max(risk - math.log10(len(self.entities)), 0.0))

    def _remember(self, who: _Entity, kind: str, value: float, now: float) -> None:
        known = who.recent.get(kind)
        if known is None:
            if value > self.settings.floor:
                who.recent[kind] = _Recent(value, now, now)
        elif value >= self._faded(known, now):
            known.value, known.at, known.last = value, now, now
        else:
            known.last = now

    def _faded(self, recent: _Recent, now: float) -> float:
        return recent.value * 2 ** (-(now - recent.at) / self.settings.risk_half_life_s)

    def _own(self, who: _Entity, now: float) -> float:
        live = [
            (self._faded(recent, now) - self.settings.floor, -order, recent.last)
            for order, recent in enumerate(who.recent.values())
            if now - recent.last <= self.settings.active_s
        ]
        kept: list[tuple[float, float]] = []
        for excess, _, last in sorted(live, reverse=True):
            if excess > 0 and all(abs(last - other) > 1 for _, other in kept):
                kept.append((excess, last))
        return sum(excess / (rank + 1) ** self.settings.rank_power for rank, (excess, _) in enumerate(kept))


def distinct(bits: set[int]) -> int:
    """Linear counting in 64 bits (Whang et al. 1990)."""
    return 266 if len(bits) == 64 else round(-64 * math.log(1 - len(bits) / 64))


def rarer(
    size: int, own: list[int], times: int, everybody: list[int], all_times: int, *, unit: int, bins: int
) -> float:
    """Decades of how seldom an entity, mixed with ten times of everybody, reached the power of two that ``size`` is."""

    def reaching(past: list[int]) -> int:
        return sum(1 for each in past if power(each // unit) >= power(size))

    def power(count: int) -> int:
        return min(count.bit_length() - 1, bins - 1)

    usual = (reaching(everybody) + 0.5) / (all_times + 10)
    return min(max(-math.log10((reaching(own) + 10 * usual) / (times + 10)), 0.0), 6.0)


def interpolated(x: float, xs: tuple[float, ...], ys: tuple[float, ...]) -> float:
    """Straight lines between knots; the last slope goes on after the last knot; clipped to 0…100."""
    if x <= xs[0]:
        return min(max(ys[0], 0.0), 100.0)
    for (x0, y0), (x1, y1) in pairwise(zip(xs, ys, strict=True)):
        if x <= x1 or x1 == xs[-1]:
            return min(max(y0 + (y1 - y0) / (x1 - x0) * (x - x0), 0.0), 100.0)
    raise AssertionError("unreachable: there are at least two knots")
