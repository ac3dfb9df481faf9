"""The ``[[sources]]`` tables of ``guardian.toml``: where records come from beside HTTP.

Owns their settings, defaults and what no single value can say about itself. Does not own reading the file
(``guardian.config``) nor the sources themselves (``guardian.sources``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

from guardian.errors import Problem
from guardian.units import Bytes, Count, Name, Port, Seconds

MessageBytes = Annotated[int, Meta(ge=480, le=2**20, description="bytes, 480 to 1048576")]
Word = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9._:/-]{0,128}\Z", description="at most 128 of A-Z a-z 0-9 . _ : / -")
]
RedisUrl = Annotated[
    str,
    Meta(
        pattern=r"^(rediss?://|unix:///)\S+\Z",
        description="redis://…, rediss://… or unix:///…",
    ),
]


class SyslogUdp(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="syslog-udp"):
    """Syslog (RFC 5424, RFC 3164) in datagrams. What comes while the queue is full is dropped and counted."""

    name: Name
    host: str = "127.0.0.1"
    port: Port = 5514
    timezone: str = "UTC"
    """Of timestamps that state none, which is all of RFC 3164."""
    max_message_bytes: MessageBytes = 64 * 1024
    """A longer message is cut here, and counted."""
    queue_bytes: Bytes = 16 * 2**20
    """What may wait to be made durable."""
    receive_buffer_bytes: Bytes = 4 * 2**20
    """Asked of the kernel, which grants what ``net.core.rmem_max`` allows, and all of it to a privileged process."""


class SyslogTcp(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="syslog-tcp"):
    """Syslog over TCP, also TLS: octet counting and newline framing (RFC 6587), told apart by themselves."""

    name: Name
    host: str = "127.0.0.1"
    port: Port = 5514
    timezone: str = "UTC"
    """Of timestamps that state none, which is all of RFC 3164."""
    max_message_bytes: MessageBytes = 64 * 1024
    """A longer message is cut here, and counted. A connection holds at most one unfinished message."""
    queue_bytes: Bytes = 16 * 2**20
    """What may wait to be made durable; while more does, nothing is read from any connection."""
    max_connections: Count = 1_000
    idle_s: Seconds = 3_600.0
    """A connection that is silent between messages for this long is closed."""
    stall_s: Seconds = 30.0
    """So is one that does not finish its TLS handshake, or a message that it began, within this time."""
    cert_file: str = ""
    """Certificate chain (PEM); with ``key_file`` the listener speaks TLS 1.2 or newer, and only that."""
    key_file: str = ""
    client_ca_file: str = ""
    """Authorities (PEM) of clients; given, a client without a certificate of theirs is refused."""


class FileTail(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="file"):
    """Log files as they grow, over rotation, truncation and compression."""

    name: Name
    paths: Annotated[
        tuple[str, ...], Meta(min_length=1, description="a list of at least one path or pattern")
    ]
    """Paths or glob patterns. Compressed files (``.gz``, ``.zst``) are read only as what a watched file became."""
    format: Literal["ndjson", "text", "syslog"] = "ndjson"
    """``text`` = a line is a message, with a timestamp in front or none; ``syslog`` = as syslog daemons write files."""
    map: str = ""
    """For ``ndjson``, and needed there: name of a built-in map."""
    service: Word = ""
    """For ``text``: the ``source`` of its events; empty = ``name``."""
    host: Word = ""
    """For ``text``: the ``target`` of its events; empty = the name of this machine."""
    timezone: str = "UTC"
    """Of timestamps that state none."""
    start: Literal["beginning", "end"] = "beginning"
    """Where files begin that are there when the source runs for the first time; later ones begin at their beginning."""
    poll_s: Annotated[float, Meta(ge=0.01, le=3600, description="seconds, 0.01 to 3600")] = 0.25
    settle_s: Seconds = 5.0
    """A rotated file that did not grow for this long is complete; a last line without an end counts then."""
    max_files: Annotated[int, Meta(ge=1, le=1024, description="a whole number, 1 to 1024")] = 256
    """Files remembered and held open at once, at most; further ones wait, and are counted."""


class RedisStream(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="redis"):
    """A Redis stream read as a consumer group: one entry = one body, acknowledged once it is durable."""

    name: Name
    url: RedisUrl
    username: str = ""
    password_env: str = ""
    """Name of the environment variable that holds the password."""
    password_file: str = ""
    ca_file: str = ""
    """Authorities (PEM) of a ``rediss://`` server; empty = those of the system."""
    stream: Annotated[str, Meta(min_length=1, max_length=512, description="1 to 512 characters")] = "guardian"
    group: Annotated[str, Meta(min_length=1, max_length=512, description="1 to 512 characters")] = "guardian"
    consumer: str = ""
    """Whose pending entries these are; empty = the name of this machine. It must stay the same over restarts."""
    claim_idle_s: Seconds = 300.0
    """Entries that another consumer has left unacknowledged for this long are taken over."""
    max_entry_bytes: Bytes = 16 * 2**20
    """A larger body is rejected."""


Source = SyslogUdp | SyslogTcp | FileTail | RedisStream
KINDS: Final[dict[str, type[Source]]] = {
    str(kind.__struct_config__.tag): kind for kind in (SyslogUdp, SyslogTcp, FileTail, RedisStream)
}
"""``type`` → table."""


def problems_across(sources: tuple[Source, ...]) -> Iterator[Problem]:
    """What no single value can say about itself."""
    names: set[str] = set()
    for index, source in enumerate(sources):
        here = f"sources[{index}]"
        if source.name in names:
            yield Problem(f"{here}.name", "a name of its own", f'"{source.name}"')
        names.add(source.name)
        if not isinstance(source, RedisStream) and not _is_zone(source.timezone):
            yield Problem(
                f"{here}.timezone",
                "a zone of the tz database, such as America/Mexico_City",
                f'"{source.timezone}"',
            )
        if isinstance(source, SyslogTcp):
            if bool(source.cert_file) != bool(source.key_file):
                missing = "key_file" if source.cert_file else "cert_file"
                yield Problem(f"{here}.{missing}", "a value: TLS needs cert_file and key_file", "nothing")
            if source.client_ca_file and not source.cert_file:
                yield Problem(f"{here}.client_ca_file", "cert_file and key_file beside it", "neither")
        if isinstance(source, FileTail) and source.format == "ndjson" and not source.map:
            yield Problem(f"{here}.map", 'the name of a map, since format = "ndjson"', "nothing")
        if isinstance(source, FileTail) and source.map and source.format != "ndjson":
            yield Problem(f"{here}.map", 'nothing unless format = "ndjson"', f'"{source.map}"')
        if isinstance(source, RedisStream) and ("@" in source.url or "?" in source.url):
            # What stood there is not repeated: it may hold a secret.
            expected = "an address without a credential or options; password_env or password_file names one"
            yield Problem(f"{here}.url", expected, "one with a credential or options in it")
        if isinstance(source, RedisStream) and source.password_env and source.password_file:
            yield Problem(f"{here}.password_file", "only one of password_env and password_file", "both")


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (
        ValueError,
        OSError,
    ):  # not found is a KeyError of its own, a path outside a ValueError, a folder an OSError
        return False
    except KeyError:
        return False
    return True
