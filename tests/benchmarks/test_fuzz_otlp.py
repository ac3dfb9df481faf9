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


def test_both_decoders_agree() -> None:
    counts, found = fuzzing.fuzz(2024, 10_000)
    assert found is None, found.hex()
    assert counts["inputs"] == 10_000
    assert counts["taken by the kernels"] > 1_000, "else nothing is compared"


def test_it_notices_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(body: bytes, signal: Signal, latest: int) -> object:
        return decode_records(body + body if body else body, signal, latest)

    monkeypatch.setattr(fuzzing, "decode_records", forgetful)
    _, found = fuzzing.fuzz(1, 500)
    assert found


def test_inputs_are_the_same_for_the_same_seed() -> None:
    assert list(fuzzing.inputs(3, 100)) == list(fuzzing.inputs(3, 100))
    assert list(fuzzing.inputs(3, 100)) != list(fuzzing.inputs(4, 100))


def test_a_request_is_mostly_sound() -> None:
    maker = fuzzing.Maker(1)
    bodies = [maker.request(Signal.SPAN) for _ in range(50)]
    assert sum(fuzzing.plain_draft(body, Signal.SPAN, LATEST) is not None for body in bodies) > 10
