"""The ``[[sinks]]`` tables of ``guardian.toml``: where alerts go.

Owns their settings, defaults and what no single value can say about itself. Does not own reading the file
(``guardian.config``), which alert goes to which sink (``guardian.route_settings``) nor the sinks themselves
(``exporters.sinks``). Secrets are named by reference only: a variable of the environment, or a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from guardian.errors import Problem
from guardian.units import Bytes, Count, LevelName, Name, Port, Seconds

HttpUrl = Annotated[
    str, Meta(pattern=r"^https?://[^/?#\s]+([/?]\S*)?\Z", description="an address http://… or https://…")
]
RedisUrl = Annotated[
    str,
    Meta(pattern=r"^(rediss?://|unix:///)\S+\Z", description="redis://…, rediss://… or unix:///…"),
]
NatsUrl = Annotated[
    str, Meta(pattern=r"^(nats|tls)://[^/\s]+\Z", description="an address nats://… or tls://…")
]
NatsSubject = Annotated[
    str,
    Meta(
        pattern=r"^[^\s.*>]+(\.[^\s.*>]+)*\Z",
        max_length=256,
        description="a subject without wildcards: a.b.c",
    ),
]
Fingerprint = Annotated[
    str,
    Meta(
        pattern=r"^(?i:sha-256(:[0-9a-f]{2}){32})\Z",
        description="sha-256: and 32 pairs of hexadecimal digits between colons",
    ),
]
JsonForm = Literal["ocsf", "ocsf-1.7", "ocsf-1.6", "ocsf-1.5", "ecs", "wazuh", "cloudevents"]
"""Forms of one JSON object an alert."""
LineForm = Literal["rfc5424", "cef", "leef"]
"""Forms of one line of text an alert."""


class _Common(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every receiver of alerts has."""

    name: Name
    minimum_level: LevelName = "medium"
    """Of the alerts that it is owed while no ``[[routes]]`` are given."""
    batch: Annotated[int, Meta(ge=1, le=10_000, description="a whole number, 1 to 10000")] = 100
    """Alerts sent at once, at most …"""
    batch_bytes: Bytes = 2**20
    """… and bytes, unless a single alert is larger."""
    timeout_s: Seconds = 10.0
    retention_s: Seconds = 7 * 86_400.0
    """An alert that could not be delivered for this long becomes a dead letter."""
    fallback: str = ""
    """Name of the sink that takes over what is owed …"""
    fallback_after_s: Seconds = 30.0
    """… once this one has taken nothing for this long while it was owed something."""
    heartbeat_s: Annotated[float, Meta(ge=0, description="seconds, or 0 for none")] = 0.0
    """How often a heartbeat is sent through it, which measures the way to the receiver."""


class _Tls(_Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whom to trust, and who we are."""

    ca_file: str = ""
    """Authorities (PEM) of the receiver; empty = those of the system."""
    cert_file: str = ""
    """Our certificate chain (PEM); with ``key_file`` it is shown to the receiver."""
    key_file: str = ""


class _Token(_Tls, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A credential by reference."""

    token_env: str = ""
    """Name of the environment variable that holds the token …"""
    token_file: str = ""
    """… or a file that does; read anew for each request, so that a rotated one is picked up."""


class Http(_Token, frozen=True, kw_only=True, tag="http"):
    """One POST a batch: a JSON array, with a bearer token when one is configured."""

    url: HttpUrl
    format: JsonForm = "ocsf"


class Webhook(_Tls, frozen=True, kw_only=True, tag="webhook"):
    """One POST an alert, signed as Standard Webhooks asks; the body is a CloudEvent."""

    url: HttpUrl
    secret_env: str = ""
    """Name of the environment variable with the signing secret: ``whsec_…`` (HMAC-SHA256) or ``whsk_…`` (Ed25519) …"""
    secret_file: str = ""
    """… or a file with it; several secrets, one a line, sign side by side while one is being replaced."""
    format: JsonForm = "cloudevents"
    allow_private: bool = False
    """Also send to loopback, private and link-local addresses, which a name may be made to point to."""


class Splunk(_Token, frozen=True, kw_only=True, tag="splunk"):
    """Splunk's HTTP Event Collector."""

    url: HttpUrl
    """Of the collector, without a path: ``https://splunk.example:8088``."""
    format: JsonForm = "ocsf"
    index: str = ""
    source: str = "tamv-guardian"
    sourcetype: str = "tamv:guardian:alert"
    acknowledge: bool = True
    """Count an alert as delivered when an indexer has it, where the collector offers that."""
    acknowledge_timeout_s: Seconds = 120.0


class Elastic(_Token, frozen=True, kw_only=True, tag="elastic"):
    """Elasticsearch or OpenSearch, by ``_bulk``."""

    url: HttpUrl
    """Of the cluster, without a path."""
    format: JsonForm = "ecs"
    index: Annotated[
        str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,254}\Z", description="the name of an index or data stream")
    ] = "tamv-guardian-alerts"
    user: str = ""
    """For basic authentication, with the token as its password; empty = the token is an API key."""


class Sentinel(_Tls, frozen=True, kw_only=True, tag="sentinel"):
    """Microsoft Sentinel, by the Logs Ingestion API."""

    url: HttpUrl
    """Of the data collection endpoint, without a path."""
    rule_id: Annotated[
        str, Meta(pattern=r"^dcr-[0-9a-f]{32}\Z", description="the immutable id of a rule, dcr-…")
    ]
    stream: Annotated[
        str, Meta(pattern=r"^Custom-[A-Za-z0-9_-]{1,100}\Z", description="the name of a stream, Custom-…")
    ] = "Custom-TamvGuardian_CL"
    tenant: str
    client: str
    """Id of the application that may write."""
    secret_env: str = ""
    """Name of the environment variable that holds its secret …"""
    secret_file: str = ""
    authority: HttpUrl = "https://login.microsoftonline.com"
    format: JsonForm = "ocsf"


