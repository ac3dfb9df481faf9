"""The synthetic day as data: its order, its people, its rhythm."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.demo import HONEYPOT, Item, day
from guardian.demo.day import DAY_S, rhythm


def _through(items: list[Item], door: str) -> list[Item]:
    return [item for item in items if item.door == door]


def test_the_same_seed_and_start_give_the_same_day(today: list[Item], start: float):
    assert list(day(7, start_s=start)) == today


def test_another_seed_gives_another_day(today: list[Item], start: float):
    assert list(itertools.islice(day(8, start_s=start), 50)) != today[:50]


def test_days_of_one_seed_have_the_same_people(today: list[Item], start: float):
    tomorrow = list(day(7, start_s=start + DAY_S))
    people = [{item.body["user_id"] for item in _through(items, "log")} for items in (today, tomorrow)]
    assert people[0] == people[1]
    assert len(people[0] - {""}) == 60


def test_items_come_in_order_and_within_the_day(today: list[Item]):
    assert all(one.at <= other.at for one, other in itertools.pairwise(today))
    assert [item.number for item in today] == list(range(len(today)))
    assert today[0].at >= 0.0
    assert today[-1].at < DAY_S


def test_every_door_is_used(today: list[Item]):
    assert {item.door for item in today} == {
        "log",
        "otlp_log",
        "span",
        "xr",
        "protocol",
        "isabella",
        "eoct",
    }


def test_twelve_services_report_from_six_layers(today: list[Item]):
    services = {(item.body["service"], item.body["layer"]) for item in _through(today, "span")}
    assert len(services) == 12
    assert {layer for _, layer in services} == {f"L{number}" for number in range(1, 7)}


def test_about_twenty_five_addresses_are_seen(today: list[Item]):
    assert 25 <= len({item.body["ip"] for item in _through(today, "log")}) <= 30


def test_nights_are_quieter_than_evenings(today: list[Item], start: float):
    hours = Counter(int((start + item.at) / 3600 - 6) % 24 for item in _through(today, "log"))
    assert hours[4] < hours[20] / 4


@given(st.floats(-48, 48))
@settings(max_examples=50)
def test_rhythm_is_bounded_and_daily(hour: float):
    assert 0.0 < rhythm(hour) <= 2.0
    assert rhythm(hour) == pytest.approx(rhythm(hour + 24.0))


def test_an_ordinary_day_has_no_attacks(start: float):
    yesterday = list(day(7, start_s=start, attacks=False))
    assert not any(item.attack for item in yesterday)
    assert HONEYPOT not in {item.body.get("target") for item in yesterday}
    assert len(yesterday) > 20_000
