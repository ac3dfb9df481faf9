"""Keyed commitments in the place of names: what the ledger and exports carry instead of personal data.

A commitment proves that a name was meant to whoever holds the key and the name, and says nothing to anybody else; a
plain hash would not do, since names can be guessed. Destroying the key makes all of them meaningless.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from exporters.seal import replace_durably
from guardian.errors import MachineError

_KEY_BYTES = 32


class Pseudonyms:
    """Commitments under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load(cls, path: Path) -> Pseudonyms:
        """The key of a file; made on first use, readable by its owner only. The file also holds the key's SHA-256.

        Raises:
            MachineError: the file cannot be made or read, or is no such key.
        """
        try:
            if not path.exists():
                fresh = os.urandom(_KEY_BYTES)
                replace_durably(path, fresh + hashlib.sha256(fresh).digest(), mode=0o600)
            data = path.read_bytes()
        except OSError as error:
            raise MachineError(f"{path}: cannot be read ({error.strerror})") from None
        key, check = data[:_KEY_BYTES], data[_KEY_BYTES:]
        if hashlib.sha256(key).digest() != check:
            raise MachineError(f"{path}: expected a key of {_KEY_BYTES} bytes and its SHA-256; it is damaged")
        return cls(key)

    def of(self, text: str) -> str:
        """The commitment of a text, ``hmac-sha256:`` and 32 hexadecimal digits; empty stays empty."""
        if not text:
            return ""
        return "hmac-sha256:" + hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:32]