class Alertmanager(_Token, frozen=True, kw_only=True, tag="alertmanager"):
    """Prometheus Alertmanager, API v2. It forgets on a restart, so what is open is sent again while it is open."""

    url: HttpUrl
    """Without a path."""
    resend_s: Seconds = 60.0


class Otlp(_Token, frozen=True, kw_only=True, tag="otlp"):
    """OTLP logs over HTTP, protobuf."""

    url: HttpUrl
    """Of the receiver, without ``/v1/logs``."""


class Syslog(_Tls, frozen=True, kw_only=True, tag="syslog"):
    """Syslog over TCP or TLS, octet counting (RFC 6587, RFC 5425). The protocol has no acknowledgements."""

    host: str
    port: Port = 6514
    transport: Literal["tcp", "tls"] = "tls"
    format: LineForm = "rfc5424"
    fingerprints: tuple[Fingerprint, ...] = ()
    """Of the certificates that are trusted, and no others, whoever signed them (RFC 5425, 4.2.2)."""
    enterprise: Annotated[int, Meta(ge=1, description="a private enterprise number")] = 32473
    """Of structured data; 32473 is the number for documentation."""


class Relp(_Tls, frozen=True, kw_only=True, tag="relp"):
    """Syslog messages over RELP: each is acknowledged."""

    host: str
    port: Port = 2514
    transport: Literal["tcp", "tls"] = "tls"
    format: LineForm = "rfc5424"
    window: Count = 128
    """Messages that may be under way unacknowledged."""
    enterprise: Annotated[int, Meta(ge=1, description="a private enterprise number")] = 32473


class Redis(_Tls, frozen=True, kw_only=True, tag="redis"):
    """A Redis Stream: one entry an alert."""

    url: RedisUrl
    username: str = ""
    """Of Redis 6 access lists; empty = the default user."""
    password_env: str = ""
    password_file: str = ""
    stream: str = "tamv:guardian:alerts"
    max_length: Count = 100_000
    format: JsonForm = "ocsf"


class Nats(_Token, frozen=True, kw_only=True, tag="nats"):
    """A NATS JetStream subject: one message an alert, deduplicated by its id."""

    url: NatsUrl
    subject: NatsSubject = "tamv.guardian.alerts"
    format: JsonForm = "cloudevents"


class File(_Common, frozen=True, kw_only=True, tag="file"):
    """A file: one line an alert, on disk before it counts as delivered."""

    path: Annotated[str, Meta(min_length=1, description="the path of a file")]
    format: JsonForm | LineForm = "ocsf"
    rotate_bytes: Annotated[int, Meta(ge=0, description="bytes, or 0 for never")] = 0
    """Begin a new file once this one holds as much …"""
    keep: Count = 5
    """… and keep so many old ones."""


Sink = (
    Http | Webhook | Splunk | Elastic | Sentinel | Alertmanager | Otlp | Syslog | Relp | Redis | Nats | File
)

KINDS: Final[dict[str, type[Sink]]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        Http,
        Webhook,
        Splunk,
        Elastic,
        Sentinel,
        Alertmanager,
        Otlp,
        Syslog,
        Relp,
        Redis,
        Nats,
        File,
    )
}
"""``type`` → table."""

_EITHER: Final = (
    ("token_env", "token_file"),
    ("secret_env", "secret_file"),
    ("password_env", "password_file"),
)


def problems_across(sinks: tuple[Any, ...]) -> Iterator[Problem]:
    """What no single value can say about itself."""
    names = [sink.name for sink in sinks]
    for index, sink in enumerate(sinks):
        here = f"sinks[{index}]"
        if sink.name in names[:index]:
            yield Problem(f"{here}.name", "a name of its own", f'"{sink.name}"')
        if sink.fallback and (sink.fallback == sink.name or sink.fallback not in names):
            yield Problem(f"{here}.fallback", "the name of another sink", f'"{sink.fallback}"')
        if "@" in urlsplit(getattr(sink, "url", "")).netloc:
            # What stood there is not repeated: it holds a secret.
            expected = "an address without a credential; a variable or a file is named beside it"
            yield Problem(f"{here}.url", expected, "one with a credential in it")
        for first, second in _EITHER:
            if getattr(sink, first, "") and getattr(sink, second, ""):
                yield Problem(f"{here}.{second}", f"only one of {first} and {second}", "both")
        if isinstance(sink, Alertmanager) and sink.heartbeat_s:
            yield Problem(
                f"{here}.heartbeat_s",
                "0: Alertmanager would tell a heartbeat again and again",
                f"{sink.heartbeat_s:g}",
            )
        if bool(getattr(sink, "cert_file", "")) != bool(getattr(sink, "key_file", "")):
            missing = "key_file" if sink.cert_file else "cert_file"
            yield Problem(
                f"{here}.{missing}", "a value: a certificate needs cert_file and key_file", "nothing"
            )
    yield from _circles({sink.name: sink.fallback for sink in sinks}, names)


def _circles(fallback: dict[str, str], names: list[str]) -> Iterator[Problem]:
    """Sinks whose fallbacks lead back to themselves."""
    for index, name in enumerate(names):
        passed, at = {name}, fallback[name]
        while at in fallback and at not in passed:
            passed.add(at)
            at = fallback[at]
        if at == name and fallback[name] != name:
            yield Problem(
                f"sinks[{index}].fallback", "fallbacks that end somewhere", f'"{fallback[name]}", a circle'
            )
