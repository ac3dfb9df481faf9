"""The receivers of alerts, one a file. Each is a ``guardian.ports.Sink`` of OCSF findings."""
