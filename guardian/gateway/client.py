"""Asking a running service over HTTP: for commands that change or show what one instance keeps.

Owns the connection, its limits, how a refusal reads on one line, and the table of acknowledgements for a terminal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from rich.table import Table
from rich.text import Text

from guardian import texts
from guardian.backtest.durations import nanoseconds
from guardian.errors import InputError, MachineError
from guardian.gateway.problems import JSON
from guardian.texts import plain

DEFAULT_URL: Final = "http://127.0.0.1:8787"

_TIMEOUT_S: Final = 30.0
_MOST_BYTES: Final = 16 * 2**20


def ask(
    url: str, path: str, body: Mapping[str, Any] | None = None, *, key: str, method: str = ""
) -> dict[str, Any]:
    """The object that the service at ``url`` answers; ``key`` is one that it has.

    The method is GET, or POST with a ``body``, unless another is named.

    Raises:
        InputError: ``url`` is no address, or the service refuses; every problem that it names is listed.
        MachineError: no service answers there, or something that is no Guardian.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError("--url", f"expected an address such as {DEFAULT_URL}, got {url!r}")
    try:
        data = None if body is None else msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise InputError("arguments", "expected text in UTF-8") from None
    try:
        status, content_type, answer = asyncio.run(_exchange(method, url.rstrip("/") + path, data))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        why = (
            getattr(error, "strerror", None) or "no answer in time"
            if isinstance(error, OSError)
            else "no HTTP"
        )
        raise MachineError(
            f"no service answers at {url} ({why}); start one with guardian run, or name another with --url"
        ) from None
    try:
        told = msgspec.json.decode(answer, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = None
    if told is not None and content_type == "application/problem+json":
        raise InputError(url, _refusal(status, told))
    if told is None or status >= 300 or key not in told:
        raise MachineError(f"{url}: what answers there is no Guardian (HTTP {status})")
    return told


async def _exchange(method: str, url: str, data: bytes | None) -> tuple[int, str, bytes]:
    method = method or ("GET" if data is None else "POST")
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    headers = {} if data is None else {"Content-Type": JSON}
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(method, url, data=data, headers=headers, allow_redirects=False) as answer,
    ):
        return answer.status, answer.content_type, await answer.content.read(_MOST_BYTES)


def _refusal(status: int, told: Mapping[str, Any]) -> str:
    errors = told.get("errors")
    if isinstance(errors, list) and errors and all(isinstance(each, dict) for each in errors):
        return "; ".join(
            plain(f"{each.get('key')}: expected {each.get('expected')}, got {each.get('got')}")
            for each in errors
        )
    return plain(str(told.get("detail", f"HTTP {status}")))


def acknowledgement(
    role: str,
    entity: str,
    kind: str,
    *,
    reason: str,
    until: str | None,
    during: str | None,
    withdraw: bool,
) -> dict[str, Any]:
    """The body of a request from what a person wrote; a time without zone is the one of this machine.

    Raises:
        InputError: a time or duration cannot be read, or there are two of them.
    """
    if until is not None and during is not None:
        raise InputError("--for", "expected only one of --until and --for")
    ends = (
        moment("--until", until).isoformat()
        if until is not None
        else later(datetime.now(UTC), during).isoformat()
        if during is not None
        else None
    )
    action = "withdraw" if withdraw else "acknowledge" if ends is None else "snooze"
    body = {"role": role, "entity": entity, "kind": kind, "action": action, "reason": reason}
    return body if ends is None else body | {"until": ends}


def moment(option: str, text: str) -> datetime:
    """A time that a person wrote, in UTC; without a zone, in the one of this machine.

    Raises:
        InputError: it is none; ``option`` is where it stood.
    """
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(option, f"expected a time such as 2026-01-31T18:00, got {text!r}") from None


def later(at: datetime, during: str) -> datetime:
    """A time that lies a duration such as ``8h`` behind another.

    Raises:
        InputError: ``--for`` is no duration, or too long.
    """
    try:
        return at + timedelta(microseconds=nanoseconds("--for", during) // 1000)
    except OverflowError:
        raise InputError(
            "--for", f"expected a duration that ends before the year 2262, got {during!r}"
        ) from None


def table(items: Sequence[Mapping[str, Any]], language: texts.Language) -> Table:
    """Acknowledgements for a terminal, as the service lists them."""

    def say(key: str) -> str:
        return texts.text(f"cli.{key}", language)

    made = Table(box=None, padding=(0, 1, 0, 0))
    for key in ("until", "role", "entity", "kind", "action", "who", "why", "in_force"):
        # Only what people wrote may wrap: at 80 columns a word of ours would be cut into syllables.
        made.add_column(say(key), overflow="fold", no_wrap=key not in {"entity", "kind", "why"})
    for each in items:
        cells = [_minute(each["until"]) if each["until"] else "–"]
        cells += [each[key] for key in ("role", "entity", "kind")]
        cells += [say(f"action_{each['action']}"), each["actorId"], each["reason"]]
        cells.append(say("yes" if each["active"] else "no"))
        made.add_row(*(Text(plain(cell)) for cell in cells))
    return made


def _minute(moment: str) -> str:
    return f"{moment[:10]} {moment[11:16]}Z"
