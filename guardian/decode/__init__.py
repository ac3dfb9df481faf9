"""Bytes to events: request bodies and files become EVENTS record batches.

Owns formats, maps and limits. Nothing is dropped in silence: a record that is no event is counted by reason and named
by its line. Knows neither the journal nor the engine.
"""

from guardian.decode.bodies import decode_body
from guardian.decode.files import read, read_all
from guardian.decode.mapfile import BUILTIN, load_map, parse_map
from guardian.decode.mapping import Map
from guardian.decode.result import Decoded, Rejected

__all__ = [
    "BUILTIN",
    "Decoded",
    "Map",
    "Rejected",
    "decode_body",
    "load_map",
    "parse_map",
    "read",
    "read_all",
]
