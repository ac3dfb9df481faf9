"""Kernels beside their twins: hashing, bounded tables, entity risk; compiled beside interpreted."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.config import Config
from guardian.engine import Engine
from guardian.features import Extractor
from guardian.state import keys_of, new_table
from guardian.verdict import Verdict
from scoring import kernels
from scoring.layout import EVICTED
from tests import twins

START = 1_700_000_000.0
ROOT = Path(__file__).parent.parent.parent
MakeEvents = Callable[..., pa.RecordBatch]


@given(texts=st.lists(st.text(max_size=40), max_size=20), seed=st.integers(0, 2**63 - 1))
def test_hashes_are_siphash_1_3(texts: list[str], seed: int) -> None:
    from guardian.config import Engine as EngineSettings

    extractor = Extractor(Config(engine=EngineSettings(hash_seed=seed)))
    got = extractor.hash_names(pa.array(texts, pa.string()))
    expected = [
        (twins.siphash13(text.encode(), seed, seed ^ 0x5441_4D56_4755_4152) or 1) if text else 0
        for text in texts
    ]
    assert got.tolist() == expected


def test_the_hash_twin_is_the_siphash_of_this_python() -> None:
    """CPython hashes bytes with SipHash-1-3; with PYTHONHASHSEED=0 its key is zero: an oracle that we did not write."""
    if sys.hash_info.algorithm != "siphash13":
        pytest.skip(f"this Python hashes with {sys.hash_info.algorithm}")
    words = [b"a", b"12345678", b"ana@example.org", bytes(range(100))]
    code = f"print([hash(word) & {2**64 - 1} for word in {words!r}])"
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert [twins.siphash13(word, 0, 0) for word in words] == json.loads(out.stdout)


@settings(max_examples=80)
@given(keys=st.lists(st.integers(1, 60), max_size=300), limit=st.integers(1, 40))
def test_a_full_table_keeps_the_keys_that_come_again(keys: list[int], limit: int) -> None:
    table = new_table(limit)
    twin = twins.TrialTable(limit)
    for key in keys:
        slot, fresh = kernels._touch(table, np.uint64(key), limit)
        assert fresh == twin.touch(key)
        assert keys_of(table)[slot] == key
    assert keys_of(table).tolist() == twin.places
    assert table.meta[EVICTED] == twin.evicted
    for key in set(keys):
        assert (kernels._find(table, np.uint64(key)) >= 0) == (key in twin.uses)


def test_a_flood_of_keys_that_come_once_leaves_the_known_ones_alone() -> None:
    table = new_table(1000)
    for _ in range(2):
        for key in range(1, 801):
            kernels._touch(table, np.uint64(key), 1000)
    for key in range(10_000, 40_000):
        kernels._touch(table, np.uint64(key), 1000)
    assert all(kernels._find(table, np.uint64(key)) >= 0 for key in range(1, 801))


step = st.tuples(
    st.floats(0.0, 2000.0, allow_nan=False),
    st.sampled_from(["h1", "h2", "h3"]),
    st.sampled_from(["k1", "k2", "k3", "k4"]),
    st.sampled_from(["", "a1", "a2", "a3", "a4", "a5", "a6", "a7"]),
    st.sampled_from([math.nan, 0.1, 0.2, 5.0, 1000.0, -3.0, 0.0]),
    st.integers(0, 3),
    st.integers(-1, 1),
)


@settings(max_examples=80, deadline=None)
@given(
    steps=st.lists(step, min_size=1, max_size=120),
    alert=st.booleans(),
    repeat=st.integers(1, 25),
    role=st.sampled_from(["target", "session"]),
)
def test_behaviour_is_what_its_twin_says(
    events: MakeEvents, steps: list[tuple[Any, ...]], alert: bool, repeat: int, role: str
) -> None:
    config = Config()
    rows, now = [], START
    partner = "address" if role == "target" else "target"
    for wait, host, kind, other, value, outcome, layer in steps:
        now += wait
        row = {"ts": now, "kind": kind, role: host, partner: other, "signal": 4 if alert else 0}
        rows += [{**row, "value": value, "outcome": outcome, "layer": layer}] * repeat
    batch = events(rows)
    stamps = batch.column("ts").cast(pa.int64()).to_numpy() * 1e-9
    scores = Engine(config).feed(batch).scores
    scores = scores.filter(pa.compute.equal(scores.column("role").cast(pa.string()), role))
    scores = pa.Table.from_batches([scores]).filter(ordinary_rows(scores))
    names = sorted({row[partner] for row in rows})
    hashes = dict(
        zip(names, Extractor(config).hash_names(pa.array(names, pa.string())).tolist(), strict=True)
    )
    twin = twins.BehaviourTwin(config, sessions=role == "session")
    for i, each in enumerate(rows):
        channels, risk = twin.score(
            float(stamps[i]),
            each[role],
            each["kind"],
            alert=alert,
            failed=each["outcome"] >= 2,
            value=each["value"],
            layer=each["layer"],
            partners=(hashes[each[partner]], 0),
        )
        for name, value in channels.items():
            assert scores.column(name)[i].as_py() == pytest.approx(value, rel=1e-5, abs=1e-5), (i, name)
        points = twins.interpolated(risk, config.calibration.risk, config.calibration.score)
        assert scores.column("risk")[i].as_py() == pytest.approx(points, rel=1e-5, abs=5e-3), i


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(step, min_size=2, max_size=80),
    alert=st.booleans(),
    repeat=st.integers(1, 12),
)
def test_the_end_of_a_window_is_what_its_twin_says(
    events: MakeEvents, steps: list[tuple[Any, ...]], alert: bool, repeat: int
) -> None:
    """Each row that the end of a window adds has the twin's risk; each vector that it judges is the twin's."""
    config = Config()
    engine, twin = Engine(config), twins.BehaviourTwin(config)
    extract = Extractor(config)
    window, now = None, START
    for wait, host, kind, other, value, outcome, layer in steps:
        now += wait / 20
        row = {"ts": now, "kind": kind, "target": host, "address": other, "signal": 4 if alert else 0}
        batch = events([{**row, "value": value, "outcome": outcome, "layer": layer}] * repeat)
        verdict = engine.feed(batch)
        ts = float(batch.column("ts").cast(pa.int64())[0].as_py()) * 1e-9
        if window is not None and ts // 300 != window:
            settled, vectors = twin.settle(window), twin.vectors(window)
            for name, points in revised(verdict, "target"):
                expected = twins.interpolated(
                    settled[name], config.calibration.risk, config.calibration.score
                )
                assert points == pytest.approx(expected, rel=1e-5, abs=5e-3)
            told = [each.vectors for each in verdict.windows if each.role == "target"]
            got = sorted(map(tuple, np.vstack(told).tolist())) if told else []
            assert got == [pytest.approx(each, abs=1e-12) for each in sorted(vectors.values())]
        window = ts // 300
        [key] = extract.hash_names(pa.array([other], pa.string())).tolist()
        for _ in range(repeat):
            twin.score(
                ts, host, kind, alert=alert, failed=outcome >= 2, value=value, layer=layer, partners=(key, 0)
            )  # fmt: skip


def revised(verdict: Verdict, role: str) -> list[tuple[str, float]]:
    """Entity and points of each row that the end of a window added in a role."""
    table = pa.Table.from_batches([verdict.scores])
    rows = table.filter(pa.compute.invert(ordinary_rows(verdict.scores)))
    rows = rows.filter(pa.compute.equal(rows.column("role").cast(pa.string()), role))
    return list(zip(rows.column("entity").to_pylist(), rows.column("risk").to_pylist(), strict=True))


def ordinary_rows(scores: pa.RecordBatch) -> pa.Array:
    """Without the rows that the end of a window adds: those come at its last nanosecond."""
    return pa.array(scores.column("ts").cast(pa.int64()).to_numpy() % (300 * 10**9) != 300 * 10**9 - 1)


_INTERPRETED = """
import sys, json
sys.path.insert(0, {root!r})
import warnings; warnings.simplefilter("ignore")  # the hash wraps around on purpose
from tests.conftest import make_events
from guardian.config import parse
from guardian.engine import Engine
engine = Engine(parse("[engine]\\nmax_entities = 5\\nmax_pairs = 9"))
rows = [dict(ts=1.7e9 + 17.3 * i * (i % 5), kind=f"k{{i % 7}}", actor=f"a{{i % 11}}", address="10.0.0.1", target="t",
             signal=i % 5, outcome=i % 4, body="' or 1=1" if i % 50 == 0 else None) for i in range(400)]
