"""Bytes to events: request bodies and files become EVENTS record batches.

Owns formats, maps and limits. Nothing is dropped in silence: a record that is no event is counted by reason and named
by its line. Knows neither the journal nor the engine.
"""

from typing import Final

from guardian.decode.bodies import ARROW, decode_body, decompress
from guardian.decode.columns import Decoded, Rejected
from guardian.decode.files import read, read_all
from guardian.decode.mapfile import BUILT_IN, load_map, parse_map
from guardian.decode.mapping import Map

KERNELS: Final = (
    *(
        "guardian.decode.otlp_kernels",
        "guardian.decode.otlp_meaning_kernels",
        "guardian.decode.otlp_name_kernels",
        "guardian.decode.otlp_text_kernels",
    ),
    *("guardian.decode.json_members", "guardian.decode.json_rows"),
    *("guardian.decode.syslog_frames", "guardian.decode.syslog_kernels", "guardian.decode.syslog_logins"),
)
"""Modules whose kernels the decoders run."""

__all__ = [
    "ARROW",
    "BUILT_IN",
    "KERNELS",
    "Decoded",
    "Map",
    "Rejected",
    "decode_body",
    "decompress",
    "load_map",
    "parse_map",
    "read",
    "read_all",
]
