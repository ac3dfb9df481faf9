"""Lines: the same whatever the cuts, and a line past the limit costs neither memory nor a neighbour."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardian.decode import lines
from guardian.decode.json_layout import PAD
from guardian.decode.lines import MAX_BLOCK_LINES, byte_blocks, line_blocks, slices, unmarked

LIMIT = 8


def numbered(pieces: list[bytes], limit: int = LIMIT) -> list[tuple[int, bytes | None]]:
    return [
        (first + at, line) for first, block in line_blocks(pieces, limit) for at, line in enumerate(block)
    ]


bodies = st.lists(
    st.sampled_from([b"\n", b"a", b"bcd", b"\r", b"0123456789", b"\xef\xbb\xbf"]), max_size=30
).map(b"".join)


def in_blocks(pieces: list[bytes]) -> list[tuple[int, bytes | None]]:
    """The lines of blocks of bytes, as their reader would take them apart."""
    found: list[tuple[int, bytes | None]] = []
    for block in byte_blocks(pieces, LIMIT):
        if block.octets is None:
            assert block.lines == 1
            found.append((block.first_line, None))
            continue
        assert block.octets[block.size :] == PAD
        some = block.octets[: block.size].removesuffix(b"\n").split(b"\n")
        assert len(some) == block.lines
        for number, line in enumerate(some, block.first_line):
            found.append((number, None if len(line) > LIMIT else unmarked(line, number)))
    return found


@given(body=bodies, size=st.integers(1, 12))
def test_blocks_of_bytes_hold_the_same_lines(body: bytes, size: int) -> None:
    pieces = list(slices(body, size))
    assert in_blocks(pieces) == numbered(pieces)


def test_a_block_is_no_larger_than_a_piece_and_a_line() -> None:
    pieces = [b"a\nxxx", *[b"y" * 1000] * 50, b"z\nb\n", b"0\n" * 10]
    assert max(block.size for block in byte_blocks(pieces, LIMIT)) < 1000
    assert in_blocks(pieces)[:3] == [(1, b"a"), (2, None), (3, b"b")]


@given(body=bodies, size=st.integers(1, 12))
def test_lines_do_not_depend_on_the_cuts(body: bytes, size: int) -> None:
    expected = [None if len(line) > LIMIT else line for line in body.split(b"\n")]
    if expected[0] is not None:
        expected[0] = expected[0].removeprefix(b"\xef\xbb\xbf")
    if body.endswith(b"\n") or not body:
        expected.pop()
    got = numbered(list(slices(body, size)))
    assert got == list(enumerate(expected, 1))


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert numbered([b"\xef\xbb\xbfab\n", b"\xef\xbb\xbf"], 100) == [(1, b"ab"), (2, b"\xef\xbb\xbf")]


def test_a_byte_order_mark_counts_towards_the_limit_wherever_the_stream_is_cut() -> None:
    body = b"\xef\xbb\xbf" + b"x" * (LIMIT - 2) + b"\n"
    for size in range(1, len(body) + 1):
        assert numbered(list(slices(body, size))) == [(1, None)]


def test_an_endless_line_is_let_go_as_it_streams_by() -> None:
    pieces = [b"a\nxxx", *[b"y" * 1000] * 50, b"z\nb\n"]
    assert numbered(pieces) == [(1, b"a"), (2, None), (3, b"b")]
    assert numbered(pieces[:-1]) == [(1, b"a"), (2, None)]


def test_blocks_have_a_bounded_number_of_lines() -> None:
    blocks = list(line_blocks([b"\n" * (3 * MAX_BLOCK_LINES)]))
    assert [first for first, _ in blocks] == [1, MAX_BLOCK_LINES + 1, 2 * MAX_BLOCK_LINES + 1]
    assert sum(len(block) for _, block in blocks) == 3 * MAX_BLOCK_LINES
    assert lines.BLOCK_BYTES > lines.MAX_LINE_BYTES
