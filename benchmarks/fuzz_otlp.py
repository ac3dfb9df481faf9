"""Random and broken OTLP requests through the kernels and through the record decoder: the same events or the same refusal.

Run by itself: ``python benchmarks/fuzz_otlp.py --inputs 10000000``. It prints how many inputs there were and how many of them
the kernels took; it ends with 1 and the input in hexadecimal at the first difference. What the kernels leave is decided by the
record decoder and so cannot differ; a sample of it is decoded all the same, for only documented errors may come of it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from guardian.decode import conventions
from guardian.decode.columns import LATEST, Decoded
from guardian.decode.conventions import DURATION, GRPC_STATUS, LAYER, RESOURCE_SOURCE, RESOURCE_TARGET, STATUS
from guardian.decode.otlp_columns import decode_plain, plain_draft
from guardian.decode.otlp_wire import decode_records
from guardian.errors import BodyError
from guardian.events import Signal

NOW = 1_700_000_000 * 10**9
TOGETHER = 200
"""Inputs that the kernels took are compared so many at a time: requests one after the other are a request."""
SAMPLE = 100
"""One in so many of those that they left is decoded by the record decoder."""

NAMES = [
    name
    for listed in vars(conventions).values()
    if isinstance(listed, tuple)
    for name in listed
    if isinstance(name, str) and name not in {*RESOURCE_SOURCE, *RESOURCE_TARGET} - set(conventions.TARGET)
]
NUMBERS = [*STATUS, *GRPC_STATUS, *DURATION]
OWN = [
    "severity_text",
    "name",
    "parent_span_id",
    "otel.status_description",
    "events",
    "otel.scope.name",
    "resource",
]
TEXTS = [
    "",
    "a",
    "GET",
    "/orders/{id}",
    "success",
    "Failure",
    "OK",
    "permission_denied",
    "L5",
    "3",
    "404",
    "403",
    "99999999999999999",
    " ",
    " x ",
    "\u3000",
    "\u00a0",
    'é"\\\n\x00\x7f',
    "日本語",
    "x" * 130,
    "10.0.0.1",
    "INFO",
    "warn",
]
HARMLESS = ["ana", "GET", "/orders/{id}", "success", "L5", "INFO", "10.0.0.1", "shop"]
TIMES = [0, 1, NOW, NOW - 10**9, NOW + 1, LATEST, LATEST + 1, 2**63 - 1, 2**63, 2**64 - 1]
INTEGERS = [
    0,
    1,
    2,
    5,
    7,
    16,
    9,
    24,
    25,
    200,
    401,
    403,
    404,
    500,
    2**31,
    2**32 + 9,
    2**63,
    2**64 - 1,
    2**64 - 200,
]
REALS = [0.0, -0.0, 0.5, 1e300, 200.0, 1e-7, float("nan"), float("inf"), 0.1, 123456789.123]
OCTETS = [0, 1, 2, 8, 9, 10, 11, 12, 18, 0x22, 0x5C, 0x7F, 0x80, 0xC2, 0xE3, 0xED, 0xF4, 0xFF]


def varint(value: int) -> bytes:
    """A protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def part(number: int, content: bytes | str) -> bytes:
    """A length-delimited field."""
    octets = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(octets)) + octets


def integer(number: int, value: int) -> bytes:
    """A varint field."""
    return varint(number << 3) + varint(value)


def fixed(number: int, value: int) -> bytes:
    """A fixed64 field."""
    return varint(number << 3 | 1) + value.to_bytes(8, "little")


