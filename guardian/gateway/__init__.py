"""The HTTP face: ingest, the API, metrics, health and the page.

    service   what the face needs from whoever owns the engine
    serving   the application and its server, with their limits
    ingest    bodies of events, OTLP and JSON lines
    reading   what the API shows
    deciding  requests for a decision
    silencing which alerts nobody is told of
    console   the page and its texts
    bodies    reading a body without ever holding more than is allowed
    turns     whose body is decoded next
    problems  every refusal, in the form its sender understands
    boundary  who may talk to it: binding, host names, headers

It decides nothing and stores nothing.
"""

from guardian.gateway.boundary import check_binding
from guardian.gateway.service import Receipt, Service
from guardian.gateway.serving import application, in_use, runner

__all__ = ["Receipt", "Service", "application", "check_binding", "in_use", "runner"]
