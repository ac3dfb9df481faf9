"""Bytes to EVENTS: request bodies and files, through a map or by the conventions of OpenTelemetry."""

from guardian.decode.bodies import ARROW, decode_body, decompress
from guardian.decode.columns import Decoded, Rejected
from guardian.decode.files import read, read_all
from guardian.decode.mapping import BUILT_IN, Map, load_map, parse_map

__all__ = [
    "ARROW",
    "BUILT_IN",
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
