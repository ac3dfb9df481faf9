"""What the two passes of the JSON scanner hand to each other: tables of members and of lines, and a compiled map.

Owns the layout. ``json_members`` fills the tables from bytes, ``json_plan`` compiles maps, ``json_rows`` reads both.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.compilation import U8, array, named, types

Octets = NDArray[np.uint8]
Ints = NDArray[np.int32]
Words = NDArray[np.uint64]

IN_OCTETS: Final = array(types.uint8, readonly=True)
OCTETS: Final = array(types.uint8)
INTS: Final = array(types.int32)
TABLE: Final = array(types.int32, 2)
WORDS: Final = array(U8)
COUNTS: Final = array(types.int64)
FRAMES: Final = array(types.int64, 2)

FEED, QUOTE, PLUS, COMMA, MINUS, POINT, SLASH, ZERO, NINE, COLON = b'\n"+,-./09:'
OPEN_LIST, BACKSLASH, CLOSE_LIST, OPEN, CLOSE, LETTER_E, CAPITAL_E, LETTER_U = b"[\\]{}eEu"
SPACES: Final = (32, 9, 13)
"""Octets that matter to JSON, by name. A line feed ends a line, so it is no space here."""

NULL, TRUE, FALSE, STRING, ESCAPED, INTEGER, DECIMAL, DOUBTFUL, OBJECT, LIST = range(10)
"""Types of a value. ESCAPED is a string with escapes; DOUBTFUL a number that msgspec may write in another way."""

KEY_AT, KEY_END, AT, END, TYPE, NODE, PARENT, NEXT, COUNT, FLAGS = range(10)
"""Columns of the table of members, one row a member of an object that a map may look into, in the order of the bytes.

KEY_AT and KEY_END span the key with its quotes (−1 for the first item of a list), AT and END the value; NODE is the
place in the plan's tree, −1 = the map does not name it; PARENT is the row of the object around it, −1 = the line's own;
NEXT is the row after all that is inside; COUNT the members left in an object, or the number of a DOUBTFUL value.
"""
MEMBER_COLUMNS: Final = 10

PLAIN_PAIR, PLAIN_VALUE, REMOVED, TOUCHED = 1, 2, 4, 8
"""FLAGS: the text from key to end (the text of the value) is as msgspec writes it; taken out; something inside is."""

LINE_AT, LINE_END, STATUS, FIRST, LAST, NUMBER = range(6)
"""Columns of the table of lines: span without the line feed, what it is, its members, and how many lines come before."""
LINE_COLUMNS: Final = 6
SCANNED, RARE, TOO_LONG = range(3)
"""STATUS: read here; left to msgspec; longer than a line may be."""

FIELD, DIRECT, TRAP, NO_EMPTY, INNER = range(5)
"""Columns of the nodes of a plan: the field that ends here (−1 = none), whether it is a key of the record itself; what
the scanner leaves to msgspec: a member here at all, an empty object here; whether anything inside can matter."""

NAME, WORD, NUMBER_WORD, TRACE_ID, SPAN_ID = range(5)
"""How a column of text is read: as a name; as a word whose meaning decides whether its field is used up; the same,
where a JSON number always means something; as an id in hexadecimal digits."""

ROLE, STEPS_AT, STEPS_END, NONE_AT, NONE_END = range(5)
"""Columns of the table of columns. The last row is the body's."""
PARTS_AT, PARTS_END, JOINED, MESSAGE, HEAD_AT, HEAD_SIZE = range(6)
"""Columns of the steps (alternatives): their parts, whether a template joins them, and the text before the first."""


class Plan(NamedTuple):
    """A map as flat tables. ``text`` holds all keys, literals and words, with eight bytes to spare."""

    text: Octets
    edges: Ints
    """(keys, 4): node, key's place and size in ``text``, node that it leads to."""
    hashes: Words
    slots: Ints
    """Open addressing: number of the edge from 1, 0 = free."""
    nodes: Ints
    columns: Ints
    steps: Ints
    parts: Ints
    """(parts, 3): field, place and size of the text after it."""
    none: Ints
    """(words, 2): place and size."""
    times: Ints
    """(alternatives, 2): field, nanoseconds in its unit (0 = ISO 8601)."""
    values: Ints
    labels: Ints
    uses: Ints
    """(uses, 2): where a field is asked for: a row of ``columns``, or one more for times, another for values; and which
    of its alternatives, at most MOST_ASKED."""
    uses_at: Ints
    """(fields + 1,): where the uses of each field begin."""


PLAN: Final[Any] = named(Plan, OCTETS, TABLE, WORDS, INTS, *[TABLE] * 6, INTS, INTS, TABLE, INTS)

MOST_ASKED: Final = 63
"""The last alternative of a column that has a bit of its own; it stands for all after it."""
MAX_KEYS: Final = 384
"""Keys in a line that the scanner takes; one with more goes to msgspec."""
MAX_DEPTH: Final = 24
PAD: Final = b"\n" + bytes(15)
"""What stands after the last byte of a block: a line feed ends every loop, and eight bytes can be read at once."""
