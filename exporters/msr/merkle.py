"""RFC 6962 Merkle trees: hashes, roots, proofs and their verification.

Owns the arithmetic only. A tree is a function ``node(level, number) → hash`` of its *complete* subtrees: level 0 are
the leaves, and node (l, k) covers leaves k·2^l to (k + 1)·2^l − 1. Everything else follows from those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

Node = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """Hash of a leaf (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def completed(index: int, leaf: bytes, node: Node) -> Iterator[tuple[int, int, bytes]]:
    """Every subtree that appending leaf ``index`` completes, from the leaf upwards: level, number, hash."""
    level, number, value = 0, index, leaf
    yield level, number, value
    while number % 2 == 1:
        value = node_hash(node(level, number - 1), value)
        level, number = level + 1, number // 2
        yield level, number, value


def subtree(start: int, end: int, node: Node) -> bytes:
    """Hash over leaves ``start`` to ``end`` − 1, where start is a multiple of the largest power of two below the size."""
    size = end - start
    if size == 0:
        return EMPTY_ROOT
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return node(level, start >> level)
    half = 1 << (size - 1).bit_length() - 1
    return node_hash(subtree(start, start + half, node), subtree(start + half, end, node))


def root(size: int, node: Node) -> bytes:
    """Root of a tree of ``size`` leaves."""
    return subtree(0, size, node)


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """The hashes that lead from leaf ``index`` to the root of ``size`` leaves (RFC 6962, section 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"expected an index below {size}, got {index}")

    def path(start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        half = 1 << (end - start - 1).bit_length() - 1
        if index < start + half:
            return [*path(start, start + half), subtree(start + half, end, node)]
        return [*path(start + half, end), subtree(start, start + half, node)]

    return path(0, size)


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """The hashes that show a tree of ``old`` leaves to be a prefix of one of ``new`` (RFC 6962, section 2.1.2)."""
    if not 0 < old <= new:
        raise ValueError(f"expected a size from 1 to {new}, got {old}")

    def path(start: int, end: int, *, whole: bool) -> list[bytes]:
        if old == end:
            return [] if whole else [subtree(start, end, node)]
        half = 1 << (end - start - 1).bit_length() - 1
        if old <= start + half:
            return [*path(start, start + half, whole=whole), subtree(start + half, end, node)]
        return [*path(start + half, end, whole=False), subtree(start, start + half, node)]

    return path(0, new, whole=True)


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], expected: bytes) -> bool:
    """Whether a proof leads from a leaf's hash to a root (RFC 9162, section 2.1.3.2).

    Difference: a hash that is not 32 bytes long proves nothing.
    """
    if not 0 <= index < size or not _are_hashes((leaf, expected, *proof)):
        return False
    number, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if number & 1 or number == last:
            value = node_hash(sibling, value)
            while number & 1 == 0 and number:
                number, last = number >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and value == expected


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows one root's tree to be a prefix of another's (RFC 9162, section 2.1.4.2).

    Difference: nothing is consistent with an empty tree, since anything would be.
    """
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    if not _are_hashes((old_root, new_root, *proof)):
        return False
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    number, last = old - 1, new - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            first = node_hash(sibling, first)
            second = node_hash(sibling, second)
            while number & 1 == 0 and number:
                number, last = number >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def _are_hashes(values: Sequence[bytes]) -> bool:
    return all(len(value) == HASH_SIZE for value in values)
