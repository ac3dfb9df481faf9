"""The tables of sinks: every type has its own, and what no single value can say is told with its key path."""

from __future__ import annotations

import pytest

from guardian import sink_settings
from guardian.config import parse
from guardian.errors import ConfigError

LEAST = {
    "http": 'url = "https://a.example/in"',
    "webhook": 'url = "https://a.example/in"',
    "splunk": 'url = "https://a.example:8088"',
    "elastic": 'url = "https://a.example:9200"',
    "sentinel": f'url = "https://a.example"\nrule_id = "dcr-{"0" * 32}"\ntenant = "t"\nclient = "c"',
    "alertmanager": 'url = "http://a.example:9093"',
    "otlp": 'url = "http://a.example:4318"',
    "syslog": 'host = "a.example"',
    "relp": 'host = "a.example"',
    "redis": 'url = "redis://a.example"',
    "nats": 'url = "nats://a.example"',
    "file": 'path = "alerts.jsonl"',
}
"""The least that each type needs."""


def sink(kind: str, name: str = "a", more: str = "") -> str:
    return f'[[sinks]]\nname = "{name}"\ntype = "{kind}"\n{LEAST[kind]}\n{more}\n'


def test_every_type_can_be_configured() -> None:
    assert set(LEAST) == set(sink_settings.KINDS)
    config = parse("".join(sink(kind, kind) for kind in LEAST))
    assert [type(each) for each in config.sinks] == [sink_settings.KINDS[kind] for kind in LEAST]
    assert {each.minimum_level for each in config.sinks} == {"medium"}


def test_a_sink_changes_no_score() -> None:
    assert parse(sink("file")).digest() == parse("").digest()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[sinks]]\nname = "a"', "sinks[0].type: expected one of http, webhook"),
        ('[[sinks]]\nname = "a"\ntype = "kafka"', 'got "kafka"'),
        ('[[sinks]]\nname = "a"\ntype = "splunk"', "sinks[0].url: expected a value, got nothing"),
        (sink("file") + sink("http"), 'sinks[1].name: expected a name of its own, got "a"'),
        (sink("file", more='fallback = "b"'), "sinks[0].fallback: expected the name of another sink"),
        (sink("file", more='fallback = "a"'), "sinks[0].fallback: expected the name of another sink"),
        (
            sink("file", "a", 'fallback = "b"') + sink("file", "b", 'fallback = "a"'),
            "sinks[0].fallback: expected fallbacks that end somewhere",
        ),
        (
            sink("http", more='token_env = "A"\ntoken_file = "b"'),
            "sinks[0].token_file: expected only one of token_env and token_file, got both",
        ),
        (
            sink("relp", more='cert_file = "c.pem"'),
            "sinks[0].key_file: expected a value: a certificate needs",
        ),
        (
            sink("alertmanager", more="heartbeat_s = 60"),
            "sinks[0].heartbeat_s: expected 0: Alertmanager would tell a heartbeat again and again, got 60",
        ),
        (sink("http", more='format = "xml"'), "sinks[0].format: expected one of ocsf"),
        (sink("syslog", more="token_env = 'A'"), "sinks[0].token_env: expected one of"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert said in str(caught.value)


def test_a_credential_in_an_address_is_not_repeated() -> None:
    with pytest.raises(
        ConfigError, match=r"sinks\[0\]\.url: expected an address without a credential"
    ) as caught:
        parse('[[sinks]]\nname = "a"\ntype = "http"\nurl = "https://user:SECRET@a.example/"')
    assert "SECRET" not in str(caught.value)
