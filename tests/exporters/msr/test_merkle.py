"""The Merkle tree beside RFC 6962: its test vectors, a textbook twin, and mutations that must fail."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporters.msr import merkle


def tree(leaves: list[bytes]) -> Callable[[int, int], bytes]:
    nodes: dict[tuple[int, int], bytes] = {}

    def node(level: int, number: int) -> bytes:
        return nodes[level, number]

    for index, leaf in enumerate(leaves):
        for level, number, value in merkle.completed(index, leaf, node):
            nodes[level, number] = value
    return node


def textbook_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + textbook_root(leaves[:k]) + textbook_root(leaves[k:])).digest()


def hashes(n: int) -> list[bytes]:
    return [merkle.leaf_hash(str(i).encode()) for i in range(n)]


def test_the_reference_tree_of_eight_leaves() -> None:
    data = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    leaves = [merkle.leaf_hash(bytes.fromhex(each)) for each in data]
    assert (
        merkle.root(8, tree(leaves)).hex()
        == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    )


@given(n=st.integers(0, 70))
def test_roots_are_those_of_the_textbook(n: int) -> None:
    leaves = hashes(n)
    assert merkle.root(n, tree(leaves)) == textbook_root(leaves)


@given(n=st.integers(1, 70), data=st.data())
def test_proofs_verify_and_nothing_else_does(n: int, data: st.DataObject) -> None:
    leaves = hashes(n)
    node = tree(leaves)
    root = merkle.root(n, node)
    index = data.draw(st.integers(0, n - 1))
    proof = merkle.inclusion_proof(index, n, node)
    assert len(proof) <= max(0, (n - 1).bit_length())
    assert merkle.verify_inclusion(index, n, leaves[index], proof, root)
    other = data.draw(st.integers(0, n - 1).filter(lambda i: i != index)) if n > 1 else n
    assert not merkle.verify_inclusion(other, n, leaves[index], proof, root)
    assert not merkle.verify_inclusion(index, n, leaves[index], [*proof, root], root)
    if proof:
        assert not merkle.verify_inclusion(index, n, leaves[index], proof[:-1], root)

    old = data.draw(st.integers(1, n))
    old_root = merkle.root(old, node)
    steps = merkle.consistency_proof(old, n, node)
    assert merkle.verify_consistency(old, n, old_root, root, steps)
    assert not merkle.verify_consistency(old, n, root if old != n else bytes(32), root, steps)
    if steps:
        place = data.draw(st.integers(0, len(steps) - 1))
        flipped = bytearray(steps[place])
        flipped[data.draw(st.integers(0, 31))] ^= 1
        assert not merkle.verify_consistency(
            old, n, old_root, root, [*steps[:place], bytes(flipped), *steps[place + 1 :]]
        )


def test_ten_thousand_mutations_are_refused() -> None:
    rng = random.Random(6962)
    n = 257
    leaves = hashes(n)
    node = tree(leaves)
    root = merkle.root(n, node)
    for _ in range(10_000):
        index = rng.randrange(n)
        proof = [bytearray(each) for each in merkle.inclusion_proof(index, n, node)]
        victim = proof[rng.randrange(len(proof))]
        victim[rng.randrange(32)] ^= 1 << rng.randrange(8)
        assert not merkle.verify_inclusion(index, n, leaves[index], [bytes(each) for each in proof], root)


def test_the_public_vectors(shared_data: Path) -> None:
    cases: list[dict[str, Any]] = json.loads((shared_data / "vectors" / "merkle_rfc6962.json").read_text())
    good = {"inclusion": 0, "consistency": 0}
    for each in cases:
        case = each["case"]
        proof = [base64.b64decode(step) for step in case["proof"] or []]
        if "leafIdx" in case:
            what = "inclusion"
            verdict = merkle.verify_inclusion(
                case["leafIdx"], case["treeSize"], decoded(case["leafHash"]), proof, decoded(case["root"])
            )
        else:
            what = "consistency"
            verdict = merkle.verify_consistency(
                case["size1"], case["size2"], decoded(case["root1"]), decoded(case["root2"]), proof
            )
        assert verdict != case["wantErr"], each["file"]
        good[what] += verdict
    assert len(cases) == 196
    assert good == {"inclusion": 6, "consistency": 6}


def decoded(text: str | None) -> bytes:
    return base64.b64decode(text or "")
