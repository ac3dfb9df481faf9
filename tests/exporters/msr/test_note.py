"""Signed notes: what verifies, what does not, and the key files."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from exporters.msr.note import Checkpoint, Signer, Verifier
from guardian.errors import LedgerError, MachineError

SIGNER = Signer("example.org/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
NOTE = SIGNER.sign(Checkpoint("example.org/log", 7, bytes(32)))


def test_a_checkpoint_is_signed_and_opened() -> None:
    assert NOTE.startswith(
        "example.org/log\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— example.org/log "
    )
    assert SIGNER.verifier.open(NOTE) == Checkpoint("example.org/log", 7, bytes(32))
    assert Verifier.parse(SIGNER.verifier.vkey()).open(NOTE).size == 7


@given(place=st.integers(0, len(NOTE.encode()) - 1), bit=st.integers(0, 7))
def test_no_bit_may_change(place: int, bit: int) -> None:
    data = bytearray(NOTE.encode())
    data[place] ^= 1 << bit
    with pytest.raises((LedgerError, UnicodeDecodeError)):
        SIGNER.verifier.open(data.decode())


@given(text=st.text(max_size=200))
def test_any_text_is_refused_clearly(text: str) -> None:
    with pytest.raises(LedgerError):
        SIGNER.verifier.open(text)
    with pytest.raises(LedgerError):
        Verifier.parse(text)


def test_another_key_and_another_origin_are_refused() -> None:
    other = Signer("example.org/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(LedgerError, match="no signature by"):
        other.verifier.open(NOTE)
    elsewhere = Signer("example.org/other", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    with pytest.raises(LedgerError, match="expected origin"):
        elsewhere.verifier.open(NOTE)


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "msr.key"
    with pytest.raises(MachineError, match="expected an Ed25519 private key"):
        Signer.load("o", path, create=False)
    made = Signer.load("o", path, create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Signer.load("o", path, create=True).verifier.public == made.verifier.public
    path.write_bytes(
        made.pem().replace(b"MC4CAQAwBQYDK2Vw", b"MC4CAQAwBQYDK2Vy")
    )  # an algorithm nobody knows
    with pytest.raises(MachineError, match="expected an Ed25519 private key"):
        Signer.load("o", path, create=False)
    path.write_bytes(b"junk")
    with pytest.raises(MachineError, match=r"msr\.key"):
        Signer.load("o", path, create=True)
    other = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(other)
    with pytest.raises(MachineError, match="got another kind"):
        Signer.load("o", path, create=True)


def test_the_public_ed25519_vectors(shared_data: Path) -> None:
    tests = json.loads((shared_data / "vectors" / "wycheproof_ed25519_test.json").read_text())
    count = 0
    for group in tests["testGroups"]:
        verifier = Verifier("x", bytes.fromhex(group["publicKey"]["pk"]))
        for case in group["tests"]:
            count += 1
            got = verifier.verify(bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            assert got == (case["result"] == "valid"), case["tcId"]
    assert count == 151
