"""The ``[sigma]`` table of ``guardian.toml``: where detection rules are, and their texts.

Owns the settings and the reading of rule files. Does not own what the texts say (``guardian.sigma``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, field

from guardian.errors import Problem


class Sigma(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Detection rules in Sigma's format; a match gives its event points of the ``rule`` channel by the rule's level."""

    paths: tuple[str, ...] = ()
    """Files and folders (with all below them) of rules, ``*.yml`` or ``*.yaml``, from the folder of ``guardian.toml``."""
    rules: dict[str, str] = field(default_factory=dict)
    """Rules as they stand in such files, by a name; the files of ``paths`` are added to them when the settings are read."""
    exclude: tuple[str, ...] = ()
    """Ids or titles of rules that are not loaded; any other that cannot be loaded is an error."""


def rule_texts(folder: Path, paths: Sequence[str], problems: list[Problem]) -> dict[str, str]:
    """The files of Sigma rules below some paths, by their names from ``folder`` on; what cannot be read is a problem."""
    texts: dict[str, str] = {}
    for number, path in enumerate(paths):
        key, place = f"sigma.paths[{number}]", folder / path
        below = place.rglob("*") if place.is_dir() else [place] if place.is_file() else []
        files = sorted(each for each in below if each == place or each.suffix in (".yml", ".yaml"))
        if not files:
            problems.append(
                Problem(key, "a file, or a folder with *.yml or *.yaml files", f'none at "{path}"')
            )
        for each in files:
            name = each.relative_to(folder).as_posix() if each.is_relative_to(folder) else each.as_posix()
            try:
                texts[name] = each.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
                problems.append(Problem(key, "readable UTF-8 files", f"{name}: {why}"))
    return texts
