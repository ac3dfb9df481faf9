"""Where records come from beside HTTP: syslog listeners, files as they grow, Redis streams.

Owns how bytes are taken from there, what is remembered to go on after a restart, and how much is held meanwhile. Each is
a ``guardian.ports.Source`` made by ``(settings, count)``: ``count(reason, how many)`` is told everything that is dropped
or cut. Knows neither the journal's files nor the engine.
"""

from guardian.sources.redis_streams import RedisStreamSource
from guardian.sources.syslog_tcp import SyslogTcpSource
from guardian.sources.syslog_udp import SyslogUdpSource
from guardian.sources.tail import FileTailSource

__all__ = ["FileTailSource", "RedisStreamSource", "SyslogTcpSource", "SyslogUdpSource"]
