"""ATT&CK tags of rules as tactics and techniques.

Tags are written as Sigma writes them (``attack.credential-access``, ``attack.t1110.003``). Tactics carry their names
and ids; techniques only their ids: their names change with each version of ATT&CK, and a receiver has its own list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

TACTICS: Final[dict[str, tuple[str, str]]] = {
    "reconnaissance": ("TA0043", "Reconnaissance"),
    "resource-development": ("TA0042", "Resource Development"),
    "initial-access": ("TA0001", "Initial Access"),
    "execution": ("TA0002", "Execution"),
    "persistence": ("TA0003", "Persistence"),
    "privilege-escalation": ("TA0004", "Privilege Escalation"),
    "defense-evasion": ("TA0005", "Defense Evasion"),
    "credential-access": ("TA0006", "Credential Access"),
    "discovery": ("TA0007", "Discovery"),
    "lateral-movement": ("TA0008", "Lateral Movement"),
    "collection": ("TA0009", "Collection"),
    "command-and-control": ("TA0011", "Command and Control"),
    "exfiltration": ("TA0010", "Exfiltration"),
    "impact": ("TA0040", "Impact"),
}
"""The tactic in a tag → its id and name in the Enterprise matrix."""

_TECHNIQUE: Final = re.compile(r"t\d{4}(\.\d{3})?\Z", re.ASCII)


class Attack(NamedTuple):
    """What the tags of an alert say in ATT&CK's terms; other tags are left to the forms that show tags."""

    tactics: tuple[tuple[str, str], ...]
    """Id and name of each."""
    techniques: tuple[str, ...]
    """Ids, and of sub-techniques both: ``T1110.003``."""


def attack(tags: Sequence[str]) -> Attack:
    """The tactics and techniques among ``tags``, in their order, each once.

    >>> attack(("attack.t1110.003", "attack.credential_access", "cve.2024-1"))
    Attack(tactics=(('TA0006', 'Credential Access'),), techniques=('T1110.003',))
    """
    named = [tag[len("attack.") :].lower() for tag in tags if tag.lower().startswith("attack.")]
    # Older rules write underscores.
    tactics = [TACTICS[word] for each in named if (word := each.replace("_", "-")) in TACTICS]
    techniques = [each.upper() for each in named if _TECHNIQUE.match(each)]
    return Attack(tuple(dict.fromkeys(tactics)), tuple(dict.fromkeys(techniques)))
