"""The cast and the vocabulary: invented, reserved addresses, the same for the same generator."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from random import Random

from guardian.demo import town

DOCUMENTATION = [ip_network(block) for block in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]


def test_the_cast_is_the_same_for_the_same_generator():
    assert town.people(Random(3)) == town.people(Random(3))
    assert town.people(Random(3)) != town.people(Random(4))


def test_sixty_people_with_names_of_their_own_share_two_dozen_addresses():
    cast = town.people(Random(7))
    assert len({person.name for person in cast}) == 60
    assert len({person.address for person in cast}) == 24
    assert sum(bool(person.headset) for person in cast) == 10


def test_every_address_is_reserved_for_documentation():
    addresses = {person.address for person in town.people(Random(7))} | set(town.OUTSIDE.values())
    assert all(any(ip_address(address) in block for block in DOCUMENTATION) for address in addresses)


def test_attackers_use_addresses_of_nobody_else():
    assert not {person.address for person in town.people(Random(7))} & set(town.OUTSIDE.values())


def test_nobody_touches_the_vault_on_an_ordinary_day():
    ordinary = {habit.target for habit in town.HABITS} | {service.target for service in town.SERVICES}
    assert town.HONEYPOT not in ordinary


def test_twelve_services_live_in_six_layers():
    assert len(town.SERVICES) == 12
    assert {service.layer for service in town.SERVICES} == {f"L{number}" for number in range(1, 7)}
