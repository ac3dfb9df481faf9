"""A synthetic TAMV day, as a pure and ordered sequence of items: what happens, when, and through which door.

Owns the ordinary rhythm and merges the attacks into it. Sends nothing, asks no clock: the same seed and the same
start give the same day.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from guardian.demo import town
from guardian.demo.attacks import scenes
from guardian.demo.records import (
    SIGNALS,
    Door,
    Draft,
    duration_ms,
    eoct_body,
    isabella_body,
    log,
    protocol_body,
    xr_body,
)

HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S
MEXICO_UTC_OFFSET_H: Final = -6.0
"""The rhythm follows the clock of central Mexico, which knows no daylight saving time since 2022."""

ACTIONS_PER_PERSON: Final = 220.0
SERVICE_PERIOD_S: Final = 45.0


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that happens.

    ``at`` is in seconds after the start of the day and ``door`` is how it is sent. ``body`` holds the fields that
    the door needs, without the time: the encoder writes it. ``number`` counts from 0.
    """

    at: float
    number: int
    door: Door
    body: dict[str, Any]
    attack: str = ""
    """Key of the attack that it belongs to; empty for ordinary life. Never sent."""


def rhythm(hour: float) -> float:
    """How busy an hour of the day is (mean about 1): quiet at night, a morning and an evening hump.

    >>> rhythm(4.0) < 0.3 < 1.2 < rhythm(11.0) < rhythm(20.0)
    True
    """
    hour %= 24.0

    def hump(centre: float, width: float) -> float:
        away = min(abs(hour - centre), 24.0 - abs(hour - centre))
        return math.exp(-0.5 * (away / width) ** 2)

    return 0.12 + 1.45 * hump(11.0, 2.6) + 1.75 * hump(20.0, 2.4)


def day(seed: int, *, start_s: float, attacks: bool = True) -> Iterator[Item]:
    """The 24 hours that follow ``start_s`` (seconds since 1970), in order of time.

    Without ``attacks`` it is an ordinary day: what the engine should know before anything goes wrong. Days of one
    seed have the same people.
    """
    random = Random(f"{seed}/{start_s}/{attacks}")  # noqa: S311  (a play, not a secret)
    cast = town.people(Random(seed))  # noqa: S311  (same)
    parts = [
        ("", draft)
        for stream in (
            _life(random, cast, start_s),
            _services(random),
            _decisions(random, start_s),
            _rooms(random, cast, start_s),
        )
        for draft in stream
    ]
    if attacks:
        parts += scenes(random, cast)
    parts.sort(key=lambda part: part[1][0])
    for number, (attack, (at, door, body)) in enumerate(parts):
        if at < DAY_S:
            yield Item(at, number, door, body, attack)


def _moments(random: Random, expected: float, start_s: float, early_h: float = 0.0) -> Iterator[float]:
    """Times of a Poisson process with the day's rhythm and ``expected`` arrivals a day (thinning, Lewis 1979)."""
    peak = 2.0
    at = 0.0
    while True:
        at += random.expovariate(expected * peak / DAY_S)
        if at >= DAY_S:
            return
        hour = (start_s + at) / HOUR_S + MEXICO_UTC_OFFSET_H - early_h
        if random.random() * peak < rhythm(hour):
            yield at


def _life(random: Random, cast: tuple[town.Person, ...], start_s: float) -> Iterator[Draft]:
    weights = [habit.weight for habit in town.HABITS]
    for person in cast:
        session = 0
        last = -DAY_S
        for at in _moments(random, ACTIONS_PER_PERSON * person.busy, start_s, person.early):
            if at - last > HOUR_S:
                session += 1
            last = at
            if random.random() < 0.4:
                habit = random.choice(person.favourites)
            else:
                habit = random.choices(town.HABITS, weights)[0]
            failed = random.random() < 0.006
            yield (
                at,
                "log",
                log(
                    habit.service,
                    habit.kind,
                    habit.layer,
                    user_id=person.name,
                    session_id=f"{person.name}-{session}",
                    ip=person.address,
                    target=habit.target,
                    duration_ms=duration_ms(random, habit.seconds),
                    status="error" if failed else "success",
                ),
            )


def _services(random: Random) -> Iterator[Draft]:
    for service in town.SERVICES:
        at = random.uniform(0.0, SERVICE_PERIOD_S)
        while at < DAY_S:
            operation = random.choice(service.operations)
            body = {
                "service": service.name,
                "layer": service.layer,
                "name": operation,
                "target": service.target,
                "duration_ms": duration_ms(random, service.seconds),
                "ok": random.random() > 0.002,
                "trace": f"{random.getrandbits(128) or 1:032x}",
                "span": f"{random.getrandbits(64) or 1:016x}",
            }
            yield at, "span" if random.random() < 0.7 else "otlp_log", body
            at += random.uniform(0.7, 1.3) * SERVICE_PERIOD_S


def _decisions(random: Random, start_s: float) -> Iterator[Draft]:
    for at in _moments(random, 70.0, start_s):
        protocol, action, layer, purpose = random.choice(town.PROTOCOL_ACTIONS)
        yield at, "protocol", protocol_body(protocol, action, layer, purpose)
    for at in _moments(random, 130.0, start_s):
        action, verb, score = random.choice(town.ISABELLA_REQUESTS)
        yield at, "isabella", isabella_body(action, verb, score + random.uniform(-0.04, 0.04))
    for at in _moments(random, 110.0, start_s):
        signals = {name: round(random.betavariate(1.2, 9.0), 3) for name in SIGNALS}
        yield at, "eoct", eoct_body(*random.choice(town.EOCT_SUBJECTS), signals)


def _rooms(random: Random, cast: tuple[town.Person, ...], start_s: float) -> Iterator[Draft]:
    for person in cast:
        if not person.headset:
            continue
        for at in _moments(random, 5.0, start_s, person.early):
            end = at + random.uniform(900.0, 2700.0)
            room = random.choice(("plaza-central", "aula-maya", "galeria-norte"))
            yield at, "xr", xr_body(person, "space_join", room)
            moment = at + random.expovariate(1 / 60.0)
            while moment < end:
                yield moment, "xr", xr_body(person, "object_interact", room)
                moment += random.expovariate(1 / 60.0)
            yield end, "xr", xr_body(person, "space_leave", room)
