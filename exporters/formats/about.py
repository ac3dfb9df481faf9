"""Who speaks: what a form says beside the alert itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from guardian.texts import Language

VENDOR: Final = "TAMV"
PRODUCT: Final = "TAMV Guardian"
SERVICE: Final = "tamv-guardian"
"""The product where only a word may stand."""

_NOT_A_HOST: Final = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


@dataclass(frozen=True, slots=True)
class About:
    """What all alerts of one instance have in common."""

    language: Language
    """Of the sentences; where a form has room for two languages, both stand there."""
    version: str
    """Of Guardian."""
    host: str
    """Name of the machine that it runs on."""
    url: str = ""
    """Where people reach this instance, without a slash at its end; empty = ``http://`` and the host."""

    @property
    def address(self) -> str:
        """Where people reach this instance. Alertmanager refuses an alert for a host that is none, escaped or not."""
        return self.url or f"http://{_NOT_A_HOST.sub('-', self.host)}"
