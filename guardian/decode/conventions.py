"""Which attributes say who, where and how: OpenTelemetry's semantic conventions and the Elastic Common Schema.

Owns the names and their order of preference; ``otlp`` and the kernels give them their meaning. In each list the first
attribute that holds a text counts. Names that were renamed stand behind their successors, because SDKs send both for
years. Sources: OpenTelemetry semantic conventions 1.2x to 1.3x (registries ``user``, ``enduser``, ``client``,
``source``, ``server``, ``destination``, ``network``, ``service``, ``http``, ``url``, ``session``, ``event``, ``host``,
``k8s``) and their migration tables; ECS 9 (``user``, ``client``, ``source``, ``destination``, ``event``, ``host``).
"""

from __future__ import annotations

from typing import Final

ACTOR: Final = (
    "user.id",
    "enduser.id",
    "user.name",
    "user.email",
    "enduser.name",
    "client.user.id",
    "client.user.name",
    "source.user.id",
    "source.user.name",
    "user.hash",
    "enduser.pseudo.id",
)
ADDRESS: Final = (
    "client.address",
    "client.ip",
    "source.address",
    "source.ip",
    "http.client_ip",
)
PEER: Final = ("network.peer.address", "net.sock.peer.addr", "net.peer.ip")
"""The other end of a connection. Of a client's span that is the server, so it is an address everywhere but there."""
TARGET: Final = (
    "service.peer.name",
    "peer.service",
    "server.address",
    "destination.address",
    "destination.domain",
    "server.domain",
    "destination.ip",
    "server.ip",
    "net.peer.name",
    "net.host.name",
    "host.name",
    "host.hostname",
    "url.domain",
    "http.host",
    "http.server_name",
    "messaging.destination.name",
)
SESSION: Final = ("session.id", "session.previous_id", "gen_ai.conversation.id")
KIND: Final = ("event.name", "event.action")
"""Of a log record, when the field ``event_name`` is empty. The first is never kept in ``attrs``."""
METHOD: Final = ("http.request.method", "http.method")
ROUTE: Final = ("http.route",)
PATH: Final = ("url.path",)
STATUS: Final = ("http.response.status_code", "http.status_code")
GRPC_STATUS: Final = ("rpc.grpc.status_code",)
RPC_STATUS: Final = ("rpc.response.status_code",)
OUTCOME: Final = ("event.outcome",)
ERROR: Final = ("error.type", "exception.type")
LAYER: Final = ("tamv.layer",)
DURATION: Final = ("event.duration",)
"""Nanoseconds; the value of a log record. A span states its duration itself."""

RESOURCE_SOURCE: Final = (
    "service.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.container.name",
    "faas.name",
)
"""The first is never kept in ``attrs``."""
RESOURCE_TARGET: Final = (
    "host.name",
    "host.hostname",
    "k8s.pod.name",
    "service.instance.id",
    "host.id",
    "container.id",
    "service.name",
)

EVENT_OUTCOMES: Final = {"success": 1, "failure": 2, "denied": 3}
"""Words of ``event.outcome`` as ``Outcome``; ``denied`` is ours."""

RPC_OUTCOMES: Final = {"ok": 1, "0": 1, "permission_denied": 3, "unauthenticated": 3}
"""Words of ``rpc.response.status_code`` as ``Outcome``; every other one is a failure."""

SEVERITY_OF_TEXT: Final = {
    "trace": 1,
    "debug": 5,
    "info": 9,
    "information": 9,
    "notice": 10,
    "warn": 13,
    "warning": 13,
    "error": 17,
    "critical": 21,
    "fatal": 21,
}
"""Severity numbers of the log data model for records that state a word only."""

GRPC_DENIED: Final = (7, 16)  # PERMISSION_DENIED, UNAUTHENTICATED
SERVER_KINDS: Final = (2, 5)  # SPAN_KIND_SERVER, SPAN_KIND_CONSUMER
STATUS_OK: Final = 1
STATUS_ERROR: Final = 2