class Maker:
    """Makes requests of every shape, most of them sound."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def chance(self, share: float) -> bool:
        """True in a share of all cases."""
        return self.random.random() < share

    def text(self) -> str:
        """A text, mostly a harmless one."""
        return self.random.choice(HARMLESS if self.chance(0.8) else TEXTS)

    def value(self, depth: int = 0) -> bytes:
        """An AnyValue."""
        pick, chance = self.random.choice, self.random.random()
        if chance < 0.5:
            out = part(1, self.text())
        elif chance < 0.62:
            out = integer(3, pick(INTEGERS))
        elif chance < 0.7:
            out = integer(2, pick([0, 1, 2**40]))
        elif chance < 0.76:
            out = fixed(4, int(np.float64(pick(REALS)).view(np.uint64)))
        elif chance < 0.8:
            out = part(7, self.random.randbytes(self.random.randrange(5)))
        elif chance < 0.83:
            out = b""
        elif depth > 3:
            out = part(self.random.choice([5, 6]), b"")
        elif chance < 0.9:
            out = part(5, b"".join(part(1, self.value(depth + 1)) for _ in range(self.random.randrange(4))))
        else:
            out = part(6, b"".join(self.attribute(1, depth + 1) for _ in range(self.random.randrange(4))))
        if self.chance(0.002):
            out += self.value(depth)
        return out

    def attribute(self, number: int, depth: int = 0, key: str | None = None) -> bytes:
        """A KeyValue in a field."""
        key = f"k{self.random.randrange(99)}" if key is None else key
        parts = [part(1, key)]
        if key in NUMBERS and self.chance(0.9):
            number_or_text = self.random.choice([integer(3, self.random.choice(INTEGERS)), part(1, "404")])
            parts.append(part(2, number_or_text))
        elif key in NAMES and self.chance(0.95):
            parts.append(part(2, part(1, self.text()) if self.chance(0.9) else integer(3, 7)))
        elif self.chance(0.97):
            parts.append(part(2, self.value(depth)))
        if self.chance(0.01):
            self.random.shuffle(parts)
        return part(number, b"".join(parts) + self.odd(0.004))

    def odd(self, share: float) -> bytes:
        """In a share of all cases a field that is unknown, of another wire type, or a group."""
        if not self.chance(share):
            return b""
        number = self.random.randrange(1, 40)
        return self.random.choice(
            [
                integer(number, 7),
                fixed(number, 7),
                part(number, b"x"),
                varint(number << 3 | 5) + bytes(4),
                varint(number << 3 | 3) + varint(number << 3 | 4),
            ]
        )

    def some(self, made: list[bytes]) -> bytes:
        """Most of the fields, mostly in their order."""
        kept = [each for each in made if self.chance(0.8)]
        if self.chance(0.02):
            self.random.shuffle(kept)
        return b"".join(kept) + self.odd(0.01)

    def attributes(self, number: int) -> list[bytes]:
        """Some KeyValues."""
        count = self.random.randrange(8)
        keys = (
            self.random.sample(NAMES, count)
            if self.chance(0.97)
            else self.random.choices(NAMES + OWN, k=count)
        )
        return [self.attribute(number, 0, key if self.chance(0.7) else None) for key in keys]

    def log(self) -> bytes:
        """A LogRecord."""
        pick = self.random.choice
        return self.some(
            [
                fixed(1, pick(TIMES[:4]) if self.chance(0.9) else pick(TIMES)),
                integer(2, pick(INTEGERS)),
                part(3, self.text()),
                part(5, self.value()),
                *self.attributes(6),
                integer(7, 1),
                part(9, self.random.randbytes(pick([16, 16, 16, 3]))),
                part(10, self.random.randbytes(8)),
                fixed(11, pick(TIMES)),
                part(12, self.text()) if self.chance(0.2) else b"",
            ]
        )

    def event(self) -> bytes:
        """A span's event."""
        return self.some([fixed(1, NOW), part(2, self.text()), *self.attributes(3)[:3], integer(4, 1)])

    def link(self) -> bytes:
        """A span's link."""
        return self.some(
            [
                part(1, bytes(16)),
                part(2, bytes(8)),
                part(3, self.random.choice(["", "a=b", "a=b", "a=b", "é"])),
            ]
        )

    def span(self) -> bytes:
        """A Span."""
        pick = self.random.choice
        return self.some(
            [
                part(1, self.random.randbytes(16)),
                part(2, self.random.randbytes(pick([8, 8, 8, 0]))),
                part(3, pick(["", "a=b", "a=b", "a=b", "é"])) if self.chance(0.3) else b"",
                part(4, self.random.randbytes(pick([8, 8, 0, 3]))),
                part(5, self.text()),
                integer(6, self.random.randrange(7)),
                fixed(7, pick(TIMES[:4]) if self.chance(0.9) else pick(TIMES)),
                fixed(8, pick(TIMES[:4]) if self.chance(0.9) else pick(TIMES)),
                *self.attributes(9),
                *(part(11, self.event()) for _ in range(self.random.choice([0, 0, 1, 2]))),
                *(part(13, self.link()) for _ in range(self.random.choice([0, 0, 1]))),
                part(15, self.some([part(2, self.text()), integer(3, self.random.randrange(4))])),
            ]
        )

    def request(self, signal: Signal) -> bytes:
        """An ExportLogsServiceRequest or ExportTraceServiceRequest of a few records."""
        record = self.log if signal is Signal.LOG else self.span
        resources = []
        for _ in range(self.random.choice([1, 1, 2])):
            names = [*RESOURCE_SOURCE, *RESOURCE_TARGET, *LAYER]
            shared = [
                part(1, part(1, self.random.choice(names)) + part(2, part(1, self.text())))
                for _ in range(self.random.randrange(4))
            ]
            scopes = [
                part(
                    2,
                    self.some([part(1, self.some([part(1, self.text()), part(2, "1.0")]))])
                    + b"".join(part(2, record()) for _ in range(self.random.choice([1, 1, 2, 3]))),
                )
                for _ in range(self.random.choice([1, 1, 1, 2]))
            ]
            resources.append(part(1, self.some([part(1, self.some(shared))]) + b"".join(scopes)))
        return b"".join(resources) + self.odd(0.02)

    def mutated(self, body: bytes, other: bytes) -> bytes:
        """The body with one to three changes, most of which keep its length."""
        octets = bytearray(body)
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            if not octets:
                break
            at, how = self.random.randrange(len(octets)), self.random.random()
            if how < 0.45:
                octets[at] ^= 1 << self.random.randrange(8)
            elif how < 0.75:
                octets[at] = self.random.choice(OCTETS)
            elif how < 0.82:
                octets[at] = (octets[at] + self.random.choice([-1, 1])) & 0xFF
            elif how < 0.88:
                del octets[at : at + self.random.randrange(1, 5)]
            elif how < 0.93:
                octets[at:at] = self.random.randbytes(self.random.randrange(1, 4))
            elif how < 0.96:
                del octets[at:]
            else:
                start = self.random.randrange(len(other)) if other else 0
                octets[at : at + self.random.randrange(20)] = other[start : start + self.random.randrange(20)]
        return bytes(octets)


