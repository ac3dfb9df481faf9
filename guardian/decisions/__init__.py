"""Decisions: EOCT evaluations, Isabella's decisions, the protocols' constitution, and what people acknowledge.

Pure functions from a request to the records it yields: no clock, no input or output; time and ids are arguments.
Owns what a decision means and the shape in which it is answered. Does not own where it is kept
(``exporters.records``) nor the EOCT formula (``scoring.eoct``).
"""

from guardian.decisions.record import (
    Acknowledgement,
    EoctRecord,
    GuardianEvent,
    IsabellaRecord,
    ProtocolEvent,
    XrEvent,
)

__all__ = ["Acknowledgement", "EoctRecord", "GuardianEvent", "IsabellaRecord", "ProtocolEvent", "XrEvent"]
