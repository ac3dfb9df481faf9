"""Keyed commitments in the place of names: what the ledger and exports carry instead of personal data.

A commitment proves that a name was meant to whoever holds the key and the name, and says nothing to anybody else; a
plain hash would not do, since names can be guessed. Destroying the key makes all of them meaningless.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from guardian.errors import MachineError

_KEY_BYTES = 32


class Pseudonyms:
    """Commitments under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load(cls, path: Path) -> Pseudonyms:
        """The key of a file; made on first use, readable by its owner only.

        Raises:
            MachineError: the file cannot be made or read, or is no such key.
        """
        try:
            if not path.exists():
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(os.urandom(_KEY_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
            key = path.read_bytes()
        except OSError as error:
            raise MachineError(f"{path}: cannot be read ({error.strerror})") from None
        if len(key) != _KEY_BYTES:
            raise MachineError(f"{path}: expected {_KEY_BYTES} bytes, got {len(key)}")
        return cls(key)

    def of(self, text: str) -> str:
        """The commitment of a text, ``hmac-sha256:`` and 32 hexadecimal digits; empty stays empty."""
        if not text:
            return ""
        return "hmac-sha256:" + hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:32]
