"""``[[sources]]``: each kind has its own settings, and every problem is told by its key path."""

from __future__ import annotations

import pytest

from guardian import config
from guardian.errors import ConfigError
from guardian.source_settings import KINDS, FileTail, RedisStream, SyslogTcp, SyslogUdp

ALL = """
[[sources]]
name = "udp"
type = "syslog-udp"

[[sources]]
name = "tcp"
type = "syslog-tcp"
host = "0.0.0.0"
port = 6514
cert_file = "server.pem"
key_file = "server.key"
client_ca_file = "clients.pem"

[[sources]]
name = "auth"
type = "file"
paths = ["/var/log/auth.log*"]
format = "syslog"
timezone = "America/Mexico_City"

[[sources]]
name = "stream"
type = "redis"
url = "rediss://redis.example.org:6380/0"
password_env = "REDIS_PASSWORD"
"""


def test_each_type_becomes_its_own_settings() -> None:
    sources = config.parse(ALL).sources
    assert [type(source) for source in sources] == [SyslogUdp, SyslogTcp, FileTail, RedisStream]
    assert list(KINDS) == ["syslog-udp", "syslog-tcp", "file", "redis"]
    assert sources[0].host == "127.0.0.1", "nobody else is listened to unless a host is given"
    assert config.parse(ALL).digest() == config.parse("").digest(), "where records come from changes no score"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('name = "a"', "sources[0].type: expected one of syslog-udp, syslog-tcp, file, redis, got nothing"),
        (
            'name = "a"\ntype = 3',
            "sources[0].type: expected one of syslog-udp, syslog-tcp, file, redis, got 3",
        ),
        ('name = "A"\ntype = "syslog-udp"', "sources[0].name: expected a name in lower case letters"),
        ('type = "syslog-udp"', "sources[0].name: expected a value, got nothing"),
        (
            'name = "a"\ntype = "syslog-udp"\nport = -1',
            "sources[0].port: expected a port, 0 to 65535, got -1",
        ),
        ('name = "a"\ntype = "syslog-udp"\npaths = []', "sources[0].paths: expected one of name, host, port"),
        (
            'name = "a"\ntype = "syslog-udp"\ntimezone = "../x"',
            "sources[0].timezone: expected a zone of the tz",
        ),
        (
            'name = "a"\ntype = "syslog-udp"\ntimezone = "America"',
            "sources[0].timezone: expected a zone of the tz",
        ),
        (
            'name = "a"\ntype = "syslog-udp"\ntimezone = "No/Where"',
            "sources[0].timezone: expected a zone of the",
        ),
        ('name = "a"\ntype = "syslog-tcp"\ncert_file = "c"', "sources[0].key_file: expected a value"),
        ('name = "a"\ntype = "syslog-tcp"\nkey_file = "c"', "sources[0].cert_file: expected a value"),
        (
            'name = "a"\ntype = "syslog-tcp"\nclient_ca_file = "c"',
            "sources[0].client_ca_file: expected cert_file",
        ),
        ('name = "a"\ntype = "file"\npaths = []', "sources[0].paths: expected a list of at least one path"),
        (
            'name = "a"\ntype = "file"\npaths = ["x"]\nformat = "text"\nmap = "ecs"',
            "sources[0].map: expected nothing",
        ),
        (
            'name = "a"\ntype = "file"\npaths = ["x"]',
            'map: expected the name of a map, since format = "ndjson"',
        ),
        ('name = "a"\ntype = "redis"', "sources[0].url: expected a value, got nothing"),
        ('name = "a"\ntype = "redis"\nurl = "http://x"', "sources[0].url: expected redis://"),
        (
            'name = "a"\ntype = "redis"\nurl = "redis://x"\npassword_env = "A"\npassword_file = "b"',
            "only one of",
        ),
        (
            'name = "a"\ntype = "syslog-udp"\n[[sources]]\nname = "a"\ntype = "syslog-tcp"',
            "sources[1].name: expected a",
        ),
    ],
)
def test_a_problem_is_told_by_its_place(table: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(f"[[sources]]\n{table}")
    assert said in str(caught.value)


@pytest.mark.parametrize("url", ["redis://u:hunter2@host", "redis://host?password=hunter2"])
def test_a_credential_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(f'[[sources]]\nname = "a"\ntype = "redis"\nurl = "{url}"')
    assert "password_env" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_sources_are_tables() -> None:
    with pytest.raises(ConfigError, match=r"sources: expected tables \[\[sources\]\], got 3"):
        config.parse("sources = 3")
