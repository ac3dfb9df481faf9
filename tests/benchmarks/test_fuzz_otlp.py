"""A bounded run of the fuzzer, always the same: the kernels and the record decoder say the same of everything."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from guardian.decode.columns import LATEST
from guardian.decode.otlp_wire import decode_records
from guardian.events import Signal

FILE = Path(__file__).parent.parent.parent / "benchmarks" / "fuzz_otlp.py"


def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_fuzz_otlp", FILE)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


fuzzing = module()


@pytest.mark.parametrize(("encoding", "count"), [("protobuf", 10_000), ("json", 2_500)])
def test_both_decoders_agree(encoding: str, count: int) -> None:
    counts, found = fuzzing.fuzz(2024, count, encoding=fuzzing.ENCODINGS[encoding])
    assert found is None, found.hex()
    assert counts["inputs"] == count
    assert counts["taken by the kernels"] > count // 20, "else nothing is compared"


def test_it_notices_a_difference() -> None:
    def forgetful(body: bytes, signal: Signal, latest: int) -> object:
        return decode_records(body + body if body else body, signal, latest)

    _, found = fuzzing.fuzz(1, 500, encoding=fuzzing.PROTOBUF._replace(slow=forgetful))
    assert found


def test_inputs_are_the_same_for_the_same_seed() -> None:
    for encoding in fuzzing.ENCODINGS.values():
        assert list(fuzzing.inputs(3, 100, encoding)) == list(fuzzing.inputs(3, 100, encoding))
        assert list(fuzzing.inputs(3, 100, encoding)) != list(fuzzing.inputs(4, 100, encoding))


def test_a_request_is_mostly_sound() -> None:
    maker = fuzzing.Maker(1)
    bodies = [maker.request(Signal.SPAN) for _ in range(50)]
    assert sum(fuzzing.decode_plain(body, Signal.SPAN, LATEST) is not None for body in bodies) > 10
