"""``[[routes]]`` and ``[[inhibitions]]``: every problem is told by its key path."""

from __future__ import annotations

import pytest

from guardian import config
from guardian.errors import ConfigError
from guardian.route_settings import Inhibition, Route

SINKS = """
[[sinks]]
name = "siem"
type = "file"
path = "a"
[[sinks]]
name = "spare"
type = "file"
path = "b"
"""
ALL = f"""{SINKS}
[[routes]]
name = "loud"
minimum_level = "high"
roles = ["address", "actor"]
layers = ["L5", "L0"]
sinks = ["siem", "spare"]
group_by = ["layer", "level"]
group_wait_s = 30
group_interval_s = 60
repeat_interval_s = 0
[[routes]]
name = "rest"
sinks = ["siem"]
[[inhibitions]]
name = "same-address"
[[inhibitions]]
name = "layer"
louder = "critical"
louder_roles = ["target"]
quieter = "low"
quieter_roles = ["session"]
equal = ["layer", "role"]
"""


def test_what_a_file_says():
    read = config.parse(ALL)
    loud, rest = read.routes
    assert loud == Route(
        name="loud",
        minimum_level="high",
        roles=("address", "actor"),
        layers=("L5", "L0"),
        sinks=("siem", "spare"),
        group_by=("layer", "level"),
        group_wait_s=30.0,
        group_interval_s=60.0,
        repeat_interval_s=0.0,
    )
    assert rest == Route(name="rest", sinks=("siem",))
    assert (rest.minimum_level, rest.group_by, rest.group_wait_s) == ("medium", (), 0.0)
    assert read.inhibitions == (
        Inhibition(name="same-address"),
        Inhibition(
            name="layer",
            louder="critical",
            louder_roles=("target",),
            quieter="low",
            quieter_roles=("session",),
            equal=("layer", "role"),
        ),
    )


def test_without_them_there_are_none_and_the_digest_is_the_same():
    plain = config.parse(SINKS)
    assert (plain.routes, plain.inhibitions) == ((), ())
    assert plain.digest() == config.parse(ALL).digest(), "who is told changes no score"


ROUTE = '[[routes]]\nname = "r"\nsinks = ["siem", "spare"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[routes]]\nname = "r"', "routes[0].sinks: expected a value, got nothing"),
        (
            '[[routes]]\nname = "r"\nsinks = []',
            "routes[0].sinks: expected a list of at least one sink's name",
        ),
        (f"{ROUTE}minimum_level = 3", "routes[0].minimum_level: expected one of none, low"),
        (f'{ROUTE}roles = ["host"]', "routes[0].roles: expected"),
        (f'{ROUTE}group_by = ["colour"]', "routes[0].group_by: expected"),
        (f"{ROUTE}group_wait_s = -1", "routes[0].group_wait_s: expected seconds, 0 to 86400, got -1"),
        (f"{ROUTE}group_interval_s = 0", "routes[0].group_interval_s: expected seconds, 1 to 86400, got 0"),
        (f"{ROUTE}group_interval_s = nan", "routes[0].group_interval_s: expected seconds, 1 to 86400"),
        (f"{ROUTE}type = 'x'", "routes[0].type: expected one of name, minimum_level"),
        (f"{ROUTE}{ROUTE}", 'routes[1].name: expected a name of its own, got "r"'),
        (
            ROUTE.replace('"spare"', '"nobody"'),
            'routes[0].sinks[1]: expected the name of a sink, got "nobody"',
        ),
        (
            '[[routes]]\nname = "r"\nsinks = ["siem"]',
            "sinks[1].name: expected a route to it, or a sink whose fallback it is, got neither",
        ),
        ("routes = 3", "routes: expected tables [[routes]], got 3"),
        ('[[inhibitions]]\nname = "i"\nequal = []', "inhibitions[0].equal: expected a list of at least one"),
        ('[[inhibitions]]\nname = "I"', "inhibitions[0].name: expected a name in lower case letters"),
        (
            '[[inhibitions]]\nname = "i"\n[[inhibitions]]\nname = "i"',
            'inhibitions[1].name: expected a name of its own, got "i"',
        ),
    ],
)
def test_what_is_wrong_is_told_by_key_path(text: str, said: str):
    with pytest.raises(ConfigError) as refusal:
        # A bare key must stand before the first table.
        config.parse(f"{text}\n{SINKS}" if text.startswith("routes") else f"{SINKS}\n{text}")
    assert said in str(refusal.value)


def test_a_fallback_needs_no_route():
    text = SINKS.replace('path = "a"', 'path = "a"\nfallback = "spare"')
    assert config.parse(f'{text}[[routes]]\nname = "r"\nsinks = ["siem"]').routes
