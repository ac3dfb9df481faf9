"""Everything that leaves: the database, the outbox and its sinks, MSR and BookPI, metrics, our own telemetry."""
