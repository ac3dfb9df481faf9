"""The tables of templates: the slow twin, what widens and what never does, and floods."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardian.config import Config, Templates
from guardian.templates import Miner
from scoring.templates import LEAF, OTHER, SETTLED, TEMPLATE, USED
from tests.twins_templates import TemplatesTwin

ROOT = Path(__file__).parent.parent.parent


def miner(**changes: float) -> Miner:
    return Miner(Config(templates=Templates(**changes)))  # type: ignore[arg-type]


def names(mine: Miner, messages: Iterable[str]) -> list[str | None]:
    bodies = pa.array(list(messages), pa.string())
    kind, _, texts = mine.mine(bodies, np.arange(len(bodies), dtype=np.int32))
    told = texts.to_pylist()
    return [told[each] if each >= 0 else None for each in kind]


def stream(seed: int, messages: int = 1500) -> list[str]:
    """Few shapes that come often, variants of them, one crowded leaf, and words that never come again."""
    draw = random.Random(seed)
    shapes = [
        " ".join(draw.choices(["alpha", "beta", "gamma", "delta", "<*>", "7", "é"], k=draw.randint(1, 9)))
        for _ in range(12)
    ]
    out: list[str] = []
    while len(out) < messages:
        words = draw.choice(shapes).split()
        kind = draw.random()
        if kind < 0.02:
            out += [" ".join(words)] * (SETTLED + 2)
        elif kind < 0.4:
            words[draw.randrange(len(words))] = draw.choice(["alice", "bob", "carol", "10.0.0.1", "x"])
            out.append(" ".join(words))
        elif kind < 0.5:
            letters = "".join(draw.choices("abcdefgh", k=6))
            out.append(f"flood {letters} {letters[::-1]} {letters[1:]} {letters[2:]}")
        elif kind < 0.6:
            out.append("".join(draw.choices("abcdefgh", k=7)))
        elif kind < 0.62:
            out.append(" ")
        else:
            out.append(" ".join(words))
    return out


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    limit=st.sampled_from([64, 100, 8192]),
    similarity=st.sampled_from([0.5, 0.8, 1.0]),
)
def test_twin(seed: int, limit: int, similarity: float) -> None:
    messages = stream(seed)
    mine, twin = miner(max_templates=limit, similarity=similarity), TemplatesTwin(limit, similarity)
    assert names(mine, messages) == [twin.name(message.encode()) for message in messages]
    assert mine.evicted == twin.evicted
    assert mine._state.meta[OTHER] == twin.other
    assert mine._state.meta[USED] == len(twin.slots)


def test_a_word_that_differs_on_trial_becomes_any() -> None:
    assert names(miner(), ["session opened for user ana", "session opened for user eva"]) == [
        "session opened for user ana",
        "session opened for user <*>",
    ]


def test_the_first_word_may_vary_too() -> None:
    assert names(miner(), ["ana opened a session again", "eva opened a session again"])[1] == (
        "<*> opened a session again"
    )


def test_short_messages_stay_apart_until_they_are_a_crowd() -> None:
    assert names(miner(), ["link up", "link down"]) == ["link up", "link down"]
    users = [f"login {letter}" for letter in "abcdefghijkl"]
    told = names(miner(), users)
    assert told[:8] == users[:8]
    assert set(told[8:]) == {"login <*>"}


def test_what_is_settled_never_changes_its_name() -> None:
    mine = miner()
    usual = "connection closed by the server"
    assert set(names(mine, [usual] * (SETTLED + 1))) == {usual}
    assert names(mine, ["connection closed by the client", "connection closed by the stranger", usual]) == [
        "connection closed by the client",
        "connection closed by the <*>",
        usual,
    ]


def test_one_match_less_and_it_may_still_widen() -> None:
    mine = miner()
    usual = "connection closed by the server"
    names(mine, [usual] * SETTLED)
    assert names(mine, ["connection closed by the client", usual]) == ["connection closed by the <*>"] * 2


def test_similarity_one_leaves_all_to_the_masks() -> None:
    messages = ["a long message about user ana", "a long message about user eva"]
    assert names(miner(similarity=1.0), messages) == messages


def words(draw: random.Random, count: int) -> str:
    return " ".join("".join(draw.choices("abcdefghijklmnop", k=8)) for _ in range(count))


def test_a_flood_of_random_words_leaves_known_templates_alone_and_memory_flat() -> None:
    mine = miner(max_templates=256)
    usual = [f"service {word} took 5 ms to answer" for word in ("mail", "web", "ldap")]
    known = names(mine, usual * 3)[-3:]
    draw = random.Random(5)
    room: set[int] = set()
    for _ in range(20):
        told = names(mine, [words(draw, draw.randint(1, 12)) for _ in range(500)] + usual)
        assert told[-3:] == known
        room.add(sum(array.nbytes for array in mine._state))
    assert mine._state.meta[USED] == 256
    assert mine.evicted > 9000
    assert len(room) == 1


def test_a_flood_within_one_leaf_takes_the_place_of_its_own_kind_only() -> None:
    mine = miner()
    known = names(mine, ["failed password for root from 10.0.0.1"] * 3)[-1]
    draw = random.Random(6)
    flood = [f"failed {words(draw, 5)}" for _ in range(3000)]
    told = names(mine, [*flood, "failed password for root from 10.0.0.2"])
    assert told[-1] == known
    assert mine._state.meta[USED] == LEAF
    assert mine.evicted == 3000 - LEAF + 1


def test_a_leaf_full_of_settled_templates_sends_the_rest_to_one_name() -> None:
    mine = miner()
    draw = random.Random(7)
    settled = [f"leaf {words(draw, 5)}" for _ in range(LEAF)]
    for message in settled:
        assert set(names(mine, [message] * (SETTLED + 1))) == {message}
    assert names(mine, [f"leaf {words(draw, 5)}" for _ in range(3)]) == ["<*>"] * 3
    assert names(mine, settled) == settled
    assert mine._state.meta[OTHER] == 3


@pytest.mark.parametrize("limit", [64, 513])
def test_no_result_depends_on_the_room_there_is(limit: int) -> None:
    messages = stream(11, 4000)
    whole = miner(max_templates=limit)
    parts = miner(max_templates=limit)
    assert names(whole, messages) == [names(parts, [message])[0] for message in messages]


def test_a_template_has_no_gaps_that_a_copy_would_leave_to_chance() -> None:
    assert TEMPLATE.names is not None
    assert TEMPLATE.itemsize == sum(TEMPLATE[name].itemsize for name in TEMPLATE.names)


INTERPRETED = """
import json, sys
import numpy as np, pyarrow as pa
from guardian.config import Config, Templates
from guardian.templates import Miner
bodies = pa.array(json.load(sys.stdin), pa.string())
mine = Miner(Config(templates=Templates(max_templates=64)))
with np.errstate(all="ignore"):
    kind, _, texts = mine.mine(bodies, np.arange(len(bodies), dtype=np.int32))
print(json.dumps([texts[int(each)].as_py() if each >= 0 else None for each in kind]))
"""


def test_twin_that_python_interprets() -> None:
    messages = [
        *stream(3, 600),
        "from 10.0.0.1:22 at 2026-11-24T16:57:47Z id 54fadb41-2c4e-40cd-baed-9335e4c35a9e /a/b a@b",
    ]
    run = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        input=json.dumps(messages),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout) == names(miner(max_templates=64), messages)
