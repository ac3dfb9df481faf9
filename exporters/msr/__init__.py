"""MSR: the immutable register of critical decisions, an RFC 6962 transparency log with signed checkpoints."""