verdict = engine.feed(make_events(rows))
print(json.dumps([verdict.scores.column("risk").to_pylist(), verdict.scores.column("level").to_pylist(),
                  [each.hex() for each in verdict.alerts.column("alert_id").to_pylist()]]))
"""


def test_compiled_and_interpreted_loops_agree() -> None:
    """The same bits but for the last few of exp2 and log10: LLVM and Python may call different ones."""
    results = []
    for disabled in ("0", "1"):
        out = subprocess.run(
            [sys.executable, "-c", _INTERPRETED.format(root=str(ROOT))],
            env={**os.environ, "NUMBA_DISABLE_JIT": disabled},
            capture_output=True,
            text=True,
            check=False,
        )
        assert out.returncode == 0, out.stderr
        results.append(json.loads(out.stdout))
    compiled, interpreted = results
    assert interpreted[0] == pytest.approx(compiled[0], rel=1e-12, abs=1e-12)
    assert interpreted[1:] == compiled[1:]


def wrong_type(call: Callable[..., Any], *args: Any) -> None:
    with pytest.raises(TypeError):
        call(*args)


def test_other_dtypes_and_strides_are_refused() -> None:
    offsets = np.array([0, 1], np.int32)
    data = np.frombuffer(b"a", np.uint8)
    key = np.uint64(1)
    wrong_type(kernels.hash_strings, offsets, data, key, key, np.empty(1, np.float32))
    wrong_type(kernels.hash_strings, offsets.astype(np.int64), data, key, key, np.empty(1, np.uint64))
    wrong_type(kernels.hash_strings, np.zeros(4, np.int32)[::2], data, key, key, np.empty(1, np.uint64))
