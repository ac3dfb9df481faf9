"""Signed notes and checkpoints, as C2SP specifies them, with Ed25519.

A checkpoint is the text ``origin, size, base64 root`` and, after a blank line, one signature line a signer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from exporters.seal import replace_durably
from guardian.errors import LedgerError, MachineError

ED25519: Final = b"\x01"
_LINE: Final = "\u2014 "


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log commits to."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The part that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


class Verifier:
    """A public key with its name: checks signature lines."""

    def __init__(self, name: str, public: bytes) -> None:
        self.name = name
        self.public = public
        self._key = Ed25519PublicKey.from_public_bytes(public)
        self.key_id = hashlib.sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """The verifier of a C2SP verifier key, ``name+hex id+base64 key``.

        Raises:
            LedgerError: the text is none, or its id does not belong to its key.
        """
        name, _, rest = vkey.strip().partition("+")
        hex_id, _, encoded = rest.partition("+")
        try:
            data = base64.b64decode(encoded, validate=True)
            made = cls(name, data[1:])
        except (binascii.Error, ValueError) as error:
            raise LedgerError("verifier key", f"not a verifier key: {error}") from None
        if data[:1] != ED25519 or made.key_id.hex() != hex_id or made.vkey() != vkey.strip():
            raise LedgerError("verifier key", "its id does not belong to its key")
        return made

    def vkey(self) -> str:
        """The C2SP text of this key."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"

    def open(self, note: str) -> Checkpoint:
        """The checkpoint of a signed note.

        Raises:
            LedgerError: it is no checkpoint, is of another origin, or this key's signature on it is not there or wrong.
        """
        body, blank, signatures = note.rpartition("\n\n")
        if not blank:
            raise LedgerError("checkpoint", "no signature")
        text = body + "\n"
        checkpoint = _parsed(text)
        if checkpoint.origin != self.name:
            raise LedgerError("checkpoint", f"expected origin {self.name}, got {checkpoint.origin}")
        if checkpoint.text() != text:
            raise LedgerError("checkpoint", "not in its canonical form")
        for line in signatures.split("\n")[:-1]:
            name, _, encoded = line.removeprefix(_LINE).partition(" ")
            if not line.startswith(_LINE):
                raise LedgerError("checkpoint", "a signature line of another form")
            data = _unbase64(encoded)
            if name == self.name and data[:4] == self.key_id:
                if not self.verify(text.encode(), data[4:]):
                    raise LedgerError("checkpoint", "the signature is wrong")
                return checkpoint
        raise LedgerError("checkpoint", f"no signature by {self.name}")

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether this key made a signature."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class Signer:
    """The log's private key."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.verifier = Verifier(name, key.public_key().public_bytes_raw())

    @classmethod
    def load(cls, name: str, path: Path, *, create: bool) -> Signer:
        """The key of a PEM file; with ``create``, a new one where there is no file, readable by its owner only.

        Raises:
            MachineError: there is no such file, or it holds no Ed25519 key.
        """
        if create and not path.exists():
            replace_durably(path, pem_of(Ed25519PrivateKey.generate()), mode=0o600)
        try:
            loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
            raise MachineError(f"{path}: expected an Ed25519 private key in PEM ({error})") from None
        if not isinstance(loaded, Ed25519PrivateKey):
            raise MachineError(f"{path}: expected an Ed25519 private key, got another kind")
        return cls(name, loaded)

    def pem(self) -> bytes:
        """The key as its file holds it."""
        return pem_of(self._key)

    def sign(self, checkpoint: Checkpoint) -> str:
        """The signed note of a checkpoint."""
        text = checkpoint.text()
        signature = base64.b64encode(self.verifier.key_id + self._key.sign(text.encode())).decode()
        return f"{text}\n{_LINE}{self.verifier.name} {signature}\n"


def pem_of(key: Ed25519PrivateKey) -> bytes:
    """PKCS #8 in PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _parsed(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) != 4 or not lines[1].isascii() or not lines[1].isdigit():
        raise LedgerError("checkpoint", "expected the lines origin, size and root")
    return Checkpoint(lines[0], int(lines[1]), _unbase64(lines[2]))


def _unbase64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise LedgerError("checkpoint", "not base64") from None
    if base64.b64encode(data).decode() != text:
        raise LedgerError("checkpoint", "base64 with stray bits")
    return data
