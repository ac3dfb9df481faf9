"""The whole scorer at size: 100,000 live entities in batches of 1,024, and a flood of entities that come once.

Events are made up (uniform over 100,000 users, addresses and sessions, 2,000 targets, 200 kinds): the hard case for caches,
since hardly any event touches what the one before it did. Time is the engine's, from Arrow batch to SCORES and ALERTS.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from guardian import state
from guardian.config import Config
from guardian.decode.columns import batch_of
from guardian.engine import Engine
from guardian.events import ROLES
from scoring.compilation import ENGINE, compile_all
from scoring.layout import USED

TITLE = "The whole scorer at size"
GOAL = (
    "≥ 400,000 events/s a core with all channels and roles, p99 of a batch < 5 ms, ≤ 1 KiB of state an entity; 10 million hostile "
    "one-off entities leave memory at its cap, known entities as they were, and every eviction counted"
)
ENTITIES = 100_000
BATCH = 1024
RATE = 2_000
"""Events a second of event time."""

ROUNDS = 5
START = 1_700_000_000
PEER_ROWS = 20_000

Row = dict[str, Any]


def measure(shared: Path, *, quick: bool) -> list[Row]:  # noqa: ARG001  (the data is made here)
    """Speed, latency and size; River beside it; the flood."""
    compile_all(*ENGINE)
    return [*live(50_000 if quick else 300_000), *river(PEER_ROWS), *flood(300_000 if quick else 10_000_000)]


def live(count: int) -> list[Row]:
    """Events a CPU second once all entities are known, median of the rounds, from the same state each time."""
    random = np.random.default_rng(7)
    engine = Engine(Config())
    warm = 4 * ENTITIES
    for batch in batches(random, warm, START, 8192, span=warm / RATE):
        engine.feed(batch)
    blob = engine.snapshot()
    later = list(batches(random, count, START + warm / RATE, BATCH, span=count / RATE))
    speeds, tails = [], []
    for _ in range(ROUNDS):
        engine = Engine.restore(blob)
        waits = []
        cpu = time.process_time()
        for batch in later:
            started = time.perf_counter()
            engine.feed(batch)
            waits.append(time.perf_counter() - started)
        speeds.append(count / (time.process_time() - cpu))
        tails.append(1000 * float(np.quantile(waits, 0.99)))
    speed, tail = float(np.median(speeds)), float(np.median(tails))
    rows: list[Row] = [
        {
            "what": "events a CPU second, four roles",
            "figure": round(speed),
            "goal": verdict(speed >= 400_000),
        },
        {"what": "p99 of a batch of 1,024, ms", "figure": round(tail, 2), "goal": verdict(tail < 5.0)},
    ]
    for role in ROLES:
        held = engine._roles[role]  # noqa: SLF001  (the size of the state is not in the public view)
        used = int(held.entities.meta[USED])
        octets = sum(array.nbytes for _, array in state.arrays_of(held)) / used
        row: Row = {
            "what": f"bytes an entity, {role} ({used:,}, {held.pairs.meta[USED] / used:.1f} kinds each)"
        }
        row["figure"] = round(octets)
        if used >= ENTITIES // 2:
            row["goal"] = verdict(octets <= 1024)
        rows.append(row)
    return rows


def river(count: int) -> list[Row]:
    """One detector of River over the same columns, one event at a time as River works."""
    try:
        from river import anomaly, preprocessing
    except ImportError:
        return [{"what": "River's pipeline of one detector: not installed"}]
    random = np.random.default_rng(7)
    [batch] = batches(random, count, START, count)
    columns = [batch.column(name).indices.to_pylist() for name in (*ROLES, "kind")]
    model = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(
        n_trees=10, height=8, window_size=250, seed=1
    )
    cpu = time.process_time()
    for row in zip(*columns, strict=True):
        x = dict(enumerate(map(float, row)))
        model.score_one(x)
        model.learn_one(x)
    speed = count / (time.process_time() - cpu)
    return [
        {
            "what": "River: MinMaxScaler | HalfSpaceTrees, one detector, events a CPU second",
            "figure": round(speed),
        }
    ]


def flood(count: int) -> list[Row]:
    """Known entities, then one-off entities only; memory, what is still known, and the count of evictions."""
    engine = Engine(Config())
    known = [f"known-{each}" for each in range(1000)]
    for day in range(2):
        for start in range(0, 1000, 500):
            names = pa.array(known[start : start + 500])
            engine.feed(named(names, START + 86_400 * day + start, kind="GET /"))
    before = {name: engine.entity("actor", name).events for name in known[::50]}  # type: ignore[union-attr]  # just fed
    cap = engine.config.engine.max_entities
    peak = 0
    step = 20_000
    for start in range(0, count, step):
        names = pa.array([f"hostile-{each}" for each in range(start, start + step)])
        engine.feed(named(names, START + 200_000 + start / 100, kind="GET /"))
        if start >= 2 * cap and not peak:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024 if peak else 0.0
    after = {name: getattr(engine.entity("actor", name), "events", None) for name in before}
    evicted = engine.view(top=0).evicted["actor"]
    expected = len(known) + count - cap if count > cap else 0
    return [
        {"what": f"{count:,} one-off entities: MiB more once at the cap of {cap:,}", "figure": round(grown, 1),
         "goal": verdict(grown < 32)},
        {"what": "known entities that are as they were", "figure": sum(after[n] == before[n] for n in before) / len(before),
         "goal": verdict(after == before)},
        {"what": "evictions counted", "figure": evicted, "goal": verdict(evicted == expected)},
    ]  # fmt: skip


def verdict(reached: bool) -> str:  # noqa: FBT001  (one thing is asked)
    """As the page says it."""
    return "met" if reached else "missed"


def named(names: pa.Array, at: float, *, kind: str) -> pa.RecordBatch:
    """One event for each actor."""
    count = len(names)
    return batch_of(
        count,
        {
            "ts": stamps(at + np.arange(count) * 1e-3),
            "kind": constant(kind, count),
            "source": constant("service", count),
            "actor": names.dictionary_encode(),
        },
    )


def batches(random: np.random.Generator, count: int, start: float, size: int, span: float = 21_600) -> Any:
    """Made-up events over ``span`` seconds, each batch with dictionaries of its own, as a source sends them."""
    numbers = {
        "actor": random.integers(0, ENTITIES, count),
        "address": random.integers(0, ENTITIES, count),
        "session": random.integers(0, ENTITIES, count),
        "target": (random.zipf(1.3, count) - 1) % 2000,
        "kind": (random.zipf(1.4, count) - 1) % 200,
    }
    times = start + np.sort(random.uniform(0, span, count))
    values = random.lognormal(0.0, 1.0, count)
    outcomes = random.choice(np.array([1, 1, 1, 1, 2, 3], np.int8), count)
    for first in range(0, count, size):
        part = slice(first, min(first + size, count))
        length = part.stop - part.start
        columns = {name: labelled(name, each[part]) for name, each in numbers.items()}
        columns |= {"ts": stamps(times[part]), "source": constant("service", length)}
        columns |= {"value": pa.array(values[part]), "outcome": pa.array(outcomes[part])}
        yield batch_of(length, columns)


def labelled(name: str, numbers: np.ndarray[Any, Any]) -> pa.DictionaryArray:
    """Numbers as names, dictionary-encoded."""
    distinct, indices = np.unique(numbers, return_inverse=True)
    texts = pa.array([f"{name}-{each}" for each in distinct.tolist()])
    return pa.DictionaryArray.from_arrays(pa.array(indices.astype(np.int32)), texts)


def constant(text: str, count: int) -> pa.DictionaryArray:
    """The same text in each row."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))


def stamps(seconds: np.ndarray[Any, Any]) -> pa.Array:
    """Seconds since 1970 as times."""
    return pa.array((seconds * 1e9).astype(np.int64)).cast(pa.timestamp("ns", tz="UTC"))


if __name__ == "__main__":
    from run import show

    show(__file__)