def same(left: Decoded, right: Decoded) -> bool:
    """Whether two decoders gave the same batch, dictionaries and the bits of NaN included, and the same account."""
    if (left.rejected, dict(left.reasons)) != (right.rejected, dict(right.reasons)):
        return False
    if left.batch.schema != right.batch.schema or len(left.batch) != len(right.batch):
        return False
    for mine, other in zip(left.batch.columns, right.batch.columns, strict=True):
        if pa.types.is_floating(mine.type):
            if mine.to_numpy().tobytes() != other.to_numpy().tobytes():
                return False
        elif pa.types.is_dictionary(mine.type):
            if not (mine.indices.equals(other.indices) and mine.dictionary.equals(other.dictionary)):
                return False
        elif not mine.equals(other):
            return False
    return True


def agree(body: bytes, signal: Signal) -> bool:
    """Whether both decoders say the same of a body that the kernels take."""
    plain = decode_plain(body, signal, LATEST)
    try:
        return plain is None or same(plain, decode_records(body, signal, LATEST))
    except BodyError:
        return False


def inputs(seed: int, count: int) -> Iterator[tuple[bytes, Signal]]:
    """Requests and their mutations, the same ones for the same seed."""
    maker = Maker(seed)
    made = 0
    while made < count:
        signal = maker.random.choice([Signal.LOG, Signal.SPAN])
        pool = [maker.request(signal) for _ in range(8)]
        for body in pool:
            yield body, signal
            for _ in range(60):
                yield maker.mutated(body, pool[0]), signal
        made += 61 * len(pool)


def fuzz(seed: int, count: int, seconds: float = float("inf")) -> tuple[Counter[str], bytes | None]:
    """Compare both decoders on many inputs: the counts, and the first input of which they say different things."""
    counts: Counter[str] = Counter()
    taken: dict[Signal, list[bytes]] = {Signal.LOG: [], Signal.SPAN: []}
    until = time.monotonic() + seconds

    def compare(signal: Signal) -> bytes | None:
        bodies, taken[signal] = taken[signal], []
        if agree(b"".join(bodies), signal):
            return None
        return next((body for body in bodies if not agree(body, signal)), b"".join(bodies))

    for body, signal in inputs(seed, count):
        counts["inputs"] += 1
        if plain_draft(body, signal, LATEST) is not None:
            counts["taken by the kernels"] += 1
            taken[signal].append(body)
            if len(taken[signal]) >= TOGETHER and (found := compare(signal)) is not None:
                return counts, found
        elif counts["inputs"] % SAMPLE == 0:
            try:
                decode_records(body, signal, LATEST)
                counts["left and read (sample)"] += 1
            except BodyError:
                counts["left and refused (sample)"] += 1
        if counts["inputs"] >= count or (counts["inputs"] % 1000 == 0 and time.monotonic() > until):
            break
    for signal in taken:
        if (found := compare(signal)) is not None:
            return counts, found
    return counts, None


def main() -> int:
    """Fuzz as long as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    started = time.monotonic()
    counts, found = fuzz(asked.seed, asked.inputs, asked.seconds)
    for what, count in counts.items():
        print(f"{count:>12,} {what}")
    print(f"{time.monotonic() - started:>12,.0f} seconds")
    if found is not None:
        print(f"different: {found.hex()}")
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main())
