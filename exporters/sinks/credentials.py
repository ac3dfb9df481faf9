"""Secrets and certificates of sinks: whom we trust, who we are, and what may never be told.

Owns reading them. A secret is named by reference (a variable or a file), read anew for each request so that a rotated
one is picked up, and never stands in an error. Does not own how a protocol presents it.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any, Final, Literal

from guardian.errors import HoldError, MachineError

Kind = Literal["token", "secret", "password"]
"""First word of the settings that name it: ``token_env``, ``token_file`` …"""

_KINDS: Final[tuple[Kind, ...]] = ("token", "secret", "password")
_FILES: Final = ("ca_file", "cert_file", "key_file")
_MOST_KEPT: Final = 64 * 1024


def token(settings: Any, kind: Kind = "token") -> str:
    """The one credential of a sink that can stand in a header; empty = none is configured.

    Raises:
        HoldError: one is configured and cannot be read, or is not one word of printable ASCII.
    """
    place, text = _read(settings, kind)
    if not place:
        return ""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise HoldError(f"{place}: expected one {kind} of printable ASCII characters")
    return text


def lines(settings: Any, kind: Kind) -> list[str]:
    """All credentials of a sink, one a line: while one is being replaced, both are there.

    Raises:
        HoldError: some are configured and cannot be read.
    """
    place, text = _read(settings, kind)
    found = text.split()
    if place and not found:
        raise HoldError(f"{place}: expected at least one {kind}")
    return found


def check_credentials(settings: Any) -> None:
    """Refuse to start with a sink whose credential or certificate cannot be found.

    Raises:
        MachineError: the variable or file that the configuration names is not there.
    """
    here = f"sinks.{settings.name}"
    for kind in _KINDS:
        variable, file = _named(settings, kind)
        if variable and variable not in os.environ:
            raise MachineError(f"{here}.{kind}_env: there is no environment variable {variable}")
        if file and not Path(file).is_file():
            raise MachineError(f"{here}.{kind}_file: there is no file {file}")
    for key in _FILES:
        file = getattr(settings, key, "")
        if file and not Path(file).is_file():
            raise MachineError(f"{here}.{key}: there is no file {file}")


def tls(settings: Any) -> ssl.SSLContext:
    """A context that checks the receiver's name and certificate, and shows ours where one is configured.

    Raises:
        MachineError: a file cannot be used.
    """
    key = "ca_file"
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.cert_file:
            key = "cert_file"
            # An empty password: a key that is encrypted is refused, instead of asked for on the terminal.
            context.load_cert_chain(settings.cert_file, settings.key_file or None, password="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or type(error).__name__
        raise MachineError(f"sinks.{settings.name}.{key}: cannot be used ({reason})") from None
    return context


def age(settings: Any) -> tuple[int, ...]:
    """When each of the certificates was written, in nanoseconds; what changes when one is replaced."""
    written: list[int] = []
    for key in _FILES:
        file = getattr(settings, key, "")
        try:
            written.append(Path(file).stat().st_mtime_ns if file else 0)
        except OSError:
            written.append(-1)
    return tuple(written)


def _named(settings: Any, kind: Kind) -> tuple[str, str]:
    return getattr(settings, f"{kind}_env", ""), getattr(settings, f"{kind}_file", "")


def _read(settings: Any, kind: Kind) -> tuple[str, str]:
    """Which setting names it, and what stands there; the first is empty when none does."""
    variable, file = _named(settings, kind)
    if variable:
        return f"{kind}_env {variable}", os.environ.get(variable, "").strip()
    if not file:
        return "", ""
    place = f"{kind}_file"
    try:
        with Path(file).open(encoding="utf-8") as opened:
            return place, opened.read(_MOST_KEPT).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise HoldError(f"{place} cannot be read: {reason}") from None
