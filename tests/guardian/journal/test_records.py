from __future__ import annotations

import itertools
import struct

import google_crc32c
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardian.journal.records import MAGIC, Damage, Found, Record, packed, scan, skim, texts_of

SALT = b"salt"


def record(body: bytes) -> Record:
    return Record("/v1/logs", "application/x-protobuf", "gzip", "", 1_700_000_000_000_000_000, body)


def written(bodies: list[bytes], *, first: int = 1, salt: bytes = SALT) -> bytes:
    records = [record(body) for body in bodies]
    return b"".join(packed(each, texts_of(each), seq, salt) for seq, each in enumerate(records, first))


def scanned(data: bytes, *, at: int = 0, last: int = 0, salt: bytes = SALT) -> list[Found | Damage]:
    return list(
        scan(
            lambda start, length: data[start : start + length],
            salt=salt,
            at=at,
            end=len(data),
            last=last,
        )
    )


@given(
    st.builds(
        Record,
        path=st.text(),
        content_type=st.text(),
        encoding=st.text(),
        map_name=st.text(),
        received_at=st.integers(-(2**63), 2**63 - 1),
        body=st.binary(),
        source=st.text(),
        position=st.binary(),
    ),
    st.integers(1, 2**64 - 1),
)
def test_a_record_comes_back_as_it_was(given_record: Record, seq: int):
    data = packed(given_record, texts_of(given_record), seq, SALT)
    assert scanned(data) == [Found(seq, len(data), given_record)]


def test_a_record_of_version_1_is_still_read():
    texts = msgspec.msgpack.encode(("/v1/logs", "application/json", "gzip", ""))
    payload = texts + b"body"
    head = struct.pack(
        "<4sHHIIIQq", MAGIC, 1, 0, len(texts), 4, google_crc32c.value(payload), 7, 1_700_000_000
    )
    data = head + google_crc32c.value(SALT + head).to_bytes(4, "little") + payload
    record = Record("/v1/logs", "application/json", "gzip", "", 1_700_000_000, b"body")
    assert scanned(data) == [Found(7, len(data), record)]


def test_a_flip_of_any_bit_costs_that_record_and_no_other():
    bodies = [b"first", b"second", b"third"]
    data = written(bodies)
    start, stop = (found.stop for found in scanned(data)[:2])
    for position in range(start * 8, stop * 8):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        assert scanned(bytes(flipped)) == [
            scanned(data)[0],
            Damage(start, stop),
            scanned(data)[2],
        ]


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
def test_a_cut_anywhere_leaves_the_records_before_it(bodies: list[bytes], data: st.DataObject):
    whole = written(bodies)
    cut = data.draw(st.integers(0, len(whole)))
    found = scanned(whole[:cut])
    intact = [each for each in scanned(whole) if each.stop <= cut]
    end = intact[-1].stop if intact else 0
    assert found == intact + ([Damage(end, cut)] if end < cut else [])


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_can_be_scanned(noise: bytes, position: int):
    data = written([b"before"]) + noise[:position] + MAGIC + noise[position:]
    items = scanned(data)
    assert isinstance(items[0], Found)
    assert items[-1].stop == len(data)


@given(st.lists(st.binary(max_size=40), max_size=4), st.binary(max_size=60), st.data())
def test_skimming_finds_what_a_scan_finds_up_to_the_first_damage(
    bodies: list[bytes], noise: bytes, data: st.DataObject
):
    whole = bytearray(written(bodies) + noise)
    if data.draw(st.booleans()) and whole:
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    at, last = skim(bytes(whole), SALT, 0)
    before = list(itertools.takewhile(lambda item: isinstance(item, Found), scanned(bytes(whole))))
    assert (at, last) == (before[-1].stop, before[-1].seq) if before else (0, 0)


def test_skimming_stops_at_a_gap_in_the_numbers():
    assert skim(written([b"a", b"b"]), SALT, 5) == (0, 5)
    both = written([b"a"]) + written([b"b"], first=3)
    assert skim(both, SALT, 0) == (len(written([b"a"])), 1)


def test_a_record_inside_a_body_is_no_record():
    forged = written([b"forged"], first=2, salt=b"else")
    data = bytearray(written([b"x" + forged + b"y", b"next"]))
    data[0] ^= 1
    items = scanned(bytes(data))
    assert [type(item) for item in items] == [Damage, Found]
    assert items[1].record.body == b"next"


def test_numbers_only_rise():
    data = written([b"five"], first=5) + written([b"four"], first=4) + written([b"six"], first=6)
    assert [item.record.body for item in scanned(data) if isinstance(item, Found)] == [b"five", b"six"]


def test_records_longer_than_the_window_and_many_windows():
    bodies = [bytes(3 * 2**20), b"a", bytes(2**20), b"b"]
    items = scanned(written(bodies))
    assert [item.record.body for item in items] == bodies


def test_magic_across_the_edge_of_a_window():
    data = bytes(2**20 - 2) + written([b"here"])
    assert [type(item) for item in scanned(data)] == [Damage, Found]


@pytest.mark.parametrize("sector", [0, 1, 5])
def test_an_unreadable_sector_costs_only_what_stands_in_it(sector: int):
    bodies = [bytes([number]) * 4000 for number in range(8)]
    data = written(bodies)

    def read(start: int, length: int) -> bytes:
        if start < (sector + 1) * 4096 and start + length > sector * 4096:
            raise OSError(5, "input/output error")
        return data[start : start + length]

    items = list(scan(read, salt=SALT, at=0, end=len(data), last=0))
    kept = [item for item in items if isinstance(item, Found)]
    assert len(kept) >= 6
    assert all(item in scanned(data) for item in kept)
    assert any(isinstance(item, Damage) for item in items)
