"""Everything that a person reads, in Spanish (es-MX) and English.

One TOML file an area and language, ``<area>.<language>.toml``; a text is named ``<area>.<key>``. Values are
``str.format`` templates. Both languages have the same keys and the same placeholders; a test holds them to it.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

Language = Literal["es-MX", "en"]

LANGUAGES: Final[tuple[Language, ...]] = ("es-MX", "en")


@cache
def catalogue(area: str, language: Language) -> dict[str, str]:
    """All texts of one area: ``key → template``."""
    data = files(__name__).joinpath(f"{area}.{language}.toml").read_text(encoding="utf-8")
    texts: dict[str, str] = tomllib.loads(data)
    return texts


def text(name: str, language: Language, /, **values: Any) -> str:
    """The text ``<area>.<key>`` in one language, its placeholders filled from ``values``.

    Raises:
        KeyError: there is no such text, or a placeholder has no value.

    >>> text("levels.high", "es-MX")
    'alto'
    """
    area, _, key = name.partition(".")
    return catalogue(area, language)[key].format(**values)


def plain(told: str) -> str:
    r"""A text that others chose, for a terminal: what is not printable is written as its escape.

    >>> plain("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in told)
